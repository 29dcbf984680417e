//! The observed-remove set: adds and removes of one element need not agree on an order.
//!
//! A remove cancels exactly the adds that its author had seen; an add that is concurrent with it wins. So an element is
//! present if and only if some add of it is in the context of no remove of it. See Shapiro et al., "Conflict-free
//! Replicated Data Types" (2011), and for the form without tombstones Bieniusa et al., "An Optimized Conflict-free
//! Replicated Set" (2012).
//!
//! # What is kept
//!
//! Contexts are closed under each author's log: who has seen an author's fifth event has seen the fourth. Hence for
//! each element and author only the *latest* add matters, and all removes of an element amount to the join of their
//! contexts. An element is two short lists of (author, sequence number): the adds, and what removes have seen. Both are
//! maxima, which makes the set indifferent to order and repetition.
//!
//! What removes have seen is needed only by an add that arrives after a remove that had seen it. A source that delivers
//! causes first and each event once never does that, so under
//! [`causal_delivery`](CausalContext::causal_delivery) the second list does not exist, and an element without adds is
//! gone.

use std::{
    any::Any,
    hash::{BuildHasher, Hasher},
};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table};
use smallvec::SmallVec;

use crate::{
    crdt::{
        authors::Authors,
        operator::{Applied, CausalContext, FoldState},
        snapshot::{Kind, Reader, Writer},
    },
    wire::{
        event::{CRDT_SET_ADD, CRDT_SET_REMOVE, EventType, XaeroEvent},
        id::Dot,
        vector::VersionVector,
    },
};

/// Version of the snapshot's layout.
const SNAPSHOT_VERSION: u8 = 1;

/// Elements up to this many bytes lie in the table itself. Names, tags and 16-byte identifiers fit.
const INLINE_BYTES: usize = 22;

/// Least bytes of an element in a snapshot: its length and the lengths of its two lists.
const ELEMENT_BYTES: usize = 24;

/// Bytes of a mark in a snapshot.
const MARK_BYTES: usize = 12;

type Element = SmallVec<[u8; INLINE_BYTES]>;

/// A set of byte strings in which a concurrent add wins over a remove.
///
/// ```
/// use xaeroflux::{Dot, VersionVector, XaeroID, crdt::ORSet};
/// let (alice, bob) = (XaeroID::from([1; 32]), XaeroID::from([2; 32]));
/// let mut tags = ORSet::new();
/// tags.add(b"urgent", Dot::new(alice, 1));
/// tags.add(b"draft", Dot::new(alice, 2));
///
/// // Bob has seen Alice's first event only, and removes both.
/// let seen = VersionVector::from_iter([Dot::new(alice, 1)]);
/// tags.remove(b"urgent", &seen);
/// tags.remove(b"draft", &seen);
/// assert_eq!(tags.elements(), [b"draft"], "Alice's second add is concurrent with the remove");
/// # let _ = bob;
/// ```
#[derive(Debug, Clone, Default)]
pub struct ORSet {
    authors: Authors,
    entries: HashTable<Entry>,
    /// Keyed at random in each set, so that nobody can choose elements that collide.
    hasher: DefaultHashBuilder,
    /// How many entries have an add.
    live: usize,
}

/// An author's log up to a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    author: u32,
    seq: u64,
}

/// What is known of one element.
#[derive(Debug, Clone)]
struct Entry {
    element: Element,
    /// The latest add by each author that no remove has seen. Empty only where `removed` is not. Two lie in the table.
    adds: SmallVec<[Mark; 2]>,
    /// The join of what the removes have seen, ascending by author; never under causal delivery. Boxed, since it is the
    /// exception.
    #[expect(clippy::box_collection, reason = "8 bytes in every entry instead of 24")]
    removed: Option<Box<Vec<Mark>>>,
}

impl ORSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an element by the event with this dot.
    pub fn add(&mut self, element: &[u8], dot: Dot) {
        let mark = Mark { author: self.authors.intern(dot.author), seq: dot.seq };
        match self.slot(element) {
            hash_table::Entry::Occupied(mut slot) => {
                let entry = slot.get_mut();
                let was_live = entry.is_live();
                entry.add(mark);
                self.live += usize::from(!was_live && entry.is_live());
            }
            hash_table::Entry::Vacant(slot) => {
                slot.insert(Entry { element: element.into(), adds: SmallVec::from_slice(&[mark]), removed: None });
                self.live += 1;
            }
        }
    }

    /// Removes an element, as far as `context` has seen it added: `context` is what the author of the remove had seen.
    ///
    /// Where the source does not promise causal delivery, what the remove has seen is remembered, so that those adds
    /// stay removed when they arrive later or again.
    pub fn remove(&mut self, element: &[u8], context: &dyn CausalContext) {
        if context.causal_delivery() {
            self.remove_once_and_for_all(element, context);
        } else {
            self.remove_and_remember(element, &context.to_vector());
        }
    }

    /// Whether the element is in the set.
    #[must_use]
    pub fn contains(&self, element: &[u8]) -> bool {
        self.entries.find(hash(&self.hasher, element), |entry| *entry.element == *element).is_some_and(Entry::is_live)
    }

    /// The elements in ascending order of their bytes.
    #[must_use]
    pub fn elements(&self) -> Vec<&[u8]> {
        let mut elements: Vec<_> = self.iter().collect();
        elements.sort_unstable();
        elements
    }

    /// The elements in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(|entry| entry.is_live()).map(|entry| entry.element.as_slice())
    }

    /// How many elements there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether there is no element.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The set that [`save`](FoldState::save) wrote; `None` where the bytes are not that.
    #[must_use]
    pub fn restore(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::open(bytes, Kind::ORSet, SNAPSHOT_VERSION)?;
        let authors = reader.authors()?;
        let count = reader.count(ELEMENT_BYTES)?;
        let mut set = Self { authors, entries: HashTable::with_capacity(count), ..Self::default() };
        for _ in 0..count {
            let element = reader.bytes()?;
            let adds = read_marks(&mut reader, &set.authors)?;
            let removed = read_marks(&mut reader, &set.authors)?;
            if adds.is_empty() && removed.is_empty() {
                return None;
            }
            set.live += usize::from(!adds.is_empty());
            let removed = (!removed.is_empty()).then(|| Box::new(removed));
            let hash_table::Entry::Vacant(slot) = set.slot(element) else { return None };
            slot.insert(Entry { element: element.into(), adds: adds.into(), removed });
        }
        reader.end()?;
        Some(set)
    }

    /// The causal case: the adds that the remove had not seen are all that is left.
    fn remove_once_and_for_all(&mut self, element: &[u8], context: &dyn CausalContext) {
        let Self { authors, entries, hasher, live } = self;
        let Ok(mut slot) = entries.find_entry(hash(hasher, element), |entry| *entry.element == *element) else {
            return;
        };
        let entry = slot.get_mut();
        let was_live = entry.is_live();
        let covered = |mark: &Mark| authors.id(mark.author).is_some_and(|id| context.covers(Dot::new(id, mark.seq)));
        entry.adds.retain(|mark| !covered(mark));
        *live -= usize::from(was_live && !entry.is_live());
        if entry.adds.is_empty() && entry.removed.is_none() {
            slot.remove();
        }
    }

    /// The other case: what the remove had seen stays known, also where no add of the element is known yet.
    fn remove_and_remember(&mut self, element: &[u8], seen: &VersionVector) {
        if seen.is_empty() {
            return;
        }
        let seen: Vec<_> = seen.iter().map(|(author, seq)| Mark { author: self.authors.intern(author), seq }).collect();
        let empty = || Entry { element: element.into(), adds: SmallVec::new(), removed: None };
        let mut slot = self.slot(element).or_insert_with(empty);
        let entry = slot.get_mut();
        let was_live = entry.is_live();
        let removed = entry.removed.get_or_insert_default();
        for mark in seen {
            raise(removed, mark);
        }
        entry.adds.retain(|add| !reaches(removed, *add));
        self.live -= usize::from(was_live && !entry.is_live());
    }

    fn slot(&mut self, element: &[u8]) -> hash_table::Entry<'_, Entry> {
        let Self { entries, hasher, .. } = self;
        let hash_of = |entry: &Entry| hash(hasher, &entry.element);
        entries.entry(hash(hasher, element), |entry| *entry.element == *element, hash_of)
    }
}

impl Entry {
    fn is_live(&self) -> bool {
        !self.adds.is_empty()
    }

    fn add(&mut self, mark: Mark) {
        if self.removed.as_ref().is_some_and(|removed| reaches(removed, mark)) {
            return;
        }
        match self.adds.iter_mut().find(|known| known.author == mark.author) {
            Some(known) => known.seq = known.seq.max(mark.seq),
            None => self.adds.push(mark),
        }
    }
}

impl FoldState for ORSet {
    fn apply(&mut self, event: &XaeroEvent, dot: Dot, context: &dyn CausalContext) -> Applied {
        match event.evt.event_type {
            EventType::ApplicationEvent(CRDT_SET_ADD) => self.add(&event.evt.data, dot),
            EventType::ApplicationEvent(CRDT_SET_REMOVE) => self.remove(&event.evt.data, context),
            _ => return Applied::NotMine,
        }
        Applied::Yes
    }

    /// One state has one snapshot, whatever the order in which its events came: authors and elements are sorted, and
    /// authors of whom nothing is left are not in it.
    fn save(&self) -> Option<Vec<u8>> {
        let mut used = vec![false; self.authors.len()];
        let marks = |entry: &Entry| -> Vec<Mark> {
            let removed = entry.removed.iter().flat_map(|removed| removed.iter());
            entry.adds.iter().chain(removed).copied().collect()
        };
        for mark in self.entries.iter().flat_map(marks) {
            if let Some(used) = usize::try_from(mark.author).ok().and_then(|index| used.get_mut(index)) {
                *used = true;
            }
        }
        let mut ids: Vec<_> = (0u32..).zip(used).filter(|(_, used)| *used).collect::<Vec<_>>();
        ids.sort_unstable_by_key(|(number, _)| self.authors.id(*number));
        let mut number_in_snapshot = vec![0u32; self.authors.len()];
        let mut writer = Writer::new(Kind::ORSet, SNAPSHOT_VERSION);
        writer.count(ids.len());
        for (new, (old, _)) in (0u32..).zip(ids) {
            writer.author(self.authors.id(old)?);
            *number_in_snapshot.get_mut(usize::try_from(old).ok()?)? = new;
        }
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by(|a, b| a.element.cmp(&b.element));
        writer.count(entries.len());
        for entry in entries {
            writer.bytes(&entry.element);
            write_marks(&mut writer, &entry.adds, &number_in_snapshot)?;
            write_marks(&mut writer, entry.removed.as_deref().map_or(&[], Vec::as_slice), &number_in_snapshot)?;
        }
        Some(writer.finish())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The keyed hash of an element. A slice's own adds its length, which sets one value apart from the next; here is one.
fn hash(hasher: &DefaultHashBuilder, element: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(element);
    state.finish()
}

/// Whether what `marks`, ascending by author, stand for includes the event of `mark`.
fn reaches(marks: &[Mark], mark: Mark) -> bool {
    let at = marks.binary_search_by_key(&mark.author, |known| known.author).ok();
    at.and_then(|at| marks.get(at)).is_some_and(|known| known.seq >= mark.seq)
}

/// Includes the event of `mark`, and all before it by its author, in what `marks`, ascending by author, stand for.
fn raise(marks: &mut Vec<Mark>, mark: Mark) {
    match marks.binary_search_by_key(&mark.author, |known| known.author) {
        Ok(at) => {
            if let Some(known) = marks.get_mut(at) {
                known.seq = known.seq.max(mark.seq);
            }
        }
        Err(at) => marks.insert(at, mark),
    }
}

fn write_marks(writer: &mut Writer, marks: &[Mark], numbers: &[u32]) -> Option<()> {
    let number = |mark: &Mark| numbers.get(usize::try_from(mark.author).ok()?).copied();
    let mut sorted: Vec<_> = marks.iter().map(|mark| Some((number(mark)?, mark.seq))).collect::<Option<_>>()?;
    sorted.sort_unstable();
    writer.count(sorted.len());
    for (author, seq) in sorted {
        writer.u32(author);
        writer.u64(seq);
    }
    Some(())
}

fn read_marks(reader: &mut Reader<'_>, authors: &Authors) -> Option<Vec<Mark>> {
    let count = reader.count(MARK_BYTES)?;
    let mut marks: Vec<Mark> = Vec::with_capacity(count);
    for _ in 0..count {
        let mark = Mark { author: reader.u32()?, seq: reader.u64()? };
        let ascending = marks.last().is_none_or(|before| before.author < mark.author);
        if !ascending || authors.id(mark.author).is_none() {
            return None;
        }
        marks.push(mark);
    }
    Some(marks)
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
    fn an_add_that_comes_after_the_remove_that_saw_it_stays_removed() {
        let mut set = ORSet::new();
        set.remove(b"x", &seen(&[dot(1, 1)]));
        set.add(b"x", dot(1, 1));
        assert!(set.is_empty() && !set.contains(b"x"));
        set.add(b"x", dot(1, 2));
        assert!(set.contains(b"x"), "the remove had not seen this one");
        set.add(b"x", dot(1, 1));
        assert_eq!(set.elements(), [b"x"]);
    }

    #[test]
    fn each_element_is_there_once_however_many_added_it() {
        let mut set = ORSet::new();
        set.add(b"x", dot(1, 1));
        set.add(b"x", dot(2, 1));
        set.add(b"a", dot(2, 2));
        assert_eq!(set.len(), 2);
        set.remove(b"x", &seen(&[dot(1, 1)]));
        assert_eq!(set.elements(), [&b"a"[..], b"x"], "one of two adds is left");
        set.remove(b"x", &seen(&[dot(2, 1)]));
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn under_causal_delivery_only_live_elements_take_memory() {
        let mut set = ORSet::new();
        for seq in 1..=1_000u64 {
            set.add(&seq.to_le_bytes(), dot(1, seq));
            set.remove(&seq.to_le_bytes(), &Causal(seen(&[dot(1, seq)])));
            set.remove(b"never added", &Causal(seen(&[dot(1, seq)])));
        }
        assert!(set.entries.is_empty() && set.is_empty());
    }

    #[test]
    fn a_tombstone_outlives_a_change_to_causal_delivery() {
        let mut set = ORSet::new();
        set.remove(b"x", &seen(&[dot(1, 1)]));
        set.remove(b"x", &Causal(seen(&[])));
        set.add(b"x", dot(1, 1));
        assert!(set.is_empty());
    }

    #[test]
    fn a_snapshot_brings_everything_back_and_damage_is_refused() {
        let mut set = ORSet::new();
        set.add(b"x", dot(9, 1));
        set.add(b"x", dot(2, 4));
        set.add(b"a longer element than fits into the table", dot(2, 5));
        set.remove(b"gone", &seen(&[dot(3, 7), dot(1, 1)]));
        let bytes = set.save().unwrap();
        let mut back = ORSet::restore(&bytes).unwrap();
        assert_eq!(back.save().unwrap(), bytes);
        assert_eq!(back.elements(), set.elements());
        assert_eq!(back.len(), 2);
        back.add(b"gone", dot(3, 7));
        assert!(!back.contains(b"gone"), "the tombstone came back too");
        refuses_damage(&bytes, ORSet::restore);
    }
}
