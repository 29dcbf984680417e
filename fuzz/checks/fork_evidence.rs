//! Any bytes as a fork evidence: reading and verifying never panic, and what is read is written as the same bytes.

use xaeroflux::wire::fork::{ForkEvidence, MAX_FORK_BYTES};

use super::key;

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(evidence) = ForkEvidence::decode(bytes) else { return };
    assert!(bytes.len() <= MAX_FORK_BYTES);
    assert_eq!(evidence.encode(), bytes);
    let [one, other] = evidence.halves();
    assert!(one.id() < other.id());
    if let Ok(cut) = evidence.verify(&key()) {
        assert_eq!(cut.last_valid + 1, evidence.seq());
    }
}
