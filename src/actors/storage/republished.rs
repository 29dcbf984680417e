//! What of an author's log past its cut was published again, and by whom: one row for each such log.
//!
//! The row is written in the transaction that publishes the events again, so that none of them is published twice and none
//! left out, wherever a process ends. It also says where each of them is now.

use std::ops::RangeInclusive;

use crate::wire::id::{Dot, XaeroID};

/// Bytes of a run in its row.
const RUN_BYTES: usize = 56;

/// Events of one author, in their order, and where they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The sequence number of the first.
    pub(crate) from: u64,
    /// That of the last.
    pub(crate) to: u64,
    /// The first event that was published for them, the others follow it; `None` where they were passed over.
    pub(crate) now: Option<Dot>,
}

/// The runs of one author, ascending, none of them overlapping another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Republished(Vec<Run>);

impl Run {
    /// Whether `next` goes on where this one ends, in both logs.
    fn is_continued_by(&self, next: &Self) -> bool {
        let length = next.from.saturating_sub(self.from);
        let now = self.now.map(|dot| Dot::new(dot.author, dot.seq.saturating_add(length)));
        self.to.checked_add(1) == Some(next.from) && now == next.now
    }
}

impl Republished {
    /// The first events that are missing of those after `last_valid`, up to `length`.
    pub(crate) fn gap(&self, last_valid: u64, length: u64) -> Option<RangeInclusive<u64>> {
        let mut first = last_valid.saturating_add(1);
        for run in self.0.iter().filter(|run| run.to > last_valid) {
            if run.from > first {
                return Some(first..=length.min(run.from.saturating_sub(1))).filter(|gap| !gap.is_empty());
            }
            first = run.to.saturating_add(1);
        }
        Some(first..=length).filter(|gap| !gap.is_empty())
    }

    /// Where this event is now, if it was published again.
    pub(crate) fn find(&self, seq: u64) -> Option<Dot> {
        let run = self.0.iter().find(|run| (run.from..=run.to).contains(&seq))?;
        let now = run.now?;
        Some(Dot::new(now.author, now.seq.saturating_add(seq.saturating_sub(run.from))))
    }

    /// Adds a run, which fills a gap.
    pub(crate) fn note(&mut self, run: Run) {
        let at = self.0.partition_point(|known| known.from < run.from);
        self.0.insert(at, run);
        let mut runs: Vec<Run> = Vec::with_capacity(self.0.len());
        for run in self.0.drain(..) {
            match runs.last_mut() {
                Some(last) if last.is_continued_by(&run) => last.to = run.to,
                _ => runs.push(run),
            }
        }
        self.0 = runs;
    }

    /// How many events were published again.
    pub(crate) fn events(&self) -> u64 {
        let published = self.0.iter().filter(|run| run.now.is_some());
        published.map(|run| run.to.saturating_sub(run.from).saturating_add(1)).sum()
    }

    /// The row, without its checksum.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len().saturating_mul(RUN_BYTES));
        for run in &self.0 {
            let now = run.now.unwrap_or(Dot::new(XaeroID::from([0; 32]), 0));
            out.extend_from_slice(&run.from.to_le_bytes());
            out.extend_from_slice(&run.to.to_le_bytes());
            out.extend_from_slice(now.author.as_bytes());
            out.extend_from_slice(&now.seq.to_le_bytes());
        }
        out
    }

    /// The runs of a row; `None` where it makes no sense.
    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let (runs, rest) = row.as_chunks::<RUN_BYTES>();
        let mut known = Self::default();
        for bytes in runs {
            let (from, bytes) = bytes.split_first_chunk()?;
            let (to, bytes) = bytes.split_first_chunk()?;
            let (author, seq) = bytes.split_first_chunk::<32>()?;
            let seq = u64::from_le_bytes(seq.try_into().ok()?);
            let (from, to) = (u64::from_le_bytes(*from), u64::from_le_bytes(*to));
            let is_next = known.0.last().is_none_or(|last| last.to < from);
            if !is_next || from == 0 || from > to {
                return None;
            }
            known.0.push(Run { from, to, now: (seq > 0).then(|| Dot::new(XaeroID::from(*author), seq)) });
        }
        rest.is_empty().then_some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(from: u64, to: u64, seq: u64) -> Run {
        Run { from, to, now: (seq > 0).then(|| Dot::new(XaeroID::from([9; 32]), seq)) }
    }

    #[test]
    fn gaps_are_filled_from_the_first_on_whatever_was_done_before() {
        let mut done = Republished::default();
        assert_eq!((done.gap(5, 5), done.gap(5, 9)), (None, Some(6..=9)));
        done.note(run(6, 7, 1));
        assert_eq!(done.gap(5, 9), Some(8..=9));
        done.note(run(8, 9, 3));
        assert_eq!((done.gap(5, 9), done.gap(5, 10), done.0.len()), (None, Some(10..=10), 1));
        // The end moves to an earlier place.
        assert_eq!(done.gap(2, 10), Some(3..=5));
        done.note(run(3, 4, 20));
        assert_eq!((done.gap(2, 10), done.events()), (Some(5..=5), 6));
        done.note(run(5, 5, 0));
        assert_eq!((done.gap(2, 10), done.events()), (Some(10..=10), 6));
        let found = [3, 4, 5, 6, 9, 10].map(|seq| done.find(seq).map(|dot| dot.seq));
        assert_eq!(found, [Some(20), Some(21), None, Some(1), Some(4), None]);
    }

    #[test]
    fn a_row_is_read_back_and_none_that_makes_no_sense() {
        let mut done = Republished::default();
        for run in [run(3, 4, 20), run(5, 5, 0), run(6, 9, 1)] {
            done.note(run);
        }
        let row = done.encode();
        assert_eq!(Republished::decode(&row), Some(done));
        assert_eq!(Republished::decode(&[]), Some(Republished::default()));
        assert_eq!(Republished::decode(&row[1..]), None);
        assert_eq!(Republished::decode(&[&row[56..], &row[..56]].concat()), None, "descending");
        assert_eq!(Republished::decode(&run_bytes(4, 3)), None);
    }

    fn run_bytes(from: u64, to: u64) -> Vec<u8> {
        Republished(vec![run(from, to, 1)]).encode()
    }
}
