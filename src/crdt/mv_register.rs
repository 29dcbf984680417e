//! The multi-value register: it shows concurrent writes instead of hiding one.
//!
//! A write replaces the writes that its author had seen. So the register holds the writes that are in no other write's
//! context: one, unless people wrote at the same time; then all of theirs, until somebody has seen them and writes again.
//!
//! Where the source does not promise causal delivery, the join of all contexts is kept too: a write that arrives after
//! one that had seen it is recognised by it.

use std::any::Any;

use crate::{
    crdt::{
        operator::{Applied, CausalContext, FoldState},
        snapshot::{Kind, Reader, Writer},
    },
    wire::{
        event::{CRDT_REGISTER_WRITE, EventType, XaeroEvent},
        id::Dot,
        vector::VersionVector,
    },
};

/// Version of the snapshot's layout.
const SNAPSHOT_VERSION: u8 = 1;

/// Least bytes of a write in a snapshot: its dot and the length of its value.
const WRITE_BYTES: usize = 48;

/// The values that nobody has replaced yet.
///
/// ```
/// use xaeroflux::{Dot, VersionVector, XaeroID, crdt::MVRegister};
/// let (alice, bob) = (XaeroID::from([1; 32]), XaeroID::from([2; 32]));
/// let mut title = MVRegister::new();
/// title.write(b"Plan", Dot::new(alice, 1), &VersionVector::new());
/// title.write(b"Idea", Dot::new(bob, 1), &VersionVector::new());
/// assert_eq!(title.values(), [b"Idea", b"Plan"], "neither had seen the other");
///
/// let both = VersionVector::from_iter([Dot::new(alice, 1), Dot::new(bob, 1)]);
/// title.write(b"Goal", Dot::new(bob, 2), &both);
/// assert_eq!(title.values(), [b"Goal"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MVRegister {
    /// The writes that no known context covers, ascending by dot.
    writes: Vec<(Dot, Vec<u8>)>,
    /// The join of the contexts of all writes; stays empty under causal delivery.
    replaced: VersionVector,
}

impl MVRegister {
    /// The register that was never written.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `value` by the event with this dot, whose author had seen `context`.
    pub fn write(&mut self, value: &[u8], dot: Dot, context: &dyn CausalContext) {
        self.writes.retain(|(known, _)| !context.covers(*known));
        if !context.causal_delivery() {
            for (author, seq) in context.to_vector().iter() {
                // A write does not replace itself, even where a context counts it among what its author knows.
                let seq = if author == dot.author { seq.min(dot.seq.saturating_sub(1)) } else { seq };
                if seq > 0 {
                    self.replaced.observe(Dot::new(author, seq));
                }
            }
        }
        if self.replaced.covers(dot) {
            return;
        }
        if let Err(at) = self.writes.binary_search_by_key(&dot, |(known, _)| *known) {
            self.writes.insert(at, (dot, value.to_vec()));
        }
    }

    /// The values in ascending order of their bytes, each once: two people who wrote the same do not disagree.
    #[must_use]
    pub fn values(&self) -> Vec<&[u8]> {
        let mut values: Vec<_> = self.writes.iter().map(|(_, value)| value.as_slice()).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The writes that nobody has replaced yet, ascending by dot.
    pub fn writes(&self) -> impl Iterator<Item = (Dot, &[u8])> {
        self.writes.iter().map(|(dot, value)| (*dot, value.as_slice()))
    }

    /// The register that [`save`](FoldState::save) wrote; `None` where the bytes are not that.
    #[must_use]
    pub fn restore(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::open(bytes, Kind::MVRegister, SNAPSHOT_VERSION)?;
        let replaced = reader.vector()?;
        let count = reader.count(WRITE_BYTES)?;
        let mut writes: Vec<(Dot, Vec<u8>)> = Vec::with_capacity(count);
        for _ in 0..count {
            let dot = reader.dot()?;
            if writes.last().is_some_and(|(before, _)| *before >= dot) {
                return None;
            }
            writes.push((dot, reader.bytes()?.to_vec()));
        }
        reader.end()?;
        Some(Self { writes, replaced })
    }
}

impl FoldState for MVRegister {
    fn apply(&mut self, event: &XaeroEvent, dot: Dot, context: &dyn CausalContext) -> Applied {
        if event.evt.event_type != EventType::ApplicationEvent(CRDT_REGISTER_WRITE) {
            return Applied::NotMine;
        }
        self.write(&event.evt.data, dot, context);
        Applied::Yes
    }

    fn save(&self) -> Option<Vec<u8>> {
        let mut writer = Writer::new(Kind::MVRegister, SNAPSHOT_VERSION);
        writer.vector(&self.replaced);
        writer.count(self.writes.len());
        for (dot, value) in &self.writes {
            writer.dot(*dot);
            writer.bytes(value);
        }
        Some(writer.finish())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crdt::{laws::Causal, snapshot::tests::refuses_damage},
        wire::id::XaeroID,
    };

    fn dot(author: u8, seq: u64) -> Dot {
        Dot::new(XaeroID::from([author; 32]), seq)
    }

    fn seen(dots: &[Dot]) -> VersionVector {
        dots.iter().copied().collect()
    }

    #[test]
    fn a_write_that_comes_after_the_one_that_replaced_it_is_not_shown() {
        let mut register = MVRegister::new();
        register.write(b"new", dot(2, 1), &seen(&[dot(1, 1)]));
        register.write(b"old", dot(1, 1), &seen(&[]));
        assert_eq!(register.values(), [b"new"]);
    }

    #[test]
    fn a_context_that_names_the_write_itself_does_not_replace_it() {
        for context in [&seen(&[dot(1, 1)]) as &dyn CausalContext, &Causal(seen(&[dot(1, 1)]))] {
            let mut register = MVRegister::new();
            register.write(b"x", dot(1, 1), context);
            assert_eq!(register.values(), [b"x"]);
        }
    }

    #[test]
    fn the_same_value_from_two_people_is_shown_once_and_held_twice() {
        let mut register = MVRegister::new();
        register.write(b"x", dot(1, 1), &seen(&[]));
        register.write(b"x", dot(2, 1), &seen(&[]));
        assert_eq!(register.values(), [b"x"]);
        assert_eq!(register.writes().count(), 2);
        register.write(b"y", dot(3, 1), &seen(&[dot(1, 1)]));
        assert_eq!(register.values(), [b"x", b"y"]);
    }

    #[test]
    fn under_causal_delivery_only_the_values_shown_are_kept() {
        let mut register = MVRegister::new();
        for seq in 1..=100 {
            register.write(b"x", dot(1, seq), &Causal(seen(&[dot(1, seq - 1)])));
        }
        assert_eq!(register.writes().collect::<Vec<_>>(), [(dot(1, 100), &b"x"[..])]);
        assert!(register.replaced.is_empty());
    }

    #[test]
    fn a_snapshot_brings_it_back_and_damage_is_refused() {
        let mut register = MVRegister::new();
        register.write(b"x", dot(1, 2), &seen(&[dot(3, 4)]));
        register.write(b"y", dot(2, 1), &seen(&[]));
        let bytes = register.save().unwrap();
        let mut back = MVRegister::restore(&bytes).unwrap();
        assert_eq!(back, register);
        back.write(b"late", dot(3, 4), &seen(&[]));
        assert_eq!(back, register, "what was replaced came back too");
        refuses_damage(&bytes, MVRegister::restore);
    }
}
