//! How slow a message may come.
//!
//! Between messages a peer may be silent for as long as it likes; the connection's keep-alive says that it is there. But a
//! message that has begun holds memory and a reader. Whoever sends one byte a second would hold both for days.

use std::time::Duration;

/// A message that has begun must bring this many bytes within [`WINDOW`], or be complete: 13 kbit/s, below what any link gives on
/// which two people would want to share anything.
pub const MIN_BYTES: usize = 16 << 10;

/// The time for that: longer than the pause of a link that is handed over or loses a burst.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Watches the messages of one stream.
///
/// ```
/// use std::time::Duration;
/// use xaeroflux::actors::sync::pace::{MIN_BYTES, Pace, WINDOW};
/// let (mut pace, now) = (Pace::new(), Duration::from_secs(3));
/// assert_eq!(pace.deadline(), None, "nothing has begun");
/// pace.received(now, 5);
/// assert_eq!(pace.deadline(), Some(now + WINDOW));
/// let later = now + WINDOW / 2;
/// pace.received(later, MIN_BYTES);
/// assert_eq!(pace.deadline(), Some(later + WINDOW));
/// pace.completed();
/// assert_eq!(pace.deadline(), None);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    deadline: Option<Duration>,
    /// Bytes since the deadline was set.
    bytes: usize,
}

impl Pace {
    /// No message has begun.
    #[must_use]
    pub const fn new() -> Self {
        Self { deadline: None, bytes: 0 }
    }

    /// Bytes of a message have come. Returns whether that made the deadline later: it is worth a sign of life to whoever waits for the
    /// message.
    pub const fn received(&mut self, now: Duration, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let is_enough = self.bytes >= MIN_BYTES;
        if self.deadline.is_none() || is_enough {
            self.deadline = Some(now.saturating_add(WINDOW));
            self.bytes = 0;
        }
        is_enough
    }

    /// The message is whole.
    pub const fn completed(&mut self) {
        *self = Self::new();
    }

    /// When the sender is cut off, unless more comes before.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Whether the sender is to be cut off.
    #[must_use]
    pub fn is_late(&self, now: Duration) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_a_second_is_too_slow_and_the_slowest_honest_link_is_not() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::new();
        let late = (0..100).find(|second| {
            pace.received(seconds(*second), 1);
            pace.is_late(seconds(*second))
        });
        assert_eq!(late, Some(10));

        let mut pace = Pace::new();
        for second in 0..1_000 {
            pace.received(seconds(second), MIN_BYTES / 9);
            assert!(!pace.is_late(seconds(second)), "{second}");
        }
    }
}
