//! What the writer does about a subject of which a part is kept: the door where its filter is kept to, whatever comes from
//! where.

use super::writer::LogWriter;
use crate::{
    actors::storage::{
        StorageError,
        lmdb::{Reads, Table},
        shares::Share,
    },
    wire::{
        event::EventType,
        id::{Dot, SubjectId, XaeroID},
        interest::ReplicaFilter,
        record::RecordView,
    },
};

/// What of an event is kept, where a part of its subject is.
pub(super) enum Part {
    /// All.
    Whole,
    /// What there is of it.
    AsItComes,
    /// All but its payload.
    Header,
    /// Nothing.
    Nothing,
}

impl LogWriter {
    /// What of an event is kept here.
    pub(super) fn part_of(&self, id: SubjectId, record: &RecordView<'_>) -> Part {
        let Some(subject) = self.subjects.get(&id) else { return Part::Whole };
        let Some(filter) = &subject.head.partial else { return Part::Whole };
        let author = record.author();
        if filter.takes_author(author) && filter.takes(record) {
            return Part::Whole;
        }
        if self.is_local(author) {
            // A peer may not have heard yet that it is kept whole.
            return Part::AsItComes;
        }
        if filter.takes_author(author) {
            return Part::Header;
        }
        // In an owned subject, what says who may write is kept, and with it the logs of those who may say it.
        let is_kept = subject.rights.as_ref().is_some_and(|rights| {
            let first = (record.event_type(), record.payload());
            rights.charter.is_owner(author)
                || (record.seq() == 1 && rights.charter.may_begin_owner(author, first.0, first.1))
                || subject.waiting.contains(Dot::new(author, record.seq().saturating_sub(1)))
        });
        match (is_kept, record.event_type()) {
            (false, _) => Part::Nothing,
            (true, EventType::SystemEvent(_)) => Part::Whole,
            (true, _) => Part::Header,
        }
    }

    /// Whether the author's log is that of an owner of the subject.
    pub(super) fn is_owner(&self, id: SubjectId, author: XaeroID) -> bool {
        let rights = self.subjects.get(&id).and_then(|subject| subject.rights.as_ref());
        rights.is_some_and(|rights| rights.charter.is_owner(author))
    }

    /// Whether the author writes, or wrote, on this node.
    pub(super) fn is_local(&self, author: XaeroID) -> bool {
        let keyring = self.keyring.as_ref();
        keyring.is_some_and(|keyring| keyring.contains(author) || keyring.writing_for(author).is_some())
    }

    /// Whether a subject may get this row: what part of it is kept does not change once there are events from elsewhere, or such
    /// that wait. A row that is damaged says nothing of it.
    pub(super) fn check_share(&self, txn: &impl Reads, id: SubjectId, row: &[u8]) -> Result<(), StorageError> {
        let before = txn.get(Table::Shares, id.as_bytes())?.map(|row| Share::decode(id.as_bytes(), row));
        let (Some(subject), Some(share)) = (self.subjects.get(&id), Share::decode(id.as_bytes(), row)) else {
            return Ok(());
        };
        let known = before.map_or(Some(ReplicaFilter::all()), |share| share.map(|share| share.filter));
        let is_foreign = subject.head.authors().any(|(_, author, _)| !self.is_local(author.author));
        if known.is_some_and(|filter| filter != share.filter) && (is_foreign || !subject.waiting.is_empty()) {
            let reason = "events from elsewhere have come meanwhile, so that it stays as it is".to_owned();
            return Err(StorageError::Engine { action: "changing which part of a subject is kept", reason });
        }
        Ok(())
    }
}
