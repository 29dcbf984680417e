//! A subject goes from node to node in one file: whole, proven, and as often as one likes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::io::{self, Read};

use xaeroflux::{
    ExportError, ExportOptions, Fold, ImportFailure, Node, Operator, Reduce, Sort, Subject, XaeroEvent, XaeroID,
    event::{CRDT_SET_ADD, CRDT_SET_REMOVE},
    wire::bundle::{BundleError, Decoder, Part},
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
        wait_all(receipts);
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

fn wait_all(receipts: Vec<xaeroflux::Receipt>) {
    for receipt in receipts {
        receipt.wait().unwrap();
    }
}

/// Where each section of the bundle begins, and how many events come before it.
fn boundaries(bundle: &[u8]) -> Vec<(usize, u64)> {
    let (mut decoder, mut at, mut events) = (Decoder::new(), 0, 0);
    let mut boundaries = Vec::new();
    while decoder.wanted() > 0 {
        let wanted = decoder.wanted();
        if let Some(Part::Events(chunk)) = decoder.feed(&bundle[at..at + wanted]).unwrap() {
            events += chunk.events as u64;
        }
        at += wanted;
        boundaries.push((at, events));
    }
    boundaries
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

#[test]
fn what_is_imported_again_changes_nothing() {
    let origin = Origin::new(500);
    let bundle = origin.export();
    let there = Node::ephemeral().unwrap();
    let first = there.import(&bundle[..], |_| {}).unwrap();
    let again = there.import(&bundle[..], |_| {}).unwrap();
    assert_eq!((again.new, again.duplicates, again.root), (0, 500, first.root));
    assert_same(&origin.tags, &there.subject("tags"));
    // Also where it came from.
    let home = origin.node.import(&bundle[..], |_| {}).unwrap();
    assert_eq!((home.new, home.duplicates, home.root), (0, 500, first.root));
}

#[test]
fn one_who_has_a_part_gets_the_rest_and_one_who_has_more_keeps_it() {
    let origin = Origin::new(700);
    let early = origin.export();
    origin.publish(600);
    let late = origin.export();
    let there = Node::ephemeral().unwrap();
    let dave = there.identity("dave").unwrap();
    let tags = there.subject("tags");
    let _handle = tags.run().unwrap();
    // An author of their own, before and in between.
    let own = |text: &str| tags.publish(XaeroEvent::new(text, CRDT_SET_ADD).by(dave)).wait().unwrap();
    own("first");
    assert_eq!(there.import(&early[..], |_| {}).unwrap().new, 700);
    own("second");
    let summary = there.import(&late[..], |_| {}).unwrap();
    assert_eq!((summary.new, summary.duplicates), (600, 700));
    assert_ne!(summary.root, summary.bundle_root, "dave's events are here as well");
    assert_eq!(tags.count().unwrap(), 1_302);
    // One who is ahead takes nothing from what is old, and goes home with all.
    let summary = there.import(&early[..], |_| {}).unwrap();
    assert_eq!((summary.new, summary.duplicates), (0, 700));
    let mut all = Vec::new();
    tags.export(&mut all, ExportOptions::new()).unwrap();
    assert_eq!(origin.node.import(&all[..], |_| {}).unwrap().new, 2);
    assert_same(&origin.tags, &tags);
}

#[test]
fn a_bundle_that_begins_in_the_middle_needs_what_comes_before() {
    let origin = Origin::new(900);
    let early = origin.export();
    origin.publish(400);
    let rest = origin.export_with(ExportOptions::new().from(900));
    assert!(rest.len() < early.len());
    let there = Node::ephemeral().unwrap();
    let error = there.import(&rest[..], |_| {}).unwrap_err();
    let is_told = matches!(*error.failure, ImportFailure::PrefixMissing { first: 900, have: 0, base: 300, .. });
    assert!(is_told, "{error}");
    there.import(&early[..], |_| {}).unwrap();
    assert_eq!(there.import(&rest[..], |_| {}).unwrap().new, 400);
    assert_same(&origin.tags, &there.subject("tags"));
    // From the end on there is nothing but heads; beyond it nothing at all.
    let nothing = origin.export_with(ExportOptions::new().from(1_300));
    assert_eq!(there.import(&nothing[..], |_| {}).unwrap().new, 0);
    let beyond = origin.tags.export(io::sink(), ExportOptions::new().from(1_301));
    assert!(matches!(beyond, Err(ExportError::BeyondEnd { from: 1_301, events: 1_300 })));
}

#[test]
fn a_file_that_is_cut_short_brings_its_whole_chunks_and_the_rest_later() {
    let origin = Origin::new(10_000);
    let bundle = origin.export();
    let boundaries = boundaries(&bundle);
    assert_eq!(boundaries.last(), Some(&(bundle.len(), 10_000)));
    let ends = boundaries.windows(2).flat_map(|pair| [pair[0], ((pair[0].0 + pair[1].0) / 2, pair[0].1)]);
    // One after the other into one node, each a little longer than the last.
    let there = Node::ephemeral().unwrap();
    let mut before = 0;
    for (length, events) in ends {
        let error = there.import(&bundle[..length], |_| {}).unwrap_err();
        match &*error.failure {
            ImportFailure::Bundle(BundleError::CutShort { at, .. }) => assert_eq!(*at, length as u64),
            other => panic!("{length} bytes: {other}"),
        }
        assert_eq!((error.new, error.duplicates), (events - before, before), "{length} bytes");
        assert!(error.to_string().contains(&format!("ends at byte {length}")), "{error}");
        assert_eq!(there.subject("tags").count().unwrap(), events);
        before = events;
    }
    let summary = there.import(&bundle[..], |_| {}).unwrap();
    assert_eq!(summary.new + summary.duplicates, 10_000);
    assert_same(&origin.tags, &there.subject("tags"));
}

#[test]
fn nothing_of_a_damaged_chunk_enters_the_log_and_what_came_before_stays() {
    let origin = Origin::new(6_000);
    let bundle = origin.export();
    let (second_chunk, before) = *boundaries(&bundle).iter().find(|(_, events)| *events > 0).unwrap();
    for at in [second_chunk + 40, second_chunk + 5_000, bundle.len() - 10] {
        let mut bad = bundle.clone();
        bad[at] ^= 0x10;
        let there = Node::ephemeral().unwrap();
        let error = there.import(&bad[..], |_| {}).unwrap_err();
        assert!(matches!(*error.failure, ImportFailure::Bundle(_)), "{error}");
        let stays = if at > second_chunk + 5_000 { 6_000 } else { before };
        assert_eq!((error.new, there.subject("tags").count().unwrap()), (stays, stays), "byte {at}");
        assert!(error.to_string().contains(&format!("{stays} events before it")), "{error}");
        assert_eq!(there.import(&bundle[..], |_| {}).unwrap().new, 6_000 - stays);
        assert_same(&origin.tags, &there.subject("tags"));
    }
}

#[test]
fn an_export_is_of_one_moment_while_publishers_go_on() {
    let origin = Origin::new(200);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for author in &origin.authors {
            let (tags, stop) = (&origin.tags, &stop);
            scope.spawn(move || {
                let mut n = 0_u64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    n += 1;
                    let event = XaeroEvent::new(format!("tag {}", n % 40), CRDT_SET_ADD).by(*author);
                    tags.publish(event).wait().unwrap();
                }
            });
        }
        let mut last = 0;
        let there = Node::ephemeral().unwrap();
        for _ in 0..8 {
            let before = origin.tags.count().unwrap();
            let mut bundle = Vec::new();
            let exported = origin.tags.export(&mut bundle, ExportOptions::new()).unwrap();
            assert!(exported.events >= before, "what was durable before is part of it");
            assert!(exported.events > last);
            let imported = there.import(&bundle[..], |_| {}).unwrap();
            assert_eq!((imported.new, imported.duplicates), (exported.events - last, last));
            assert_eq!(imported.root, exported.root, "just these events, whatever was published meanwhile");
            last = exported.events;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn imports_and_publishers_share_a_subject() {
    let origin = Origin::new(12_000);
    let bundle = origin.export();
    let there = Node::ephemeral().unwrap();
    let dave = there.identity("dave").unwrap();
    let tags = there.subject("tags");
    let _handle = tags.run().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut published = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                wait_all(tags.publish_all((0..9_000).map(|_| XaeroEvent::new("busy", CRDT_SET_ADD).by(dave))));
                published += 9_000;
            }
            published
        });
        let summary = there.import(&bundle[..], |_| {});
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(summary.unwrap().new, 12_000);
        publisher.join().unwrap()
    });
    assert_eq!(tags.count().unwrap(), 12_000 + published);
}

#[test]
fn events_that_nobody_signed_are_not_exported() {
    let origin = Origin::new(30);
    let there = Node::ephemeral().unwrap();
    let tags = there.subject("tags");
    let _handle = tags.run().unwrap();
    tags.ingest(origin.tags.frames(0, 30).unwrap()).unwrap().wait().unwrap();
    match tags.export(io::sink(), ExportOptions::new()) {
        Err(ExportError::Unsigned { author, signed: 0, length: 10 }) => assert!(origin.authors.contains(&author)),
        other => panic!("{other:?}"),
    }
    // The bundle shows whose they are: from then on they can go on.
    let summary = there.import(&origin.export()[..], |_| {}).unwrap();
    assert_eq!((summary.new, summary.duplicates), (0, 30));
    assert_same(&origin.tags, &tags);
    tags.export(io::sink(), ExportOptions::new()).unwrap();
    let empty = there.subject("nothing").export(io::sink(), ExportOptions::new());
    assert!(matches!(empty, Err(ExportError::Empty { .. })));
}

#[test]
fn an_author_who_signed_two_histories_is_found_out_and_the_rest_comes_in() {
    let origin = Origin::new(90);
    let dir = tempfile::tempdir().unwrap();
    origin.node.export_identity("bob", dir.path().join("bob.key")).unwrap();
    let there = Node::ephemeral().unwrap();
    let bob = there.import_identity("bob", dir.path().join("bob.key")).unwrap();
    there.import(&origin.export()[..], |_| {}).unwrap();
    let tags = there.subject("tags");
    let handle = tags.run().unwrap();
    // Event 31 of bob is one thing here and another there.
    tags.publish(XaeroEvent::new("there", CRDT_SET_ADD).by(bob)).wait().unwrap();
    origin.publish(60);
    let (ours, key) = (origin.export(), origin.node.public_key("bob").unwrap());
    let summary = there.import(&ours[..], |_| {}).unwrap();
    assert_eq!((summary.new, summary.duplicates, summary.retracted), (40, 90, 20));
    assert_eq!(summary.forks.iter().map(|cut| (cut.author, cut.last_valid)).collect::<Vec<_>>(), [(bob, 30)]);
    assert_eq!(tags.forks().unwrap()[0].verify(&key).unwrap().last_valid, 30);
    // The next bundle from here has the evidence, and what is here of bob's.
    let mut theirs = Vec::new();
    tags.export(&mut theirs, ExportOptions::new()).unwrap();
    let back = origin.node.import(&theirs[..], |_| {}).unwrap();
    // What bob had written there alone is here under the fresh key that he goes on with.
    assert_eq!((back.new, back.forks.len()), (1, 1));
    // And what he had written here alone goes there the same way.
    there.import(&origin.export()[..], |_| {}).unwrap();
    assert_eq!(origin.tags.root().unwrap(), tags.root().unwrap());
    drop(handle);
}

#[test]
fn what_was_imported_verifies_on_disk() {
    let origin = Origin::new(5_000);
    let dir = tempfile::tempdir().unwrap();
    let there = Node::builder().data_dir(dir.path()).build().unwrap();
    // In two pieces, of which the first was cut short.
    let bundle = origin.export();
    there.import(&bundle[..bundle.len() * 9 / 10], |_| {}).unwrap_err();
    there.import(&bundle[..], |_| {}).unwrap();
    drop(there);
    let report = xaeroflux::verify(dir.path(), &xaeroflux::VerifyOptions::default(), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

/// Gives a byte at a time, as a slow pipe may.
struct Dripping<'a>(&'a [u8]);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

#[test]
fn a_reader_may_be_slow_and_may_fail() {
    let origin = Origin::new(40);
    let bundle = origin.export();
    let there = Node::ephemeral().unwrap();
    assert_eq!(there.import(Dripping(&bundle), |_| {}).unwrap().new, 40);
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the stick was pulled out"))
        }
    }
    let error = there.import(bundle[..100].chain(Failing), |_| {}).unwrap_err();
    assert!(matches!(*error.failure, ImportFailure::Read(_)), "{error}");
    let none = there.import(io::empty(), |_| {}).unwrap_err();
    assert!(matches!(*none.failure, ImportFailure::Bundle(BundleError::CutShort { at: 0, .. })), "{none}");
}
