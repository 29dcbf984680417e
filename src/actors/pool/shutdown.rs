//! The end of a pool: drain within a grace period, join what can be joined, report the rest.
//!
//! A pool goes from *open* over *draining* to *closed*. Whoever finishes the last task closes it; where a task does not
//! end, the caller of the shutdown does when the grace period is over, or the timer thread if nobody waits.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Task,
    shared::Shared,
    state::{State, Stop},
};

/// Stands for a grace period that reaches beyond the end of the clock: a hundred years.
const LONGEST_GRACE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How a pool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a thread that is stuck in a closure is only reported here"]
pub struct ShutdownReport {
    /// Threads that were still in a task when the grace period was over. They were left behind.
    pub stuck_threads: usize,
    /// Tasks that were queued and have not run.
    pub abandoned_tasks: usize,
    /// Deadlines that were forgotten.
    pub dropped_deadlines: usize,
    /// Runs that ended in a panic, since the start.
    pub panics: u64,
    /// Whether the call came from one of the pool's own threads and therefore waited for nothing.
    pub only_signalled: bool,
}

impl ShutdownReport {
    /// Whether all threads have ended and all queued tasks have run.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.stuck_threads == 0 && self.abandoned_tasks == 0 && !self.only_signalled
    }
}

impl Shared {
    /// See [`Pool::shutdown`](super::Pool::shutdown).
    pub(super) fn shutdown(self: &Arc<Self>, grace: Duration) -> ShutdownReport {
        let now = Instant::now();
        let until = now.checked_add(grace).unwrap_or_else(|| now + LONGEST_GRACE);
        let mut state = self.lock();
        let forgotten = state.stop_accepting(until);
        if state.is_drained() {
            self.close(&mut state);
        }
        if self.is_own_thread() {
            // Nobody waits, so the timer thread closes the pool when the grace period is over.
            self.wake_timer(&mut state);
            let report = state.report(0, true);
            drop(state);
            discard(forgotten);
            return report;
        }
        drop(state);
        discard(forgotten);

        let mut state = self.wait_for_workers(until);
        let report = state.report(state.workers, false);
        let threads = mem::take(&mut state.finished);
        let timer = state.timer.take();
        drop(state);
        for thread in timer.into_iter().chain(threads) {
            // A worker catches what a task throws, so there is nothing to learn from the result.
            let _ended = thread.join();
        }
        if !report.is_clean() {
            tracing::error!(
                threads = report.stuck_threads,
                tasks = report.abandoned_tasks,
                "the pool did not come to rest within its grace period: threads that are stuck in a closure are left \
                 behind, tasks that were still queued are dropped"
            );
        }
        report
    }

    /// Waits until the pool is closed and all workers are gone, or all but those that were in a task at `until`.
    fn wait_for_workers(&self, until: Instant) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let closed = state.stop == Stop::Closed;
            if closed && state.workers == 0 {
                return state;
            }
            state = if closed && state.running < state.workers {
                // Workers that have no task leave as soon as they are woken, whatever the grace period.
                self.ended.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else if !left.is_zero() {
                self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            } else if closed {
                return state;
            } else {
                let abandoned = self.close(&mut state);
                drop(state);
                discard(abandoned);
                self.lock()
            };
        }
    }

    /// Ends the pool without waiting: nobody holds its handle any more.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        let forgotten = state.stop_accepting(Instant::now());
        let abandoned = self.close(&mut state);
        drop(state);
        discard(forgotten);
        discard(abandoned);
    }

    /// Ends the pool for good, and hands back the tasks that will not run, to be dropped without the lock.
    pub(super) fn close(&self, state: &mut State) -> Vec<Arc<dyn Task>> {
        let abandoned = state.close();
        self.note_length(state);
        self.work.notify_all();
        self.timer.notify_all();
        self.ended.notify_all();
        abandoned
    }
}

/// Drops tasks, whose destructors are code of others and may panic. Not to be called under the lock.
pub(super) fn discard(tasks: impl IntoIterator<Item = Arc<dyn Task>>) {
    for task in tasks {
        if catch_unwind(AssertUnwindSafe(|| drop(task))).is_err() {
            tracing::error!("a task panicked while it was dropped");
        }
    }
}
