//! What became of an event, in one answer.
//!
//! The committer is asked, since it alone sees the log, what waits, the cuts and what was refused at one moment. Refusals leave
//! no trace on disk (whoever is refused may send again, for ever), so that only the newest of them are remembered, in memory.

use std::{collections::VecDeque, fmt, sync::Arc};

use super::{
    ingest::{Arrival, IngestRefusal, MAX_CLOCK_AHEAD_MS},
    waiting::Awaits,
    writer::LogWriter,
};
use crate::{
    actors::storage::{
        StorageError, keys,
        lmdb::{Reads, Table},
        reader::LogReader,
    },
    wire::{
        archive,
        id::{Dot, EventId, SubjectId},
        interest::ReplicaFilter,
    },
};

/// Refusals that a node remembers, the newest ones: enough to look into what a peer just sent, some 200 kB.
pub(crate) const RECENT_REFUSALS: usize = 1_024;

/// What became of an event, as far as this node knows: see [`Subject::explain`](crate::Subject::explain).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Explanation {
    /// It is in the log, and counts.
    Accepted {
        /// The event.
        dot: Dot,
        /// The identifier of the event that is here.
        id: EventId,
        /// Its place in the subject's log on this node: how many events are before it.
        ordinal: u64,
        /// Whether a head that its author signed covers it: only then it can be proven to others.
        signed: bool,
        /// Another event under its number was refused lately, for this reason.
        refused: Option<IngestRefusal>,
    },
    /// It is in the log, and counts, but its payload is not here: a part of the subject is kept on this node, and the
    /// event is not of it.
    Withheld {
        /// The event.
        dot: Dot,
        /// The identifier of the event that is here.
        id: EventId,
        /// Its place in the subject's log on this node.
        ordinal: u64,
        /// Whether a head that its author signed covers it.
        signed: bool,
        /// What is kept here.
        filter: Arc<ReplicaFilter>,
    },
    /// It is not looked for: a part of the subject is kept on this node, and its author is not of it.
    LeftOut {
        /// The event.
        dot: Dot,
        /// What is kept here.
        filter: Arc<ReplicaFilter>,
    },
    /// It is on disk, and enters the log when this cause has.
    Waiting {
        /// The event.
        dot: Dot,
        /// The first of its causes that is missing.
        missing: Dot,
    },
    /// It is on disk, and enters the log when this machine's clock gets near its own.
    Held {
        /// The event.
        dot: Dot,
        /// When, in milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// It came lately, and was not taken.
    Refused {
        /// The event.
        dot: Dot,
        /// Why.
        why: IngestRefusal,
    },
    /// Its author has signed two histories, and it is past the point where these part: it counts for nothing, whether it is here
    /// or not.
    Superseded {
        /// The event.
        dot: Dot,
        /// The sequence number of its author's last event that counts.
        last_valid: u64,
        /// The event that says the same in its place, where it was published again on this node.
        again: Option<Dot>,
    },
    /// It is in the log of an owned subject, and counts for nothing: it is past the point at which its author was revoked, or who
    /// admitted the author had no right to.
    Revoked {
        /// The event.
        dot: Dot,
        /// The sequence number of its author's last event that counts.
        last_valid: u64,
    },
    /// Nothing is known of it here: it never came, or was refused too long ago.
    Unknown {
        /// The event.
        dot: Dot,
    },
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { dot, id, ordinal, signed, refused } => {
                let signed = if *signed { "signed by its author" } else { "not covered by a signature of its author" };
                write!(f, "event {dot} is in the log at place {ordinal}, as {id}, {signed}")?;
                match refused {
                    Some(why) => write!(f, "; another under its number was refused: {why}"),
                    None => Ok(()),
                }
            }
            Self::Withheld { dot, id, ordinal, signed, filter } => {
                let signed = if *signed { "signed by its author" } else { "not covered by a signature of its author" };
                write!(
                    f,
                    "event {dot} is in the log at place {ordinal}, as {id}, {signed}, but without its payload: this replica is partial, and keeps {filter}"
                )
            }
            Self::LeftOut { dot, filter } => write!(
                f,
                "event {dot} is not kept here, since this replica is partial: it keeps {filter}, and counts causes outside of that as satisfied"
            ),
            Self::Waiting { dot, missing } => {
                write!(f, "event {dot} waits on disk for event {missing}, which it follows and which is not here yet")
            }
            Self::Held { dot, until_ms } => write!(
                f,
                "event {dot} is held on disk until this machine's clock shows {until_ms} ms since the Unix epoch, since its own is too far ahead"
            ),
            Self::Refused { dot, why } => write!(f, "event {dot} was refused: {why}"),
            Self::Superseded { dot, last_valid, again } => {
                write!(
                    f,
                    "event {dot} counts for nothing, since its author has signed two histories and only the events up to {last_valid} count"
                )?;
                match again {
                    Some(again) => write!(f, "; what it says was published again as event {again}"),
                    None => Ok(()),
                }
            }
            Self::Revoked { dot, last_valid } => write!(
                f,
                "event {dot} is in the log and counts for nothing, since its author was revoked in this owned subject and only the events up to {last_valid} count"
            ),
            Self::Unknown { dot } => write!(
                f,
                "nothing is known here of event {dot}: it never came, or was refused too long ago to be remembered"
            ),
        }
    }
}

/// The newest refusals of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals(VecDeque<(SubjectId, Dot, IngestRefusal)>);

impl Refusals {
    /// Remembers a refusal, instead of the one before it of the same event.
    pub(crate) fn note(&mut self, subject: SubjectId, dot: Dot, why: &IngestRefusal) {
        self.0.retain(|(of, known, _)| (*of, *known) != (subject, dot));
        if self.0.len() >= RECENT_REFUSALS {
            self.0.pop_front();
        }
        self.0.push_back((subject, dot, why.clone()));
    }

    fn find(&self, subject: SubjectId, dot: Dot) -> Option<IngestRefusal> {
        let found = self.0.iter().find(|(of, known, _)| (*of, *known) == (subject, dot));
        found.map(|(_, _, why)| why.clone())
    }
}

impl LogWriter {
    /// What became of the event with this dot.
    pub(super) fn explain(
        &mut self,
        txn: &impl Reads,
        id: SubjectId,
        dot: Dot,
        now_ms: u64,
    ) -> Result<Explanation, StorageError> {
        self.load(txn, id)?;
        let refused = self.refusals.find(id, dot);
        let unknown = match refused.clone() {
            Some(why) => Explanation::Refused { dot, why },
            None => Explanation::Unknown { dot },
        };
        let Some(subject) = self.subjects.get(&id) else { return Ok(unknown) };
        let head = &subject.head;
        let unknown = match (unknown, &head.partial) {
            (Explanation::Unknown { dot }, Some(filter))
                if head.leaves_out(dot.author) && !self.is_local(dot.author) && !self.is_owner(id, dot.author) =>
            {
                Explanation::LeftOut { dot, filter: Arc::clone(filter) }
            }
            (unknown, _) => unknown,
        };
        let cut = head.cuts.fork(dot.author).filter(|last| dot.seq > *last);
        if let Some(last_valid) = cut {
            let again = self.republished(txn, head.number, dot.author)?.find(dot.seq);
            return Ok(Explanation::Superseded { dot, last_valid, again });
        }
        if dot.seq > 0 && head.has(dot) {
            let (slot, author) = head.author(dot.author);
            let found = LogReader::new(txn).by_seq((head.number, id), slot, &author, dot.seq)?;
            let found = found.map(|stored| (stored.links.ordinal, stored.id(), stored.record.is_withheld()));
            let Some((ordinal, event, is_withheld)) = found else { return Ok(unknown) };
            let partial = head.partial.clone().filter(|_| is_withheld);
            if let Some(last_valid) = head.cuts.last_valid(dot.author).filter(|last| dot.seq > *last) {
                return Ok(Explanation::Revoked { dot, last_valid });
            }
            let signed = self.known_head(txn, id, dot.author)?.signed_length() >= dot.seq;
            if let Some(filter) = partial {
                return Ok(Explanation::Withheld { dot, id: event, ordinal, signed, filter });
            }
            return Ok(Explanation::Accepted { dot, id: event, ordinal, signed, refused });
        }
        let row = txn.get(Table::Pending, &keys::pending(head.number, dot))?;
        let waiting = row.filter(|_| subject.recorded).and_then(|row| archive::open(row).ok());
        Ok(match waiting.map(|(record, _)| Arrival::of(&record, subject.rights.is_some())) {
            Some(arrival) => match arrival.awaits(head, now_ms) {
                Some(Awaits::Cause(missing)) => Explanation::Waiting { dot, missing },
                Some(Awaits::Time(until_ms)) => Explanation::Held { dot, until_ms },
                // Its time has come, and it enters with the next look.
                None => Explanation::Held { dot, until_ms: arrival.clock.millis().saturating_sub(MAX_CLOCK_AHEAD_MS) },
            },
            None => unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::XaeroID;

    #[test]
    fn the_newest_refusals_are_remembered_and_one_of_each_event() {
        let subject = SubjectId::from([1; 32]);
        let dot = |seq| Dot::new(XaeroID::from([7; 32]), seq);
        let why = |dot| IngestRefusal::OwnAuthor { dot };
        let mut refusals = Refusals::default();
        for seq in 1..=RECENT_REFUSALS as u64 + 1 {
            refusals.note(subject, dot(seq), &why(dot(seq)));
        }
        let cause = IngestRefusal::ClockBelowCause { dot: dot(5), cause: dot(4) };
        refusals.note(subject, dot(5), &cause);
        assert_eq!(refusals.0.len(), RECENT_REFUSALS);
        assert_eq!((refusals.find(subject, dot(1)), refusals.find(subject, dot(2))), (None, Some(why(dot(2)))));
        assert_eq!(refusals.find(subject, dot(5)), Some(cause));
        assert_eq!(refusals.find(SubjectId::from([2; 32]), dot(5)), None);
    }
}
