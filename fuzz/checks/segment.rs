//! Any bytes as a segment: reading never panics, and what passes has no altered byte.

use xaeroflux::actors::segment;

/// From the end: the length of the footer, and its checksum.
const LENGTH_AT: usize = 16;
const CRC_AT: usize = 8;

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    holds(bytes);
    // Chance does not find a checksum: with a right one the input reaches what lies behind it.
    if let Some(sealed) = seal(bytes) {
        holds(&sealed);
    }
}

fn holds(bytes: &[u8]) {
    let Ok(range) = segment::check(bytes) else { return };
    assert!(range.start < range.end);
    // A few places of the file, all over it.
    for at in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
        let mut altered = bytes.to_vec();
        altered[at] ^= 1;
        assert!(segment::check(&altered).is_err(), "byte {at}");
    }
    assert!(segment::check(&bytes[..bytes.len() - 1]).is_err());
}

/// The input with the checksum that its footer asks for.
fn seal(bytes: &[u8]) -> Option<Vec<u8>> {
    let tail = bytes.len().checked_sub(LENGTH_AT)?;
    let length = u32::from_le_bytes(bytes[tail..tail + 4].try_into().ok()?) as usize;
    let (from, to) = (bytes.len().checked_sub(length)?, bytes.len() - CRC_AT);
    let crc = crc32c::crc32c(bytes.get(from..to)?);
    let mut sealed = bytes.to_vec();
    sealed[to..to + 4].copy_from_slice(&crc.to_le_bytes());
    Some(sealed)
}
