//! What the writer does about forks.
//!
//! Evidence that an author has signed two histories is kept, one piece for each author of a subject, and with it where the
//! author's log ends for everybody who knows. Of two pieces the one with the lower end is kept, so that all who have seen
//! the same evidence, in any order, come to the same end.

use super::{recover::damaged, rights::drop_snapshots, writer::LogWriter};
use crate::{
    actors::mmr::nodes::TreeNodes,
    actors::storage::{
        StorageError,
        cuts::Cuts,
        keys::{self, SubjectNumber},
        lmdb::{Reads, Table, WriteTxn},
        open::SubjectLog,
        reader::LogReader,
        row::{checked, unchecked},
    },
    wire::{
        fork::{Cut, ForkEvidence},
        id::{SubjectId, XaeroID},
        mmr::{Hash, root_at},
    },
};

impl LogWriter {
    /// Takes evidence that was verified, with the cut that follows from it. What it says is in force with this commit.
    pub(super) fn cut(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        (evidence, cut): &(ForkEvidence, Cut),
    ) -> Result<(), StorageError> {
        let Some(subject) = self.subjects.get(&log.id).filter(|_| cut.subject == log.id) else { return Ok(()) };
        if subject.head.cuts.fork(cut.author).is_some_and(|last| last <= cut.last_valid) {
            return Ok(());
        }
        self.touch(txn, log)?;
        let Some(subject) = self.subjects.get_mut(&log.id) else { return Ok(()) };
        let number = subject.head.number;
        let row = [cut.last_valid.to_le_bytes().as_slice(), &evidence.encode()].concat();
        txn.put(Table::Cuts, &keys::cut(number, cut.author), &checked(&row))?;
        subject.head.cuts = subject.head.cuts.with(cut.author, cut.last_valid);
        // What waits may wait for an event that is not asked for any more.
        subject.waiting.forget_reasons();
        self.doubt_rights(log.id);
        drop_snapshots(txn, number)
    }

    /// Each author's log, as far as `end` says: what a subject's root is made of.
    pub(super) fn logs(
        &mut self,
        txn: &mut WriteTxn<'_>,
        id: SubjectId,
        end: impl Fn(&Cuts, XaeroID) -> Option<u64>,
    ) -> Result<Vec<(XaeroID, u64, Hash)>, StorageError> {
        self.load(txn, id)?;
        self.refresh_rights(txn, id)?;
        // The tree of a log that is cut is read from the table.
        self.flush(txn)?;
        let Some(subject) = self.subjects.get(&id) else { return Ok(Vec::new()) };
        let mut logs = Vec::new();
        for (slot, author, tree) in subject.head.authors() {
            let length = tree.peaks.len();
            let counts = end(&subject.head.cuts, author.author).map_or(length, |last| last.min(length));
            if counts == 0 {
                continue;
            }
            let root = if counts == length {
                tree.peaks.root()
            } else {
                let mut nodes = TreeNodes::new(&*txn, LogReader::new(&*txn), subject.head.number, slot, *author);
                root_at(&mut nodes, counts)?
            };
            logs.push((author.author, counts, root));
        }
        logs.sort_unstable_by_key(|(author, _, _)| *author);
        Ok(logs)
    }
}

/// The forks of a subject, from their rows.
pub(crate) fn load(txn: &impl Reads, number: SubjectNumber) -> Result<Cuts, StorageError> {
    let mut cuts = Cuts::default();
    visit(txn, number, &mut |author, last_valid, _| {
        cuts = cuts.with(author, last_valid);
        Ok(())
    })?;
    Ok(cuts)
}

/// The evidence behind the cuts of a subject.
pub(crate) fn evidence(txn: &impl Reads, number: SubjectNumber) -> Result<Vec<ForkEvidence>, StorageError> {
    let mut found = Vec::new();
    visit(txn, number, &mut |author, _, bytes| {
        let evidence = ForkEvidence::decode(bytes);
        found.push(evidence.map_err(|_| damaged("cuts", &keys::cut(number, author)))?);
        Ok(())
    })?;
    Ok(found)
}

/// Is shown a cut: author, last event that counts, evidence.
type Visit<'v> = dyn FnMut(XaeroID, u64, &[u8]) -> Result<(), StorageError> + 'v;

fn visit(txn: &impl Reads, number: SubjectNumber, each: &mut Visit<'_>) -> Result<(), StorageError> {
    txn.scan(Table::Cuts, &number.key(), &mut |key, row| {
        let Some(author) = key.strip_prefix(&number.key()) else { return Ok(false) };
        let author = author.try_into().map(|author: [u8; 32]| XaeroID::from(author));
        let row = unchecked(row).and_then(|row| row.split_first_chunk());
        match (author, row) {
            (Ok(author), Some((last_valid, evidence))) => each(author, u64::from_le_bytes(*last_valid), evidence)?,
            _ => return Err(damaged("cuts", key)),
        }
        Ok(true)
    })
}
