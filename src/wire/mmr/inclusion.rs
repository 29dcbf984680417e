//! Proofs that a leaf is in a tree: RFC 9162, section 2.1.3.

use super::{
    node::{Hash, NodeHash},
    nodes::{Nodes, subtree},
};
use crate::wire::proof::ProofError;

/// Proves that a leaf has a place in a log of a given length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The leaf's place, from 0: its event's sequence number less one.
    pub index: u64,
    /// The length of the log.
    pub length: u64,
    /// The neighbour of each node on the way from the leaf to the root.
    pub path: Vec<Hash>,
}

impl InclusionProof {
    /// The proof for leaf `index` of a log when it was `length` leaves long. Where the index is not below the length,
    /// no check accepts what is made.
    ///
    /// # Errors
    /// Those of the nodes.
    pub fn make<N: Nodes + ?Sized>(nodes: &mut N, index: u64, length: u64) -> Result<Self, N::Error> {
        Ok(Self { index, length, path: path(NodeHash::log(), nodes, index, length)? })
    }

    /// The root of the log, if `leaf` is the leaf that this is the proof for. It is for the caller to compare it with a
    /// root that it trusts.
    ///
    /// # Errors
    /// [`ProofError::NotInTree`] and [`ProofError::PathLength`].
    pub fn root(&self, leaf: &Hash) -> Result<Hash, ProofError> {
        root_of_path(NodeHash::log(), leaf, self.index, self.length, &self.path)
    }
}

/// The path of leaf `index` in a tree of `length` leaves: empty where there is no such leaf.
pub(crate) fn path<N: Nodes + ?Sized>(
    hash: &NodeHash,
    nodes: &mut N,
    index: u64,
    length: u64,
) -> Result<Vec<Hash>, N::Error> {
    let mut path = Vec::with_capacity(path_length(index, length).unwrap_or(0));
    if index >= length {
        return Ok(path);
    }
    // The subtree that holds the leaf, from the whole tree down to the leaf; each step leaves its other half behind.
    let (mut start, mut end) = (0, length);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(subtree(hash, nodes, middle, end)?);
            end = middle;
        } else {
            path.push(subtree(hash, nodes, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// How many hashes the path of leaf `index` in a tree of `length` leaves has: the leaf's way to the place where it meets
/// the way of the last leaf, and one for each left neighbour from there. `None` where there is no such leaf.
pub(crate) const fn path_length(index: u64, length: u64) -> Option<usize> {
    if index >= length {
        return None;
    }
    let inner = u64::BITS - (index ^ (length - 1)).leading_zeros();
    let border = match index.checked_shr(inner) {
        Some(above) => above.count_ones(),
        None => 0,
    };
    Some((inner + border) as usize)
}

/// The root of the tree of `length` leaves in which `leaf` has place `index` and this path: section 2.1.3.2.
pub(crate) fn root_of_path(
    hash: &NodeHash,
    leaf: &Hash,
    index: u64,
    length: u64,
    path: &[Hash],
) -> Result<Hash, ProofError> {
    let need = path_length(index, length).ok_or(ProofError::NotInTree { index, length })?;
    if path.len() != need {
        return Err(ProofError::PathLength { have: path.len(), need });
    }
    // The number of the node within its level, and that of the last node of the level.
    let (mut at, mut last) = (index, length - 1);
    let mut node = *leaf;
    for neighbour in path {
        if at & 1 == 1 || at == last {
            node = hash.node(neighbour, &node);
            // A last node without a right neighbour goes up as it is until it is a right one.
            let up = if at & 1 == 1 { 0 } else { at.trailing_zeros().min(u64::BITS - 1) };
            (at, last) = (at >> up, last >> up);
        } else {
            node = hash.node(&node, neighbour);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    Ok(node)
}

/// Where a tree of so many leaves, two or more, is divided: the largest power of two below the number.
pub(super) const fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::mmr::{Tree, rfc9162};

    #[test]
    fn every_leaf_of_every_length_has_the_path_of_the_rfc_and_its_root() {
        let leaves = rfc9162::leaves(130);
        let mut tree = Tree::new(&leaves);
        for length in 0..=leaves.len() {
            let log = &leaves[..length];
            let root = rfc9162::root(log);
            for (index, leaf) in log.iter().enumerate() {
                let proof = InclusionProof::make(&mut tree, index as u64, length as u64).unwrap();
                assert_eq!(proof.path, rfc9162::inclusion(index, log), "{index} of {length}");
                assert_eq!(path_length(index as u64, length as u64), Some(proof.path.len()));
                assert_eq!(proof.root(leaf), Ok(root), "{index} of {length}");
            }
        }
    }

    #[test]
    fn no_other_leaf_index_length_or_path_gives_the_root() {
        let leaves = rfc9162::leaves(40);
        let mut tree = Tree::new(&leaves);
        for length in 1..=leaves.len() as u64 {
            let root = rfc9162::root(&leaves[..length as usize]);
            for index in 0..length {
                let leaf = leaves[index as usize];
                let good = InclusionProof::make(&mut tree, index, length).unwrap();
                let refused = |proof: &InclusionProof, leaf: &Hash| proof.root(leaf) != Ok(root);
                for other in (0..length + 2).filter(|other| *other != index) {
                    assert!(refused(&InclusionProof { index: other, ..good.clone() }, &leaf));
                }
                let mut altered = leaf;
                altered[7] ^= 1;
                assert!(refused(&good, &altered));
                for place in 0..good.path.len() {
                    let mut bad = good.clone();
                    bad.path[place][31] ^= 0x80;
                    assert!(refused(&bad, &leaf));
                    bad.path.remove(place);
                    assert!(matches!(bad.root(&leaf), Err(ProofError::PathLength { .. })));
                }
                let mut longer = good.clone();
                longer.path.push([0; 32]);
                assert!(matches!(longer.root(&leaf), Err(ProofError::PathLength { .. })));
            }
        }
    }

    #[test]
    fn a_place_beyond_the_end_is_refused() {
        let mut tree = Tree::new(&rfc9162::leaves(4));
        for index in [4, 5, u64::MAX] {
            let proof = InclusionProof::make(&mut tree, index, 4).unwrap();
            assert_eq!(proof.root(&[0; 32]), Err(ProofError::NotInTree { index, length: 4 }));
        }
        let proof = InclusionProof { index: 0, length: 0, path: Vec::new() };
        assert_eq!(proof.root(&[0; 32]), Err(ProofError::NotInTree { index: 0, length: 0 }));
    }

    #[test]
    fn the_longest_paths_are_bounded() {
        assert_eq!(path_length(0, u64::MAX), Some(64));
        assert_eq!(path_length(u64::MAX - 1, u64::MAX), Some(63));
        assert_eq!(path_length(65_535, 65_536), Some(16));
        let longest = (0..1 << 12).filter_map(|index| path_length(index, 1 << 12)).max();
        assert_eq!(longest, Some(12));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn long_logs_too(length in 131_usize..3_000, place in any::<prop::sample::Index>()) {
            let leaves = rfc9162::leaves(length);
            let index = place.index(length);
            let proof = InclusionProof::make(&mut Tree::new(&leaves), index as u64, length as u64).unwrap();
            prop_assert_eq!(&proof.path, &rfc9162::inclusion(index, &leaves));
            prop_assert_eq!(proof.root(&leaves[index]), Ok(rfc9162::root(&leaves)));
        }
    }
}
