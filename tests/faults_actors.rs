//! Actors that panic at every place where it could matter: nothing is lost, nothing is there twice, nothing hangs.
//!
//! Debug builds only: the fault points are not in any other.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fault_kit::{PATIENCE, counter, holds, in_time, log_of, notice, payloads_of, quiet, until, value_of};
use xaeroflux::{
    ChildKind, Dot, Error, Fold, Mode, Node, Notice, PublishError, Subject, XaeroEvent, XaeroID,
    actors::fault::{Action, FaultGuard, POINTS, arm},
    event::CRDT_COUNTER_INCREMENT,
    subject::notice::Notices,
};

/// Events of each of the publishers.
const EACH: i64 = 60;

/// Publishers that wait for a receipt wait after so many events, so that there are several batches.
const BURST: usize = 5;

/// One subject, three publishers, one fold, and a fault: everything must be as if the fault had not been.
struct Scene {
    node: Node,
    subject: Subject,
    notices: Notices,
}

impl Scene {
    fn new(name: &str) -> Self {
        quiet();
        let node = Node::ephemeral().unwrap();
        let subject = node.subject(name);
        let notices = subject.notices();
        Self { node, subject, notices }
    }

    /// What fault points of the committer are armed for.
    fn directory(&self) -> String {
        self.node.data_dir().to_string_lossy().into_owned()
    }

    /// Publishes from three threads under the fault, and checks everything that was promised.
    fn play(&self, what: &str, guard: &FaultGuard, child: Option<ChildKind>) {
        let alice = self.node.identity("alice").unwrap();
        let bob = self.node.identity("bob").unwrap();
        let own = self.node.own_identity().unwrap();
        let (tell, told) = mpsc::channel();
        let highest = Arc::new(AtomicI64::new(0));
        let seen = Arc::clone(&highest);
        let total = 3 * EACH;
        let subscription =
            self.subject.batch(Duration::from_millis(2), Some(20), counter(Fold::PNCounter)).subscribe(move |state| {
                let value = value_of(&state);
                seen.fetch_max(value, Ordering::Relaxed);
                if value == total {
                    tell.send(()).unwrap();
                }
            });
        let handle = self.subject.run().unwrap();
        let receipts = thread::scope(|scope| {
            let publishers = [alice, bob].map(|author| {
                let subject = self.subject.clone();
                scope.spawn(move || with_receipts(&subject, author))
            });
            let subject = self.subject.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    subject.data.sink.tx.send(one(n)).unwrap();
                    if n % 4 == 3 {
                        thread::yield_now();
                    }
                }
            });
            publishers.map(|publisher| publisher.join().unwrap())
        });
        assert!(guard.wait_fired(1, PATIENCE), "{what}: the fault never happened");
        assert!(told.recv_timeout(PATIENCE).is_ok(), "{what}: the fold ends at {highest:?} of {total}");
        if let Some(child) = child {
            notice(&self.notices, what, |notice| match notice {
                Notice::ChildDied { child: died, panicked: true, restart_after: Some(_) } => {
                    (*died == child).then_some(())
                }
                _ => None,
            });
            notice(&self.notices, what, |notice| match notice {
                Notice::ChildRestarted { child: up, .. } => (*up == child).then_some(()),
                _ => None,
            });
        }
        drop(handle);
        drop(subscription);
        assert_eq!(highest.load(Ordering::Relaxed), total, "{what}: something was counted twice");
        let log = log_of(&self.subject);
        assert_eq!(log.len() as i64, total, "{what}");
        let mut places: HashMap<XaeroID, u64> = HashMap::new();
        for event in &log {
            let place = places.entry(event.author).or_default();
            *place += 1;
            assert_eq!(event.seq, *place, "{what}: the order of one author");
        }
        assert_eq!([alice, bob, own].map(|author| places[&author]), [EACH as u64; 3], "{what}");
        for (n, receipt) in receipts.iter().flat_map(|receipts| (1..).zip(receipts)) {
            assert_eq!(receipt.seq, n, "{what}");
            assert!(holds(&log, receipt, &1_i64.to_le_bytes()), "{what}: {receipt}");
        }
    }
}

fn one(_: i64) -> XaeroEvent {
    XaeroEvent::new(1_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT)
}

fn with_receipts(subject: &Subject, author: XaeroID) -> Vec<xaeroflux::Acknowledged> {
    let mut known = Vec::new();
    let mut open = Vec::new();
    for n in 0..EACH {
        open.push(subject.publish(one(n).by(author)));
        if open.len() == BURST {
            known.extend(open.drain(..).map(|receipt| receipt.wait_timeout(PATIENCE).expect("no receipt").unwrap()));
        }
    }
    assert!(open.is_empty());
    known
}

/// Plays a scene for each fault point of one actor, at each of its first hits.
fn panic_at_every_point(actor: &str, hits: u64, child: Option<ChildKind>) {
    let points = POINTS.iter().filter(|point| point.starts_with(actor) && **point != "committer.commit_fails");
    let mut played = 0;
    for point in points {
        for hit in 1..=hits {
            let what = format!("a panic at {point}, hit {hit}");
            let scene = Scene::new(&what);
            let scope = if actor == "committer." { scene.directory() } else { what.clone() };
            let guard = arm(Some(&scope), point, Action::Panic, hit, 1);
            scene.play(&what, &guard, child);
            played += 1;
        }
    }
    assert!(played >= 3 * hits);
}

#[test]
fn a_panic_at_every_point_of_the_aof_actor_loses_and_doubles_nothing() {
    panic_at_every_point("aof.", 3, Some(ChildKind::Aof));
}

#[test]
fn a_panic_at_every_point_of_the_committer_loses_and_doubles_nothing() {
    panic_at_every_point("committer.", 4, None);
}

#[test]
fn a_panic_at_every_point_of_the_batch_actor_loses_and_doubles_nothing() {
    panic_at_every_point("batch.", 3, Some(ChildKind::Batch));
}

#[test]
fn panics_again_and_again_lose_and_double_nothing_as_long_as_there_is_progress() {
    // Two panics in a row each time: one less than what makes a batch a suspect.
    let scene = Scene::new("again and again");
    let guard = arm(Some("again and again"), "aof.submitted", Action::Panic, 2, 2);
    let batch = arm(Some("again and again"), "batch.emit", Action::Panic, 2, 3);
    let commit = arm(Some(&scene.directory()), "committer.after_commit", Action::Panic, 3, 2);
    scene.play("again and again", &guard, None);
    assert_eq!((guard.fired(), batch.fired(), commit.fired()), (2, 3, 2));
}

#[test]
fn children_that_are_killed_while_events_are_published_lose_and_double_nothing() {
    for child in [ChildKind::Aof, ChildKind::Batch] {
        let name = format!("killed {child}");
        let scene = Scene::new(&name);
        let handle = scene.subject.run().unwrap();
        // The point is passed once for each batch; at the fourth the test has the child killed.
        let guard =
            arm(Some(&name), if child == ChildKind::Aof { "aof.received" } else { "batch.fold" }, Action::Block, 4, 1);
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(guard.wait_fired(1, PATIENCE));
                handle.kill_child(child);
                guard.release();
            });
            scene.play(&name, &guard, Some(child));
        });
    }
}

/// Events of a call of `ingest` that wait for their causes are as durable as those in the log: a panic between the
/// writing and the commit must not pass for a commit.
#[test]
fn a_panic_before_the_commit_of_events_that_wait_does_not_forget_them() {
    quiet();
    for point in ["committer.before_commit", "committer.after_commit"] {
        let node = Node::ephemeral().unwrap();
        let subject = node.subject("waiting");
        let handle = subject.run().unwrap();
        let (cause, effect) = (Dot::new(XaeroID::from([1; 32]), 1), Dot::new(XaeroID::from([1; 32]), 2));
        let at = xaeroflux::wire::clock::Clock::from_millis;
        let frames = [(cause, 1_000, b"cause"), (effect, 2_000, b"after")]
            .map(|(dot, ms, payload)| fault_kit::frame_of(&subject, dot, at(ms), &[], payload));
        let guard = arm(Some(&node.data_dir().to_string_lossy()), point, Action::Panic, 1, 1);
        let [first, second] = frames;
        let ingest =
            |frame: Vec<u8>| subject.ingest(vec![frame]).unwrap().wait_timeout(PATIENCE).expect("no outcome").unwrap();
        ingest(second);
        ingest(first);
        assert_eq!(guard.fired(), 1);
        assert_eq!(payloads_of(&subject), [b"cause", b"after"], "{point}");
        drop(handle);
    }
}

#[test]
fn a_batch_that_kills_the_aof_actor_each_time_is_set_aside_and_the_receipt_says_so() {
    quiet();
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("poison, receipt");
    let handle = subject.run().unwrap();
    let notices = subject.notices();
    subject.publish(one(0)).wait().unwrap();
    let guard = arm(Some("poison, receipt"), "aof.resolved", Action::Panic, 1, 3);
    let poison = subject.publish(one(1)).wait_timeout(PATIENCE).expect("the receipt hangs");
    assert!(matches!(poison, Err(PublishError::SetAside)), "{poison:?}");
    assert_eq!(guard.fired(), 3);
    notice(&notices, "set aside", |notice| matches!(notice, Notice::SetAside { events: 1, .. }).then_some(()));
    assert_eq!(subject.publish(one(2)).wait_timeout(PATIENCE).unwrap().unwrap().seq, 2, "later events get through");
    assert!(subject.dead_letters().is_empty(), "its publisher knows, and sends it again or not");
    drop(handle);
}

#[test]
fn what_is_set_aside_without_a_receipt_is_a_dead_letter_also_beside_one_that_has_a_receipt() {
    quiet();
    let node = Node::ephemeral().unwrap();
    let (subject, other) = (node.subject("poison, mixed"), node.subject("poison, blocker"));
    let handles = [subject.run().unwrap(), other.run().unwrap()];
    let notices = subject.notices();
    // The actors of both share a thread: while it is blocked, the three events gather in one batch.
    let block = arm(Some("poison, blocker"), "aof.received", Action::Block, 1, 1);
    other.data.sink.tx.send(one(0)).unwrap();
    assert!(block.wait_fired(1, PATIENCE));
    let poison = arm(Some("poison, mixed"), "aof.received", Action::Panic, 1, 3);
    subject.data.sink.tx.send(XaeroEvent::new("first", 7)).unwrap();
    let receipt = subject.publish(XaeroEvent::new("second", 7));
    subject.data.sink.tx.send(XaeroEvent::new("third", 7)).unwrap();
    block.release();
    assert!(matches!(receipt.wait_timeout(PATIENCE), Some(Err(PublishError::SetAside))));
    assert_eq!(poison.fired(), 3);
    notice(&notices, "set aside", |notice| matches!(notice, Notice::SetAside { events: 3, .. }).then_some(()));
    let letters = subject.dead_letters();
    let payloads: Vec<_> = letters.iter().map(|letter| letter.evt.data.as_slice()).collect();
    assert_eq!(payloads, [b"first".as_slice(), b"third"]);
    // They can be sent again.
    for letter in letters {
        subject.publish(letter).wait().unwrap();
    }
    assert_eq!(payloads_of(&subject), [b"first".as_slice(), b"third"]);
    drop(handles);
}

#[test]
fn an_aof_actor_that_every_batch_kills_is_given_up_and_wait_returns_the_reason() {
    quiet();
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("given up");
    let handle = subject.run().unwrap();
    let notices = subject.notices();
    let stored = subject.publish(XaeroEvent::new("stored", 7)).wait().unwrap();
    let _guard = arm(Some("given up"), "aof.received", Action::Panic, 1, u64::MAX);
    let waiting = {
        let handle = handle.clone();
        thread::spawn(move || handle.wait())
    };
    let mut sent = 0;
    let mut outcomes = Vec::new();
    until("the subject is given up", || {
        // Each pair is a batch or two of its own; each kills the actor.
        sent += usize::from(subject.data.sink.tx.try_send(XaeroEvent::new("plain", 7)).is_ok());
        let receipt = subject.try_publish(XaeroEvent::new("asked for", 7));
        outcomes.push(receipt.wait_timeout(PATIENCE).expect("a receipt hangs"));
        handle.failure().is_some()
    });
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    let reason = waiting.join().unwrap().unwrap_err();
    assert!(matches!(&reason, Error::Failed { reason } if reason.contains("AOF actor was given up")), "{reason}");
    notice(&notices, "escalated", |notice| matches!(notice, Notice::Escalated { .. }).then_some(()));
    assert!(subject.data.sink.tx.send(one(0)).unwrap_err().is_closed());
    let ingested = subject.ingest(vec![b"x".to_vec()]).unwrap().wait_timeout(PATIENCE).expect("an ingest hangs");
    assert!(ingested.is_err());
    in_time("drop of a subject that was given up", move || drop(handle));
    assert_eq!(subject.dead_letters().len(), sent, "what nobody has a receipt for is kept");
    assert!(holds(&log_of(&subject), &stored, b"stored"));
    assert_eq!(subject.count().unwrap(), 1);
}

#[test]
fn a_batch_actor_that_dies_each_time_is_given_up_and_wait_returns_the_reason() {
    quiet();
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("no fold");
    let subscription = subject.batch(Duration::from_millis(1), None, counter(Fold::PNCounter)).subscribe(|_| {});
    let _guard = arm(Some("no fold"), "batch.received", Action::Panic, 1, u64::MAX);
    let handle = subject.run().unwrap();
    let reason = {
        let handle = handle.clone();
        in_time("wait", move || handle.wait()).unwrap_err()
    };
    assert!(matches!(&reason, Error::Failed { reason } if reason.contains("batch actor was given up")), "{reason}");
    in_time("drop", move || drop((subscription, handle)));
}

#[test]
fn a_supervisor_that_panics_takes_its_subject_down_loudly_and_nobody_waits_for_ever() {
    quiet();
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("supervisor");
    let notices = subject.notices();
    let handle = subject.run().unwrap();
    let stored = subject.publish(XaeroEvent::new("stored", 7)).wait().unwrap();
    let replay = arm(Some("supervisor"), "supervisor.before_replay", Action::Panic, 1, 1);
    let killer = arm(Some("supervisor"), "aof.received", Action::Panic, 1, 1);
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // More than the bus takes: those who wait for room must not wait for ever either.
                let events = (0..6_000).map(|_| XaeroEvent::new("lost", 7));
                for receipt in
                    subject.data.sink.tx.send_many_with_receipts(events, Mode::Blocking).into_iter().flatten()
                {
                    let outcome = receipt.wait_timeout(PATIENCE).expect("a receipt hangs");
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    assert_eq!((killer.fired(), replay.fired()), (1, 1));
    let reason = {
        let handle = handle.clone();
        in_time("wait", move || handle.wait()).unwrap_err()
    };
    assert!(reason.to_string().contains("supervisor panicked"), "{reason}");
    notice(&notices, "escalated", |notice| matches!(notice, Notice::Escalated { .. }).then_some(()));
    assert!(subject.data.sink.tx.send(one(0)).unwrap_err().is_closed());
    in_time("drop", move || drop(handle));
    // Nothing that was said to be stored is missing, and the subject can be run again.
    let said = outcomes.lock().unwrap().iter().filter(|outcome| outcome.is_ok()).count();
    assert!(outcomes.lock().unwrap().iter().any(Result::is_err), "the supervisor was there to the end");
    let log = log_of(&subject);
    assert!(holds(&log, &stored, b"stored"));
    assert!(log.len() > said);
    let again = subject.run().unwrap();
    assert_eq!(subject.publish(XaeroEvent::new("again", 7)).wait().unwrap().seq, log.len() as u64 + 1);
    drop(again);
}
