//! Restart intensity: how many restarts in how much time are too many.
//!
//! A window slides over the restarts of one child. One crash a second is survived for ever, since some fault that
//! comes back now and then is better lived with than fatal; a child that dies more than [`MAX_RESTARTS`] times within
//! [`WINDOW`] will not get better by one more restart.

use std::{collections::VecDeque, time::Duration};

/// Restarts within [`WINDOW`] that are put up with: twice those of a child that crashes once a second.
pub const MAX_RESTARTS: usize = 10;

/// Length of the window. Short, so that the fault of a minute ago does not count against the child.
pub const WINDOW: Duration = Duration::from_secs(5);

/// The recent restarts of one child: at most [`MAX_RESTARTS`] moments.
#[derive(Debug, Clone, Default)]
pub struct Intensity {
    restarts: VecDeque<Duration>,
}

impl Intensity {
    /// No restart so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { restarts: VecDeque::new() }
    }

    /// Counts a restart at `now`, unless it is one too many: then nothing is counted and it is `false`.
    #[must_use]
    pub fn allows(&mut self, now: Duration) -> bool {
        while self.restarts.front().is_some_and(|then| now.saturating_sub(*then) >= WINDOW) {
            self.restarts.pop_front();
        }
        let allowed = self.restarts.len() < MAX_RESTARTS;
        if allowed {
            self.restarts.push_back(now);
        }
        allowed
    }

    /// Takes the latest `count` restarts back: what caused them is known and gone.
    pub fn forgive(&mut self, count: usize) {
        self.restarts.truncate(self.restarts.len().saturating_sub(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_crash_a_second_is_survived_for_ever() {
        let mut intensity = Intensity::new();
        assert!((0..100_000).all(|second| intensity.allows(Duration::from_secs(second))));
        assert!(intensity.restarts.len() <= MAX_RESTARTS);
    }

    #[test]
    fn one_more_than_the_limit_within_the_window_is_too_many() {
        let mut intensity = Intensity::new();
        let step = WINDOW / 11;
        assert!((0..10).all(|n| intensity.allows(step * n)));
        assert!(!intensity.allows(step * 10));
        assert!(intensity.allows(WINDOW), "the first one has left the window");
    }

    #[test]
    fn forgiven_restarts_do_not_count() {
        let mut intensity = Intensity::new();
        assert!((0..10).all(|_| intensity.allows(Duration::ZERO)));
        intensity.forgive(2);
        assert!(intensity.allows(Duration::ZERO) && intensity.allows(Duration::ZERO));
        assert!(!intensity.allows(Duration::ZERO));
        intensity.forgive(1_000);
        assert!(intensity.allows(Duration::ZERO));
    }
}
