//! What is durable, read back: at start, and after every commit that did not end well.

use std::sync::Arc;

use super::{
    cuts,
    rights::Rights,
    waiting::Waiting,
    writer::{CHECKPOINT_KEY, KEPT_SUBJECTS, LogWriter, Subject, extent},
};
use crate::{
    actors::{
        keyring::Keyring,
        storage::{
            StorageError, Store,
            head::Head,
            keys::SubjectNumber,
            lmdb::{Reads, Table},
            open::SubjectLog,
            reader::LogReader,
            shares::Share,
        },
    },
    wire::{id::SubjectId, interest::ReplicaFilter, ticket::SubjectKind},
};

impl LogWriter {
    /// The writer as of what is on disk: the heads of the checkpoint, and the log after it replayed.
    pub(crate) fn recover(store: Arc<Store>, keyring: Option<Arc<Keyring>>) -> Result<Self, StorageError> {
        let mut writer = Self::new(Arc::clone(&store));
        writer.keyring = keyring;
        let txn = store.env.read()?;
        if let Some((key, _)) = txn.last(Table::Subjects)? {
            let last = SubjectNumber::from_key(key).ok_or_else(|| damaged("subjects", key))?;
            writer.next_number = last.0.saturating_add(1);
        }
        if let Some(row) = txn.get(Table::Meta, CHECKPOINT_KEY)? {
            writer.checkpoint = checkpoint_of(row).ok_or_else(|| damaged("meta", CHECKPOINT_KEY))?;
        }
        let mut reader = LogReader::new(&txn);
        writer.next = reader.end()?;
        let mut replayed = 0_u64;
        reader.from(writer.checkpoint, &mut |stored| {
            let id = stored.record.subject();
            writer.load(&txn, id)?;
            if let Some(subject) = writer.subjects.get_mut(&id) {
                if stored.links.ordinal != subject.head.count {
                    return Err(damaged("heads", &subject.head.number.key()));
                }
                subject.dirty = true;
                let record = stored.record;
                subject.head.apply(stored.position, record.dot(), record.clock(), record.deps());
                let (slot, _) = subject.head.author(record.author());
                if subject.head.tree(slot).is_some_and(|(_, tree)| tree.peaks.len() + 1 == record.seq()) {
                    subject.head.grow(slot, &[*stored.id().as_bytes()]);
                }
                if stored.links.unverified {
                    subject.head.doubt(slot);
                }
            }
            replayed = replayed.saturating_add(1);
            Ok(true)
        })?;
        writer.recover_heads(&txn)?;
        writer.load_waiting(&txn)?;
        writer.load_forked(&txn)?;
        tracing::debug!(events = writer.next, replayed, "recovered the log");
        // Whoever follows a log sees what is durable, no more and no less. All logs that are followed are asked about, not
        // only those behind the checkpoint: the checkpoint may have been part of the commit that was interrupted.
        for log in store.known_logs() {
            writer.load(&txn, log.id)?;
            writer.announce(&log);
        }
        Ok(writer)
    }

    /// Brings the subjects into memory in which events wait, so that those are found whose time has come.
    fn load_waiting(&mut self, txn: &impl Reads) -> Result<(), StorageError> {
        let mut from = Some(SubjectNumber(0));
        while let Some(number) = from {
            let mut found = None;
            txn.scan(Table::Pending, &number.key(), &mut |key, _| {
                found = key.first_chunk::<4>().and_then(|key| SubjectNumber::from_key(key));
                Ok(false)
            })?;
            let Some(number) = found else { break };
            let row = txn.get(Table::Subjects, &number.key())?;
            let id = row.and_then(|row| row.first_chunk::<32>()).ok_or_else(|| damaged("subjects", &number.key()))?;
            self.load(txn, SubjectId::from(*id))?;
            from = number.0.checked_add(1).map(SubjectNumber);
        }
        Ok(())
    }

    /// Forgets the heads that can be read again: those that are as on disk, of subjects that nobody holds and of which
    /// no event waits. So memory follows the subjects in use, not those that ever were.
    pub(crate) fn evict(&mut self) {
        self.store.forget_unused_logs();
        let store = &self.store;
        self.subjects.retain(|id, subject| {
            let is_open = subject.head.authors().any(|(slot, _, _)| self.heads.is_open(*id, slot));
            subject.dirty || subject.touched || is_open || !subject.waiting.is_empty() || store.known_log(*id).is_some()
        });
        self.evict_at = self.subjects.len().saturating_mul(2).max(KEPT_SUBJECTS);
    }

    /// Brings the subject's head into memory.
    pub(crate) fn load(&mut self, txn: &impl Reads, id: SubjectId) -> Result<(), StorageError> {
        if self.subjects.contains_key(&id) {
            return Ok(());
        }
        let number = match txn.get(Table::SubjectNumbers, id.as_bytes())? {
            Some(row) => Some(SubjectNumber::from_key(row).ok_or_else(|| damaged("subject numbers", id.as_bytes()))?),
            None => None,
        };
        let (mut head, waiting) = match number {
            Some(number) => {
                // The two tables name each other: a damaged row must not lead to another subject's log.
                if txn.get(Table::Subjects, &number.key())?.is_none_or(|row| !row.starts_with(id.as_bytes())) {
                    return Err(damaged("subject numbers", id.as_bytes()));
                }
                let mut head = match txn.get(Table::Heads, &number.key())? {
                    Some(row) => Head::decode(number, row).ok_or_else(|| damaged("heads", &number.key()))?,
                    None => Head::new(number),
                };
                head.cuts = cuts::load(txn, number)?;
                (head, Waiting::load(txn, number)?)
            }
            None => {
                let number = SubjectNumber(self.next_number);
                self.next_number = self.next_number.saturating_add(1);
                (Head::new(number), Waiting::default())
            }
        };
        head.partial = partial(txn, id)?;
        let rights = Rights::load(txn, id, number, || self.is_owned(txn, id), &mut head.cuts)?;
        let subject = Subject { head, waiting, rights, dirty: false, recorded: number.is_some(), touched: false };
        self.subjects.insert(id, subject);
        if number.is_some() {
            self.take_peer_heads(txn, id)?;
            self.want_loaded_signed(id);
        }
        Ok(())
    }

    /// Whether a subject without a control event is an owned one all the same.
    fn is_owned(&self, txn: &impl Reads, id: SubjectId) -> Result<bool, StorageError> {
        let Some(row) = txn.get(Table::Shares, id.as_bytes())? else { return Ok(false) };
        // A damaged row harms who shares the subject: a log without events is then taken for that of an open one.
        Ok(Share::decode(id.as_bytes(), row).is_some_and(|share| share.kind == SubjectKind::Owned))
    }

    /// Tells the log's holders how far it reaches.
    pub(crate) fn announce(&self, log: &SubjectLog) {
        if let Some(subject) = self.subjects.get(&log.id) {
            let number = subject.recorded.then_some(subject.head.number);
            log.publish(number, extent(&subject.head));
            log.publish_members(subject.members());
            log.publish_cuts(&subject.head.cuts);
        }
    }
}

/// What part of a subject is kept here; `None` where it is all.
fn partial(txn: &impl Reads, id: SubjectId) -> Result<Option<Arc<ReplicaFilter>>, StorageError> {
    let share = txn.get(Table::Shares, id.as_bytes())?.and_then(|row| Share::decode(id.as_bytes(), row));
    Ok(share.map(|share| share.filter).filter(|filter| !filter.is_all()).map(Arc::new))
}

/// The row of the checkpoint.
pub(super) fn checkpoint_row(position: u64) -> [u8; 12] {
    let mut row = [0; 12];
    let bytes = position.to_le_bytes();
    let crc = crc32c::crc32c(&bytes).to_le_bytes();
    for (slot, byte) in row.iter_mut().zip(bytes.iter().chain(&crc)) {
        *slot = *byte;
    }
    row
}

pub(crate) fn checkpoint_of(row: &[u8]) -> Option<u64> {
    let position = u64::from_le_bytes(*row.first_chunk()?);
    (row == checkpoint_row(position)).then_some(position)
}

pub(crate) fn damaged(table: &'static str, key: &[u8]) -> StorageError {
    StorageError::DamagedRow { table, key: data_encoding::HEXLOWER.encode(key) }
}
