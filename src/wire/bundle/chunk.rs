//! Chunks of events, with the proofs that they are what their authors signed.

use super::{BundleError, MAX_CHUNK_AUTHORS, MAX_CHUNK_EVENTS, MAX_CHUNK_FRAME_BYTES, MAX_PROOF_HASHES, section::Kind};
use crate::wire::{bytes::Reader, mmr::Hash, proof::ProofError};

/// Longest body of a chunk.
pub(super) const MAX_CHUNK_BYTES: usize =
    12 + MAX_CHUNK_FRAME_BYTES + MAX_CHUNK_AUTHORS * (4 + 8 + 1 + 32 * MAX_PROOF_HASHES);

/// Shows that the log of one author, with the author's events of a chunk, is the beginning of the log that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkProof {
    /// The author's place among those of the bundle, from 0.
    pub author: u32,
    /// The length of the author's log with the events of the chunk.
    pub length: u64,
    /// The hashes of the [proof](crate::wire::mmr::ConsistencyProof) from there to the signed head.
    pub path: Vec<Hash>,
}

/// A chunk as it is gathered.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    events: usize,
    frames: Vec<u8>,
    proofs: Vec<ChunkProof>,
}

impl ChunkBuilder {
    /// Of no events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many events it has.
    #[must_use]
    pub const fn events(&self) -> usize {
        self.events
    }

    /// Adds an event, unless the chunk is full: then it returns `false`.
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        if self.events >= MAX_CHUNK_EVENTS || self.frames.len() + frame.len() > MAX_CHUNK_FRAME_BYTES {
            return false;
        }
        self.events += 1;
        self.frames.extend_from_slice(frame);
        true
    }

    /// Adds a proof: one for each author with an event in the chunk, in the order of the authors.
    pub fn prove(&mut self, proof: ChunkProof) {
        self.proofs.push(proof);
    }

    /// Begins another chunk.
    pub fn clear(&mut self) {
        self.events = 0;
        self.frames.clear();
        self.proofs.clear();
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for count in [self.events, self.proofs.len(), self.frames.len()] {
            out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        out.extend_from_slice(&self.frames);
        for ChunkProof { author, length, path } in &self.proofs {
            out.extend_from_slice(&author.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.push(u8::try_from(path.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(path.as_flattened());
        }
    }
}

/// A chunk as it is read. Nothing of it is checked but its form.
#[derive(Debug, Clone)]
pub struct Chunk<'a> {
    /// Where its section begins.
    pub at: u64,
    /// How many events it has.
    pub events: usize,
    /// Their frames, one after the other.
    pub frames: &'a [u8],
    /// The proofs, in the order of the authors.
    pub proofs: Vec<ChunkProof>,
}

impl<'a> Chunk<'a> {
    pub(super) fn read(at: u64, body: &'a [u8]) -> Result<Self, BundleError> {
        let kind = Kind::EVENTS;
        let contradiction = |field| BundleError::Contradiction { at, kind, field };
        let mut reader = Reader::new("a chunk", body);
        let mut count = || reader.u32().map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let counts = count().and_then(|events| Ok((events, count()?, count()?)));
        let (events, proofs, bytes) = counts.map_err(|error| BundleError::Malformed { at, kind, error })?;
        if !(1..=MAX_CHUNK_EVENTS).contains(&events) {
            return Err(contradiction("number of events"));
        }
        if !(1..=MAX_CHUNK_AUTHORS.min(events)).contains(&proofs) {
            return Err(contradiction("number of proofs"));
        }
        if bytes > MAX_CHUNK_FRAME_BYTES {
            return Err(contradiction("number of bytes"));
        }
        let rest = || {
            let frames = reader.take(bytes)?;
            let proofs = (0..proofs).map(|_| proof(&mut reader)).collect::<Result<_, ProofError>>()?;
            reader.finish()?;
            Ok((frames, proofs))
        };
        let (frames, proofs) = rest().map_err(|error| BundleError::Malformed { at, kind, error })?;
        Ok(Self { at, events, frames, proofs })
    }
}

fn proof(reader: &mut Reader<'_>) -> Result<ChunkProof, ProofError> {
    let (author, length) = (reader.u32()?, reader.u64()?);
    let [hashes] = reader.array()?;
    if usize::from(hashes) > MAX_PROOF_HASHES {
        return Err(ProofError::BadField("number of hashes"));
    }
    Ok(ChunkProof { author, length, path: reader.hashes(usize::from(hashes))? })
}
