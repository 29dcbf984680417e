//! The proof of one event.

use super::header::{EventHeader, MAX_HEADER_BYTES};
use crate::wire::{
    bytes::{Preamble, Reader},
    event::XaeroEvent,
    head::{HeadCheck, MAX_SIGNED_HEAD_BYTES, SignedHead},
    key::PublicKey,
    mmr::{InclusionProof, path_length},
    proof::ProofError,
    record::RecordView,
};

/// Most hashes between an event and the root of its log: a bit of its length each.
const MAX_LOG_PATH: usize = 64;

/// Longest encoding of a proof, in bytes: whoever reads one from somewhere need not read more. A usual one has about
/// 1.5 kB.
pub const MAX_PROOF_BYTES: usize = Preamble::BYTES + MAX_HEADER_BYTES + MAX_SIGNED_HEAD_BYTES + MAX_LOG_PATH * 32;

const WHAT: &str = "a proof";
const PREAMBLE: Preamble = Preamble { magic: "XPRF", version: 1 };

/// Proves that an event is in its author's signed log.
///
/// ```
/// use xaeroflux::wire::{key::PublicKey, proof::EventProof};
/// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/proof");
/// # let (proof, key) = (std::fs::read(format!("{dir}/event.xprf"))?, std::fs::read_to_string(format!("{dir}/author.pub"))?);
/// let key = PublicKey::from_text(&key)?;
/// let proof = EventProof::decode(&proof)?;
/// proof.verify(&key)?;
/// println!("event {} is {}", proof.header().dot(), proof.header().id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventProof {
    header: EventHeader,
    inclusion: InclusionProof,
    head: SignedHead,
}

impl EventProof {
    /// The proof of the event with this header. That the parts fit together is checked, not that they prove anything.
    ///
    /// # Errors
    /// [`ProofError::OtherSubject`], [`ProofError::OtherAuthor`], [`ProofError::OtherSeq`] and
    /// [`ProofError::OtherLength`] where the parts are about different things, [`ProofError::NotInTree`] and
    /// [`ProofError::PathLength`].
    pub fn new(header: EventHeader, inclusion: InclusionProof, head: SignedHead) -> Result<Self, ProofError> {
        head.head().check_log(header.subject(), header.author())?;
        let (index, length) = place(&header, &head);
        if inclusion.index != index {
            return Err(ProofError::OtherSeq { expected: header.seq(), found: inclusion.index.saturating_add(1) });
        }
        if inclusion.length != length {
            return Err(ProofError::OtherLength { expected: length, found: inclusion.length });
        }
        let need = path_length(index, length).ok_or(ProofError::NotInTree { index, length })?;
        if inclusion.path.len() != need {
            return Err(ProofError::PathLength { have: inclusion.path.len(), need });
        }
        Ok(Self { header, inclusion, head })
    }

    /// The event.
    #[must_use]
    pub const fn header(&self) -> &EventHeader {
        &self.header
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

    /// Checks that the owner of this key has signed the log with the event in it.
    ///
    /// # Errors
    /// [`ProofError::OtherAuthor`] where the key is another author's, [`ProofError::BadPath`],
    /// [`ProofError::BadSignature`], [`ProofError::SignatureEncoding`].
    pub fn verify(&self, key: &PublicKey) -> Result<(), ProofError> {
        self.verify_with(&mut HeadCheck::new(), key)
    }

    /// As [`verify`](Self::verify), for many proofs: those under one signature cost one signature check.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify).
    pub fn verify_with(&self, heads: &mut HeadCheck, key: &PublicKey) -> Result<(), ProofError> {
        // First whether it is the right key: with another one, all else is beside the point.
        let expected = key.id();
        if self.header.author() != expected {
            return Err(ProofError::OtherAuthor { expected, found: self.header.author() });
        }
        if self.inclusion.root(self.header.id().as_bytes())? != self.head.head().root {
            return Err(ProofError::BadPath);
        }
        heads.verify(&self.head, key)
    }

    /// Checks that this proof is about `event`, in every field that its author signed. It may still be a bad proof:
    /// [`verify`](Self::verify) it too.
    ///
    /// # Errors
    /// [`ProofError::OtherSubject`], [`ProofError::OtherAuthor`], [`ProofError::OtherSeq`] where it is about another
    /// event, [`ProofError::AlteredEvent`] where the event was altered, [`ProofError::NotInALog`].
    pub fn proves(&self, event: &XaeroEvent) -> Result<(), ProofError> {
        self.header.check_same(&EventHeader::of_event(event)?)
    }

    /// As [`proves`](Self::proves), for an archived record.
    ///
    /// # Errors
    /// Those of [`proves`](Self::proves).
    pub fn proves_record(&self, record: &RecordView<'_>) -> Result<(), ProofError> {
        self.header.check_same(&EventHeader::of(record))
    }

    /// The encoding: see `docs/format.md`. The same proof always has the same.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        PREAMBLE.write(&mut out);
        self.header.write(&mut out);
        self.head.encode_into(&mut out);
        out.extend_from_slice(self.inclusion.path.as_flattened());
        out
    }

    /// The proof with this encoding. Nothing is checked but the form, and that it is about one event:
    /// [`verify`](Self::verify) it.
    ///
    /// # Errors
    /// Says which field is not as [`encode`](Self::encode) writes it; nothing may follow. And those of
    /// [`new`](Self::new).
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.preamble(&PREAMBLE)?;
        let header = EventHeader::read(&mut reader)?;
        let head = SignedHead::read(&mut reader)?;
        // First whether they are about one log: with another one, its length is beside the point.
        head.head().check_log(header.subject(), header.author())?;
        let (index, length) = place(&header, &head);
        // The number of hashes follows from the place, so that there is only one.
        let hashes = path_length(index, length).ok_or(ProofError::NotInTree { index, length })?;
        let path = reader.hashes(hashes)?;
        reader.finish()?;
        Self::new(header, InclusionProof { index, length, path }, head)
    }
}

/// The event's place in the log, and the log's length.
const fn place(header: &EventHeader, head: &SignedHead) -> (u64, u64) {
    (header.seq().saturating_sub(1), head.head().length)
}
