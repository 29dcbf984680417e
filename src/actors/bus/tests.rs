//! The promises of the bus, with real threads where they are about threads.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam::channel::{Receiver, bounded};

use super::*;
use crate::wire::{
    event::{EventType, XaeroEvent},
    hash_many::SHORT,
    id::{EventId, XaeroID},
    limits::MAX_PAYLOAD_BYTES,
    name::NameError,
};

/// Far longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn event(payload: impl Into<Vec<u8>>) -> XaeroEvent {
    XaeroEvent::new(payload, 1)
}

fn numbered(number: u64) -> XaeroEvent {
    event(number.to_le_bytes())
}

fn number(entry: &Entry) -> u64 {
    u64::from_le_bytes(entry.event.evt.data.as_slice().try_into().unwrap())
}

fn tiny() -> BusLimits {
    BusLimits { events: 4, bytes: 100, chunk_events: 2, chunk_bytes: 50 }
}

/// A consumer's place in a pool: a channel of one slot stands for "is scheduled".
fn notices(bus: &Bus) -> Receiver<()> {
    let (tx, rx) = bounded(1);
    bus.set_notify(Some(Arc::new(move || {
        let _already_told = tx.try_send(());
    })));
    rx
}

/// What a durable subject answers: the number in the payload, under the author in the event.
fn acknowledge(entry: &Entry) -> Outcome {
    let author = entry.event.author_id.unwrap_or(XaeroID::from([0; 32]));
    Ok(Acknowledged { author, seq: number(entry), id: EventId::from([0; 32]) })
}

#[test]
fn chunks_are_bounded_by_events_and_by_bytes() {
    let bus = Bus::new(BusLimits { events: 100, bytes: 1_000, chunk_events: 3, chunk_bytes: 50 });
    let tx = bus.sender();
    for size in [1, 1, 1, 1, 48, 2, 60, 1] {
        tx.send(event(vec![0; size])).unwrap();
    }
    let mut chunks = Vec::new();
    while let Some(chunk) = bus.drain(false) {
        let sizes: Vec<_> = chunk.entries.iter().map(|entry| entry.event.evt.data.len()).collect();
        assert_eq!(chunk.bytes, sizes.iter().sum::<usize>());
        assert!(chunk.receipts.is_none(), "nobody asked for any");
        chunks.push(sizes);
    }
    assert_eq!(chunks, [vec![1, 1, 1], vec![1, 48], vec![2], vec![60], vec![1]]);
    assert!(tx.is_empty());
}

#[test]
fn a_full_bus_refuses_times_out_or_waits_for_space() {
    let bus = Bus::new(tiny());
    let tx = bus.sender();
    for n in 0..4 {
        tx.try_send(numbered(n)).unwrap();
    }
    assert!(tx.is_full());
    assert_eq!((tx.len(), tx.capacity()), (4, 4));
    let full = tx.try_send(numbered(9)).unwrap_err();
    assert!(full.is_full());
    assert_eq!(full.into_inner(), numbered(9), "the event comes back");
    let timeout = tx.send_timeout(numbered(9), Duration::from_millis(1)).unwrap_err();
    assert!(matches!(timeout, SendError::Timeout(_)));
    let waiting = thread::spawn({
        let tx = tx.clone();
        move || tx.send(numbered(4))
    });
    while bus.lock_for_test().waiting == 0 {
        thread::yield_now();
    }
    assert_eq!(bus.drain(false).unwrap().entries.iter().map(number).collect::<Vec<_>>(), [0, 1]);
    waiting.join().unwrap().unwrap();
    assert_eq!(tx.len(), 3);
}

#[test]
fn bytes_are_bounded_but_an_event_larger_than_the_bus_gets_through_alone() {
    let bus = Bus::new(tiny());
    let tx = bus.sender();
    tx.try_send(event(vec![0; 90])).unwrap();
    assert!(tx.try_send(event(vec![0; 11])).unwrap_err().is_full());
    tx.try_send(event(vec![0; 10])).unwrap();
    assert!(tx.is_full(), "though there is room for two more events");
    while bus.drain(false).is_some() {}
    tx.try_send(event(vec![0; 500])).unwrap();
    assert!(tx.try_send(event([0])).unwrap_err().is_full());
    assert_eq!(bus.drain(false).unwrap().bytes, 500);
    assert!(tx.is_empty());
}

#[test]
fn held_events_take_up_space_until_they_are_released() {
    let bus = Bus::new(tiny());
    let tx = bus.sender();
    for n in 0..4 {
        tx.try_send(numbered(n)).unwrap();
    }
    let first = bus.drain(true).unwrap();
    assert_eq!((bus.queued(), tx.len()), (2, 4));
    assert!(tx.try_send(numbered(4)).unwrap_err().is_full());
    bus.release(first.entries.len(), first.bytes);
    assert_eq!((bus.queued(), tx.len()), (2, 2));
    tx.try_send(numbered(4)).unwrap();
}

#[test]
fn what_breaks_a_rule_is_refused_before_it_is_queued() {
    let bus = Bus::new(BusLimits::default());
    let tx = bus.sender();
    tx.send(event(vec![0; MAX_PAYLOAD_BYTES])).unwrap();
    let large = tx.send(event(vec![0; MAX_PAYLOAD_BYTES + 1])).unwrap_err();
    assert!(matches!(large.refusal(), Some(Refusal::PayloadTooLarge(size)) if *size == MAX_PAYLOAD_BYTES + 1));
    assert!(format!("{large:?}").len() < 500, "no payload in what unwrap prints");
    let proof = XaeroEvent { merkle_proof: Some(vec![0; MAX_PAYLOAD_BYTES + 1]), ..event([]) };
    assert!(matches!(tx.send(proof).unwrap_err().refusal(), Some(Refusal::ProofTooLarge(_))));
    let mut reserved = event([]);
    reserved.evt.event_type = EventType::SystemEvent(1);
    let refused = tx.send_with_receipt(reserved.clone(), Mode::Blocking).unwrap_err();
    assert!(matches!(PublishError::from(refused), PublishError::ReservedEventType { .. }));
    assert_eq!(tx.len(), 1);
    bus.send_own(reserved, Mode::Try).unwrap();
    assert_eq!(tx.len(), 2, "the engine's own way in");
}

#[test]
fn a_broken_bus_returns_its_error_from_every_send() {
    let bus = Bus::broken(Arc::new(NameError::Empty));
    let error = bus.sender().send(event([])).unwrap_err();
    assert!(error.to_string().contains(&NameError::Empty.to_string()), "{error}");
    assert!(bus.sender().try_send(event([])).unwrap_err().refusal().is_some());
    assert!(bus.send_own(event([]), Mode::Try).unwrap_err().refusal().is_some());
    let publish = bus.sender().send_with_receipt(event([]), Mode::Try).unwrap_err();
    assert!(matches!(PublishError::from(publish), PublishError::InvalidSubject(_)));
    assert!(bus.error().is_some());
}

#[test]
fn closing_wakes_waiting_senders_and_leaves_what_is_queued() {
    let bus = Bus::new(BusLimits { events: 1, ..tiny() });
    let tx = bus.sender();
    tx.send(numbered(1)).unwrap();
    let waiting = thread::spawn({
        let tx = tx.clone();
        move || tx.send(numbered(2))
    });
    while bus.lock_for_test().waiting == 0 {
        thread::yield_now();
    }
    bus.close();
    let closed = waiting.join().unwrap().unwrap_err();
    assert!(closed.is_closed());
    assert_eq!(closed.into_inner(), numbered(2));
    assert!(bus.is_closed());
    assert_eq!(bus.drain(false).unwrap().entries.len(), 1);
    assert!(tx.send(numbered(3)).unwrap_err().is_closed());
}

#[test]
fn the_consumer_is_told_once_until_it_has_found_the_bus_empty() {
    let bus = Bus::new(BusLimits::default());
    let tx = bus.sender();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = |calls: &Arc<AtomicUsize>| -> Arc<Notify> {
        let calls = Arc::clone(calls);
        Arc::new(move || {
            calls.fetch_add(1, Ordering::SeqCst);
        })
    };
    tx.send(numbered(0)).unwrap();
    bus.set_notify(Some(count(&calls)));
    assert_eq!(calls.load(Ordering::SeqCst), 1, "of what was there before");
    tx.send(numbered(1)).unwrap();
    assert!(bus.drain(false).is_some());
    tx.send(numbered(2)).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1, "it was told and has not been seen to stop");
    assert!(bus.drain(false).is_some());
    assert!(bus.drain(false).is_none());
    tx.send(numbered(3)).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    let others = Arc::new(AtomicUsize::new(0));
    bus.set_notify(Some(count(&others)));
    assert_eq!(others.load(Ordering::SeqCst), 1, "a new consumer takes over from one that was told");
}

#[test]
fn a_busy_consumer_is_told_of_full_chunks_only_and_events_gather_meanwhile() {
    let bus = Bus::new(BusLimits { chunk_events: 2, ..BusLimits::default() });
    let (tx, told) = (bus.sender(), notices(&bus));
    tx.send(numbered(0)).unwrap();
    assert!(told.try_recv().is_ok());
    assert_eq!(bus.drain(false).unwrap().entries.len(), 1);
    assert!(bus.drain_full(false).is_none());
    tx.send(numbered(1)).unwrap();
    tx.send(numbered(2)).unwrap();
    assert!(told.try_recv().is_err(), "a chunk is full once an event no longer fits in");
    assert!(bus.drain_full(false).is_none(), "it stays where it is");
    tx.send(numbered(3)).unwrap();
    assert!(told.try_recv().is_ok());
    assert_eq!(bus.drain_full(false).unwrap().entries.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    assert!(bus.drain_full(false).is_none());
    assert_eq!(
        bus.drain(false).unwrap().entries.iter().map(number).collect::<Vec<_>>(),
        [3],
        "it comes back by itself"
    );
    assert!(bus.drain(false).is_none());
    tx.send(numbered(4)).unwrap();
    assert!(told.try_recv().is_ok(), "and then it rests again");
}

#[test]
fn no_notice_is_lost_between_threads() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 30_000;
    let bus = Bus::new(BusLimits { events: 64, chunk_events: 8, ..BusLimits::default() });
    let told = notices(&bus);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let tx = bus.sender();
            scope.spawn(move || {
                for n in 0..EACH {
                    tx.send(numbered(sender << 32 | n)).unwrap();
                }
            });
        }
        let mut next = HashMap::new();
        let mut seen = 0;
        while seen < SENDERS * EACH {
            told.recv_timeout(PATIENCE).expect("a queued event is always announced");
            while let Some(chunk) = bus.drain(false) {
                for entry in &chunk.entries {
                    let expected = next.entry(number(entry) >> 32).or_insert(0);
                    assert_eq!(number(entry) & 0xffff_ffff, *expected, "each sender's order");
                    *expected += 1;
                    seen += 1;
                }
                bus.recycle(chunk.entries);
            }
        }
    });
}

#[test]
fn a_million_receipts_from_four_threads_each_resolve_with_their_own_result() {
    const SENDERS: u8 = 4;
    const EACH: u64 = 250_000;
    let bus = Bus::new(BusLimits::default());
    let told = notices(&bus);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let tx = bus.sender();
            scope.spawn(move || {
                let author = XaeroID::from([sender; 32]);
                let mut receipts = Vec::new();
                for n in 0..EACH {
                    receipts.push(tx.send_with_receipt(numbered(n).by(author), Mode::Blocking).unwrap());
                    if receipts.len() == 2_000 || n + 1 == EACH {
                        let first = n + 1 - receipts.len() as u64;
                        for (expected, receipt) in (first..).zip(receipts.drain(..)) {
                            let got = receipt.wait_timeout(PATIENCE).expect("it resolves").unwrap();
                            assert_eq!((got.author, got.seq), (author, expected));
                        }
                    }
                }
            });
        }
        let mut next = [0; SENDERS as usize];
        let mut seen = 0;
        while seen < u64::from(SENDERS) * EACH {
            told.recv_timeout(PATIENCE).expect("a queued event is always announced");
            while let Some(chunk) = bus.drain(true) {
                for entry in &chunk.entries {
                    let sender = entry.event.author_id.unwrap().as_bytes()[0];
                    assert_eq!(number(entry), next[usize::from(sender)], "each sender's order");
                    next[usize::from(sender)] += 1;
                    seen += 1;
                }
                let results: Vec<_> = chunk.entries.iter().map(acknowledge).collect();
                assert!(chunk.receipts.unwrap().complete(results));
                bus.release(chunk.entries.len(), chunk.bytes);
            }
        }
    });
    assert!(bus.is_empty());
}

#[test]
fn many_events_at_once_keep_their_order_and_have_an_outcome_each() {
    let bus = Bus::new(tiny());
    let tx = bus.sender();
    let mut large = event(vec![0; MAX_PAYLOAD_BYTES + 1]);
    large.latest_ts = Some(1);
    let mut events =
        vec![numbered(0), large, numbered(1), numbered(2), numbered(3), numbered(4), numbered(5)].into_iter();
    let outcomes = tx.send_many_with_receipts(&mut events, Mode::Try);
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(_) => "queued",
            Err(SendError::Refused { .. }) => "refused",
            Err(SendError::Full(event)) if **event == numbered(4) => "full at 4",
            Err(_) => "other",
        })
        .collect();
    assert_eq!(kinds, ["queued", "refused", "queued", "queued", "queued", "full at 4"]);
    assert_eq!(events.next(), Some(numbered(5)), "what was not taken ahead is still in the iterator");
    while let Some(chunk) = bus.drain(false) {
        let results: Vec<_> = chunk.entries.iter().map(acknowledge).collect();
        chunk.receipts.unwrap().complete(results);
    }
    let numbers: Vec<_> = outcomes.into_iter().flatten().map(|receipt| receipt.wait().unwrap().seq).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[test]
fn many_events_at_once_wait_for_space_and_announce_what_is_queued_meanwhile() {
    let bus = Bus::new(tiny());
    let told = notices(&bus);
    let tx = bus.sender();
    let sender = thread::spawn(move || tx.send_many_with_receipts((0..1_000).map(numbered), Mode::Blocking));
    let mut numbers = Vec::new();
    while numbers.len() < 1_000 {
        told.recv_timeout(PATIENCE).expect("a sender that waits for space has announced its events");
        while let Some(chunk) = bus.drain(false) {
            numbers.extend(chunk.entries.iter().map(number));
            chunk.receipts.unwrap().fail(PublishError::NotRunning);
        }
    }
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    for receipt in sender.join().unwrap() {
        assert!(matches!(receipt.unwrap().wait(), Err(PublishError::NotRunning)));
    }
}

#[test]
fn receipts_of_a_bus_that_is_dropped_are_abandoned() {
    let bus = Bus::new(BusLimits::default());
    let queued = bus.sender().send_with_receipt(numbered(1), Mode::Try).unwrap();
    drop(bus);
    assert!(matches!(queued.wait(), Err(PublishError::Abandoned)));
}

#[test]
fn long_payloads_are_hashed_by_the_sender_where_that_is_wanted() {
    let long = vec![1; SHORT + 1];
    let bus = Bus::new(BusLimits::default());
    bus.sender().send(event(long.clone())).unwrap();
    bus.set_hash_payloads(true);
    bus.sender().send(event(long.clone())).unwrap();
    bus.sender().send(event("short")).unwrap();
    let chunk = bus.drain(false).unwrap();
    let hashes: Vec<_> = chunk.entries.iter().map(|entry| entry.payload_hash).collect();
    assert_eq!(hashes, [None, Some(*blake3::hash(&long).as_bytes()), None]);
}

#[test]
fn an_idle_bus_is_small() {
    assert!(size_of::<Bus>() + 2 * size_of::<usize>() < 300, "{} bytes", size_of::<Bus>());
    let bus = Bus::new(BusLimits::default());
    let told = notices(&bus);
    for n in 0..4_000 {
        bus.sender().send(numbered(n)).unwrap();
    }
    told.recv_timeout(PATIENCE).unwrap();
    while let Some(chunk) = bus.drain(false) {
        bus.recycle(chunk.entries);
    }
    assert_eq!(bus.lock_for_test().buffers(), 0, "the consumer has found it empty");
    bus.recycle(Vec::with_capacity(10));
    assert_eq!(bus.lock_for_test().buffers(), 0, "a buffer that comes back late is not kept");
}

#[test]
fn proofs_count_against_the_limits_too() {
    let bus = Bus::new(BusLimits::default());
    bus.sender().send(XaeroEvent { merkle_proof: Some(vec![0; 7]), ..event([0; 3]) }).unwrap();
    assert_eq!(bus.drain(false).unwrap().bytes, 10);
}
