use std::sync::Arc;

use super::*;
use crate::wire::{
    event::{Event, EventType, Stamp, XaeroEvent},
    head::HeadCheck,
    id::{Dot, SubjectId, XaeroID},
    limits::MAX_DEPS,
    mmr::InclusionProof,
    sign::{SecretIdentity, tests::identity},
    test_log::TestLog,
};

const DEPS_AT: usize = 6 + 90;
const PAYLOAD_LENGTH_AT: usize = 6 + 92;
const TYPE_AT: usize = 6 + 88;
const SEQ_AT: usize = 6 + 64;

/// The event as a subject delivers it.
fn delivered(log: &TestLog, seq: u64) -> XaeroEvent {
    let record = log.record(seq);
    let stamp = Stamp {
        subject: record.subject(),
        dot: record.dot(),
        clock: record.clock(),
        deps: record.deps().collect(),
        is_withheld: false,
    };
    XaeroEvent {
        evt: Event::stamped(record.payload().to_vec(), record.event_type(), Some(Arc::new(stamp))),
        merkle_proof: None,
        author_id: Some(record.author()),
        latest_ts: Some(record.latest_ts()),
    }
}

#[test]
fn every_event_of_a_log_is_proven_and_no_other() {
    let (log, key) = (TestLog::new(9), identity().public_key());
    let head = log.head(9);
    for seq in 1..=9 {
        let proof = log.proof(seq, &head);
        assert_eq!(proof.verify(key), Ok(()));
        assert_eq!(EventProof::decode(&proof.encode()), Ok(proof.clone()));
        for other in 1..=9 {
            let expected =
                if seq == other { Ok(()) } else { Err(ProofError::OtherSeq { expected: other, found: seq }) };
            assert_eq!(proof.proves(&delivered(&log, other)), expected);
            assert_eq!(proof.proves_record(&log.record(other)), expected);
        }
    }
}

#[test]
fn no_altered_bit_passes() {
    let (log, key) = (TestLog::new(6), identity().public_key());
    let good = log.proof(5, &log.head(6)).encode();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(EventProof::decode(&bad).and_then(|proof| proof.verify(key)).is_err(), "bit {bit}");
    }
}

#[test]
fn nothing_may_be_missing_or_follow() {
    let log = TestLog::new(6);
    let mut good = log.proof(5, &log.head(6)).encode();
    for have in 0..good.len() {
        let refused = EventProof::decode(&good[..have]);
        assert!(matches!(refused, Err(ProofError::CutShort { have: found, .. }) if found == have), "{refused:?}");
    }
    let what = "a proof";
    good.push(0);
    assert_eq!(EventProof::decode(&good), Err(ProofError::TrailingBytes { what, bytes: 1 }));
    good[5] = 0;
    assert_eq!(EventProof::decode(&good), Err(ProofError::UnknownAlgorithm { what, algorithm: 0 }));
    good[4] = 9;
    assert_eq!(EventProof::decode(&good), Err(ProofError::UnknownVersion { what, version: 9 }));
    assert_eq!(EventProof::decode(b"XPUB"), Err(ProofError::WrongMagic { what, magic: "XPRF" }));
}

#[test]
fn parts_about_different_things_are_refused_and_say_which() {
    let log = TestLog::new(6);
    let (head, header) = (log.head(6), EventHeader::of(&log.record(5)));
    let good = log.inclusion(5, 6);
    let refused = |inclusion| EventProof::new(header.clone(), inclusion, head.clone()).map(drop);
    assert_eq!(refused(good.clone()), Ok(()));
    let other_seq = InclusionProof { index: 3, ..good.clone() };
    assert_eq!(refused(other_seq), Err(ProofError::OtherSeq { expected: 5, found: 4 }));
    let other_length = InclusionProof { length: 7, ..good.clone() };
    assert_eq!(refused(other_length), Err(ProofError::OtherLength { expected: 6, found: 7 }));
    let longer = InclusionProof { path: vec![[0; 32]; 3], ..good };
    assert_eq!(refused(longer), Err(ProofError::PathLength { have: 3, need: 2 }));
    // A head that ends before the event.
    let early = EventProof::new(header, log.inclusion(5, 4), log.head(4));
    assert_eq!(early, Err(ProofError::NotInTree { index: 4, length: 4 }));
    // The header's subject and author against those of the head, in bytes.
    let encoded = log.proof(5, &head).encode();
    let mut subject = encoded.clone();
    subject[6] ^= 1;
    assert!(matches!(EventProof::decode(&subject), Err(ProofError::OtherSubject { .. })));
    let mut author = encoded;
    author[6 + 32] ^= 1;
    assert!(matches!(EventProof::decode(&author), Err(ProofError::OtherAuthor { .. })));
}

#[test]
fn a_proof_under_another_key_or_another_root_is_refused() {
    let log = TestLog::new(6);
    let proof = log.proof(5, &log.head(6));
    let stranger = SecretIdentity::generate().unwrap();
    let (expected, found) = (stranger.public_key().id(), identity().public_key().id());
    assert_eq!(proof.verify(stranger.public_key()), Err(ProofError::OtherAuthor { expected, found }));
    // The event of one history with the head of another.
    let other = TestLog::forked(6, 5);
    let mixed = EventProof::new(EventHeader::of(&log.record(5)), log.inclusion(5, 6), other.head(6)).unwrap();
    assert_eq!(mixed.verify(identity().public_key()), Err(ProofError::BadPath));
}

#[test]
fn an_event_with_any_field_altered_is_not_proven() {
    let log = TestLog::new(6);
    let proof = log.proof(5, &log.head(6));
    let good = delivered(&log, 5);
    let restamped = |change: &dyn Fn(&mut Stamp)| {
        let mut event = good.clone();
        let mut stamp = Stamp::clone(event.evt.stamp().unwrap());
        change(&mut stamp);
        event.evt.set_stamp(Some(Arc::new(stamp)));
        proof.proves(&event)
    };
    let altered = |what| Err(ProofError::AlteredEvent(what));
    let (subject, author) = (SubjectId::from([1; 32]), XaeroID::from([1; 32]));
    let found = log.record(5).subject();
    assert_eq!(restamped(&|stamp| stamp.subject = subject), Err(ProofError::OtherSubject { expected: subject, found }));
    assert_eq!(restamped(&|stamp| stamp.dot.seq = 6), Err(ProofError::OtherSeq { expected: 6, found: 5 }));
    assert_eq!(restamped(&|stamp| stamp.clock = stamp.clock.next(0)), altered("clock"));
    assert_eq!(restamped(&|stamp| stamp.deps.truncate(1)), altered("list of dependencies"));

    let mut event = good.clone();
    event.evt.data.push(b'!');
    assert_eq!(proof.proves(&event), altered("payload"));
    event = good.clone();
    event.evt.event_type = EventType::ApplicationEvent(31);
    assert_eq!(proof.proves(&event), altered("type"));
    event = good.clone();
    event.latest_ts = Some(51);
    assert_eq!(proof.proves(&event), altered("timestamp"));
    event.latest_ts = None;
    assert_eq!(proof.proves(&event), altered("timestamp"));
    event = good.clone();
    event.author_id = None;
    assert_eq!(proof.proves(&event), altered("author"));
    event.author_id = Some(author);
    let found = log.record(5).author();
    assert_eq!(proof.proves(&event), Err(ProofError::OtherAuthor { expected: author, found }));
    let both = |stamp: &mut Stamp| stamp.dot = Dot::new(author, 5);
    let mut stamp = Stamp::clone(event.evt.stamp().unwrap());
    both(&mut stamp);
    event.evt.set_stamp(Some(Arc::new(stamp)));
    assert_eq!(proof.proves(&event), Err(ProofError::OtherAuthor { expected: author, found }));
    event.evt.set_stamp(None);
    assert_eq!(proof.proves(&event), Err(ProofError::NotInALog));
}

#[test]
fn a_header_that_no_event_has_is_refused() {
    let log = TestLog::new(6);
    let good = log.proof(5, &log.head(6)).encode();
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        EventProof::decode(&bad).map(drop)
    };
    assert_eq!(with(SEQ_AT, &[0; 8]), Err(ProofError::SeqZero));
    assert_eq!(with(TYPE_AT, &[200, 30]), Err(ProofError::UnknownEventType([200, 30])));
    assert_eq!(with(DEPS_AT, &1025_u16.to_le_bytes()), Err(ProofError::TooManyDeps(MAX_DEPS + 1)));
    let payload = (1 << 20) + 1;
    assert_eq!(with(PAYLOAD_LENGTH_AT, &1_048_577_u32.to_le_bytes()), Err(ProofError::PayloadTooLarge(payload)));
    // The event has two dependencies.
    let first = PAYLOAD_LENGTH_AT + 4;
    assert_eq!(with(first, &[7; 32]), Err(ProofError::BadDeps), "out of order");
    assert_eq!(with(first, identity().public_key().id().as_bytes()), Err(ProofError::BadDeps), "its own author");
    assert_eq!(with(first + 32, &[0; 8]), Err(ProofError::BadDeps), "no event");
}

#[test]
fn proofs_under_one_signature_cost_one_signature_check() {
    let (log, key) = (TestLog::new(20), identity().public_key());
    let head = log.head(20);
    let mut check = HeadCheck::new();
    for seq in 1..=20 {
        assert_eq!(log.proof(seq, &head).verify_with(&mut check, key), Ok(()));
    }
    assert_eq!(check.signature_checks(), 1);
}

#[test]
fn the_errors_are_sentences() {
    let errors = [
        ProofError::SignatureLength { have: 655 }.to_string(),
        ProofError::SignatureEncoding { header: 0x59 }.to_string(),
        ProofError::OtherLength { expected: 3, found: 4 }.to_string(),
    ];
    assert_eq!(
        errors,
        [
            "the signature has 655 bytes, not 666: only the padded encoding of Falcon-512 is accepted; sign again with it",
            "the signature starts with 0x59, so it is not in the padded encoding of Falcon-512, the only one that is accepted; sign again with it",
            "this is about a log of 4 events, not of 3",
        ]
    );
}
