//! Replay: the events of a log that are asked for, in place.
//!
//! A replay visits archived events where they lie in the mapping. Nothing is copied and nothing is allocated for an event;
//! an owned [`XaeroEvent`] is made only where [`Replay::events`] is asked for it. It works on a subject that runs as on
//! one that does not, and ends with the log as it was when it began: for what comes later there is
//! [`Subject::scan`](crate::Subject::scan).
//!
//! * `filter` says which events are meant. It is a question about one record, with no state.
//! * `walk` reads the log in parts, each under a read transaction of its own, so that a long replay does not keep
//!   pages from being reused. Where one author is asked for who wrote little of the log, it follows the author's own links.
//!
//! Within an author events come in the order of their sequence numbers, and overall in the order of this node's log, which
//! is causal. It is not the order of clocks: what was written elsewhere may come in late.

mod events;
mod filter;
mod walk;

use std::ops::RangeBounds;

pub use events::Events;
pub(crate) use walk::Walk;

use self::filter::Filter;
use super::{error::Error, handle::Subject};
use crate::wire::{
    event::{EventType, ScanWindow, XaeroEvent},
    id::XaeroID,
    record::RecordView,
};

/// Which events of a subject's log to visit. Made by [`Subject::replay`]; nothing is read before
/// [`for_each`](Self::for_each) or [`events`](Self::events).
///
/// ```
/// use xaeroflux::prelude::*;
/// let node = Node::ephemeral()?;
/// let (alice, bob) = (node.identity("alice")?, node.identity("bob")?);
/// let notes = node.subject("notes");
/// let handle = notes.run()?;
/// for (text, author) in [("one", alice), ("two", bob), ("three", alice), ("four", alice)] {
///     notes.publish(XaeroEvent::new(text, 1).by(author)).wait()?;
/// }
/// let mut bytes = 0;
/// notes.replay().author(alice).seqs(2..).for_each(|record| {
///     bytes += record.payload().len(); // in place: nothing was copied
///     true
/// })?;
/// assert_eq!(bytes, "three".len() + "four".len());
/// # drop(handle);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a replay reads nothing until it is asked for events"]
pub struct Replay {
    subject: Subject,
    filter: Filter,
}

impl Replay {
    /// Only events whose clocks lie in the window. The last call counts.
    pub const fn window(mut self, window: ScanWindow) -> Self {
        self.filter.window = window;
        self
    }

    /// Only events of this author; of any of them, where this is called for several.
    pub fn author(mut self, author: XaeroID) -> Self {
        if !self.filter.authors.contains(&author) {
            self.filter.authors.push(author);
        }
        self
    }

    /// Only events of this type; of any of them, where this is called for several.
    pub fn event_type(mut self, event_type: EventType) -> Self {
        if !self.filter.types.contains(&event_type) {
            self.filter.types.push(event_type);
        }
        self
    }

    /// Only events with these sequence numbers, each in its author's log, where the first is 1. The last call counts.
    pub fn seqs(mut self, range: impl RangeBounds<u64>) -> Self {
        self.filter.set_seqs(&range);
        self
    }

    /// Whether the replay is for such an event: for the same choice among events that come live, by
    /// [`Subject::filter`]. One that is not in a log is not taken.
    #[must_use]
    pub fn takes(&self, event: &XaeroEvent) -> bool {
        self.filter.takes_event(event)
    }

    /// Events whose payloads are not here come as well: of a replica that keeps a part of its subject only.
    pub(crate) const fn with_withheld(mut self) -> Self {
        self.filter.withheld = true;
        self
    }

    /// Visits the events in their order, in place. Ends with the log as it is now, or when `visit` returns `false`. Of a
    /// replica that keeps [a part of its subject](crate::ReplicaFilter) only, those whose payloads are not here are passed
    /// over.
    ///
    /// `visit` runs inside a read transaction of some thousand events: one that waits for long keeps the data file from
    /// reusing its free pages. What takes long is done on [`events`](Self::events).
    ///
    /// # Errors
    /// Where the data directory cannot be opened, or an event in it is damaged: those before it have been visited.
    pub fn for_each(&self, mut visit: impl FnMut(&RecordView<'_>) -> bool) -> Result<(), Error> {
        let mut walk = Walk::filtered(&self.subject, self.filter.clone())?;
        let mut wanted = true;
        while wanted
            && walk.part(&mut |stored| {
                wanted = visit(&stored.record);
                wanted
            })?
        {}
        Ok(())
    }

    /// The events as values of their own, read a part at a time: at most some hundred events and a few megabytes of them
    /// are in memory at once.
    ///
    /// The data directory stays open for as long as the iterator is held.
    ///
    /// # Errors
    /// Where the data directory cannot be opened.
    pub fn events(&self) -> Result<Events, Error> {
        Ok(Events::new(Walk::filtered(&self.subject, self.filter.clone())?))
    }
}

impl Subject {
    /// A replay of the whole log, to be narrowed down. Operators of this handle do not apply.
    pub fn replay(&self) -> Replay {
        Replay { subject: self.clone(), filter: Filter::ALL }
    }

    /// Visits the events of the log whose clocks lie in the window, in their order, in place: nothing is copied. Ends with
    /// the log as it is now, or when `visit` returns `false`. It is [`replay`](Self::replay) by time alone.
    ///
    /// Works on a subject that runs as on one that does not. Operators of this handle do not apply.
    ///
    /// # Errors
    /// Where the data directory cannot be opened, or an event in it is damaged.
    pub fn for_each_archived(
        &self,
        window: ScanWindow,
        visit: impl FnMut(&RecordView<'_>) -> bool,
    ) -> Result<(), Error> {
        self.replay().window(window).for_each(visit)
    }
}
