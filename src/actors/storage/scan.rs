//! Reading the events of one subject in their order.
//!
//! Back-links lead from an event to the one before it, and a reader wants the one after. So positions are found 64 at a
//! time, from the next row of the sparse index backwards, unless the events lie side by side: where the next entry's link
//! names the event that was just read, it is the next event, and nothing has to be found. A block of a segment whose
//! events are all of one subject says so in the segment's footer: it is compared as a whole and read straight through.
//!
//! With a window of clocks, blocks and whole segments whose clocks lie outside it are passed over without a look.

use std::ops::Range;

use smallvec::SmallVec;

use super::{
    StorageError, Store,
    block::{Link, Stored},
    head::INDEX_STEP,
    keys::{self, SubjectNumber},
    lmdb::{Reads, Table},
    open::SubjectLog,
    reader::{Extent, LogReader, broken_chain},
};
use crate::{
    actors::segment::layout::ClockWindow,
    wire::{clock::Clock, event::ScanWindow, id::SubjectId},
};

/// Events that [`Store::scan`] looks at under one read transaction: a long one would keep pages from being reused.
const SCAN_EVENTS: u64 = 4_096;

/// Whom an event is shown to; `false` ends the reading.
pub(crate) type Visit<'v, 't> = dyn FnMut(Stored<'t>) -> Result<bool, StorageError> + 'v;

/// What to read of a subject.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    pub(crate) number: SubjectNumber,
    pub(crate) id: SubjectId,
    pub(crate) extent: Extent,
    /// From which ordinal up to which.
    pub(crate) span: Range<u64>,
    /// Which clocks.
    pub(crate) window: Option<ClockWindow>,
    /// Events to look at, at most.
    pub(crate) budget: u64,
}

/// Where a reading is.
struct Progress {
    /// The ordinal of the next event.
    ordinal: u64,
    /// Events that may still be looked at.
    left: u64,
    /// Whether whoever is shown the events has enough.
    stopped: bool,
}

impl Store {
    /// Visits the events of a subject from ordinal `from` on whose clocks lie in the window (both ends inclusive), in
    /// their order and in place, until `visit` returns `false` or the log as it is now ends. Returns the ordinal of the
    /// event after the last that was looked at.
    ///
    /// The read transaction is renewed now and then, so that a long scan holds up nobody.
    #[cfg(test)]
    pub(crate) fn scan(
        &self,
        log: &SubjectLog,
        from: u64,
        window: Option<ClockWindow>,
        visit: &mut dyn FnMut(Stored<'_>) -> Result<bool, StorageError>,
    ) -> Result<u64, StorageError> {
        // The extent first: every transaction from now on sees at least that much.
        let count = log.count();
        let (mut next, mut wanted) = (from, true);
        while wanted && next < count {
            next = self.scan_part(log, next..count, window, &mut |stored| {
                wanted = visit(stored)?;
                Ok(wanted)
            })?;
        }
        Ok(next)
    }
}

impl Store {
    /// As [`scan`](Self::scan), up to the end of `span`, and no more than what one read transaction is for.
    pub(crate) fn scan_part(
        &self,
        log: &SubjectLog,
        span: Range<u64>,
        window: Option<ClockWindow>,
        visit: &mut dyn FnMut(Stored<'_>) -> Result<bool, StorageError>,
    ) -> Result<u64, StorageError> {
        let published = log.published();
        let (Some(number), extent) = (published.number, published.extent) else { return Ok(span.start) };
        let txn = self.env.read()?;
        let scan = Scan { number, id: log.id, extent, span, window, budget: SCAN_EVENTS };
        LogReader::new(&txn).scan(&scan, &mut |stored| visit(stored))
    }
}

impl ScanWindow {
    /// The window as clocks, both ends inclusive; `None` where no clock lies in it.
    pub(crate) fn clocks(&self) -> Option<ClockWindow> {
        let last = match self.end {
            0 => return None,
            end if end > crate::wire::clock::MAX_MILLIS => u64::MAX,
            end => Clock::from_millis(end).to_bits().checked_sub(1)?,
        };
        let (first, last) = (Clock::from_millis(self.start), Clock::from_bits(last));
        (self.start <= crate::wire::clock::MAX_MILLIS && first <= last).then_some((first, last))
    }
}

impl<'t, R: Reads> LogReader<'t, R> {
    /// Visits the subject's events with the ordinals in `span`, in order, until `visit` returns `false`.
    pub(crate) fn subject(
        &mut self,
        (number, id): (SubjectNumber, SubjectId),
        extent: Extent,
        span: Range<u64>,
        visit: &mut Visit<'_, 't>,
    ) -> Result<(), StorageError> {
        self.scan(&Scan { number, id, extent, span, window: None, budget: u64::MAX }, visit).map(drop)
    }

    /// Visits the events that `scan` asks for, in order, until `visit` returns `false`. Returns the ordinal of the event
    /// after the last that was looked at.
    pub(crate) fn scan(&mut self, scan: &Scan, visit: &mut Visit<'_, 't>) -> Result<u64, StorageError> {
        let end = scan.span.end.min(scan.extent.count);
        let mut progress = Progress { ordinal: scan.span.start, left: scan.budget, stopped: false };
        while progress.ordinal < end && progress.left > 0 && !progress.stopped {
            let chunk_end = (progress.ordinal / INDEX_STEP + 1).saturating_mul(INDEX_STEP).min(end);
            let positions = self.positions(scan, progress.ordinal..chunk_end)?;
            let first = progress.ordinal;
            // A run of events that lie side by side may end anywhere, also beyond these.
            while let Some(position) = position_of(&positions, first, progress.ordinal) {
                if self.pass_over(scan, position, &mut progress)? {
                    break;
                }
                self.run(scan, position, end, &mut progress, visit)?;
                if progress.left == 0 || progress.stopped {
                    break;
                }
            }
        }
        Ok(progress.ordinal)
    }

    /// Visits the event at `position`, and those after it as long as they lie side by side.
    fn run(
        &mut self,
        scan: &Scan,
        mut position: u64,
        end: u64,
        progress: &mut Progress,
        visit: &mut Visit<'_, 't>,
    ) -> Result<(), StorageError> {
        loop {
            let block = self.block(position)?;
            let row = block.sealed.map(|sealed| sealed.row);
            let until = match row.and_then(|row| row.uniform) {
                Some((number, _)) if number == scan.number => block.view.end(),
                _ => position.saturating_add(1),
            };
            let wanted = (until - position).min(end - progress.ordinal);
            if row.zip(scan.window).is_some_and(|(row, window)| !row.clocks.meets(window)) {
                // Nothing in this block is looked at.
                progress.ordinal += wanted;
            } else {
                let wanted = wanted.min(progress.left);
                // A single event is not worth going through its whole block.
                let block = if wanted > 1 { self.verified(position)? } else { block };
                for at in position..position + wanted {
                    let stored = block.stored(at)?;
                    // The index has no checksums, and may lead to an event of another subject with the same ordinal.
                    if stored.links.ordinal != progress.ordinal || stored.record.subject() != scan.id {
                        return Err(broken_chain(scan.number));
                    }
                    progress.ordinal += 1;
                    progress.left -= 1;
                    let clock = stored.record.clock();
                    let meets = scan.window.is_none_or(|(first, last)| first <= clock && clock <= last);
                    if meets && !visit(stored)? {
                        progress.stopped = true;
                        return Ok(());
                    }
                }
            }
            position += wanted;
            if progress.ordinal >= end || progress.left == 0 || !self.follows(position) {
                return Ok(());
            }
        }
    }

    /// Whether the entry at `position` is the next event of the subject of the entry before it. What cannot be read does
    /// not follow: whoever wants it looks it up, and is told.
    fn follows(&mut self, position: u64) -> bool {
        let Some(before) = position.checked_sub(1) else { return false };
        self.links(Link::to(position)).is_ok_and(|links| links.subject == Link::to(before))
    }

    /// Where the block at `position` lies outside the window: goes on to where there may be events inside. `false` where
    /// there is nothing to pass over.
    fn pass_over(&mut self, scan: &Scan, position: u64, progress: &mut Progress) -> Result<bool, StorageError> {
        let Some(window) = scan.window else { return Ok(false) };
        let target = self.txn.parts().next_in(position, window);
        if target == position {
            return Ok(false);
        }
        // The last row of the sparse index that is not behind the target. Positions increase with ordinals.
        let (mut low, mut high) = (progress.ordinal / INDEX_STEP, scan.extent.count.saturating_sub(1) / INDEX_STEP);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let row = self.indexed(Table::SubjectIndex, &keys::subject_index(scan.number, middle))?;
            if row.is_some_and(|position| position <= target) { low = middle } else { high = middle - 1 }
        }
        let ordinal = low.saturating_mul(INDEX_STEP).min(scan.span.end);
        let ahead = ordinal > progress.ordinal;
        progress.ordinal = progress.ordinal.max(ordinal);
        Ok(ahead)
    }

    /// The positions of the subject's events with the ordinals in `span`, which is not empty; where some cannot be
    /// reached, those of the first of them.
    fn positions(&mut self, scan: &Scan, span: Range<u64>) -> Result<SmallVec<[u64; 64]>, StorageError> {
        match self.positions_backward(scan, span.clone()) {
            Err(damaged @ StorageError::DamagedSegment { .. }) => {
                let positions = self.positions_forward(scan, span)?;
                if positions.is_empty() { Err(damaged) } else { Ok(positions) }
            }
            other => other,
        }
    }

    fn positions_backward(&mut self, scan: &Scan, span: Range<u64>) -> Result<SmallVec<[u64; 64]>, StorageError> {
        let (number, extent) = (scan.number, scan.extent);
        let mut positions = SmallVec::new();
        let Some(last) = span.end.checked_sub(1) else { return Ok(positions) };
        // The nearest indexed event at or above the last one wanted, else the subject's last.
        let step = last.div_ceil(INDEX_STEP);
        let indexed = if step.saturating_mul(INDEX_STEP) < extent.count {
            self.indexed(Table::SubjectIndex, &keys::subject_index(number, step))?
        } else {
            None
        };
        let (mut link, mut ordinal) = match indexed {
            Some(position) => (Link::to(position), step.saturating_mul(INDEX_STEP)),
            None => (extent.last, extent.count.saturating_sub(1)),
        };
        loop {
            let position = link.position().ok_or_else(|| broken_chain(number))?;
            let links = self.links(link)?;
            // The index has no checksums.
            if links.ordinal != ordinal {
                return Err(broken_chain(number));
            }
            if ordinal < span.end && ordinal >= span.start {
                positions.push(position);
            }
            if ordinal <= span.start {
                break;
            }
            link = links.subject;
            ordinal -= 1;
        }
        positions.reverse();
        Ok(positions)
    }

    /// As [`positions_backward`](Self::positions_backward), where a segment on that way is damaged: from the indexed event
    /// below, entry by entry, as far as that goes.
    fn positions_forward(&mut self, scan: &Scan, span: Range<u64>) -> Result<SmallVec<[u64; 64]>, StorageError> {
        let mut positions = SmallVec::new();
        let step = span.start / INDEX_STEP;
        let Some(mut position) = self.indexed(Table::SubjectIndex, &keys::subject_index(scan.number, step))? else {
            return Ok(positions);
        };
        let mut ordinal = step.saturating_mul(INDEX_STEP);
        while ordinal < span.end {
            let stored = match self.stored(position) {
                Ok(stored) => stored,
                Err(StorageError::DamagedSegment { .. }) => break,
                Err(other) => return Err(other),
            };
            if stored.links.ordinal == ordinal && stored.record.subject() == scan.id {
                if ordinal >= span.start {
                    positions.push(position);
                }
                ordinal += 1;
            }
            position = position.saturating_add(1);
        }
        Ok(positions)
    }
}

/// The position of the event with this ordinal, where those from ordinal `first` on are known.
fn position_of(positions: &[u64], first: u64, ordinal: u64) -> Option<u64> {
    positions.get(usize::try_from(ordinal.checked_sub(first)?).ok()?).copied()
}
