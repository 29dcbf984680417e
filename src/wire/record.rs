//! Records: an event as it is hashed, signed, stored and sent.
//!
//! A record is [`Record`] while it is written and [`RecordView`] while it is read. Its stored form is an rkyv archive
//! (little-endian, unaligned, 32-bit relative pointers), whose layout is fixed for ever by `RecordV1`: a change is a
//! `RecordV2` and a new schema number in the frame.
//!
//! # The event id
//!
//! The id is not taken over the archive, since one record has many archives that read the same. It is BLAKE3 in key
//! derivation mode with the context `xaeroflux 2026 event id v1` over this preimage, all numbers little-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 32 | subject id |
//! | 32 | author |
//! | 8 | sequence number |
//! | 8 | hybrid logical clock |
//! | 8 | `latest_ts` |
//! | 2 | event type |
//! | 2 | number of causal dependencies |
//! | 4 | payload length |
//! | 40 each | the dependencies: author, sequence number; ascending |
//! | 32 | BLAKE3 of the payload |
//!
//! Without dependencies it is 128 bytes: two blocks of BLAKE3, so that many are hashed at once on wide vector units. An
//! event whose payload was erased, or not asked for, is still proven by its header and the payload's hash.

use rkyv::{Archive, Deserialize, Serialize, rancor::Failure, with::InlineAsBox};
use smallvec::SmallVec;

use crate::wire::{
    clock::Clock,
    event::EventType,
    hash_many::HashMany,
    id::{Dot, EventId, SubjectId, XaeroID},
    preimage::Fields,
};

pub(crate) use crate::wire::preimage::Preimages;

/// The archived dot of a record of version 1.
#[derive(Debug, Clone, Copy, Archive, Serialize, Deserialize)]
pub(crate) struct DotV1 {
    pub(crate) author: [u8; 32],
    pub(crate) seq: u64,
}

/// The record of version 1. Never changed: rkyv cannot read an archive with a field more or less.
#[derive(Archive, Serialize)]
pub(crate) struct RecordV1<'a> {
    pub(crate) subject: [u8; 32],
    pub(crate) author: [u8; 32],
    pub(crate) seq: u64,
    pub(crate) clock: u64,
    pub(crate) latest_ts: u64,
    pub(crate) event_type: [u8; 2],
    #[rkyv(with = InlineAsBox)]
    pub(crate) deps: &'a [DotV1],
    #[rkyv(with = InlineAsBox)]
    pub(crate) payload: &'a [u8],
}

/// A record to be written: borrowed parts, so that the payload is copied once, into the frame.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The subject whose log the event belongs to.
    pub subject: SubjectId,
    /// Author and sequence number.
    pub dot: Dot,
    /// The hybrid logical clock: above those of all dependencies and of the author's previous event.
    pub clock: Clock,
    /// The author's own timestamp.
    pub latest_ts: u64,
    /// The undominated dots that the author had seen, ascending, its own previous one left out.
    pub deps: &'a [Dot],
    /// What the payload means.
    pub event_type: EventType,
    /// The payload.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// The event id, from the hash of the payload: see the [module](self).
    #[must_use]
    pub fn id(&self, payload_hash: &blake3::Hash) -> EventId {
        self.fields(payload_hash.as_bytes()).id(self.deps.iter().copied())
    }

    /// What the id is taken over, without the dependencies.
    pub(crate) fn fields<'h>(&self, payload_hash: &'h [u8; 32]) -> Fields<'h> {
        Fields {
            subject: self.subject,
            dot: self.dot,
            clock: self.clock,
            latest_ts: self.latest_ts,
            event_type: self.event_type,
            // Bounded far below by the protocol's limit, which is checked before a record is made.
            payload_bytes: u32::try_from(self.payload.len()).unwrap_or(u32::MAX),
            payload_hash,
        }
    }

    /// Appends the rkyv archive of the record to `out`.
    pub(crate) fn archive_into(&self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let deps: SmallVec<[DotV1; 4]> =
            self.deps.iter().map(|dot| DotV1 { author: dot.author.into(), seq: dot.seq }).collect();
        let record = RecordV1 {
            subject: self.subject.into(),
            author: self.dot.author.into(),
            seq: self.dot.seq,
            clock: self.clock.to_bits(),
            latest_ts: self.latest_ts,
            event_type: self.event_type.to_bytes(),
            deps: &deps,
            payload: self.payload,
        };
        rkyv::api::high::to_bytes_in::<_, Failure>(&record, out)?;
        Ok(())
    }
}

/// An archived record, read in place. Made by [`archive`](crate::wire::archive) only, after all checks.
#[derive(Clone, Copy)]
pub struct RecordView<'a> {
    archived: &'a ArchivedRecordV1<'a>,
    event_type: EventType,
    withheld: Option<Withheld<'a>>,
}

/// Length of what stands in the place of a payload that was left out.
const WITHHELD_BYTES: usize = 36;

/// What stands in the place of a payload that was left out: enough for the event's id.
#[derive(Clone, Copy)]
pub(crate) struct Withheld<'a> {
    pub(crate) payload_bytes: u32,
    pub(crate) payload_hash: &'a [u8; 32],
}

impl<'a> RecordView<'a> {
    pub(crate) const fn new(
        archived: &'a ArchivedRecordV1<'a>,
        event_type: EventType,
        withheld: Option<Withheld<'a>>,
    ) -> Self {
        Self { archived, event_type, withheld }
    }

    /// The subject whose log the event belongs to.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        SubjectId::from(self.archived.subject)
    }

    /// Who wrote it.
    #[must_use]
    pub fn author(&self) -> XaeroID {
        XaeroID::from(self.archived.author)
    }

    /// Its place in the author's log of the subject, from 1.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.archived.seq.to_native()
    }

    /// Author and sequence number.
    #[must_use]
    pub fn dot(&self) -> Dot {
        Dot::new(self.author(), self.seq())
    }

    /// The hybrid logical clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::from_bits(self.archived.clock.to_native())
    }

    /// The author's own timestamp.
    #[must_use]
    pub fn latest_ts(&self) -> u64 {
        self.archived.latest_ts.to_native()
    }

    /// What the payload means.
    #[must_use]
    pub const fn event_type(&self) -> EventType {
        self.event_type
    }

    /// The undominated dots that the author had seen.
    pub fn deps(&self) -> impl ExactSizeIterator<Item = Dot> + 'a {
        self.archived.deps.iter().map(|dep| Dot::new(XaeroID::from(dep.author), dep.seq.to_native()))
    }

    /// The payload; empty where it [was left out](Self::is_withheld).
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        if self.withheld.is_some() { &[] } else { &self.archived.payload }
    }

    /// Whether the payload was left out, because this replica keeps a part of its subject only and the event is not of
    /// it. Its length and its hash are there, so that the event proves, and counts as a cause, like any other.
    #[must_use]
    pub const fn is_withheld(&self) -> bool {
        self.withheld.is_some()
    }

    /// Length of the payload, whether it is here or not.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match self.withheld {
            Some(withheld) => usize::try_from(withheld.payload_bytes).unwrap_or(usize::MAX),
            None => self.archived.payload.len(),
        }
    }

    /// BLAKE3 of the payload, whether it is here or not.
    #[must_use]
    pub fn payload_hash(&self) -> [u8; 32] {
        match self.withheld {
            Some(withheld) => *withheld.payload_hash,
            None => *blake3::hash(&self.archived.payload).as_bytes(),
        }
    }

    /// The event id: see the [module](self). Hashes the payload.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.fields(&self.payload_hash()).id(self.deps())
    }

    /// The [frame](crate::wire::frame) of this event without its payload; `None` where an event of its type never goes
    /// without.
    #[must_use]
    pub fn withheld_frame(&self) -> Option<Vec<u8>> {
        if matches!(self.event_type, EventType::SystemEvent(_)) {
            return None;
        }
        let place: SmallVec<[u8; WITHHELD_BYTES]> =
            self.fields(&[0; 32]).payload_bytes.to_le_bytes().into_iter().chain(self.payload_hash()).collect();
        let deps: SmallVec<[Dot; 4]> = self.deps().collect();
        let record = Record {
            subject: self.subject(),
            dot: self.dot(),
            clock: self.clock(),
            latest_ts: self.latest_ts(),
            deps: &deps,
            event_type: self.event_type,
            payload: &place,
        };
        let mut frame = Vec::new();
        // A record that was read is within all limits.
        crate::wire::frame::encode_withheld_into(&mut frame, &record).ok().map(|_| frame)
    }

    /// What the id is taken over, without the dependencies.
    pub(crate) fn fields<'h>(&self, payload_hash: &'h [u8; 32]) -> Fields<'h> {
        Fields {
            subject: self.subject(),
            dot: self.dot(),
            clock: self.clock(),
            latest_ts: self.latest_ts(),
            event_type: self.event_type,
            payload_bytes: u32::try_from(self.payload_bytes()).unwrap_or(u32::MAX),
            payload_hash,
        }
    }
}

impl std::fmt::Debug for RecordView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordView")
            .field("dot", &self.dot())
            .field("clock", &self.clock())
            .field("event_type", &self.event_type)
            .field("payload_bytes", &self.payload_bytes())
            .field("is_withheld", &self.is_withheld())
            .finish_non_exhaustive()
    }
}

/// The ids of many events, hashed together: several times faster than [`RecordView::id`] one by one.
pub(crate) fn ids_of(records: &[RecordView<'_>]) -> Vec<EventId> {
    let payloads: Vec<&[u8]> = records.iter().map(RecordView::payload).collect();
    let hashes = HashMany::plain().all(&payloads);
    let mut preimages = Preimages::default();
    for (record, hash) in records.iter().zip(&hashes) {
        preimages.push_view(record, record.withheld.map_or(hash, |withheld| withheld.payload_hash));
    }
    preimages.take_ids().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{archive, frame};

    #[test]
    fn ids_taken_together_are_those_taken_one_by_one() {
        let dep = |author: u8| Dot::new(XaeroID::from([author; 32]), 3);
        let frames: Vec<Vec<u8>> = (0..70_u8)
            .map(|n| {
                let deps: Vec<Dot> = (0..n % 3).map(dep).collect();
                let record = Record {
                    subject: SubjectId::from([9; 32]),
                    dot: Dot::new(XaeroID::from([200; 32]), u64::from(n) + 1),
                    clock: Clock::from_millis(1_000),
                    latest_ts: 5,
                    deps: &deps,
                    event_type: EventType::ApplicationEvent(n),
                    payload: &vec![n; usize::from(n) * 20],
                };
                let mut out = Vec::new();
                frame::encode_into(&mut out, &record).unwrap();
                out
            })
            .collect();
        let records: Vec<RecordView<'_>> = frames.iter().map(|frame| archive::open(frame).unwrap().0).collect();
        let one_by_one: Vec<EventId> = records.iter().map(RecordView::id).collect();
        assert_eq!(ids_of(&records), one_by_one);
        assert!(ids_of(&[]).is_empty());
    }
}
