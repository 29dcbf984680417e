//! Reading the log: by position, by subject and ordinal, by author and sequence number.

use std::ops::Range;

use smallvec::SmallVec;

use super::{
    block::{BlockBuilder, BlockView, Link, Links, Stored},
    error::StorageError,
    head::{AuthorHead, INDEX_STEP},
    keys::{self, SubjectNumber},
    lmdb::{Reads, Table},
};
use crate::wire::{
    frame::FrameError,
    id::{Dot, SubjectId},
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
    txn: &'t R,
    block: Option<BlockView<'t>>,
    /// The block that is not in the table yet, and the position of its first event.
    unwritten: Option<(u64, &'t BlockBuilder)>,
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
        let Some((key, value)) = self.txn.last(Table::Log)? else { return Ok(0) };
        Ok(open(key, value)?.end())
    }

    /// The event at `position`.
    pub(crate) fn stored(&mut self, position: u64) -> Result<Stored<'t>, StorageError> {
        if let Some(entry) = self.unwritten(position) {
            let stored = entry.and_then(|entry| Stored::open(position, entry));
            return stored.map_err(|source| StorageError::DamagedEvent { position, source });
        }
        let block = self.block(position)?;
        block.stored(position).map_err(|source| StorageError::DamagedEvent { position, source })
    }

    /// Visits every event from `position` on, of all subjects, until `visit` returns `false`.
    pub(crate) fn from(
        &mut self,
        position: u64,
        visit: &mut dyn FnMut(Stored<'t>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let Some((key, _)) = self.txn.at_or_before(Table::Log, &keys::position(position))? else { return Ok(()) };
        let first = key.to_vec();
        self.txn.scan(Table::Log, &first, &mut |key, value| {
            let block = open(key, value)?;
            let from = keys::position_of(key).unwrap_or(0).max(position);
            for at in from..block.end() {
                let stored = block.stored(at).map_err(|source| StorageError::DamagedEvent { position: at, source })?;
                if !visit(stored)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Visits the subject's events with the ordinals in `span`, in order, until `visit` returns `false`.
    pub(crate) fn subject(
        &mut self,
        (number, id): (SubjectNumber, SubjectId),
        extent: Extent,
        span: Range<u64>,
        visit: &mut dyn FnMut(Stored<'t>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        for position in self.positions(number, extent, span)? {
            let stored = self.stored(position)?;
            // The index has no checksums, and may lead to an event of another subject with the same ordinal.
            if stored.record.subject() != id {
                return Err(broken_chain(number));
            }
            if !visit(stored)? {
                break;
            }
        }
        Ok(())
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
        let step = seq.div_ceil(INDEX_STEP);
        let (mut at, mut link) = match self.indexed(Table::AuthorIndex, &keys::author_index(number, slot, step))? {
            Some(position) => (step.saturating_mul(INDEX_STEP), Link::to(position)),
            None => (author.seq, author.last),
        };
        while at > seq {
            link = self.links(link)?.author;
            at -= 1;
        }
        let position = link.position().ok_or_else(|| broken_chain(number))?;
        let stored = self.stored(position)?;
        // The index has no checksums.
        if stored.record.subject() != id || stored.record.dot() != Dot::new(author.author, seq) {
            return Err(broken_chain(number));
        }
        Ok(Some(stored))
    }

    /// The positions of the subject's events with the ordinals in `span`.
    fn positions(
        &mut self,
        number: SubjectNumber,
        extent: Extent,
        span: Range<u64>,
    ) -> Result<SmallVec<[u64; 64]>, StorageError> {
        let mut positions = SmallVec::new();
        let end = span.end.min(extent.count);
        let Some(last) = end.checked_sub(1) else { return Ok(positions) };
        // The nearest indexed event at or above the last one wanted, else the subject's last.
        let step = last.div_ceil(INDEX_STEP);
        let indexed = if step.saturating_mul(INDEX_STEP) < extent.count {
            self.indexed(Table::SubjectIndex, &keys::subject_index(number, step))?
        } else {
            None
        };
        let (mut link, mut ordinal) = match indexed {
            Some(position) => (Link::to(position), step.saturating_mul(INDEX_STEP)),
            None => (extent.last, extent.count.saturating_sub(1)),
        };
        loop {
            let position = link.position().ok_or_else(|| broken_chain(number))?;
            let links = self.links(link)?;
            // The index has no checksums.
            if links.ordinal != ordinal {
                return Err(broken_chain(number));
            }
            if ordinal < end && ordinal >= span.start {
                positions.push(position);
            }
            if ordinal <= span.start {
                break;
            }
            link = links.subject;
            ordinal -= 1;
        }
        positions.reverse();
        Ok(positions)
    }

    pub(super) fn links(&mut self, link: Link) -> Result<Links, StorageError> {
        let position = link.position().unwrap_or(0);
        if let Some(entry) = self.unwritten(position) {
            return entry.map(|entry| entry.0).map_err(|source| StorageError::DamagedEvent { position, source });
        }
        let block = self.block(position)?;
        block.links(position).map_err(|source| StorageError::DamagedEvent { position, source })
    }

    fn unwritten(&self, position: u64) -> Option<Result<(Links, &'t [u8]), FrameError>> {
        self.unwritten.and_then(|(first, block)| block.entry(first, position))
    }

    pub(super) fn indexed(&self, table: Table, key: &[u8]) -> Result<Option<u64>, StorageError> {
        Ok(self.txn.get(table, key)?.and_then(keys::position_of))
    }

    fn block(&mut self, position: u64) -> Result<BlockView<'t>, StorageError> {
        if let Some(block) = self.block.filter(|block| block.contains(position)) {
            return Ok(block);
        }
        let found = self.txn.at_or_before(Table::Log, &keys::position(position))?;
        let block = match found {
            Some((key, value)) => open(key, value)?,
            None => return Err(missing(position)),
        };
        if !block.contains(position) {
            return Err(missing(position));
        }
        self.block = Some(block);
        Ok(block)
    }
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
