//! Which events a replay is for.

use std::ops::{Bound, RangeBounds};

use crate::wire::{
    clock::Clock,
    event::{EventType, ScanWindow, XaeroEvent},
    id::{Dot, XaeroID},
    record::RecordView,
};

/// A conjunction: an event has to be right in every respect that was asked about.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) window: ScanWindow,
    /// Any of these; all, where none was named.
    pub(super) authors: Vec<XaeroID>,
    /// Any of these; all, where none was named.
    pub(super) types: Vec<EventType>,
    /// The first and the last sequence number; the first above the last where there is none.
    pub(super) seqs: (u64, u64),
    /// Whether events come as well whose payloads are not here.
    pub(super) withheld: bool,
}

impl Filter {
    pub(super) const ALL: Self =
        Self { window: ScanWindow::ALL, authors: Vec::new(), types: Vec::new(), seqs: (0, u64::MAX), withheld: false };

    /// Sets the sequence numbers.
    pub(super) fn set_seqs(&mut self, range: &impl RangeBounds<u64>) {
        let first = match range.start_bound() {
            Bound::Included(first) => Some(*first),
            Bound::Excluded(before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let last = match range.end_bound() {
            Bound::Included(last) => Some(*last),
            Bound::Excluded(after) => after.checked_sub(1),
            Bound::Unbounded => Some(u64::MAX),
        };
        self.seqs = first.zip(last).unwrap_or((1, 0));
    }

    pub(super) fn takes(&self, record: &RecordView<'_>) -> bool {
        // The cheap questions first: the author's is a comparison of 32 bytes.
        self.takes_clock(record.clock())
            && self.takes_seq(record.seq())
            && (self.withheld || !record.is_withheld())
            && self.takes_type(record.event_type())
            && (self.authors.is_empty() || self.authors.contains(&record.author()))
    }

    /// The same of an event; one that is in no log has no place to be judged by, and is not taken.
    pub(super) fn takes_event(&self, event: &XaeroEvent) -> bool {
        let (Some(Dot { author, seq }), Some(clock)) = (event.evt.dot(), event.evt.clock()) else { return false };
        self.takes_clock(clock)
            && self.takes_seq(seq)
            && self.takes_type(event.evt.event_type)
            && (self.authors.is_empty() || self.authors.contains(&author))
    }

    /// The author, where only one is asked for.
    pub(super) fn only_author(&self) -> Option<XaeroID> {
        match self.authors.as_slice() {
            [author] => Some(*author),
            _ => None,
        }
    }

    /// Whether none of the events after this one can be taken: those of its author have higher sequence numbers.
    pub(super) fn ends_with(&self, record: &RecordView<'_>) -> bool {
        record.seq() >= self.seqs.1 && self.only_author() == Some(record.author())
    }

    /// Whether no event at all can be taken.
    pub(super) const fn is_empty(&self) -> bool {
        self.seqs.0 > self.seqs.1 || self.window.start >= self.window.end
    }

    const fn takes_clock(&self, clock: Clock) -> bool {
        self.window.contains(clock)
    }

    const fn takes_seq(&self, seq: u64) -> bool {
        self.seqs.0 <= seq && seq <= self.seqs.1
    }

    fn takes_type(&self, event_type: EventType) -> bool {
        self.types.is_empty() || self.types.contains(&event_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_range_means_what_it_says() {
        let taken = |range: (Bound<u64>, Bound<u64>)| {
            let mut filter = Filter::ALL;
            filter.set_seqs(&range);
            (1..=5).filter(|seq| filter.takes_seq(*seq)).collect::<Vec<u64>>()
        };
        let (inc, exc, unb) = (Bound::Included, Bound::Excluded, Bound::Unbounded);
        assert_eq!(taken((unb, unb)), [1, 2, 3, 4, 5]);
        assert_eq!(taken((inc(2), exc(4))), [2, 3]);
        assert_eq!(taken((inc(2), inc(4))), [2, 3, 4]);
        assert_eq!(taken((exc(2), unb)), [3, 4, 5]);
        for none in [(inc(3), exc(3)), (unb, exc(0)), (exc(u64::MAX), unb), (inc(4), inc(2))] {
            assert!(taken(none).is_empty(), "{none:?}");
        }
    }
}
