//! Replay: exactly the events that were asked for, in the log's order, whichever way the reader takes to them; and the
//! state as it was at a time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod fault_kit;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fault_kit::{counter, or_set, until, value_of};
use proptest::prelude::*;
use xaeroflux::{
    Dot, Error, EventType, Fold, IngestOutcome, Node, Receipt, Replay, ScanWindow, Subject, XaeroEvent, XaeroID,
    event::{CRDT_COUNTER_INCREMENT, CRDT_SET_ADD, CRDT_SET_REMOVE},
    wire::{clock::Clock, frame, record::Record},
};

fn stored(receipt: Receipt) {
    receipt.wait().unwrap();
}

/// An event of a log, as far as these tests compare it.
type Seen = (Dot, u64, EventType);

fn visited(replay: &Replay) -> Vec<Seen> {
    let mut seen = Vec::new();
    replay
        .for_each(|record| {
            seen.push((record.dot(), record.clock().millis(), record.event_type()));
            true
        })
        .unwrap();
    let owned: Vec<Seen> = replay
        .events()
        .unwrap()
        .map(|event| {
            let event = event.unwrap();
            assert!(replay.takes(&event));
            (event.evt.dot().unwrap(), event.evt.clock().unwrap().millis(), event.evt.event_type)
        })
        .collect();
    assert_eq!(owned, seen, "owned events and events in place are the same ones");
    seen
}

/// A directory whose node was closed once, so that a part of the log lies before the last checkpoint: one author wrote
/// much, one little, and one came after it.
fn grown(dir: &Path, segment_bytes: u64) -> (Node, Subject, [XaeroID; 3]) {
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let open = || {
        let clock = Arc::clone(&clock);
        let clock = move || clock.fetch_add(1, Ordering::Relaxed);
        Node::builder().data_dir(dir).segment_bytes(segment_bytes).clock(clock).build().unwrap()
    };
    let publish = |node: &Node, numbers: std::ops::Range<u64>, authors: &[XaeroID; 3], late: bool| {
        let (subject, other) = (node.subject("s"), node.subject("other"));
        let handles = (subject.run().unwrap(), other.run().unwrap());
        let event = |n: u64| {
            let author = match n {
                n if late && n.is_multiple_of(50) => authors[2],
                n if n.is_multiple_of(40) => authors[1],
                _ => authors[0],
            };
            XaeroEvent::new(n.to_string(), u8::try_from(n % 3).unwrap()).by(author)
        };
        let numbers: Vec<u64> = numbers.collect();
        for part in numbers.chunks(500) {
            let receipts = subject.publish_all(part.iter().map(|n| event(*n)));
            // Another subject's events lie between them.
            let others = other.publish_all(part.iter().map(|n| event(*n)));
            receipts.into_iter().chain(others).for_each(stored);
        }
        handles
    };
    let first = open();
    let authors = ["much", "little", "late"].map(|name| first.identity(name).unwrap());
    drop((publish(&first, 0..9_000, &authors, false), first));
    let node = open();
    let handles = publish(&node, 9_000..10_000, &authors, true);
    if segment_bytes < u64::MAX {
        // They are written when less is going on, by subjects that run.
        let files = || std::fs::read_dir(dir.join("segments")).map(Iterator::count);
        until("several segments are sealed", || files().is_ok_and(|files| files > 4));
    }
    drop(handles);
    let subject = node.subject("s");
    (node, subject, authors)
}

#[test]
fn a_replay_has_exactly_the_events_that_were_asked_for_in_the_order_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, subject, authors) = grown(dir.path(), u64::MAX);
    assert_exact(&subject, authors);
}

#[test]
fn a_replay_from_sealed_segments_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, subject, authors) = grown(dir.path(), 256 << 10);
    assert_exact(&subject, authors);
}

fn assert_exact(subject: &Subject, authors: [XaeroID; 3]) {
    let all = visited(&subject.replay());
    assert_eq!(all.len(), 10_000);
    let (first, last) = (all[0].1, all[9_999].1);
    let stranger = XaeroID::from([9; 32]);
    let some_authors: [&[usize]; 6] = [&[], &[0], &[1], &[2], &[0, 1], &[1, 2]];
    let windows = [ScanWindow::ALL, ScanWindow { start: first + 100, end: last - 200 }];
    for who in some_authors {
        for window in windows {
            for seqs in [0..u64::MAX, 3..70, 64..65, 220..u64::MAX, 8_000..8_010] {
                for types in [&[][..], &[0, 2][..]] {
                    let who: Vec<XaeroID> = who.iter().map(|at| authors[*at]).collect();
                    let types: Vec<_> = types.iter().map(|code| EventType::ApplicationEvent(*code)).collect();
                    let mut replay = subject.replay().window(window).seqs(seqs.clone());
                    replay = who.iter().fold(replay, |replay, author| replay.author(*author));
                    replay = types.iter().fold(replay, |replay, kind| replay.event_type(*kind));
                    let expected: Vec<Seen> = all
                        .iter()
                        .copied()
                        .filter(|(dot, millis, kind)| {
                            (who.is_empty() || who.contains(&dot.author))
                                && window.contains(Clock::from_millis(*millis))
                                && seqs.contains(&dot.seq)
                                && (types.is_empty() || types.contains(kind))
                        })
                        .collect();
                    assert_eq!(visited(&replay), expected, "{who:?} {window:?} {seqs:?} {types:?}");
                }
            }
        }
    }
    assert!(visited(&subject.replay().author(stranger)).is_empty());
    assert!(visited(&subject.replay().seqs(5..5)).is_empty());
    assert_eq!(visited(&subject.replay().author(authors[1]).seqs(2..=3)).len(), 2);
}

#[test]
fn a_replay_ends_where_its_visitor_has_had_enough_and_an_iterator_goes_on_from_any_place() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, subject, authors) = grown(dir.path(), u64::MAX);
    for replay in [subject.replay(), subject.replay().author(authors[1]), subject.replay().author(authors[2])] {
        let all = visited(&replay);
        let mut seen = 0;
        replay
            .for_each(|_| {
                seen += 1;
                seen < 7
            })
            .unwrap();
        assert_eq!(seen, 7);
        let mut events = replay.events().unwrap();
        assert_eq!(events.by_ref().take(3).count() + events.count(), all.len());
    }
}

#[test]
fn a_replay_works_beside_publishers_and_ends_with_the_log_as_it_was_when_it_began() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let publish = |count: u64| {
        let receipts = subject.publish_all((0..count).map(|n| XaeroEvent::new(n.to_string(), 1)));
        receipts.into_iter().for_each(stored);
    };
    publish(10);
    let mut seen = 0;
    subject
        .replay()
        .for_each(|_| {
            seen += 1;
            // From inside the replay: neither waits for the other.
            publish(3);
            true
        })
        .unwrap();
    assert_eq!((seen, subject.count().unwrap()), (10, 40));
}

#[test]
fn what_lies_before_a_damaged_event_is_read_once_and_then_the_damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    {
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        let receipts = subject.publish_all((0..3_000).map(|n| XaeroEvent::new(format!("event number {n:05}"), 1)));
        receipts.into_iter().for_each(stored);
    }
    let file = dir.path().join("data.mdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let payload = b"event number 02500";
    let at = bytes.windows(payload.len()).position(|window| window == payload).unwrap();
    bytes[at] ^= 0x20;
    std::fs::write(&file, bytes).unwrap();
    let node = Node::builder().data_dir(dir.path()).build().unwrap();
    let subject = node.subject("s");
    let me = node.own_identity().unwrap();
    for replay in [subject.replay(), subject.replay().author(me)] {
        let mut seen = 0;
        let ended = replay.for_each(|_| {
            seen += 1;
            true
        });
        assert!(matches!(ended, Err(Error::Storage(_))), "{ended:?}");
        assert_eq!(seen, 2_500);
        let events: Vec<_> = replay.events().unwrap().take(3_000).collect();
        assert_eq!(events.len(), 2_501);
        assert!(events[..2_500].iter().all(Result::is_ok) && events[2_500].is_err());
    }
    let _handle = subject.run().unwrap();
    let mut subscription = subject.durable("reader").unwrap();
    for n in 0..2_500 {
        let delivery = subscription.try_next().unwrap().unwrap();
        assert_eq!(delivery.event.evt.data, format!("event number {n:05}").as_bytes());
    }
    // It is not passed over, however often it is asked.
    assert!(subscription.try_next().is_err());
    assert!(subscription.next().is_err());
}

/// What one author does next: which one, whether it has seen the others' events first, what, and when.
#[derive(Debug, Clone)]
struct Step {
    author: u8,
    looks: bool,
    kind: u8,
    element: u8,
    pause: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kinds = prop_oneof![Just(CRDT_SET_ADD), Just(CRDT_SET_REMOVE), Just(CRDT_COUNTER_INCREMENT)];
    let step = (0..3_u8, any::<bool>(), kinds, 0..4_u8, 0..4_u64)
        .prop_map(|(author, looks, kind, element, pause)| Step { author, looks, kind, element, pause });
    prop::collection::vec(step, 1..40)
}

/// The frames of a history: each author's clock goes its own way, and is above those of all that the author has seen.
fn history(subject: &Subject, steps: &[Step]) -> Vec<(Clock, Vec<u8>)> {
    let mut logs = [0_u64; 3];
    let mut seen = [[0_u64; 3]; 3];
    let mut clocks = [Clock::ZERO; 3];
    let mut walls = [1_000_u64; 3];
    let id = |author: usize| XaeroID::from([u8::try_from(author).unwrap() + 1; 32]);
    let mut frames = Vec::new();
    for step in steps {
        let author = usize::from(step.author);
        let mut deps = BTreeSet::new();
        if step.looks {
            for other in 0..3 {
                if other == author || logs[other] == seen[author][other] {
                    continue;
                }
                seen[author][other] = logs[other];
                clocks[author] = clocks[author].max(clocks[other]);
                deps.insert(Dot::new(id(other), logs[other]));
            }
        }
        walls[author] += step.pause;
        clocks[author] = clocks[author].next(walls[author]);
        logs[author] += 1;
        let payload = match step.kind {
            CRDT_COUNTER_INCREMENT => i64::from(step.element).to_le_bytes().to_vec(),
            _ => vec![step.element],
        };
        let deps: Vec<Dot> = deps.into_iter().collect();
        let record = Record {
            subject: subject.id(),
            dot: Dot::new(id(author), logs[author]),
            clock: clocks[author],
            latest_ts: clocks[author].millis(),
            deps: &deps,
            event_type: EventType::ApplicationEvent(step.kind),
            payload: &payload,
        };
        let mut bytes = Vec::new();
        frame::encode_into(&mut bytes, &record).unwrap();
        frames.push((clocks[author], bytes));
    }
    frames
}

fn ingest(subject: &Subject, frames: Vec<Vec<u8>>) {
    let outcomes = subject.ingest(frames).unwrap().wait().unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, IngestOutcome::Stored(_))), "{outcomes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// On a subject that has everything, the state at a time is that of a subject that only ever got what was before.
    #[test]
    fn the_state_at_a_time_is_the_state_of_a_subject_that_got_nothing_later(steps in steps(), cut in 0..60_u64) {
        let node = Node::ephemeral().unwrap();
        let (all, early) = (node.subject("s"), Node::ephemeral().unwrap());
        let early = early.subject("s");
        let _handles = (all.run().unwrap(), early.run().unwrap());
        let frames = history(&all, &steps);
        let time = 1_000 + cut;
        ingest(&all, frames.iter().map(|(_, frame)| frame.clone()).collect());
        ingest(&early, frames.iter().filter(|(clock, _)| clock.millis() < time).map(|(_, f)| f.clone()).collect());
        for operators in [or_set, || counter(Fold::PNCounter)] {
            prop_assert_eq!(all.state_at(time, operators()).unwrap(), early.resolve(operators()).unwrap());
            prop_assert_eq!(all.state_at(u64::MAX, operators()).unwrap(), all.resolve(operators()).unwrap());
        }
    }
}

#[test]
fn the_time_itself_is_not_part_of_the_state() {
    let clock = Arc::new(AtomicU64::new(5_000));
    let read = Arc::clone(&clock);
    let node = Node::builder().clock(move || read.load(Ordering::Relaxed)).ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    for time in [5_000, 6_000] {
        clock.store(time, Ordering::Relaxed);
        subject.publish(XaeroEvent::new(1_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT)).wait().unwrap();
    }
    let at = |time| subject.state_at(time, counter(Fold::PNCounter)).unwrap().map(|state| value_of(&state));
    assert_eq!([5_000, 5_001, 6_000, 6_001].map(at), [None, Some(1), Some(1), Some(2)]);
}
