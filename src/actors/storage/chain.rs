//! Reading one author's events along the author's own links.
//!
//! A scan for one author's events opens those of all the others too. Where the author wrote few of them, the links from
//! each of its events to the one before lead there without that. The way into the chain is the author's head, which is
//! the committer's; readers take the one of the last checkpoint, and scan what came after.

use std::ops::Range;

use super::{
    block::{Link, Stored},
    error::StorageError,
    head::{AuthorHead, Head, INDEX_STEP},
    keys::{self, SubjectNumber},
    lmdb::{Reads, Table},
    open::{Store, SubjectLog},
    reader::{LogReader, broken_chain},
};
use crate::wire::id::{Dot, SubjectId, XaeroID};

/// What the last checkpoint knows of one author in a subject.
pub(crate) struct Chain {
    number: SubjectNumber,
    slot: u32,
    head: AuthorHead,
    /// How many events of the subject the checkpoint covers: later ones of the author have to be looked for.
    pub(crate) covered: u64,
}

impl Chain {
    /// How many events of the author the chain leads to: those from 1 on.
    pub(crate) const fn len(&self) -> u64 {
        self.head.seq
    }
}

impl Store {
    /// The way to the author's events, as of the last checkpoint. `None` before the subject's first.
    pub(crate) fn chain(&self, log: &SubjectLog, author: XaeroID) -> Result<Option<Chain>, StorageError> {
        let Some(number) = log.published().number else { return Ok(None) };
        let txn = self.env.read()?;
        let Some(row) = txn.get(Table::Heads, &number.key())? else { return Ok(None) };
        let Some(head) = Head::decode(number, row) else {
            let key = data_encoding::HEXLOWER.encode(&number.key());
            return Err(StorageError::DamagedRow { table: "heads", key });
        };
        let covered = head.count;
        let (slot, head) = head.author(author);
        Ok(Some(Chain { number, slot, head, covered }))
    }

    /// Visits the chain's events with the sequence numbers in `span`, in order, until `visit` returns `false`.
    pub(crate) fn read_chain(
        &self,
        log: &SubjectLog,
        chain: &Chain,
        span: Range<u64>,
        visit: &mut dyn FnMut(Stored<'_>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let txn = self.env.read()?;
        LogReader::new(&txn).chain(log.id, chain, span, &mut |stored| visit(stored))
    }
}

impl<'t, R: Reads> LogReader<'t, R> {
    /// See [`Store::read_chain`].
    fn chain(
        &mut self,
        id: SubjectId,
        chain: &Chain,
        span: Range<u64>,
        visit: &mut dyn FnMut(Stored<'t>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        for (seq, position) in (span.start.max(1)..).zip(self.chain_positions(chain, &span)?) {
            let stored = self.stored(position)?;
            // The index has no checksums, and may lead to another event.
            if stored.record.subject() != id || stored.record.dot() != Dot::new(chain.head.author, seq) {
                return Err(broken_chain(chain.number));
            }
            if !visit(stored)? {
                break;
            }
        }
        Ok(())
    }

    /// The positions of the chain's events with the sequence numbers in `span`.
    fn chain_positions(&mut self, chain: &Chain, span: &Range<u64>) -> Result<Vec<u64>, StorageError> {
        let (first, end) = (span.start.max(1), span.end.min(chain.len().saturating_add(1)));
        if first >= end {
            return Ok(Vec::new());
        }
        let last = end - 1;
        // The nearest indexed event at or above the last one wanted, else the author's last.
        let step = last.div_ceil(INDEX_STEP);
        let at = step.saturating_mul(INDEX_STEP);
        let indexed = if at <= chain.len() {
            self.indexed(Table::AuthorIndex, &keys::author_index(chain.number, chain.slot, step))?
        } else {
            None
        };
        let (mut link, mut seq) = match indexed {
            Some(position) => (Link::to(position), at),
            None => (chain.head.last, chain.len()),
        };
        let mut positions = Vec::with_capacity(usize::try_from(end - first).unwrap_or(0));
        loop {
            let position = link.position().ok_or_else(|| broken_chain(chain.number))?;
            if seq <= last {
                positions.push(position);
            }
            if seq == first {
                break;
            }
            link = self.links(link)?.author;
            seq -= 1;
        }
        positions.reverse();
        Ok(positions)
    }
}
