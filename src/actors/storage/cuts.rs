//! Cuts: where the logs of authors end who have signed two histories.
//!
//! An event past its author's cut stays in the log, and counts for nothing: no fold takes it, the subject's root leaves it
//! out, and who depends on it depends on the last of its author's events that counts. What had been seen *through* it
//! counts as not seen, since another replica holds another event in its place.

use std::sync::Arc;

use crate::wire::id::{Dot, XaeroID};

/// The cuts of one subject. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cuts(Option<Arc<Vec<(XaeroID, u64)>>>);

impl Cuts {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// By author, ascending: the sequence number of the last event that counts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (XaeroID, u64)> + '_ {
        self.0.iter().flat_map(|cuts| cuts.iter().copied())
    }

    /// The sequence number of the author's last event that counts, where there is a cut.
    pub(crate) fn last_valid(&self, author: XaeroID) -> Option<u64> {
        let cuts = self.0.as_ref()?;
        let at = cuts.binary_search_by_key(&author, |(author, _)| *author).ok()?;
        cuts.get(at).map(|(_, last)| *last)
    }

    /// Whether the event counts for nothing.
    pub(crate) fn retracts(&self, dot: Dot) -> bool {
        !self.is_empty() && self.last_valid(dot.author).is_some_and(|last| dot.seq > last)
    }

    /// What a dependency stands for: of a retracted event what its author had written before, if anything.
    pub(crate) fn clamp(&self, dep: Dot) -> Option<Dot> {
        match self.last_valid(dep.author) {
            Some(0) => None,
            Some(last) if dep.seq > last => Some(Dot::new(dep.author, last)),
            _ => Some(dep),
        }
    }

    /// With this cut as well; of two for one author the lower one holds.
    #[must_use]
    pub(crate) fn with(&self, author: XaeroID, last_valid: u64) -> Self {
        let mut cuts: Vec<(XaeroID, u64)> = self.iter().collect();
        match cuts.binary_search_by_key(&author, |(author, _)| *author) {
            Ok(at) => {
                if let Some((_, last)) = cuts.get_mut(at) {
                    *last = last_valid.min(*last);
                }
            }
            Err(at) => cuts.insert(at, (author, last_valid)),
        }
        Self(Some(Arc::new(cuts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_cut_holds_whatever_came_first() {
        let [a, b, c] = [1, 2, 3].map(|n| XaeroID::from([n; 32]));
        let cuts = Cuts::default().with(b, 5).with(a, 0).with(b, 7).with(b, 4);
        assert_eq!(cuts, Cuts::default().with(b, 4).with(b, 5).with(a, 3).with(a, 0));
        assert_eq!((cuts.last_valid(a), cuts.last_valid(b), cuts.last_valid(c)), (Some(0), Some(4), None));
        assert!(cuts.retracts(Dot::new(b, 5)) && !cuts.retracts(Dot::new(b, 4)) && !cuts.retracts(Dot::new(c, 9)));
        assert_eq!(cuts.clamp(Dot::new(b, 9)), Some(Dot::new(b, 4)));
        assert_eq!((cuts.clamp(Dot::new(a, 1)), cuts.clamp(Dot::new(c, 9))), (None, Some(Dot::new(c, 9))));
    }
}
