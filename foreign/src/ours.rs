//! Our side, as `benches/peers.rs` of the crate measures `sync_catch_up`.

use std::{
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use xaeroflux::{Handle, NetworkConfig, Node, Subject, XaeroEvent, XaeroID, event::CRDT_SET_ADD};

use crate::{directory, payload};

/// Events of one call: the writer waits for their receipts.
const BATCH: usize = 4_096;

/// Size of the map: address space, not disk.
const MAP_SIZE: u64 = 64 << 30;

/// Who has all the events, or none.
pub struct Peer {
    subject: Subject,
    _handle: Handle,
    authors: Vec<XaeroID>,
    node: Node,
    _dir: TempDir,
}

impl Peer {
    /// Publishes so many events, of two authors in turn.
    pub fn writer(events: usize) -> Self {
        let here = Self::new(2);
        let mut authors = here.authors.iter().cycle();
        for first in (0..events).step_by(BATCH) {
            let author = *authors.next().expect("one");
            let batch =
                (first..events.min(first + BATCH)).map(|n| XaeroEvent::new(payload(n), CRDT_SET_ADD).by(author));
            for receipt in here.subject.publish_all(batch) {
                receipt.wait().expect("it is durable");
            }
        }
        here
    }

    /// Has an empty peer catch up, and returns how long that took: until it has the same events, on its disk and in its
    /// trees.
    pub fn catch_up(&self) -> Duration {
        let there = Self::new(0);
        let ticket = self.subject.ticket().expect("a ticket");
        let root = self.subject.root().expect("a root");
        let count = self.subject.count().expect("a count");
        let start = Instant::now();
        there.node.join(&ticket).expect("it joins");
        while there.subject.count().expect("a count") < count {
            thread::sleep(Duration::from_millis(1));
        }
        while there.subject.root().expect("a root") != root {
            thread::sleep(Duration::from_millis(1));
        }
        start.elapsed()
    }

    fn new(authors: usize) -> Self {
        let dir = directory();
        let network = NetworkConfig::new().listen(([127, 0, 0, 1], 0).into());
        let node = Node::builder().map_size(MAP_SIZE).network(network).data_dir(dir.path()).build().expect("a node");
        let authors = (0..authors).map(|n| node.identity(&format!("author-{n}")).expect("an identity")).collect();
        let subject = node.subject("foreign/catch-up");
        let handle = subject.run().expect("it runs");
        Self { subject, _handle: handle, authors, node, _dir: dir }
    }
}
