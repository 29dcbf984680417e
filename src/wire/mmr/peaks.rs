//! The peaks of a log: all that appending to it needs.

use smallvec::SmallVec;

use super::node::{Hash, NodeHash, beside};

/// The largest perfect subtrees of a log, and how long it is.
///
/// ```
/// use xaeroflux::wire::mmr::Peaks;
/// let leaves = [[1; 32], [2; 32], [3; 32]];
/// let mut one_by_one = Peaks::new();
/// leaves.iter().for_each(|leaf| one_by_one.push(leaf));
/// let mut at_once = Peaks::new();
/// at_once.extend(&leaves, &mut |_, _, _| {});
/// assert_eq!(at_once, one_by_one);
/// assert_eq!((at_once.len(), at_once.peaks().len()), (3, 2));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peaks {
    len: u64,
    /// One for each bit of the length, the highest first. A node holds peaks for every author of every subject in use:
    /// one lies inline, since most logs are short, and more on the heap.
    peaks: SmallVec<[Hash; 1]>,
}

impl Peaks {
    /// Those of a log without events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of a log of this length, the highest first; `None` where there are not as many of them as bits are set in
    /// the length.
    #[must_use]
    pub fn from_parts(len: u64, peaks: &[Hash]) -> Option<Self> {
        let is_right = u32::try_from(peaks.len()) == Ok(len.count_ones());
        is_right.then(|| Self { len, peaks: SmallVec::from_slice(peaks) })
    }

    /// How many leaves the log has.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the log has no leaves.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The peaks, the highest first: as many as bits are set in the length.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The root of the log.
    #[must_use]
    pub fn root(&self) -> Hash {
        NodeHash::log().bag(&self.peaks)
    }

    /// Appends one leaf: two hashes in the middle of a log, at most 64. [`extend`](Self::extend) takes many faster.
    pub fn push(&mut self, leaf: &Hash) {
        let mut node = *leaf;
        for _ in 0..self.len.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            node = NodeHash::log().node(&left, &node);
        }
        self.peaks.push(node);
        self.len = self.len.saturating_add(1);
    }

    /// Appends many leaves, one call of the hash for each level: several times faster than one by one.
    ///
    /// `completed` is told each perfect subtree of two leaves or more that the leaves complete, as its level, its index
    /// within the level, and its hash: node `index` of `level` covers the leaves from `index << level` up to
    /// `(index + 1) << level`. Levels come in ascending order, and so do indices within a level.
    pub fn extend(&mut self, leaves: &[Hash], completed: &mut dyn FnMut(u8, u64, &Hash)) {
        if let [leaf] = leaves
            && self.len & 1 == 0
        {
            // A single leaf that completes nothing: no need to set up anything.
            self.push(leaf);
            return;
        }
        // The new peaks, the lowest first.
        let mut lowest = SmallVec::<[Hash; 16]>::new();
        let mut above: Vec<Hash>;
        let mut nodes = leaves;
        let mut level = 0;
        while !nodes.is_empty() {
            // As many nodes of this level were complete before. One that had no right neighbour gets it now.
            let before = self.len >> level;
            let left = if before & 1 == 1 { self.peaks.pop() } else { None };
            let first = match (left, nodes.split_first()) {
                (Some(left), Some((right, rest))) => {
                    nodes = rest;
                    Some(beside(&left, right))
                }
                _ => None,
            };
            let (pairs, single) = nodes.as_flattened().as_chunks();
            if let Ok(single) = Hash::try_from(single) {
                lowest.push(single);
            }
            above = NodeHash::log().level(first.as_ref(), pairs);
            nodes = &above;
            level += 1;
            for (index, node) in (before >> 1..).zip(nodes) {
                completed(level, index, node);
            }
        }
        self.peaks.extend(lowest.into_iter().rev());
        self.len = self.len.saturating_add(u64::try_from(leaves.len()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mmr::{Nodes, Tree, rfc9162};

    #[test]
    fn the_root_of_every_length_is_that_of_the_rfc() {
        let leaves = rfc9162::leaves(130);
        let mut peaks = Peaks::new();
        for length in 0..=leaves.len() {
            assert_eq!(peaks.root(), rfc9162::root(&leaves[..length]), "length {length}");
            assert_eq!(peaks.len(), length as u64);
            assert_eq!(peaks.peaks().len(), length.count_ones() as usize);
            if let Some(leaf) = leaves.get(length) {
                peaks.push(leaf);
            }
        }
    }

    #[test]
    fn known_answers() {
        // By hand, with nothing but the hash: so that a change of the tree's code cannot change what is signed.
        let context = "xaeroflux 2026 mmr node v1";
        let node = |left: Hash, right: Hash| blake3::derive_key(context, &[left, right].concat());
        let [a, b, c, d, e] = [[1; 32], [2; 32], [3; 32], [4; 32], [5; 32]];
        let root = |leaves: &[Hash]| {
            let mut peaks = Peaks::new();
            peaks.extend(leaves, &mut |_, _, _| {});
            peaks.root()
        };
        assert_eq!(root(&[]), blake3::derive_key(context, b""));
        assert_eq!(root(&[a]), a);
        assert_eq!(root(&[a, b]), node(a, b));
        assert_eq!(root(&[a, b, c]), node(node(a, b), c));
        assert_eq!(root(&[a, b, c, d, e]), node(node(node(a, b), node(c, d)), e));
        let five = data_encoding::HEXLOWER.encode(&root(&[a, b, c, d, e]));
        assert_eq!(five, "36b9f72360fe928a5a8f79a4ade80fe7e18e01901bc93437322ed26265304ca0");
    }

    #[test]
    fn many_at_once_are_as_many_one_by_one_and_tell_every_node_once() {
        let leaves = rfc9162::leaves(150);
        let mut tree = Tree::new(&leaves);
        for before in 0..40 {
            for after in before..leaves.len() {
                let mut peaks = Peaks::new();
                leaves[..before].iter().for_each(|leaf| peaks.push(leaf));
                let mut told = Vec::new();
                peaks.extend(&leaves[before..after], &mut |level, index, node| told.push((level, index, *node)));
                let mut one_by_one = Peaks::new();
                leaves[..after].iter().for_each(|leaf| one_by_one.push(leaf));
                assert_eq!(peaks, one_by_one, "{before} to {after}");
                let mut expected = Vec::new();
                for level in 1..8_u8 {
                    for index in before as u64 >> level..after as u64 >> level {
                        expected.push((level, index, tree.node(level, index).unwrap()));
                    }
                }
                assert_eq!(told, expected, "{before} to {after}");
            }
        }
    }

    #[test]
    fn parts_are_refused_where_they_do_not_fit_the_length() {
        let leaves = rfc9162::leaves(11);
        let mut peaks = Peaks::new();
        peaks.extend(&leaves, &mut |_, _, _| {});
        assert_eq!(Peaks::from_parts(11, peaks.peaks()), Some(peaks.clone()));
        assert_eq!(Peaks::from_parts(12, peaks.peaks()), None);
        assert_eq!(Peaks::from_parts(11, &peaks.peaks()[1..]), None);
        assert_eq!(Peaks::from_parts(0, &[]), Some(Peaks::new()));
    }

    #[test]
    fn an_idle_log_is_cheap() {
        assert!(size_of::<Peaks>() <= 56, "{} bytes", size_of::<Peaks>());
    }
}
