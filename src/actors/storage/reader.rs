//! Reading the log: by position, and by author and sequence number; `scan` adds by subject and ordinal.
//!
//! Where an event lies, in a segment or in the table, is decided here and nowhere else.

use super::{
    block::{BlockBuilder, BlockView, Entry, Link, Links, Stored},
    error::StorageError,
    head::{AuthorHead, INDEX_STEP},
    keys::{self, SubjectNumber},
    lmdb::{Reads, Table},
    mark,
};
use crate::{
    actors::segment::{
        list::Part,
        sealed::{Sealed, SealedBlock},
    },
    wire::{
        frame::FrameError,
        id::{Dot, EventId, SubjectId},
    },
};

/// How far a subject's log reaches, as of some commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Events in the log.
    pub(crate) count: u64,
    /// The last of them.
    pub(crate) last: Link,
}

/// Reads events within one transaction, keeping the block it read last.
pub(crate) struct LogReader<'t, R> {
    pub(super) txn: &'t R,
    block: Option<Located<'t>>,
    /// The block that is not in the table yet, and the position of its first event.
    unwritten: Option<(u64, &'t BlockBuilder)>,
}

/// A block, and where it lies.
#[derive(Clone, Copy)]
pub(super) struct Located<'t> {
    pub(super) view: BlockView<'t>,
    /// The block's row, where it lies in a segment.
    pub(super) sealed: Option<SealedBlock<'t>>,
    /// Whether the block was compared as a whole for this reading.
    verified: bool,
}

impl<'t> Located<'t> {
    /// The event at `position`.
    pub(super) fn stored(&self, position: u64) -> Result<Stored<'t>, StorageError> {
        let stored = if self.verified { self.view.stored_verified(position) } else { self.view.stored(position) };
        stored.map_err(|source| self.damaged(position, source))
    }

    fn links(&self, position: u64) -> Result<Links, StorageError> {
        self.view.links(position).map_err(|source| self.damaged(position, source))
    }

    fn damaged(&self, position: u64, source: FrameError) -> StorageError {
        match self.sealed {
            Some(sealed) => sealed.damaged(self.view.offset(position), position..position.saturating_add(1), &source),
            None => StorageError::DamagedEvent { position, source },
        }
    }
}

impl<'t, R: Reads> LogReader<'t, R> {
    pub(crate) const fn new(txn: &'t R) -> Self {
        Self { txn, block: None, unwritten: None }
    }

    /// For the transaction that writes: finds also what is in the block that it is filling. Single events only.
    pub(crate) const fn with_unwritten(txn: &'t R, first: u64, block: &'t BlockBuilder) -> Self {
        Self { txn, block: None, unwritten: Some((first, block)) }
    }

    /// The position after the last event of the log.
    pub(crate) fn end(&mut self) -> Result<u64, StorageError> {
        match self.txn.last(Table::Log)? {
            Some((key, value)) => Ok(open(key, value)?.end()),
            // All of it is in segments.
            None => mark::get(self.txn, mark::TRIMMED),
        }
    }

    /// The event at `position`.
    pub(crate) fn stored(&mut self, position: u64) -> Result<Stored<'t>, StorageError> {
        if let Some(entry) = self.unwritten(position) {
            let stored = entry.and_then(|entry| Stored::open(position, entry));
            return stored.map_err(|source| StorageError::DamagedEvent { position, source });
        }
        self.block(position)?.stored(position)
    }

    /// Visits every event from `position` on, of all subjects, until `visit` returns `false`.
    pub(crate) fn from(
        &mut self,
        position: u64,
        visit: &mut dyn FnMut(Stored<'t>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let (mut at, end) = (position, self.end()?);
        while at < end {
            let block = self.verified(at)?;
            for position in at..block.view.end() {
                if !visit(block.stored(position)?)? {
                    return Ok(());
                }
            }
            at = block.view.end();
        }
        Ok(())
    }

    /// Has the processor fetch the `count` entries up to the one that a link leads to, all at once. Along links it would wait
    /// for each in turn, since every entry says where the next one is; where others' events lie in between, it still does.
    pub(crate) fn fetch(&mut self, link: Link, count: u64) {
        let Some(last) = link.position() else { return };
        // An error shows when the entry is read.
        let Ok(block) = self.block(last) else { return };
        let first = last.saturating_sub(count).max(block.view.first());
        // Both ends: what is read of an entry mostly lies in two lines of the cache.
        let ends = (first..last).filter_map(|position| {
            let entry = block.view.bytes_of(position)?.first_chunk::<{ BlockView::ENTRY_HEADER }>()?;
            Some(entry.first()? ^ entry.last()?)
        });
        std::hint::black_box(ends.fold(0, |all, end| all ^ end));
    }

    /// The entry that a link leads to, its frame not looked at, and its event id.
    pub(crate) fn leaf(&mut self, link: Link) -> Result<(Links, EventId), StorageError> {
        let position = link.position().unwrap_or(0);
        let block = self.block(position)?;
        let entry = block.view.entry(position).map_err(|source| block.damaged(position, source))?;
        match entry.id {
            Some(id) => Ok((entry.links, id)),
            None => Ok((entry.links, self.stored(position)?.id())),
        }
    }

    /// The event of `author`, found in `slot`, with this sequence number.
    pub(crate) fn by_seq(
        &mut self,
        (number, id): (SubjectNumber, SubjectId),
        slot: u32,
        author: &AuthorHead,
        seq: u64,
    ) -> Result<Option<Stored<'t>>, StorageError> {
        if seq == 0 || seq > author.seq {
            return Ok(None);
        }
        let dot = Dot::new(author.author, seq);
        let found = self.seek_back(number, slot, author, seq).and_then(|position| self.stored(position));
        let stored = match found {
            Err(damaged @ StorageError::DamagedSegment { .. }) => {
                return self.seek_forward((number, id), slot, dot)?.ok_or(damaged).map(Some);
            }
            found => found?,
        };
        expect((number, id), dot, stored).map(Some)
    }

    /// The event that a link leads to, which must be this one.
    pub(crate) fn linked(
        &mut self,
        (number, id): (SubjectNumber, SubjectId),
        link: Link,
        dot: Dot,
    ) -> Result<Stored<'t>, StorageError> {
        let position = link.position().ok_or_else(|| broken_chain(number))?;
        expect((number, id), dot, self.stored(position)?)
    }

    /// The position of an author's event, along the back-links from the next indexed one.
    fn seek_back(
        &mut self,
        number: SubjectNumber,
        slot: u32,
        author: &AuthorHead,
        seq: u64,
    ) -> Result<u64, StorageError> {
        let step = seq.div_ceil(INDEX_STEP);
        let (mut at, mut link) = match self.indexed(Table::AuthorIndex, &keys::author_index(number, slot, step))? {
            Some(position) => (step.saturating_mul(INDEX_STEP), Link::to(position)),
            None => (author.seq, author.last),
        };
        while at > seq {
            link = self.links(link)?.author;
            at -= 1;
        }
        link.position().ok_or_else(|| broken_chain(number))
    }

    /// The event with this dot where a segment on the way back to it is damaged: from the indexed event below, entry by
    /// entry. `None` where that way leads into the damage too.
    fn seek_forward(
        &mut self,
        (number, id): (SubjectNumber, SubjectId),
        slot: u32,
        dot: Dot,
    ) -> Result<Option<Stored<'t>>, StorageError> {
        let from = match dot.seq / INDEX_STEP {
            0 => self.indexed(Table::SubjectIndex, &keys::subject_index(number, 0))?,
            step => self.indexed(Table::AuthorIndex, &keys::author_index(number, slot, step))?,
        };
        for position in from.into_iter().flat_map(|from| from..=u64::MAX) {
            match self.stored(position) {
                Ok(stored) if stored.record.subject() == id && stored.record.dot() == dot => return Ok(Some(stored)),
                Ok(_) => {}
                Err(StorageError::DamagedSegment { .. }) => break,
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }

    pub(super) fn links(&mut self, link: Link) -> Result<Links, StorageError> {
        let position = link.position().unwrap_or(0);
        if let Some(entry) = self.unwritten(position) {
            return entry.map(|entry| entry.links).map_err(|source| StorageError::DamagedEvent { position, source });
        }
        self.block(position)?.links(position)
    }

    fn unwritten(&self, position: u64) -> Option<Result<Entry<'t>, FrameError>> {
        self.unwritten.and_then(|(first, block)| block.entry(first, position))
    }

    pub(super) fn indexed(&self, table: Table, key: &[u8]) -> Result<Option<u64>, StorageError> {
        Ok(self.txn.get(table, key)?.and_then(keys::position_of))
    }

    /// The block that holds the event at `position`, in a segment or in the table.
    pub(super) fn block(&mut self, position: u64) -> Result<Located<'t>, StorageError> {
        if let Some(block) = self.block.filter(|block| block.view.contains(position)) {
            return Ok(block);
        }
        let block = match self.txn.parts().find(position) {
            Some(Part::Sealed(segment)) => self.sealed(segment, position),
            Some(Part::Lost(lost)) => Err(lost.error()),
            None => self.in_table(position)?.ok_or_else(|| missing(position)),
        }?;
        self.block = Some(block);
        Ok(block)
    }

    /// As [`block`](Self::block), for those who go through all of it: a block of a segment is compared as a whole, once,
    /// instead of entry by entry.
    pub(super) fn verified(&mut self, position: u64) -> Result<Located<'t>, StorageError> {
        let mut block = self.block(position)?;
        if let Some(sealed) = block.sealed.filter(|_| !block.verified) {
            if sealed.verify().is_ok() {
                block.verified = true;
            } else if let Some(in_table) = self.in_table(position)? {
                block = in_table;
            }
            // Otherwise its entries' own checksums tell which of them it is.
            self.block = Some(block);
        }
        Ok(block)
    }

    fn sealed(&self, segment: &'t Sealed, position: u64) -> Result<Located<'t>, StorageError> {
        let sealed = segment.block(position).ok_or_else(|| missing(position))?;
        match sealed.view() {
            Ok(view) => Ok(Located { view, sealed: Some(sealed), verified: false }),
            // The table may have it still.
            Err(damaged) => self.in_table(position)?.ok_or(damaged),
        }
    }

    fn in_table(&self, position: u64) -> Result<Option<Located<'t>>, StorageError> {
        let Some((key, value)) = self.txn.at_or_before(Table::Log, &keys::position(position))? else {
            return Ok(None);
        };
        let view = open(key, value)?;
        Ok(view.contains(position).then_some(Located { view, sealed: None, verified: false }))
    }
}

/// The event, if it is the one that it should be: the index has no checksums.
fn expect<'t>(
    (number, id): (SubjectNumber, SubjectId),
    dot: Dot,
    stored: Stored<'t>,
) -> Result<Stored<'t>, StorageError> {
    let is_it = stored.record.subject() == id && stored.record.dot() == dot;
    if is_it { Ok(stored) } else { Err(broken_chain(number)) }
}

fn open<'t>(key: &[u8], value: &'t [u8]) -> Result<BlockView<'t>, StorageError> {
    let position = keys::position_of(key).unwrap_or(u64::MAX);
    BlockView::open(position, value).map_err(|source| StorageError::DamagedEvent { position, source })
}

fn missing(position: u64) -> StorageError {
    let source = FrameError::Malformed("it is not in the log any more");
    StorageError::DamagedEvent { position, source }
}

pub(super) fn broken_chain(number: SubjectNumber) -> StorageError {
    StorageError::DamagedRow { table: "log", key: format!("back-links of subject number {}", number.0) }
}
