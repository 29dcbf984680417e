//! Bad input: each kind gets a clear error or a notice, and harms nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use fault_kit::{PATIENCE, counter, frame_of, log_of, notice, payloads_of, value_of};
use xaeroflux::{
    Dot, Error, EventType, Fold, IngestOutcome, IngestRefusal, Node, Notice, Operator, PublishError, Reduce, Refusal,
    Subject, XaeroEvent, XaeroID,
    event::{CRDT_COUNTER_DECREMENT, CRDT_COUNTER_INCREMENT, CRDT_SET_ADD},
    wire::{
        clock::Clock,
        limits::{MAX_PAYLOAD_BYTES, MAX_SUBJECT_NAME_BYTES},
    },
};

const NOON: u64 = 1_700_000_000_000;
const HOUR: u64 = 3_600_000;

fn elsewhere(n: u8) -> XaeroID {
    XaeroID::from([n; 32])
}

fn at(millis: u64) -> Clock {
    Clock::from_millis(millis)
}

/// A wall clock that the test moves.
fn wall(millis: u64) -> (Arc<AtomicU64>, impl Fn() -> u64 + Send + Sync + 'static) {
    let wall = Arc::new(AtomicU64::new(millis));
    let read = Arc::clone(&wall);
    (wall, move || read.load(Ordering::Relaxed))
}

fn ingest(subject: &Subject, frames: Vec<Vec<u8>>) -> Vec<IngestOutcome> {
    subject.ingest(frames).unwrap().wait_timeout(PATIENCE).expect("no outcome in time").unwrap()
}

fn ingest_one(subject: &Subject, frame: Vec<u8>) -> IngestOutcome {
    let mut outcomes = ingest(subject, vec![frame]);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

// Names.

fn assert_bad_name(name: String, says: &str) {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject(name);
    let event = XaeroEvent::new("x", 7);
    let refused = subject.data.sink.tx.send(event.clone()).unwrap_err();
    assert!(matches!(refused.refusal(), Some(Refusal::Subject(_))), "{refused:?}");
    assert!(refused.to_string().contains(says), "{refused}");
    assert_eq!(refused.into_inner(), event, "the event comes back");
    let receipt = subject.publish(event).wait().unwrap_err();
    assert!(matches!(&receipt, PublishError::InvalidSubject(why) if why.contains(says)), "{receipt:?}");
    let run = subject.run().unwrap_err();
    assert!(matches!(run, Error::Name(_)) && run.to_string().contains(says), "{run}");
    let subscription = subject.subscribe(|_| {});
    assert!(matches!(subscription.error(), Some(Error::Name(_))));
    assert!(matches!(subject.count(), Err(Error::Name(_))));
}

#[test]
fn an_empty_name_is_told_by_send_publish_run_and_subscribe() {
    assert_bad_name(String::new(), "needs a name");
}

#[test]
fn a_name_that_is_too_long_is_told_by_send_publish_run_and_subscribe() {
    assert_bad_name("n".repeat(MAX_SUBJECT_NAME_BYTES + 1), "at most 400 bytes");
}

#[test]
fn a_name_with_a_control_character_is_told_by_send_publish_run_and_subscribe() {
    assert_bad_name("line\nbreak".to_owned(), "U+000A");
}

#[test]
fn the_longest_name_works() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("é".repeat(MAX_SUBJECT_NAME_BYTES / 2));
    let _handle = subject.run().unwrap();
    assert_eq!(subject.publish(XaeroEvent::new("x", 7)).wait().unwrap().seq, 1);
}

// Payloads.

#[test]
fn a_payload_above_the_limit_is_refused_before_it_is_queued() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let too_large = XaeroEvent::new(vec![0; MAX_PAYLOAD_BYTES + 1], 7);
    let refused = subject.data.sink.tx.send(too_large.clone()).unwrap_err();
    assert!(matches!(refused.refusal(), Some(Refusal::PayloadTooLarge(n)) if *n == MAX_PAYLOAD_BYTES + 1));
    assert_eq!(subject.data.sink.tx.len(), 0);
    let _handle = subject.run().unwrap();
    let refused = subject.publish(too_large).wait().unwrap_err();
    assert!(matches!(refused, PublishError::PayloadTooLarge { size } if size == MAX_PAYLOAD_BYTES + 1));
    assert_eq!(subject.count().unwrap(), 0);
}

#[test]
fn a_payload_of_exactly_the_limit_is_stored() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let largest: Vec<u8> = (0..MAX_PAYLOAD_BYTES).map(|n| (n % 251) as u8).collect();
    subject.publish(XaeroEvent::new(largest.clone(), 7)).wait().unwrap();
    assert_eq!(payloads_of(&subject), [largest]);
}

#[test]
fn payloads_that_are_not_utf8_come_back_as_they_were() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let (tell, told) = mpsc::channel();
    let _subscription = subject.subscribe(move |event| tell.send(event.evt.data).unwrap());
    let _handle = subject.run().unwrap();
    let odd: [&[u8]; 4] = [&[0xff, 0xfe, 0], &[0xc3], &[0xed, 0xa0, 0x80], &[]];
    for payload in odd {
        subject.publish(XaeroEvent::new(payload, 7)).wait().unwrap();
    }
    assert_eq!(payloads_of(&subject), odd);
    for payload in odd {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), payload);
    }
}

// Authors and types.

#[test]
fn an_author_without_a_key_is_refused_in_the_receipt_and_as_a_notice() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let notices = subject.notices();
    let stranger = elsewhere(9);
    let events = [XaeroEvent::new("mine", 7), XaeroEvent::new("no", 7).by(stranger), XaeroEvent::new("too", 7)];
    let receipts = subject.publish_all(events);
    let [first, second, third] = receipts.try_into().unwrap();
    assert_eq!(first.wait().unwrap().seq, 1);
    assert!(matches!(second.wait(), Err(PublishError::UnknownAuthor { id }) if id == stranger));
    assert_eq!(third.wait().unwrap().seq, 2, "the others of the batch are stored, without a gap");
    let events = notice(&notices, "refused", |notice| match notice {
        Notice::Refused { author, events, error: PublishError::UnknownAuthor { .. } } if *author == stranger => {
            Some(*events)
        }
        _ => None,
    });
    assert_eq!(events, 1);
    assert_eq!(payloads_of(&subject), [b"mine".to_vec(), b"too".to_vec()]);
}

#[test]
fn an_unknown_author_who_wants_no_receipt_is_told_on_the_control_bus() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let notices = subject.notices();
    subject.data.sink.tx.send(XaeroEvent::new("no", 7).by(elsewhere(9))).unwrap();
    notice(&notices, "refused", |notice| matches!(notice, Notice::Refused { events: 1, .. }).then_some(()));
    assert_eq!(subject.count().unwrap(), 0);
}

#[test]
fn event_types_of_the_engine_are_refused() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let reserved =
        [EventType::SystemEvent(1), EventType::NetworkEvent(1), EventType::StorageEvent(1), EventType::MetaEvent(1)];
    for kind in reserved {
        let mut event = XaeroEvent::new("x", 7);
        event.evt.event_type = kind;
        let refused = subject.data.sink.tx.send(event.clone()).unwrap_err();
        assert!(matches!(refused.refusal(), Some(Refusal::ReservedEventType(found)) if *found == kind));
        let receipt = subject.publish(event).wait();
        assert!(matches!(receipt, Err(PublishError::ReservedEventType { event_type }) if event_type == kind));
    }
    assert_eq!(subject.count().unwrap(), 0);
}

// Counters.

/// Publishes the payloads: the fold must come to `value` and skip the events with these sequence numbers.
fn assert_counts(fold: Fold, events: &[(u8, &[u8])], value: i64, skipped: &[u64]) {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("count");
    let notices = subject.notices();
    let (tell, told) = mpsc::channel();
    let _subscription =
        subject.batch(Duration::from_secs(3600), Some(events.len()), counter(fold)).subscribe(move |state| {
            tell.send(value_of(&state)).unwrap();
        });
    let handle = subject.run().unwrap();
    for (kind, payload) in events {
        subject.publish(XaeroEvent::new(*payload, *kind)).wait().unwrap();
    }
    assert_eq!(subject.count().unwrap(), events.len() as u64, "bad events are in the log all the same");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), value);
    // The end of the subject is after the last turn of the pipeline, and so after all that it has to tell.
    drop(handle);
    let told: Vec<u64> = std::iter::from_fn(|| notices.try_next())
        .filter_map(|notice| if let Notice::Skipped { dot, .. } = notice { Some(dot.seq) } else { None })
        .collect();
    assert_eq!(told, skipped);
}

#[test]
fn counter_payloads_of_a_wrong_size_are_in_the_log_and_skipped_and_reported() {
    let (one, two) = (1_i64.to_le_bytes(), 2_i64.to_le_bytes());
    let events: [(u8, &[u8]); 5] = [
        (CRDT_COUNTER_INCREMENT, &one),
        (CRDT_COUNTER_INCREMENT, b"short"),
        (CRDT_COUNTER_DECREMENT, b"nine bytes"),
        (CRDT_COUNTER_INCREMENT, b""),
        (CRDT_COUNTER_INCREMENT, &two),
    ];
    assert_counts(Fold::PNCounter, &events, 3, &[2, 3, 4]);
}

#[test]
fn events_that_resolve_leaves_out_are_told_as_notices() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("count");
    let handle = subject.run().unwrap();
    let bad = 1_100;
    for _ in 0..bad {
        subject.data.sink.tx.send(XaeroEvent::new("short", CRDT_COUNTER_INCREMENT)).unwrap();
    }
    subject.publish(XaeroEvent::new(4_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT)).wait().unwrap();
    drop(handle);
    let notices = subject.notices();
    let state = subject.resolve(counter(Fold::PNCounter)).unwrap().unwrap();
    assert_eq!(value_of(&state), 4);
    // A reader has room for all that a pipeline reports at once.
    let told: Vec<Notice> = std::iter::from_fn(|| notices.try_next()).collect();
    let skipped = told.iter().filter_map(|notice| match notice {
        Notice::Skipped { dot, .. } => Some(dot.seq),
        _ => None,
    });
    assert!(skipped.eq(1..=1_024), "{} notices", told.len());
    assert!(matches!(told.last(), Some(Notice::Omitted(left_out)) if *left_out == bad - 1_024), "{:?}", told.last());
    assert_eq!(notices.missed(), 0);
}

#[test]
fn a_state_that_resolve_cannot_reduce_is_told_as_a_notice() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("tags");
    let handle = subject.run().unwrap();
    subject.publish(XaeroEvent::new("a", CRDT_SET_ADD)).wait().unwrap();
    drop(handle);
    let notices = subject.notices();
    let operators =
        vec![Operator::Fold(Fold::ORSet.to_operator()), Operator::Reduce(Reduce::CounterValue.to_operator())];
    assert!(subject.resolve(operators).unwrap().is_none());
    assert!(matches!(notices.try_next(), Some(Notice::CannotReduce { .. })));
}

#[test]
fn negative_increments_of_a_g_counter_are_in_the_log_and_skipped_and_reported() {
    let (five, minus) = (5_i64.to_le_bytes(), (-3_i64).to_le_bytes());
    let events: [(u8, &[u8]); 3] =
        [(CRDT_COUNTER_INCREMENT, &five), (CRDT_COUNTER_INCREMENT, &minus), (CRDT_COUNTER_INCREMENT, &five)];
    assert_counts(Fold::GCounter, &events, 10, &[2]);
}

// Clocks.

#[test]
fn a_timestamp_at_the_end_of_time_is_stored_and_moves_no_clock() {
    let (_wall, read) = wall(NOON);
    let node = Node::builder().clock(read).ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    subject.publish(XaeroEvent::new("end of time", 7).at(u64::MAX)).wait().unwrap();
    subject.publish(XaeroEvent::new("now", 7)).wait().unwrap();
    let mut timestamps = Vec::new();
    subject
        .for_each_archived(xaeroflux::ScanWindow::ALL, |record| {
            timestamps.push(record.latest_ts());
            true
        })
        .unwrap();
    assert_eq!(timestamps, [u64::MAX, NOON]);
    assert!(log_of(&subject).iter().all(|event| event.clock.millis() == NOON));
}

#[test]
fn a_wall_clock_that_jumps_back_an_hour_takes_no_clock_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (wall, read) = wall(NOON);
    let read = Arc::new(read);
    let open = || {
        let read = Arc::clone(&read);
        Node::builder().data_dir(dir.path()).clock(move || read()).build().unwrap()
    };
    for (round, jump) in [(0, 0), (1, HOUR), (2, 0)] {
        let node = open();
        let (alice, bob) = (node.identity("alice").unwrap(), node.identity("bob").unwrap());
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        subject.publish(XaeroEvent::new(format!("before {round}"), 7).by(alice)).wait().unwrap();
        wall.fetch_sub(jump, Ordering::Relaxed);
        subject.publish(XaeroEvent::new(format!("after {round}"), 7).by(alice)).wait().unwrap();
        subject.publish(XaeroEvent::new(format!("other {round}"), 7).by(bob)).wait().unwrap();
    }
    let log = log_of(&open().subject("s"));
    assert_eq!(log.len(), 9);
    assert!(log.windows(2).all(|pair| pair[0].clock < pair[1].clock), "{log:?}");
    assert!(log.iter().all(|event| event.clock.millis() == NOON), "an hour back is one step forward");
}

// The door for events made elsewhere.

#[test]
fn an_event_that_came_before_is_a_duplicate() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let dot = Dot::new(elsewhere(1), 1);
    let frame = frame_of(&subject, dot, at(NOON), &[], b"x");
    assert_eq!(ingest_one(&subject, frame.clone()), IngestOutcome::Stored(dot));
    assert_eq!(ingest_one(&subject, frame.clone()), IngestOutcome::Duplicate(dot));
    assert_eq!(ingest(&subject, vec![frame.clone(), frame]), vec![IngestOutcome::Duplicate(dot); 2]);
    assert_eq!(subject.count().unwrap(), 1);
}

#[test]
fn an_event_whose_causes_are_missing_waits_over_a_restart_and_follows_them() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Node::builder().data_dir(dir.path()).build().unwrap();
    let (a1, a2, b1) = (Dot::new(elsewhere(1), 1), Dot::new(elsewhere(1), 2), Dot::new(elsewhere(2), 1));
    let frames = |subject: &Subject| {
        [
            frame_of(subject, a1, at(NOON), &[], b"first"),
            frame_of(subject, a2, at(NOON + 1), &[], b"its author's next"),
            frame_of(subject, b1, at(NOON + 2), &[a2], b"an answer"),
        ]
    };
    {
        let node = open();
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        let [_, second, answer] = frames(&subject);
        assert_eq!(ingest_one(&subject, answer), IngestOutcome::Waiting { dot: b1, missing: a2 });
        assert_eq!(ingest_one(&subject, second), IngestOutcome::Waiting { dot: a2, missing: a1 });
        assert_eq!(subject.count().unwrap(), 0);
    }
    let node = open();
    let subject = node.subject("s");
    let (tell, told) = mpsc::channel();
    let _subscription = subject.subscribe(move |event| tell.send(event.evt.data).unwrap());
    let _handle = subject.run().unwrap();
    assert_eq!(subject.count().unwrap(), 0);
    let [first, second, _] = frames(&subject);
    assert_eq!(ingest_one(&subject, second), IngestOutcome::StillWaiting(a2));
    assert_eq!(ingest_one(&subject, first), IngestOutcome::Stored(a1));
    let expected: [&[u8]; 3] = [b"first", b"its author's next", b"an answer"];
    assert_eq!(payloads_of(&subject), expected);
    for payload in expected {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), payload);
    }
}

#[test]
fn an_event_of_another_subject_is_refused() {
    let node = Node::ephemeral().unwrap();
    let (subject, other) = (node.subject("s"), node.subject("t"));
    let _handle = subject.run().unwrap();
    let frame = frame_of(&other, Dot::new(elsewhere(1), 1), at(NOON), &[], b"x");
    let refused = ingest_one(&subject, frame);
    assert!(matches!(refused, IngestOutcome::Refused(IngestRefusal::OtherSubject { .. })), "{refused:?}");
    assert_eq!(subject.count().unwrap(), 0);
}

#[test]
fn bytes_that_are_no_event_are_refused_and_the_others_of_the_call_are_taken() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let dot = Dot::new(elsewhere(1), 1);
    let good = frame_of(&subject, dot, at(NOON), &[], b"good");
    let mut flipped = frame_of(&subject, Dot::new(elsewhere(2), 1), at(NOON), &[], b"flipped");
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let cut = good[..good.len() - 1].to_vec();
    let outcomes = ingest(&subject, vec![b"garbage".to_vec(), Vec::new(), flipped, cut, good]);
    assert!(outcomes[..4].iter().all(|o| matches!(o, IngestOutcome::Refused(IngestRefusal::Frame(_)))), "{outcomes:?}");
    assert_eq!(outcomes[4], IngestOutcome::Stored(dot));
    assert_eq!(payloads_of(&subject), [b"good"]);
}

#[test]
fn an_event_whose_clock_is_not_above_its_causes_is_refused() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let (a1, a2, b1) = (Dot::new(elsewhere(1), 1), Dot::new(elsewhere(1), 2), Dot::new(elsewhere(2), 1));
    ingest_one(&subject, frame_of(&subject, a1, at(NOON), &[], b"cause"));
    let equal = ingest_one(&subject, frame_of(&subject, a2, at(NOON), &[], b"same clock"));
    assert_eq!(equal, IngestOutcome::Refused(IngestRefusal::ClockBelowCause { dot: a2, cause: a1 }));
    let below = ingest_one(&subject, frame_of(&subject, b1, at(NOON - 1), &[a1], b"below"));
    assert_eq!(below, IngestOutcome::Refused(IngestRefusal::ClockBelowCause { dot: b1, cause: a1 }));
    assert_eq!(payloads_of(&subject), [b"cause"]);
}

#[test]
fn another_event_under_a_known_name_is_refused_as_a_fork() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let dot = Dot::new(elsewhere(1), 1);
    ingest_one(&subject, frame_of(&subject, dot, at(NOON), &[], b"one"));
    let fork = ingest_one(&subject, frame_of(&subject, dot, at(NOON), &[], b"two"));
    match fork {
        IngestOutcome::Refused(IngestRefusal::Fork { dot: contested, here, there }) => {
            assert_eq!(contested, dot);
            assert_eq!(here, log_of(&subject)[0].id);
            assert_ne!(here, there);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(payloads_of(&subject), [b"one"]);
}

#[test]
fn only_so_much_may_wait_and_all_of_it_enters_with_its_cause() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let cause = Dot::new(elsewhere(1), 1);
    let payload = vec![7; MAX_PAYLOAD_BYTES];
    let mut waiting = 0;
    let refused = (2..).take(100).find_map(|n| {
        let dot = Dot::new(elsewhere(n), 1);
        match ingest_one(&subject, frame_of(&subject, dot, at(NOON + 1), &[cause], &payload)) {
            IngestOutcome::Waiting { .. } => {
                waiting += 1;
                None
            }
            IngestOutcome::Refused(IngestRefusal::NoRoomToWait { missing, .. }) => Some(missing),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!((waiting, refused), (63, Some(cause)), "64 MiB with their headers");
    assert_eq!(ingest_one(&subject, frame_of(&subject, cause, at(NOON), &[], b"cause")), IngestOutcome::Stored(cause));
    assert_eq!(subject.count().unwrap(), 64);
    let late = frame_of(&subject, Dot::new(elsewhere(100), 1), at(NOON + 1), &[cause], &payload);
    assert!(matches!(ingest_one(&subject, late), IngestOutcome::Stored(_)), "there is room again");
}

#[test]
fn an_event_from_25_hours_ahead_is_held_and_seen_when_the_wall_gets_there() {
    let (wall, read) = wall(NOON);
    let node = Node::builder().clock(read).ephemeral().unwrap();
    let subject = node.subject("s");
    let (tell, told) = mpsc::channel();
    let _subscription = subject.subscribe(move |event| tell.send(event.evt.data).unwrap());
    let _handle = subject.run().unwrap();
    let dot = Dot::new(elsewhere(1), 1);
    let frame = frame_of(&subject, dot, at(NOON + 25 * HOUR), &[], b"from ahead");
    assert_eq!(ingest_one(&subject, frame), IngestOutcome::Held { dot, until_ms: NOON + HOUR });
    subject.publish(XaeroEvent::new("now", 7)).wait().unwrap();
    assert_eq!(payloads_of(&subject), [b"now"], "what is held moves no clock and is not in the log");
    assert!(log_of(&subject)[0].clock.millis() == NOON);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"now");
    wall.fetch_add(HOUR, Ordering::Relaxed);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"from ahead", "nobody had to publish for it");
    assert_eq!(subject.count().unwrap(), 2);
}

#[test]
fn a_held_event_is_seen_after_a_restart_when_its_time_has_come_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let open = |millis: u64| Node::builder().data_dir(dir.path()).clock(move || millis).build().unwrap();
    let dot = Dot::new(elsewhere(1), 1);
    {
        let node = open(NOON);
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        let frame = frame_of(&subject, dot, at(NOON + 25 * HOUR), &[], b"from ahead");
        assert!(matches!(ingest_one(&subject, frame), IngestOutcome::Held { .. }));
    }
    let node = open(NOON + 2 * HOUR);
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    assert_eq!(payloads_of(&subject), [b"from ahead"]);
}
