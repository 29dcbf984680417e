//! Large batches and high throughput: nothing is lost, doubled or reordered at volume. How fast it goes is for the
//! benches; here no time is measured.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{sync::mpsc, thread};

use xaeroflux::prelude::*;

/// How long to wait for what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn sum(fold: Fold) -> Vec<Operator> {
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(fold.to_operator()),
        Operator::Reduce(Reduce::CounterValue.to_operator()),
    ]
}

fn number(state: &XaeroEvent) -> i64 {
    i64::from_le_bytes(state.evt.data[..].try_into().unwrap())
}

fn up(by: i64) -> XaeroEvent {
    XaeroEvent::new(by.to_le_bytes(), CRDT_COUNTER_INCREMENT)
}

#[test]
fn two_hundred_thousand_events_are_stored_once_in_order_and_summed() {
    const EVENTS: i64 = 200_000;
    const BATCH: usize = 10_000;
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("volume");
    let (tell, states) = mpsc::channel();
    let subscription =
        subject.batch(Duration::from_millis(50), Some(5_000), sum(Fold::GCounter)).subscribe(move |state| {
            let _ = tell.send(number(&state));
        });
    let handle = subject.run().unwrap();
    let events: Vec<_> = (1..=EVENTS).collect();
    let mut seq = 0;
    for batch in events.chunks(BATCH) {
        let receipts = subject.publish_all(batch.iter().map(|n| up(*n)));
        assert_eq!(receipts.len(), batch.len());
        for receipt in receipts {
            seq += 1;
            assert_eq!(receipt.wait_timeout(PATIENCE).unwrap().unwrap().seq, seq);
        }
    }
    drop(handle);
    let states: Vec<_> = states.try_iter().collect();
    assert!(states.is_sorted(), "a sum of positive numbers only grows");
    assert_eq!(states.last(), Some(&(EVENTS * (EVENTS + 1) / 2)));
    let mut read = 0_i64;
    subject
        .for_each_archived(ScanWindow::ALL, |record| {
            read += 1;
            assert_eq!(record.payload(), read.to_le_bytes());
            true
        })
        .unwrap();
    assert_eq!(read, EVENTS);
    drop(subscription);
}

#[test]
fn publishers_on_many_subjects_share_commits_and_mix_nothing_up() {
    const SUBJECTS: usize = 100;
    const EACH: i64 = 200;
    let node = Node::ephemeral().unwrap();
    let subjects: Vec<_> = (0..SUBJECTS).map(|n| node.subject(format!("subject-{n}"))).collect();
    let handles: Vec<_> = subjects.iter().map(|subject| subject.run().unwrap()).collect();
    thread::scope(|scope| {
        for (part, subjects) in subjects.chunks(SUBJECTS / 4).enumerate() {
            scope.spawn(move || {
                let mut receipts = Vec::new();
                for round in 0..EACH {
                    for (number, subject) in subjects.iter().enumerate() {
                        receipts.push(subject.publish(up(round * (part * SUBJECTS + number) as i64)));
                    }
                }
                for receipt in receipts {
                    receipt.wait_timeout(PATIENCE).unwrap().unwrap();
                }
            });
        }
    });
    for (part, subjects) in subjects.chunks(SUBJECTS / 4).enumerate() {
        for (number, subject) in subjects.iter().enumerate() {
            assert_eq!(subject.count().unwrap(), EACH as u64);
            let state = subject.resolve(sum(Fold::PNCounter)).unwrap().unwrap();
            assert_eq!(self::number(&state), EACH * (EACH - 1) / 2 * (part * SUBJECTS + number) as i64);
        }
    }
    drop(handles);
}

#[test]
fn a_hundred_thousand_events_pass_in_memory_without_loss() {
    const EVENTS: u64 = 100_000;
    let subject = Node::ephemeral().unwrap().subject("memory");
    let (tell, told) = mpsc::channel();
    let mut next = 0_u64;
    let subscription = subject
        .filter(|event| event.evt.data.len() == 8)
        .map(|mut event| {
            event.evt.data.reverse();
            event
        })
        .subscribe(move |event| {
            assert_eq!(event.evt.data, next.to_be_bytes());
            next += 1;
            if next == EVENTS {
                tell.send(()).unwrap();
            }
        });
    for n in 0..EVENTS {
        subject.data.sink.tx.send(XaeroEvent::new(n.to_le_bytes(), 1)).unwrap();
        if n % 1_000 == 0 {
            subject.data.sink.tx.send(XaeroEvent::new("not eight bytes", 1)).unwrap();
        }
    }
    told.recv_timeout(PATIENCE).unwrap();
    drop(subscription);
}

#[test]
fn payloads_of_the_largest_size_come_back_whole() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("large");
    let handle = subject.run().unwrap();
    let large = |n: u8| vec![n; xaeroflux::wire::limits::MAX_PAYLOAD_BYTES];
    let receipts = subject.publish_all((0..40).map(|n| XaeroEvent::new(large(n), 1)));
    for receipt in receipts {
        receipt.wait_timeout(PATIENCE).unwrap().unwrap();
    }
    let mut next = 0;
    subject
        .for_each_archived(ScanWindow::ALL, |record| {
            assert!(record.payload() == large(next), "event {next}");
            next += 1;
            true
        })
        .unwrap();
    assert_eq!(next, 40);
    drop(handle);
}
