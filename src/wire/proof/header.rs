//! What an event id is taken over.

use crate::wire::{
    bytes::Reader,
    clock::Clock,
    event::{EventType, XaeroEvent},
    id::{Dot, EventId, SubjectId, XaeroID},
    limits::{MAX_DEPS, MAX_PAYLOAD_BYTES},
    mmr::Hash,
    preimage::{DEP_BYTES, FIXED_BYTES, Fields},
    proof::ProofError,
    record::RecordView,
};

/// Longest encoding of a header, in bytes.
pub(super) const MAX_HEADER_BYTES: usize = FIXED_BYTES + MAX_DEPS * DEP_BYTES + 32;

/// An event with its payload's hash in the payload's place. What it was is proven by this also once the payload is gone.
///
/// Its encoding is the preimage of the event id: see [`record`](crate::wire::record).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHeader {
    subject: SubjectId,
    dot: Dot,
    clock: Clock,
    latest_ts: u64,
    event_type: EventType,
    payload_bytes: u32,
    deps: Vec<Dot>,
    payload_hash: Hash,
}

impl EventHeader {
    /// That of an archived record. Hashes the payload.
    #[must_use]
    pub fn of(record: &RecordView<'_>) -> Self {
        Self {
            subject: record.subject(),
            dot: record.dot(),
            clock: record.clock(),
            latest_ts: record.latest_ts(),
            event_type: record.event_type(),
            payload_bytes: u32::try_from(record.payload_bytes()).unwrap_or(u32::MAX),
            deps: record.deps().collect(),
            payload_hash: record.payload_hash(),
        }
    }

    /// That of an event which a subject delivered. Hashes the payload.
    ///
    /// # Errors
    /// [`ProofError::NotInALog`] where nothing stamped it, [`ProofError::OtherAuthor`] and [`ProofError::AlteredEvent`]
    /// where its public fields are not those that it was delivered with.
    pub fn of_event(event: &XaeroEvent) -> Result<Self, ProofError> {
        let stamp = event.evt.stamp().ok_or(ProofError::NotInALog)?;
        let author = event.author_id.ok_or(ProofError::AlteredEvent("author"))?;
        if author != stamp.dot.author {
            return Err(ProofError::OtherAuthor { expected: author, found: stamp.dot.author });
        }
        let payload_bytes = event.evt.data.len();
        Ok(Self {
            subject: stamp.subject,
            dot: stamp.dot,
            clock: stamp.clock,
            latest_ts: event.latest_ts.ok_or(ProofError::AlteredEvent("timestamp"))?,
            event_type: event.evt.event_type,
            payload_bytes: u32::try_from(payload_bytes).map_err(|_| ProofError::PayloadTooLarge(payload_bytes))?,
            deps: stamp.deps.clone(),
            payload_hash: *blake3::hash(&event.evt.data).as_bytes(),
        })
    }

    /// The event id: the leaf of the author's tree.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.fields().id(self.deps.iter().copied())
    }

    /// The subject whose log the event belongs to.
    #[must_use]
    pub const fn subject(&self) -> SubjectId {
        self.subject
    }

    /// Author and sequence number.
    #[must_use]
    pub const fn dot(&self) -> Dot {
        self.dot
    }

    /// Who wrote it.
    #[must_use]
    pub const fn author(&self) -> XaeroID {
        self.dot.author
    }

    /// Its place in the author's log of the subject, from 1.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.dot.seq
    }

    /// The hybrid logical clock.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The author's own timestamp.
    #[must_use]
    pub const fn latest_ts(&self) -> u64 {
        self.latest_ts
    }

    /// What the payload means.
    #[must_use]
    pub const fn event_type(&self) -> EventType {
        self.event_type
    }

    /// Length of the payload.
    #[must_use]
    pub const fn payload_bytes(&self) -> u32 {
        self.payload_bytes
    }

    /// The undominated dots that the author had seen, ascending.
    #[must_use]
    pub fn deps(&self) -> &[Dot] {
        &self.deps
    }

    /// BLAKE3 of the payload.
    #[must_use]
    pub const fn payload_hash(&self) -> &Hash {
        &self.payload_hash
    }

    /// Checks that `event` is this one, field by field, so that the error can say what differs.
    pub(super) fn check_same(&self, event: &Self) -> Result<(), ProofError> {
        if self.subject != event.subject {
            return Err(ProofError::OtherSubject { expected: event.subject, found: self.subject });
        }
        if self.author() != event.author() {
            return Err(ProofError::OtherAuthor { expected: event.author(), found: self.author() });
        }
        if self.seq() != event.seq() {
            return Err(ProofError::OtherSeq { expected: event.seq(), found: self.seq() });
        }
        let fields = [
            ("clock", self.clock == event.clock),
            ("timestamp", self.latest_ts == event.latest_ts),
            ("type", self.event_type == event.event_type),
            ("list of dependencies", self.deps == event.deps),
            ("payload", self.payload_bytes == event.payload_bytes && self.payload_hash == event.payload_hash),
        ];
        fields.into_iter().find(|(_, same)| !same).map_or(Ok(()), |(what, _)| Err(ProofError::AlteredEvent(what)))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.fields().write(self.deps.iter().copied(), out);
    }

    /// The header that comes next. It keeps the rules that [`archive`](crate::wire::archive) holds records to.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ProofError> {
        let subject = SubjectId::from(reader.array()?);
        let dot = Dot::new(XaeroID::from(reader.array()?), reader.u64()?);
        let (clock, latest_ts) = (Clock::from_bits(reader.u64()?), reader.u64()?);
        let event_type = reader.array()?;
        let event_type = EventType::from_bytes(event_type).ok_or(ProofError::UnknownEventType(event_type))?;
        let count = usize::from(reader.u16()?);
        let payload_bytes = reader.u32()?;
        if dot.seq == 0 {
            return Err(ProofError::SeqZero);
        }
        if count > MAX_DEPS {
            return Err(ProofError::TooManyDeps(count));
        }
        let payload = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
        if payload > MAX_PAYLOAD_BYTES {
            return Err(ProofError::PayloadTooLarge(payload));
        }
        let mut deps: Vec<Dot> = Vec::new();
        for _ in 0..count {
            let dep = Dot::new(XaeroID::from(reader.array()?), reader.u64()?);
            if dep.seq == 0 || dep.author == dot.author || deps.last().is_some_and(|before| *before >= dep) {
                return Err(ProofError::BadDeps);
            }
            deps.push(dep);
        }
        let payload_hash = reader.array()?;
        Ok(Self { subject, dot, clock, latest_ts, event_type, payload_bytes, deps, payload_hash })
    }

    const fn fields(&self) -> Fields<'_> {
        Fields {
            subject: self.subject,
            dot: self.dot,
            clock: self.clock,
            latest_ts: self.latest_ts,
            event_type: self.event_type,
            payload_bytes: self.payload_bytes,
            payload_hash: &self.payload_hash,
        }
    }
}
