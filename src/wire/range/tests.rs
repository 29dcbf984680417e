use super::*;
use crate::wire::{
    frame::FrameError,
    head::{HeadBatch, LogHead},
    sign::{SecretIdentity, Signer, tests::identity},
    test_log::{SUBJECT, TestLog},
};

fn check(before: Peaks) -> RangeCheck {
    RangeCheck::new(SubjectId::from(SUBJECT), identity().id(), before)
}

fn finish(check: RangeCheck, head: &SignedHead) -> Result<Peaks, ProofError> {
    check.finish(head, identity().public_key(), &mut HeadCheck::new())
}

#[test]
fn a_range_is_verified_in_whatever_pieces_it_arrives() {
    let log = TestLog::new(40);
    let head = log.head(40);
    let frames = log.frames();
    for piece in [1, 3, 16, 40] {
        let mut range = check(Peaks::new());
        let mut seq = 0;
        for frames in frames.chunks(piece) {
            for event in range.feed(frames).unwrap() {
                seq += 1;
                assert_eq!((event.record.seq(), event.id), (seq, log.id(seq)));
            }
        }
        assert_eq!(finish(range, &head).map(|peaks| peaks.len()), Ok(40));
    }
}

#[test]
fn a_range_continues_what_is_there() {
    let log = TestLog::new(40);
    let frames = log.frames();
    let mut before = check(Peaks::new());
    before.feed(&frames[..13]).unwrap();
    let peaks = finish(before, &log.head(13)).unwrap();
    let mut range = check(peaks);
    range.feed(&frames[13..]).unwrap();
    assert!(finish(range, &log.head(40)).is_ok());
}

#[test]
fn a_part_is_verified_by_a_head_beyond_it() {
    let log = TestLog::new(40);
    let (head, key) = (log.head(40), identity().public_key());
    for length in 0..=40_u64 {
        let mut range = check(Peaks::new());
        range.feed(&log.frames()[..length as usize]).unwrap();
        let proof = ConsistencyProof::make(&mut &log.tree, length, 40).unwrap();
        let peaks = range.clone().prefix_of(&head, &proof, key, &mut HeadCheck::new()).unwrap();
        assert_eq!(peaks.len(), length);
        for (old, new, expected, found) in [(length + 1, 40, length, length + 1), (length, 41, 40, 41)] {
            let other = ConsistencyProof { old, new, path: proof.path.clone() };
            let refused = range.clone().prefix_of(&head, &other, key, &mut HeadCheck::new());
            assert_eq!(refused, Err(ProofError::OtherLength { expected, found }));
        }
    }
    // Another history is no part of it.
    let forked = TestLog::forked(20, 15);
    let mut range = check(Peaks::new());
    range.feed(&forked.frames()).unwrap();
    let proof = ConsistencyProof::make(&mut &log.tree, 20, 40).unwrap();
    let refused = range.prefix_of(&head, &proof, key, &mut HeadCheck::new());
    assert_eq!(refused, Err(ProofError::NotAnExtension { old: 20, new: 40 }));
}

#[test]
fn frames_that_do_not_come_next_are_refused_and_nothing_is_taken() {
    let log = TestLog::new(10);
    let frames = log.frames();
    let mut range = check(Peaks::new());
    range.feed(&frames[..4]).unwrap();
    let before = range.peaks().clone();
    let gap = [frames[4], frames[6]];
    assert_eq!(range.feed(&gap).map(drop), Err(ProofError::OtherSeq { expected: 6, found: 7 }));
    assert_eq!(range.feed(&frames[3..]).map(drop), Err(ProofError::OtherSeq { expected: 5, found: 4 }));
    let cut = [frames[4], &frames[5][..30]];
    assert!(matches!(
        range.feed(&cut).map(drop),
        Err(ProofError::Frame { place: 1, error: FrameError::Truncated { .. } })
    ));
    let joined = [frames[4], frames[5]].concat();
    let what = "a frame";
    let bytes = frames[5].len();
    assert_eq!(range.feed(&[&joined]).map(drop), Err(ProofError::TrailingBytes { what, bytes }));
    assert_eq!(range.peaks(), &before);
    range.feed(&frames[4..]).unwrap();
    assert!(finish(range, &log.head(10)).is_ok());

    let other = SubjectId::from([1; 32]);
    let refused = RangeCheck::new(other, identity().id(), Peaks::new()).feed(&frames).map(drop);
    assert_eq!(refused, Err(ProofError::OtherSubject { expected: other, found: SubjectId::from(SUBJECT) }));
    let other = XaeroID::from([1; 32]);
    let refused = RangeCheck::new(SubjectId::from(SUBJECT), other, Peaks::new()).feed(&frames).map(drop);
    assert_eq!(refused, Err(ProofError::OtherAuthor { expected: other, found: identity().id() }));
}

#[test]
fn a_head_that_does_not_cover_the_range_is_refused() {
    let (log, forked) = (TestLog::new(10), TestLog::forked(10, 10));
    let mut range = check(Peaks::new());
    range.feed(&log.frames()).unwrap();
    let refused = |head: &SignedHead| finish(range.clone(), head).map(drop);
    assert_eq!(refused(&log.head(10)), Ok(()));
    assert_eq!(refused(&forked.head(10)), Err(ProofError::WrongRoot));
    assert_eq!(refused(&log.head(9)), Err(ProofError::OtherLength { expected: 10, found: 9 }));
    let other = LogHead { subject: SubjectId::from([1; 32]), ..*log.head(10).head() };
    let other = HeadBatch::sign(identity(), vec![other]).unwrap().signed_head(0).unwrap();
    assert!(matches!(refused(&other), Err(ProofError::OtherSubject { .. })));
    // The right head, but nobody's signature.
    let mut unsigned = log.head(10).encode();
    let last = unsigned.len() - 300;
    unsigned[last] ^= 1;
    assert_eq!(refused(&SignedHead::decode(&unsigned).unwrap()), Err(ProofError::BadSignature));
    let stranger = SecretIdentity::generate().unwrap();
    let by_stranger = range.clone().finish(&log.head(10), stranger.public_key(), &mut HeadCheck::new());
    assert!(matches!(by_stranger, Err(ProofError::OtherAuthor { .. })));
}
