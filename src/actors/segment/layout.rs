//! The bytes of a segment: blocks, then a footer that says what and where they are.
//!
//! A segment file is the blocks of a range of the log, one right after the other from its first byte, and a footer. All
//! numbers are little-endian. A block is laid out as in the log table ([`block`](crate::actors::storage::block)), with
//! event ids. The footer has one row for each block, then the trailer, which ends the file.
//!
//! A row (56 bytes):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | position of the block's first entry |
//! | 8 | 8 | offset of the block in the file |
//! | 16 | 4 | length of the block |
//! | 20 | 4 | CRC32C of the whole block |
//! | 24 | 8 | lowest clock of its events |
//! | 32 | 8 | highest clock of its events |
//! | 40 | 8 | where all events are of one subject, the ordinal of the first of them in it; else 0 |
//! | 48 | 4 | where all events are of one subject, its number in this data directory; else `ff ff ff ff` |
//! | 52 | 4 | number of entries |
//!
//! The trailer (60 bytes):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | position of the segment's first entry |
//! | 8 | 8 | position after its last entry |
//! | 16 | 8 | lowest clock of all events |
//! | 24 | 8 | highest clock of all events |
//! | 32 | 8 | length of the blocks together, which is where the footer begins |
//! | 40 | 4 | number of blocks |
//! | 44 | 4 | length of the footer, rows and trailer |
//! | 48 | 4 | version, 1 |
//! | 52 | 4 | CRC32C of the footer up to here |
//! | 56 | 4 | magic, `XSEG` |
//!
//! The last 16 bytes and what the checksum covers stay so in every version: so a newer one is told from damage.

use thiserror::Error;

use crate::{actors::storage::keys::SubjectNumber, wire::clock::Clock};

/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 4] = *b"XSEG";

/// Length of a row.
pub(crate) const ROW_BYTES: usize = 56;

/// Length of the trailer.
pub(crate) const TRAILER_BYTES: usize = 60;

/// Length of the part of the trailer that is the same in every version.
const TAIL_BYTES: usize = 16;

/// In a row: the events are of several subjects.
const MIXED: u32 = u32::MAX;

/// No footer is longer: a segment of single-event blocks of the largest size that a file system allows is far below.
const MAX_FOOTER_BYTES: usize = 1 << 28;

/// What is wrong with the bytes of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The file is shorter than it says, or than any segment.
    #[error("it is cut short: it has {have} bytes and should have {need}")]
    CutShort {
        /// Bytes that are there.
        have: u64,
        /// Bytes that should be there.
        need: u64,
    },
    /// The file does not end as a segment does.
    #[error("it does not end with XSEG: it is cut short, or not a segment")]
    NotASegment,
    /// The file is of a version that this program does not know.
    #[error("it has version {version}, this program knows up to {VERSION}: upgrade xaeroflux")]
    NewerVersion {
        /// The version.
        version: u32,
    },
    /// The checksum of the footer differs.
    #[error("the checksum of its footer is {found:08x}, not {expected:08x}")]
    Checksum {
        /// What the footer says.
        expected: u32,
        /// What its bytes give.
        found: u32,
    },
    /// The checksum holds, but the footer contradicts itself.
    #[error("its footer contradicts itself: {0}")]
    Malformed(&'static str),
    /// A block is damaged.
    #[error("the block at byte {offset} is damaged: {what}")]
    Block {
        /// Where the block begins in the file.
        offset: u64,
        /// How it shows.
        what: String,
    },
}

/// The lowest and the highest clock of some events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clocks {
    pub(crate) lowest: Clock,
    pub(crate) highest: Clock,
}

/// A window of clocks, both ends inclusive.
pub(crate) type ClockWindow = (Clock, Clock);

impl Clocks {
    /// Of no event at all: any event widens it.
    pub(crate) const NONE: Self = Self { lowest: Clock::from_bits(u64::MAX), highest: Clock::ZERO };

    pub(crate) fn add(&mut self, clock: Clock) {
        self.lowest = self.lowest.min(clock);
        self.highest = self.highest.max(clock);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
    }

    /// Whether any clock of the window can be among them.
    pub(crate) fn meets(&self, (first, last): ClockWindow) -> bool {
        self.lowest <= last && first <= self.highest
    }
}

/// What the footer says of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockRow {
    /// Position of the first entry.
    pub(crate) first: u64,
    /// Number of entries.
    pub(crate) count: u32,
    /// Where the block begins in the file.
    pub(crate) offset: u64,
    /// Its length.
    pub(crate) length: u32,
    /// CRC32C of the whole block.
    pub(crate) crc: u32,
    /// The clocks of its events.
    pub(crate) clocks: Clocks,
    /// The subject of all its events, and the ordinal of the first of them there; `None` where there are several.
    pub(crate) uniform: Option<(SubjectNumber, u64)>,
}

impl BlockRow {
    /// The position after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        let (subject, ordinal) = self.uniform.map_or((MIXED, 0), |(number, ordinal)| (number.0, ordinal));
        for number in [self.first, self.offset] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.length, self.crc] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.clocks.lowest.to_bits(), self.clocks.highest.to_bits(), ordinal] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [subject, self.count] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let (first, offset) = (fields.long()?, fields.long()?);
        let (length, crc) = (fields.short()?, fields.short()?);
        let clocks = fields.clocks()?;
        let ordinal = fields.long()?;
        let (subject, count) = (fields.short()?, fields.short()?);
        let uniform = (subject != MIXED).then_some((SubjectNumber(subject), ordinal));
        Some(Self { first, count, offset, length, crc, clocks, uniform })
    }
}

/// What a segment says of itself, its parts in agreement with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Position of the first entry.
    pub(crate) first: u64,
    /// Position after the last entry.
    pub(crate) end: u64,
    /// The clocks of all events.
    pub(crate) clocks: Clocks,
    /// The blocks, in their order.
    pub(crate) rows: Vec<BlockRow>,
}

impl Footer {
    /// The footer of these blocks; `None` where there are none.
    pub(crate) fn new(rows: Vec<BlockRow>) -> Option<Self> {
        let (first, end) = (rows.first()?.first, rows.last()?.end());
        let mut clocks = Clocks::NONE;
        rows.iter().for_each(|row| clocks.merge(row.clocks));
        Some(Self { first, end, clocks, rows })
    }

    /// The length of a footer with so many rows.
    pub(crate) const fn bytes(rows: usize) -> usize {
        rows.saturating_mul(ROW_BYTES).saturating_add(TRAILER_BYTES)
    }

    /// Where the footer begins: the length of the blocks together.
    pub(crate) fn begins(&self) -> u64 {
        self.rows.last().map_or(0, |row| row.offset.saturating_add(u64::from(row.length)))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::bytes(self.rows.len()));
        self.rows.iter().for_each(|row| row.encode_into(&mut out));
        let (lowest, highest) = (self.clocks.lowest.to_bits(), self.clocks.highest.to_bits());
        for number in [self.first, self.end, lowest, highest, self.begins()] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        for number in [short(self.rows.len()), short(Self::bytes(self.rows.len())), VERSION] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.extend_from_slice(&MAGIC);
        out
    }

    /// How long the footer is that ends with these bytes, the last of a file of `file_bytes`.
    pub(crate) fn length(tail: &[u8], file_bytes: u64) -> Result<usize, SegmentError> {
        let short = SegmentError::CutShort { have: file_bytes, need: as_u64(TRAILER_BYTES) };
        let tail = tail.last_chunk::<TAIL_BYTES>().ok_or(short)?;
        let [l0, l1, l2, l3, _, _, _, _, _, _, _, _, magic @ ..] = *tail;
        if magic != MAGIC {
            return Err(SegmentError::NotASegment);
        }
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if !(TAIL_BYTES..=MAX_FOOTER_BYTES).contains(&length) {
            return Err(SegmentError::Malformed("its length is out of bounds"));
        }
        if as_u64(length) > file_bytes {
            return Err(SegmentError::CutShort { have: file_bytes, need: as_u64(length) });
        }
        Ok(length)
    }

    /// The footer from its bytes, the last of a file of `file_bytes`.
    pub(crate) fn decode(bytes: &[u8], file_bytes: u64) -> Result<Self, SegmentError> {
        const LACKS: SegmentError = SegmentError::Malformed("a field lacks");
        if Self::length(bytes, file_bytes)? != bytes.len() {
            return Err(SegmentError::Malformed("its length is another"));
        }
        let (covered, tail) = bytes.split_last_chunk::<8>().ok_or(LACKS)?;
        let [c0, c1, c2, c3, ..] = *tail;
        let (expected, found) = (u32::from_le_bytes([c0, c1, c2, c3]), crc32c::crc32c(covered));
        if expected != found {
            return Err(SegmentError::Checksum { expected, found });
        }
        let (_, version) = covered.split_last_chunk::<4>().ok_or(LACKS)?;
        match u32::from_le_bytes(*version) {
            VERSION => {}
            version => return Err(SegmentError::NewerVersion { version }),
        }
        let rows_end = bytes.len().checked_sub(TRAILER_BYTES).ok_or(LACKS)?;
        let (rows, trailer) = bytes.split_at_checked(rows_end).ok_or(LACKS)?;
        let mut fields = Fields(trailer);
        let parse = |fields: &mut Fields<'_>| Some((fields.long()?, fields.long()?, fields.clocks()?, fields.long()?));
        let (first, end, clocks, begins) = parse(&mut fields).ok_or(LACKS)?;
        let count = fields.short().ok_or(LACKS)?;
        if rows.len() != usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(ROW_BYTES) {
            return Err(SegmentError::Malformed("the number of its rows is another"));
        }
        let mut fields = Fields(rows);
        let rows: Option<Vec<BlockRow>> = (0..count).map(|_| BlockRow::decode(&mut fields)).collect();
        let footer = Self { first, end, clocks, rows: rows.ok_or(LACKS)? };
        footer.agrees(begins, file_bytes.saturating_sub(as_u64(bytes.len())))?;
        Ok(footer)
    }

    /// Whether the rows follow each other without a gap, from the first byte and position to the last.
    fn agrees(&self, begins: u64, have: u64) -> Result<(), SegmentError> {
        let (mut position, mut offset, mut clocks) = (self.first, 0_u64, Clocks::NONE);
        for row in &self.rows {
            if row.first != position || row.count == 0 {
                return Err(SegmentError::Malformed("the positions of its blocks do not follow each other"));
            }
            if row.offset != offset || row.length == 0 {
                return Err(SegmentError::Malformed("the bytes of its blocks do not follow each other"));
            }
            if row.clocks.lowest > row.clocks.highest {
                return Err(SegmentError::Malformed("a block's lowest clock is above its highest"));
            }
            position = position.checked_add(u64::from(row.count)).ok_or(SegmentError::Malformed("a position"))?;
            offset = offset.checked_add(u64::from(row.length)).ok_or(SegmentError::Malformed("an offset"))?;
            clocks.merge(row.clocks);
        }
        if self.rows.is_empty() || position != self.end || clocks != self.clocks || offset != begins {
            return Err(SegmentError::Malformed("its blocks are not what it says of all of them"));
        }
        if begins != have {
            return Err(SegmentError::CutShort { have, need: begins });
        }
        Ok(())
    }
}

/// The name of the segment that begins at this position. Twenty digits: the order of names is that of positions.
pub(crate) fn file_name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The position that the segment of this name begins at.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

pub(crate) fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn long(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    fn short(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    fn clocks(&mut self) -> Option<Clocks> {
        Some(Clocks { lowest: Clock::from_bits(self.long()?), highest: Clock::from_bits(self.long()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        let clocks = |low, high| Clocks { lowest: Clock::from_bits(low), highest: Clock::from_bits(high) };
        let row = |first, count, offset, length, clocks, uniform| BlockRow {
            first,
            count,
            offset,
            length,
            crc: 7,
            clocks,
            uniform,
        };
        Footer::new(vec![
            row(10, 2, 0, 100, clocks(5, 9), Some((SubjectNumber(3), 4))),
            row(12, 1, 100, 50, clocks(2, 2), None),
        ])
        .unwrap()
    }

    #[test]
    fn a_footer_survives_a_round_trip() {
        let footer = footer();
        let bytes = footer.encode();
        assert_eq!(bytes.len(), Footer::bytes(2));
        assert_eq!(Footer::decode(&bytes, 150 + as_u64(bytes.len())), Ok(footer.clone()));
        assert_eq!((footer.first, footer.end, footer.begins()), (10, 13, 150));
    }

    #[test]
    fn no_flipped_bit_of_a_footer_goes_unnoticed() {
        let good = footer().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::decode(&bad, 150 + as_u64(bad.len())).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_footer_in_a_file_of_another_length_is_refused() {
        let bytes = footer().encode();
        for blocks in [0, 149, 151] {
            let refused = Footer::decode(&bytes, blocks + as_u64(bytes.len()));
            assert_eq!(refused, Err(SegmentError::CutShort { have: blocks, need: 150 }));
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = footer().encode();
        let crc_at = bytes.len() - 8;
        bytes[crc_at - 4] = 2;
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        let refused = Footer::decode(&bytes, 150 + as_u64(bytes.len()));
        assert_eq!(refused, Err(SegmentError::NewerVersion { version: 2 }));
    }

    #[test]
    fn names_have_the_order_of_positions_and_nothing_else_is_a_name() {
        assert!(file_name(9) < file_name(10) && file_name(10) < file_name(u64::MAX));
        assert_eq!(first_of(&file_name(u64::MAX)), Some(u64::MAX));
        for bad in ["1.seg", "00000000000000000001.tmp", "+0000000000000000001.seg", "99999999999999999999.seg"] {
            assert_eq!(first_of(bad), None, "{bad}");
        }
    }
}
