//! Moving the oldest part of the log from its table into a segment, one segment at a time.
//!
//! A segment ends where a block of the table ends, so that the table loses whole blocks. Its events are read in slices,
//! each under a read transaction of its own, and written between them. What it holds counts from the moment it is in the
//! [list](super::list), after all of it was read back; only then may the committer [trim](crate::actors::committer) the
//! table. Wherever this ends before, in an error, a panic or with the process, the table has everything still, and the
//! next attempt begins anew.

use std::sync::{Arc, PoisonError};

use super::{
    layout::{Footer, as_u64},
    list::Part,
    pack::Packer,
    sealed::{OpenError, Sealed},
    store::Segments,
    writer::SegmentFile,
};
use crate::actors::{
    committer::thread::Committer,
    fault::fault_point,
    storage::{
        StorageError, Store,
        block::{BLOCK_BYTES, BlockView},
        keys,
        lmdb::{Reads, Table},
        reader::LogReader,
    },
};

/// Bytes that are read under one transaction, and written at once.
const SLICE_BYTES: usize = 4 << 20;

/// What an entry grows by at most when it is packed again: blocks of the first format have no ids.
const ID_BYTES: u64 = 32;

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is not enough in the table for a segment.
    NotDue,
    /// A segment was sealed.
    Sealed,
}

/// The next segment.
struct Plan {
    first: u64,
    end: u64,
    /// Bytes that its blocks have in the table.
    in_table: u64,
    /// Bytes that the file has at most.
    in_file: u64,
}

impl Segments {
    /// Writes one segment, if there is enough in the log table for it.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`] where there is no room for it, and others where it cannot be written or does not read
    /// back. Nothing is lost: the table has all of it.
    pub(crate) fn advance(&self, store: &Store, committer: &Committer) -> Result<Progress, StorageError> {
        // Poisoned by a panic it is no worse: nothing but what is on disk and in the list counts.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = store.poisoned() {
            return Err(error);
        }
        let Some(plan) = self.plan(store)? else { return Ok(Progress::NotDue) };
        let mut file = SegmentFile::create(&self.scope, &self.dir, plan.first, plan.in_file)?;
        let rows = copy(store, &plan, &mut file)?;
        let footer = Footer::new(rows).filter(|footer| (footer.first, footer.end) == (plan.first, plan.end));
        let footer = footer.ok_or_else(|| unlike("it is not the range that it should be"))?;
        let path = file.seal(&footer.encode())?;
        let sealed = Sealed::open(&path).map_err(|error| match error {
            OpenError::Io(source) => StorageError::io("opening", &path, source),
            OpenError::Damaged(what) => unlike(&what.to_string()),
        })?;
        sealed.verify()?;
        if *sealed.footer() != footer {
            return Err(unlike("its footer is another"));
        }
        fault_point!(self.scope, "segment.verified");
        tracing::debug!(path = %path.display(), first = plan.first, end = plan.end, bytes = sealed.file_bytes(), "sealed");
        store.env.segments().push(Part::Sealed(Arc::new(sealed)));
        self.shrank(plan.in_table);
        committer.trim();
        Ok(Progress::Sealed)
    }

    /// The blocks of the next segment: from where the segments end, until there are enough.
    fn plan(&self, store: &Store) -> Result<Option<Plan>, StorageError> {
        let first = store.env.segments().end();
        let mut plan = Plan { first, end: first, in_table: 0, in_file: 0 };
        let txn = store.env.read()?;
        let mut entries_without_ids = 0;
        // Where a segment ends is where a block of the table ends, unless it was rebuilt from what was left of it.
        let from = txn.at_or_before(Table::Log, &keys::position(first))?.map_or_else(Vec::new, |(key, _)| key.to_vec());
        txn.scan(Table::Log, &from, &mut |key, value| {
            let position = keys::position_of(key).unwrap_or(u64::MAX);
            let view =
                BlockView::open(position, value).map_err(|source| StorageError::DamagedEvent { position, source })?;
            if position < first && view.end() <= first {
                return Ok(true);
            }
            if !view.contains(plan.end) || (position != plan.end && plan.end != first) {
                return Err(unlike("the log table does not go on where the segments end"));
            }
            if !view.has_ids() {
                entries_without_ids += view.end() - position;
            }
            plan.end = view.end();
            plan.in_table = plan.in_table.saturating_add(as_u64(value.len()));
            Ok(plan.in_table < self.bytes)
        })?;
        if plan.in_table < self.bytes {
            self.correct(plan.in_table);
            return Ok(None);
        }
        // Packing puts blocks together, so there are no more tables of entries than there were.
        let blocks = plan.in_table.saturating_add(entries_without_ids * ID_BYTES);
        let rows = blocks / as_u64(BLOCK_BYTES) + 1;
        plan.in_file = blocks.saturating_add(as_u64(Footer::bytes(usize::try_from(rows).unwrap_or(usize::MAX))));
        Ok(Some(plan))
    }
}

/// Copies the events of the plan into the file.
fn copy(store: &Store, plan: &Plan, file: &mut SegmentFile<'_>) -> Result<Vec<super::layout::BlockRow>, StorageError> {
    // A slice ends with the block that fills it, which is less than two of its size unless events are large.
    let mut packer = Packer::with_capacity(SLICE_BYTES + 2 * BLOCK_BYTES);
    let mut next = plan.first;
    while next < plan.end {
        let txn = store.env.read()?;
        LogReader::new(&txn).from(next, &mut |stored| {
            packer.add(&txn, &stored)?;
            next = stored.position.saturating_add(1);
            Ok(next < plan.end && packer.ready().len() < SLICE_BYTES)
        })?;
        if next >= plan.end {
            packer.complete(&txn)?;
        }
        drop(txn);
        file.write(packer.ready())?;
        packer.taken();
    }
    Ok(packer.into_rows())
}

fn unlike(what: &str) -> StorageError {
    StorageError::Engine { action: "writing a segment", reason: format!("{what}; the log table has it all still") }
}
