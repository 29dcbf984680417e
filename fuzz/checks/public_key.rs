//! Any bytes as a public key, its text form or a signature: reading and verifying never panic, and each key has one
//! form of each kind.

use xaeroflux::wire::key::{PUBLIC_KEY_BYTES, PublicKey, SIGNATURE_BYTES};

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_bytes(bytes) {
        assert_eq!(key.as_bytes(), bytes);
        assert!(PublicKey::from_text(&key.to_text()).is_ok_and(|again| again == key));
    }
    if let Ok(key) = std::str::from_utf8(bytes).map_err(drop).and_then(|text| PublicKey::from_text(text).map_err(drop))
    {
        assert_eq!(key.to_text().as_bytes(), bytes);
    }
    // The input as the key, filled up with zeros, and as the signature.
    let mut padded = bytes.to_vec();
    padded.resize(PUBLIC_KEY_BYTES, 0);
    if let Ok(key) = PublicKey::from_bytes(&padded) {
        padded.resize(SIGNATURE_BYTES, 0);
        drop(key.verify(b"message", &padded));
        drop(key.verify(b"message", bytes));
    }
}
