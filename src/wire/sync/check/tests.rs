//! A chunk passes exactly where the author's log is what the author signed, wherever it was cut.

use proptest::prelude::*;

use super::*;
use crate::wire::{
    mmr::root_at,
    sign::{Signer, tests::identity},
    sync::EventsBuilder,
    test_log::{SUBJECT, TestLog},
};

/// Events `from..=to` of the log, shown by the head at `signed`.
fn chunk(log: &TestLog, from: u64, to: u64, signed: u64) -> Events {
    let ConsistencyProof { path, .. } = ConsistencyProof::make(&mut &log.tree, to, signed).unwrap();
    let key = (from == 1).then(|| identity().public_key().clone());
    chunk_with(log, from, to, &LogProof { key, head: log.head(signed), length: to, path })
}

fn chunk_with(log: &TestLog, from: u64, to: u64, proof: &LogProof) -> Events {
    let mut builder = EventsBuilder::new();
    for seq in from..=to {
        assert!(builder.push(&log.frames[usize::try_from(seq - 1).unwrap()]));
    }
    assert!(builder.prove(proof));
    builder.finish().unwrap()
}

/// What is here of the log, up to `length`.
fn here(log: &TestLog, length: u64) -> ChunkAuthor {
    let mut before = Peaks::new();
    (1..=length).for_each(|seq| before.push(log.id(seq).as_bytes()));
    assert_eq!(before.root(), root_at(&mut &log.tree, length).unwrap());
    ChunkAuthor { before, key: (length > 0).then(|| identity().public_key().clone()) }
}

fn check(chunk: &Events, here: &ChunkAuthor) -> Result<u64, SyncError> {
    let known = |author, _| {
        assert_eq!(author, identity().id());
        Some(here.clone())
    };
    let checked = check_events(SubjectId::from(SUBJECT), chunk, &mut HeadCheck::new(), known)?;
    assert_eq!(checked.events.len(), chunk.len());
    Ok(checked.authors[0].after.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_passes_in_whatever_chunks_it_comes(mut cuts in proptest::collection::btree_set(1_u64..60, 1..6)) {
        let log = TestLog::new(60);
        cuts.insert(60);
        let mut length = 0;
        for cut in cuts {
            // Shown by the head that ends there, or by the last one.
            for signed in [cut, 60] {
                let chunk = chunk(&log, length + 1, cut, signed);
                prop_assert_eq!(check(&chunk, &here(&log, length)), Ok(cut));
            }
            length = cut;
        }
    }

    #[test]
    fn what_the_author_did_not_sign_passes_nowhere(at in 1_u64..20, from in 1_u64..20, length in 0_u64..10) {
        let (signed, other) = (TestLog::new(20), TestLog::forked(20, at));
        let to = (from + length).min(20);
        let ConsistencyProof { path, .. } = ConsistencyProof::make(&mut &signed.tree, to, 20).unwrap();
        let key = Some(identity().public_key().clone());
        let proof = LogProof { key, head: signed.head(20), length: to, path };
        let chunk = chunk_with(&other, from, to, &proof);
        let passed = check(&chunk, &here(&signed, from - 1));
        if at > to {
            prop_assert_eq!(passed, Ok(to), "both have the same so far");
        } else {
            prop_assert!(matches!(passed, Err(SyncError::NotSigned { .. })), "{:?}", passed);
        }
    }
}

#[test]
fn every_altered_byte_is_refused_or_the_events_are_the_same() {
    let log = TestLog::new(5);
    let good = chunk(&log, 1, 3, 5);
    let mut refused = 0;
    for at in 0..good.body().len() {
        let mut body = good.body().to_vec();
        body[at] ^= 1;
        let Ok(altered) = Events::decode(body) else {
            refused += 1;
            continue;
        };
        let ids = |chunk: &Events| {
            let known = |_, _| Some(here(&log, 0));
            let checked = check_events(SubjectId::from(SUBJECT), chunk, &mut HeadCheck::new(), known);
            checked.map(|checked| checked.events.iter().map(|event| event.id).collect::<Vec<_>>())
        };
        match ids(&altered) {
            Err(_) => refused += 1,
            Ok(found) => assert_eq!(found, ids(&good).unwrap(), "byte {at}"),
        }
    }
    assert!(refused > good.body().len() / 2);
}

#[test]
fn a_chunk_that_does_not_begin_where_the_log_here_ends_is_a_gap() {
    let log = TestLog::new(6);
    let chunk = chunk(&log, 4, 6, 6);
    for length in [0, 1, 2, 4, 5] {
        assert!(matches!(check(&chunk, &here(&log, length)), Err(SyncError::Gap { .. })), "{length}");
    }
    assert_eq!(check(&chunk, &here(&log, 3)), Ok(6));
    let nothing = check_events(SubjectId::from(SUBJECT), &chunk, &mut HeadCheck::new(), |_, _| None);
    assert!(matches!(nothing, Err(SyncError::Gap { .. })));
}

#[test]
fn a_bad_signature_is_told_from_another_history() {
    let (log, other) = (TestLog::new(4), TestLog::forked(4, 2));
    // Of another history, and signed.
    let error = check(&chunk(&other, 3, 4, 4), &here(&log, 2)).unwrap_err();
    let other_history = |error| matches!(error, SyncError::NotSigned { error: ProofError::NotAnExtension { .. }, .. });
    assert!(other_history(error.clone()), "{error}");
    // Of another history, and not signed: whoever sends it made it up.
    let mut head = other.head(4).encode();
    *head.last_mut().unwrap() ^= 1;
    let head = crate::wire::head::SignedHead::decode(&head).unwrap();
    let proof = LogProof { key: None, head, length: 4, path: Vec::new() };
    let error = check(&chunk_with(&other, 3, 4, &proof), &here(&log, 2)).unwrap_err();
    assert!(!other_history(error.clone()), "{error}");
}
