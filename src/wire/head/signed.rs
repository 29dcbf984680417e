//! One head with all that is needed to check it.

use super::{
    LogHead, MAX_BATCH_HEADS, Signature,
    batch::{batch_nodes, check_count, check_key, message},
};
use crate::wire::{
    bytes::{Preamble, Reader},
    key::PublicKey,
    mmr::{Hash, path_length, root_of_path},
    proof::ProofError,
};

/// Most hashes between a head and the root of its batch.
pub const MAX_BATCH_PATH: usize = 16;

/// Longest encoding of a signed head, in bytes.
pub const MAX_SIGNED_HEAD_BYTES: usize =
    Preamble::BYTES + LogHead::BYTES + 8 + MAX_BATCH_PATH * 32 + Signature::ENCODED_BYTES;

pub(super) const WHAT: &str = "a signed head";
const PREAMBLE: Preamble = Preamble { magic: "XHED", version: 1 };

/// A head, its path to the root of its batch, and the signature over that: self-contained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    pub(super) head: LogHead,
    pub(super) batch_size: u32,
    pub(super) index: u32,
    pub(super) path: Vec<Hash>,
    pub(super) signature: Signature,
}

impl SignedHead {
    /// What is signed about the log.
    #[must_use]
    pub const fn head(&self) -> &LogHead {
        &self.head
    }

    /// How many heads the signature covers.
    #[must_use]
    pub const fn batch_size(&self) -> u32 {
        self.batch_size
    }

    /// The head's place among those, from 0.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The path from the head to the root of the batch.
    #[must_use]
    pub fn path(&self) -> &[Hash] {
        &self.path
    }

    /// The signature over the batch.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Checks the path and the signature. Heads of one batch are checked faster by a [`HeadCheck`](super::HeadCheck).
    ///
    /// # Errors
    /// [`ProofError::OtherAuthor`] where the key is not the author's, [`ProofError::BadSignature`],
    /// [`ProofError::SignatureEncoding`].
    pub fn verify(&self, key: &PublicKey) -> Result<(), ProofError> {
        check_key(self.head.author, key)?;
        self.signature.verify(&self.message()?, key)
    }

    /// The message that the author has signed, if this head is one of the batch.
    pub(super) fn message(&self) -> Result<Vec<u8>, ProofError> {
        let (index, size) = (u64::from(self.index), u64::from(self.batch_size));
        let root = root_of_path(batch_nodes(), &self.head.leaf(), index, size, &self.path)?;
        Ok(message(self.head.author, usize::try_from(self.batch_size).unwrap_or(usize::MAX), &root))
    }

    /// Appends the encoding: see `docs/format.md`. The same head always has the same.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        PREAMBLE.write(out);
        self.head.write(out);
        out.extend_from_slice(&self.batch_size.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(self.path.as_flattened());
        self.signature.write(out);
    }

    /// The encoding by itself.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// The head with this encoding. Nothing is checked but the form: [`verify`](Self::verify) it.
    ///
    /// # Errors
    /// Says which field is not as [`encode_into`](Self::encode_into) writes it; nothing may follow.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let mut reader = Reader::new(WHAT, bytes);
        let head = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(head)
    }

    /// The head that comes next.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ProofError> {
        reader.preamble(&PREAMBLE)?;
        let head = LogHead::read(reader)?;
        let (batch_size, index) = (reader.u32()?, reader.u32()?);
        check_count(usize::try_from(batch_size).unwrap_or(MAX_BATCH_HEADS + 1))?;
        let (place, leaves) = (u64::from(index), u64::from(batch_size));
        // The number of hashes follows from the place, so that there is only one.
        let hashes = path_length(place, leaves).ok_or(ProofError::NotInTree { index: place, length: leaves })?;
        let path = reader.hashes(hashes)?;
        Ok(Self { head, batch_size, index, path, signature: Signature::read(reader)? })
    }
}
