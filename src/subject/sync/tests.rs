//! What leaves one node enters another, with no network in between.

mod partial;

use std::sync::Arc;

use super::{
    intake::{Intake, IntakeError, Taken, Verdict},
    outlet::Outlet,
    replica::Replica,
    sent::PeerSent,
};
use crate::{
    Handle, Node, Subject, XaeroEvent, XaeroID,
    actors::committer::{IngestOutcome, submission::ForeignBatch},
    wire::{
        event::{CRDT_SET_ADD, CRDT_SET_REMOVE},
        sync::{Events, SyncError},
    },
};

struct Side {
    subject: Subject,
    replica: Replica,
    author: XaeroID,
    intake: Intake,
    _handle: Handle,
    node: Node,
}

impl Side {
    fn new() -> Self {
        let node = Node::ephemeral().unwrap();
        let subject = node.subject("workspace/shared/object/tags");
        Self::of(node, subject)
    }

    fn of(node: Node, subject: Subject) -> Self {
        let (author, handle) = (node.own_identity().unwrap(), subject.run().unwrap());
        let (engine, log) = subject.log().unwrap();
        Self {
            subject,
            replica: Replica { engine, log, interests: Arc::default() },
            author,
            intake: Intake::default(),
            _handle: handle,
            node,
        }
    }

    fn add(&self, text: &str) {
        self.subject.publish(XaeroEvent::new(text, CRDT_SET_ADD)).wait().unwrap();
    }

    /// Hands a chunk to the log, and what follows from it.
    fn take(&mut self, chunk: &Events) -> Result<Taken, IntakeError> {
        loop {
            match self.intake.receive(&self.replica, chunk)? {
                Verdict::Forked(evidence) => drop(self.hand_over(evidence)),
                Verdict::Take(verified) => {
                    let outcomes = self.hand_over(Arc::clone(&verified.batch));
                    return Ok(self.intake.settle(&self.replica, chunk, &verified, &outcomes)?.0);
                }
            }
        }
    }

    fn hand_over(&self, batch: Arc<ForeignBatch>) -> Vec<IngestOutcome> {
        self.subject.take_foreign(batch).unwrap().wait().unwrap()
    }

    fn root(&self) -> [u8; 32] {
        self.subject.root().unwrap()
    }
}

/// Carries over all that `to` lacks, and returns how many chunks that were and what became of them.
fn carry(from: &Side, to: &mut Side) -> (usize, Taken) {
    let mut outlet = Outlet::default();
    outlet.has(&from.replica, &to.replica.vector().unwrap()).unwrap();
    let (mut chunks, mut all) = (0, Taken::default());
    while let Some(chunk) = outlet.read(&from.replica).unwrap() {
        let taken = to.take(&chunk).unwrap();
        (chunks, all.new, all.known) = (chunks + 1, all.new + taken.new, all.known + taken.known);
    }
    (chunks, all)
}

#[test]
fn a_peer_gets_exactly_what_it_lacks() {
    let (mut a, mut b) = (Side::new(), Side::new());
    for n in 0..10 {
        a.add(&format!("a{n}"));
    }
    assert_eq!(carry(&a, &mut b), (1, Taken { new: 10, known: 0 }));
    assert_eq!(a.root(), b.root());
    assert_eq!(carry(&a, &mut b), (0, Taken::default()));
    for n in 0..5 {
        a.add(&format!("later{n}"));
        b.add(&format!("b{n}"));
    }
    assert_eq!(carry(&a, &mut b).1, Taken { new: 5, known: 0 });
    assert_eq!(carry(&b, &mut a).1, Taken { new: 5, known: 0 });
    assert_eq!(a.root(), b.root());
    assert_eq!(a.replica.look().unwrap().summary, b.replica.look().unwrap().summary);
}

#[test]
fn what_a_peer_has_sent_does_not_go_back_to_it() {
    let (a, mut b) = (Side::new(), Side::new());
    a.add("one");
    a.add("two");
    let chunk = Outlet::default().read(&a.replica).unwrap().unwrap();
    let sent = PeerSent::default();
    let mut to_a = Outlet::after(sent.clone());
    assert!(to_a.read(&b.replica).unwrap().is_none());
    // Noted before it is stored, as sessions do: the log grows before anybody hears that it is.
    sent.note(a.author, 2);
    b.take(&chunk).unwrap();
    b.add("three");
    let back = to_a.read(&b.replica).unwrap().unwrap();
    assert_eq!((back.len(), back.proofs().len()), (1, 1));
    assert_eq!(back.proofs()[0].author(), b.author);
    assert!(to_a.read(&b.replica).unwrap().is_none());
}

#[test]
fn what_came_from_a_peer_is_passed_on_with_its_proofs() {
    let (a, mut b, mut c) = (Side::new(), Side::new(), Side::new());
    a.add("urgent");
    carry(&a, &mut b);
    b.subject.publish(XaeroEvent::new("urgent", CRDT_SET_REMOVE)).wait().unwrap();
    assert_eq!(carry(&b, &mut c).1, Taken { new: 2, known: 0 });
    assert_eq!(b.root(), c.root());
    assert!(c.subject.prove(a.author, 1).is_ok(), "the author's head came along");
}

#[test]
fn a_log_of_many_chunks_is_taken_chunk_by_chunk_and_goes_on_where_it_ended() {
    let (a, mut b) = (Side::new(), Side::new());
    let events = (0..10_000_u32).map(|n| XaeroEvent::new(n.to_le_bytes(), CRDT_SET_ADD));
    for receipt in a.subject.publish_all(events) {
        receipt.wait().unwrap();
    }
    let mut outlet = Outlet::default();
    let first = outlet.read(&a.replica).unwrap().unwrap();
    assert!(first.len() < 10_000 && first.len() > 1_000);
    b.take(&first).unwrap();
    // The connection broke: what is here is known to be the author's, though no head ends there.
    let [entry] = b.replica.vector().unwrap()[..] else { panic!("one author") };
    assert_eq!((entry.author, entry.length), (a.author, first.len() as u64));
    let (chunks, taken) = carry(&a, &mut b);
    assert!(chunks >= 2);
    assert_eq!(taken, Taken { new: 10_000 - first.len() as u64, known: 0 });
    assert_eq!(a.root(), b.root());
}

#[test]
fn an_altered_event_is_an_offence_and_leaves_nothing_behind() {
    let (a, mut b) = (Side::new(), Side::new());
    a.add("urgent");
    a.add("reviewed");
    let chunk = Outlet::default().read(&a.replica).unwrap().unwrap();
    let mut refused = 0;
    for at in 0..chunk.body().len() {
        let mut body = chunk.body().to_vec();
        body[at] ^= 1;
        let Ok(altered) = Events::decode(body) else { continue };
        let error = b.take(&altered).unwrap_err();
        assert!(matches!(error, IntakeError::Offence(_)), "byte {at}: {error}");
        refused += 1;
    }
    assert!(refused > 100);
    assert_eq!(b.subject.count().unwrap(), 0);
    assert_eq!(b.take(&chunk).unwrap(), Taken { new: 2, known: 0 });
}

#[test]
fn events_that_do_not_continue_the_log_here_are_a_gap() {
    let (a, mut b) = (Side::new(), Side::new());
    a.add("one");
    a.add("two");
    let mut outlet = Outlet::default();
    outlet.raise(a.author, 1);
    let chunk = outlet.read(&a.replica).unwrap().unwrap();
    let error = b.take(&chunk).unwrap_err();
    assert!(matches!(error, IntakeError::Offence(SyncError::Gap { .. })), "{error}");
}

#[test]
fn two_histories_of_one_author_end_its_log_on_both_sides() {
    let (mut a, mut b, mut c) = (Side::new(), Side::new(), Side::new());
    let dir = tempfile::tempdir().unwrap();
    // One key in two places.
    let twin = a.node.identity("twin").unwrap();
    a.node.export_identity("twin", dir.path().join("twin.key")).unwrap();
    b.node.import_identity("twin", dir.path().join("twin.key")).unwrap();
    let publish = |side: &Side, text: &str| {
        side.subject.publish(XaeroEvent::new(text.to_owned(), CRDT_SET_ADD).by(twin)).wait().unwrap();
    };
    publish(&a, "both");
    carry(&a, &mut b);
    for n in 0..3 {
        publish(&a, &format!("left {n}"));
        publish(&b, &format!("right {n}"));
    }
    // The longer log is on this side: it is seen here that the other side has another one.
    publish(&b, "right 3");
    assert_eq!(carry(&a, &mut b).1, Taken::default());
    carry(&b, &mut a);
    assert_eq!(a.subject.cuts().unwrap().len(), 1);
    for fork in a.replica.forks().unwrap() {
        if let Some(batch) = super::intake::take_fork(&b.replica, fork).unwrap() {
            b.hand_over(batch);
        }
    }
    assert_eq!(a.subject.cuts().unwrap(), b.subject.cuts().unwrap());
    assert_eq!(a.subject.cuts().unwrap()[0].last_valid, 1);
    // What both have published again under fresh keys is carried over like anything else.
    carry(&a, &mut b);
    carry(&b, &mut a);
    assert_eq!(a.replica.look().unwrap().summary.root, b.replica.look().unwrap().summary.root);
    // Whoever knows nothing of it gets what counts, and the evidence.
    carry(&a, &mut c);
    for fork in a.replica.forks().unwrap() {
        if let Some(batch) = super::intake::take_fork(&c.replica, fork).unwrap() {
            c.hand_over(batch);
        }
    }
    assert_eq!(c.root(), a.root());
    assert_eq!(c.replica.look().unwrap().summary.cuts, a.replica.look().unwrap().summary.cuts);
}

#[test]
fn what_nobody_signed_waits_until_it_is() {
    let (a, mut b, mut c) = (Side::new(), Side::new(), Side::new());
    a.add("one");
    a.add("two");
    // By the door for frames, which knows nothing of heads.
    b.subject.ingest(a.subject.frames(0, 10).unwrap()).unwrap().wait().unwrap();
    assert!(b.replica.vector().unwrap().is_empty());
    let mut outlet = Outlet::default();
    assert!(outlet.read(&b.replica).unwrap().is_none(), "nothing leaves that nobody signed");
    assert!(outlet.is_blocked());
    assert_eq!(carry(&a, &mut b).1, Taken { new: 0, known: 2 });
    outlet.reconsider();
    let chunk = outlet.read(&b.replica).unwrap().unwrap();
    assert_eq!(c.take(&chunk).unwrap(), Taken { new: 2, known: 0 });
}

#[test]
fn what_is_past_the_end_of_a_role_is_exchanged_and_counts_on_neither_side() {
    let (first, second) = (Node::ephemeral().unwrap(), Node::ephemeral().unwrap());
    let board = first.create_owned("board").unwrap();
    let there = second.name_owned("ours", board.id()).unwrap();
    let (mut owner, mut writer) = (Side::of(first, board), Side::of(second, there));
    owner.subject.grant(writer.author, crate::Role::Writer).unwrap();
    carry(&owner, &mut writer);
    writer.add("kept");
    carry(&writer, &mut owner);
    assert_eq!(owner.root(), writer.root());
    owner.subject.revoke(writer.author).unwrap();
    writer.add("past the end");
    carry(&writer, &mut owner);
    carry(&owner, &mut writer);
    assert_eq!((owner.root(), owner.subject.count().unwrap()), (writer.root(), 6));
    let [ours, theirs] = [&owner, &writer].map(|side| side.replica.look().unwrap().summary);
    assert_eq!(ours, theirs);
    assert_eq!(owner.subject.members().unwrap(), writer.subject.members().unwrap());
    assert_eq!(carry(&owner, &mut writer), (0, Taken::default()));
}
