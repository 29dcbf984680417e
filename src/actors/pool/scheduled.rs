//! Whether a task is idle, queued or running.
//!
//! ```text
//!            wake: queue it          a worker takes it
//!   IDLE ───────────────────▶ QUEUED ─────────────────▶ RUNNING ──┐ done: back to IDLE
//!                               ▲                          │ wake
//!                               └── done: queue it ── RUNNING_AGAIN
//! ```
//!
//! A wake-up that finds the task queued has nothing to do, as the run is still to come. One that finds it running cannot
//! know whether the run has looked past what is new, so there is one more.

use std::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const RUNNING_AGAIN: u8 = 3;

/// A task's place between idle and running. It starts idle; only the pool moves it.
#[derive(Debug, Default)]
pub struct Scheduled(AtomicU8);

impl Scheduled {
    /// That of a new task.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(IDLE))
    }

    /// Asks for one more run. `true`: the caller must queue the task.
    ///
    /// The state is written even where it stays the same: so all that happened before this call is visible to the run
    /// that it asks for, without a lock between the two.
    pub(super) fn wake(&self) -> bool {
        self.advance(|state| match state {
            IDLE => QUEUED,
            RUNNING => RUNNING_AGAIN,
            unchanged => unchanged,
        }) == IDLE
    }

    /// A worker has taken the task from the queue.
    pub(super) fn begin(&self) {
        let before = self.0.swap(RUNNING, Ordering::AcqRel);
        debug_assert_eq!(before, QUEUED, "a task that runs was queued, and by one waker only");
    }

    /// The run is over. `true`: the caller must queue the task again.
    pub(super) fn finish(&self) -> bool {
        self.advance(|state| if state == RUNNING_AGAIN { QUEUED } else { IDLE }) == RUNNING_AGAIN
    }

    /// The pool has stopped and will not run the task that it had queued.
    pub(super) fn forget(&self) {
        self.0.store(IDLE, Ordering::Release);
    }

    /// Replaces the state, and returns the one before.
    fn advance(&self, step: impl Fn(u8) -> u8) -> u8 {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            match self.0.compare_exchange_weak(before, step(before), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return before,
                Err(actual) => before = actual,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_wake_ups_before_a_run_queue_the_task_once() {
        let task = Scheduled::new();
        assert!(task.wake());
        assert!(!task.wake());
        task.begin();
        assert!(!task.finish());
        assert!(task.wake());
    }

    #[test]
    fn any_number_of_wake_ups_during_a_run_lead_to_one_more() {
        let task = Scheduled::new();
        assert!(task.wake());
        task.begin();
        assert!(!task.wake());
        assert!(!task.wake());
        assert!(task.finish(), "queued again");
        assert!(!task.wake(), "already queued");
        task.begin();
        assert!(!task.finish());
    }
}
