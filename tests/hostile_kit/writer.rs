//! A writer without an engine: its log, made and signed by hand, and chunks of it, true or not.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::{ops::RangeInclusive, sync::Arc};

use xaeroflux::{
    Dot, SubjectId, XaeroID,
    event::{CRDT_SET_ADD, Clock, EventType},
    wire::{
        archive, frame,
        head::{HeadBatch, LogHead, SignedHead},
        key::PublicKey,
        mmr::{ConsistencyProof, Hash, InclusionProof, Tree, root_at},
        record::Record,
        sign::{SecretIdentity, Signer},
        sync::{Events, EventsBuilder, LogProof},
    },
};

/// When all these events were made: long ago, so that no clock finds them ahead of its time.
const FIRST_MILLIS: u64 = 1_700_000_000_000;

/// One author's log of one subject.
#[derive(Clone)]
pub struct Writer {
    identity: Arc<SecretIdentity>,
    subject: SubjectId,
    frames: Vec<Vec<u8>>,
    leaves: Vec<Hash>,
}

impl Writer {
    /// A new key, and an empty log.
    pub fn new(subject: SubjectId) -> Self {
        Self::of(Arc::new(SecretIdentity::generate().unwrap()), subject)
    }

    /// An empty log of this key.
    pub fn of(identity: Arc<SecretIdentity>, subject: SubjectId) -> Self {
        Self { identity, subject, frames: Vec::new(), leaves: Vec::new() }
    }

    pub fn id(&self) -> XaeroID {
        self.identity.id()
    }

    pub fn identity(&self) -> Arc<SecretIdentity> {
        Arc::clone(&self.identity)
    }

    pub fn key(&self) -> &PublicKey {
        self.identity.public_key()
    }

    pub fn len(&self) -> u64 {
        self.frames.len() as u64
    }

    pub fn ids(&self) -> &[Hash] {
        &self.leaves
    }

    /// The frame of the event with this number.
    pub fn frame(&self, seq: u64) -> &[u8] {
        &self.frames[usize::try_from(seq - 1).unwrap()]
    }

    /// Another history of the same author, which begins with the first `events` of this one.
    pub fn branch(&self, events: u64) -> Self {
        let mut other = self.clone();
        other.frames.truncate(usize::try_from(events).unwrap());
        other.leaves.truncate(usize::try_from(events).unwrap());
        other
    }

    pub fn write(&mut self, payload: &[u8]) {
        self.write_after(&[], payload);
    }

    /// An event that names these as seen.
    pub fn write_after(&mut self, deps: &[Dot], payload: &[u8]) {
        let (clock, subject) = (Clock::from_millis(FIRST_MILLIS + self.len()), self.subject);
        self.append(&Record {
            subject,
            dot: Dot::new(self.id(), self.len() + 1),
            clock,
            latest_ts: clock.millis(),
            deps,
            event_type: EventType::ApplicationEvent(CRDT_SET_ADD),
            payload,
        });
    }

    /// An event of a type that only engines make.
    pub fn write_as_engine(&mut self, event_type: EventType, payload: &[u8]) {
        let (clock, subject) = (Clock::from_millis(FIRST_MILLIS + self.len()), self.subject);
        let dot = Dot::new(self.id(), self.len() + 1);
        self.append(&Record { subject, dot, clock, latest_ts: 0, deps: &[], event_type, payload });
    }

    /// An event in the name of somebody else.
    pub fn write_as(&mut self, dot: Dot, payload: &[u8]) {
        let clock = Clock::from_millis(FIRST_MILLIS);
        let event_type = EventType::ApplicationEvent(CRDT_SET_ADD);
        self.append(&Record { subject: self.subject, dot, clock, latest_ts: 0, deps: &[], event_type, payload });
    }

    fn append(&mut self, record: &Record<'_>) {
        let mut frame = Vec::new();
        frame::encode_into(&mut frame, record).unwrap();
        self.leaves.push(*archive::open(&frame).unwrap().0.id().as_bytes());
        self.frames.push(frame);
    }

    /// The whole log, signed.
    pub fn head(&self) -> SignedHead {
        self.head_at(self.len())
    }

    /// The beginning of the log, signed.
    pub fn head_at(&self, length: u64) -> SignedHead {
        let root = root_at(&mut &self.tree(), length).unwrap();
        self.sign(LogHead { subject: self.subject, author: self.id(), length, root })
    }

    /// Anything, signed.
    pub fn sign(&self, head: LogHead) -> SignedHead {
        HeadBatch::sign(&*self.identity, vec![head]).unwrap().signed_head(0).unwrap()
    }

    pub fn inclusion(&self, seq: u64) -> InclusionProof {
        InclusionProof::make(&mut &self.tree(), seq - 1, self.len()).unwrap()
    }

    fn tree(&self) -> Tree {
        Tree::new(&self.leaves)
    }

    /// What shows that the first `length` events are the author's, with the key.
    pub fn proof(&self, length: u64) -> LogProof {
        let ConsistencyProof { path, .. } = ConsistencyProof::make(&mut &self.tree(), length, self.len()).unwrap();
        LogProof { key: Some(self.key().clone()), head: self.head(), length, path }
    }

    /// These events, and what shows that they are the author's.
    pub fn chunk(&self, events: RangeInclusive<u64>) -> Events {
        let proof = self.proof(*events.end());
        chunk(events.map(|seq| self.frame(seq)), [proof])
    }

    /// All events.
    pub fn whole(&self) -> Events {
        self.chunk(1..=self.len())
    }
}

/// A chunk of these frames, with these proofs.
pub fn chunk<'f>(frames: impl IntoIterator<Item = &'f [u8]>, proofs: impl IntoIterator<Item = LogProof>) -> Events {
    let mut builder = EventsBuilder::new();
    for frame in frames {
        assert!(builder.push(frame));
    }
    let mut proofs: Vec<LogProof> = proofs.into_iter().collect();
    proofs.sort_by_key(LogProof::author);
    for proof in &proofs {
        assert!(builder.prove(proof));
    }
    builder.finish().unwrap()
}

/// A log of so many events, of an author of whom nobody knows anything.
pub fn log(subject: SubjectId, events: u64) -> Writer {
    let mut writer = Writer::new(subject);
    for n in 0..events {
        writer.write(format!("event {n}").as_bytes());
    }
    writer
}

/// The head of a log, with another signature than its author's.
pub fn unsigned(writer: &Writer) -> SignedHead {
    let mut head = writer.head().encode();
    *head.last_mut().unwrap() ^= 1;
    SignedHead::decode(&head).unwrap()
}
