//! The segments in use, in the order of their positions.
//!
//! Readers take a snapshot and keep it for the length of a read transaction. A segment is in the list before its events
//! leave the log table, and the snapshot is taken after the transaction has begun: so what a transaction does not find in
//! the table is in its snapshot.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use super::{layout::ClockWindow, sealed::Sealed};
use crate::actors::storage::StorageError;

/// The list, shared by all readers.
#[derive(Default)]
pub(crate) struct SegmentList(RwLock<Arc<Parts>>);

impl SegmentList {
    /// The list as it is now.
    pub(crate) fn snapshot(&self) -> Arc<Parts> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends a segment.
    pub(crate) fn push(&self, part: Part) {
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut parts = list.0.clone();
        parts.push(part);
        *list = Arc::new(Parts(parts));
    }

    /// For a start: these are all.
    pub(super) fn replace(&self, parts: Parts) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(parts);
    }

    /// The position after the last event of all segments: from here on events are in the log table.
    pub(crate) fn end(&self) -> u64 {
        self.snapshot().end()
    }
}

/// The parts of the log that are not in the table any more: they follow each other without a gap.
#[derive(Default)]
pub(crate) struct Parts(Vec<Part>);

/// A range of the log.
#[derive(Clone)]
pub(crate) enum Part {
    /// A segment.
    Sealed(Arc<Sealed>),
    /// What should be in a segment and cannot be read.
    Lost(Arc<Lost>),
}

/// A range of the log that cannot be read.
#[derive(Debug)]
pub(crate) struct Lost {
    /// Its file, there or not.
    pub(crate) path: PathBuf,
    /// Position of the first event that it held.
    pub(crate) first: u64,
    /// Position after the last.
    pub(crate) end: u64,
    /// What is wrong.
    pub(crate) what: Arc<str>,
}

impl Lost {
    pub(crate) fn error(&self) -> StorageError {
        StorageError::DamagedSegment {
            path: self.path.clone(),
            offset: 0,
            first: self.first,
            end: self.end,
            what: Arc::clone(&self.what),
        }
    }
}

impl Part {
    /// Position of the first event.
    pub(crate) fn first(&self) -> u64 {
        match self {
            Self::Sealed(sealed) => sealed.footer().first,
            Self::Lost(lost) => lost.first,
        }
    }

    /// Position after the last event.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::Sealed(sealed) => sealed.footer().end,
            Self::Lost(lost) => lost.end,
        }
    }
}

impl Parts {
    /// The position after the last event of all parts.
    pub(crate) fn end(&self) -> u64 {
        self.0.last().map_or(0, Part::end)
    }

    /// The part that holds the event at this position.
    pub(crate) fn find(&self, position: u64) -> Option<&Part> {
        let at = self.0.partition_point(|part| part.end() <= position);
        self.0.get(at).filter(|part| part.first() <= position)
    }

    /// The first position from `position` on whose event may have a clock in the window: where a block begins of which
    /// that is possible, or where the segments end. What cannot be read is not passed over.
    pub(crate) fn next_in(&self, position: u64, window: ClockWindow) -> u64 {
        let at = self.0.partition_point(|part| part.end() <= position);
        for part in self.0.get(at..).unwrap_or_default() {
            let sealed = match part {
                Part::Sealed(sealed) if sealed.footer().clocks.meets(window) => sealed,
                Part::Sealed(_) => continue,
                Part::Lost(lost) => return lost.first.max(position),
            };
            let mut blocks = sealed.footer().rows.iter().filter(|row| row.end() > position);
            if let Some(row) = blocks.find(|row| row.clocks.meets(window)) {
                return row.first.max(position);
            }
        }
        self.end().max(position)
    }
}

impl From<Vec<Part>> for Parts {
    fn from(parts: Vec<Part>) -> Self {
        Self(parts)
    }
}
