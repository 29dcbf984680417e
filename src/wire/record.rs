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

use std::sync::OnceLock;

use rkyv::{Archive, Deserialize, Serialize, rancor::Failure, with::InlineAsBox};
use smallvec::SmallVec;

use crate::wire::{
    clock::Clock,
    event::EventType,
    hash_many::HashMany,
    id::{Dot, EventId, SubjectId, XaeroID},
};

/// Domain of the event id.
const EVENT_ID_CONTEXT: &str = "xaeroflux 2026 event id v1";

/// Length of the fields before the dependencies.
const FIXED_BYTES: usize = 96;

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
        let mut preimage = Vec::with_capacity(FIXED_BYTES + 32);
        self.write_preimage(payload_hash.as_bytes(), &mut preimage);
        EventId::from(id_hash().one(&preimage))
    }

    fn write_preimage(&self, payload_hash: &[u8; 32], out: &mut Vec<u8>) {
        let fixed = Fixed {
            subject: self.subject,
            dot: self.dot,
            clock: self.clock,
            latest_ts: self.latest_ts,
            event_type: self.event_type,
            payload_bytes: self.payload.len(),
            deps: self.deps.len(),
        };
        fixed.write(out);
        for dep in self.deps {
            write_dep(*dep, out);
        }
        out.extend_from_slice(payload_hash);
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
        let deps = self.deps();
        let fixed = Fixed {
            subject: self.subject(),
            dot: self.dot(),
            clock: self.clock(),
            latest_ts: self.latest_ts(),
            event_type: self.event_type,
            payload_bytes: self.payload().len(),
            deps: deps.len(),
        };
        let mut preimage = Vec::with_capacity(FIXED_BYTES + 32);
        fixed.write(&mut preimage);
        for dep in deps {
            write_dep(dep, &mut preimage);
        }
        preimage.extend_from_slice(blake3::hash(self.payload()).as_bytes());
        EventId::from(id_hash().one(&preimage))
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

/// The fields of the preimage before the dependencies, in their order.
struct Fixed {
    subject: SubjectId,
    dot: Dot,
    clock: Clock,
    latest_ts: u64,
    event_type: EventType,
    payload_bytes: usize,
    deps: usize,
}

impl Fixed {
    fn write(&self, out: &mut Vec<u8>) {
        let mut fixed = [0; FIXED_BYTES];
        let mut rest = fixed.as_mut_slice();
        let mut put = |bytes: &[u8]| {
            let (slot, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            slot.copy_from_slice(bytes);
            rest = after;
        };
        put(self.subject.as_bytes());
        put(self.dot.author.as_bytes());
        put(&self.dot.seq.to_le_bytes());
        put(&self.clock.to_bits().to_le_bytes());
        put(&self.latest_ts.to_le_bytes());
        put(&self.event_type.to_bytes());
        // Both are bounded far below by the protocol's limits, which are checked before a record is made.
        put(&u16::try_from(self.deps).unwrap_or(u16::MAX).to_le_bytes());
        put(&u32::try_from(self.payload_bytes).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&fixed);
    }
}

fn write_dep(dot: Dot, out: &mut Vec<u8>) {
    out.extend_from_slice(dot.author.as_bytes());
    out.extend_from_slice(&dot.seq.to_le_bytes());
}

/// The preimages of many event ids, which are hashed together: see [`hash_many`](crate::wire::hash_many).
#[derive(Default)]
pub(crate) struct Preimages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Preimages {
    /// Adds an event.
    pub(crate) fn push(&mut self, record: &Record<'_>, payload_hash: &[u8; 32]) {
        record.write_preimage(payload_hash, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The ids of the events that were added, in their order. Forgets the events.
    pub(crate) fn take_ids(&mut self) -> impl Iterator<Item = EventId> + use<> {
        let mut start = 0;
        let inputs: Vec<&[u8]> = self
            .ends
            .iter()
            .map(|end| self.bytes.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default())
            .collect();
        let ids = id_hash().all(&inputs);
        self.bytes.clear();
        self.ends.clear();
        ids.into_iter().map(EventId::from)
    }
}

/// The hash of the domain, its key derived, which costs as much as a short hash itself.
fn id_hash() -> &'static HashMany {
    static HASH: OnceLock<HashMany> = OnceLock::new();
    HASH.get_or_init(|| HashMany::derive_key(EVENT_ID_CONTEXT))
}
