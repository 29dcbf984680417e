//! A chunk keeps its limits, however it was gathered, and asks for no memory that its bytes do not fill.

use super::*;
use crate::wire::{sign::tests::identity, test_log::TestLog};

fn proof(log: &TestLog, length: u64) -> LogProof {
    LogProof { key: Some(identity().public_key().clone()), head: log.head(length), length, path: Vec::new() }
}

#[test]
fn a_chunk_has_so_many_events_and_no_more() {
    let mut builder = EventsBuilder::new();
    for _ in 0..MAX_CHUNK_EVENTS {
        assert!(builder.push(b"x"));
    }
    assert!(!builder.push(b"x"));
    assert_eq!((builder.events(), builder.frames().len()), (MAX_CHUNK_EVENTS, MAX_CHUNK_EVENTS));
}

#[test]
fn a_chunk_has_so_many_bytes_and_no_more() {
    let mut builder = EventsBuilder::new();
    assert!(builder.push(&vec![0; MAX_CHUNK_FRAME_BYTES]));
    assert!(!builder.push(b"x"));
    assert!(builder.push(b""), "there is room for nothing");
    assert_eq!(builder.frames().len(), MAX_CHUNK_FRAME_BYTES);
}

#[test]
fn a_proof_for_which_there_is_no_room_leaves_no_trace() {
    let (log, mut builder) = (TestLog::new(1), EventsBuilder::new());
    let proof = proof(&log, 1);
    let mut added = 0;
    while builder.prove(&proof) {
        added += 1;
    }
    assert!(added <= MAX_CHUNK_AUTHORS && builder.proofs.len() <= MAX_CHUNK_PROOF_BYTES);
    let bytes = builder.proofs.len();
    assert!(!builder.prove(&proof));
    assert_eq!((builder.authors, builder.proofs.len()), (added, bytes));
}

#[test]
fn what_was_not_gathered_as_it_should_is_no_chunk() {
    let log = TestLog::new(2);
    let field = |builder: EventsBuilder| match builder.finish() {
        Err(SyncError::BadField { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(EventsBuilder::new()), "number of events");
    let mut builder = EventsBuilder::new();
    assert!(builder.push(&log.frames[0]));
    assert_eq!(field(builder), "number of authors");
    let mut twice = EventsBuilder::new();
    assert!(log.frames().into_iter().all(|frame| twice.push(frame)));
    assert!(twice.prove(&proof(&log, 2)) && twice.prove(&proof(&log, 2)));
    assert_eq!(field(twice), "order of authors");
}

#[test]
fn numbers_that_are_merely_claimed_are_refused() {
    let log = TestLog::new(1);
    let mut builder = EventsBuilder::new();
    assert!(builder.push(&log.frames[0]) && builder.prove(&proof(&log, 1)));
    let body = builder.finish().unwrap().body().to_vec();
    // Events, authors, bytes: the largest number, and one above the limit of each.
    let limits = [MAX_CHUNK_EVENTS, MAX_CHUNK_AUTHORS, MAX_CHUNK_FRAME_BYTES];
    for (at, limit) in limits.into_iter().enumerate() {
        for claimed in [u32::MAX, u32::try_from(limit + 1).unwrap()] {
            let mut body = body.clone();
            body[4 * at..4 * at + 4].copy_from_slice(&claimed.to_le_bytes());
            assert!(Events::decode(body).is_err(), "field {at}: {claimed}");
        }
    }
    for (at, claimed) in [(0, 0_u32), (4, 0), (4, 2)] {
        let mut body = body.clone();
        body[at..at + 4].copy_from_slice(&claimed.to_le_bytes());
        assert!(Events::decode(body).is_err(), "{claimed} at {at}");
    }
}

#[test]
fn a_path_has_no_more_hashes_than_any_log_asks_for() {
    let log = TestLog::new(1);
    let with = |hashes| {
        let mut builder = EventsBuilder::new();
        assert!(builder.push(&log.frames[0]));
        assert!(builder.prove(&LogProof { path: vec![[0; 32]; hashes], ..proof(&log, 1) }));
        builder.finish()
    };
    assert!(with(MAX_PROOF_HASHES).is_ok());
    assert!(with(MAX_PROOF_HASHES + 1).is_err());
}
