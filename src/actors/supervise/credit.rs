//! Credits: how much may be on its way to a child at once.
//!
//! A queue that is retained for replay must be bounded, and a bound that is noticed when it is full comes too late. So
//! whoever fills the queue takes a [`Credit`] first, for as many events and bytes as it is about to take off the bus;
//! the credit lies in the queue beside the batch and is given back with the acknowledgement.

use crate::wire::limits::MAX_FRAME_BYTES;

/// Events of one subject that may be in flight: the storage writes fastest in commits of thousands, and while one is
/// synced the next one gathers.
pub const MAX_EVENTS: usize = 16_384;

/// Bytes of one subject that may be in flight (16 MiB): [`MAX_EVENTS`] events of a kilobyte, or 16 of the largest.
pub const MAX_BYTES: usize = 16 << 20;

// Otherwise the largest event would wait for ever.
const _: () = assert!(MAX_BYTES >= MAX_FRAME_BYTES);

/// A number of events and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Events.
    pub events: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

/// The right to have this much in flight. Not `Clone`: it is given back exactly once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a credit that is dropped is never given back"]
pub struct Credit(Amount);

impl Credit {
    /// What it stands for.
    #[must_use]
    pub const fn amount(&self) -> Amount {
        self.0
    }
}

/// The credits of one queue.
#[derive(Debug, Clone)]
pub struct Credits {
    limit: Amount,
    in_flight: Amount,
}

impl Credits {
    /// Nothing in flight, up to `limit` allowed.
    #[must_use]
    pub const fn new(limit: Amount) -> Self {
        Self { limit, in_flight: Amount { events: 0, bytes: 0 } }
    }

    /// How much may still be taken.
    #[must_use]
    pub const fn available(&self) -> Amount {
        Amount {
            events: self.limit.events.saturating_sub(self.in_flight.events),
            bytes: self.limit.bytes.saturating_sub(self.in_flight.bytes),
        }
    }

    /// How much is in flight.
    #[must_use]
    pub const fn in_flight(&self) -> Amount {
        self.in_flight
    }

    /// Takes a credit for this much, or `None` where that would exceed a limit.
    #[must_use]
    pub const fn take(&mut self, amount: Amount) -> Option<Credit> {
        let available = self.available();
        if amount.events > available.events || amount.bytes > available.bytes {
            return None;
        }
        self.in_flight.events += amount.events;
        self.in_flight.bytes += amount.bytes;
        Some(Credit(amount))
    }

    /// Gives a credit back.
    pub const fn give_back(&mut self, credit: Credit) {
        let Credit(amount) = credit;
        self.in_flight.events = self.in_flight.events.saturating_sub(amount.events);
        self.in_flight.bytes = self.in_flight.bytes.saturating_sub(amount.bytes);
    }
}

impl Default for Credits {
    fn default() -> Self {
        Self::new(Amount { events: MAX_EVENTS, bytes: MAX_BYTES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_limit_is_exceeded_and_all_comes_back() {
        let limit = Amount { events: 10, bytes: 100 };
        let mut credits = Credits::new(limit);
        let first = credits.take(Amount { events: 4, bytes: 90 }).unwrap();
        assert_eq!(credits.available(), Amount { events: 6, bytes: 10 });
        assert_eq!(credits.take(Amount { events: 1, bytes: 11 }), None, "bytes");
        assert_eq!(credits.take(Amount { events: 7, bytes: 0 }), None, "events");
        let second = credits.take(Amount { events: 6, bytes: 10 }).unwrap();
        assert_eq!(credits.available(), Amount::default());
        credits.give_back(first);
        credits.give_back(second);
        assert_eq!(credits.available(), limit);
    }
}
