//! Any bytes as a head batch: reading and verifying never panic, and what is read is written as the same bytes.

use xaeroflux::wire::head::HeadBatch;

use super::key;

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(batch) = HeadBatch::decode(bytes) else { return };
    let mut again = Vec::new();
    batch.encode_into(&mut again);
    assert_eq!(again, bytes);
    let holds = batch.verify(&key());
    // Each head stands by itself exactly where the batch does.
    let last = batch.signed_head(batch.heads().len() - 1).expect("a batch has a head");
    assert_eq!(last.verify(&key()), holds);
    assert_eq!(batch.signed_head(batch.heads().len()), None);
}
