//! Sets of dots, compact where they have few gaps: what an at-least-once source has delivered already.
//!
//! For each author it holds the sequence numbers as ascending, disjoint, non-adjacent spans. A log that arrives whole
//! is one span, whatever its length and order of arrival.

use std::collections::BTreeMap;

use crate::{
    crdt::snapshot::{Reader, Writer},
    wire::id::{Dot, XaeroID},
};

/// Bytes of a span in a snapshot.
const SPAN_BYTES: usize = 16;

/// Bytes of an author and its number of spans in a snapshot.
const AUTHOR_BYTES: usize = 40;

/// Sequence numbers from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u64,
    last: u64,
}

/// A set of dots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DotSet(BTreeMap<XaeroID, Vec<Span>>);

impl DotSet {
    /// Adds the dot; whether it was new.
    pub(super) fn insert(&mut self, dot: Dot) -> bool {
        let spans = self.0.entry(dot.author).or_default();
        let seq = dot.seq;
        let next = spans.partition_point(|span| span.last < seq);
        if spans.get(next).is_some_and(|span| span.first <= seq) {
            return false;
        }
        let joins_next = spans.get(next).is_some_and(|span| span.first == seq.saturating_add(1));
        let before = next.checked_sub(1).filter(|before| spans.get(*before).is_some_and(|span| span.last + 1 == seq));
        match (before, joins_next) {
            (Some(before), true) => {
                let last = spans.remove(next).last;
                if let Some(span) = spans.get_mut(before) {
                    span.last = last;
                }
            }
            (Some(before), false) => {
                if let Some(span) = spans.get_mut(before) {
                    span.last = seq;
                }
            }
            (None, true) => {
                if let Some(span) = spans.get_mut(next) {
                    span.first = seq;
                }
            }
            (None, false) => spans.insert(next, Span { first: seq, last: seq }),
        }
        true
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.count(self.0.len());
        for (author, spans) in &self.0 {
            writer.author(*author);
            writer.count(spans.len());
            for span in spans {
                writer.u64(span.first);
                writer.u64(span.last);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut set = BTreeMap::new();
        for _ in 0..reader.count(AUTHOR_BYTES)? {
            let author = reader.author()?;
            let count = reader.count(SPAN_BYTES)?;
            let mut spans = Vec::with_capacity(count);
            let mut free_from = 0;
            for _ in 0..count {
                let span = Span { first: reader.u64()?, last: reader.u64()? };
                if span.first < free_from || span.last < span.first {
                    return None;
                }
                // One number at least lies between two spans, or they would be one.
                free_from = span.last.checked_add(2)?;
                spans.push(span);
            }
            set.insert(author, spans);
        }
        Some(Self(set))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::crdt::snapshot::Kind;

    proptest! {
        #[test]
        fn it_is_a_set_and_a_log_that_arrived_whole_is_one_span(seqs in prop::collection::vec((0u8..2, 1u64..40), 0..120)) {
            let mut model = BTreeSet::new();
            let mut set = DotSet::default();
            for (author, seq) in seqs {
                let dot = Dot::new(XaeroID::from([author; 32]), seq);
                prop_assert_eq!(set.insert(dot), model.insert(dot));
            }
            let mut writer = Writer::new(Kind::GCounter, 1);
            set.write(&mut writer);
            let bytes = writer.finish();
            let mut reader = Reader::open(&bytes, Kind::GCounter, 1).unwrap();
            prop_assert_eq!(DotSet::read(&mut reader), Some(set.clone()));
            for author in 0u8..2 {
                for seq in (1..41).rev() {
                    set.insert(Dot::new(XaeroID::from([author; 32]), seq));
                }
            }
            prop_assert!(set.0.values().all(|spans| spans.len() == 1));
        }
    }
}
