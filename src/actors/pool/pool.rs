//! The handle of the pool: what the rest of the engine calls.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(test)]
use super::state::{State, Stop};
use super::{PoolOptions, ShutdownReport, Task, shared::Shared};

/// An elastic pool of threads: see the [module](super). Dropping it stops it without waiting and without draining.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// A pool with these options. It has no thread until something is scheduled.
    #[must_use]
    pub fn start(options: PoolOptions) -> Arc<Self> {
        Arc::new(Self { shared: Arc::new(Shared::new(options)) })
    }

    /// Wakes a task: it will run once more, after this call. Never blocks.
    ///
    /// Returns `false` where the pool has stopped, and the task will not run. While a shutdown drains the queue, tasks
    /// are still taken.
    pub fn schedule(&self, task: Arc<dyn Task>) -> bool {
        self.shared.schedule(task)
    }

    /// Wakes a task at a point in time, or as soon as possible after it.
    ///
    /// Returns `false` where the pool is stopping. There is no way to take a deadline back: the task sees for itself
    /// whether there is still something to do. Until then the pool keeps the task alive.
    pub fn at(&self, deadline: Instant, task: Arc<dyn Task>) -> bool {
        self.shared.at(deadline, task)
    }

    /// Whether this thread is one of the pool's own, where nothing may wait for the pool.
    #[must_use]
    pub fn is_own_thread(&self) -> bool {
        self.shared.is_own_thread()
    }

    /// Stops the pool: forgets the deadlines, runs what is queued, and joins the threads.
    ///
    /// What is still queued after `grace` is dropped, and a thread that is still in a task then is left behind; it ends
    /// when the task returns. The report says so. From one of the pool's own threads this only gives the signal, as a
    /// thread cannot wait for itself; the timer thread then watches over the grace period. Calling it again is harmless.
    pub fn shutdown(&self, grace: Duration) -> ShutdownReport {
        self.shared.shutdown(grace)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

#[cfg(test)]
impl Pool {
    pub(super) fn stats(&self) -> PoolStats {
        PoolStats::of(&self.shared.lock())
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn wait_until_stopping(&self, patience: Duration) -> bool {
        self.wait_until_state(patience, |state| state.stop != Stop::Open)
    }

    pub(super) fn wait_until(&self, patience: Duration, wanted: impl Fn(PoolStats) -> bool) -> bool {
        self.wait_until_state(patience, |state| wanted(PoolStats::of(state)))
    }

    /// Waits until the state is as `wanted` says; `false` where it is not within the time.
    pub(super) fn wait_until_state(&self, patience: Duration, wanted: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if wanted(&self.shared.lock()) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

/// What a pool is doing, for tests.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolStats {
    /// Worker threads, busy or idle.
    pub(super) threads: usize,
    /// Tasks that run now.
    pub(super) running: usize,
    /// Tasks that wait for a worker.
    pub(super) queued: usize,
    /// Deadlines that have not come.
    pub(super) deadlines: usize,
    /// Runs that ended in a panic, since the start.
    pub(super) panics: u64,
}

#[cfg(test)]
impl PoolStats {
    fn of(state: &State) -> Self {
        Self {
            threads: state.workers,
            running: state.running,
            queued: state.queue.len(),
            deadlines: state.deadlines.len(),
            panics: state.panics,
        }
    }
}
