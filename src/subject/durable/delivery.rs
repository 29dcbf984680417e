//! What a durable subscription hands out, and how it is acknowledged.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{error::DurableError, progress::Progress, slot::Slot};
use crate::{subject::error::Error, wire::event::XaeroEvent};

/// An event, until it is acknowledged.
#[must_use = "what is not acknowledged is delivered again"]
pub struct Delivery {
    /// The event, as the handle's operators left it.
    pub event: XaeroEvent,
    place: Place,
}

/// Several events in their order, acknowledged together.
#[must_use = "what is not acknowledged is delivered again"]
pub struct DeliveryBatch {
    /// The events, as the handle's operators left them; at least one.
    pub events: Vec<XaeroEvent>,
    place: Place,
}

/// How far an acknowledgement reaches.
pub(super) struct Place {
    pub(super) progress: Arc<Progress>,
    pub(super) upto: u64,
}

macro_rules! acknowledges {
    ($name:ident, $what:literal) => {
        impl $name {
            #[doc = concat!("Done with ", $what, " and all before: none of it is delivered again once the receipt resolves.")]
            ///
            /// The receipt need not be waited for; acknowledgements that come while one is on its way to the disk travel
            /// together. A state that was kept before stays as it is.
            pub fn ack(&self) -> AckReceipt {
                self.place.progress.acknowledge(self.place.upto, None)
            }

            #[doc = concat!("As [`ack`](Self::ack), and keeps `state` with the place, in one transaction: where ", $what)]
            /// counts in the state, it is not delivered again, and where it is delivered again, it does not count. At most
            /// [`MAX_DURABLE_STATE_BYTES`](super::MAX_DURABLE_STATE_BYTES).
            pub fn ack_with_state(&self, state: &[u8]) -> AckReceipt {
                self.place.progress.acknowledge(self.place.upto, Some(state))
            }
        }
    };
}

acknowledges!(Delivery, "this event");
acknowledges!(DeliveryBatch, "these events");

impl Delivery {
    pub(super) const fn new(event: XaeroEvent, place: Place) -> Self {
        Self { event, place }
    }
}

impl DeliveryBatch {
    pub(super) const fn new(events: Vec<XaeroEvent>, place: Place) -> Self {
        Self { events, place }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("event", &self.event).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for DeliveryBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryBatch").field("events", &self.events).finish_non_exhaustive()
    }
}

/// Resolves once an acknowledgement is on disk: with [`wait`](Self::wait), or with `.await`. It may be dropped at any time;
/// the acknowledgement takes its way.
pub struct AckReceipt(State);

enum State {
    Refused(DurableError),
    Waiting {
        slot: Arc<Slot>,
        /// The place of this receipt's waker, once it has been polled.
        waker: Option<usize>,
    },
}

impl AckReceipt {
    pub(super) const fn waiting(slot: Arc<Slot>) -> Self {
        Self(State::Waiting { slot, waker: None })
    }

    pub(super) const fn refused(error: DurableError) -> Self {
        Self(State::Refused(error))
    }

    /// Whether one commit stands for both.
    #[cfg(all(test, debug_assertions))]
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (State::Waiting { slot, .. }, State::Waiting { slot: others, .. }) => Arc::ptr_eq(slot, others),
            _ => false,
        }
    }

    /// What became of it, if that is known by now.
    #[must_use]
    pub fn try_get(&self) -> Option<Result<(), Error>> {
        match &self.0 {
            State::Refused(error) => Some(Err(error.clone().into())),
            State::Waiting { slot, .. } => slot.get().map(|result| result.map_err(Error::from)),
        }
    }

    /// Waits until the acknowledgement is on disk. In asynchronous code, use `.await` instead.
    ///
    /// # Errors
    /// [`DurableError`] where it was not taken, [`StorageError`](crate::StorageError) where it could not be stored: the
    /// events are then delivered again after a restart, unless a later acknowledgement covers them.
    pub fn wait(self) -> Result<(), Error> {
        match self.0 {
            State::Refused(error) => Err(error.into()),
            // Without an end to the wait there is a result.
            State::Waiting { slot, .. } => slot.wait(None).unwrap_or(Ok(())).map_err(Error::from),
        }
    }

    /// As [`wait`](Self::wait), at most so long; `None` where that was too short.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<(), Error>> {
        let State::Waiting { slot, .. } = &self.0 else { return self.try_get() };
        slot.wait(Instant::now().checked_add(timeout)).map(|result| result.map_err(Error::from))
    }
}

impl Future for AckReceipt {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.clone().into())),
            State::Waiting { slot, waker } => match slot.poll(waker, context.waker()) {
                Some(result) => Poll::Ready(result.map_err(Error::from)),
                None => Poll::Pending,
            },
        }
    }
}

impl std::fmt::Debug for AckReceipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AckReceipt").field(&self.try_get()).finish()
    }
}
