//! Sections: a kind, a length, a body, and checksums of both.

use std::fmt;

use super::{BundleError, MAX_SKIPPED_BYTES, chunk, decoder, opening};

/// Length of a section's header: kind, length of the body, CRC32C of these two.
pub(super) const HEADER_BYTES: usize = 12;

/// Length of what follows a body: its CRC32C.
pub(super) const CRC_BYTES: usize = 4;

/// The kind of a section: four letters. Where the first is a capital, a reader must know the kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind([u8; 4]);

impl Kind {
    /// What the bundle is about.
    pub const SUBJECT: Self = Self(*b"SUBJ");
    /// One author.
    pub const AUTHOR: Self = Self(*b"AUTH");
    /// Evidence that an author signed two histories.
    pub const FORK: Self = Self(*b"FORK");
    /// A chunk of events.
    pub const EVENTS: Self = Self(*b"EVTS");
    /// The end.
    pub const DONE: Self = Self(*b"DONE");

    /// A kind of one's own.
    #[must_use]
    pub const fn new(letters: [u8; 4]) -> Self {
        Self(letters)
    }

    /// The four letters.
    #[must_use]
    pub const fn letters(self) -> [u8; 4] {
        self.0
    }

    /// Whether who does not know it may skip it.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        let [first, ..] = self.0;
        first.is_ascii_lowercase()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({self})")
    }
}

/// The header of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of the body.
    pub(super) length: usize,
}

impl Header {
    /// The header of the section at byte `at`, its length compared with the limit of its kind.
    pub(super) fn read(at: u64, bytes: &[u8; HEADER_BYTES]) -> Result<Self, BundleError> {
        let [k0, k1, k2, k3, l0, l1, l2, l3, c0, c1, c2, c3] = *bytes;
        let kind = Kind([k0, k1, k2, k3]);
        let (covered, _) = bytes.split_at(8);
        if crc32c::crc32c(covered) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(BundleError::Checksum { at, kind });
        }
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let limit = match kind {
            Kind::SUBJECT => opening::MAX_OPENING_BYTES,
            Kind::AUTHOR => opening::MAX_AUTHOR_BYTES,
            Kind::FORK => opening::MAX_FORK_ENTRY_BYTES,
            Kind::EVENTS => chunk::MAX_CHUNK_BYTES,
            Kind::DONE => decoder::TRAILER_BYTES,
            kind if kind.is_optional() => MAX_SKIPPED_BYTES,
            kind => return Err(BundleError::UnknownSection { at, kind }),
        };
        if length > limit {
            return Err(BundleError::TooLong { at, kind, have: length, limit });
        }
        Ok(Self { kind, length })
    }
}

/// Appends a section whose body `write` appends.
pub(super) fn append(out: &mut Vec<u8>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let body = out.len();
    write(out);
    let length = out.len() - body;
    if let Some(slot) = out.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
        *slot = header(kind, length);
    }
    let crc = crc32c::crc32c(out.get(body..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The header of a section of this kind with a body of so many bytes.
pub(super) fn header(Kind([k0, k1, k2, k3]): Kind, length: usize) -> [u8; HEADER_BYTES] {
    let [l0, l1, l2, l3] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let [c0, c1, c2, c3] = crc32c::crc32c(&[k0, k1, k2, k3, l0, l1, l2, l3]).to_le_bytes();
    [k0, k1, k2, k3, l0, l1, l2, l3, c0, c1, c2, c3]
}
