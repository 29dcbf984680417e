//! Any bytes as an exported subject: reading and checking never panic, ask for no more than the limits, and what passes is
//! what its opening announces.

use xaeroflux::wire::bundle::{BundleCheck, BundleError, Decoder, MAX_SKIPPED_BYTES, Part};

/// Most bytes that a decoder may ask for at once: the longest chunk, which is the longest section.
const MOST: usize = 8 << 20;

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    let _ = read(bytes);
    // Chance finds no checksums: the same with such as hold.
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    let _ = read(&sealed);
}

/// Reads all of it, and returns how many events have passed.
pub fn read(mut bytes: &[u8]) -> Result<u64, BundleError> {
    let (mut decoder, mut check) = (Decoder::new(), None::<BundleCheck>);
    while decoder.wanted() > 0 {
        assert!(decoder.wanted() <= MOST);
        let Some((piece, rest)) = bytes.split_at_checked(decoder.wanted()) else {
            return Err(decoder.cut_short(bytes.len()));
        };
        bytes = rest;
        match (decoder.feed(piece)?, &mut check) {
            (Some(Part::Opening(opening)), check) => {
                assert!(check.is_none());
                *check = Some(BundleCheck::new(opening));
            }
            (Some(Part::Author(at, entry)), Some(check)) => check.author(at, *entry)?,
            (Some(Part::Events(chunk)), Some(check)) => {
                let before = check.events();
                let (all, passed) = (chunk.events, check.events_of(&chunk)?);
                assert_eq!(passed.events.len(), all);
                assert_eq!(check.events() - before, all as u64);
            }
            (Some(Part::Fork(at, entry)), Some(check)) => drop(check.fork(at, &entry)?),
            (Some(Part::Other(kind, body)), Some(_)) => {
                assert!(kind.is_optional() && body.len() <= MAX_SKIPPED_BYTES);
            }
            (Some(Part::End(trailer)), Some(check)) => {
                check.end(&trailer)?;
                assert_eq!((check.events(), check.root()), (check.opening().events, trailer.root));
            }
            (None, _) => {}
            (part, None) => panic!("{part:?} before the opening"),
        }
    }
    match bytes.len() {
        0 => Ok(check.map_or(0, |check| check.events())),
        _ => Err(decoder.trailing()),
    }
}

/// Makes the checksums of all sections right, as far as there are any.
fn seal(bytes: &mut [u8]) {
    let mut at = 6;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() >= 16) {
        let length = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
        let crc = crc32c::crc32c(&rest[..8]).to_le_bytes();
        rest[8..12].copy_from_slice(&crc);
        let Some(section) = length.checked_add(16).and_then(|end| rest.get_mut(..end)) else { break };
        let (body, slot) = section[12..].split_at_mut(length);
        slot.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        at += 16 + length;
    }
}
