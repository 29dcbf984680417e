//! The events of a replay as values of their own.

use std::collections::VecDeque;

use super::walk::Walk;
use crate::{
    subject::{error::Error, follower::event_of},
    wire::event::XaeroEvent,
};

/// Events that are held at once, at most.
const HELD_EVENTS: usize = 512;

/// Bytes of payload that are held at once; the event that reaches the limit is still among them.
const HELD_BYTES: usize = 1 << 20;

/// An iterator over the events of a replay. Made by [`Replay::events`](super::Replay::events).
///
/// After an error there is nothing more.
#[must_use = "an iterator does nothing unless it is asked"]
pub struct Events {
    walk: Walk,
    held: VecDeque<XaeroEvent>,
    has_more: bool,
    /// Told after what was read before it.
    error: Option<Error>,
}

impl Events {
    pub(super) const fn new(walk: Walk) -> Self {
        Self { walk, held: VecDeque::new(), has_more: true, error: None }
    }

    fn read(&mut self) {
        let (held, mut bytes) = (&mut self.held, 0);
        let read = self.walk.part(&mut |stored| {
            bytes += stored.record.payload().len();
            held.push_back(event_of(&stored.record));
            held.len() < HELD_EVENTS && bytes < HELD_BYTES
        });
        (self.has_more, self.error) = match read {
            Ok(has_more) => (has_more, None),
            Err(error) => (false, Some(error)),
        };
    }
}

impl Iterator for Events {
    type Item = Result<XaeroEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.held.is_empty() && self.has_more {
            self.read();
        }
        self.held.pop_front().map(Ok).or_else(|| self.error.take().map(Err))
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("held", &self.held.len()).field("has_more", &self.has_more).finish()
    }
}
