//! Every author's log has a signed head: after a publish, after a crash, and where the log was written before there were
//! any.

mod support;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use xaeroflux::{
    Node, Subject, XaeroEvent, XaeroID,
    event::{CRDT_SET_ADD, EventId},
    wire::mmr::{Hash, Peaks},
};

/// The root over these events, made from nothing but their ids.
fn root_of(subject: &Subject, author: XaeroID) -> (u64, Hash) {
    let mut peaks = Peaks::new();
    subject
        .for_each_archived(xaeroflux::ScanWindow { start: 0, end: u64::MAX }, |record| {
            if record.author() == author {
                peaks.push(record.id().as_bytes());
            }
            true
        })
        .unwrap();
    (peaks.len(), peaks.root())
}

fn add(text: &str, author: XaeroID) -> XaeroEvent {
    XaeroEvent::new(text, CRDT_SET_ADD).by(author)
}

/// Asserts that the author's head is signed with its key and covers the whole log, and returns its length.
fn assert_signed(node: &Node, name: &str, author: XaeroID, subject: &Subject) -> u64 {
    let signed = subject.signed_head(author).unwrap().unwrap_or_else(|| panic!("{name} has a signed head"));
    if let Ok(key) = node.public_key(name)
        && key.id() == author
    {
        signed.verify(&key).unwrap();
    }
    assert_eq!((signed.head().length, signed.head().root), root_of(subject, author));
    assert_eq!((signed.head().author, signed.head().subject), (author, subject.id()));
    signed.head().length
}

#[test]
fn what_is_published_is_covered_by_the_authors_signed_head() {
    let node = Node::ephemeral().unwrap();
    let (alice, bob) = (node.identity("alice").unwrap(), node.identity("bob").unwrap());
    let tags = node.subject("tags");
    let _handle = tags.run().unwrap();
    for n in 0..300 {
        let author = if n % 3 == 0 { bob } else { alice };
        let receipt = tags.publish(add(&format!("tag {n}"), author));
        if n % 50 == 0 {
            receipt.wait().unwrap();
            assert_eq!(assert_signed(&node, "bob", bob, &tags), n / 3 + 1);
        }
    }
    tags.publish(add("last", alice)).wait().unwrap();
    assert_eq!(assert_signed(&node, "alice", alice, &tags), 201);
    assert_eq!(assert_signed(&node, "bob", bob, &tags), 100);
}

#[test]
fn one_signature_covers_the_heads_of_many_subjects() {
    let node = Node::ephemeral().unwrap();
    let alice = node.identity("alice").unwrap();
    let subjects: Vec<Subject> = (0..50).map(|n| node.subject(format!("subject/{n}"))).collect();
    let handles: Vec<_> = subjects.iter().map(|subject| subject.run().unwrap()).collect();
    let mut receipts = Vec::new();
    for round in 0..4 {
        receipts.extend(subjects.iter().map(|subject| subject.publish(add(&format!("{round}"), alice))));
    }
    receipts.into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
    let mut largest = 0;
    for subject in &subjects {
        assert_eq!(assert_signed(&node, "alice", alice, subject), 4);
        largest = largest.max(subject.signed_head(alice).unwrap().unwrap().batch_size());
    }
    assert!(largest > 1, "a commit over many subjects has one signature");
    drop(handles);
}

#[test]
fn heads_are_signed_and_equal_after_every_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut roots: Vec<(u64, Hash)> = Vec::new();
    for round in 0..4_u64 {
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        let alice = node.identity("alice").unwrap();
        let tags = node.subject("tags");
        let handle = tags.run().unwrap();
        if let Some(before) = roots.last() {
            let signed = tags.signed_head(alice).unwrap().unwrap();
            assert_eq!((signed.head().length, signed.head().root), *before);
        }
        let receipts = tags.publish_all((0..70).map(|n| add(&format!("{round} {n}"), alice)));
        receipts.into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
        assert_eq!(assert_signed(&node, "alice", alice, &tags), (round + 1) * 70);
        roots.push(root_of(&tags, alice));
        drop(handle);
    }
}

#[test]
fn two_nodes_have_the_same_root_exactly_when_they_hold_the_same_events() {
    let (here, there) = (Node::ephemeral().unwrap(), Node::ephemeral().unwrap());
    let (ours, theirs) = (here.subject("tags"), there.subject("tags"));
    let _handles = (ours.run().unwrap(), theirs.run().unwrap());
    assert_eq!(ours.root().unwrap(), theirs.root().unwrap());
    for n in 0..20 {
        ours.publish(XaeroEvent::new(format!("ours {n}"), CRDT_SET_ADD)).wait().unwrap();
        theirs.publish(XaeroEvent::new(format!("theirs {n}"), CRDT_SET_ADD)).wait().unwrap();
        assert_ne!(ours.root().unwrap(), theirs.root().unwrap());
        for (from, to) in [(&ours, &theirs), (&theirs, &ours)] {
            to.ingest(from.frames(0, 1_000).unwrap()).unwrap().wait().unwrap();
        }
        assert_eq!(ours.root().unwrap(), theirs.root().unwrap());
    }
}

#[test]
fn nobody_signs_what_was_put_into_his_mouth() {
    let (here, there) = (Node::ephemeral().unwrap(), Node::ephemeral().unwrap());
    let alice = here.identity("alice").unwrap();
    let (ours, theirs) = (here.subject("tags"), there.subject("tags"));
    let _handles = (ours.run().unwrap(), theirs.run().unwrap());
    ours.publish(add("mine", alice)).wait().unwrap();
    // Another node holds alice's event and a forged second one, and hands both over.
    let mut forged = Vec::new();
    xaeroflux::wire::frame::encode_into(
        &mut forged,
        &xaeroflux::wire::record::Record {
            subject: ours.id(),
            dot: xaeroflux::Dot::new(alice, 2),
            clock: xaeroflux::event::Clock::from_millis(4_000_000_000),
            latest_ts: 1,
            deps: &[],
            event_type: xaeroflux::EventType::ApplicationEvent(CRDT_SET_ADD),
            payload: b"forged",
        },
    )
    .unwrap();
    let outcomes = ours.ingest(vec![forged]).unwrap().wait().unwrap();
    let refused =
        matches!(outcomes[..], [xaeroflux::IngestOutcome::Refused(xaeroflux::IngestRefusal::OwnAuthor { .. })]);
    assert!(refused, "{outcomes:?}");
    assert_eq!(assert_signed(&here, "alice", alice, &ours), 1);
    // Where her key comes to a node that took the forged event, it does not sign it there either.
    let frames = ours.frames(0, 10).unwrap();
    theirs.ingest(frames).unwrap().wait().unwrap();
    let dir = tempfile::tempdir().unwrap();
    here.export_identity("alice", dir.path().join("alice.key")).unwrap();
    there.import_identity("alice", dir.path().join("alice.key")).unwrap();
    assert!(theirs.signed_head(alice).unwrap().is_none());
}

/// A directory as it was written before there were trees and signatures.
fn unpack(name: &str) -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format1").join(name);
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    let copy = |from: PathBuf, to: PathBuf| {
        fs::copy(&from, &to).unwrap();
    };
    copy(from.join("FORMAT"), dir.path().join("FORMAT"));
    for key in ["alice.key", "bob.key"] {
        let to = dir.path().join("keys").join(key);
        copy(from.join("keys").join(key), to.clone());
        fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(dir.path().join("keys"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut data = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(from.join("data.mdb.gz")).unwrap()).read_to_end(&mut data).unwrap();
    fs::write(dir.path().join("data.mdb"), data).unwrap();
    dir
}

#[test]
fn a_directory_of_the_first_format_gets_its_trees_and_signatures_when_it_is_opened() {
    for (name, alices, last) in [
        ("clean", 150, "323b8fe30c907c846bb55a80758db878c84fc8e665b37c727306cf78d94f208f"),
        ("killed", 280, "49b3cd4b07671e620e8df3ffdd60cfa8ce330c123fda4ad1d09c5613978cfba9"),
    ] {
        let dir = unpack(name);
        for reopened in 0..3 {
            let node = Node::builder().data_dir(dir.path()).build().unwrap();
            let (tags, votes) = (node.subject("old/tags"), node.subject("old/votes"));
            let _handles = (tags.run().unwrap(), votes.run().unwrap());
            // The directory is a copy of the one that it was made in: its keys are retired, and sign what they wrote.
            let mut authors = Vec::new();
            let mut ids: Vec<EventId> = Vec::new();
            let all = xaeroflux::ScanWindow { start: 0, end: u64::MAX };
            tags.for_each_archived(all, |record| {
                authors.push(record.author());
                ids.push(record.id());
                true
            })
            .unwrap();
            let (alice, bob) = (authors[0], authors[150]);
            assert!(ids.iter().any(|id| id.to_string() == last));
            assert_eq!(assert_signed(&node, "alice", alice, &tags), alices);
            assert_eq!(assert_signed(&node, "bob", bob, &tags), 70);
            assert_eq!(assert_signed(&node, "bob", bob, &votes), 5);
            let alice = node.identity("alice").unwrap();
            tags.publish(add(&format!("new {reopened}"), alice)).wait().unwrap();
            assert_eq!(assert_signed(&node, "alice", alice, &tags), reopened + 1);
        }
        assert_eq!(fs::read_to_string(dir.path().join("FORMAT")).unwrap(), "xaeroflux data 2\nbegun\n");
    }
}
