use std::sync::OnceLock;

use super::*;
use crate::wire::{
    id::{SubjectId, XaeroID},
    key::{KeyError, SIGNATURE_BYTES},
    proof::ProofError,
    sign::{SecretIdentity, Signer, tests::identity},
};

fn head(number: u64) -> LogHead {
    let mut subject = [0; 32];
    subject[..8].copy_from_slice(&number.to_le_bytes());
    LogHead { subject: SubjectId::from(subject), author: identity().id(), length: number + 1, root: [7; 32] }
}

fn batch(heads: u64) -> HeadBatch {
    HeadBatch::sign(identity(), (0..heads).map(head).collect()).unwrap()
}

fn stranger() -> &'static SecretIdentity {
    static STRANGER: OnceLock<SecretIdentity> = OnceLock::new();
    STRANGER.get_or_init(|| SecretIdentity::generate().unwrap())
}

/// Signs with whatever it is told to.
struct Fixed(Result<Vec<u8>, KeyError>);

impl Signer for Fixed {
    fn id(&self) -> XaeroID {
        identity().id()
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.clone()
    }
}

#[test]
fn every_head_of_a_batch_stands_by_itself() {
    let key = identity().public_key();
    for heads in [1, 2, 3, 7, 8, 21] {
        let batch = batch(heads);
        assert_eq!(batch.verify(key), Ok(()));
        for (index, signed) in batch.signed_heads().enumerate() {
            assert_eq!(signed.head(), &head(index as u64));
            assert_eq!(signed.verify(key), Ok(()), "{index} of {heads}");
            assert_eq!(SignedHead::decode(&signed.encode()), Ok(signed));
        }
        assert_eq!(batch.signed_head(heads as usize), None);
        let mut encoded = Vec::new();
        batch.encode_into(&mut encoded);
        assert_eq!(HeadBatch::decode(&encoded), Ok(batch));
    }
}

#[test]
fn what_is_signed_is_what_the_format_says() {
    let node = |left: [u8; 32], right: [u8; 32]| {
        blake3::derive_key("xaeroflux 2026 head batch node v1", &[left, right].concat())
    };
    let root = node(node(head(0).leaf(), head(1).leaf()), head(2).leaf());
    let mut message = vec![28];
    message.extend(b"xaeroflux 2026 head batch v1");
    message.extend(identity().id().as_bytes());
    message.extend([3, 0, 0, 0]);
    message.extend(root);
    let batch = batch(3);
    assert_eq!(identity().public_key().verify(&message, batch.signature().as_bytes()), Ok(()));
}

#[test]
fn no_altered_bit_passes() {
    let key = identity().public_key();
    let good = batch(5).signed_head(3).unwrap().encode();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let refused = SignedHead::decode(&bad).and_then(|head| head.verify(key));
        assert!(refused.is_err(), "bit {bit}");
    }
    let mut encoded = Vec::new();
    batch(3).encode_into(&mut encoded);
    for bit in 0..encoded.len() * 8 {
        let mut bad = encoded.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let refused = HeadBatch::decode(&bad).and_then(|batch| batch.verify(key));
        assert!(refused.is_err(), "bit {bit}");
    }
}

#[test]
fn nothing_may_be_missing_or_follow() {
    let mut encoded = Vec::new();
    batch(3).encode_into(&mut encoded);
    for (what, mut good) in [("a signed head", batch(3).signed_head(2).unwrap().encode()), ("a head batch", encoded)] {
        let decode = |bytes: &[u8]| match what {
            "a signed head" => SignedHead::decode(bytes).map(drop),
            _ => HeadBatch::decode(bytes).map(drop),
        };
        for length in 0..good.len() {
            let refused = decode(&good[..length]);
            assert!(matches!(refused, Err(ProofError::CutShort { have, .. }) if have == length), "{what}: {refused:?}");
        }
        good.push(0);
        assert_eq!(decode(&good), Err(ProofError::TrailingBytes { what, bytes: 1 }));
        good[4] = 2;
        assert_eq!(decode(&good), Err(ProofError::UnknownVersion { what, version: 2 }));
        good[4] = 1;
        good[5] = 2;
        assert_eq!(decode(&good), Err(ProofError::UnknownAlgorithm { what, algorithm: 2 }));
        good[0] = b'x';
        assert!(matches!(decode(&good), Err(ProofError::WrongMagic { .. })));
    }
}

#[test]
fn the_key_of_another_author_is_refused_and_named() {
    let (expected, found) = (stranger().id(), identity().id());
    let batch = batch(2);
    let refused = Err(ProofError::OtherAuthor { expected, found });
    assert_eq!(batch.verify(stranger().public_key()), refused);
    let signed = batch.signed_head(0).unwrap();
    assert_eq!(signed.verify(stranger().public_key()), refused);
    assert_eq!(HeadCheck::new().verify(&signed, stranger().public_key()), refused);
}

#[test]
fn only_the_padded_encoding_of_a_signature_is_taken() {
    let (batch, key) = (batch(1), identity().public_key());
    let good = batch.signature().as_bytes();
    // The other variant of the scheme makes the same signature without its padding.
    let unpadded = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for have in [0, unpadded.min(SIGNATURE_BYTES - 1), SIGNATURE_BYTES - 1] {
        let refused = ProofError::SignatureLength { have };
        assert_eq!(Signature::from_bytes(&good[..have]), Err(refused.clone()));
        let signer = Fixed(Ok(good[..have].to_vec()));
        assert_eq!(HeadBatch::sign(&signer, vec![head(0)]), Err(refused.clone()));
        let mut encoded = batch.signed_head(0).unwrap().encode();
        encoded.truncate(encoded.len() - Signature::ENCODED_BYTES);
        encoded.extend(u16::try_from(have).unwrap().to_le_bytes());
        encoded.extend(&good[..have]);
        assert_eq!(SignedHead::decode(&encoded), Err(refused));
    }
    let mut constant_time = *good;
    constant_time[0] = 0x59;
    let signed = HeadBatch::sign(&Fixed(Ok(constant_time.to_vec())), vec![head(0)]).unwrap().signed_head(0).unwrap();
    assert_eq!(signed.verify(key), Err(ProofError::SignatureEncoding { header: 0x59 }));
}

#[test]
fn what_no_author_signs_is_refused() {
    let sign = |heads| HeadBatch::sign(identity(), heads).map(drop);
    assert_eq!(sign(Vec::new()), Err(ProofError::BatchSize(0)));
    assert_eq!(sign(vec![head(1); MAX_BATCH_HEADS + 1]), Err(ProofError::BatchSize(MAX_BATCH_HEADS + 1)));
    assert_eq!(sign(vec![LogHead { length: 0, ..head(1) }]), Err(ProofError::EmptyLog));
    let (expected, found) = (identity().id(), stranger().id());
    let foreign = LogHead { author: found, ..head(1) };
    assert_eq!(sign(vec![head(0), foreign]), Err(ProofError::OtherAuthor { expected, found }));
    let corrupt = HeadBatch::sign(&Fixed(Err(KeyError::CannotSign)), vec![head(0)]);
    assert_eq!(corrupt, Err(ProofError::CannotSign(KeyError::CannotSign)));
}

#[test]
fn the_largest_batch_has_the_longest_heads() {
    let signature = batch(1).signature().as_bytes().to_vec();
    let heads = (0..MAX_BATCH_HEADS as u64).map(head).collect();
    let batch = HeadBatch::sign(&Fixed(Ok(signature)), heads).unwrap();
    let last = batch.signed_head(MAX_BATCH_HEADS - 1).unwrap();
    assert_eq!(last.path().len(), MAX_BATCH_PATH);
    assert_eq!(last.encode().len(), MAX_SIGNED_HEAD_BYTES);
    assert_eq!(SignedHead::decode(&last.encode()), Ok(last.clone()));
    let mut beyond = last.encode();
    let size_at = 6 + 104;
    beyond[size_at..size_at + 4].copy_from_slice(&65_537_u32.to_le_bytes());
    assert_eq!(SignedHead::decode(&beyond), Err(ProofError::BatchSize(65_537)));
    let mut outside = last.encode();
    outside[size_at + 4..size_at + 8].copy_from_slice(&65_536_u32.to_le_bytes());
    assert_eq!(SignedHead::decode(&outside), Err(ProofError::NotInTree { index: 65_536, length: 65_536 }));
}

#[test]
fn one_signature_check_serves_a_batch_and_no_other() {
    let key = identity().public_key();
    let (first, second) = (batch(9), batch(9));
    let mut check = HeadCheck::new();
    for signed in first.signed_heads() {
        assert_eq!(check.verify(&signed, key), Ok(()));
    }
    assert_eq!(check.signature_checks(), 1);
    // The same heads under another signature: what held for one says nothing of the other.
    assert_eq!(check.verify(&second.signed_head(0).unwrap(), key), Ok(()));
    assert_eq!(check.signature_checks(), 2);
    let good = first.signed_head(4).unwrap();
    let mut altered = good.clone();
    altered.head.length += 1;
    assert_eq!(check.verify(&altered, key), Err(ProofError::BadSignature));
    let mut resized = good;
    resized.batch_size = 10;
    assert_eq!(check.verify(&resized, key), Err(ProofError::BadSignature));
}

#[test]
fn a_head_check_forgets_the_oldest_batch() {
    let key = identity().public_key();
    let batches: Vec<SignedHead> = (0..=REMEMBERED_BATCHES).map(|_| batch(1).signed_head(0).unwrap()).collect();
    let mut check = HeadCheck::new();
    for signed in &batches {
        assert_eq!(check.verify(signed, key), Ok(()));
    }
    let checks = check.signature_checks();
    assert_eq!(check.verify(&batches[REMEMBERED_BATCHES], key), Ok(()));
    assert_eq!(check.signature_checks(), checks);
    assert_eq!(check.verify(&batches[0], key), Ok(()));
    assert_eq!(check.signature_checks(), checks + 1);
}
