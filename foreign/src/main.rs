//! What a peer that has nothing catches up with in a second: events of Xaeroflux against entries of iroh-docs, whose
//! contents have the same size. All nodes are in this process, on the loopback interface, and share its processors.
//!
//!     cargo run --release [-- [--events N] [--entries N] [--rounds N]] [--smoke]

mod docs;
mod ours;
#[path = "../../benches/support/report.rs"]
#[allow(dead_code, reason = "the benches of the crate use the rest")]
mod report;

use std::{fs, time::Duration};

use docs::{Contents, Writer};
use report::{Rounds, size};
use tempfile::TempDir;

/// Bytes of an event, and of the content of an entry.
const PAYLOAD: usize = 256;

/// iroh-docs is measured with so many entries, and with a part of them: whether its rate depends on their number.
const PART: usize = 5;

/// What iroh-docs is measured as, and the ends of the figures' names.
const WAYS: [(Contents, &str); 3] =
    [(Contents::Each, "contents"), (Contents::Together, "contents_at_once"), (Contents::Without, "entries_alone")];

fn main() {
    let events = option("--events", size(1_000_000, 10_000));
    let entries = option("--entries", size(20_000, 1_000));
    let rounds = option("--rounds", size(3, 1));
    let (many, few) = (Writer::new(entries), Writer::new(entries / PART));
    let (here, same) = (ours::Peer::writer(events), ours::Peer::writer(entries));
    let mut all: [Rounds; WAYS.len()] = Default::default();
    let mut as_many: [Rounds; WAYS.len()] = Default::default();
    let mut grown: [Rounds; WAYS.len()] = Default::default();
    for round in 1..=rounds {
        let ours = rate(events, here.catch_up());
        let ours_as_many = rate(entries, same.catch_up());
        eprintln!("round {round}: {ours:.0} events/s with {events}, {ours_as_many:.0} with {entries}");
        for (way, (contents, name)) in WAYS.into_iter().enumerate() {
            let theirs = rate(many.entries(), many.catch_up(contents));
            let part = rate(few.entries(), few.catch_up(contents));
            eprintln!("round {round}: {theirs:.0} {name}/s with {}, {part:.0} with {}", many.entries(), few.entries());
            all[way].push(ours, theirs);
            as_many[way].push(ours_as_many, theirs);
            grown[way].push(theirs, part);
        }
    }
    // The rate of a catch-up depends on how much there is to fetch: so the numbers are with each figure.
    for ((_, name), rounds) in WAYS.into_iter().zip(all) {
        print(rounds, &format!("catch_up_iroh_docs_{name}"), events, entries);
    }
    for ((_, name), rounds) in WAYS.into_iter().zip(as_many) {
        print(rounds, &format!("catch_up_iroh_docs_{name}_as_many"), entries, entries);
    }
    for ((_, name), rounds) in WAYS.into_iter().zip(grown) {
        print(rounds, &format!("iroh_docs_{name}_against_fewer"), entries, entries / PART);
    }
}

/// The line of a figure, with how many there were on each side.
fn print(rounds: Rounds, name: &str, ours: usize, theirs: usize) {
    rounds.figure(name).unit("per s").with("number", ours as f64).with("their_number", theirs as f64).print();
}

fn rate(number: usize, took: Duration) -> f64 {
    number as f64 / took.as_secs_f64()
}

/// The number after an option, or what stands for it.
fn option(name: &str, otherwise: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}

/// What is in the event or the content with this number: each is unlike the others.
fn payload(number: usize) -> Vec<u8> {
    let mut payload = vec![7; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

/// A new directory on the disk that the crate is built on: where the system has temporary files a sync may cost nothing.
fn directory() -> TempDir {
    let parent = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp");
    fs::create_dir_all(parent).expect("a directory for all of them");
    tempfile::Builder::new().prefix("foreign-").tempdir_in(parent).expect("a directory")
}
