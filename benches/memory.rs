//! filter → map → subscribe on a subject in memory, the bus and the hop to another thread included, against the same
//! closures called directly on the same events.

mod support;

use std::{sync::mpsc, time::Instant};

use support::report::{Figure, is_wanted, median, size};
use xaeroflux::{EventType, Node, XaeroEvent, event::CRDT_SET_ADD};

/// Payload in bytes.
const PAYLOAD: usize = 16;

fn main() {
    if !is_wanted() {
        return;
    }
    let (events, rounds) = (size(1_000_000, 10_000), size(9, 1));
    let node = Node::ephemeral().expect("a node");
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let through_bus = events as f64 / through_bus(&node, round, prebuilt(events));
        let directly = events as f64 / directly(prebuilt(events));
        ours.push(through_bus);
        theirs.push(directly);
        ratios.push(through_bus / directly);
    }
    Figure::new("memory_pipeline", median(&ours), median(&theirs), median(&ratios))
        .unit("events/s")
        .with("events", events as f64)
        .with("rounds", rounds as f64)
        .print();
}

fn prebuilt(events: usize) -> Vec<XaeroEvent> {
    let payload = |n: usize| [n.to_le_bytes(), [1; PAYLOAD / 2]].concat();
    (0..events).map(|n| XaeroEvent::new(payload(n), CRDT_SET_ADD)).collect()
}

fn keep(event: &XaeroEvent) -> bool {
    matches!(event.evt.event_type, EventType::ApplicationEvent(CRDT_SET_ADD))
}

fn change(mut event: XaeroEvent) -> XaeroEvent {
    if let Some(byte) = event.evt.data.last_mut() {
        *byte = byte.wrapping_add(1);
    }
    event
}

/// What the subscriber does: something that needs the event.
fn weigh(event: &XaeroEvent) -> u64 {
    event.evt.data.iter().map(|byte| u64::from(*byte)).sum()
}

/// Seconds from the first send to the last event at the subscriber.
fn through_bus(node: &Node, round: usize, events: Vec<XaeroEvent>) -> f64 {
    let count = events.len();
    let subject = node.subject(format!("bench/memory-{round}"));
    let (tell, told) = mpsc::channel();
    let (mut seen, mut weight) = (0, 0);
    let subscription = subject.filter(keep).map(change).subscribe(move |event| {
        weight += weigh(&event);
        seen += 1;
        if seen == count {
            tell.send(weight).expect("the bench waits for it");
        }
    });
    let start = Instant::now();
    for event in events {
        subject.data.sink.tx.send(event).expect("it takes events");
    }
    let weight = told.recv().expect("every event arrives");
    let time = start.elapsed().as_secs_f64();
    assert!(weight > 0);
    drop(subscription);
    time
}

/// Seconds for the same without a bus.
fn directly(events: Vec<XaeroEvent>) -> f64 {
    let keep: Box<dyn Fn(&XaeroEvent) -> bool> = Box::new(keep);
    let change: Box<dyn Fn(XaeroEvent) -> XaeroEvent> = Box::new(change);
    let mut weight = 0;
    let start = Instant::now();
    for event in events {
        if keep(&event) {
            weight += weigh(&change(event));
        }
    }
    let time = start.elapsed().as_secs_f64();
    assert!(weight > 0);
    time
}
