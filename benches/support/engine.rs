//! A node to measure, and publishers that wait for every receipt.

use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use xaeroflux::{Handle, Node, Receipt, Subject, XaeroEvent, event::CRDT_SET_ADD};

use super::{MAP_SIZE, PAYLOAD, bare, directory};

/// Receipts that a saturating publisher leaves open: enough for one commit to gather while another is synced.
pub const WINDOW: usize = 8_192;

/// A node in a directory of its own, with its running subjects.
pub struct Ours {
    pub subjects: Vec<Subject>,
    // In the order in which they have to go.
    handles: Vec<Handle>,
    node: Option<Node>,
    dir: TempDir,
    /// Transactions before the first event.
    transactions: usize,
}

impl Ours {
    pub fn new(subjects: usize) -> Self {
        let dir = directory();
        // The tables and the identity are made before anything is measured, and so that their commits are known.
        {
            let node = open(dir.path());
            node.own_identity().expect("an identity");
        }
        let transactions = bare::transactions(dir.path());
        let node = open(dir.path());
        let subjects: Vec<Subject> = (0..subjects).map(|n| node.subject(format!("bench/subject-{n}"))).collect();
        let handles = subjects.iter().map(|subject| subject.run().expect("it runs")).collect();
        Self { subjects, handles, node: Some(node), dir, transactions }
    }

    /// The first subject.
    pub fn subject(&self) -> &Subject {
        &self.subjects[0]
    }

    /// Publishes so many events round robin, one call each, until every receipt is there.
    pub fn publish(&self, events: usize, window: usize) -> Duration {
        let start = Instant::now();
        let mut open: VecDeque<Receipt> = VecDeque::with_capacity(window);
        for (number, subject) in (0..events).zip(self.subjects.iter().cycle()) {
            if open.len() == window {
                settle(open.pop_front());
            }
            open.push_back(subject.publish(event(number)));
        }
        open.into_iter().for_each(|receipt| settle(Some(receipt)));
        start.elapsed()
    }

    /// Publishes so many events to the first subject, `batch` a call, until every receipt is there.
    pub fn publish_all(&self, events: usize, batch: usize, window: usize) -> Duration {
        let start = Instant::now();
        let mut open: VecDeque<Vec<Receipt>> = VecDeque::new();
        for first in (0..events).step_by(batch) {
            if open.len() * batch >= window {
                open.pop_front().into_iter().flatten().for_each(|receipt| settle(Some(receipt)));
            }
            open.push_back(self.subject().publish_all((first..(first + batch).min(events)).map(event)));
        }
        open.into_iter().flatten().for_each(|receipt| settle(Some(receipt)));
        start.elapsed()
    }

    /// Stops the node. Returns how many transactions it has committed: without the one that ends it.
    pub fn stop(mut self) -> usize {
        self.handles.clear();
        self.subjects.clear();
        self.node = None;
        bare::transactions(self.dir.path()).saturating_sub(self.transactions + 1)
    }
}

/// Opens the node of a directory.
pub fn open(dir: &Path) -> Node {
    Node::builder().data_dir(dir).map_size(MAP_SIZE as u64).build().expect("a node")
}

/// An event of the usual size, unlike the others.
pub fn event(number: usize) -> XaeroEvent {
    let mut payload = vec![7; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    XaeroEvent::new(payload, CRDT_SET_ADD)
}

fn settle(receipt: Option<Receipt>) {
    if let Some(receipt) = receipt {
        receipt.wait().expect("it is durable");
    }
}
