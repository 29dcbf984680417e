//! A subject goes from node to node in one file: whole, proven, and as often as one likes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use xaeroflux::{
    ExportError, ExportOptions, Fold, ImportFailure, Node, Operator, Reduce, Sort, Subject, XaeroEvent, XaeroID,
    event::{CRDT_SET_ADD, CRDT_SET_REMOVE},
    wire::{
        bundle::{BundleError, Kind},
        frame,
        record::Record,
    },
};

/// A node with a running subject of three authors, who have written so many events in turn.
struct Origin {
    node: Node,
    tags: Subject,
    authors: Vec<XaeroID>,
    _handle: xaeroflux::Handle,
}

impl Origin {
    fn new(events: usize) -> Self {
        let node = Node::ephemeral().unwrap();
        let authors: Vec<XaeroID> = ["alice", "bob", "carol"].map(|name| node.identity(name).unwrap()).into();
        let tags = node.subject("tags");
        let handle = tags.run().unwrap();
        let origin = Self { node, tags, authors, _handle: handle };
        origin.publish(events);
        origin
    }

    fn publish(&self, events: usize) {
        let base = self.tags.count().unwrap();
        let event = |n: u64| {
            let kind = if n % 5 == 4 { CRDT_SET_REMOVE } else { CRDT_SET_ADD };
            XaeroEvent::new(format!("tag {}", n % 40), kind).by(self.authors[usize::try_from(n % 3).unwrap()])
        };
        let receipts = self.tags.publish_all((base..base + events as u64).map(event));
        receipts.into_iter().for_each(|receipt| drop(receipt.wait().unwrap()));
    }

    fn export(&self) -> Vec<u8> {
        self.export_with(ExportOptions::new())
    }

    fn export_with(&self, options: ExportOptions) -> Vec<u8> {
        let mut bundle = Vec::new();
        let summary = self.tags.export(&mut bundle, options).unwrap();
        assert_eq!(summary.bytes, bundle.len() as u64);
        bundle
    }
}

fn state(subject: &Subject) -> Vec<Vec<u8>> {
    let operators = vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::ORSet.to_operator()),
        Operator::Reduce(Reduce::SetContents.to_operator()),
    ];
    let state = subject.resolve(operators).unwrap();
    let mut tags: Vec<Vec<u8>> =
        state.map_or_else(Vec::new, |state| rkyv::from_bytes::<_, rkyv::rancor::Error>(&state.evt.data).unwrap());
    tags.sort();
    tags
}

/// Asserts that both hold the same events, signed alike, and resolve to the same state.
fn assert_same(here: &Subject, there: &Subject) {
    assert_eq!(here.root().unwrap(), there.root().unwrap());
    assert_eq!(here.count().unwrap(), there.count().unwrap());
    assert_eq!(state(here), state(there));
    for (author, length, _) in here.authors().unwrap() {
        let (ours, theirs) = (here.signed_head(author).unwrap(), there.signed_head(author).unwrap());
        assert_eq!(ours.unwrap().head(), theirs.unwrap().head(), "{author} at {length}");
    }
}

#[test]
fn a_subject_of_several_authors_comes_over_whole() {
    let origin = Origin::new(1_000);
    let bundle = origin.export();
    let there = Node::ephemeral().unwrap();
    let mut told = Vec::new();
    let summary = there.import(&bundle[..], |progress| told.push((progress.done, progress.total))).unwrap();
    assert_eq!((summary.new, summary.duplicates, summary.waiting, summary.authors), (1_000, 0, 0, 3));
    assert_eq!((summary.name.as_str(), summary.subject), ("tags", origin.tags.id()));
    assert_eq!(summary.root, summary.bundle_root);
    assert_eq!(told.last(), Some(&(1_000, 1_000)));
    assert_same(&origin.tags, &there.subject("tags"));
    // Their keys came with them.
    for (author, name) in origin.authors.iter().zip(["alice", "bob", "carol"]) {
        assert_eq!(there.writer_key(*author).unwrap(), Some(origin.node.public_key(name).unwrap()));
    }
    assert_eq!(there.writer_key(XaeroID::from([7; 32])).unwrap(), None);
    // And from there it goes on to the next.
    let mut onward = Vec::new();
    there.subject("tags").export(&mut onward, ExportOptions::new()).unwrap();
    assert_eq!(onward.len(), bundle.len());
    let third = Node::ephemeral().unwrap();
    third.import(&onward[..], |_| {}).unwrap();
    assert_same(&origin.tags, &third.subject("tags"));
}
