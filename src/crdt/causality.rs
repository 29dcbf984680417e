//! What every event's author had seen, derived from the few dependencies that each event names.
//!
//! A version vector for each event would take 40 bytes for each author and event. But a vector changes little from one
//! event of an author to the next, so [`CausalIndex`] keeps, for each pair of authors (a, b), only the steps: *from a's
//! event number s on, b's events up to number t were seen*. Steps ascend in both numbers, since a log only ever learns,
//! and a look-up is a binary search. Two people who answer each other cost one step, 16 bytes, an event.
//!
//! # Insertion
//!
//! An event's vector is the join of its predecessors': its author's previous event and its dependencies. For a
//! dependency (b, t) of which the author had seen b up to r, only what changed in b's vector after r can be news. Each
//! author's rows are therefore kept in order of their last change, and the join stops at the first that is old.

use hashbrown::HashMap;

use crate::{
    crdt::{authors::Authors, operator::CausalContext},
    wire::{
        id::{Dot, XaeroID},
        vector::VersionVector,
    },
};

/// Growth of a list of steps is a quarter of its length, not double: at a million events the slack is what counts.
const GROWTH_DIVISOR: usize = 4;

/// The causal history of one subject's events.
///
/// ```
/// use xaeroflux::{Dot, XaeroID, crdt::CausalIndex};
/// let [alice, bob, carol] = [1, 2, 3].map(|byte| XaeroID::from([byte; 32]));
/// let mut index = CausalIndex::new();
/// index.insert(Dot::new(alice, 1), []);
/// index.insert(Dot::new(bob, 1), [Dot::new(alice, 1)]);
/// index.insert(Dot::new(carol, 1), [Dot::new(bob, 1)]);
/// assert!(index.saw(Dot::new(carol, 1), Dot::new(alice, 1)), "through Bob");
/// assert!(!index.saw(Dot::new(bob, 1), Dot::new(carol, 1)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct CausalIndex {
    authors: Authors,
    logs: Vec<Log>,
}

/// What is known of one author's events.
#[derive(Debug, Clone, Default)]
struct Log {
    /// How many of its events were inserted.
    len: u64,
    /// What they have seen of each other author.
    rows: Vec<Row>,
    /// Where in `rows` an author's is.
    row_of: HashMap<u32, usize>,
    /// Positions in `rows`, the row that got a step last at the end.
    changed: Vec<usize>,
}

/// What one author's log has seen of one other author.
#[derive(Debug, Clone)]
struct Row {
    other: u32,
    /// Ascending in both numbers.
    steps: Vec<Step>,
}

/// From event number `from` on, the other author's events up to number `upto` were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    from: u64,
    upto: u64,
}

impl CausalIndex {
    /// The index of no events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event, which must come after its causes: each author's sequence numbers ascend from 1 without a gap, and
    /// `deps`, the dots that the event names apart from its author's own previous one, are in the index.
    ///
    /// An event that is in the index already changes nothing. A dependency that is not in it is noted, but what lies
    /// behind it only as far as it is known.
    pub fn insert(&mut self, dot: Dot, deps: impl IntoIterator<Item = Dot>) {
        let author = self.number(dot);
        // The log is taken out while others are read, and put back at the end.
        let Some(mut log) = self.log_mut(author).map(std::mem::take) else { return };
        if dot.seq > log.len {
            log.len = dot.seq;
            let mut learnt = 0;
            for dep in deps {
                let other = self.number(dep);
                let known = log.latest(other);
                if other == author || dep.seq <= known {
                    continue;
                }
                if let Some(source) = self.log(other) {
                    source.news(known, dep.seq, |third, upto| {
                        if third != author {
                            learnt += usize::from(log.learn(third, Step { from: dot.seq, upto }));
                        }
                    });
                }
                learnt += usize::from(log.learn(other, Step { from: dot.seq, upto: dep.seq }));
            }
            log.reorder(dot.seq, learnt);
        }
        if let Some(slot) = self.log_mut(author) {
            *slot = log;
        }
    }

    /// Whether the author of `later` had seen `earlier` when making it. No event has seen itself, and nothing is known
    /// of an event that is not in the index.
    #[must_use]
    pub fn saw(&self, later: Dot, earlier: Dot) -> bool {
        self.context(later).covers(earlier)
    }

    /// All that the author of the event had seen when making it; its own log up to the event before included. Of an
    /// event beyond the author's last known one, it is what the author is known to have seen at least.
    #[must_use]
    pub fn vector(&self, dot: Dot) -> VersionVector {
        let mut vector = VersionVector::new();
        let Some(log) = self.authors.get(dot.author).and_then(|author| self.log(author)) else { return vector };
        let own = dot.seq.saturating_sub(1).min(log.len);
        if own > 0 {
            vector.observe(Dot::new(dot.author, own));
        }
        for row in &log.rows {
            let upto = row.seen_at(dot.seq);
            if let Some(id) = self.authors.id(row.other).filter(|_| upto > 0) {
                vector.observe(Dot::new(id, upto));
            }
        }
        vector
    }

    /// What the author of the event had seen, as a fold wants it. It promises causal delivery: the index itself is
    /// filled causes first, each event once.
    #[must_use]
    pub fn context(&self, dot: Dot) -> SeenBy<'_> {
        let author = self.authors.get(dot.author);
        let log = author.and_then(|author| self.log(author)).filter(|log| (1..=log.len).contains(&dot.seq));
        SeenBy { index: self, dot, log }
    }

    /// How many of the author's events are in the index.
    #[must_use]
    pub fn len_of(&self, author: XaeroID) -> u64 {
        self.authors.get(author).and_then(|author| self.log(author)).map_or(0, |log| log.len)
    }

    /// Bytes that the index holds on the heap, roughly.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let row = |row: &Row| row.steps.capacity() * size_of::<Step>();
        let log = |log: &Log| {
            let steps: usize = log.rows.iter().map(row).sum();
            let map = log.row_of.allocation_size();
            steps + map + log.rows.capacity() * size_of::<Row>() + log.changed.capacity() * size_of::<usize>()
        };
        self.logs.iter().map(log).sum::<usize>() + self.logs.capacity() * size_of::<Log>() + self.authors.len() * 40
    }

    fn number(&mut self, dot: Dot) -> u32 {
        let number = self.authors.intern(dot.author);
        if self.logs.len() < self.authors.len() {
            self.logs.resize_with(self.authors.len(), Log::default);
        }
        number
    }

    fn log(&self, author: u32) -> Option<&Log> {
        usize::try_from(author).ok().and_then(|index| self.logs.get(index))
    }

    fn log_mut(&mut self, author: u32) -> Option<&mut Log> {
        usize::try_from(author).ok().and_then(|index| self.logs.get_mut(index))
    }
}

/// What the author of one event had seen: a view into a [`CausalIndex`].
#[derive(Debug, Clone, Copy)]
pub struct SeenBy<'a> {
    index: &'a CausalIndex,
    dot: Dot,
    /// Absent where the event is not in the index: then nothing is known to be seen.
    log: Option<&'a Log>,
}

impl CausalContext for SeenBy<'_> {
    fn covers(&self, dot: Dot) -> bool {
        let Some(log) = self.log else { return false };
        if dot.author == self.dot.author {
            return dot.seq < self.dot.seq;
        }
        self.index.authors.get(dot.author).is_some_and(|other| dot.seq <= log.seen_at(other, self.dot.seq))
    }

    fn to_vector(&self) -> VersionVector {
        self.log.map_or_else(VersionVector::new, |_| self.index.vector(self.dot))
    }

    fn causal_delivery(&self) -> bool {
        true
    }
}

impl Log {
    fn row(&self, other: u32) -> Option<&Row> {
        self.rows.get(*self.row_of.get(&other)?)
    }

    /// How many of the other author's events the latest event has seen.
    fn latest(&self, other: u32) -> u64 {
        self.row(other).and_then(|row| row.steps.last()).map_or(0, |step| step.upto)
    }

    /// How many of the other author's events were seen by event number `seq`.
    fn seen_at(&self, other: u32, seq: u64) -> u64 {
        self.row(other).map_or(0, |row| row.seen_at(seq))
    }

    /// Calls `tell` with what event number `upto` has seen of others, as far as it may have been news after event
    /// number `known`.
    fn news(&self, known: u64, upto: u64, mut tell: impl FnMut(u32, u64)) {
        let rows = self.changed.iter().rev().filter_map(|row| self.rows.get(*row));
        for row in rows.take_while(|row| row.last_change() > known) {
            tell(row.other, row.seen_at(upto));
        }
    }

    /// Notes what the newest event has seen of another author; whether that is its first step in this row.
    fn learn(&mut self, other: u32, step: Step) -> bool {
        let at = *self.row_of.entry(other).or_insert_with(|| {
            self.rows.push(Row { other, steps: Vec::new() });
            self.changed.push(self.rows.len() - 1);
            self.rows.len() - 1
        });
        self.rows.get_mut(at).is_some_and(|row| row.learn(step))
    }

    /// Restores the order of `changed` after event number `seq` has added a step to this many rows.
    fn reorder(&mut self, seq: u64, mut count: usize) {
        let Self { rows, changed, .. } = self;
        let last_change = |row: &usize| rows.get(*row).map_or(0, Row::last_change);
        if count == 0 || (count == 1 && changed.last().is_some_and(|row| last_change(row) == seq)) {
            return;
        }
        let first = changed.iter().rposition(|row| {
            count -= usize::from(last_change(row) == seq);
            count == 0
        });
        if let Some(tail) = first.and_then(|first| changed.get_mut(first..)) {
            tail.sort_unstable_by_key(last_change);
        }
    }
}

impl Row {
    /// The number of the event that added the last step.
    fn last_change(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.from)
    }

    /// How many of the other author's events were seen by event number `seq`.
    fn seen_at(&self, seq: u64) -> u64 {
        // Most questions are about the latest events, so the last step is tried before the search.
        if let Some(last) = self.steps.last().filter(|last| last.from <= seq) {
            return last.upto;
        }
        let after = self.steps.partition_point(|step| step.from <= seq);
        after.checked_sub(1).and_then(|at| self.steps.get(at)).map_or(0, |step| step.upto)
    }

    /// Adds a step unless it says nothing new; whether a step was added.
    fn learn(&mut self, step: Step) -> bool {
        match self.steps.last_mut() {
            Some(last) if last.upto >= step.upto => return false,
            // Two dependencies of one event tell of the same author: one step, with the higher number.
            Some(last) if last.from == step.from => {
                last.upto = step.upto;
                return false;
            }
            _ => {}
        }
        if self.steps.len() == self.steps.capacity() {
            self.steps.reserve_exact(self.steps.len() / GROWTH_DIVISOR + 1);
        }
        self.steps.push(step);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::crdt::laws::{History, history};

    fn author(number: u8) -> XaeroID {
        XaeroID::from([number; 32])
    }

    /// A million events: about the largest history that one index is meant for.
    const MANY: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_answers_as_full_vectors_do(history in history(6, 150)) {
            let mut index = CausalIndex::new();
            let mut model: BTreeMap<Dot, VersionVector> = BTreeMap::new();
            for event in &history.events {
                let mut vector = VersionVector::new();
                let previous = Dot::new(event.dot.author, event.dot.seq - 1);
                for cause in event.deps.iter().copied().chain((previous.seq > 0).then_some(previous)) {
                    vector.join(&model[&cause]);
                    vector.observe(cause);
                }
                prop_assert_eq!(&vector, &event.context, "the generator's contexts are genuine");
                model.insert(event.dot, vector);
                index.insert(event.dot, event.deps.iter().copied());
            }
            for (later, vector) in &model {
                prop_assert_eq!(&index.vector(*later), vector);
                prop_assert_eq!(&index.context(*later).to_vector(), vector);
                for earlier in model.keys() {
                    prop_assert_eq!(index.saw(*later, *earlier), vector.covers(*earlier));
                }
            }
            let unknown = Dot::new(History::author(0), 1_000);
            for earlier in model.keys() {
                prop_assert!(!index.saw(unknown, *earlier));
                prop_assert!(!index.saw(*earlier, unknown));
            }
        }
    }

    #[test]
    fn of_an_unknown_event_it_tells_what_its_author_is_known_to_have_seen() {
        let mut index = CausalIndex::new();
        index.insert(Dot::new(author(1), 1), []);
        index.insert(Dot::new(author(2), 1), [Dot::new(author(1), 1)]);
        let known: VersionVector = [Dot::new(author(1), 1), Dot::new(author(2), 1)].into_iter().collect();
        assert_eq!(index.vector(Dot::new(author(2), 5)), known);
        assert!(index.context(Dot::new(author(2), 5)).to_vector().is_empty());
        assert!(index.vector(Dot::new(author(3), 1)).is_empty());
        assert_eq!((index.len_of(author(2)), index.len_of(author(3))), (1, 0));
    }

    #[test]
    fn an_event_that_is_inserted_again_changes_nothing() {
        let mut index = CausalIndex::new();
        index.insert(Dot::new(author(1), 1), []);
        index.insert(Dot::new(author(2), 1), []);
        index.insert(Dot::new(author(1), 1), [Dot::new(author(2), 1)]);
        assert!(!index.saw(Dot::new(author(1), 1), Dot::new(author(2), 1)));
    }

    #[test]
    fn a_dependency_that_tells_nothing_new_takes_no_memory() {
        let mut index = CausalIndex::new();
        index.insert(Dot::new(author(1), 1), []);
        index.insert(Dot::new(author(2), 1), [Dot::new(author(1), 1)]);
        for seq in 1..=100 {
            // The second dependency tells of the first again.
            index.insert(Dot::new(author(3), seq), [Dot::new(author(1), 1), Dot::new(author(2), 1)]);
        }
        assert!(index.logs.iter().flat_map(|log| &log.rows).all(|row| row.steps.len() == 1));
    }

    #[test]
    fn two_who_answer_each_other_cost_at_most_32_bytes_an_event() {
        let mut index = CausalIndex::new();
        let mut last: Option<Dot> = None;
        for n in 0..MANY {
            let dot = Dot::new(author(u8::try_from(n % 2).unwrap()), n / 2 + 1);
            index.insert(dot, last);
            last = Some(dot);
        }
        let bytes = u64::try_from(index.heap_bytes()).unwrap() / MANY;
        assert!(bytes <= 32, "{bytes} bytes an event");
        assert!(index.saw(Dot::new(author(0), MANY / 2), Dot::new(author(1), MANY / 2 - 1)));
        assert!(!index.saw(Dot::new(author(0), MANY / 2), Dot::new(author(1), MANY / 2)));
    }

    #[test]
    fn it_copes_with_145_authors_who_meet_at_random() {
        let mut index = CausalIndex::new();
        let mut lens = [0u64; 145];
        let mut state = 1u64;
        for _ in 0..MANY / 10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [a, b] = [state >> 33, state >> 48].map(|bits| usize::try_from(bits % 145).unwrap());
            lens[a] += 1;
            let dep = Dot::new(author(u8::try_from(b).unwrap()), lens[b]);
            index.insert(Dot::new(author(u8::try_from(a).unwrap()), lens[a]), (a != b && lens[b] > 0).then_some(dep));
        }
        for (number, len) in lens.iter().enumerate() {
            assert_eq!(index.len_of(author(u8::try_from(number).unwrap())), *len);
        }
    }
}
