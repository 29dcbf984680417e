//! Forks: two events of one author with one sequence number.
//!
//! An author's log in a subject only grows, so two [signed heads](crate::wire::head) of it agree on every event that both
//! have. Where they do not, the author has signed two histories: by malice, or because one key was used in two places,
//! which a backup that is restored does. [`ForkEvidence`] shows it to anyone who has the author's public key: one
//! sequence number, two event ids, and for each the path to a head that the author signed. Nobody else can make it.
//!
//! What follows is a [`Cut`]: the last event before the fork is the last that counts. Of several cuts of one log the
//! lowest holds, so that it does not matter which evidence arrives first.

use crate::wire::{
    bytes::{Preamble, Reader},
    head::{HeadCheck, LogHead, MAX_SIGNED_HEAD_BYTES, SignedHead},
    id::{EventId, SubjectId, XaeroID},
    key::PublicKey,
    mmr::{InclusionProof, path_length},
    proof::ProofError,
};

/// Longest encoding of an evidence, in bytes.
pub const MAX_FORK_BYTES: usize = Preamble::BYTES + 8 + 2 * (32 + MAX_SIGNED_HEAD_BYTES + 64 * 32);

const WHAT: &str = "a fork evidence";
const PREAMBLE: Preamble = Preamble { magic: "XFRK", version: 1 };

/// From where on an author's log in a subject no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cut {
    /// Whose log it is.
    pub author: XaeroID,
    /// The subject that the log belongs to.
    pub subject: SubjectId,
    /// The sequence number of the last event that counts; 0 where none does.
    pub last_valid: u64,
}

/// One of the two histories: an event, and that the author has signed a log with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkHalf {
    id: EventId,
    inclusion: InclusionProof,
    head: SignedHead,
}

impl ForkHalf {
    /// The event with this id in the log with this head. Nothing is checked yet.
    #[must_use]
    pub const fn new(id: EventId, inclusion: InclusionProof, head: SignedHead) -> Self {
        Self { id, inclusion, head }
    }

    /// The event.
    #[must_use]
    pub const fn id(&self) -> EventId {
        self.id
    }

    /// The path from the event to the root of its log.
    #[must_use]
    pub const fn inclusion(&self) -> &InclusionProof {
        &self.inclusion
    }

    /// The signed head of the log.
    #[must_use]
    pub const fn head(&self) -> &SignedHead {
        &self.head
    }

    fn log(&self) -> &LogHead {
        self.head.head()
    }

    fn verify(&self, heads: &mut HeadCheck, key: &PublicKey) -> Result<(), ProofError> {
        if self.inclusion.root(self.id.as_bytes())? != self.log().root {
            return Err(ProofError::BadPath);
        }
        heads.verify(&self.head, key)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        self.head.encode_into(out);
        out.extend_from_slice(self.inclusion.path.as_flattened());
    }

    fn read(reader: &mut Reader<'_>, index: u64) -> Result<Self, ProofError> {
        let id = EventId::from(reader.array()?);
        let head = SignedHead::read(reader)?;
        let length = head.head().length;
        let hashes = path_length(index, length).ok_or(ProofError::NotInTree { index, length })?;
        Ok(Self { id, inclusion: InclusionProof { index, length, path: reader.hashes(hashes)? }, head })
    }
}

/// Two events with one sequence number in one author's log of one subject, both in a log that the author has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkEvidence {
    seq: u64,
    /// In ascending order of the event ids, so that it does not matter who found which first.
    halves: [ForkHalf; 2],
}

impl ForkEvidence {
    /// The evidence of these two halves, in any order. That they contradict each other is checked, not that they hold.
    ///
    /// # Errors
    /// [`ProofError::OtherSubject`], [`ProofError::OtherAuthor`], [`ProofError::OtherSeq`] where they are about different
    /// places, [`ProofError::OtherLength`] where a half's path and head are of different lengths,
    /// [`ProofError::SameEvent`] where there is no contradiction, [`ProofError::NotInTree`] and
    /// [`ProofError::PathLength`].
    pub fn new(one: ForkHalf, other: ForkHalf) -> Result<Self, ProofError> {
        other.log().check_log(one.log().subject, one.log().author)?;
        let seq = one.inclusion.index.saturating_add(1);
        let found = other.inclusion.index.saturating_add(1);
        if found != seq {
            return Err(ProofError::OtherSeq { expected: seq, found });
        }
        for half in [&one, &other] {
            let (index, length) = (half.inclusion.index, half.inclusion.length);
            if length != half.log().length {
                return Err(ProofError::OtherLength { expected: half.log().length, found: length });
            }
            let need = path_length(index, length).ok_or(ProofError::NotInTree { index, length })?;
            if half.inclusion.path.len() != need {
                return Err(ProofError::PathLength { have: half.inclusion.path.len(), need });
            }
        }
        match one.id.cmp(&other.id) {
            std::cmp::Ordering::Less => Ok(Self { seq, halves: [one, other] }),
            std::cmp::Ordering::Equal => Err(ProofError::SameEvent),
            std::cmp::Ordering::Greater => Ok(Self { seq, halves: [other, one] }),
        }
    }

    /// The two histories, in ascending order of their event ids.
    #[must_use]
    pub const fn halves(&self) -> &[ForkHalf; 2] {
        &self.halves
    }

    /// Whose log forked.
    #[must_use]
    pub fn author(&self) -> XaeroID {
        self.log().author
    }

    /// The subject that the log belongs to.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        self.log().subject
    }

    /// The sequence number that two events have.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Checks that the owner of this key has signed both histories, and says what follows.
    ///
    /// # Errors
    /// [`ProofError::OtherAuthor`] where the key is another author's, [`ProofError::BadPath`],
    /// [`ProofError::BadSignature`], [`ProofError::SignatureEncoding`].
    pub fn verify(&self, key: &PublicKey) -> Result<Cut, ProofError> {
        let expected = key.id();
        if self.author() != expected {
            return Err(ProofError::OtherAuthor { expected, found: self.author() });
        }
        let mut heads = HeadCheck::new();
        for half in &self.halves {
            half.verify(&mut heads, key)?;
        }
        Ok(Cut { author: self.author(), subject: self.subject(), last_valid: self.seq.saturating_sub(1) })
    }

    /// The encoding: see `docs/format.md`. The same evidence always has the same.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        PREAMBLE.write(&mut out);
        out.extend_from_slice(&self.seq.to_le_bytes());
        for half in &self.halves {
            half.write(&mut out);
        }
        out
    }

    /// The evidence with this encoding. Nothing is checked but the form, and that the halves contradict each other:
    /// [`verify`](Self::verify) it.
    ///
    /// # Errors
    /// Says which field is not as [`encode`](Self::encode) writes it; nothing may follow. And those of
    /// [`new`](Self::new).
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.preamble(&PREAMBLE)?;
        let index = reader.u64()?.checked_sub(1).ok_or(ProofError::SeqZero)?;
        let (one, other) = (ForkHalf::read(&mut reader, index)?, ForkHalf::read(&mut reader, index)?);
        reader.finish()?;
        if one.id > other.id {
            return Err(ProofError::HalvesOutOfOrder);
        }
        Self::new(one, other)
    }

    fn log(&self) -> &LogHead {
        let [one, _] = &self.halves;
        one.log()
    }
}

#[cfg(test)]
mod tests;
