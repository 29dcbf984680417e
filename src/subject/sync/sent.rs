//! What a peer has sent, by its own word: `storing` notes it, `outlet` asks, since it must not go back there.
//!
//! It is noted *before* the events are handed to the log. Told once they are stored it came too late: the log had grown by then,
//! and whoever sends reads on when it grows, so that the peer got a good part of its own events back.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use crate::wire::id::XaeroID;

/// What the peer of a session has sent and its outlet has not looked at. What gathers while a peer takes nothing is kept once for
/// each author.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerSent(Arc<Mutex<HashMap<XaeroID, u64>>>);

impl PeerSent {
    /// The peer has this much of an author's log.
    pub(super) fn note(&self, author: XaeroID, length: u64) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sent.entry(author).or_insert(0);
        *known = length.max(*known);
    }

    /// What was noted since the last call.
    pub(super) fn take(&self) -> HashMap<XaeroID, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_an_author_is_known_to_have_is_told_once() {
        let (sent, told) = (PeerSent::default(), XaeroID::from([1; 32]));
        let other = sent.clone();
        for length in [3, 9, 7] {
            other.note(told, length);
        }
        assert_eq!(sent.take().into_iter().collect::<Vec<_>>(), [(told, 9)]);
        assert!(sent.take().is_empty());
    }
}
