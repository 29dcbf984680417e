//! The frontier: the events of a subject that no other event has seen yet.
//!
//! Events and their dependencies form a directed acyclic graph; the frontier is its sinks. An event that names the
//! frontier as its dependencies has thereby seen everything. People who work together keep it at one or two dots;
//! each replica that worked alone adds one, until the next event joins them.

use smallvec::SmallVec;

use crate::wire::id::{Dot, XaeroID};

/// The sinks of the causal graph, in order of insertion.
///
/// ```
/// use xaeroflux::{Dot, XaeroID, crdt::Frontier};
/// let (alice, bob) = (XaeroID::from([1; 32]), XaeroID::from([2; 32]));
/// let mut frontier = Frontier::new();
/// frontier.insert(Dot::new(alice, 1), []);
/// frontier.insert(Dot::new(bob, 1), []);
/// assert_eq!(frontier.deps_for(alice, 10), [Dot::new(bob, 1)], "one's own log is implied");
/// frontier.insert(Dot::new(alice, 2), [Dot::new(bob, 1)]);
/// assert_eq!(frontier.iter().collect::<Vec<_>>(), [Dot::new(alice, 2)]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier(SmallVec<[Dot; 1]>);

impl Frontier {
    /// The frontier of no events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event, after its causes. `deps` are the dots that it names; its author's own previous event is implied.
    /// An event that is inserted again, or late, does no good: call it once for each.
    pub fn insert(&mut self, dot: Dot, deps: impl IntoIterator<Item = Dot>) {
        self.0.retain(|head| head.author != dot.author || head.seq > dot.seq);
        for dep in deps {
            if self.0.is_empty() {
                break;
            }
            self.0.retain(|head| *head != dep);
        }
        self.0.push(dot);
    }

    /// The dependencies that an event by `author` names when it has seen everything: the frontier without the
    /// author's own dot, ascending. Where there are more than `max`, those inserted last are kept.
    #[must_use]
    pub fn deps_for(&self, author: XaeroID, max: usize) -> Vec<Dot> {
        let others = self.0.iter().rev().filter(|head| head.author != author);
        let mut deps: Vec<_> = others.take(max).copied().collect();
        deps.sort_unstable();
        deps
    }

    /// The dots, in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        self.0.iter().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no event yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Dot> for Frontier {
    /// A frontier that was kept elsewhere, in the order of [`iter`](Frontier::iter).
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        Self(dots.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::crdt::laws::{History, history};

    proptest! {
        #[test]
        fn it_is_the_set_of_events_without_successors(history in history(5, 60)) {
            let mut frontier = Frontier::new();
            let mut sinks = BTreeSet::new();
            for event in &history.events {
                frontier.insert(event.dot, event.deps.iter().copied());
                for dep in &event.deps {
                    sinks.remove(dep);
                }
                sinks.remove(&Dot::new(event.dot.author, event.dot.seq - 1));
                sinks.insert(event.dot);
                prop_assert_eq!(&frontier.iter().collect::<BTreeSet<_>>(), &sinks);
                for author in (0..5).map(History::author) {
                    let expected: Vec<_> = sinks.iter().copied().filter(|dot| dot.author != author).collect();
                    prop_assert_eq!(frontier.deps_for(author, usize::MAX), expected);
                }
            }
        }
    }

    #[test]
    fn over_the_limit_the_newest_are_kept() {
        let dots: Vec<_> = [3, 1, 2, 4].map(|byte| Dot::new(XaeroID::from([byte; 32]), 1)).into();
        let mut frontier = Frontier::new();
        for dot in &dots {
            frontier.insert(*dot, []);
        }
        assert_eq!(frontier.deps_for(XaeroID::from([4; 32]), 2), [dots[1], dots[2]]);
        assert_eq!(frontier.deps_for(XaeroID::from([9; 32]), 2), [dots[2], dots[3]]);
        assert_eq!(frontier.deps_for(XaeroID::from([9; 32]), 0), []);
        assert_eq!(frontier.iter().collect::<Frontier>(), frontier);
    }
}
