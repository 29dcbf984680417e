//! Any bytes as a key file: reading never panics, and a key that is read is one that has a text form.

use xaeroflux::wire::{
    key::PublicKey,
    key_file::{self, KEY_FILE_BYTES},
};

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    holds(bytes);
    // Chance does not find a checksum, nor a length of two thousand bytes: help it past both.
    let mut sealed = bytes.to_vec();
    holds(&seal(&sealed));
    sealed.resize(KEY_FILE_BYTES - 4, 0);
    holds(&seal(&sealed));
}

fn holds(bytes: &[u8]) {
    if let Ok(key) = key_file::public_part(bytes) {
        assert_eq!(bytes.len(), KEY_FILE_BYTES);
        assert!(PublicKey::from_text(&key.to_text()).is_ok_and(|again| again == key));
    }
}

fn seal(bytes: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c(bytes);
    [bytes, &crc.to_le_bytes()].concat()
}
