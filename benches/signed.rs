//! Publishing that is durable, in its authors' trees and signed, against the same engine with trees and signatures off; and
//! against signing and committing each event by itself, which is what they save.
//!
//! All children of the subjects run on both sides. Ours has ended when every receipt is there and the newest head of every
//! log is signed. To ask ten thousand logs for their heads takes time of its own, which is measured by asking once more, and
//! taken off.

mod support;

use std::time::{Duration, Instant};

use support::{
    bare::Bare,
    engine::{Ours, WINDOW},
    report::{Rounds, is_selected, is_wanted, median, size},
};
use xaeroflux::wire::sign::{SecretIdentity, Signer, tagged};

const SUBJECTS: usize = 1_000;
const AUTHORS: usize = 10;

/// Receipts that are open at once over all of these: as many as in the same figure without authors, `durable`.
const WIDE: usize = 131_072;

fn main() {
    if !is_wanted() {
        return;
    }
    against_unsigned("signed_publish", 1, 1, WINDOW);
    against_unsigned("signed_publish_1000_subjects_10_authors", size(SUBJECTS, 20), AUTHORS, WIDE);
    against_each();
}

fn against_unsigned(name: &str, subjects: usize, authors: usize, window: usize) {
    if !is_selected(name) {
        return;
    }
    let (events, rounds) = (size(500_000, 5_000), size(7, 1));
    let (mut measured, mut lag) = (Rounds::default(), Vec::new());
    for round in 0..rounds {
        let ours = || {
            let (time, signing) = signed(subjects, authors, events, window);
            lag.push(signing.as_secs_f64() * 1e3);
            rate(events, time + signing)
        };
        let theirs = || {
            let engine = Ours::with(subjects, authors, false);
            engine.publish(warm_up(events), window);
            rate(events, engine.publish(events, window))
        };
        // Whoever is second has the other's pages still to be written by the system.
        if round % 2 == 0 {
            let ours = { ours }();
            measured.push(ours, theirs());
        } else {
            let theirs = theirs();
            measured.push({ ours }(), theirs);
        }
    }
    measured
        .figure(name)
        .unit("events/s")
        .with("subjects", subjects as f64)
        .with("authors", authors as f64)
        .with("open_receipts", window as f64)
        .with("events", events as f64)
        .with("signed_ms_after_last_receipt", median(&lag))
        .print();
}

fn against_each() {
    const NAME: &str = "signed_publish_against_each";
    if !is_selected(NAME) {
        return;
    }
    let (events, each, rounds) = (size(500_000, 5_000), size(500, 20), size(3, 1));
    let author = SecretIdentity::generate().expect("an identity");
    let mut measured = Rounds::default();
    for _ in 0..rounds {
        let (time, signing) = signed(1, 1, events, WINDOW);
        let mut bare = Bare::new();
        let start = Instant::now();
        for number in 0..each {
            author.sign(&tagged("bench", &number.to_le_bytes())).expect("a signature");
            bare.commit(1);
        }
        measured.push(rate(events, time + signing), rate(each, start.elapsed()));
    }
    measured.figure(NAME).unit("events/s").with("events", events as f64).with("events_each", each as f64).print();
}

/// How long so many events take until the last receipt is there, and from then on until the last head is signed.
fn signed(subjects: usize, authors: usize, events: usize, window: usize) -> (Duration, Duration) {
    let engine = Ours::with(subjects, authors, true);
    engine.publish(warm_up(events), window);
    engine.wait_for_signatures();
    let time = engine.publish(events, window);
    let asked = || {
        let start = Instant::now();
        let covered = engine.wait_for_signatures();
        assert_eq!(covered, (warm_up(events) + events) as u64, "every event is under a signed head");
        start.elapsed()
    };
    let first = asked();
    (time, first.saturating_sub(asked()))
}

/// The first events bring every part into memory.
fn warm_up(events: usize) -> usize {
    events / 50
}

fn rate(events: usize, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}
