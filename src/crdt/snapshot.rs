//! The bytes of a saved state: little-endian, versioned, with a checksum.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | which type of state |
//! | 1 | version of its layout |
//! | n | body |
//! | 4 | CRC32C of all before |
//!
//! A snapshot is a shortcut: where one cannot be read, the log is folded again. So reading answers `None` to
//! everything unexpected, and never allocates more than a small multiple of the bytes that it was given: counts are
//! compared with what is left before anything is reserved.

use crate::{
    crdt::authors::Authors,
    wire::{
        id::{Dot, XaeroID},
        vector::VersionVector,
    },
};

/// Bytes of the checksum.
const CRC_BYTES: usize = 4;

/// Bytes of an author and a sequence number.
const DOT_BYTES: usize = 40;

/// Which type of state a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ORSet,
    GCounter,
    PNCounter,
    LWWRegister,
    MVRegister,
    /// A user's own, in the user's own encoding.
    Custom,
}

impl Kind {
    /// The number on disk. It is never used again for something else.
    const fn code(self) -> u8 {
        match self {
            Self::ORSet => 1,
            Self::GCounter => 2,
            Self::PNCounter => 3,
            Self::LWWRegister => 4,
            Self::MVRegister => 5,
            Self::Custom => 6,
        }
    }
}

/// Writes a snapshot, front to back.
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(kind: Kind, version: u8) -> Self {
        Self { bytes: vec![kind.code(), version] }
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn i128(&mut self, value: i128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn count(&mut self, count: usize) {
        self.u64(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(super) fn author(&mut self, id: XaeroID) {
        self.bytes.extend_from_slice(id.as_bytes());
    }

    pub(super) fn dot(&mut self, dot: Dot) {
        self.author(dot.author);
        self.u64(dot.seq);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn vector(&mut self, vector: &VersionVector) {
        self.count(vector.len());
        for (author, seq) in vector.iter() {
            self.dot(Dot::new(author, seq));
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(&self.bytes);
        self.u32(crc);
        self.bytes
    }
}

/// Reads a snapshot, front to back. Every method gives `None` where the bytes end too early.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Compares checksum, type and version.
    pub(super) fn open(bytes: &'a [u8], kind: Kind, version: u8) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let rest = content.strip_prefix(&[kind.code(), version])?;
        Some(Self { rest })
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i128(&mut self) -> Option<i128> {
        self.array().map(i128::from_le_bytes)
    }

    /// A number of items that take at least `item_bytes` each; `None` where so many cannot follow.
    pub(super) fn count(&mut self, item_bytes: usize) -> Option<usize> {
        let count = usize::try_from(self.u64()?).ok()?;
        (count.checked_mul(item_bytes)? <= self.rest.len()).then_some(count)
    }

    pub(super) fn author(&mut self) -> Option<XaeroID> {
        self.array::<32>().map(XaeroID::from)
    }

    pub(super) fn dot(&mut self) -> Option<Dot> {
        let dot = Dot::new(self.author()?, self.u64()?);
        (dot.seq > 0).then_some(dot)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.count(1)?;
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    pub(super) fn vector(&mut self) -> Option<VersionVector> {
        let count = self.count(DOT_BYTES)?;
        (0..count).map(|_| self.dot()).collect()
    }

    /// All the authors that the rest of the snapshot refers to by number, in ascending order.
    pub(super) fn authors(&mut self) -> Option<Authors> {
        let count = self.count(32)?;
        let mut authors = Authors::default();
        for _ in 0..count {
            let id = self.author()?;
            authors.intern(id);
        }
        // A repeated author would shift the numbers of those after it.
        (authors.len() == count).then_some(authors)
    }

    /// Whether all was read.
    pub(super) const fn end(self) -> Option<()> {
        if self.rest.is_empty() { Some(()) } else { None }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every promise that reading a snapshot makes about bytes that are not one.
    pub(in crate::crdt) fn refuses_damage<T>(good: &[u8], restore: impl Fn(&[u8]) -> Option<T>) {
        assert!(restore(good).is_some());
        for length in 0..good.len() {
            assert!(restore(&good[..length]).is_none(), "cut to {length} bytes");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(restore(&bad).is_none(), "bit {bit} flipped");
        }
        // Damage that the checksum does not catch, since it is right: any answer but a panic or a huge allocation.
        for at in 0..good.len() - CRC_BYTES {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut bad = good[..good.len() - CRC_BYTES].to_vec();
                for byte in bad.iter_mut().skip(at).take(8) {
                    *byte = value;
                }
                let crc = crc32c::crc32c(&bad);
                bad.extend(crc.to_le_bytes());
                let _ = restore(&bad);
            }
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_anything_is_reserved() {
        let mut writer = Writer::new(Kind::ORSet, 1);
        writer.u64(u64::MAX / 40);
        let bytes = writer.finish();
        assert!(Reader::open(&bytes, Kind::ORSet, 1).unwrap().count(40).is_none());
        assert!(Reader::open(&bytes, Kind::ORSet, 1).unwrap().vector().is_none());
    }

    #[test]
    fn another_type_or_version_is_refused() {
        let bytes = Writer::new(Kind::ORSet, 1).finish();
        assert!(Reader::open(&bytes, Kind::ORSet, 1).unwrap().end().is_some());
        assert!(Reader::open(&bytes, Kind::ORSet, 2).is_none());
        assert!(Reader::open(&bytes, Kind::GCounter, 1).is_none());
    }
}
