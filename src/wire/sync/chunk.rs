//! Chunks of events as they travel: frames, and for each author in them what shows that they are the author's.
//!
//! A chunk stands by itself. For each author it has the author's signed head and the proof that the author's log, with the
//! events of the chunk, is a beginning of the log that was signed: so a receiver verifies and keeps each chunk as it comes,
//! and a transfer can end at any chunk with nothing lost or in doubt.

use std::{ops::Range, sync::Arc};

use super::{Kind, SyncError};
use crate::wire::{
    bytes::Reader,
    head::{MAX_SIGNED_HEAD_BYTES, SignedHead},
    id::XaeroID,
    key::{PUBLIC_KEY_BYTES, PublicKey},
    mmr::Hash,
    proof::ProofError,
};

/// Most events of one chunk. Hashing thousands at once is several times faster than one by one; more gains nothing.
pub const MAX_CHUNK_EVENTS: usize = 4_096;

/// Most bytes of frames of one chunk (4 MiB): three of the largest events, or a full chunk of events of 1 KiB.
pub const MAX_CHUNK_FRAME_BYTES: usize = 4 << 20;

/// Most authors of one chunk.
pub const MAX_CHUNK_AUTHORS: usize = 1_024;

/// Most hashes of a consistency proof: one for each bit of a length, and one more.
const MAX_PROOF_HASHES: usize = 65;

/// Most bytes of what shows one author's events to be the author's.
const MAX_LOG_PROOF_BYTES: usize = 1 + PUBLIC_KEY_BYTES + MAX_SIGNED_HEAD_BYTES + 8 + 1 + 32 * MAX_PROOF_HASHES;

/// Most bytes of all of these in one chunk: that many authors with long proofs and keys in one chunk do not happen, and
/// whoever gathers a chunk ends it before.
pub const MAX_CHUNK_PROOF_BYTES: usize = 2 << 20;

const _: () = assert!(MAX_LOG_PROOF_BYTES < MAX_CHUNK_PROOF_BYTES);

/// Bytes of proofs for which a large chunk has room from the beginning: those of three or four authors. With more its bytes
/// may have to be moved once.
const USUAL_PROOF_BYTES: usize = 16 << 10;

/// Most bytes for which a chunk that is gathered has room before its proofs are known.
const MAX_BUILT_BYTES: usize = COUNTS_BYTES + MAX_CHUNK_FRAME_BYTES + USUAL_PROOF_BYTES;

/// Longest body of a chunk.
pub(super) const MAX_EVENTS_BYTES: usize = COUNTS_BYTES + MAX_CHUNK_FRAME_BYTES + MAX_CHUNK_PROOF_BYTES;

/// The flag of a proof that the author's public key follows.
const WITH_KEY: u8 = 1;

/// What shows that the events of one author in a chunk are the author's, in their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    /// The author's public key, where the receiver may not have it.
    pub key: Option<PublicKey>,
    /// A head that the author has signed.
    pub head: SignedHead,
    /// The length of the author's log with the events of the chunk.
    pub length: u64,
    /// The hashes of the [proof](crate::wire::mmr::ConsistencyProof) from there to the head.
    pub path: Vec<Hash>,
}

impl LogProof {
    /// Whose log it is.
    #[must_use]
    pub const fn author(&self) -> XaeroID {
        self.head.head().author
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(if self.key.is_some() { WITH_KEY } else { 0 });
        if let Some(key) = &self.key {
            out.extend_from_slice(key.as_bytes());
        }
        self.head.encode_into(out);
        out.extend_from_slice(&self.length.to_le_bytes());
        out.push(u8::try_from(self.path.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(self.path.as_flattened());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ProofError> {
        let key = match reader.array()? {
            [0] => None,
            [WITH_KEY] => {
                let key = PublicKey::from_bytes(reader.take(PUBLIC_KEY_BYTES)?);
                Some(key.map_err(|_| ProofError::BadField("public key"))?)
            }
            _ => return Err(ProofError::BadField("flags of a proof")),
        };
        let head = SignedHead::read(reader)?;
        let length = reader.u64()?;
        let [hashes] = reader.array()?;
        if usize::from(hashes) > MAX_PROOF_HASHES {
            return Err(ProofError::BadField("number of hashes"));
        }
        Ok(Self { key, head, length, path: reader.hashes(usize::from(hashes))? })
    }
}

/// Bytes before the frames: the numbers of events, authors, and bytes of frames.
const COUNTS_BYTES: usize = 12;

/// A chunk as it is gathered.
#[derive(Debug)]
pub struct EventsBuilder {
    events: usize,
    /// The encoding so far: room for the counts, the frames.
    body: Vec<u8>,
    proofs: Vec<u8>,
    authors: usize,
}

impl Default for EventsBuilder {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl EventsBuilder {
    /// Of no events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of no events, with room for so many bytes of frames and the proofs of a few authors.
    #[must_use]
    pub fn with_capacity(frames: usize) -> Self {
        let proofs = frames.min(USUAL_PROOF_BYTES);
        let mut body = Vec::with_capacity(COUNTS_BYTES + frames.min(MAX_CHUNK_FRAME_BYTES) + proofs);
        body.resize(COUNTS_BYTES, 0);
        Self { events: 0, body, proofs: Vec::new(), authors: 0 }
    }

    /// How many events it has.
    #[must_use]
    pub const fn events(&self) -> usize {
        self.events
    }

    /// The frames so far, one right after the other.
    #[must_use]
    pub fn frames(&self) -> &[u8] {
        self.body.get(COUNTS_BYTES..).unwrap_or_default()
    }

    /// Adds an event, unless the chunk is full: then it returns `false`.
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        if self.events >= MAX_CHUNK_EVENTS || self.frames().len() + frame.len() > MAX_CHUNK_FRAME_BYTES {
            return false;
        }
        self.events += 1;
        if self.body.capacity() - self.body.len() < frame.len() {
            // Twice what is there, as vectors do, but never more than a chunk can have.
            let capacity = self.body.capacity().saturating_mul(2).min(MAX_BUILT_BYTES);
            self.body.reserve_exact(capacity.saturating_sub(self.body.len()).max(frame.len()));
        }
        self.body.extend_from_slice(frame);
        true
    }

    /// Adds a proof: one for each author with an event in the chunk, ascending by author. Returns `false`, and adds nothing, where there is no
    /// room for it.
    #[must_use]
    pub fn prove(&mut self, proof: &LogProof) -> bool {
        let before = self.proofs.len();
        proof.write(&mut self.proofs);
        let has_room = self.authors < MAX_CHUNK_AUTHORS && self.proofs.len() <= MAX_CHUNK_PROOF_BYTES;
        if has_room {
            self.authors += 1;
        } else {
            self.proofs.truncate(before);
        }
        has_room
    }

    /// The chunk.
    ///
    /// # Errors
    /// As [`Events::decode`], of what was not gathered as it should.
    pub fn finish(self) -> Result<Events, SyncError> {
        let frames = self.frames().len();
        let mut body = self.body;
        let counts = [self.events, self.authors, frames].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        if let Some(slot) = body.first_chunk_mut::<COUNTS_BYTES>() {
            slot.copy_from_slice(counts.map(u32::to_le_bytes).as_flattened());
        }
        // A buffer that is full would be doubled otherwise, for a few kilobytes.
        body.reserve_exact(self.proofs.len());
        body.extend_from_slice(&self.proofs);
        Events::decode(body)
    }
}

/// A chunk as it travels. Nothing of it is checked but its form. A clone shares its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    body: Arc<Vec<u8>>,
    events: usize,
    frames: Range<usize>,
    proofs: Vec<LogProof>,
}

impl Events {
    /// How many events it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.events
    }

    /// Whether it has none, which no chunk that was decoded does.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The frames, one right after the other.
    #[must_use]
    pub fn frames(&self) -> &[u8] {
        self.body.get(self.frames.clone()).unwrap_or_default()
    }

    /// The encoding, shared, and where in it the frames are.
    pub(crate) fn shared(&self) -> (Arc<Vec<u8>>, Range<usize>) {
        (Arc::clone(&self.body), self.frames.clone())
    }

    /// The proofs, one for each author.
    #[must_use]
    pub fn proofs(&self) -> &[LogProof] {
        &self.proofs
    }

    /// The encoding.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The encoding, and nothing else. It is copied only where something shares it.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        Arc::unwrap_or_clone(self.body)
    }

    /// The chunk with this encoding.
    ///
    /// # Errors
    /// [`SyncError::Malformed`], [`SyncError::BadField`].
    pub fn decode(body: Vec<u8>) -> Result<Self, SyncError> {
        let kind = Kind::EVENTS;
        let malformed = SyncError::malformed(kind);
        let bad = |field| SyncError::BadField { kind, field };
        let mut reader = Reader::new("a chunk of events", &body);
        let mut count = || reader.u32().map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let (events, authors, bytes) = count().and_then(|n| Ok((n, count()?, count()?))).map_err(&malformed)?;
        if !(1..=MAX_CHUNK_EVENTS).contains(&events) {
            return Err(bad("number of events"));
        }
        if !(1..=MAX_CHUNK_AUTHORS.min(events)).contains(&authors) {
            return Err(bad("number of authors"));
        }
        if bytes > MAX_CHUNK_FRAME_BYTES {
            return Err(bad("number of bytes"));
        }
        reader.take(bytes).map_err(&malformed)?;
        let mut proofs: Vec<LogProof> = Vec::new();
        for _ in 0..authors {
            let proof = LogProof::read(&mut reader).map_err(&malformed)?;
            if proofs.last().is_some_and(|last| last.author() >= proof.author()) {
                return Err(bad("order of authors"));
            }
            proofs.push(proof);
        }
        reader.finish().map_err(&malformed)?;
        Ok(Self { body: Arc::new(body), events, frames: COUNTS_BYTES..COUNTS_BYTES + bytes, proofs })
    }
}

#[cfg(test)]
mod tests;
