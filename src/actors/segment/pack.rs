//! Packing events into the blocks of a segment, and noting for the footer what is in them.

use super::layout::{BlockRow, Clocks, as_u64};
use crate::{
    actors::storage::{
        StorageError,
        block::{BlockBuilder, BlockView, Stored},
        keys::SubjectNumber,
        lmdb::{Reads, Table},
    },
    wire::id::SubjectId,
};

/// Gathers events into blocks, one after the other.
#[derive(Default)]
pub(super) struct Packer {
    block: BlockBuilder,
    /// Of the block that is being filled.
    contents: Contents,
    /// Blocks that are complete.
    bytes: Vec<u8>,
    rows: Vec<BlockRow>,
    /// Where the next block begins in the file.
    offset: u64,
    scratch: Vec<u8>,
}

impl Packer {
    /// With room for so many bytes of complete blocks.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Appends an event. Their positions follow each other.
    pub(super) fn add(&mut self, txn: &impl Reads, stored: &Stored<'_>) -> Result<(), StorageError> {
        let append = self.block.append(stored.links, |out| {
            out.extend_from_slice(stored.frame);
            Ok::<(), std::convert::Infallible>(())
        });
        match append {
            Ok(()) => {}
            Err(never) => match never {},
        }
        self.contents.add(stored);
        // Its checksum covers what the entry was read with: the same bytes again.
        self.block.set_id(self.contents.first, stored.position, &stored.id());
        if self.block.is_full() { self.complete(txn) } else { Ok(()) }
    }

    /// Ends the block that is being filled.
    pub(super) fn complete(&mut self, txn: &impl Reads) -> Result<(), StorageError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let contents = std::mem::take(&mut self.contents);
        let start = self.bytes.len();
        self.block.parts(contents.first, &mut self.scratch);
        // There is room already unless events are large; for those it need not be doubled.
        self.bytes.reserve_exact(self.scratch.len() + self.block.entries().len());
        self.bytes.extend_from_slice(&self.scratch);
        self.bytes.extend_from_slice(self.block.entries());
        self.block.clear();
        let block = self.bytes.get(start..).unwrap_or_default();
        self.rows.push(contents.row(txn, self.offset, block)?);
        self.offset = self.offset.saturating_add(as_u64(block.len()));
        Ok(())
    }

    /// Bytes of complete blocks that nobody has taken.
    pub(super) fn ready(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets these: they are written.
    pub(super) fn taken(&mut self) {
        self.bytes.clear();
    }

    /// The rows of all blocks.
    pub(super) fn into_rows(self) -> Vec<BlockRow> {
        self.rows
    }
}

/// What is in a block, as far as the footer says it.
pub(super) struct Contents {
    first: u64,
    count: u32,
    clocks: Clocks,
    /// The subject of the first event, and its ordinal.
    subject: Option<(SubjectId, u64)>,
    mixed: bool,
}

impl Default for Contents {
    fn default() -> Self {
        Self { first: 0, count: 0, clocks: Clocks::NONE, subject: None, mixed: false }
    }
}

impl Contents {
    /// The contents of a block, each event of which is checked.
    pub(super) fn of(view: &BlockView<'_>) -> Result<Self, crate::wire::frame::FrameError> {
        let mut contents = Self::default();
        for position in view.first()..view.end() {
            contents.add(&view.stored(position)?);
        }
        Ok(contents)
    }

    fn add(&mut self, stored: &Stored<'_>) {
        let subject = stored.record.subject();
        match self.subject {
            Some((first, _)) => self.mixed |= first != subject,
            None => {
                self.first = stored.position;
                self.subject = Some((subject, stored.links.ordinal));
            }
        }
        self.count = self.count.saturating_add(1);
        self.clocks.add(stored.record.clock());
    }

    /// Whether the row says the same of the block; its subject's number means nothing without the data directory.
    pub(super) fn is_as(&self, row: &BlockRow) -> bool {
        let ordinal = self.subject.filter(|_| !self.mixed).map(|(_, ordinal)| ordinal);
        let uniform = row.uniform.is_none_or(|(_, said)| Some(said) == ordinal);
        uniform && (self.first, self.count, self.clocks) == (row.first, row.count, row.clocks)
    }

    /// The row of the block, whose bytes these are.
    pub(super) fn row(&self, txn: &impl Reads, offset: u64, block: &[u8]) -> Result<BlockRow, StorageError> {
        let uniform = match self.subject.filter(|_| !self.mixed) {
            Some((subject, ordinal)) => {
                let number = txn.get(Table::SubjectNumbers, subject.as_bytes())?.and_then(SubjectNumber::from_key);
                number.map(|number| (number, ordinal))
            }
            None => None,
        };
        Ok(BlockRow {
            first: self.first,
            count: self.count,
            offset,
            // A block is closed at 256 KiB, and no frame is much larger than a mebibyte.
            length: u32::try_from(block.len()).unwrap_or(u32::MAX),
            crc: crc32c::crc32c(block),
            clocks: self.clocks,
            uniform,
        })
    }
}
