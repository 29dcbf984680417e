//! How long to wait before a restart: exponential back-off with jitter.
//!
//! Each death in a row doubles the wait, up to [`MAX_DELAY`]. Half of it is random, so that many children that one
//! fault has killed together do not come back together. After a quiet period the next death counts as the first again.

use std::time::Duration;

/// The wait before the first restart: long enough for a passing fault to pass, too short for a user to see.
pub const FIRST_DELAY: Duration = Duration::from_millis(10);

/// The longest wait. Short enough that a child which dies at once every time uses up its restart intensity (10 restarts
/// in 5 s) within two seconds and is escalated, instead of being restarted for ever.
pub const MAX_DELAY: Duration = Duration::from_millis(250);

/// A child that lived this long was well: the next wait is the first again.
pub const QUIET_PERIOD: Duration = Duration::from_secs(5);

/// The waits of one child.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    deaths: u32,
    restarted_at: Option<Duration>,
}

impl Backoff {
    /// No death so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { deaths: 0, restarted_at: None }
    }

    /// The wait after a death at `now`: between half of the nominal wait and all of it, by 64 random bits.
    pub fn next(&mut self, now: Duration, random: u64) -> Duration {
        if self.restarted_at.is_some_and(|then| now.saturating_sub(then) >= QUIET_PERIOD) {
            self.deaths = 0;
        }
        let nominal = FIRST_DELAY.saturating_mul(1_u32.checked_shl(self.deaths).unwrap_or(u32::MAX)).min(MAX_DELAY);
        self.deaths = self.deaths.saturating_add(1);
        let delay = jittered(nominal, random);
        self.restarted_at = Some(now.saturating_add(delay));
        delay
    }

    /// Makes the next death count as the first: what killed the child is gone.
    pub const fn reset(&mut self) {
        *self = Self::new();
    }
}

/// Between half of a wait and all of it, by 64 random bits.
#[must_use]
pub fn jittered(nominal: Duration, random: u64) -> Duration {
    let half = nominal / 2;
    half + half.mul_f64(fraction(random))
}

/// 32 of the random bits as a number from 0 to 1.
fn fraction(random: u64) -> f64 {
    let bits = u32::try_from(random >> 32).unwrap_or(u32::MAX);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new();
        let mut now = Duration::ZERO;
        let mut next = || {
            let delay = backoff.next(now, u64::MAX);
            now += delay;
            delay.as_millis()
        };
        assert_eq!([(); 8].map(|()| next()), [10, 20, 40, 80, 160, 250, 250, 250]);
    }

    #[test]
    fn half_of_a_wait_is_random() {
        for (random, expected) in [(0, 5_000), (u64::MAX / 2, 7_500), (u64::MAX, 10_000)] {
            let micros = Backoff::new().next(Duration::ZERO, random).as_micros();
            assert!(micros.abs_diff(expected) <= 1, "{random}: {micros}");
        }
    }

    #[test]
    fn a_quiet_period_resets_and_a_shorter_one_does_not() {
        let mut backoff = Backoff::new();
        for _ in 0..5 {
            backoff.next(Duration::ZERO, u64::MAX);
        }
        let restarted = Duration::from_millis(160);
        let mut noisy = backoff;
        assert_eq!(noisy.next(restarted + QUIET_PERIOD - Duration::from_millis(1), u64::MAX), MAX_DELAY);
        assert_eq!(backoff.next(restarted + QUIET_PERIOD, u64::MAX), FIRST_DELAY);
    }

    #[test]
    fn a_million_deaths_do_not_overflow() {
        let mut backoff = Backoff { deaths: u32::MAX, restarted_at: None };
        assert_eq!(backoff.next(Duration::MAX, u64::MAX), MAX_DELAY);
    }
}
