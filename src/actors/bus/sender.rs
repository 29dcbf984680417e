//! The publishers' side of a bus: `subject.data.sink.tx`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Bus, Mode, Receipt, SendError};
use crate::wire::event::XaeroEvent;

/// Sends events to a subject. A cheap clone; with the methods of a crossbeam sender.
///
/// The events that one thread sends stay in their order. An event is refused before it is queued where its payload is
/// larger than [`MAX_PAYLOAD_BYTES`](crate::wire::limits::MAX_PAYLOAD_BYTES) or its type is the engine's own.
///
/// **In a subscriber's closure**, send with [`try_send`](Sender::try_send) only: `send` waits for space, and space may
/// be waiting for that very closure to return.
#[derive(Debug, Clone)]
pub struct Sender {
    bus: Arc<Bus>,
}

impl Sender {
    pub(super) const fn new(bus: Arc<Bus>) -> Self {
        Self { bus }
    }

    /// Sends an event; waits while the bus is full.
    ///
    /// That it returns `Ok` says that the event is on the bus, not that it is on disk: that is what a receipt is for.
    ///
    /// # Errors
    /// The subject has stopped, or refuses the event. The error carries the event back.
    pub fn send(&self, event: XaeroEvent) -> Result<(), SendError> {
        self.bus.send(event, Mode::Blocking)
    }

    /// Sends an event if there is space.
    ///
    /// # Errors
    /// The bus is full, the subject has stopped, or it refuses the event. The error carries the event back.
    pub fn try_send(&self, event: XaeroEvent) -> Result<(), SendError> {
        self.bus.send(event, Mode::Try)
    }

    /// Sends an event; waits while the bus is full, for at most `timeout`.
    ///
    /// # Errors
    /// The bus stayed full, the subject has stopped, or it refuses the event. The error carries the event back.
    pub fn send_timeout(&self, event: XaeroEvent, timeout: Duration) -> Result<(), SendError> {
        // A time-out beyond the end of the clock is none.
        self.bus.send(event, Instant::now().checked_add(timeout).map_or(Mode::Blocking, Mode::Until))
    }

    /// Sends an event, and returns the receipt that resolves when it is durable.
    ///
    /// # Errors
    /// The bus is full (unless `mode` waits), the subject has stopped, or it refuses the event. The error carries the
    /// event back.
    pub fn send_with_receipt(&self, event: XaeroEvent, mode: Mode) -> Result<Receipt, SendError> {
        self.bus.send_with_receipt(event, mode)
    }

    /// Sends many events, and takes the lock once for a whole chunk of them: the fastest way.
    ///
    /// Returns one outcome for each event that was taken from the iterator, in the same order. A refused event does not
    /// stop the ones behind it. Where the bus is full (and `mode` does not wait) or the subject has stopped, the events
    /// taken ahead come back in their errors, and the iterator is left where it stands; lend it (`&mut events`) to go on
    /// later. It should be ready to yield: up to a chunk is taken from it before the first event is queued.
    pub fn send_many_with_receipts(
        &self,
        events: impl IntoIterator<Item = XaeroEvent>,
        mode: Mode,
    ) -> Vec<Result<Receipt, SendError>> {
        self.bus.send_many_with_receipts(&mut events.into_iter(), mode)
    }

    /// Whether an event would have to wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bus.is_full()
    }

    /// Whether the subject has taken all events sent so far. That they are on disk is what receipts tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bus.is_empty()
    }

    /// How many events take up space: those that the subject has not taken yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bus.len()
    }

    /// How many events there is space for. Large ones may fill the bus earlier, as it bounds the bytes as well.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bus.limits().events
    }
}
