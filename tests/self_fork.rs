//! A key that was used in two places: its identity goes on under a fresh one, and what both places wrote counts, once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/backup.rs"]
mod backup;
mod fault_kit;

use std::{path::Path, process::Stdio};

use backup::{copy, restore};
use fault_kit::{child, counter, frame_of, notice, or_set, payloads_of, until, value_of};
use xaeroflux::{
    Dot, Explanation, ExportOptions, Fold, Handle, IngestRefusal, Node, Notice, Subject, Succession, VerifyOptions,
    XaeroEvent, XaeroID,
    event::{CRDT_COUNTER_INCREMENT, CRDT_SET_ADD, CRDT_SET_REMOVE, Clock},
};

const START_MS: u64 = 1_700_000_000_000;

struct Place {
    node: Node,
    subject: Subject,
    _handle: Handle,
}

impl Place {
    fn on(node: Node) -> Self {
        let subject = node.subject("shared");
        let handle = subject.run().unwrap();
        Self { node, subject, _handle: handle }
    }

    fn new() -> Self {
        Self::on(Node::builder().clock(|| START_MS).ephemeral().unwrap())
    }

    fn at(dir: &Path) -> Self {
        Self::on(Node::builder().clock(|| START_MS).data_dir(dir).build().unwrap())
    }

    fn publish(&self, text: &str, kind: u8, author: XaeroID) -> Dot {
        let receipt = self.subject.publish(XaeroEvent::new(text.to_owned(), kind).by(author)).wait().unwrap();
        Dot::new(receipt.author, receipt.seq)
    }

    fn bundle(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.subject.export(&mut out, ExportOptions::new()).unwrap();
        out
    }

    /// The elements of the resolved set.
    fn set(&self) -> Vec<String> {
        let state = self.subject.resolve(or_set()).unwrap().unwrap();
        let elements = rkyv::from_bytes::<Vec<Vec<u8>>, rkyv::rancor::Error>(&state.evt.data).unwrap();
        elements.into_iter().map(|element| String::from_utf8(element).unwrap()).collect()
    }
}

/// Brings what each has to the other.
fn exchange(one: &Place, other: &Place) {
    let (ours, theirs) = (one.bundle(), other.bundle());
    other.node.import(&ours[..], |_| {}).unwrap();
    one.node.import(&theirs[..], |_| {}).unwrap();
}

/// Two nodes with one key, which have a beginning in common.
fn two_places_with_one_key() -> (Place, Place, XaeroID) {
    let (one, other, dir) = (Place::new(), Place::new(), tempfile::tempdir().unwrap());
    let file = dir.path().join("alice.key");
    let alice = one.node.identity("alice").unwrap();
    one.node.export_identity("alice", &file).unwrap();
    other.node.import_identity("alice", &file).unwrap();
    one.publish("common", CRDT_SET_ADD, alice);
    other.node.import(&one.bundle()[..], |_| {}).unwrap();
    (one, other, alice)
}

#[test]
fn both_branches_count_once_and_both_places_agree() {
    let (one, other, alice) = two_places_with_one_key();
    let notices = [one.subject.notices(), other.subject.notices()];
    for n in 0..3 {
        one.publish(&format!("one {n}"), CRDT_SET_ADD, alice);
        other.publish(&format!("other {n}"), CRDT_SET_ADD, alice);
    }
    other.publish("other 3", CRDT_SET_ADD, alice);
    // The first round finds the fork, the others carry what was published again.
    for _ in 0..3 {
        exchange(&one, &other);
    }
    let expected = ["common", "one 0", "one 1", "one 2", "other 0", "other 1", "other 2", "other 3"];
    for (place, (notices, events)) in [&one, &other].iter().zip(notices.iter().zip([3, 4])) {
        let told = notice(notices, "healed", |notice| match notice {
            Notice::Healed { old, new, last_valid, events } => Some((*old, *new, *last_valid, *events)),
            _ => None,
        });
        let heir = place.node.find_identity("alice").unwrap();
        assert_eq!(told, (alice, heir, 1, events));
        let succession = Some(Succession { old: alice, new: heir });
        assert_eq!((place.node.successor(alice), place.node.predecessor(heir)), (succession.clone(), succession));
        assert_eq!(place.set(), expected);
        // Each once, besides the branch that is superseded here.
        let counted = payloads_of(&place.subject);
        assert_eq!(counted.len() as u64, 8 + events);
    }
    assert_eq!(one.subject.root().unwrap(), other.subject.root().unwrap());
    // Publishing goes on: by name, and for whoever kept the old identifier.
    let heir = one.node.identity("alice").unwrap();
    assert_eq!(one.publish("by name", CRDT_SET_ADD, heir), Dot::new(heir, 4));
    assert_eq!(one.publish("by the old identifier", CRDT_SET_ADD, alice), Dot::new(heir, 5));
    exchange(&one, &other);
    assert_eq!(one.subject.root().unwrap(), other.subject.root().unwrap());
    assert_eq!(other.set().len(), 10);
}

#[test]
fn a_removal_that_is_published_again_removes_what_it_had_seen_and_nothing_else() {
    let (one, other, alice) = two_places_with_one_key();
    let bob = other.node.identity("bob").unwrap();
    one.publish("draft", CRDT_SET_ADD, alice);
    one.publish("draft", CRDT_SET_REMOVE, alice);
    one.publish("common", CRDT_SET_REMOVE, alice);
    // Concurrent with the removals, and not seen by them.
    other.publish("draft", CRDT_SET_ADD, bob);
    other.publish("conflict", CRDT_SET_ADD, alice);
    for _ in 0..3 {
        exchange(&one, &other);
    }
    for place in [&one, &other] {
        assert_eq!(place.set(), ["conflict", "draft"]);
    }
    assert_eq!(one.subject.root().unwrap(), other.subject.root().unwrap());
}

#[test]
fn what_the_application_publishes_right_after_the_evidence_comes_after_what_it_published_before() {
    let (one, other, alice) = two_places_with_one_key();
    one.publish("mine", CRDT_SET_ADD, alice);
    other.publish("other", CRDT_SET_ADD, alice);
    let theirs = other.bundle();
    std::thread::scope(|scope| {
        let importing = scope.spawn(|| one.node.import(&theirs[..], |_| {}).unwrap());
        while !importing.is_finished() {
            one.publish("while it comes in", CRDT_SET_ADD, alice);
        }
    });
    one.publish("mine", CRDT_SET_REMOVE, alice);
    assert!(!one.set().contains(&"mine".to_owned()), "{:?}", one.set());
}

#[test]
fn a_directory_restored_in_place_publishes_its_branch_again() {
    let root = tempfile::tempdir().unwrap();
    let (dir, backup) = (root.path().join("node"), root.path().join("backup"));
    let elsewhere = Place::new();
    let alice = {
        let place = Place::at(&dir);
        let alice = place.node.identity("alice").unwrap();
        place.publish("backed up", CRDT_SET_ADD, alice);
        alice
    };
    copy(&dir, &backup);
    {
        let place = Place::at(&dir);
        place.publish("only peers have it", CRDT_SET_ADD, alice);
        elsewhere.node.import(&place.bundle()[..], |_| {}).unwrap();
    }
    // The files are overwritten, so that the directory does not notice.
    restore(&backup, &dir);
    let place = Place::at(&dir);
    assert_eq!(place.node.find_identity("alice"), Some(alice), "it was taken for a copy");
    place.publish("published too early", CRDT_SET_ADD, alice);
    for _ in 0..2 {
        exchange(&place, &elsewhere);
    }
    for side in [&place, &elsewhere] {
        assert_eq!(side.set(), ["backed up", "published too early"]);
    }
    assert_eq!(place.subject.root().unwrap(), elsewhere.subject.root().unwrap());
    let lost = elsewhere.subject.explain(alice, 2).unwrap();
    assert!(matches!(lost, Explanation::Superseded { last_valid: 1, again: None, .. }), "{lost}");
    let heir = place.node.find_identity("alice").unwrap();
    let again = Some(Dot::new(heir, 1));
    assert_eq!(
        place.subject.explain(alice, 2).unwrap(),
        Explanation::Superseded { dot: Dot::new(alice, 2), last_valid: 1, again }
    );
    drop((place, elsewhere));
    let report = xaeroflux::verify(&dir, &VerifyOptions::default(), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

#[test]
fn a_restored_copy_merges_with_its_original_and_nothing_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let (original, copied) = (root.path().join("original"), root.path().join("copy"));
    let alice = {
        let place = Place::at(&original);
        let alice = place.node.identity("alice").unwrap();
        place.publish("before", CRDT_SET_ADD, alice);
        alice
    };
    copy(&original, &copied);
    let (ours, theirs) = (Place::at(&original), Place::at(&copied));
    ours.publish("original", CRDT_SET_ADD, alice);
    let fresh = theirs.node.find_identity("alice").unwrap();
    assert_eq!(theirs.node.predecessor(fresh).map(|statement| statement.old), Some(alice));
    theirs.publish("copy", CRDT_SET_ADD, fresh);
    exchange(&ours, &theirs);
    assert_eq!((ours.set(), theirs.set()), (vec!["before".into(), "copy".into(), "original".into()], ours.set()));
    assert_eq!(ours.subject.root().unwrap(), theirs.subject.root().unwrap());
    assert!(ours.subject.cuts().unwrap().is_empty());
}

const DIR: &str = "XAEROFLUX_TEST_HEAL_DIR";
/// More than one transaction publishes again.
const BRANCH: i64 = 9_000;

/// Takes the other's bundle in, in a process that dies on the way.
fn import_and_die(dir: &Path) {
    let place = Place::at(dir);
    drop(place.node.import(&std::fs::read(dir.join("../bundle")).unwrap()[..], |_| {}));
    place.subject.count().unwrap();
}

#[test]
#[cfg(debug_assertions)]
fn wherever_the_process_dies_each_event_is_published_again_once() {
    if let Some(dir) = std::env::var_os(DIR) {
        return import_and_die(Path::new(&dir));
    }
    let root = tempfile::tempdir().unwrap();
    let (dir, backup) = (root.path().join("node"), root.path().join("backup"));
    let (other, key) = (Place::new(), root.path().join("alice.key"));
    let alice = {
        let place = Place::at(&dir);
        let alice = place.node.identity("alice").unwrap();
        place.node.export_identity("alice", &key).unwrap();
        let events = (0..BRANCH).map(|_| XaeroEvent::new(1_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT).by(alice));
        for receipt in place.subject.publish_all(events) {
            receipt.wait().unwrap();
        }
        alice
    };
    copy(&dir, &backup);
    other.node.import_identity("alice", &key).unwrap();
    let event = XaeroEvent::new(1_000_000_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT).by(alice);
    other.subject.publish(event).wait().unwrap();
    std::fs::write(root.path().join("bundle"), other.bundle()).unwrap();
    let mut died_between = 0;
    // Openings are commits too; then comes the cut, and three more publish again.
    for (point, hit) in (1..=9).flat_map(|hit| [("before", hit), ("after", hit)]) {
        // In place: a copy would have a key of its own, and fork nothing.
        restore(&backup, &dir);
        let fault = format!("committer.{point}_commit=abort@{hit}");
        let mut command = child("wherever_the_process_dies_each_event_is_published_again_once");
        command.env(DIR, &dir).env(xaeroflux::actors::fault::ENVIRONMENT, &fault);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        let left = std::fs::read_dir(dir.join("keys/continued")).is_ok();
        for round in 0..2 {
            let place = Place::at(&dir);
            let heir = || place.node.find_identity("alice").unwrap();
            let published = || {
                let authors = place.subject.authors().unwrap();
                authors.into_iter().find(|(author, ..)| *author == heir()).map_or(0, |(_, length, _)| length)
            };
            let begun = if left { published() } else { 0 };
            died_between += u64::from(round == 0 && left && begun > 0);
            place.node.import(&std::fs::read(root.path().join("bundle")).unwrap()[..], |_| {}).unwrap();
            until("all is published again", || heir() != alice && published() == BRANCH as u64);
            let total = value_of(&place.subject.resolve(counter(Fold::GCounter)).unwrap().unwrap());
            assert_eq!(total, BRANCH, "{fault}");
        }
        let report = xaeroflux::verify(&dir, &VerifyOptions::default(), &mut |_| {}).unwrap();
        assert!(report.is_whole(), "{fault}: {:?}", report.findings);
    }
    assert!(died_between >= 3, "{died_between}");
}

#[test]
fn each_fate_of_an_event_is_explained() {
    let place = Place::new();
    let alice = place.node.identity("alice").unwrap();
    let dot = place.publish("here", CRDT_SET_ADD, alice);
    place.subject.signed_head(alice).unwrap();
    let explain = |dot: Dot| place.subject.explain(dot.author, dot.seq).unwrap();
    let is_right = matches!(explain(dot), Explanation::Accepted { ordinal: 0, signed: true, refused: None, .. });
    assert!(is_right, "{}", explain(dot));
    let stranger = XaeroID::from([7; 32]);
    let [first, second, third, ahead] = [1, 2, 3, 1].map(|seq| Dot::new(stranger, seq));
    assert_eq!(explain(second), Explanation::Unknown { dot: second });
    let clock = Clock::from_millis(START_MS);
    let take = |dot, clock, deps: &[Dot], text: &[u8]| {
        let frame = frame_of(&place.subject, dot, clock, deps, text);
        place.subject.ingest(vec![frame]).unwrap().wait().unwrap()
    };
    take(third, clock, &[], b"third");
    assert_eq!(explain(third), Explanation::Waiting { dot: third, missing: second });
    let far = Clock::from_millis(START_MS + 48 * 60 * 60 * 1000);
    let ahead = Dot::new(XaeroID::from([8; 32]), ahead.seq);
    take(ahead, far, &[], b"ahead");
    assert_eq!(explain(ahead), Explanation::Held { dot: ahead, until_ms: START_MS + 24 * 60 * 60 * 1000 });
    let forged = Dot::new(alice, 2);
    take(forged, clock, &[], b"forged");
    let why = IngestRefusal::OwnAuthor { dot: forged };
    assert_eq!(explain(forged), Explanation::Refused { dot: forged, why });
    take(first, clock, &[], b"first");
    take(first, clock, &[], b"another first");
    let is_contested = matches!(
        explain(first),
        Explanation::Accepted { refused: Some(IngestRefusal::Fork { .. }), signed: false, .. }
    );
    assert!(is_contested, "{}", explain(first));
    for dot in [dot, first, second, third, ahead, forged] {
        let text = explain(dot).to_string();
        assert!(text.contains(&dot.to_string()) && !text.contains('\n'), "{text}");
    }
}
