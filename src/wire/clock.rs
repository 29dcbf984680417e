//! The hybrid logical clock: wall time where it can be trusted, a counter where it cannot.
//!
//! A [`Clock`] packs milliseconds since the Unix epoch (upper 48 bits) and a counter (lower 16 bits) into one ordered
//! number. Every event's clock is above those of all events its author had seen, whatever the wall clocks of the
//! machines said, so that sorting by it extends causality. See Kulkarni et al., "Logical Physical Clocks" (2014).

use std::fmt;

/// Bits of the counter.
const COUNTER_BITS: u32 = 16;

/// The largest wall time that a clock can hold: 48 bits of milliseconds, in the year 10889.
pub const MAX_MILLIS: u64 = (1 << (64 - COUNTER_BITS)) - 1;

/// A reading of a hybrid logical clock.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clock(u64);

impl Clock {
    /// Before every event.
    pub const ZERO: Self = Self(0);

    /// The first clock reading of a millisecond. Times beyond [`MAX_MILLIS`] are taken as that.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        let millis = if millis > MAX_MILLIS { MAX_MILLIS } else { millis };
        Self(millis << COUNTER_BITS)
    }

    /// The clock from its packed form.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The packed form: 48 bits of milliseconds, 16 bits of counter.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The reading that an event gets whose author has seen everything up to `self`, when the wall says `now_ms`.
    ///
    /// It is the wall time where that is ahead, otherwise one more than `self`: a wall clock that jumps back never takes
    /// the hybrid clock with it. A counter that overflows runs into the milliseconds, which keeps the order.
    ///
    /// ```
    /// use xaeroflux::wire::clock::Clock;
    /// let seen = Clock::from_millis(5_000);
    /// assert_eq!(seen.next(9_000), Clock::from_millis(9_000));
    /// assert!(seen.next(1_000) > seen, "an hour back on the wall is one step forward here");
    /// assert_eq!(seen.next(1_000).millis(), 5_000);
    /// ```
    #[must_use]
    pub const fn next(self, now_ms: u64) -> Self {
        let wall = Self::from_millis(now_ms);
        if wall.0 > self.0 { wall } else { Self(self.0.saturating_add(1)) }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms+{}", self.millis(), self.0 & ((1 << COUNTER_BITS) - 1))
    }
}
