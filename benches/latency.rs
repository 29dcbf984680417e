//! How long one publisher waits that publishes an event and waits for its receipt before the next, against one put and
//! one commit on bare LMDB.
//!
//! Both sides write to the same disk in turn, in short blocks, so that neither has a quieter disk.

mod support;

use std::time::Instant;

use support::{
    bare::Bare,
    engine::{self, Ours},
    report::{Figure, is_wanted, median, size},
};

/// Publishes or commits before it is the other side's turn.
const BLOCK: usize = 100;

fn main() {
    if !is_wanted() {
        return;
    }
    let blocks = size(30, 1);
    let (engine, mut bare) = (Ours::new(1), Bare::new());
    let subject = engine.subject().clone();
    let mut number = 0;
    let mut publish = || {
        number += 1;
        let event = engine::event(number);
        let start = Instant::now();
        subject.publish(event).wait().expect("it is durable");
        micros(start)
    };
    let mut commit = || {
        let start = Instant::now();
        bare.commit(1);
        micros(start)
    };
    for _ in 0..BLOCK / 2 {
        publish();
        commit();
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..blocks {
        ours.extend((0..BLOCK).map(|_| publish()));
        theirs.extend((0..BLOCK).map(|_| commit()));
    }
    let (our_median, their_median) = (median(&ours), median(&theirs));
    Figure::new("publish_latency", our_median, their_median, our_median / their_median)
        .unit("us")
        .with("p99_ours", percentile(&mut ours, 99))
        .with("p99_theirs", percentile(&mut theirs, 99))
        .with("samples", ours.len() as f64)
        .print();
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}
