//! A token bucket: how many messages in how much time are too many.

use std::time::Duration;

use super::limits::{FLOOD_BURST, FLOOD_RATE};

/// As many tokens as there are, and when that was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// Tokens, in billionths: what a nanosecond adds is a whole number of these.
    billionths: u64,
    at: Duration,
}

const TOKEN: u64 = 1_000_000_000;
const FULL: u64 = FLOOD_BURST as u64 * TOKEN;

impl Bucket {
    /// Full.
    pub(super) const fn new() -> Self {
        Self { billionths: FULL, at: Duration::ZERO }
    }

    /// Takes a token, or says that there is none.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let passed = u64::try_from(now.saturating_sub(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.at = self.at.max(now);
        self.billionths = self.billionths.saturating_add(passed.saturating_mul(u64::from(FLOOD_RATE))).min(FULL);
        let left = self.billionths.checked_sub(TOKEN);
        self.billionths = left.unwrap_or(self.billionths);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_gives_a_burst_and_then_what_time_adds() {
        let mut bucket = Bucket::new();
        let mut now = Duration::from_secs(100);
        assert_eq!((0..2 * FLOOD_BURST).filter(|_| bucket.take(now)).count(), FLOOD_BURST as usize);
        now += Duration::from_millis(500);
        assert_eq!((0..FLOOD_BURST).filter(|_| bucket.take(now)).count(), FLOOD_RATE as usize / 2);
        assert!(!bucket.take(Duration::ZERO), "time that goes back adds nothing");
    }
}
