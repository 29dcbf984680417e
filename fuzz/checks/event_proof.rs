//! Any bytes as a proof: reading and verifying never panic, and what is read is written as the same bytes.

use xaeroflux::wire::proof::{EventProof, MAX_PROOF_BYTES};

use super::key;

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(proof) = EventProof::decode(bytes) else { return };
    assert!(bytes.len() <= MAX_PROOF_BYTES);
    assert_eq!(proof.encode(), bytes);
    // The header is that of an event which a log can hold.
    assert!(proof.header().seq() >= 1 && proof.header().seq() <= proof.head().head().length);
    drop(proof.verify(&key()));
}
