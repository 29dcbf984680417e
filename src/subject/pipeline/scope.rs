//! Names of events within one fold, and what the fold may ask about them.
//!
//! A fold tells events apart by their dots. A dot names an event within one subject, so that where several subjects
//! are merged, alice's fifth event in one has the same dot as her fifth in the other. The pipeline gives the authors
//! of each further subject an alias: their identifier, combined with a mask that belongs to the source by exclusive or.
//! The alias goes into the fold, is stripped when the fold asks about causality, and never leaves the pipeline. No
//! author has seen any event of another subject, as far as anybody knows.
//!
//! An event that a stage made, such as `buffer`, has no dot. It gets one from a running number and its author under one
//! more mask, and counts as made after all such events before it.

use hashbrown::HashMap;

use crate::{
    crdt::operator::CausalContext,
    subject::pipeline::contexts::Contexts,
    wire::{
        id::{Dot, XaeroID},
        vector::VersionVector,
    },
};

/// Domain of the hash that makes the masks.
const MASK_CONTEXT: &str = "xaeroflux 2026 author alias of a merged source v1";

/// The number from which the mask of made events comes; no pipeline has so many sources.
const MADE: u64 = u64::MAX;

/// The aliases of one fold.
pub(super) struct Scopes {
    /// For each source, the mask of its authors; that of the first is all zeros.
    masks: Vec<Mask>,
    made_mask: Mask,
    /// How many events without a dot there were.
    made: u64,
    /// Where the author behind an alias belongs. A pipeline of one source leaves out those of that source.
    origins: HashMap<XaeroID, Origin>,
}

type Mask = [u8; 32];

/// Where an event belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// To a subject, named by the first source that reads it.
    Subject(usize),
    /// Nowhere: a stage made it.
    Made,
}

/// An event's names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) source: usize,
    /// The name within its source, if it has one.
    pub(super) dot: Option<Dot>,
    /// The name within the fold.
    pub(super) alias: Dot,
    origin: Origin,
}

impl Scopes {
    pub(super) fn new(sources: usize) -> Self {
        let masks = (0..sources as u64).map(|source| if source == 0 { Mask::default() } else { mask(source) });
        Self { masks: masks.collect(), made_mask: mask(MADE), made: 0, origins: HashMap::new() }
    }

    /// Names an event within the fold.
    pub(super) fn name(
        &mut self,
        source: usize,
        dot: Option<Dot>,
        author: Option<XaeroID>,
        contexts: &dyn Contexts,
    ) -> Named {
        let Some(real) = dot else {
            self.made += 1;
            let author = masked(author.unwrap_or_else(|| XaeroID::from([0; 32])), &self.made_mask);
            self.origins.insert(author, Origin::Made);
            return Named { source, dot, alias: Dot::new(author, self.made), origin: Origin::Made };
        };
        if self.masks.len() <= 1 {
            return Named { source, dot, alias: real, origin: Origin::Subject(0) };
        }
        let scope = contexts.scope(source);
        let author = masked(real.author, self.mask_of(scope));
        self.origins.insert(author, Origin::Subject(scope));
        Named { source, dot, alias: Dot::new(author, real.seq), origin: Origin::Subject(scope) }
    }

    fn mask_of(&self, scope: usize) -> &Mask {
        self.masks.get(scope).unwrap_or(&self.made_mask)
    }

    /// Where the author behind an alias belongs, if the fold can have heard of it.
    fn origin(&self, alias: XaeroID) -> Option<Origin> {
        let known = self.origins.get(&alias).copied();
        if self.masks.len() <= 1 { known.or(Some(Origin::Subject(0))) } else { known }
    }
}

/// What a fold may ask about one event.
pub(super) struct EventContext<'a> {
    pub(super) scopes: &'a Scopes,
    pub(super) contexts: &'a dyn Contexts,
    pub(super) event: Named,
    /// Whether the event comes after all that its author had seen.
    pub(super) causal: bool,
}

impl CausalContext for EventContext<'_> {
    fn covers(&self, other: Dot) -> bool {
        if other == self.event.alias {
            return true;
        }
        match (self.scopes.origin(other.author), self.event.origin, self.event.dot) {
            (Some(Origin::Made), Origin::Made, _) => other.seq < self.event.alias.seq,
            (Some(Origin::Subject(theirs)), Origin::Subject(ours), Some(dot)) if theirs == ours => {
                let author = masked(other.author, self.scopes.mask_of(ours));
                self.contexts.covers(self.event.source, dot, Dot::new(author, other.seq))
            }
            _ => false,
        }
    }

    fn to_vector(&self) -> VersionVector {
        match (self.event.origin, self.event.dot) {
            (Origin::Subject(scope), Some(dot)) => {
                let vector = self.contexts.vector(self.event.source, dot);
                let mask = self.scopes.mask_of(scope);
                vector.iter().map(|(author, seq)| Dot::new(masked(author, mask), seq)).collect()
            }
            _ => {
                let made = self.scopes.origins.iter().filter(|(_, origin)| **origin == Origin::Made);
                made.map(|(author, _)| Dot::new(*author, self.event.alias.seq)).collect()
            }
        }
    }

    fn causal_delivery(&self) -> bool {
        self.causal
    }
}

fn mask(number: u64) -> Mask {
    blake3::derive_key(MASK_CONTEXT, &number.to_le_bytes())
}

/// The author under a mask, or the author from under it.
fn masked(author: XaeroID, mask: &Mask) -> XaeroID {
    let mut bytes: [u8; 32] = author.into();
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    XaeroID::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{subject::pipeline::contexts::MemoryContexts, wire::id::SubjectId};

    fn alice() -> XaeroID {
        XaeroID::from([1; 32])
    }

    fn context<'a>(scopes: &'a Scopes, contexts: &'a dyn Contexts, event: Named) -> EventContext<'a> {
        EventContext { scopes, contexts, event, causal: true }
    }

    fn buses(subjects: &[u8]) -> MemoryContexts {
        MemoryContexts::new(subjects.iter().map(|byte| SubjectId::from([*byte; 32])).collect())
    }

    #[test]
    fn equal_dots_of_two_subjects_are_two_events() {
        let (contexts, mut scopes) = (buses(&[1, 2]), Scopes::new(2));
        let dot = Some(Dot::new(alice(), 5));
        let (here, there) = (scopes.name(0, dot, None, &contexts), scopes.name(1, dot, None, &contexts));
        assert_ne!(here.alias, there.alias);
        let later = scopes.name(1, Some(Dot::new(alice(), 6)), None, &contexts);
        let context = context(&scopes, &contexts, later);
        assert!(context.covers(there.alias), "of its own subject");
        assert!(!context.covers(here.alias), "of the other subject");
        assert!(context.to_vector().covers(there.alias));
        assert!(!context.to_vector().covers(here.alias));
    }

    #[test]
    fn two_sources_of_one_subject_speak_of_the_same_events() {
        let (contexts, mut scopes) = (buses(&[1, 1]), Scopes::new(2));
        let add = scopes.name(0, Some(Dot::new(alice(), 1)), None, &contexts);
        assert_eq!(scopes.name(1, Some(Dot::new(alice(), 1)), None, &contexts).alias, add.alias);
        let remove = scopes.name(1, Some(Dot::new(XaeroID::from([2; 32]), 2)), None, &contexts);
        assert!(context(&scopes, &contexts, remove).covers(add.alias));
    }

    #[test]
    fn made_events_come_after_those_made_before() {
        let (contexts, mut scopes) = (buses(&[1]), Scopes::new(1));
        let real = scopes.name(0, Some(Dot::new(alice(), 1)), None, &contexts);
        let first = scopes.name(0, None, None, &contexts);
        let second = scopes.name(0, None, Some(alice()), &contexts);
        let context_of = |event| context(&scopes, &contexts, event);
        assert!(context_of(second).covers(first.alias) && context_of(second).covers(second.alias));
        assert!(!context_of(first).covers(second.alias));
        assert!(!context_of(second).covers(real.alias) && !context_of(real).covers(first.alias));
        assert!(context_of(second).to_vector().covers(first.alias));
        assert!(!context_of(first).to_vector().covers(second.alias));
    }
}
