//! One end of a link: a session and what its shell keeps for it.

use std::{collections::VecDeque, time::Duration};

use super::log::{Lengths, ends};
use crate::{
    actors::sync::{Output, Session},
    wire::{
        id::XaeroID,
        sync::{Events, Message},
    },
};

/// Most outputs that ever wait for a stream. The machine asks for the next thing only when it has the last one, whatever
/// happens meanwhile.
pub(crate) const MAX_WAITING: usize = 12;

pub(crate) struct End {
    pub(crate) session: Session,
    /// What waits for the stream.
    pub(crate) outbox: VecDeque<Output>,
    /// When the session wants to be woken.
    pub(crate) wake: Option<Duration>,
    /// What the peer is known to have, and from where on in our log it may lack something.
    pub(crate) known: Lengths,
    pub(crate) from: usize,
    /// What was here at the last look.
    pub(crate) look: Lengths,
    /// Chunks and evidence that are on their way to the disk.
    pub(crate) storing: usize,
}

impl End {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            session: Session::new(seed),
            outbox: VecDeque::new(),
            wake: None,
            known: Lengths::new(),
            from: 0,
            look: Lengths::new(),
            storing: 0,
        }
    }

    pub(crate) fn wait(&mut self, output: Output) {
        self.outbox.push_back(output);
        assert!(self.outbox.len() <= MAX_WAITING, "memory is bounded: {:?}", self.outbox);
    }

    /// What was known of the peer is out of date.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.from = 0;
    }

    pub(crate) fn peer_has(&mut self, entries: impl IntoIterator<Item = (XaeroID, u64)>) {
        for (author, length) in entries {
            let known = self.known.entry(author).or_insert(0);
            *known = length.max(*known);
        }
    }

    pub(crate) fn peer_has_look(&mut self) {
        let look = self.look.clone();
        self.peer_has(look);
    }

    /// The peer has sent this, so it has it.
    pub(crate) fn peer_has_sent(&mut self, chunk: &Events) {
        self.peer_has(ends(chunk));
    }
}

/// Bytes of a message on the stream.
pub(crate) fn size(message: &Message) -> usize {
    match message {
        Message::Events(events) => 5 + events.body().len(),
        Message::Summary(_) => 77,
        other => other.encode().len(),
    }
}
