//! Paths in a log of which only the beginning and a consistency proof are at hand.

use hashbrown::HashMap;

use super::{
    consistency::ConsistencyProof,
    inclusion::{InclusionProof, split},
    node::{Hash, NodeHash},
    nodes::{Nodes, subtree},
    peaks::Peaks,
};

impl InclusionProof {
    /// The proof for leaf `index` of the log to which `proof` leads, from the peaks before some leaves, these leaves, of
    /// which it is one, and the consistency proof from the log with them. `None` where these do not fit together.
    #[must_use]
    pub fn prolonged(before: &Peaks, leaves: &[Hash], proof: &ConsistencyProof, index: u64) -> Option<Self> {
        let end = before.len().checked_add(u64::try_from(leaves.len()).ok()?)?;
        if proof.old != end || proof.new < end || !(before.len()..end).contains(&index) {
            return None;
        }
        let mut known = Known { hash: NodeHash::log(), subtrees: HashMap::new() };
        let mut start = 0;
        let levels = (0..u64::BITS).rev().filter(|level| before.len() >> level & 1 == 1);
        for (level, peak) in levels.zip(before.peaks()) {
            known.subtrees.insert((start, start + (1 << level)), *peak);
            start += 1 << level;
        }
        for (at, leaf) in (before.len()..).zip(leaves) {
            known.subtrees.insert((at, at + 1), *leaf);
        }
        known.read(proof)?;
        let (mut start, mut end) = (0, proof.new);
        let mut path = Vec::new();
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                path.push(known.subtree(middle, end)?);
                end = middle;
            } else {
                path.push(known.subtree(start, middle)?);
                start = middle;
            }
        }
        path.reverse();
        Some(Self { index, length: proof.new, path })
    }
}

impl ConsistencyProof {
    /// The proof that leads to the same log from a yet shorter one, with `old` leaves. `nodes` are those of the log that this
    /// proof leads from. `None` where the proof does not fit them.
    ///
    /// So who has the beginning of a log that somebody signed, and the proof of that, can prove it of each shorter
    /// beginning.
    ///
    /// ```
    /// use xaeroflux::wire::mmr::{ConsistencyProof, Tree, root_at};
    /// let leaves = [[1; 32], [2; 32], [3; 32], [4; 32], [5; 32], [6; 32]];
    /// let (mut whole, mut beginning) = (Tree::new(&leaves), Tree::new(&leaves[..4]));
    /// let from_four = ConsistencyProof::make(&mut whole, 4, 6)?;
    /// // Who has four leaves only:
    /// let from_three = from_four.shortened(&mut beginning, 3)?.unwrap();
    /// from_three.check(&root_at(&mut beginning, 3)?, &root_at(&mut whole, 6)?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the nodes.
    pub fn shortened<N: Nodes + ?Sized>(&self, nodes: &mut N, old: u64) -> Result<Option<Self>, N::Error> {
        let mut known = Known { hash: NodeHash::log(), subtrees: HashMap::new() };
        if old > self.old || self.old > self.new || known.read(self).is_none() {
            return Ok(None);
        }
        let mut path = Vec::new();
        // As `make` goes down.
        let (mut start, mut end) = (0, self.new);
        while 0 < old && end != old {
            let middle = start + split(end - start);
            let beside = if old <= middle { (middle, end) } else { (start, middle) };
            let Some(hash) = known.subtree_of(nodes, self.old, beside)? else { return Ok(None) };
            path.push(hash);
            if old <= middle {
                end = middle;
            } else {
                start = middle;
            }
        }
        if 0 < old && start != 0 {
            let Some(hash) = known.subtree_of(nodes, self.old, (start, end))? else { return Ok(None) };
            path.push(hash);
        }
        path.reverse();
        Ok(Some(Self { old, new: self.new, path }))
    }
}

/// Roots of subtrees, by the leaves that they cover.
struct Known {
    hash: &'static NodeHash,
    subtrees: HashMap<(u64, u64), Hash>,
}

impl Known {
    /// Notes what the proof tells of the leaves that it adds: see [`ConsistencyProof::make`].
    fn read(&mut self, proof: &ConsistencyProof) -> Option<()> {
        let mut given = proof.path.iter().rev();
        let (mut start, mut end) = (0, proof.new);
        while proof.old < proof.new && end != proof.old {
            let middle = start + split(end.checked_sub(start).filter(|leaves| *leaves > 1)?);
            let subtree = given.next()?;
            if proof.old <= middle {
                self.subtrees.insert((middle, end), *subtree);
                end = middle;
            } else {
                start = middle;
            }
        }
        Some(())
    }

    /// The root over these leaves. Halves what is not known; what is neither known nor divisible is not there.
    fn subtree(&self, start: u64, end: u64) -> Option<Hash> {
        if let Some(known) = self.subtrees.get(&(start, end)) {
            return Some(*known);
        }
        let middle = start + split(end.checked_sub(start).filter(|leaves| *leaves > 1)?);
        Some(self.hash.node(&self.subtree(start, middle)?, &self.subtree(middle, end)?))
    }

    /// As [`subtree`](Self::subtree), with the nodes of the first `length` leaves.
    fn subtree_of<N: Nodes + ?Sized>(
        &self,
        nodes: &mut N,
        length: u64,
        (start, end): (u64, u64),
    ) -> Result<Option<Hash>, N::Error> {
        if end <= length {
            return subtree(self.hash, nodes, start, end).map(Some);
        }
        if let Some(known) = self.subtrees.get(&(start, end)) {
            return Ok(Some(*known));
        }
        if start >= length || end - start < 2 {
            return Ok(None);
        }
        let middle = start + split(end - start);
        let left = self.subtree_of(nodes, length, (start, middle))?;
        let right = self.subtree_of(nodes, length, (middle, end))?;
        Ok(left.zip(right).map(|(left, right)| self.hash.node(&left, &right)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mmr::{Tree, rfc9162};

    #[test]
    fn every_prolonged_path_is_the_path_in_the_whole_tree() {
        let leaves = rfc9162::leaves(40);
        for new in 1..=leaves.len() {
            let mut tree = Tree::new(&leaves[..new]);
            for old in 1..=new {
                let proof = ConsistencyProof::make(&mut tree, old as u64, new as u64).unwrap();
                for before in 0..old {
                    let mut peaks = Peaks::new();
                    peaks.extend(&leaves[..before], &mut |_, _, _| {});
                    for index in before..old {
                        let index = index as u64;
                        let made = InclusionProof::prolonged(&peaks, &leaves[before..old], &proof, index);
                        let expected = InclusionProof::make(&mut tree, index, new as u64).unwrap();
                        assert_eq!(made, Some(expected), "{index} in {before}..{old} of {new}");
                    }
                    assert_eq!(InclusionProof::prolonged(&peaks, &leaves[before..old], &proof, old as u64), None);
                }
            }
        }
    }

    #[test]
    fn every_shortened_proof_is_the_proof_from_the_whole_tree() {
        let leaves = rfc9162::leaves(40);
        for new in 1..=leaves.len() as u64 {
            let mut whole = Tree::new(&leaves[..new as usize]);
            for old in 1..=new {
                let proof = ConsistencyProof::make(&mut whole, old, new).unwrap();
                let mut beginning = Tree::new(&leaves[..old as usize]);
                for shorter in 0..=old {
                    let made = proof.shortened(&mut beginning, shorter).unwrap();
                    let expected = ConsistencyProof::make(&mut whole, shorter, new).unwrap();
                    assert_eq!(made, Some(expected), "{shorter} of {old} of {new}");
                }
                assert_eq!(proof.shortened(&mut beginning, old + 1).unwrap(), None);
            }
        }
    }

    #[test]
    fn a_proof_that_lacks_hashes_is_not_shortened() {
        let mut tree = Tree::new(&rfc9162::leaves(9));
        let mut proof = ConsistencyProof::make(&mut tree, 5, 9).unwrap();
        proof.path.clear();
        assert_eq!(proof.shortened(&mut Tree::new(&rfc9162::leaves(5)), 3).unwrap(), None);
    }

    #[test]
    fn parts_that_do_not_fit_give_none() {
        let leaves = rfc9162::leaves(9);
        let mut tree = Tree::new(&leaves);
        let mut proof = ConsistencyProof::make(&mut tree, 5, 9).unwrap();
        assert!(InclusionProof::prolonged(&Peaks::new(), &leaves[..5], &proof, 3).is_some());
        assert!(InclusionProof::prolonged(&Peaks::new(), &leaves[..4], &proof, 3).is_none());
        proof.path.clear();
        assert!(InclusionProof::prolonged(&Peaks::new(), &leaves[..5], &proof, 3).is_none());
    }
}
