use super::*;
use crate::wire::{
    sign::{SecretIdentity, tests::identity},
    test_log::{SUBJECT, TestLog},
};

fn half(log: &TestLog, seq: u64, length: u64) -> ForkHalf {
    ForkHalf::new(log.id(seq), log.inclusion(seq, length), log.head(length))
}

/// Two histories that part at event 4.
fn logs() -> (TestLog, TestLog) {
    (TestLog::new(7), TestLog::forked(9, 4))
}

#[test]
fn two_signed_histories_are_a_cut_before_they_part() {
    let (one, other) = logs();
    let evidence = ForkEvidence::new(half(&one, 4, 7), half(&other, 4, 9)).unwrap();
    let cut = Cut { author: identity().public_key().id(), subject: SubjectId::from(SUBJECT), last_valid: 3 };
    assert_eq!(evidence.verify(identity().public_key()), Ok(cut));
    assert_eq!(ForkEvidence::decode(&evidence.encode()), Ok(evidence));
}

#[test]
fn who_found_which_first_does_not_matter() {
    let (one, other) = logs();
    let (one, other) = (half(&one, 4, 7), half(&other, 4, 9));
    let evidence = ForkEvidence::new(one.clone(), other.clone()).unwrap();
    assert_eq!(ForkEvidence::new(other, one), Ok(evidence.clone()));
    // The encoding has one order only.
    let [low, high] = evidence.halves().clone();
    let swapped = ForkEvidence { halves: [high, low], ..evidence };
    assert_eq!(ForkEvidence::decode(&swapped.encode()), Err(ProofError::HalvesOutOfOrder));
}

#[test]
fn what_does_not_contradict_is_no_fork() {
    let (one, other) = logs();
    // Before they part, and one log at two lengths.
    assert_eq!(ForkEvidence::new(half(&one, 3, 7), half(&other, 3, 9)), Err(ProofError::SameEvent));
    assert_eq!(ForkEvidence::new(half(&one, 5, 6), half(&one, 5, 7)), Err(ProofError::SameEvent));
    // Two places.
    let places = ForkEvidence::new(half(&one, 4, 7), half(&other, 5, 9));
    assert_eq!(places, Err(ProofError::OtherSeq { expected: 4, found: 5 }));
    // Two logs.
    let mut foreign = half(&other, 4, 9);
    let batch = |change: &dyn Fn(&mut LogHead)| {
        let mut head = *foreign.head.head();
        change(&mut head);
        crate::wire::head::HeadBatch::sign(identity(), vec![head]).unwrap().signed_head(0).unwrap()
    };
    let subject = SubjectId::from([1; 32]);
    foreign.head = batch(&|head| head.subject = subject);
    let (expected, found) = (SubjectId::from(SUBJECT), subject);
    assert_eq!(ForkEvidence::new(half(&one, 4, 7), foreign), Err(ProofError::OtherSubject { expected, found }));
}

#[test]
fn an_event_that_the_author_did_not_sign_is_no_fork() {
    let (one, other) = logs();
    let mut made_up = half(&other, 4, 9);
    made_up.id = EventId::from([0; 32]);
    let evidence = ForkEvidence::new(half(&one, 4, 7), made_up).unwrap();
    assert_eq!(evidence.verify(identity().public_key()), Err(ProofError::BadPath));
    let evidence = ForkEvidence::new(half(&one, 4, 7), half(&other, 4, 9)).unwrap();
    let stranger = SecretIdentity::generate().unwrap();
    let (expected, found) = (stranger.public_key().id(), identity().public_key().id());
    assert_eq!(evidence.verify(stranger.public_key()), Err(ProofError::OtherAuthor { expected, found }));
    let half = ForkHalf::new(other.id(4), other.inclusion(4, 8), other.head(9));
    assert_eq!(ForkEvidence::new(half.clone(), half), Err(ProofError::OtherLength { expected: 9, found: 8 }));
}

#[test]
fn no_altered_or_missing_bit_passes() {
    let (one, other) = logs();
    let mut good = ForkEvidence::new(half(&one, 4, 7), half(&other, 4, 9)).unwrap().encode();
    assert!(good.len() <= MAX_FORK_BYTES);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let refused = ForkEvidence::decode(&bad).and_then(|evidence| evidence.verify(identity().public_key()));
        assert!(refused.is_err(), "bit {bit}");
    }
    for have in 0..good.len() {
        assert!(ForkEvidence::decode(&good[..have]).is_err(), "{have} bytes");
    }
    good.push(0);
    assert_eq!(ForkEvidence::decode(&good), Err(ProofError::TrailingBytes { what: WHAT, bytes: 1 }));
}
