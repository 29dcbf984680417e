//! Export and import of 100,000 events of 256 bytes, two authors.
//!
//!     cargo bench --bench transfer

use std::{hint::black_box, io, time::Instant};

use xaeroflux::{ExportOptions, Node, XaeroEvent};

const EVENTS: u64 = 100_000;

fn main() {
    let here = Node::ephemeral().expect("a node");
    let authors = ["alice", "bob"].map(|name| here.identity(name).expect("an identity"));
    let subject = here.subject("bench/transfer");
    let handle = subject.run().expect("it runs");
    let payload = |n: u64| -> Vec<u8> { (0..256_u64).map(|at| (n.wrapping_mul(31) + at) as u8).collect() };
    let event = |n: u64| XaeroEvent::new(payload(n), 7).by(authors[(n % 2) as usize]);
    for first in (0..EVENTS).step_by(10_000) {
        let receipts = subject.publish_all((first..first + 10_000).map(event));
        receipts.into_iter().for_each(|receipt| {
            receipt.wait().expect("it is durable");
        });
    }
    let rate = |what: &str, start: Instant| {
        let seconds = start.elapsed().as_secs_f64();
        println!("{what}: {:.0} events/s ({seconds:.3} s)", EVENTS as f64 / seconds);
    };
    for _ in 0..3 {
        let mut bundle = Vec::with_capacity(64 << 20);
        let start = Instant::now();
        subject.export(&mut bundle, ExportOptions::new()).expect("an export");
        rate("export", start);
        let there = Node::ephemeral().expect("a node");
        let start = Instant::now();
        let summary = there.import(&bundle[..], |_| {}).expect("an import");
        rate("import", start);
        assert_eq!(summary.new, EVENTS);
        let start = Instant::now();
        let summary = there.import(&bundle[..], |_| {}).expect("an import");
        rate("import again", start);
        assert_eq!(summary.duplicates, EVENTS);
        let start = Instant::now();
        check(&bundle);
        rate("check alone", start);
        println!("{:.1} bytes an event", bundle.len() as f64 / EVENTS as f64);
        black_box(bundle);
    }
    drop(handle);
}

/// Verifies a bundle without taking it anywhere.
fn check(mut bundle: &[u8]) {
    use io::Read as _;
    use xaeroflux::wire::bundle::{BundleCheck, Decoder, Part};
    let (mut decoder, mut buffer, mut check) = (Decoder::new(), Vec::new(), None);
    while decoder.wanted() > 0 {
        buffer.resize(decoder.wanted(), 0);
        bundle.read_exact(&mut buffer).expect("it is whole");
        match decoder.feed(&buffer).expect("it is well-formed") {
            Some(Part::Opening(opening)) => check = Some(BundleCheck::new(opening)),
            Some(Part::Author(at, entry)) => check.as_mut().expect("opened").author(at, *entry).expect("a good head"),
            Some(Part::Events(chunk)) => {
                black_box(check.as_mut().expect("opened").events_of(&chunk).expect("good events"));
            }
            _ => {}
        }
    }
}
