//! The threads that run the users' closures.
//!
//! A process has one pool, however many subjects it has. What runs on it is a [`Task`]: usually "take what lies on this
//! subject's bus and pass it through its pipelines". A task is long-lived and is *woken*; its [`Scheduled`] makes sure
//! that it stands in the queue once at most, that two workers never run it at once, and that a wake-up during a run
//! leads to exactly one more run. So the queue is bounded by the number of tasks, and needs no other bound.
//!
//! Invariants:
//!
//! - **A closure that blocks does not stop the others.** Closures are not ours; one may wait for the network or for
//!   another subject. Where all workers are busy and the queue has not moved for [`STALL`](options::STALL), the pool
//!   adds a thread, up to [`MAX_WORKERS`](options::MAX_WORKERS). The timer thread does that check, because all the
//!   workers may be the ones that are blocked.
//! - **A closure that panics loses its run, not the worker.** The panic is caught, counted and logged.
//! - **Nothing hangs for ever.** [`Pool::shutdown`] drains the queue within a grace period and joins the threads; a
//!   thread that is stuck in a closure by then is left behind and reported.
//!
//! An idle pool uses no processor time: workers look for work for some microseconds, then park; the timer thread sleeps
//! until the next deadline. Threads start when there is work for them.

mod options;
#[expect(clippy::module_inception, reason = "the pool itself, beside its parts")]
mod pool;
mod scheduled;
mod shared;
mod shutdown;
mod state;
#[cfg(test)]
mod tests;
mod timer;
mod worker;

use std::sync::Arc;

pub use options::PoolOptions;
pub use pool::Pool;
pub use scheduled::Scheduled;
pub use shutdown::ShutdownReport;
pub use worker::Worker;

/// Something that the pool runs whenever it is woken.
pub trait Task: Send + Sync {
    /// Where the pool notes whether this task is queued or running: a field of the task, always the same one.
    fn scheduled(&self) -> &Scheduled;

    /// Does what there is to do, and returns soon: a task with much to do does a part, wakes itself through
    /// [`Worker::schedule`], and so lets the tasks behind it have their turn. It may panic.
    fn run(self: Arc<Self>, worker: &Worker<'_>);
}
