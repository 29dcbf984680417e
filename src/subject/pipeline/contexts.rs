//! What folds may ask about causality, and the answer where nothing is durable.

use std::{collections::BTreeSet, sync::Arc};

use crate::wire::{
    clock::Clock,
    event::Stamp,
    id::{Dot, SubjectId, XaeroID},
    vector::VersionVector,
};

/// What each event's author had seen, answered by whoever feeds the pipeline.
///
/// Sources are numbered from 0; only a merged pipeline has more than one. Dots are those that came with
/// [`Pipeline::feed`](crate::subject::pipeline::Pipeline::feed).
pub trait Contexts {
    /// Whether the author of `event` had seen `other`, an event of the same subject. An event covers itself.
    fn covers(&self, source: usize, event: Dot, other: Dot) -> bool;

    /// All that the author of `event` had seen.
    fn vector(&self, source: usize, event: Dot) -> VersionVector;

    /// Whether each event is fed exactly once and after all that its author had seen. Where two sources read the same
    /// subject, and not in lockstep, that does not hold.
    fn causal_delivery(&self) -> bool;

    /// Whether a source has a part of its subject only, so that a state made of its events is not the subject's.
    fn is_partial(&self) -> bool {
        false
    }

    /// The first of the sources that read the same subject as `source`. A fold takes events of sources with the same
    /// scope for events of one subject, in which a dot names one event.
    fn scope(&self, source: usize) -> usize {
        source
    }

    /// A stamp that stands in for the missing one while an event lies in a window, so that it can be sorted. The
    /// subscriber never sees it.
    fn stamp(&self, source: usize, dot: Dot) -> Option<Arc<Stamp>> {
        let _ = (source, dot);
        None
    }
}

/// The contexts of subjects that work in memory: each author has seen everything that was sent on the bus before.
///
/// The shell gives each event the dot of its author's label and its place on the bus, and calls
/// [`MemoryContexts::observe`] with it before it feeds the event to a pipeline that folds. The clock that sorts such
/// events is their place on the bus.
#[derive(Debug, Clone)]
pub struct MemoryContexts {
    subjects: Vec<SubjectId>,
    authors: Vec<BTreeSet<XaeroID>>,
}

impl MemoryContexts {
    /// The contexts of a pipeline whose source number `k` reads the bus of `subjects[k]`.
    #[must_use]
    pub fn new(subjects: Vec<SubjectId>) -> Self {
        let authors = vec![BTreeSet::new(); subjects.len()];
        Self { subjects, authors }
    }

    /// Notes that an event with this dot is on the bus. [`Contexts::vector`] tells of noted authors only.
    pub fn observe(&mut self, source: usize, dot: Dot) {
        if let Some(authors) = self.authors.get_mut(source) {
            authors.insert(dot.author);
        }
    }
}

impl Contexts for MemoryContexts {
    fn covers(&self, _source: usize, event: Dot, other: Dot) -> bool {
        other.seq < event.seq || other == event
    }

    /// A place on the bus belongs to one author, so that "all of each author's events up to here" names exactly the
    /// events before this one, and itself.
    fn vector(&self, source: usize, event: Dot) -> VersionVector {
        let authors = self.authors.get(source).into_iter().flatten().copied();
        authors.chain([event.author]).map(|author| Dot::new(author, event.seq)).collect()
    }

    fn causal_delivery(&self) -> bool {
        (0..self.subjects.len()).all(|source| self.scope(source) == source)
    }

    fn scope(&self, source: usize) -> usize {
        let subject = self.subjects.get(source);
        self.subjects.iter().position(|other| Some(other) == subject).unwrap_or(source)
    }

    fn stamp(&self, source: usize, dot: Dot) -> Option<Arc<Stamp>> {
        let subject = *self.subjects.get(source)?;
        Some(Arc::new(Stamp { subject, dot, clock: Clock::from_bits(dot.seq), deps: Vec::new(), is_withheld: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_memory_everybody_has_seen_the_bus_so_far() {
        let (alice, bob) = (XaeroID::from([1; 32]), XaeroID::from([2; 32]));
        let mut contexts = MemoryContexts::new(vec![SubjectId::from([7; 32])]);
        let dots = [Dot::new(alice, 1), Dot::new(bob, 2), Dot::new(alice, 3)];
        for dot in dots {
            contexts.observe(0, dot);
        }
        for (i, event) in dots.into_iter().enumerate() {
            let vector = contexts.vector(0, event);
            for (j, other) in dots.into_iter().enumerate() {
                assert_eq!(contexts.covers(0, event, other), j <= i);
                assert_eq!(vector.covers(other), j <= i);
            }
        }
    }

    #[test]
    fn two_sources_of_one_subject_share_a_scope_and_promise_no_order() {
        let (a, b) = (SubjectId::from([7; 32]), SubjectId::from([8; 32]));
        let apart = MemoryContexts::new(vec![a, b]);
        assert_eq!((apart.scope(0), apart.scope(1)), (0, 1));
        assert!(apart.causal_delivery());
        let shared = MemoryContexts::new(vec![a, b, a]);
        assert_eq!(shared.scope(2), 0);
        assert!(!shared.causal_delivery());
    }
}
