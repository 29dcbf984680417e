//! What is said about one log, and about all logs of a subject.

use std::sync::LazyLock;

use crate::wire::{
    bytes::Reader,
    hash_many::HashMany,
    id::{SubjectId, XaeroID},
    mmr::Hash,
    proof::ProofError,
};

/// Domain of the leaves of a batch.
const LOG_HEAD_CONTEXT: &str = "xaeroflux 2026 log head v1";

/// Domain of the root over all logs of a subject.
const SUBJECT_ROOT_CONTEXT: &str = "xaeroflux 2026 subject root v1";

/// How long an author's log in a subject is, and the root of its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogHead {
    /// The subject that the log belongs to.
    pub subject: SubjectId,
    /// Whose log it is.
    pub author: XaeroID,
    /// How many events it has: 1 or more.
    pub length: u64,
    /// The root of its tree at this length.
    pub root: Hash,
}

impl LogHead {
    /// Length of the encoding: subject, author, length in little-endian order, root.
    pub(crate) const BYTES: usize = 104;

    /// The leaf of a batch that stands for this head.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        let mut preimage = Vec::with_capacity(Self::BYTES);
        self.write(&mut preimage);
        leaf_hash().one(&preimage)
    }

    /// The leaves of many heads, hashed together.
    pub(super) fn leaves(heads: &[Self]) -> Vec<Hash> {
        let mut preimages = Vec::with_capacity(heads.len() * Self::BYTES);
        for head in heads {
            head.write(&mut preimages);
        }
        let inputs: Vec<&[u8]> = preimages.chunks(Self::BYTES).collect();
        leaf_hash().all(&inputs)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.subject.as_bytes());
        out.extend_from_slice(self.author.as_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.root);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ProofError> {
        let subject = SubjectId::from(reader.array()?);
        let author = XaeroID::from(reader.array()?);
        let head = Self { subject, author, length: reader.u64()?, root: reader.array()? };
        if head.length == 0 { Err(ProofError::EmptyLog) } else { Ok(head) }
    }

    /// Checks that this is the head of that log.
    ///
    /// # Errors
    /// [`ProofError::OtherSubject`] and [`ProofError::OtherAuthor`].
    pub fn check_log(&self, subject: SubjectId, author: XaeroID) -> Result<(), ProofError> {
        if self.subject != subject {
            return Err(ProofError::OtherSubject { expected: subject, found: self.subject });
        }
        if self.author != author {
            return Err(ProofError::OtherAuthor { expected: author, found: self.author });
        }
        Ok(())
    }
}

/// The root over all logs of a subject: equal on two replicas exactly when they hold the same logs.
///
/// `logs` names each author that has events, in ascending order, with the length and the root of the log.
///
/// ```
/// use xaeroflux::{SubjectId, XaeroID, wire::head::subject_root};
/// let subject = SubjectId::from([9; 32]);
/// let (alice, bob) = (XaeroID::from([1; 32]), XaeroID::from([2; 32]));
/// let here = subject_root(subject, [(alice, 3, [7; 32]), (bob, 1, [8; 32])]);
/// let there = subject_root(subject, [(alice, 3, [7; 32])]);
/// assert_ne!(here, there, "bob's event has not arrived there");
/// ```
#[must_use]
pub fn subject_root(subject: SubjectId, logs: impl IntoIterator<Item = (XaeroID, u64, Hash)>) -> Hash {
    let (mut count, mut body) = (0_u64, Vec::new());
    let mut previous = None;
    for (author, length, root) in logs {
        debug_assert!(previous < Some(author), "authors in ascending order, each once");
        previous = Some(author);
        count += 1;
        body.extend_from_slice(author.as_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&root);
    }
    let mut hasher = blake3::Hasher::new_derive_key(SUBJECT_ROOT_CONTEXT);
    hasher.update(subject.as_bytes()).update(&count.to_le_bytes()).update(&body);
    *hasher.finalize().as_bytes()
}

fn leaf_hash() -> &'static HashMany {
    static HASH: LazyLock<HashMany> = LazyLock::new(|| HashMany::derive_key(LOG_HEAD_CONTEXT));
    &HASH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let head = LogHead {
            subject: SubjectId::from([1; 32]),
            author: XaeroID::from([2; 32]),
            length: 0x0102,
            root: [3; 32],
        };
        let preimage = [&[1; 32][..], &[2; 32], &[2, 1, 0, 0, 0, 0, 0, 0], &[3; 32]].concat();
        assert_eq!(head.leaf(), blake3::derive_key("xaeroflux 2026 log head v1", &preimage));
        assert_eq!(LogHead::leaves(&[head; 20]), [head.leaf(); 20]);

        let logs = [(XaeroID::from([4; 32]), 5, [6; 32]), (XaeroID::from([7; 32]), 8, [9; 32])];
        let preimage = [
            &[1; 32][..],
            &[2, 0, 0, 0, 0, 0, 0, 0],
            &[4; 32],
            &[5, 0, 0, 0, 0, 0, 0, 0],
            &[6; 32],
            &[7; 32],
            &[8, 0, 0, 0, 0, 0, 0, 0],
            &[9; 32],
        ]
        .concat();
        let expected = blake3::derive_key("xaeroflux 2026 subject root v1", &preimage);
        assert_eq!(subject_root(SubjectId::from([1; 32]), logs), expected);
        let nothing = blake3::derive_key("xaeroflux 2026 subject root v1", &[&[1; 32][..], &[0; 8]].concat());
        assert_eq!(subject_root(SubjectId::from([1; 32]), []), nothing);
    }
}
