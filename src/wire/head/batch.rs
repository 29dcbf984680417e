//! All heads that one commit changed, under one signature.

use std::sync::LazyLock;

use super::{LogHead, Signature, SignedHead};
use crate::wire::{
    bytes::{Preamble, Reader},
    id::{SubjectId, XaeroID},
    key::PublicKey,
    mmr::{Hash, NodeHash, Tree, path},
    proof::ProofError,
    sign::{Signer, tagged},
};

/// Most heads that one signature covers: more than a commit has events, and few enough for a path of 16 hashes.
pub const MAX_BATCH_HEADS: usize = 65_536;

/// Domain of the nodes of a batch's tree.
const BATCH_NODE_CONTEXT: &str = "xaeroflux 2026 head batch node v1";

/// Domain of the signed message.
const BATCH_DOMAIN: &str = "xaeroflux 2026 head batch v1";

const WHAT: &str = "a head batch";
const PREAMBLE: Preamble = Preamble { magic: "XHDB", version: 1 };

/// Bytes of one head in a batch: subject, length, root. The author stands once before all of them.
const ENTRY_BYTES: usize = 72;

/// The heads of one author that one signature covers.
///
/// ```
/// use xaeroflux::{SubjectId, wire::{head::{HeadBatch, LogHead}, sign::{SecretIdentity, Signer}}};
/// let author = SecretIdentity::generate()?;
/// let head = |name: u8| LogHead {
///     subject: SubjectId::from([name; 32]),
///     author: author.id(),
///     length: 7,
///     root: [0xAA; 32],
/// };
/// let batch = HeadBatch::sign(&author, vec![head(1), head(2), head(3)])?;
/// batch.verify(author.public_key())?;
/// let signed = batch.signed_head(1).unwrap();
/// signed.verify(author.public_key())?;
/// assert_eq!(signed.head(), &head(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HeadBatch {
    author: XaeroID,
    heads: Vec<LogHead>,
    signature: Signature,
    /// Over the heads.
    tree: Tree,
    root: Hash,
}

impl PartialEq for HeadBatch {
    fn eq(&self, other: &Self) -> bool {
        self.author == other.author && self.heads == other.heads && self.signature == other.signature
    }
}

impl Eq for HeadBatch {}

impl HeadBatch {
    /// Signs these heads, which are all the signer's own: 1 to [`MAX_BATCH_HEADS`]. Takes as long as the signature.
    ///
    /// # Errors
    /// [`ProofError::BatchSize`], [`ProofError::OtherAuthor`], [`ProofError::EmptyLog`], and
    /// [`ProofError::CannotSign`] where the signer's key is out of order.
    pub fn sign(signer: &dyn Signer, heads: Vec<LogHead>) -> Result<Self, ProofError> {
        let author = signer.id();
        let (tree, root) = tree(author, &heads)?;
        let message = message(author, heads.len(), &root);
        let signature = Signature::sign(signer, &message)?;
        Ok(Self { author, heads, signature, tree, root })
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`ProofError::OtherAuthor`] where the key is not the author's, [`ProofError::BadSignature`],
    /// [`ProofError::SignatureEncoding`].
    pub fn verify(&self, key: &PublicKey) -> Result<(), ProofError> {
        check_key(self.author, key)?;
        self.signature.verify(&message(self.author, self.heads.len(), &self.root), key)
    }

    /// Whose heads these are.
    #[must_use]
    pub const fn author(&self) -> XaeroID {
        self.author
    }

    /// The heads.
    #[must_use]
    pub fn heads(&self) -> &[LogHead] {
        &self.heads
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The head at this place by itself, with its path.
    #[must_use]
    pub fn signed_head(&self, index: usize) -> Option<SignedHead> {
        let head = *self.heads.get(index)?;
        let path = path(batch_nodes(), &mut &self.tree, u64::try_from(index).ok()?, size(self.heads.len())).ok()?;
        let (index, batch_size) = (u32::try_from(index).ok()?, u32::try_from(self.heads.len()).ok()?);
        Some(SignedHead { head, batch_size, index, path, signature: self.signature.clone() })
    }

    /// Each head by itself, in their order.
    pub fn signed_heads(&self) -> impl Iterator<Item = SignedHead> + '_ {
        (0..self.heads.len()).filter_map(|index| self.signed_head(index))
    }

    /// Appends the encoding: see `docs/format.md`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        PREAMBLE.write(out);
        out.extend_from_slice(self.author.as_bytes());
        out.extend_from_slice(&u32::try_from(self.heads.len()).unwrap_or(u32::MAX).to_le_bytes());
        for head in &self.heads {
            out.extend_from_slice(head.subject.as_bytes());
            out.extend_from_slice(&head.length.to_le_bytes());
            out.extend_from_slice(&head.root);
        }
        self.signature.write(out);
    }

    /// The batch with this encoding. Its signature is not checked.
    ///
    /// # Errors
    /// Says which field is not as [`encode_into`](Self::encode_into) writes it.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.preamble(&PREAMBLE)?;
        let author = XaeroID::from(reader.array()?);
        let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        check_count(count)?;
        let mut entries = Reader::new(WHAT, reader.take(count * ENTRY_BYTES)?);
        let mut heads = Vec::with_capacity(count);
        for _ in 0..count {
            let subject = SubjectId::from(entries.array()?);
            heads.push(LogHead { subject, author, length: entries.u64()?, root: entries.array()? });
        }
        let signature = Signature::read(&mut reader)?;
        reader.finish()?;
        let (tree, root) = tree(author, &heads)?;
        Ok(Self { author, heads, signature, tree, root })
    }
}

/// What an author signs: author, number of heads, root of the batch's tree.
pub(super) fn message(author: XaeroID, heads: usize, root: &Hash) -> Vec<u8> {
    let heads = u32::try_from(heads).unwrap_or(u32::MAX);
    tagged(BATCH_DOMAIN, &[&author.as_bytes()[..], &heads.to_le_bytes(), root].concat())
}

/// The node hash of batches.
pub(super) fn batch_nodes() -> &'static NodeHash {
    static HASH: LazyLock<NodeHash> = LazyLock::new(|| NodeHash::new(BATCH_NODE_CONTEXT));
    &HASH
}

pub(super) fn check_count(heads: usize) -> Result<(), ProofError> {
    if (1..=MAX_BATCH_HEADS).contains(&heads) { Ok(()) } else { Err(ProofError::BatchSize(heads)) }
}

/// Checks that the key is the author's.
pub(super) fn check_key(author: XaeroID, key: &PublicKey) -> Result<(), ProofError> {
    let expected = key.id();
    if author == expected { Ok(()) } else { Err(ProofError::OtherAuthor { expected, found: author }) }
}

/// The tree over these heads and its root.
fn tree(author: XaeroID, heads: &[LogHead]) -> Result<(Tree, Hash), ProofError> {
    check_count(heads.len())?;
    for head in heads {
        if head.author != author {
            return Err(ProofError::OtherAuthor { expected: author, found: head.author });
        }
        if head.length == 0 {
            return Err(ProofError::EmptyLog);
        }
    }
    let tree = Tree::with(batch_nodes(), LogHead::leaves(heads));
    let root = tree.root(batch_nodes());
    Ok((tree, root))
}

fn size(heads: usize) -> u64 {
    u64::try_from(heads).unwrap_or(u64::MAX)
}
