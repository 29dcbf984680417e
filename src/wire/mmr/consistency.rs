//! Proofs that a log was only appended to: RFC 9162, section 2.1.4.

use super::{
    inclusion::{path_length, split},
    node::{Hash, NodeHash},
    nodes::{Nodes, subtree},
};
use crate::wire::proof::ProofError;

/// Proves that a log of one length is the beginning of the log of another.
///
/// Every log begins with the log without events, and with itself: both need no hashes.
///
/// ```
/// use xaeroflux::wire::mmr::{ConsistencyProof, Tree, root_at};
/// let mut tree = Tree::new(&[[1; 32], [2; 32], [3; 32], [4; 32], [5; 32]]);
/// let proof = ConsistencyProof::make(&mut tree, 3, 5)?;
/// let (old, new) = (root_at(&mut tree, 3)?, root_at(&mut tree, 5)?);
/// proof.check(&old, &new)?;
/// assert!(proof.check(&[0; 32], &new).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// The length of the shorter log.
    pub old: u64,
    /// The length of the longer log.
    pub new: u64,
    /// The subtrees from which both roots follow.
    pub path: Vec<Hash>,
}

impl ConsistencyProof {
    /// The proof for these two lengths of one log. Where the old one is above the new one, no check accepts what is
    /// made.
    ///
    /// # Errors
    /// Those of the nodes.
    pub fn make<N: Nodes + ?Sized>(nodes: &mut N, old: u64, new: u64) -> Result<Self, N::Error> {
        let mut path = Vec::new();
        if 0 < old && old < new {
            // The subtree in which the old log ends, from the whole tree down to one that ends with the old log.
            let hash = NodeHash::log();
            let (mut start, mut end) = (0, new);
            while end != old {
                let middle = start + split(end - start);
                if old <= middle {
                    path.push(subtree(hash, nodes, middle, end)?);
                    end = middle;
                } else {
                    path.push(subtree(hash, nodes, start, middle)?);
                    start = middle;
                }
            }
            // Where that is the whole of the old log, its root is known to whoever checks.
            if start != 0 {
                path.push(subtree(hash, nodes, start, end)?);
            }
            path.reverse();
        }
        Ok(Self { old, new, path })
    }

    /// Checks that the log with the new root continues the one with the old root: section 2.1.4.2.
    ///
    /// # Errors
    /// [`ProofError::Shrunk`], [`ProofError::PathLength`], and [`ProofError::NotAnExtension`].
    pub fn check(&self, old_root: &Hash, new_root: &Hash) -> Result<(), ProofError> {
        let (old, new) = (self.old, self.new);
        let need = consistency_length(old, new).ok_or(ProofError::Shrunk { old, new })?;
        if self.path.len() != need {
            return Err(ProofError::PathLength { have: self.path.len(), need });
        }
        let hash = NodeHash::log();
        let (old_found, new_found) = if old == 0 {
            (hash.empty(), if new == 0 { hash.empty() } else { *new_root })
        } else if old == new {
            (*new_root, *new_root)
        } else {
            self.roots(hash, old_root)
        };
        if old_found == *old_root && new_found == *new_root {
            Ok(())
        } else {
            Err(ProofError::NotAnExtension { old, new })
        }
    }

    /// Both roots that the path gives, where the old log is neither empty nor the new one.
    fn roots(&self, hash: &NodeHash, old_root: &Hash) -> (Hash, Hash) {
        // The last node of the old log and that of the new one, on the level of the largest subtree that ends the old
        // log. Where this is the old log itself, the path leaves it out.
        let up = self.old.trailing_zeros();
        let (mut at, mut last) = ((self.old - 1) >> up, (self.new - 1) >> up);
        let (first, rest) = match self.path.split_first() {
            Some((first, rest)) if !self.old.is_power_of_two() => (first, rest),
            _ => (old_root, self.path.as_slice()),
        };
        let (mut old_node, mut new_node) = (*first, *first);
        for subtree in rest {
            if at & 1 == 1 || at == last {
                old_node = hash.node(subtree, &old_node);
                new_node = hash.node(subtree, &new_node);
                // A last node without a right neighbour goes up as it is until it is a right one.
                let up = if at & 1 == 1 { 0 } else { at.trailing_zeros().min(u64::BITS - 1) };
                (at, last) = (at >> up, last >> up);
            } else {
                new_node = hash.node(&new_node, subtree);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        (old_node, new_node)
    }
}

/// How many hashes the proof for these two lengths has; `None` where the old one is above the new one.
fn consistency_length(old: u64, new: u64) -> Option<usize> {
    if old == 0 || old == new {
        return Some(0);
    }
    // The path of the old log's last leaf, without what lies within the largest subtree that ends the old log, and with
    // that subtree itself unless it is the old log.
    let hashes = path_length(old - 1, new)? - usize::try_from(old.trailing_zeros()).ok()?;
    Some(hashes + usize::from(!old.is_power_of_two()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::mmr::{Tree, rfc9162};

    #[test]
    fn every_pair_of_lengths_has_the_proof_of_the_rfc_and_passes() {
        let leaves = rfc9162::leaves(130);
        let mut tree = Tree::new(&leaves);
        let roots: Vec<Hash> = (0..=leaves.len()).map(|length| rfc9162::root(&leaves[..length])).collect();
        for new in 0..=leaves.len() {
            for old in 0..=new {
                let proof = ConsistencyProof::make(&mut tree, old as u64, new as u64).unwrap();
                assert_eq!(proof.path, rfc9162::consistency(old, &leaves[..new]), "{old} of {new}");
                assert_eq!(proof.check(&roots[old], &roots[new]), Ok(()), "{old} of {new}");
            }
        }
    }

    #[test]
    fn no_other_root_length_or_path_passes() {
        let leaves = rfc9162::leaves(33);
        let mut tree = Tree::new(&leaves);
        let roots: Vec<Hash> = (0..=leaves.len()).map(|length| rfc9162::root(&leaves[..length])).collect();
        let altered = |root: &Hash| {
            let mut root = *root;
            root[3] ^= 4;
            root
        };
        for new in 0..=leaves.len() {
            for old in 0..=new {
                let good = ConsistencyProof::make(&mut tree, old as u64, new as u64).unwrap();
                let (old_root, new_root) = (&roots[old], &roots[new]);
                assert!(good.check(&altered(old_root), new_root).is_err(), "{old} of {new}");
                // With what the log without events is continued is left to what else vouches for the new root.
                assert_eq!(good.check(old_root, &altered(new_root)).is_ok(), old == 0 && new != 0, "{old} of {new}");
                for place in 0..good.path.len() {
                    let mut bad = good.clone();
                    bad.path[place] = altered(&good.path[place]);
                    assert_eq!(
                        bad.check(old_root, new_root),
                        Err(ProofError::NotAnExtension { old: old as u64, new: new as u64 })
                    );
                    bad.path.remove(place);
                    assert!(matches!(bad.check(old_root, new_root), Err(ProofError::PathLength { .. })));
                }
                let mut longer = good.clone();
                longer.path.push([0; 32]);
                assert!(matches!(longer.check(old_root, new_root), Err(ProofError::PathLength { .. })));
            }
        }
    }

    #[test]
    fn a_log_that_got_shorter_is_refused() {
        let mut tree = Tree::new(&rfc9162::leaves(9));
        let proof = ConsistencyProof::make(&mut tree, 9, 8).unwrap();
        assert_eq!(proof.check(&[1; 32], &[1; 32]), Err(ProofError::Shrunk { old: 9, new: 8 }));
        let proof = ConsistencyProof { old: 1, new: 0, path: Vec::new() };
        assert_eq!(proof.check(&[1; 32], &[1; 32]), Err(ProofError::Shrunk { old: 1, new: 0 }));
    }

    #[test]
    fn a_log_that_was_rewritten_is_refused() {
        let leaves = rfc9162::leaves(20);
        let mut rewritten = leaves.clone();
        rewritten[4] = [9; 32];
        let old_root = rfc9162::root(&leaves[..13]);
        let new_root = rfc9162::root(&rewritten);
        let proof = ConsistencyProof::make(&mut Tree::new(&rewritten), 13, 20).unwrap();
        assert_eq!(proof.check(&old_root, &new_root), Err(ProofError::NotAnExtension { old: 13, new: 20 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn long_logs_too(new in 131_usize..3_000, place in any::<prop::sample::Index>()) {
            let leaves = rfc9162::leaves(new);
            let old = place.index(new + 1);
            let proof = ConsistencyProof::make(&mut Tree::new(&leaves), old as u64, new as u64).unwrap();
            prop_assert_eq!(&proof.path, &rfc9162::consistency(old, &leaves));
            prop_assert_eq!(proof.check(&rfc9162::root(&leaves[..old]), &rfc9162::root(&leaves)), Ok(()));
        }
    }
}
