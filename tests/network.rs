//! Replicas that exchange events: the door that peers use, in partitions and after they healed.
//!
//! Here the test is the network: it carries frames from one node's log to the other's ingest.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use xaeroflux::{IngestOutcome, IngestRefusal, prelude::*};

/// Frames that are carried at once.
const PORTION: usize = 16;

/// A replica: a node of its own, with a person who writes there.
struct Replica {
    subject: Subject,
    author: XaeroID,
    handle: Handle,
    _node: Node,
}

impl Replica {
    fn new() -> Self {
        let node = Node::ephemeral().unwrap();
        let subject = node.subject("workspace/shared/object/tags");
        let (author, handle) = (node.own_identity().unwrap(), subject.run().unwrap());
        Self { subject, author, handle, _node: node }
    }

    fn add(&self, element: &str) {
        self.subject.publish(XaeroEvent::new(element, CRDT_SET_ADD)).wait().unwrap();
    }

    fn remove(&self, element: &str) {
        self.subject.publish(XaeroEvent::new(element, CRDT_SET_REMOVE)).wait().unwrap();
    }

    fn set(&self) -> Vec<String> {
        let state = self.subject.resolve(or_set()).unwrap().expect("the log holds adds");
        let set = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data).unwrap();
        set.into_iter().map(|element| String::from_utf8(element).unwrap()).collect()
    }

    /// Carries everything from this replica's log to the other.
    fn send_to(&self, other: &Self) -> Vec<IngestOutcome> {
        let (mut from, mut outcomes) = (0, Vec::new());
        loop {
            let frames = self.subject.frames(from, PORTION).unwrap();
            if frames.is_empty() {
                return outcomes;
            }
            from += frames.len() as u64;
            outcomes.extend(other.subject.ingest(frames).unwrap().wait().unwrap());
        }
    }
}

fn or_set() -> Vec<Operator> {
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::ORSet.to_operator()),
        Operator::Reduce(Reduce::SetContents.to_operator()),
    ]
}

/// Both learn what the other has.
fn sync(a: &Replica, b: &Replica) {
    for outcome in a.send_to(b).into_iter().chain(b.send_to(a)) {
        // A log is in causal order, so that nothing that is read from one has to wait.
        assert!(matches!(outcome, IngestOutcome::Stored(_) | IngestOutcome::Duplicate(_)), "{outcome:?}");
    }
}

#[test]
fn partitions_that_healed_converge() {
    let [a, b, c] = [(); 3].map(|()| Replica::new());
    a.add("draft");
    a.add("old");
    sync(&a, &b);
    sync(&a, &c);

    // A and B lose sight of C. On one side "draft" is removed, on the other it is added again, unseen by the remover.
    a.remove("draft");
    b.remove("old");
    sync(&a, &b);
    c.add("draft");
    c.add("urgent");
    assert_eq!(a.set(), Vec::<String>::new());
    assert_eq!(b.set(), a.set());
    assert_eq!(c.set(), ["draft", "old", "urgent"]);

    // C meets B only, and A hears of it from B.
    sync(&c, &b);
    sync(&b, &a);
    for replica in [&a, &b, &c] {
        assert_eq!(replica.set(), ["draft", "urgent"], "the concurrent add wins, the seen one is removed");
        assert_eq!(replica.subject.count().unwrap(), 6);
    }

    // From here on everybody has seen everything: a remove is final wherever it is made.
    c.remove("draft");
    sync(&c, &a);
    sync(&a, &b);
    assert!([&a, &b, &c].iter().all(|replica| replica.set() == ["urgent"]));
    drop((a.handle, b.handle, c.handle));
}

#[test]
fn replicas_that_write_at_once_agree_after_every_round_of_gossip() {
    let replicas = [(); 3].map(|()| Replica::new());
    for round in 0..6 {
        for (number, replica) in replicas.iter().enumerate() {
            replica.add(&format!("{round}-{number}"));
            if round > 0 {
                // What the neighbour added in the round before, which has arrived.
                replica.remove(&format!("{}-{}", round - 1, (number + 1) % 3));
            }
        }
        // Around the ring, twice: then everybody has heard of everything.
        for step in 0..6 {
            replicas[step % 3].send_to(&replicas[(step + 1) % 3]);
        }
        let expected: Vec<_> = (0..3).map(|number| format!("{round}-{number}")).collect();
        for replica in &replicas {
            assert_eq!(replica.set(), expected, "round {round}");
        }
    }
}

#[test]
fn events_that_overtake_their_causes_wait_for_them() {
    let [a, b, c] = [(); 3].map(|()| Replica::new());
    a.add("first");
    sync(&a, &b);
    b.remove("first");
    b.add("second");
    let mut frames = b.subject.frames(0, 100).unwrap();
    frames.reverse();
    let outcomes: Vec<_> =
        frames.into_iter().map(|frame| c.subject.ingest(vec![frame]).unwrap().wait().unwrap().remove(0)).collect();
    let (first, remove) = (Dot::new(a.author, 1), Dot::new(b.author, 1));
    let expected = [
        IngestOutcome::Waiting { dot: Dot::new(b.author, 2), missing: remove },
        IngestOutcome::Waiting { dot: remove, missing: first },
        IngestOutcome::Stored(first),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(c.set(), ["second"]);
    assert_eq!(c.subject.count().unwrap(), 3);
}

#[test]
fn what_arrives_again_changes_nothing() {
    let [a, b] = [(); 2].map(|()| Replica::new());
    a.add("once");
    a.add("twice");
    assert!(a.send_to(&b).iter().all(|outcome| matches!(outcome, IngestOutcome::Stored(_))));
    assert!(a.send_to(&b).iter().all(|outcome| matches!(outcome, IngestOutcome::Duplicate(_))));
    assert_eq!(b.subject.count().unwrap(), 2);
    assert_eq!(b.subject.frames(0, 100).unwrap(), a.subject.frames(0, 100).unwrap(), "the same bytes on both");
}

#[test]
fn frames_are_read_from_any_place_and_no_more_than_asked_for() {
    let a = Replica::new();
    for n in 0..10 {
        a.add(&n.to_string());
    }
    let all = a.subject.frames(0, 100).unwrap();
    assert_eq!(all.len(), 10);
    assert_eq!(a.subject.frames(3, 4).unwrap(), all[3..7]);
    assert_eq!(a.subject.frames(9, 4).unwrap(), all[9..]);
    assert!(a.subject.frames(0, 0).unwrap().is_empty());
    assert!(a.subject.frames(10, 4).unwrap().is_empty());
    assert!(a.subject.frames(u64::MAX, 4).unwrap().is_empty());
}

#[test]
fn a_damaged_frame_is_refused_and_the_others_of_its_call_are_not() {
    let [a, b] = [(); 2].map(|()| Replica::new());
    a.add("good");
    a.add("bad");
    let mut frames = a.subject.frames(0, 2).unwrap();
    *frames[1].last_mut().unwrap() ^= 1;
    let outcomes = b.subject.ingest(frames).unwrap().wait().unwrap();
    assert!(matches!(outcomes[0], IngestOutcome::Stored(_)));
    assert!(matches!(outcomes[1], IngestOutcome::Refused(IngestRefusal::Frame(_))), "{outcomes:?}");
    assert_eq!(b.set(), ["good"]);
}
