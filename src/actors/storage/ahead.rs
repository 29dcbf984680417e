//! Heads that are ahead of the log here: signed over more of an author's events than have come.
//!
//! A transfer may end after any chunk, and what has come is the author's without doubt: the chunk had the author's signed head, and
//! the proof that the log with the chunk is a beginning of what was signed. Both are kept until a head comes that ends where
//! the log does. Without them nobody could be shown what is here, nor anything that builds upon it, unless the rest came.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | length of the log that the proof leads from |
//! | 1 | number of hashes, k |
//! | 32 k | the hashes of the consistency proof |
//! | | the signed head |

use crate::wire::{
    bytes::Reader,
    head::SignedHead,
    mmr::{ConsistencyProof, Hash},
    proof::ProofError,
};

/// Most hashes of a proof: one for each bit of a length, and one more.
const MOST_HASHES: usize = 65;

/// A signed head, and what shows that the log here is a beginning of what it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) head: SignedHead,
    /// From the log here to the head.
    pub(crate) proof: ConsistencyProof,
}

impl Ahead {
    /// Whether this log is the one that the proof leads from.
    pub(crate) fn continues(&self, length: u64, root: &Hash) -> bool {
        let head = self.head.head();
        self.proof.old == length && self.proof.new == head.length && self.proof.check(root, &head.root).is_ok()
    }

    /// The row.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.proof.old.to_le_bytes().to_vec();
        out.push(u8::try_from(self.proof.path.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(self.proof.path.as_flattened());
        self.head.encode_into(&mut out);
        out
    }

    /// From its row.
    pub(crate) fn decode(row: &[u8]) -> Result<Self, ProofError> {
        let mut reader = Reader::new("a head ahead of its log", row);
        let old = reader.u64()?;
        let [hashes] = reader.array()?;
        if usize::from(hashes) > MOST_HASHES {
            return Err(ProofError::BadField("number of hashes"));
        }
        let path = reader.hashes(usize::from(hashes))?;
        let head = SignedHead::read(&mut reader)?;
        reader.finish()?;
        let proof = ConsistencyProof { old, new: head.head().length, path };
        Ok(Self { head, proof })
    }
}
