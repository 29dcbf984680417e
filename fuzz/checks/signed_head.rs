//! Any bytes as a signed head: reading and verifying never panic, and what is read is written as the same bytes.

use xaeroflux::wire::head::{MAX_SIGNED_HEAD_BYTES, SignedHead};

use super::key;

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(head) = SignedHead::decode(bytes) else { return };
    assert!(bytes.len() <= MAX_SIGNED_HEAD_BYTES);
    assert_eq!(head.encode(), bytes);
    drop(head.verify(&key()));
}
