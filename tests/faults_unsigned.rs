//! Events that could not be signed when they were written, for want of room or of a key, or because nobody was to sign:
//! they are durable all the same, everybody else is signed, whoever asks is told, and it is made up for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, Once},
};

use fault_kit::{
    PATIENCE, in_time, log_of,
    trust::{Seen, assert_proven, assert_signed, assert_whole},
    until,
};
use xaeroflux::{
    Acknowledged, Error, Handle, Node, NodeBuilder, PublishError, Subject, XaeroEvent, XaeroID, event::CRDT_SET_ADD,
};

const MIB: u64 = 1 << 20;
const NAMES: [&str; 2] = ["alice", "bob"];

fn builder(dir: &Path) -> NodeBuilder {
    Node::builder().data_dir(dir)
}

fn start(builder: NodeBuilder) -> (Node, Subject, Handle) {
    let node = builder.build().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    (node, subject, handle)
}

type Acks = Vec<(Acknowledged, Vec<u8>)>;

/// Publishes and waits for the receipts; says why what was refused was.
fn publish(subject: &Subject, author: XaeroID, count: usize, bytes: usize, acks: &mut Acks) -> Option<PublishError> {
    let base = acks.len();
    let payloads: Vec<Vec<u8>> = (0..count).map(|n| (base + n).to_le_bytes().repeat(bytes.div_ceil(8))).collect();
    let events = payloads.iter().map(|payload| XaeroEvent::new(payload.clone(), CRDT_SET_ADD).by(author));
    let mut refused = None;
    for (receipt, payload) in subject.publish_all(events).into_iter().zip(&payloads) {
        match receipt.wait_timeout(PATIENCE).expect("a receipt hangs") {
            Ok(ack) => acks.push((ack, payload.clone())),
            Err(error) => refused = Some(error),
        }
    }
    refused
}

/// As [`publish`], where nothing is refused.
fn publish_all(subject: &Subject, author: XaeroID, count: usize, bytes: usize, acks: &mut Acks) {
    let refused = publish(subject, author, count, bytes, acks);
    assert!(refused.is_none(), "{refused:?}");
}

fn assert_unsigned(subject: &Subject, author: XaeroID, seq: u64, what: &str) {
    let asked = subject.clone();
    let proof = in_time("a proof", move || asked.prove(author, seq));
    let says = |error: &Error| {
        let text = error.to_string();
        text.contains("key") && text.contains("open the node again")
    };
    assert!(matches!(&proof, Err(error @ Error::Unsigned { .. }) if says(error)), "{what}: {proof:?}");
}

fn assert_all_there(subject: &Subject, acks: &Acks) {
    let log = log_of(subject);
    assert_eq!(log.len(), acks.len());
    let known: HashMap<_, _> =
        log.iter().map(|event| ((event.author, event.seq), (event.id, &event.payload))).collect();
    for (ack, payload) in acks {
        assert_eq!(known.get(&(ack.author, ack.seq)), Some(&(ack.id, payload)), "{ack}");
    }
}

// No room.

/// Two authors fill the room that there is. Whatever does not fit, heads can be asked for and events be proven: that takes
/// none.
fn fill(node: &Node, subject: &Subject, bytes: usize, acks: &mut Acks, seen: &mut Seen, what: &str) -> PublishError {
    let authors = NAMES.map(|name| node.identity(name).unwrap());
    let refused = (0..20_000).find_map(|round| publish(subject, authors[round % 2], 1 + round % 40, bytes, acks));
    let refused = refused.expect("it was never full");
    for n in 0..30 {
        let lengths = authors.map(|author| acks.iter().filter(|(ack, _)| ack.author == author).count() as u64);
        assert_eq!(authors.map(|author| seen.ask(subject, author)), lengths, "{what}");
        // Some fit still, and some not.
        publish(subject, authors[n % 2], 1, bytes * (n % 3), acks);
    }
    assert_signed(node, subject, &NAMES, seen, what);
    for name in NAMES {
        assert_proven(node, subject, name, [1, 2], what);
    }
    assert_all_there(subject, acks);
    refused
}

#[test]
fn a_full_map_refuses_events_and_forgets_no_signature() {
    for bytes in [100, 8 << 10] {
        let what = format!("{bytes} bytes");
        let dir = tempfile::tempdir().unwrap();
        let (mut acks, mut seen) = (Acks::new(), Seen::default());
        {
            let (node, subject, handle) = start(builder(dir.path()).map_size(MIB));
            let refused = fill(&node, &subject, bytes, &mut acks, &mut seen, &what);
            assert!(matches!(refused, PublishError::StorageFull { .. }), "{refused:?}");
            assert!(handle.failure().is_none(), "the subject is well");
        }
        let (node, subject, handle) = start(builder(dir.path()).map_size(64 * MIB));
        assert_all_there(&subject, &acks);
        assert_signed(&node, &subject, &NAMES, &mut seen, &what);
        for name in NAMES {
            publish_all(&subject, node.identity(name).unwrap(), 100, bytes, &mut acks);
            let length = seen.ask(&subject, node.identity(name).unwrap());
            assert_proven(&node, &subject, name, (1..length).step_by(97).chain([length]), &what);
        }
        assert_signed(&node, &subject, &NAMES, &mut seen, &what);
        seen.assert_of(&subject, &what);
        drop((handle, subject, node));
        assert_whole(dir.path(), 0, &what);
    }
}

#[test]
fn a_full_disk_refuses_events_and_signs_when_there_is_room_again() {
    let parent = tempfile::tempdir().unwrap();
    let small = parent.path().join("small");
    fs::create_dir(&small).unwrap();
    let mount = |options: &str| {
        let args = ["-t", "tmpfs", "-o", options, "tmpfs"];
        Command::new("mount").args(args).arg(&small).output().is_ok_and(|output| output.status.success())
    };
    if !mount("size=4m") {
        println!("SKIPPED: a file system of its own cannot be mounted here (it takes root)");
        return;
    }
    let _unmount = Unmount(small.clone());
    let (dir, ballast) = (small.join("data"), small.join("ballast"));
    let (mut acks, mut seen) = (Acks::new(), Seen::default());
    let (node, subject, handle) = start(builder(&dir).segment_bytes(32 << 10));
    for (round, kib) in [1_536_usize, 1_280, 1_024].into_iter().enumerate() {
        let what = format!("full for the {}. time", round + 1);
        fs::write(&ballast, vec![0; kib << 10]).unwrap();
        let refused = fill(&node, &subject, 200, &mut acks, &mut seen, &what);
        assert!(matches!(refused, PublishError::DiskFull), "{refused:?}");
        assert!(handle.failure().is_none(), "the subject is well");
        fs::remove_file(&ballast).unwrap();
        for name in NAMES {
            publish_all(&subject, node.identity(name).unwrap(), 1, 200, &mut acks);
        }
        assert_signed(&node, &subject, &NAMES, &mut seen, &what);
    }
    seen.assert_of(&subject, "in the end");
    drop((handle, subject, node));
    assert_whole(&dir, 0, "in the end");
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: a test that failed may still hold files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

// No key.

/// Errors that were logged, by whatever thread.
static ERRORS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        ERRORS.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
}

/// What may happen to a key file: its bytes, and its mode.
fn mishaps(good: &[u8], other: &[u8]) -> Vec<(&'static str, Option<Vec<u8>>, u32)> {
    let mut flipped = good.to_vec();
    flipped[1_500] ^= 1;
    vec![
        ("removed", None, 0o600),
        ("empty", Some(Vec::new()), 0o600),
        ("all zeros", Some(vec![0; good.len()]), 0o600),
        ("cut short", Some(good[..1_000].to_vec()), 0o600),
        ("a bit flipped", Some(flipped), 0o600),
        ("readable by others", Some(good.to_vec()), 0o644),
        ("another author's", Some(other.to_vec()), 0o600),
    ]
}

fn put(path: &Path, bytes: Option<&[u8]>, mode: u32) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    if let Some(bytes) = bytes {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// A directory with two authors who have written nothing, the file of alice's key, its bytes, and those of bob's.
fn with_keys() -> (tempfile::TempDir, PathBuf, Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).build().unwrap();
    NAMES.iter().for_each(|name| assert!(node.identity(name).is_ok()));
    let path = dir.path().join("keys/alice.key");
    let (alice, bob) = (fs::read(&path).unwrap(), fs::read(dir.path().join("keys/bob.key")).unwrap());
    (dir, path, alice, bob)
}

#[test]
fn a_key_that_is_lost_before_it_signs_stops_no_event_and_no_other_author() {
    listen();
    let (dir, path, good, other) = with_keys();
    let (mut acks, mut seen) = (Acks::new(), Seen::default());
    for (what, bytes, mode) in mishaps(&good, &other) {
        let (node, subject, handle) = start(builder(dir.path()));
        let [alice, bob] = NAMES.map(|name| node.identity(name).unwrap());
        put(&path, bytes.as_deref(), mode);
        let from = acks.len() as u64 / 2;
        for _ in 0..5 {
            publish_all(&subject, alice, 10, 20, &mut acks);
            publish_all(&subject, bob, 10, 20, &mut acks);
        }
        assert_eq!(seen.ask(&subject, alice), from, "{what}: what was signed before");
        assert_unsigned(&subject, alice, from + 50, what);
        if from > 0 {
            assert_proven_up_to(&subject, alice, from);
        }
        assert_signed(&node, &subject, &["bob"], &mut seen, what);
        assert!(
            ERRORS.lock().unwrap().drain(..).any(|text| text.contains(&alice.to_string()) && text.contains("signed")),
            "{what}: it is logged"
        );
        drop((handle, subject, node));
        // It is back: a start is enough.
        put(&path, Some(&good), 0o600);
        let (node, subject, handle) = start(builder(dir.path()));
        assert_all_there(&subject, &acks);
        assert_signed(&node, &subject, &NAMES, &mut seen, what);
        assert_proven(&node, &subject, "alice", [1, from + 1, from + 50], what);
        drop((handle, subject, node));
        assert_whole(dir.path(), 0, what);
    }
}

/// An event that was signed before the key was lost.
fn assert_proven_up_to(subject: &Subject, author: XaeroID, seq: u64) {
    assert_eq!(subject.prove(author, seq).unwrap().header().seq(), seq);
}

#[test]
fn a_key_that_comes_back_signs_without_anybody_opening_the_subject() {
    let (dir, path, good, _) = with_keys();
    let mut acks = Acks::new();
    {
        let (node, subject, _handle) = start(builder(dir.path()));
        let alice = node.identity("alice").unwrap();
        put(&path, None, 0);
        publish_all(&subject, alice, 10, 20, &mut acks);
        assert_unsigned(&subject, alice, 1, "removed");
    }
    put(&path, Some(&good), 0o600);
    until("all is signed", || {
        drop(builder(dir.path()).build().unwrap());
        let report = xaeroflux::verify(dir.path(), &xaeroflux::VerifyOptions::default(), &mut |_| {}).unwrap();
        report.is_whole() && report.unsigned == 0
    });
}

#[test]
fn a_key_that_is_away_for_a_whole_run_of_the_node_signs_when_it_is_back() {
    let (dir, path, good, other) = with_keys();
    let (mut acks, mut seen) = (Acks::new(), Seen::default());
    let alice = {
        let (node, subject, _handle) = start(builder(dir.path()));
        let alice = node.identity("alice").unwrap();
        put(&path, None, 0);
        publish_all(&subject, alice, 10, 20, &mut acks);
        alice
    };
    // Under her name bob's key would be found, and not under his own.
    for (what, bytes, mode) in mishaps(&good, &other).into_iter().filter(|(what, _, _)| *what != "another author's") {
        put(&path, bytes.as_deref(), mode);
        let (node, subject, _handle) = start(builder(dir.path()));
        assert_eq!(node.find_identity("alice"), None, "{what}");
        assert_eq!(seen.ask(&subject, alice), 0, "{what}");
        assert_unsigned(&subject, alice, 5, what);
        let refused = subject.publish(XaeroEvent::new("x", CRDT_SET_ADD).by(alice)).wait_timeout(PATIENCE).unwrap();
        assert!(matches!(refused, Err(PublishError::UnknownAuthor { .. })), "{what}: {refused:?}");
        let bob = node.identity("bob").unwrap();
        publish_all(&subject, bob, 10, 20, &mut acks);
        assert_signed(&node, &subject, &["bob"], &mut seen, what);
    }
    put(&path, Some(&good), 0o600);
    let (node, subject, handle) = start(builder(dir.path()));
    assert_all_there(&subject, &acks);
    assert_signed(&node, &subject, &NAMES, &mut seen, "it is back");
    drop((handle, subject, node));
    assert_whole(dir.path(), 0, "it is back");
}

// Nobody is to sign.

#[test]
fn a_log_that_was_written_without_trees_gets_them_and_is_signed() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let mut lengths = 0;
    for round in 0..3 {
        let what = format!("round {round}");
        for signed in [false, true, false] {
            let node = if signed { builder(dir.path()) } else { builder(dir.path()).unsigned() }.build().unwrap();
            for name in ["s", "t"] {
                let subject = node.subject(name);
                let _handle = subject.run().unwrap();
                for who in NAMES {
                    publish_all(&subject, node.identity(who).unwrap(), 130, 20, &mut Acks::new());
                }
                if signed {
                    assert_signed(&node, &subject, &NAMES, &mut seen, &what);
                }
            }
            lengths += 130;
        }
        let node = builder(dir.path()).build().unwrap();
        for name in ["s", "t"] {
            let subject = node.subject(name);
            assert_signed(&node, &subject, &NAMES, &mut seen, &what);
            for who in NAMES {
                assert_eq!(seen.ask(&subject, node.identity(who).unwrap()), lengths, "{what}");
                assert_proven(&node, &subject, who, (1..lengths).step_by(41).chain([64, lengths]), &what);
            }
            seen.assert_of(&subject, &what);
        }
        drop(node);
        assert_whole(dir.path(), 0, &what);
    }
}

// What somebody else may have made up.

#[test]
fn an_imported_key_never_signs_what_came_before_it_without_a_signature() {
    let origin = Node::ephemeral().unwrap();
    let alice = origin.identity("alice").unwrap();
    let theirs = origin.subject("s");
    let _running = theirs.run().unwrap();
    let mut acks = Acks::new();
    publish_all(&theirs, alice, 70, 20, &mut acks);
    let (dir, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    origin.export_identity("alice", keys.path().join("alice")).unwrap();
    {
        let (node, subject, _handle) = start(builder(dir.path()));
        subject.ingest(theirs.frames(0, 100).unwrap()).unwrap().wait().unwrap();
        assert_eq!(node.import_identity("alice", keys.path().join("alice")).unwrap(), alice);
        assert_eq!(Seen::default().ask(&subject, alice), 0);
        // Not with what she writes here either: one signature covers all before it.
        publish_all(&subject, alice, 70, 20, &mut acks);
        assert_eq!(Seen::default().ask(&subject, alice), 0);
        assert!(matches!(subject.prove(alice, 140), Err(Error::Unsigned { .. })));
        // Elsewhere she signs.
        let other = node.subject("other");
        let _running = other.run().unwrap();
        publish_all(&other, alice, 3, 20, &mut Acks::new());
        assert_signed(&node, &other, &["alice"], &mut Seen::default(), "another subject");
    }
    for _ in 0..2 {
        let (node, subject, handle) = start(builder(dir.path()));
        assert_eq!(subject.count().unwrap(), 140);
        assert_eq!(Seen::default().ask(&subject, alice), 0, "after a restart");
        let asked = subject.clone();
        assert!(matches!(in_time("a proof", move || asked.prove(alice, 1)), Err(Error::Unsigned { .. })));
        drop((handle, subject, node));
        assert_whole(dir.path(), 140, "after a restart");
    }
}
