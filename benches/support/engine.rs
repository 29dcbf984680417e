//! A node to measure, and publishers that wait for every receipt.

use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use xaeroflux::{Handle, Node, Receipt, Subject, XaeroEvent, XaeroID, event::CRDT_SET_ADD};

use super::{MAP_SIZE, PAYLOAD, bare, directory};

/// Receipts that a saturating publisher leaves open: enough for one commit to gather while another is synced.
pub const WINDOW: usize = 8_192;

/// A node in a directory of its own, with its running subjects.
pub struct Ours {
    pub subjects: Vec<Subject>,
    /// Who writes: all of these in every subject, in turn.
    pub authors: Vec<XaeroID>,
    // In the order in which they have to go.
    handles: Vec<Handle>,
    node: Option<Node>,
    dir: TempDir,
    /// Transactions before the first event.
    transactions: usize,
}

impl Ours {
    pub fn new(subjects: usize) -> Self {
        Self::with(subjects, 1, true)
    }

    /// With so many local authors, and with or without trees and signatures.
    pub fn with(subjects: usize, authors: usize, signed: bool) -> Self {
        let dir = directory();
        // The tables and the identities are made before anything is measured, and so that their commits are known.
        {
            let node = open_with(dir.path(), signed);
            node.own_identity().expect("an identity");
            for n in 1..authors {
                node.identity(&format!("author-{n}")).expect("an identity");
            }
        }
        let transactions = bare::transactions(dir.path());
        let node = open_with(dir.path(), signed);
        let authors = node.identities().into_iter().map(|(_, author)| author).collect();
        let subjects: Vec<Subject> = (0..subjects).map(|n| node.subject(format!("bench/subject-{n}"))).collect();
        let handles = subjects.iter().map(|subject| subject.run().expect("it runs")).collect();
        Self { subjects, authors, handles, node: Some(node), dir, transactions }
    }

    /// The first subject.
    pub fn subject(&self) -> &Subject {
        &self.subjects[0]
    }

    /// Publishes so many events round robin, one call each, until every receipt is there.
    pub fn publish(&self, events: usize, window: usize) -> Duration {
        let start = Instant::now();
        let mut open: VecDeque<Receipt> = VecDeque::with_capacity(window);
        // The next author with the next round, so that each writes in every subject.
        let authors = self.authors.iter().cycle().flat_map(|author| std::iter::repeat_n(*author, self.subjects.len()));
        for ((number, subject), author) in (0..events).zip(self.subjects.iter().cycle()).zip(authors) {
            if open.len() == window {
                settle(open.pop_front());
            }
            open.push_back(subject.publish(event(number).by(author)));
        }
        settle(open);
        start.elapsed()
    }

    /// Publishes so many events to the first subject, `batch` a call, until every receipt is there.
    pub fn publish_all(&self, events: usize, batch: usize, window: usize) -> Duration {
        let start = Instant::now();
        let mut open: VecDeque<Vec<Receipt>> = VecDeque::new();
        for first in (0..events).step_by(batch) {
            if open.len() * batch >= window {
                settle(open.pop_front().into_iter().flatten());
            }
            open.push_back(self.subject().publish_all((first..(first + batch).min(events)).map(event)));
        }
        settle(open.into_iter().flatten());
        start.elapsed()
    }

    /// Waits until the newest head of each author in each subject is signed. Returns how many events they cover.
    pub fn wait_for_signatures(&self) -> u64 {
        // The last first: what was committed last is signed last, and the rest is then at hand.
        let logs = self.subjects.iter().rev().flat_map(|subject| self.authors.iter().map(move |by| (subject, *by)));
        let length = |(subject, by): (&Subject, XaeroID)| {
            let signed = subject.signed_head(by).expect("a node that answers");
            signed.map_or(0, |signed| signed.head().length)
        };
        logs.map(length).sum()
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
    open_with(dir, true)
}

/// Opens the node of a directory, with or without trees and signatures.
fn open_with(dir: &Path, signed: bool) -> Node {
    let builder = Node::builder().data_dir(dir).map_size(MAP_SIZE as u64);
    if signed { builder } else { builder.unsigned() }.build().expect("a node")
}

/// An event of the usual size, unlike the others.
pub fn event(number: usize) -> XaeroEvent {
    let mut payload = vec![7; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    XaeroEvent::new(payload, CRDT_SET_ADD)
}

/// Waits until all of these are durable.
pub fn settle(receipts: impl IntoIterator<Item = Receipt>) {
    for receipt in receipts {
        receipt.wait().expect("it is durable");
    }
}
