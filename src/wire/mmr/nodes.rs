//! Perfect subtrees, lent by whoever keeps them.

use smallvec::SmallVec;

use super::node::{Hash, NodeHash};

/// The perfect subtrees of a log.
pub trait Nodes {
    /// Why a node cannot be had.
    type Error;

    /// The root of the perfect subtree over the leaves from `index << level` up to `(index + 1) << level`; level 0 is
    /// the leaf itself.
    ///
    /// # Errors
    /// Where the log does not reach so far, or what keeps the nodes cannot be read.
    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// The root that the log had when it was `length` leaves long.
///
/// # Errors
/// Those of the nodes.
pub fn root_at<N: Nodes + ?Sized>(nodes: &mut N, length: u64) -> Result<Hash, N::Error> {
    subtree(NodeHash::log(), nodes, 0, length)
}

/// The root over the leaves from `start` up to `end`. `start` is a multiple of a power of two that is not smaller than
/// the number of leaves, which is so for every subtree of a tree.
pub(super) fn subtree<N: Nodes + ?Sized>(
    hash: &NodeHash,
    nodes: &mut N,
    start: u64,
    end: u64,
) -> Result<Hash, N::Error> {
    let peaks: SmallVec<[Hash; 16]> =
        perfect(start, end).map(|(level, index)| nodes.node(level, index)).collect::<Result<_, _>>()?;
    Ok(hash.bag(&peaks))
}

/// The perfect subtrees over these leaves as level and index, the highest first.
fn perfect(start: u64, end: u64) -> impl Iterator<Item = (u8, u64)> {
    let mut at = start;
    std::iter::from_fn(move || {
        let level = end.checked_sub(at)?.checked_ilog2()?;
        let index = at >> level;
        at += 1 << level;
        Some((u8::try_from(level).unwrap_or(u8::MAX), index))
    })
}
