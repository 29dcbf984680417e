//! Verifying a chunk: every event is its author's, in its place, and none is missing between them.
//!
//! Whoever holds the beginning of an author's log needs no proof of any single event: the ids of the events of the chunk
//! extend the [peaks](crate::wire::mmr::Peaks) of what is there, and the consistency proof leads from the root that
//! results to the one that the author has signed. One signature for all events of an author in a chunk, and for all heads
//! of a batch.

use hashbrown::HashMap;

use super::{Events, LogProof, SyncError};
use crate::wire::{
    archive,
    head::HeadCheck,
    id::{Dot, EventId, SubjectId, XaeroID},
    key::PublicKey,
    mmr::{ConsistencyProof, Hash, Peaks},
    proof::ProofError,
    record::{RecordView, ids_of},
};

/// What is here of one author whose events are in a chunk.
#[derive(Debug, Clone)]
pub struct ChunkAuthor {
    /// The author's log before the events of the chunk: its peaks at just that length.
    pub before: Peaks,
    /// The author's key, where it is known.
    pub key: Option<PublicKey>,
}

/// What a chunk adds to one author's log.
#[derive(Debug, Clone)]
pub struct CheckedAuthor {
    /// Whose log it is.
    pub author: XaeroID,
    /// The log before.
    pub before: Peaks,
    /// The log with the events of the chunk.
    pub after: Peaks,
    /// The ids of the events.
    pub leaves: Vec<Hash>,
    /// What shows that they are the author's.
    pub proof: ConsistencyProof,
    /// The place of the author's proof in the chunk.
    pub place: usize,
    /// The author's key.
    pub key: PublicKey,
}

/// An event that has passed.
#[derive(Debug, Clone, Copy)]
pub struct CheckedEvent<'a> {
    /// Its frame.
    pub frame: &'a [u8],
    /// Author and sequence number.
    pub dot: Dot,
    /// The event id.
    pub id: EventId,
    /// The place of its author among [`CheckedEvents::authors`].
    pub author: usize,
}

/// A chunk that has passed.
#[derive(Debug)]
pub struct CheckedEvents<'a> {
    /// The events, in the order of the chunk.
    pub events: Vec<CheckedEvent<'a>>,
    /// What they add to the authors' logs, ascending by author.
    pub authors: Vec<CheckedAuthor>,
}

/// Verifies a chunk about this subject. `known` says what is here of an author of whom the chunk has events from a number on:
/// the peaks of the log *before* that event, and the key; `None` where the log does not reach as far.
///
/// The frames and ids that come back are those of the chunk; that their causes are here is for whoever appends them.
///
/// # Errors
/// Says which rule the chunk breaks. Nothing of it may be used then.
pub fn check_events<'a>(
    subject: SubjectId,
    chunk: &'a Events,
    heads: &mut HeadCheck,
    mut known: impl FnMut(XaeroID, u64) -> Option<ChunkAuthor>,
) -> Result<CheckedEvents<'a>, SyncError> {
    let (records, mut events) = open(subject, chunk)?;
    let mut authors: Vec<Growing<'_>> = Vec::with_capacity(chunk.proofs().len());
    for (place, proof) in chunk.proofs().iter().enumerate() {
        authors.push(Growing { place, proof, first: 0, leaves: Vec::new() });
    }
    for ((event, record), id) in events.iter_mut().zip(&records).zip(ids_of(&records)) {
        event.id = id;
        let dot = record.dot();
        let Some(author) = authors.get_mut(event.author) else {
            return Err(SyncError::Unproven { author: dot.author });
        };
        if author.leaves.is_empty() {
            author.first = dot.seq;
        }
        let so_far = u64::try_from(author.leaves.len()).unwrap_or(u64::MAX);
        let expected = author.first.saturating_add(so_far);
        if dot.seq != expected || dot.seq == 0 {
            return Err(SyncError::Gap { dot, expected });
        }
        author.leaves.push(*id.as_bytes());
    }
    let authors = authors.into_iter().map(|author| author.check(subject, heads, &mut known));
    Ok(CheckedEvents { authors: authors.collect::<Result<_, _>>()?, events })
}

/// The events of one author, while they are gone through.
struct Growing<'a> {
    place: usize,
    proof: &'a LogProof,
    /// The number of the first of them.
    first: u64,
    leaves: Vec<Hash>,
}

impl Growing<'_> {
    fn check(
        self,
        subject: SubjectId,
        heads: &mut HeadCheck,
        known: &mut impl FnMut(XaeroID, u64) -> Option<ChunkAuthor>,
    ) -> Result<CheckedAuthor, SyncError> {
        let author = self.proof.author();
        if self.leaves.is_empty() {
            return Err(SyncError::Unproven { author });
        }
        let gap = SyncError::Gap { dot: Dot::new(author, self.first), expected: 1 };
        let ChunkAuthor { before, key } = known(author, self.first).ok_or(gap)?;
        if before.len().checked_add(1) != Some(self.first) {
            let expected = before.len().saturating_add(1);
            return Err(SyncError::Gap { dot: Dot::new(author, self.first), expected });
        }
        let sent = self.proof.key.clone().filter(|key| key.id() == author);
        let key = key.or(sent).ok_or(SyncError::UnknownKey { author })?;
        let not_signed = |error| SyncError::NotSigned { author, first: self.first, error };
        let head = self.proof.head.head();
        head.check_log(subject, author).map_err(not_signed)?;
        let mut after = before.clone();
        after.extend(&self.leaves, &mut |_, _, _| {});
        if self.proof.length != after.len() {
            let (expected, found) = (after.len(), self.proof.length);
            return Err(not_signed(ProofError::OtherLength { expected, found }));
        }
        // The signature first: that the events do not belong to a log which the author *has* signed may mean that there are two
        // such logs.
        heads.verify(&self.proof.head, &key).map_err(not_signed)?;
        let proof = ConsistencyProof { old: after.len(), new: head.length, path: self.proof.path.clone() };
        proof.check(&after.root(), &head.root).map_err(not_signed)?;
        Ok(CheckedAuthor { author, before, after, leaves: self.leaves, proof, place: self.place, key })
    }
}

/// The records of a chunk, and its events, whose ids are not known yet.
fn open<'a>(subject: SubjectId, chunk: &'a Events) -> Result<(Vec<RecordView<'a>>, Vec<CheckedEvent<'a>>), SyncError> {
    let places: HashMap<XaeroID, usize> =
        chunk.proofs().iter().enumerate().map(|(place, proof)| (proof.author(), place)).collect();
    let (mut records, mut events) = (Vec::with_capacity(chunk.len()), Vec::with_capacity(chunk.len()));
    let mut rest = chunk.frames();
    for place in 0..chunk.len() {
        let (record, length) = archive::open(rest).map_err(|error| SyncError::Frame { place, error })?;
        let (frame, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = after;
        let dot = record.dot();
        if record.subject() != subject {
            return Err(SyncError::OtherSubject { dot, found: record.subject() });
        }
        let author = *places.get(&dot.author).ok_or(SyncError::Unproven { author: dot.author })?;
        records.push(record);
        events.push(CheckedEvent { frame, dot, id: EventId::from([0; 32]), author });
    }
    if rest.is_empty() {
        Ok((records, events))
    } else {
        Err(SyncError::BadField { kind: super::Kind::EVENTS, field: "number of events" })
    }
}

#[cfg(test)]
mod tests;
