//! The hash of a node.

use std::sync::LazyLock;

use crate::wire::hash_many::HashMany;

/// A leaf, a node or a root.
pub type Hash = [u8; 32];

/// Domain of the nodes of a log's tree.
const LOG_NODE_CONTEXT: &str = "xaeroflux 2026 mmr node v1";

/// The node hash of one kind of tree: the trees of logs and those of head batches have a domain each.
pub(crate) struct NodeHash(HashMany);

impl NodeHash {
    /// The hash with this domain, its key derived.
    pub(crate) fn new(context: &str) -> Self {
        Self(HashMany::derive_key(context))
    }

    /// That of the trees of logs.
    pub(crate) fn log() -> &'static Self {
        static LOG: LazyLock<NodeHash> = LazyLock::new(|| NodeHash::new(LOG_NODE_CONTEXT));
        &LOG
    }

    /// The root of a tree without leaves.
    pub(crate) fn empty(&self) -> Hash {
        self.0.one(&[])
    }

    /// The node above these two.
    pub(crate) fn node(&self, left: &Hash, right: &Hash) -> Hash {
        self.0.block(&beside(left, right))
    }

    /// The nodes above these pairs, hashed in one call; `first` is the pair before the others.
    pub(crate) fn level(&self, first: Option<&[u8; 64]>, pairs: &[[u8; 64]]) -> Vec<Hash> {
        let inputs: Vec<&[u8; 64]> = first.into_iter().chain(pairs).collect();
        let mut nodes = Vec::with_capacity(inputs.len());
        self.0.blocks_into(&inputs, &mut nodes);
        nodes
    }

    /// The root over these perfect subtrees, the highest first.
    pub(crate) fn bag(&self, peaks: &[Hash]) -> Hash {
        let bagged = peaks.iter().copied().rev().reduce(|right, left| self.node(&left, &right));
        bagged.unwrap_or_else(|| self.empty())
    }
}

/// The root of a log without events: the node hash of no bytes.
#[must_use]
pub fn empty_root() -> Hash {
    NodeHash::log().empty()
}

/// What a node is the hash of.
pub(super) fn beside(left: &Hash, right: &Hash) -> [u8; 64] {
    let mut pair = [0; 64];
    let (first, second) = pair.split_at_mut(32);
    first.copy_from_slice(left);
    second.copy_from_slice(right);
    pair
}
