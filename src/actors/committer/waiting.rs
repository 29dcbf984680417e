//! Events that have arrived but cannot be appended yet.
//!
//! An event waits for its *causes* (its author's previous event, or one that it names as seen), or for its *time* (its
//! clock is further ahead of this machine's wall than a clock should be: held, not refused, since the wall may be what is
//! wrong, and a replica that refused it would never agree with one that did not). The frames wait on disk, in the pending
//! table; here is what is needed to find them.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::{
    actors::storage::{
        StorageError,
        keys::{self, SubjectNumber},
        lmdb::{Reads, Table},
    },
    wire::id::{Dot, XaeroID},
};

/// Events of one subject that may wait at once: a peer that only sends effects without causes is refused from here on.
pub(crate) const WAITING_EVENTS: usize = 65_536;

/// Bytes of one subject that may wait at once.
pub(crate) const WAITING_BYTES: usize = 64 << 20;

/// The events of one subject that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Each with the length of its frame.
    events: HashMap<Dot, usize>,
    bytes: usize,
    /// Cause that is missing → those that wait for it. Each event is under one cause only, the first that it misses.
    by_cause: HashMap<Dot, SmallVec<[Dot; 1]>>,
    /// Millisecond at which they may enter → those that wait for it.
    by_time: BTreeMap<u64, Vec<Dot>>,
    /// Events read from disk whose reason for waiting is not known yet.
    unsorted: Vec<Dot>,
}

/// Why an event waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// This event is missing.
    Cause(Dot),
    /// This millisecond has not come.
    Time(u64),
}

impl Waiting {
    /// The events of the subject that wait on disk. Why they wait is found out when the head is complete.
    pub(crate) fn load(txn: &impl Reads, number: SubjectNumber) -> Result<Self, StorageError> {
        let mut waiting = Self::default();
        txn.scan(Table::Pending, &number.key(), &mut |key, frame| {
            let Some(dot) = keys::pending_of(number, key) else { return Ok(false) };
            waiting.events.insert(dot, frame.len());
            waiting.bytes += frame.len();
            waiting.unsorted.push(dot);
            Ok(true)
        })?;
        Ok(waiting)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn contains(&self, dot: Dot) -> bool {
        self.events.contains_key(&dot)
    }

    /// The authors of those that wait.
    pub(crate) fn authors(&self) -> HashSet<XaeroID> {
        self.events.keys().map(|dot| dot.author).collect()
    }

    /// Whether another frame of this length may wait.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.events.len() < WAITING_EVENTS && self.bytes.saturating_add(bytes) <= WAITING_BYTES
    }

    /// Notes that the event waits.
    pub(crate) fn insert(&mut self, dot: Dot, bytes: usize, awaits: Awaits) {
        // One that waits for its next cause may come with the mark behind its frame, which it came without at first.
        self.remove(dot);
        self.events.insert(dot, bytes);
        self.bytes += bytes;
        match awaits {
            Awaits::Cause(cause) => self.by_cause.entry(cause).or_default().push(dot),
            Awaits::Time(millis) => self.by_time.entry(millis).or_default().push(dot),
        }
    }

    /// Notes that the event waits no more.
    pub(crate) fn remove(&mut self, dot: Dot) {
        if let Some(bytes) = self.events.remove(&dot) {
            self.bytes -= bytes;
        }
    }

    /// Those that waited for this event.
    pub(crate) fn take_for_cause(&mut self, cause: Dot) -> SmallVec<[Dot; 1]> {
        self.by_cause.remove(&cause).unwrap_or_default()
    }

    /// Those whose time has come.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> Vec<Dot> {
        let later = self.by_time.split_off(&now_ms.saturating_add(1));
        std::mem::replace(&mut self.by_time, later).into_values().flatten().collect()
    }

    /// Whether one of them may enter at this millisecond, as far as is known.
    pub(crate) fn may_be_due(&self, now_ms: u64) -> bool {
        !self.unsorted.is_empty() || self.by_time.keys().next().is_some_and(|due| *due <= now_ms)
    }

    /// Has the reasons found out again for which all of them wait.
    pub(crate) fn forget_reasons(&mut self) {
        self.by_cause.clear();
        self.by_time.clear();
        self.unsorted = self.events.keys().copied().collect();
    }

    /// Those whose reason for waiting is not known.
    pub(crate) fn take_unsorted(&mut self) -> Vec<Dot> {
        std::mem::take(&mut self.unsorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::XaeroID;

    #[test]
    fn room_is_counted_by_the_last_length_that_was_told() {
        let [one, other, cause] = [1, 2, 3].map(|seq| Dot::new(XaeroID::from([7; 32]), seq));
        let mut waiting = Waiting::default();
        waiting.insert(one, 100, Awaits::Cause(cause));
        waiting.insert(one, 101, Awaits::Time(5));
        waiting.insert(other, 10, Awaits::Cause(cause));
        waiting.remove(other);
        waiting.remove(one);
        assert!(waiting.is_empty() && waiting.has_room(WAITING_BYTES));
    }
}
