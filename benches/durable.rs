//! Durable publishing under load, against a bare loop on LMDB with the same batches and the same sync.
//!
//! The publisher goes through the public API and waits for every receipt, with a bounded number of them open. How many
//! events the engine commits at once is read off the transaction number of its environment, and the bare loop, which
//! writes just the payload under an increasing key, gets batches of the same size.

mod support;

use std::time::Duration;

use support::{
    bare::Bare,
    engine::{Ours, WINDOW},
    report::{Rounds, is_selected, is_wanted, median, size},
};

const SUBJECTS: usize = 1_000;

/// Receipts that are open at once over all of these: 131 a subject, which keeps each of them busy. With [`WINDOW`] there
/// are eight, so that a subject's batches have four events, and their messages cost more than their storing.
const WIDE: usize = 131_072;

/// Events that one call of `publish_all` hands over.
const CALL: usize = 1_000;

fn main() {
    if !is_wanted() {
        return;
    }
    measure("durable_publish", 1, WINDOW, |ours, events| ours.publish(events, WINDOW));
    measure("durable_publish_all", 1, WINDOW, |ours, events| ours.publish_all(events, CALL, WINDOW));
    let subjects = size(SUBJECTS, 20);
    measure("durable_publish_1000_subjects", subjects, WIDE, |ours, events| ours.publish(events, WIDE));
    measure("durable_publish_1000_subjects_few_open", subjects, WINDOW, |ours, events| ours.publish(events, WINDOW));
}

fn measure(name: &str, subjects: usize, window: usize, run: impl Fn(&Ours, usize) -> Duration) {
    if !is_selected(name) {
        return;
    }
    let (events, rounds) = (size(500_000, 5_000), size(5, 1));
    let (mut measured, mut batches) = (Rounds::default(), Vec::new());
    for _ in 0..rounds {
        let engine = Ours::new(subjects);
        // The first events bring every part into memory.
        let warm_up = events / 50;
        run(&engine, warm_up);
        let our_rate = rate(events, run(&engine, events));
        let commits = engine.stop().max(1);
        let batch = (events + warm_up) / commits;
        let mut bare = Bare::new();
        bare.write(warm_up, batch);
        measured.push(our_rate, rate(events, bare.write(events, batch)));
        batches.push(batch as f64);
    }
    measured
        .figure(name)
        .unit("events/s")
        .with("batch", median(&batches))
        .with("subjects", subjects as f64)
        .with("open_receipts", window as f64)
        .with("events", events as f64)
        .print();
}

fn rate(events: usize, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}
