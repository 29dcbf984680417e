//! Trust under faults: whatever fails between an event and the signature over it, nothing is lost, nothing hangs, what is
//! signed is what is there, and it is made up for what was missed.
//!
//! Debug builds only: the fault points are not in any other.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use fault_kit::{
    PATIENCE, in_time, log_of, notice, quiet,
    trust::{Seen, assert_proven, assert_signed, assert_whole, leaves_of, rows},
    until,
};
use xaeroflux::{
    ChildKind, Error, ExportOptions, Handle, Node, NodeBuilder, Notice, PublishError, Subject, XaeroEvent, XaeroID,
    actors::fault::{Action, arm},
    event::CRDT_SET_ADD,
    wire::proof::EventProof,
};

const NAMES: [&str; 2] = ["alice", "bob"];

fn builder(dir: &Path) -> NodeBuilder {
    // What is to go wrong beside a commit is to be on its way at that moment.
    Node::builder().data_dir(dir).signing_pause(std::time::Duration::ZERO)
}

fn open(dir: &Path) -> (Node, Subject, Handle) {
    start(builder(dir))
}

fn start(builder: NodeBuilder) -> (Node, Subject, Handle) {
    quiet();
    let node = builder.build().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    (node, subject, handle)
}

fn scope(dir: &Path) -> String {
    dir.to_string_lossy().into_owned()
}

fn event(text: impl Into<String>, author: XaeroID) -> XaeroEvent {
    XaeroEvent::new(text.into(), CRDT_SET_ADD).by(author)
}

/// Publishes and waits for the receipts.
fn publish(subject: &Subject, author: XaeroID, count: usize) {
    let receipts = subject.publish_all((0..count).map(|n| event(format!("{n}"), author)));
    for receipt in receipts {
        receipt.wait_timeout(PATIENCE).expect("a receipt hangs").unwrap();
    }
}

fn is_unsigned(proof: &Result<EventProof, Error>) -> bool {
    matches!(proof, Err(error @ Error::Unsigned { .. }) if error.to_string().contains("key"))
}

/// `prove`, which must not hang.
fn prove(subject: &Subject, author: XaeroID, seq: u64) -> Result<EventProof, Error> {
    let subject = subject.clone();
    in_time("a proof", move || subject.prove(author, seq))
}

// The MMR actor.

#[test]
fn an_mmr_actor_that_dies_again_and_again_catches_up_to_the_same_nodes_and_proofs() {
    const DEATHS: u64 = 4;
    for (name, point) in [("mmr, received", "mmr.received"), ("mmr, submitted", "mmr.submitted"), ("mmr, killed", "")] {
        quiet();
        let dir = tempfile::tempdir().unwrap();
        let node = builder(dir.path()).build().unwrap();
        let authors = NAMES.map(|name| node.identity(name).unwrap());
        let subject = node.subject(name);
        let (notices, handle) = (subject.notices(), subject.run().unwrap());
        let guard = (!point.is_empty()).then(|| arm(Some(name), point, Action::Panic, 1, DEATHS));
        let mut deaths = 0;
        while deaths < DEATHS {
            if guard.is_none() {
                handle.kill_child(ChildKind::Mmr);
            }
            thread::scope(|scope| {
                let subject = &subject;
                authors
                    .iter()
                    .for_each(|&author| drop(scope.spawn(move || publish(subject, author, 130 + 7 * deaths as usize))));
            });
            while let Some(told) = notices.next_timeout(std::time::Duration::ZERO) {
                let died = matches!(told, Notice::ChildDied { child: ChildKind::Mmr, panicked: true, .. });
                deaths += u64::from(died);
            }
        }
        notice(&notices, "started again", |notice| {
            matches!(notice, Notice::ChildRestarted { child: ChildKind::Mmr, .. }).then_some(())
        });
        assert!(handle.failure().is_none(), "{name}: the subject goes on");
        publish(&subject, authors[0], 300);
        publish(&subject, authors[1], 300);
        for name in NAMES {
            assert_proven(&node, &subject, name, (1..300).step_by(37).chain([64, 128, 300]), point);
        }
        // A node that never failed gets the same events, and makes the same nodes of them.
        let mut bundle = Vec::new();
        subject.export(&mut bundle, ExportOptions::new()).unwrap();
        let other = tempfile::tempdir().unwrap();
        let unfailed = builder(other.path()).build().unwrap();
        unfailed.import(bundle.as_slice(), |_| {}).unwrap();
        let theirs = unfailed.subject(name);
        assert_eq!(theirs.root().unwrap(), subject.root().unwrap(), "{name}");
        let lengths = leaves_of(&subject);
        for (who, author) in NAMES.into_iter().zip(authors) {
            // The newest head is asked for where no older one covers the event.
            prove(&subject, author, lengths[&author].len() as u64).unwrap();
            for seq in [1, 63, 64, 65, 299] {
                let (ours, theirs) = (prove(&subject, author, seq).unwrap(), prove(&theirs, author, seq).unwrap());
                assert_eq!(ours.inclusion(), theirs.inclusion(), "{name}: {who}:{seq}");
                assert_eq!(ours.head().head(), theirs.head().head(), "{name}: {who}:{seq}");
            }
        }
        let groups: u64 = leaves_of(&subject).values().map(|leaves| leaves.len() as u64 / 64).sum();
        drop((handle, notices, subject, theirs, node, unfailed));
        assert_whole(dir.path(), 0, name);
        assert_eq!(nodes(dir.path(), name, groups), nodes(other.path(), name, groups), "{name}");
    }
}

/// The stored nodes, once there are so many rows: a start with one event more has the rest made.
fn nodes(dir: &Path, subject: &str, groups: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    until("all nodes are stored", || {
        {
            let node = builder(dir).build().unwrap();
            let subject = node.subject(subject);
            let _handle = subject.run().unwrap();
            publish(&subject, node.identity("another").unwrap(), 1);
        }
        found = rows(dir, "nodes");
        found.len() as u64 >= groups
    });
    // The author of these single events may have come to a row of its own.
    found.truncate(groups as usize);
    found
}

#[test]
fn an_mmr_actor_that_dies_each_time_is_given_up_with_its_subject_and_nothing_is_lost() {
    quiet();
    let node = Node::ephemeral().unwrap();
    let alice = node.identity("alice").unwrap();
    let subject = node.subject("mmr, given up");
    let (notices, handle) = (subject.notices(), subject.run().unwrap());
    let guard = arm(Some("mmr, given up"), "mmr.received", Action::Panic, 1, u64::MAX);
    let mut acks = Vec::new();
    until("the subject is given up", || {
        let receipts = subject.publish_all((0..256).map(|n| event(format!("{n}"), alice)));
        for (n, receipt) in receipts.into_iter().enumerate() {
            // What comes after the end is refused, and told so.
            if let Ok(ack) = receipt.wait_timeout(PATIENCE).expect("a receipt hangs") {
                acks.push((ack, format!("{n}").into_bytes()));
            }
        }
        handle.failure().is_some()
    });
    let reason = handle.failure().unwrap().to_string();
    assert!(reason.contains("MMR actor was given up"), "{reason}");
    notice(&notices, "escalated", |notice| matches!(notice, Notice::Escalated { .. }).then_some(()));
    in_time("drop of a subject that was given up", move || drop(handle));
    drop(guard);
    let log = log_of(&subject);
    // By place: a subject that is given up has had many events by then.
    let found: HashMap<_, _> = log.iter().map(|logged| ((logged.author, logged.seq), logged)).collect();
    assert_eq!(found.len(), log.len(), "each once");
    for (ack, payload) in &acks {
        let logged = found[&(ack.author, ack.seq)];
        assert!(logged.id == ack.id && logged.payload == *payload, "{ack}");
    }
    let _again = subject.run().unwrap();
    publish(&subject, alice, 1);
    assert_proven(&node, &subject, "alice", [1, 64, acks.len() as u64], "run again");
}

// The signing thread.

#[test]
fn a_signing_thread_that_panics_signs_with_the_next_job_and_a_proof_asked_for_meanwhile_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let (node, subject, handle) = open(dir.path());
    let alice = node.identity("alice").unwrap();
    for panics in 1..3 {
        let guard = arm(Some(&scope(dir.path())), "signing.job", Action::Panic, 1, panics);
        publish(&subject, alice, 5);
        assert_proven(&node, &subject, "alice", [5 * panics, 1], "after a panic");
        assert_eq!(guard.fired(), panics);
    }
    // Asked while the job that panics is on its way.
    let block = arm(Some(&scope(dir.path())), "signing.job", Action::Block, 1, 1);
    let panic = arm(Some(&scope(dir.path())), "signing.job", Action::Panic, 1, 1);
    publish(&subject, alice, 5);
    assert!(block.wait_fired(1, PATIENCE));
    let asked = subject.clone();
    let proof = thread::spawn(move || prove(&asked, alice, 15));
    block.release();
    proof.join().unwrap().unwrap().verify(&node.public_key("alice").unwrap()).unwrap();
    assert_eq!(panic.fired(), 1);
    drop((handle, subject, node));
    assert_whole(dir.path(), 0, "afterwards");
}

/// What another author has signed and not stored yet does not stand for what the job that panicked was to sign.
#[test]
fn a_job_that_panics_is_not_forgotten_beside_the_signature_of_another_author() {
    let dir = tempfile::tempdir().unwrap();
    let (node, subject, handle) = open(dir.path());
    let [alice, bob] = NAMES.map(|name| node.identity(name).unwrap());
    let block = arm(Some(&scope(dir.path())), "signing.job", Action::Block, 1, 1);
    let panic = arm(Some(&scope(dir.path())), "signing.job", Action::Panic, 2, 1);
    let next = arm(Some(&scope(dir.path())), "signing.job", Action::Block, 3, 1);
    publish(&subject, alice, 3);
    assert!(block.wait_fired(1, PATIENCE));
    publish(&subject, bob, 3);
    block.release();
    // Nobody asks, and nothing else is committed.
    assert!(next.wait_fired(1, PATIENCE), "bob's head is part of the next job");
    next.release();
    assert_signed(&node, &subject, &NAMES, &mut Seen::default(), "after the panic");
    assert_eq!(panic.fired(), 1);
    drop((handle, subject, node));
    assert_whole(dir.path(), 0, "afterwards");
}

#[test]
fn a_signing_thread_that_panics_each_time_holds_up_nobody_and_the_next_start_signs() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (node, subject, handle) = open(dir.path());
        let alice = node.identity("alice").unwrap();
        let guard = arm(Some(&scope(dir.path())), "signing.job", Action::Panic, 1, u64::MAX);
        let (tell, told) = mpsc::channel();
        let _proven = subject.filter_merkle_proofs().subscribe(move |event| tell.send(event).unwrap());
        publish(&subject, alice, 100);
        let proof = prove(&subject, alice, 100);
        assert!(is_unsigned(&proof), "{proof:?}");
        assert!(guard.fired() < 20, "it is not tried for ever: {}", guard.fired());
        assert!(handle.failure().is_none());
        in_time("drop", move || drop(handle));
        assert!(told.try_recv().is_err());
    }
    let (node, subject, _handle) = open(dir.path());
    assert_signed(&node, &subject, &["alice"], &mut Seen::default(), "the next start");
}

#[test]
fn a_subject_that_is_stopped_waits_for_no_signature() {
    let dir = tempfile::tempdir().unwrap();
    let (node, subject, handle) = open(dir.path());
    let alice = node.identity("alice").unwrap();
    let (tell, told) = mpsc::channel();
    let proven = subject.filter_merkle_proofs().subscribe(move |event| tell.send(event).unwrap());
    let block = arm(Some(&scope(dir.path())), "signing.job", Action::Block, 1, 1);
    publish(&subject, alice, 10);
    assert!(block.wait_fired(1, PATIENCE));
    let dropped = thread::spawn(move || in_time("drop while a signature is on its way", move || drop(handle)));
    // The end of a subject delivers what was published before it, so this is as long as it may take.
    block.release();
    dropped.join().unwrap();
    in_time("drop of the subscription", move || drop(proven));
    for n in 0..10 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap().evt.data, format!("{n}").as_bytes());
    }
}

// Commits that fail.

/// Every batch is stamped with another millisecond, so that one that is committed again has other ids.
fn ticking(dir: &Path) -> NodeBuilder {
    let now = Arc::new(AtomicU64::new(1_000_000));
    builder(dir).clock(move || now.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn heads_of_a_commit_that_never_was_are_never_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let points = ["committer.before_commit", "committer.after_commit", "committer.after_put", "committer.received"];
    for point in points {
        let (node, subject, handle) = start(ticking(dir.path()));
        let [alice, bob] = NAMES.map(|name| node.identity(name).unwrap());
        for hit in 1..4 {
            let what = format!("{point}, {hit}");
            publish(&subject, alice, 2);
            assert_signed(&node, &subject, &["alice"], &mut seen, &what);
            let block = arm(Some(&scope(dir.path())), "signing.job", Action::Block, 1, 1);
            let panic = arm(Some(&scope(dir.path())), point, Action::Panic, hit, 1);
            for n in 0..4 {
                publish(&subject, if n % 2 == 0 { alice } else { bob }, 1 + n);
            }
            assert!(panic.fired() == 1 && block.wait_fired(1, PATIENCE), "{what}");
            block.release();
            seen.ask(&subject, alice);
            assert_signed(&node, &subject, &NAMES, &mut seen, &what);
        }
        assert_proven(&node, &subject, "alice", 1..=10, point);
        drop((handle, subject, node));
        seen.read(dir.path());
        assert_whole(dir.path(), 0, point);
    }
    let (_node, subject, _handle) = start(ticking(dir.path()));
    seen.assert_of(&subject, "at the end");
}

#[test]
fn heads_of_a_commit_whose_sync_failed_are_never_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let wall = Arc::new(AtomicU64::new(1_000_000));
    for round in 0..4 {
        let now = Arc::clone(&wall);
        let builder = builder(dir.path()).clock(move || now.fetch_add(1, Ordering::Relaxed));
        let (node, subject, handle) = start(builder);
        let alice = node.identity("alice").unwrap();
        publish(&subject, alice, 3);
        assert_signed(&node, &subject, &["alice"], &mut seen, "before");
        let before = log_of(&subject).len();
        let block = arm(Some(&scope(dir.path())), "signing.job", Action::Block, 1, 1);
        let fails = arm(Some(&scope(dir.path())), "committer.commit_fails", Action::Fail, 1, 1);
        let receipt = subject.publish(event(format!("lost {round}"), alice));
        let lost = receipt.wait_timeout(PATIENCE).expect("a receipt hangs").unwrap_err();
        assert!(matches!(lost, PublishError::Poisoned { .. }), "{lost:?}");
        assert_eq!((fails.fired(), block.wait_fired(1, PATIENCE)), (1, true));
        block.release();
        // Nobody is told of a head from now on, and nobody waits for one.
        let asked = subject.clone();
        assert!(in_time("a head of a poisoned node", move || asked.signed_head(alice)).is_err());
        in_time("drop", move || drop((handle, subject, node)));
        seen.read(dir.path());
        let (_node, subject, _handle) = start(ticking(dir.path()));
        assert_eq!(log_of(&subject).len(), before);
        seen.assert_of(&subject, "after the failed sync");
    }
}
