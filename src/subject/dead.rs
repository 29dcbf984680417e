//! Dead letters: events that could not be stored, and whose publishers do not wait for a receipt.
//!
//! An event whose publisher holds a receipt is the publisher's to send again. One that was sent without is kept here,
//! bounded, until somebody takes it and sends it again.

use std::sync::{Mutex, PoisonError};

use crate::wire::event::XaeroEvent;

/// Events that are kept; beyond it the oldest are dropped, loudly.
pub const DEAD_LETTERS: usize = 16_384;

/// Bytes of payload that are kept.
pub const DEAD_LETTER_BYTES: usize = 32 << 20;

#[derive(Default)]
pub(crate) struct DeadLetters {
    kept: Mutex<(std::collections::VecDeque<XaeroEvent>, usize)>,
}

impl DeadLetters {
    /// Keeps these events. Returns how many older ones had to go.
    pub(crate) fn keep(&self, events: impl IntoIterator<Item = XaeroEvent>) -> usize {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (letters, bytes) = &mut *kept;
        let mut lost = 0;
        for event in events {
            *bytes += event.evt.data.len();
            letters.push_back(event);
            while letters.len() > DEAD_LETTERS || *bytes > DEAD_LETTER_BYTES {
                let Some(oldest) = letters.pop_front() else { break };
                *bytes = bytes.saturating_sub(oldest.evt.data.len());
                lost += 1;
            }
        }
        if lost > 0 {
            tracing::error!(lost, "the oldest dead letters were dropped: take and send them again in time");
        }
        lost
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> Vec<XaeroEvent> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1 = 0;
        kept.0.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event::CRDT_SET_ADD;

    #[test]
    fn beyond_the_bound_the_oldest_go_and_are_counted() {
        let dead = DeadLetters::default();
        let events = (0..DEAD_LETTERS + 2).map(|n| XaeroEvent::new(n.to_string(), CRDT_SET_ADD));
        assert_eq!(dead.keep(events), 2);
        let taken = dead.take();
        assert_eq!((taken.len(), taken[0].evt.data.as_slice()), (DEAD_LETTERS, b"2".as_slice()));
        assert!(dead.take().is_empty());
    }
}
