//! A tree with all of its nodes in memory.

use thiserror::Error;

use super::{
    node::{Hash, NodeHash},
    nodes::Nodes,
};

/// All perfect subtrees over leaves that are at hand: twice the memory of the leaves.
///
/// ```
/// use xaeroflux::wire::mmr::{InclusionProof, Tree, root_at};
/// let leaves = [[1; 32], [2; 32], [3; 32]];
/// let mut tree = Tree::new(&leaves);
/// let proof = InclusionProof::make(&mut tree, 1, 3)?;
/// assert_eq!(proof.root(&leaves[1])?, root_at(&mut tree, 3)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tree {
    /// The nodes of each level; the first is the leaves.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree of a log with these leaves.
    #[must_use]
    pub fn new(leaves: &[Hash]) -> Self {
        Self::with(NodeHash::log(), leaves.to_vec())
    }

    /// A tree with this node hash.
    pub(crate) fn with(hash: &NodeHash, leaves: Vec<Hash>) -> Self {
        let mut levels = Vec::new();
        let mut below = leaves;
        while !below.is_empty() {
            let (pairs, _) = below.as_flattened().as_chunks();
            let above = hash.level(None, pairs);
            levels.push(std::mem::replace(&mut below, above));
        }
        Self { levels }
    }

    /// The root over all leaves, by the hash that the tree was made with.
    pub(crate) fn root(&self, hash: &NodeHash) -> Hash {
        // The last node of a level with an odd number of them is a peak.
        let peaks = self.levels.iter().rev().filter(|level| level.len() % 2 == 1);
        hash.bag(&peaks.filter_map(|level| level.last().copied()).collect::<Vec<_>>())
    }
}

impl Nodes for Tree {
    type Error = NotInTree;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, NotInTree> {
        (&*self).node(level, index)
    }
}

impl Nodes for &Tree {
    type Error = NotInTree;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, NotInTree> {
        let nodes = self.levels.get(usize::from(level));
        let node = nodes.and_then(|nodes| nodes.get(usize::try_from(index).ok()?));
        node.copied().ok_or(NotInTree { level, index })
    }
}

/// A node beyond the last leaf of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("node {index} of level {level} is not complete in this tree: it needs more leaves")]
pub struct NotInTree {
    level: u8,
    index: u64,
}
