//! Partial replicas: what they get, what they are spared, and what they do for others.

use super::*;
use crate::{
    Explanation, ReplicaFilter, Role, ScanWindow, SubjectTicket,
    crdt::{Fold, Operator, Reduce},
    subject::sync::interests::{Interests, ours},
    wire::{event::EventType, interest::Interest},
};

const ADD: EventType = EventType::ApplicationEvent(CRDT_SET_ADD);
const OTHER: u8 = 200;

impl Side {
    fn joined(ticket: &SubjectTicket, filter: ReplicaFilter) -> Self {
        let node = Node::ephemeral().unwrap();
        let subject = node.join_partial(ticket, filter).unwrap();
        Self::of(node, subject)
    }

    fn say(&self, event: XaeroEvent) {
        self.subject.publish(event).wait().unwrap();
    }

    /// The payloads that the application sees.
    fn payloads(&self) -> Vec<String> {
        let mut payloads = Vec::new();
        let visit = |record: &crate::wire::record::RecordView<'_>| {
            if !matches!(record.event_type(), EventType::SystemEvent(_)) {
                payloads.push(String::from_utf8(record.payload().to_vec()).unwrap());
            }
            true
        };
        self.subject.replay().for_each(visit).unwrap();
        payloads
    }

    fn interest(&self) -> Interest {
        ours(&self.replica).unwrap()
    }
}

/// What the two say before they say anything else.
fn greet(a: &mut Side, b: &mut Side) {
    let (from_a, from_b) = (a.interest(), b.interest());
    a.replica.interests = Arc::new(Interests { ours: from_a.clone(), theirs: from_b.clone() });
    b.replica.interests = Arc::new(Interests { ours: from_b, theirs: from_a });
}

fn summary(side: &Side) -> crate::wire::sync::Summary {
    side.replica.look().unwrap().summary
}

/// Everything goes both ways; afterwards both sides say the same of what both keep.
fn meet(a: &mut Side, b: &mut Side) -> (Taken, Taken) {
    greet(a, b);
    let forth = carry(a, b).1;
    let back = carry(b, a).1;
    assert_eq!(summary(a), summary(b));
    (forth, back)
}

#[test]
fn a_part_by_types_has_all_events_and_only_the_payloads_asked_for() {
    let mut a = Side::new();
    let ticket = a.subject.ticket().unwrap();
    let mut b = Side::joined(&ticket, ReplicaFilter::all().event_type(ADD));
    a.add("one");
    a.say(XaeroEvent::new("secret", OTHER));
    a.add("two");
    assert_eq!(meet(&mut a, &mut b), (Taken { new: 3, known: 0 }, Taken::default()));
    assert_eq!(b.payloads(), ["one", "two"]);
    assert_eq!((b.subject.count().unwrap(), a.root()), (3, b.root()), "the log proves as a whole");
    assert!(b.subject.prove(a.author, 2).is_ok());
    let explained = b.subject.explain(a.author, 2).unwrap();
    assert!(matches!(explained, Explanation::Withheld { ordinal: 1, signed: true, .. }), "{explained}");
    assert!(explained.to_string().contains("partial"), "{explained}");
    // What is published here is whole, whatever its type, and gets to the other side.
    b.say(XaeroEvent::new("mine", OTHER));
    a.add("three");
    assert_eq!(meet(&mut a, &mut b), (Taken { new: 1, known: 0 }, Taken { new: 1, known: 0 }));
    assert_eq!(a.payloads(), ["one", "secret", "two", "three", "mine"]);
    assert_eq!(b.payloads(), ["one", "two", "mine", "three"]);
}

#[test]
fn a_part_by_time_is_judged_by_the_clocks_of_the_events() {
    let clock = Arc::new(std::sync::atomic::AtomicU64::new(1_000));
    let wall = Arc::clone(&clock);
    let node = Node::builder().clock(move || wall.load(std::sync::atomic::Ordering::Relaxed)).ephemeral().unwrap();
    let subject = node.subject("workspace/shared/object/tags");
    let mut a = Side::of(node, subject);
    for (time, text) in [(1_000, "early"), (2_000, "in time"), (3_000, "late")] {
        clock.store(time, std::sync::atomic::Ordering::Relaxed);
        a.add(text);
    }
    let filter = ReplicaFilter::all().window(ScanWindow { start: 2_000, end: 3_000 });
    let mut b = Side::joined(&a.subject.ticket().unwrap(), filter);
    assert_eq!(meet(&mut a, &mut b).0, Taken { new: 3, known: 0 });
    assert_eq!(b.payloads(), ["in time"]);
}

#[test]
fn an_author_who_is_not_asked_for_is_left_out_and_what_depends_on_it_is_not_held_up() {
    let (mut a, c) = (Side::new(), Side::new());
    c.add("c's");
    carry(&c, &mut a);
    a.add("a's, after c's");
    let mut b = Side::joined(&a.subject.ticket().unwrap(), ReplicaFilter::all().author(a.author));
    assert_eq!(meet(&mut a, &mut b), (Taken { new: 1, known: 0 }, Taken::default()));
    assert_eq!((b.payloads(), b.subject.count().unwrap()), (vec!["a's, after c's".to_owned()], 1));
    let explained = b.subject.explain(c.author, 1).unwrap();
    assert!(matches!(explained, Explanation::LeftOut { .. }), "{explained}");
    // What c goes on to write is no difference between these two.
    c.add("more of c");
    carry(&c, &mut a);
    greet(&mut a, &mut b);
    assert_eq!(summary(&a), summary(&b));
    assert_eq!(carry(&a, &mut b), (0, Taken::default()));
}

#[test]
fn what_a_peer_sends_in_spite_of_the_filter_is_not_kept() {
    let (mut a, c) = (Side::new(), Side::new());
    c.add("c's");
    carry(&c, &mut a);
    a.say(XaeroEvent::new("long and of another type", OTHER));
    let filter = ReplicaFilter::all().author(a.author).event_type(ADD);
    let mut b = Side::joined(&a.subject.ticket().unwrap(), filter);
    // The two have told each other nothing.
    let taken = carry(&a, &mut b).1;
    assert_eq!((taken, b.payloads()), (Taken { new: 1, known: 1 }, vec![]));
    assert!(matches!(b.subject.explain(a.author, 1).unwrap(), Explanation::Withheld { .. }));
}

#[test]
fn a_whole_replica_takes_no_event_without_its_payload() {
    let mut a = Side::new();
    let ticket = a.subject.ticket().unwrap();
    let mut b = Side::joined(&ticket, ReplicaFilter::all().event_type(ADD));
    a.add("one");
    a.say(XaeroEvent::new("secret", OTHER));
    meet(&mut a, &mut b);
    let mut d = Side::new();
    // b lies about what d keeps.
    let interests = Interests { theirs: b.interest(), ours: b.interest() };
    b.replica.interests = Arc::new(interests);
    let mut outlet = Outlet::default();
    let chunk = outlet.read(&b.replica).unwrap().unwrap();
    let error = d.take(&chunk).unwrap_err();
    assert!(
        matches!(&error, IntakeError::Offence(SyncError::Refused { reason }) if reason.contains("payload")),
        "{error}"
    );
}

#[test]
fn a_partial_replica_passes_on_what_it_has_and_the_rest_comes_from_who_has_it() {
    let (mut a, mut d) = (Side::new(), Side::new());
    let ticket = a.subject.ticket().unwrap();
    let mut b = Side::joined(&ticket, ReplicaFilter::all().event_type(ADD));
    a.add("one");
    a.say(XaeroEvent::new("secret", OTHER));
    a.add("two");
    meet(&mut a, &mut b);
    b.add("b's");
    greet(&mut b, &mut d);
    assert_eq!(carry(&b, &mut d).1, Taken { new: 2, known: 0 });
    assert_eq!(d.payloads(), ["one"], "b's own depends on what d lacks");
    assert!(matches!(d.subject.explain(b.author, 1).unwrap(), Explanation::Waiting { .. }));
    meet(&mut a, &mut b);
    meet(&mut a, &mut d);
    assert_eq!(d.payloads(), ["one", "secret", "two", "b's"]);
    // Among those who want the same, everything goes on.
    let mut e = Side::joined(&ticket, ReplicaFilter::all().event_type(ADD));
    meet(&mut b, &mut e);
    assert_eq!((e.payloads(), e.root()), (b.payloads(), b.root()));
}

#[test]
fn owners_and_their_records_are_never_left_out() {
    let (mut a, mut c) = (Side::new(), Side::new());
    let board = a.node.create_owned("board").unwrap();
    let handle = board.run().unwrap();
    board.grant(c.author, Role::Writer).unwrap();
    let ticket = board.ticket().unwrap();
    (a.subject, a._handle) = (board, handle);
    a = Side::of(a.node, a.subject);
    let node = Node::ephemeral().unwrap();
    let reader = node.join(&ticket).unwrap();
    let mut other = Side::of(node, reader);
    a.subject.grant(other.author, Role::Writer).unwrap();
    let subject = c.node.join(&ticket).unwrap();
    c = Side::of(c.node, subject);
    meet(&mut a, &mut c);
    meet(&mut a, &mut other);
    c.add("c's");
    other.add("left out");
    meet(&mut a, &mut c);
    meet(&mut a, &mut other);
    a.say(XaeroEvent::new("the owner's own", OTHER));
    let mut b = Side::joined(&ticket, ReplicaFilter::all().author(c.author).event_type(ADD));
    meet(&mut a, &mut b);
    assert_eq!(b.payloads(), ["c's"]);
    let writers: Vec<XaeroID> = b.subject.members().unwrap().into_iter().map(|member| member.id).collect();
    assert!(writers.contains(&c.author) && writers.contains(&a.author));
    assert!(matches!(b.subject.explain(other.author, 2).unwrap(), Explanation::LeftOut { .. }));
    // A revocation reaches it as it does everybody else.
    a.subject.revoke(c.author).unwrap();
    c.add("too late");
    meet(&mut c, &mut a);
    meet(&mut a, &mut b);
    assert!(matches!(b.subject.explain(c.author, 3).unwrap(), Explanation::Revoked { .. }));
}

#[test]
fn folds_say_that_they_fold_a_part() {
    let mut a = Side::new();
    let ticket = a.subject.ticket().unwrap();
    let mut b = Side::joined(&ticket, ReplicaFilter::all().author(a.author));
    a.add("one");
    meet(&mut a, &mut b);
    let operators =
        || vec![Operator::Fold(Fold::ORSet.to_operator()), Operator::Reduce(Reduce::SetContents.to_operator())];
    let state = |side: &Side| side.subject.resolve(operators()).unwrap().unwrap().evt;
    assert!(!state(&a).is_partial() && state(&b).is_partial());
    assert_eq!(state(&a).data, state(&b).data);
    // A running pipeline says so as well.
    let (tell, told) = std::sync::mpsc::channel();
    let subscription = b
        .subject
        .batch(std::time::Duration::ZERO, Some(1), operators())
        .subscribe(move |event| drop(tell.send((event.evt.is_partial(), event.evt.data.clone()))));
    let (is_partial, data) = told.recv().unwrap();
    assert!(is_partial);
    assert_eq!(data, state(&a).data);
    drop(subscription);
}

#[test]
fn a_subject_has_one_filter_for_good() {
    let mut a = Side::new();
    let ticket = a.subject.ticket().unwrap();
    let adds = ReplicaFilter::all().event_type(ADD);
    let mut b = Side::joined(&ticket, adds.clone());
    // As long as there is nothing from elsewhere, it may be another one.
    b.add("mine");
    let both = adds.clone().event_type(EventType::ApplicationEvent(OTHER));
    b.node.join_partial(&ticket, both).unwrap();
    b.node.join_partial(&ticket, adds.clone()).unwrap();
    a.add("one");
    meet(&mut a, &mut b);
    b.node.join(&ticket).unwrap();
    b.node.join_partial(&ticket, adds.clone()).unwrap();
    assert_eq!(b.subject.replica_filter().unwrap(), Some(adds.clone()));
    let error = b.node.join_partial(&ticket, ReplicaFilter::all()).unwrap_err();
    assert!(error.to_string().contains("data directory"), "{error}");
    // A whole one with events from elsewhere stays whole.
    assert!(a.node.join_partial(&ticket, adds).is_err());
    assert_eq!(a.subject.replica_filter().unwrap(), None);
}

#[test]
fn nobody_gives_or_takes_a_role_of_whose_log_is_not_here() {
    let (a, w, mut b) = owned_with_a_writer();
    let (mut a, mut w) = (a, w);
    w.add("long before");
    meet(&mut w, &mut a);
    // b is an owner, and keeps what the creator writes.
    let ticket = a.subject.ticket().unwrap();
    let subject = b.node.join_partial(&ticket, ReplicaFilter::all().author(a.author)).unwrap();
    b = Side::of(b.node, subject);
    meet(&mut a, &mut b);
    for error in [b.subject.revoke(w.author).unwrap_err(), b.subject.grant(w.author, Role::Owner).unwrap_err()] {
        assert!(error.to_string().contains("a part of the subject"), "{error}");
    }
    assert!(b.subject.revoke(a.author).is_err(), "she is the creator");
    meet(&mut a, &mut b);
    assert!(matches!(a.subject.explain(w.author, 2).unwrap(), Explanation::Accepted { .. }));
}

#[test]
fn who_turns_out_to_be_no_owner_is_left_out_though_its_events_waited() {
    let (mut a, mut w, mut b) = owned_with_a_writer();
    w.add("left out");
    meet(&mut w, &mut a);
    a.add("after what w wrote");
    let ticket = a.subject.ticket().unwrap();
    let subject = b.node.join_partial(&ticket, ReplicaFilter::all().author(a.author)).unwrap();
    b = Side::of(b.node, subject);
    // w's log comes before the grant does, which might make an owner of w.
    let frames = a.subject.frames(0, 100).unwrap();
    let of_w = |frame: &&Vec<u8>| crate::wire::archive::open(frame).unwrap().0.author() == w.author;
    let early: Vec<Vec<u8>> = frames.iter().filter(of_w).cloned().collect();
    assert_eq!(early.len(), 2);
    let outcomes = b.subject.ingest(early).unwrap().wait().unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, IngestOutcome::Waiting { .. })), "{outcomes:?}");
    meet(&mut a, &mut b);
    assert_eq!(b.payloads(), ["after what w wrote"]);
    assert!(matches!(b.subject.explain(w.author, 1).unwrap(), Explanation::LeftOut { .. }));
    // And what depends on more of it is not held up.
    w.add("more");
    meet(&mut w, &mut a);
    a.add("after more");
    meet(&mut a, &mut b);
    assert_eq!(b.payloads(), ["after what w wrote", "after more"]);
}

/// The creator, a writer who has joined, and somebody who may be an owner.
fn owned_with_a_writer() -> (Side, Side, Side) {
    let (a, w, b) = (Side::new(), Side::new(), Side::new());
    let board = a.node.create_owned("board").unwrap();
    let ticket = board.ticket().unwrap();
    let mut a = Side::of(a.node, board);
    a.subject.grant(w.author, Role::Writer).unwrap();
    a.subject.grant(b.author, Role::Owner).unwrap();
    let subject = w.node.join(&ticket).unwrap();
    let mut w = Side::of(w.node, subject);
    meet(&mut a, &mut w);
    (a, w, b)
}

#[test]
fn what_waits_still_is_no_news() {
    let (a, mut d) = (Side::new(), Side::new());
    let ticket = a.subject.ticket().unwrap();
    let (mut a, mut b) = (a, Side::joined(&ticket, ReplicaFilter::all().event_type(ADD)));
    a.say(XaeroEvent::new("secret", OTHER));
    meet(&mut a, &mut b);
    b.add("depends on what d will not get");
    greet(&mut b, &mut d);
    assert_eq!(carry(&b, &mut d).1, Taken { new: 1, known: 0 });
    assert_eq!(carry(&b, &mut d).1, Taken { new: 0, known: 1 }, "or the two would go on for ever");
}

#[test]
fn little_that_is_wanted_is_found_among_much_that_is_not() {
    let mut a = Side::new();
    let (much, little) = (a.node.identity("much").unwrap(), a.node.identity("little").unwrap());
    for n in 0..3 {
        let events = (0..20_000_u32).map(|n| XaeroEvent::new(n.to_le_bytes(), CRDT_SET_ADD).by(much));
        for receipt in a.subject.publish_all(events) {
            receipt.wait().unwrap();
        }
        a.say(XaeroEvent::new(format!("little {n}"), CRDT_SET_ADD).by(little));
    }
    let mut b = Side::joined(&a.subject.ticket().unwrap(), ReplicaFilter::all().author(little));
    assert_eq!(meet(&mut a, &mut b).0, Taken { new: 3, known: 0 });
    assert_eq!(b.payloads(), ["little 0", "little 1", "little 2"]);
}
