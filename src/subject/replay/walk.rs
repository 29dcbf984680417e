//! The walk of a replay through the log, a part at a time.

use std::sync::Arc;

use super::filter::Filter;
use crate::{
    actors::{
        segment::layout::ClockWindow,
        storage::{StorageError, block::Stored, chain::Chain, open::SubjectLog},
    },
    subject::{engine::Engine, error::Error, handle::Subject},
    wire::clock::Clock,
};

/// Events of a chain that are visited under one read transaction: a long one would keep pages from being reused.
const PART_EVENTS: u64 = 4_096;

/// A window that holds every clock.
const EVERY_CLOCK: ClockWindow = (Clock::ZERO, Clock::from_bits(u64::MAX));

/// The author's own links are followed where they lead past at least so many times as many events as they lead to. A step
/// along them costs about as much as a step through the log, and more where it leads into another block.
const CHAIN_ADVANTAGE: u64 = 4;

/// Where a replay is. It ends with the log as it was when it began.
pub(crate) struct Walk {
    engine: Arc<Engine>,
    log: Arc<SubjectLog>,
    filter: Filter,
    /// The author's links are followed first, from one sequence number to another.
    chain: Option<(Chain, std::ops::Range<u64>)>,
    /// Then the log, from one ordinal to another.
    next: u64,
    end: u64,
}

impl Walk {
    /// Through the whole log from ordinal `from` on.
    pub(crate) fn all(subject: &Subject, from: u64) -> Result<Self, Error> {
        let mut walk = Self::start(subject, Filter { withheld: true, ..Filter::ALL })?;
        walk.next = from;
        Ok(walk)
    }

    /// To the events that the filter takes.
    pub(super) fn filtered(subject: &Subject, filter: Filter) -> Result<Self, Error> {
        let mut walk = Self::start(subject, filter)?;
        if walk.filter.is_empty() {
            walk.end = 0;
        } else if let Some(author) = walk.filter.only_author()
            && let Some(chain) = walk.engine.store.chain(&walk.log, author)?
        {
            walk.follow(chain);
        }
        Ok(walk)
    }

    fn start(subject: &Subject, filter: Filter) -> Result<Self, Error> {
        let core = subject.core().ok_or(Error::NotRunning)?;
        let (engine, log) = core.log()?;
        let end = log.count();
        Ok(Self { engine, log, filter, chain: None, next: 0, end })
    }

    /// Follows the chain for the part of the log that it covers, if that is the shorter way.
    fn follow(&mut self, chain: Chain) {
        let (first, last) = self.filter.seqs;
        let span = first.max(1)..last.min(chain.len()).saturating_add(1);
        let events = span.end.saturating_sub(span.start);
        if events.saturating_mul(CHAIN_ADVANTAGE) > chain.covered {
            return;
        }
        self.next = chain.covered;
        if last <= chain.len() {
            // The rest of the log has later ones only.
            self.end = self.end.min(self.next);
        }
        self.chain = Some((chain, span));
    }

    /// Visits what the filter takes of the next part of the log, until `visit` returns `false`; the next part goes on after
    /// that event. `false`: there is no more.
    pub(crate) fn part(&mut self, visit: &mut dyn FnMut(&Stored<'_>) -> bool) -> Result<bool, Error> {
        let Self { engine, log, filter, chain, next, end } = self;
        let (store, mut over) = (&engine.store, false);
        let mut step = |stored: &Stored<'_>| -> bool {
            over = filter.ends_with(&stored.record);
            (!filter.takes(&stored.record) || visit(stored)) && !over
        };
        if let Some((chain, span)) = chain.as_mut().filter(|(_, span)| !span.is_empty()) {
            let part = span.start..span.end.min(span.start.saturating_add(PART_EVENTS));
            store.read_chain(log, chain, part, &mut |stored| {
                span.start = stored.record.seq().saturating_add(1);
                Ok(step(&stored))
            })?;
        } else if next < end {
            let before = *next;
            match filter.window.clocks() {
                Some(window) => {
                    let window = Some(window).filter(|window| *window != EVERY_CLOCK);
                    *next = store
                        .scan_part(log, before..*end, window, &mut |stored| Ok::<bool, StorageError>(step(&stored)))?;
                }
                None => *end = before,
            }
            if *next == before {
                // A log does not shrink; to ask again would be to ask for ever.
                *end = before;
            }
        }
        if over {
            (*chain, *end) = (None, 0);
        }
        Ok(self.has_more())
    }

    fn has_more(&self) -> bool {
        self.next < self.end || self.chain.as_ref().is_some_and(|(_, span)| !span.is_empty())
    }
}
