//! Any bytes as an announcement: reading never panics, what is read is written as the same bytes, and only the holders of
//! the secret read it.

use xaeroflux::wire::{
    sync::{AnnounceKey, Announcement, announce::MAX_ANNOUNCEMENT_BYTES},
    ticket::SubjectSecret,
};

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    let [key, other] = [7, 8].map(|byte| AnnounceKey::new(&SubjectSecret::from([byte; 32])));
    if let Ok(said) = Announcement::open(bytes, &key) {
        assert_eq!(said.seal(&key), bytes);
    }
    // Chance does not find what authenticates it: help it past that.
    if let Ok(said) = Announcement::decode_body(bytes) {
        assert_eq!(said.encode_body(), bytes);
        let sealed = said.seal(&key);
        assert!(sealed.len() <= MAX_ANNOUNCEMENT_BYTES);
        assert_eq!(Announcement::open(&sealed, &key), Ok(said));
        assert!(Announcement::open(&sealed, &other).is_err());
    }
}

/// The seed from which the others are made: the body of an announcement.
pub fn seed() -> Vec<u8> {
    let mut body = vec![1];
    body.extend_from_slice(&[2; 8 + 32]);
    body.extend_from_slice(&9_u64.to_le_bytes());
    body.extend_from_slice(&[3; 32]);
    body.extend_from_slice(&[2, 4, 192, 0, 2, 1, 0x51, 0x11]);
    body.push(6);
    body.extend_from_slice(&[0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0]);
    body
}
