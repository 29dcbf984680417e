//! Blocks: the events of one commit, packed into one value of the log.
//!
//! A put per event would cost more than all the rest of a publish. A block costs one put for hundreds of events, is
//! read in order at the speed of memory, and finds its n-th entry by a table. All numbers are little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | CRC32C of the position of the first entry, then of all up to the first entry |
//! | 4 | 4 | number of entries, n; the highest bit is set where the entries have ids |
//! | 8 | 4 n | offset of each entry from the start of the block |
//! | 8 + 4 n | | the entries |
//!
//! An entry:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | CRC32C of the entry's position, then of the next 56 bytes |
//! | 4 | 8 | ordinal of the event in its subject, from 0 |
//! | 12 | 8 | link to the previous event of the subject |
//! | 20 | 8 | link to the previous event of the author in the subject |
//! | 28 | 32 | the event id: the leaf of the author's tree, which would cost two hashes to make again |
//! | 60 | | the [frame](crate::wire::frame), which has its own checksum |
//!
//! The highest bit of the ordinal is set where nothing but the sender's word says that the author wrote the event.
//!
//! A link is a position plus one, so that 0 is "none". The checksums cover the position, so that a block that a damaged
//! page brings to the wrong place is noticed. In blocks of the first format the entries have no ids, and frames start at
//! offset 28; they are read for ever, and written no more.

use crate::wire::{archive, frame::FrameError, id::EventId, record::RecordView};

/// A block is closed when it has this many bytes. Large enough that half a page lost at its end is nothing, small enough
/// that a single event is read without touching much else.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;

const CRC: usize = 4;
const BLOCK_HEADER: usize = 8;
const OFFSET: usize = 4;
const LINKS: usize = 24;
const ID: usize = 32;
const ENTRY_HEADER: usize = CRC + LINKS + ID;

/// In the number of a block's entries: they have ids.
const WITH_IDS: u32 = 1 << 31;

/// In an entry's ordinal: see [`Links::unverified`].
const UNVERIFIED: u64 = 1 << 63;

/// A position plus one; zero is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Link(u64);

impl Link {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn to(position: u64) -> Self {
        Self(position.saturating_add(1))
    }

    pub(crate) const fn position(self) -> Option<u64> {
        self.0.checked_sub(1)
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Where an event stands in its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Links {
    /// How many events of the subject come before it in this node's log.
    pub(crate) ordinal: u64,
    /// The previous event of the subject.
    pub(crate) subject: Link,
    /// The previous event of the author in the subject.
    pub(crate) author: Link,
    /// Whether the event came from elsewhere without a signed head that covers it: its author must not be made to sign it.
    pub(crate) unverified: bool,
}

/// Gathers the entries of a block.
#[derive(Default)]
pub(crate) struct BlockBuilder {
    offsets: Vec<u32>,
    entries: Vec<u8>,
}

impl BlockBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.offsets.len()).unwrap_or(u64::MAX)
    }

    /// Whether the block is as large as blocks get.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= BLOCK_BYTES
    }

    /// Appends an entry whose frame `write` puts into the buffer. Where it fails, nothing is appended.
    ///
    /// The entry is whole once its id is [set](Self::set_id): ids are hashed many at a time.
    pub(crate) fn append<E>(
        &mut self,
        links: Links,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.entries.len();
        let mut header = [0; ENTRY_HEADER];
        if let Some((_, fields)) = header.split_first_chunk_mut::<CRC>() {
            let flag = if links.unverified { UNVERIFIED } else { 0 };
            let numbers = [links.ordinal | flag, links.subject.0, links.author.0];
            for (slot, number) in fields.chunks_exact_mut(8).zip(numbers) {
                slot.copy_from_slice(&number.to_le_bytes());
            }
        }
        self.entries.extend_from_slice(&header);
        if let Err(error) = write(&mut self.entries) {
            self.entries.truncate(start);
            return Err(error);
        }
        self.offsets.push(u32::try_from(start).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Sets the id of the entry at `position`, in the block whose first entry has position `first`.
    pub(crate) fn set_id(&mut self, first: u64, position: u64, id: &EventId) {
        let index = position.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        let offset = index.and_then(|index| self.offsets.get(index)).and_then(|at| usize::try_from(*at).ok());
        let entry = offset.and_then(|at| self.entries.get_mut(at..));
        let Some((crc, rest)) = entry.and_then(|entry| entry.split_first_chunk_mut::<CRC>()) else { return };
        let Some((fields, _)) = rest.split_first_chunk_mut::<{ LINKS + ID }>() else { return };
        if let Some(slot) = fields.last_chunk_mut::<ID>() {
            *slot = *id.as_bytes();
        }
        *crc = entry_crc(position, fields).to_le_bytes();
    }

    /// The block's bytes, in two parts, for the block whose first entry has position `first`. Clears nothing.
    pub(crate) fn parts(&self, first: u64, head: &mut Vec<u8>) -> usize {
        head.clear();
        head.extend_from_slice(&[0; CRC]);
        // A block is closed at 256 KiB, so that their number has room below the flag.
        let count = u32::try_from(self.offsets.len()).unwrap_or(u32::MAX) | WITH_IDS;
        head.extend_from_slice(&count.to_le_bytes());
        let base = u32::try_from(BLOCK_HEADER + OFFSET * self.offsets.len()).unwrap_or(u32::MAX);
        for offset in &self.offsets {
            head.extend_from_slice(&offset.saturating_add(base).to_le_bytes());
        }
        if let Some((crc, covered)) = head.split_first_chunk_mut::<CRC>() {
            *crc = block_crc(first, covered).to_le_bytes();
        }
        head.len() + self.entries.len()
    }

    /// The frame at `position` and its links, in the block whose first entry has position `first`; `None` where the block
    /// does not reach there.
    pub(crate) fn entry(&self, first: u64, position: u64) -> Option<Result<Entry<'_>, FrameError>> {
        let index = usize::try_from(position.checked_sub(first)?).ok()?;
        let offset = usize::try_from(*self.offsets.get(index)?).ok()?;
        let end = self.offsets.get(index + 1).and_then(|end| usize::try_from(*end).ok());
        let bytes = self.entries.get(offset..end.unwrap_or(self.entries.len())).ok_or(MALFORMED);
        Some(bytes.and_then(|bytes| Entry::parse(position, bytes, true, true)))
    }

    pub(crate) fn entries(&self) -> &[u8] {
        &self.entries
    }

    pub(crate) fn clear(&mut self) {
        self.offsets.clear();
        self.entries.clear();
    }
}

/// A block, read in place, its table checked.
#[derive(Clone, Copy)]
pub(crate) struct BlockView<'t> {
    first: u64,
    table: &'t [u8],
    bytes: &'t [u8],
    with_ids: bool,
}

/// An entry, its own checksum compared, its frame not looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'t> {
    pub(crate) links: Links,
    /// `None` in a block of the first format.
    pub(crate) id: Option<EventId>,
    /// The frame, and perhaps more behind it.
    pub(crate) frame: &'t [u8],
}

/// An event in the log, read in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'t> {
    /// Its position in the node's log.
    pub(crate) position: u64,
    /// Where it stands in its subject.
    pub(crate) links: Links,
    /// The event id, where the block has ids.
    pub(crate) id: Option<EventId>,
    /// The record.
    pub(crate) record: RecordView<'t>,
    /// The frame around the record.
    pub(crate) frame: &'t [u8],
}

impl<'t> Stored<'t> {
    /// Checks the frame at the beginning of an entry's rest.
    pub(crate) fn open(position: u64, Entry { links, id, frame }: Entry<'t>) -> Result<Self, FrameError> {
        let (record, length) = archive::open(frame)?;
        let frame = frame.get(..length).ok_or(MALFORMED)?;
        Ok(Self { position, links, id, record, frame })
    }

    /// As [`open`](Self::open), where the block was compared as a whole: see [`archive::open_verified`].
    fn open_verified(position: u64, Entry { links, id, frame }: Entry<'t>) -> Result<Self, FrameError> {
        let (record, length) = archive::open_verified(frame)?;
        let frame = frame.get(..length).ok_or(MALFORMED)?;
        Ok(Self { position, links, id, record, frame })
    }

    /// The event id: as stored, else hashed.
    pub(crate) fn id(&self) -> EventId {
        self.id.unwrap_or_else(|| self.record.id())
    }
}

const MALFORMED: FrameError = FrameError::Malformed("the block around it is damaged");

impl<'t> BlockView<'t> {
    /// Bytes of an entry before its frame.
    pub(super) const ENTRY_HEADER: usize = ENTRY_HEADER;

    /// Checks the table of the block under the key `first`.
    pub(crate) fn open(first: u64, bytes: &'t [u8]) -> Result<Self, FrameError> {
        let (header, rest) = bytes.split_first_chunk::<BLOCK_HEADER>().ok_or(MALFORMED)?;
        let [c0, c1, c2, c3, n0, n1, n2, n3] = *header;
        let count = u32::from_le_bytes([n0, n1, n2, n3]);
        let with_ids = count & WITH_IDS != 0;
        let count = usize::try_from(count & !WITH_IDS).map_err(|_| MALFORMED)?;
        let table = rest.get(..count.checked_mul(OFFSET).ok_or(MALFORMED)?).ok_or(MALFORMED)?;
        let covered = bytes.get(CRC..BLOCK_HEADER + table.len()).ok_or(MALFORMED)?;
        let (expected, found) = (u32::from_le_bytes([c0, c1, c2, c3]), block_crc(first, covered));
        if expected != found {
            return Err(FrameError::Checksum { expected, found });
        }
        Ok(Self { first, table, bytes, with_ids })
    }

    /// The position of the block's first entry.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    /// Bytes from the block's first to the end of the entry at `position`, whose frame says how long it is.
    pub(crate) fn length_up_to(&self, position: u64) -> Result<usize, FrameError> {
        let frame = self.stored(position)?.frame;
        let start = self.entry(position)?.frame;
        Ok(self.bytes.len() - start.len() + frame.len())
    }

    /// Where the entry at `position` begins in the block; 0 where the block does not say.
    pub(crate) fn offset(&self, position: u64) -> u64 {
        self.offset_of(position).map_or(0, u64::from)
    }

    /// Whether the entries have ids.
    pub(crate) const fn has_ids(&self) -> bool {
        self.with_ids
    }

    /// The position after the block's last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.table.len() / OFFSET).unwrap_or(u64::MAX))
    }

    pub(crate) fn contains(&self, position: u64) -> bool {
        self.first <= position && position < self.end()
    }

    /// The links of the entry at `position`, without looking at its frame.
    pub(crate) fn links(&self, position: u64) -> Result<Links, FrameError> {
        Ok(self.entry(position)?.links)
    }

    /// The entry at `position`, its frame checked.
    pub(crate) fn stored(&self, position: u64) -> Result<Stored<'t>, FrameError> {
        Stored::open(position, self.entry(position)?)
    }

    /// The entry at `position`, in a block that was compared as a whole, so that no checksum in it needs a look.
    pub(crate) fn stored_verified(&self, position: u64) -> Result<Stored<'t>, FrameError> {
        Stored::open_verified(position, self.entry_with(position, false)?)
    }

    /// The entry at `position`, its frame not looked at.
    pub(crate) fn entry(&self, position: u64) -> Result<Entry<'t>, FrameError> {
        self.entry_with(position, true)
    }

    #[inline]
    fn entry_with(&self, position: u64, compare: bool) -> Result<Entry<'t>, FrameError> {
        Entry::parse(position, self.bytes_of(position).ok_or(MALFORMED)?, self.with_ids, compare)
    }

    /// The bytes of the entry at `position`, and those behind it.
    #[inline]
    pub(crate) fn bytes_of(&self, position: u64) -> Option<&'t [u8]> {
        let offset = self.offset_of(position)?;
        usize::try_from(offset).ok().and_then(|at| self.bytes.get(at..))
    }

    #[inline]
    fn offset_of(&self, position: u64) -> Option<u32> {
        let index = usize::try_from(position.wrapping_sub(self.first)).ok()?;
        let at = index.checked_mul(OFFSET).and_then(|at| self.table.get(at..))?;
        Some(u32::from_le_bytes(*at.first_chunk()?))
    }
}

impl<'t> Entry<'t> {
    /// The entry that begins `bytes`; `compare`: only if its checksum is right.
    #[inline]
    fn parse(position: u64, bytes: &'t [u8], with_ids: bool, compare: bool) -> Result<Self, FrameError> {
        let (crc, rest) = bytes.split_first_chunk::<CRC>().ok_or(MALFORMED)?;
        let length = if with_ids { LINKS + ID } else { LINKS };
        let (fields, frame) = rest.split_at_checked(length).ok_or(MALFORMED)?;
        if compare {
            let (expected, found) = (u32::from_le_bytes(*crc), entry_crc(position, fields));
            if expected != found {
                return Err(FrameError::Checksum { expected, found });
            }
        }
        let (numbers, id) = fields.split_first_chunk::<LINKS>().ok_or(MALFORMED)?;
        let mut numbers = numbers.chunks_exact(8).map(|n| n.try_into().map(u64::from_le_bytes));
        let mut next = || numbers.next().and_then(Result::ok).ok_or(MALFORMED);
        let (ordinal, subject, author) = (next()?, Link(next()?), Link(next()?));
        let links = Links { ordinal: ordinal & !UNVERIFIED, subject, author, unverified: ordinal & UNVERIFIED != 0 };
        Ok(Self { links, id: id.first_chunk::<ID>().map(|id| EventId::from(*id)), frame })
    }
}

fn entry_crc(position: u64, fields: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&position.to_le_bytes()), fields)
}

fn block_crc(first: u64, covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&first.to_le_bytes()), covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        clock::Clock,
        event::EventType,
        frame,
        id::{Dot, SubjectId, XaeroID},
        record::Record,
    };

    fn block(first: u64, count: u64) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for n in 0..count {
            let links = Links { ordinal: n, subject: Link::to(n), author: Link::NONE, unverified: n == 3 };
            let record = Record {
                subject: SubjectId::from([1; 32]),
                dot: Dot::new(XaeroID::from([2; 32]), n + 1),
                clock: Clock::from_millis(n),
                latest_ts: n,
                deps: &[],
                event_type: EventType::ApplicationEvent(1),
                payload: &n.to_le_bytes(),
            };
            builder.append(links, |out| frame::encode_into(out, &record).map(drop)).unwrap();
            builder.set_id(first, first + n, &EventId::from([7; 32]));
        }
        let mut bytes = Vec::new();
        builder.parts(first, &mut bytes);
        bytes.extend_from_slice(builder.entries());
        bytes
    }

    #[test]
    fn every_entry_of_a_block_is_found_at_its_position() {
        let bytes = block(100, 5);
        let view = BlockView::open(100, &bytes).unwrap();
        assert_eq!(view.end(), 105);
        for n in 0..5 {
            let stored = view.stored(100 + n).unwrap();
            assert_eq!((stored.links.ordinal, stored.record.seq()), (n, n + 1));
            assert_eq!(stored.links.unverified, n == 3);
            assert_eq!(stored.id, Some(EventId::from([7; 32])));
        }
        assert!(view.stored(105).is_err());
        assert!(view.stored(99).is_err());
    }

    #[test]
    fn a_block_in_the_wrong_place_is_noticed() {
        assert!(matches!(BlockView::open(101, &block(100, 2)), Err(FrameError::Checksum { .. })));
    }

    #[test]
    fn no_flipped_bit_of_a_block_goes_unnoticed() {
        let good = block(7, 3);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let all = BlockView::open(7, &bad).and_then(|view| (7..10).try_for_each(|p| view.stored(p).map(drop)));
            assert!(all.is_err(), "bit {bit}");
        }
    }
}
