//! Any bytes as a key file: reading never panics, and a key that is read is one that has a text form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xaeroflux::wire::{
    key::PublicKey,
    key_file::{self, KEY_FILE_BYTES},
};

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Chance does not find a checksum, nor a length of two thousand bytes: help it past both.
    let mut sealed = bytes.to_vec();
    check(&seal(&mut sealed));
    sealed.resize(KEY_FILE_BYTES - 4, 0);
    check(&seal(&mut sealed));
});

fn check(bytes: &[u8]) {
    if let Ok(key) = key_file::public_part(bytes) {
        assert_eq!(bytes.len(), KEY_FILE_BYTES);
        assert!(PublicKey::from_text(&key.to_text()).is_ok_and(|again| again == key));
    }
}

fn seal(bytes: &mut Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(bytes);
    [&bytes[..], &crc.to_le_bytes()].concat()
}
