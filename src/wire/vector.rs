//! Version vectors: for each author, how much of its log has been seen.

use std::collections::BTreeMap;

use crate::wire::id::{Dot, XaeroID};

/// How much of each author's log has been seen. Authors of whom nothing was seen are absent.
///
/// See Parker et al., "Detection of Mutual Inconsistency in Distributed Systems" (1983).
///
/// ```
/// use xaeroflux::{Dot, VersionVector, XaeroID};
/// let alice = XaeroID::from([1; 32]);
/// let mut seen = VersionVector::new();
/// seen.observe(Dot::new(alice, 3));
/// assert!(seen.covers(Dot::new(alice, 2)));
/// assert!(!seen.covers(Dot::new(alice, 4)));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionVector(BTreeMap<XaeroID, u64>);

impl VersionVector {
    /// Nothing seen.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether the event with this dot has been seen.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        self.get(dot.author) >= dot.seq
    }

    /// How many of this author's events have been seen.
    #[must_use]
    pub fn get(&self, author: XaeroID) -> u64 {
        self.0.get(&author).copied().unwrap_or(0)
    }

    /// Notes that the event with this dot, and all before it by its author, have been seen.
    pub fn observe(&mut self, dot: Dot) {
        let seen = self.0.entry(dot.author).or_insert(0);
        *seen = (*seen).max(dot.seq);
    }

    /// Notes everything that `other` has seen.
    pub fn join(&mut self, other: &Self) {
        for (author, seq) in other.iter() {
            self.observe(Dot::new(author, seq));
        }
    }

    /// Whether everything that `other` has seen is seen here.
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        other.iter().all(|(author, seq)| self.covers(Dot::new(author, seq)))
    }

    /// The entries, by author.
    pub fn iter(&self) -> impl Iterator<Item = (XaeroID, u64)> + '_ {
        self.0.iter().map(|(author, seq)| (*author, *seq))
    }

    /// The number of authors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing has been seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Dot> for VersionVector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut vector = Self::new();
        for dot in dots {
            vector.observe(dot);
        }
        vector
    }
}
