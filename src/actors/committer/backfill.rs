//! Trees for logs that were written without them.
//!
//! A directory of the first format has none, and neither has what was written while trees were switched off. What is
//! missing is made from the log, one subject after the other, before the committer starts, and stored together; a start
//! that is interrupted begins again.

use std::sync::Arc;

use super::{
    recover::damaged,
    writer::{LogWriter, extent},
};
use crate::{
    actors::storage::{
        StorageError,
        lmdb::{Reads, Table},
        reader::LogReader,
        row::{checked, unchecked},
    },
    wire::{
        id::{EventId, SubjectId},
        mmr::Hash,
        record::{RecordView, ids_of},
    },
};

/// Key of the position up to which all trees are whole, in the meta table.
const TREES_KEY: &[u8] = b"trees";

/// Events whose ids are hashed together, and that are read under one read transaction.
const PART_EVENTS: u64 = 1_024;

impl LogWriter {
    /// Makes the trees whole of all subjects, where some may not be.
    pub(crate) fn complete_trees(&mut self) -> Result<(), StorageError> {
        let store = Arc::clone(&self.store);
        let txn = store.env.read()?;
        let done = txn.get(Table::Meta, TREES_KEY)?;
        if done.is_some_and(|row| unchecked(row) == Some(&[1])) {
            return Ok(());
        }
        let mut subjects = Vec::new();
        txn.scan(Table::Subjects, &[], &mut |key, row| {
            let id = row.first_chunk::<32>().map(|id| SubjectId::from(*id));
            subjects.push(id.ok_or_else(|| damaged("subjects", key))?);
            Ok(true)
        })?;
        drop(txn);
        if !subjects.is_empty() {
            tracing::info!(subjects = subjects.len(), "making the trees of a log that was written without them");
        }
        for id in subjects {
            self.complete_subject(id)?;
            self.want_all_signed(id);
        }
        let mut txn = store.env.write()?;
        // States that were saved in the first format would be taken for damaged. They are made again.
        let mut stale: Vec<Vec<u8>> = Vec::new();
        txn.scan(Table::Snapshots, &[], &mut |key, _| {
            stale.push(key.to_vec());
            Ok(true)
        })?;
        stale.iter().try_for_each(|key| txn.delete(Table::Snapshots, key))?;
        self.write_checkpoint(&mut txn)?;
        txn.put(Table::Meta, TREES_KEY, &checked(&[1]))?;
        store.commit(txn)?;
        self.evict();
        Ok(())
    }

    /// Has the logs signed that are not: whoever kept no trees kept no account of these either.
    fn want_all_signed(&mut self, id: SubjectId) {
        let (Some(subject), Some(keyring)) = (self.subjects.get(&id), &self.keyring) else { return };
        let unsigned =
            subject.head.authors().filter(|(_, author, tree)| tree.is_unsigned() && keyring.can_sign(author.author));
        unsigned.for_each(|(slot, _, _)| self.heads.grew(id, slot));
    }

    /// From now on trees may not be whole.
    pub(crate) fn abandon_trees(&mut self) -> Result<(), StorageError> {
        let store = Arc::clone(&self.store);
        let mut txn = store.env.write()?;
        txn.delete(Table::Meta, TREES_KEY)?;
        store.commit(txn)
    }

    fn complete_subject(&mut self, id: SubjectId) -> Result<(), StorageError> {
        let store = Arc::clone(&self.store);
        let mut from = 0;
        loop {
            let txn = store.env.read()?;
            self.load(&txn, id)?;
            let Some(subject) = self.subjects.get_mut(&id) else { return Ok(()) };
            if from >= subject.head.count || subject.head.has_whole_trees() {
                return Ok(());
            }
            let (key, end) = ((subject.head.number, id), extent(&subject.head));
            let (mut records, mut known): (Vec<RecordView<'_>>, Vec<Option<EventId>>) = (Vec::new(), Vec::new());
            LogReader::new(&txn).subject(key, end, from..from.saturating_add(PART_EVENTS), &mut |stored| {
                records.push(stored.record);
                known.push(stored.id);
                Ok(true)
            })?;
            if records.is_empty() {
                return Ok(());
            }
            from = from.saturating_add(PART_EVENTS);
            let unknown: Vec<RecordView<'_>> =
                records.iter().zip(&known).filter(|(_, id)| id.is_none()).map(|(record, _)| *record).collect();
            let mut hashed = ids_of(&unknown).into_iter();
            let mut leaves: Vec<(u32, Hash)> = Vec::with_capacity(records.len());
            for (record, known) in records.iter().zip(known) {
                let Some(event) = known.or_else(|| hashed.next()) else { continue };
                let (slot, _) = subject.head.author(record.author());
                let length = subject.head.tree(slot).map_or(0, |(_, tree)| tree.peaks.len());
                if record.seq() > length {
                    leaves.push((slot, *event.as_bytes()));
                }
            }
            subject.dirty = true;
            leaves.sort_by_key(|(slot, _)| *slot);
            for of_author in leaves.chunk_by(|left, right| left.0 == right.0) {
                let run: Vec<Hash> = of_author.iter().map(|(_, leaf)| *leaf).collect();
                if let Some((slot, _)) = of_author.first() {
                    self.grow(id, *slot, &run);
                }
            }
        }
    }
}
