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
//! | 2 | zero |
//! | 4 | payload length |
//! | 4 | number of causal dependencies |
//! | 40 each | the dependencies: author, sequence number; ascending |
//! | 32 | BLAKE3 of the payload |
//!
//! So an event whose payload was erased, or not asked for, is still proven by its header and the payload's hash.

use std::sync::OnceLock;

use rkyv::{Archive, Deserialize, Serialize, rancor::Failure, with::InlineAsBox};
use smallvec::SmallVec;

use crate::wire::{
    clock::Clock,
    event::EventType,
    id::{Dot, EventId, SubjectId, XaeroID},
};

/// Domain of the event id.
const EVENT_ID_CONTEXT: &str = "xaeroflux 2026 event id v1";

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
        let mut hasher = IdHasher::new();
        hasher.fixed(
            self.subject,
            self.dot,
            self.clock,
            self.latest_ts,
            self.event_type,
            self.payload.len(),
            self.deps.len(),
        );
        for dep in self.deps {
            hasher.dep(*dep);
        }
        hasher.finish(payload_hash)
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
}

impl<'a> RecordView<'a> {
    pub(crate) const fn new(archived: &'a ArchivedRecordV1<'a>, event_type: EventType) -> Self {
        Self { archived, event_type }
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

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.archived.payload
    }

    /// The event id: see the [module](self). Hashes the payload.
    #[must_use]
    pub fn id(&self) -> EventId {
        let mut hasher = IdHasher::new();
        let deps = self.deps();
        let (payload, count) = (self.payload(), deps.len());
        hasher.fixed(self.subject(), self.dot(), self.clock(), self.latest_ts(), self.event_type, payload.len(), count);
        for dep in deps {
            hasher.dep(dep);
        }
        hasher.finish(&blake3::hash(payload))
    }
}

impl std::fmt::Debug for RecordView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordView")
            .field("dot", &self.dot())
            .field("clock", &self.clock())
            .field("event_type", &self.event_type)
            .field("payload_bytes", &self.payload().len())
            .finish_non_exhaustive()
    }
}

/// Gathers the preimage of an event id in a small buffer, so that the usual record is hashed in one call.
struct IdHasher {
    preimage: SmallVec<[u8; 256]>,
}

impl IdHasher {
    fn new() -> Self {
        Self { preimage: SmallVec::new() }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the preimage, in their order")]
    fn fixed(
        &mut self,
        subject: SubjectId,
        dot: Dot,
        clock: Clock,
        latest_ts: u64,
        event_type: EventType,
        payload_bytes: usize,
        deps: usize,
    ) {
        let out = &mut self.preimage;
        out.extend_from_slice(subject.as_bytes());
        out.extend_from_slice(dot.author.as_bytes());
        out.extend_from_slice(&dot.seq.to_le_bytes());
        out.extend_from_slice(&clock.to_bits().to_le_bytes());
        out.extend_from_slice(&latest_ts.to_le_bytes());
        out.extend_from_slice(&event_type.to_bytes());
        out.extend_from_slice(&[0, 0]);
        // Both are bounded far below 2^32 by the protocol's limits, which are checked before a record is made.
        out.extend_from_slice(&u32::try_from(payload_bytes).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&u32::try_from(deps).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn dep(&mut self, dot: Dot) {
        self.preimage.extend_from_slice(dot.author.as_bytes());
        self.preimage.extend_from_slice(&dot.seq.to_le_bytes());
    }

    fn finish(mut self, payload_hash: &blake3::Hash) -> EventId {
        self.preimage.extend_from_slice(payload_hash.as_bytes());
        let mut hasher = id_base().clone();
        hasher.update(&self.preimage);
        EventId::from(*hasher.finalize().as_bytes())
    }
}

/// The hasher with the domain's key derived, which costs as much as a short hash itself.
fn id_base() -> &'static blake3::Hasher {
    static BASE: OnceLock<blake3::Hasher> = OnceLock::new();
    BASE.get_or_init(|| blake3::Hasher::new_derive_key(EVENT_ID_CONTEXT))
}
