//! Cuts: where the logs of authors end for all that counts.
//!
//! An event past its author's cut stays in the log, and counts for nothing: no fold takes it, and the subject's root leaves it
//! out. There are two kinds of cuts, and the lower one holds:
//!
//! * A **fork** ends the log of an author who has signed two histories. Another replica holds another event in the same place,
//!   so whatever was seen *through* it counts as not seen, and who depends on it depends on the last of its author's events
//!   before the two parted. A fork is for ever.
//! * The **rights** in an owned subject end the log of an author who was revoked. All replicas hold the same events, so these
//!   go on telling what others had seen; and the cut may be lifted again, where the revocation is itself undone. So the
//!   events past it are taken in and kept like any other.

use std::sync::Arc;

use crate::wire::id::{Dot, XaeroID};

/// The cuts of one subject. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cuts(Option<Arc<Vec<AuthorCut>>>);

/// Where one author's log ends: by the sequence number of the last event before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AuthorCut {
    author: XaeroID,
    /// [`NONE`] without a fork.
    fork: u64,
    /// [`NONE`] where the rights do not end it.
    rights: u64,
}

/// There is no cut.
const NONE: u64 = u64::MAX;

impl Cuts {
    /// By author, ascending: the sequence number of the last event that counts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (XaeroID, u64)> + '_ {
        self.all().map(|cut| (cut.author, cut.fork.min(cut.rights)))
    }

    /// By author, ascending: those whose logs have forked, with the last event before that.
    pub(crate) fn forks(&self) -> impl Iterator<Item = (XaeroID, u64)> + '_ {
        self.all().filter(|cut| cut.fork != NONE).map(|cut| (cut.author, cut.fork))
    }

    /// By author, ascending: those whose logs the rights end, with the last event before that.
    pub(crate) fn revoked(&self) -> impl Iterator<Item = (XaeroID, u64)> + '_ {
        self.all().filter(|cut| cut.rights != NONE).map(|cut| (cut.author, cut.rights))
    }

    /// The sequence number of the author's last event that counts, where there is a cut.
    pub(crate) fn last_valid(&self, author: XaeroID) -> Option<u64> {
        self.of(author).map(|cut| cut.fork.min(cut.rights))
    }

    /// The sequence number of the author's last event before a fork, where there is one.
    pub(crate) fn fork(&self, author: XaeroID) -> Option<u64> {
        self.of(author).map(|cut| cut.fork).filter(|last| *last != NONE)
    }

    /// Whether the event counts for nothing.
    pub(crate) fn retracts(&self, dot: Dot) -> bool {
        self.of(dot.author).is_some_and(|cut| dot.seq > cut.fork.min(cut.rights))
    }

    /// Whether the event is past a fork: another replica may hold another one in its place.
    pub(crate) fn parts(&self, dot: Dot) -> bool {
        self.of(dot.author).is_some_and(|cut| dot.seq > cut.fork)
    }

    /// What a dependency stands for: of an event past a fork what its author had written before, if anything.
    pub(crate) fn clamp(&self, dep: Dot) -> Option<Dot> {
        match self.of(dep.author) {
            Some(cut) if cut.fork == 0 => None,
            Some(cut) if dep.seq > cut.fork => Some(Dot::new(dep.author, cut.fork)),
            _ => Some(dep),
        }
    }

    /// With this fork as well; of two for one author the lower one holds.
    #[must_use]
    pub(crate) fn with(&self, author: XaeroID, last_valid: u64) -> Self {
        let mut cuts: Vec<AuthorCut> = self.all().copied().collect();
        let cut = entry(&mut cuts, author);
        if let Some(cut) = cut {
            cut.fork = last_valid.min(cut.fork);
        }
        Self::from_vec(cuts)
    }

    /// With the same forks, and these ends by the rights in place of all others.
    #[must_use]
    pub(crate) fn with_rights(&self, rights: impl IntoIterator<Item = (XaeroID, u64)>) -> Self {
        let forks = self.all().filter(|cut| cut.fork != NONE);
        let mut cuts: Vec<AuthorCut> = forks.map(|cut| AuthorCut { rights: NONE, ..*cut }).collect();
        for (author, last_valid) in rights {
            if let Some(cut) = entry(&mut cuts, author) {
                cut.rights = last_valid;
            }
        }
        Self::from_vec(cuts)
    }

    fn from_vec(cuts: Vec<AuthorCut>) -> Self {
        Self((!cuts.is_empty()).then(|| Arc::new(cuts)))
    }

    fn all(&self) -> impl Iterator<Item = &AuthorCut> {
        self.0.iter().flat_map(|cuts| cuts.iter())
    }

    fn of(&self, author: XaeroID) -> Option<&AuthorCut> {
        let cuts = self.0.as_ref()?;
        let at = cuts.binary_search_by_key(&author, |cut| cut.author).ok()?;
        cuts.get(at)
    }
}

/// The entry of an author, made where there is none.
fn entry(cuts: &mut Vec<AuthorCut>, author: XaeroID) -> Option<&mut AuthorCut> {
    let at = cuts.binary_search_by_key(&author, |cut| cut.author).unwrap_or_else(|at| {
        cuts.insert(at, AuthorCut { author, fork: NONE, rights: NONE });
        at
    });
    cuts.get_mut(at)
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

    #[test]
    fn a_cut_by_the_rights_is_lifted_and_a_fork_is_not() {
        let [a, b] = [1, 2].map(|n| XaeroID::from([n; 32]));
        let forked = Cuts::default().with(a, 5);
        let both = forked.with_rights([(a, 3), (b, 0)]);
        assert_eq!(
            (both.last_valid(a), both.last_valid(b), both.fork(a), both.fork(b)),
            (Some(3), Some(0), Some(5), None)
        );
        assert!(both.retracts(Dot::new(a, 4)) && !both.parts(Dot::new(a, 4)) && both.parts(Dot::new(a, 6)));
        assert_eq!(both.clamp(Dot::new(b, 7)), Some(Dot::new(b, 7)), "what a revoked author wrote goes on being seen");
        assert_eq!(both.with_rights([]), forked);
        assert_eq!(Cuts::default().with_rights([(b, 1)]).with_rights([]), Cuts::default());
    }
}
