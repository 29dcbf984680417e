//! The limits of a pool.

use std::{num::NonZero, thread, time::Duration};

/// Fewest workers that a pool keeps: with a single one, every closure that blocks would stall the others.
pub const MIN_BASE_WORKERS: usize = 2;

/// Most workers, in threads. So many closures may block at once before the others wait; a bound, because each costs a
/// stack and a place in the scheduler.
pub const MAX_WORKERS: usize = 64;

/// How long the queue may stand still, with all workers busy, before a worker is added. Far longer than a closure that
/// computes should take, and short enough for a person not to notice.
pub const STALL: Duration = Duration::from_millis(10);

/// How long a worker beyond the base stays idle before it ends. Longer than the pause between two bursts of one user's
/// typing, so that a subject whose subscriber blocks does not start a thread for each event.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The limits of a pool. The default suits a process of its own; tests take smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Workers that stay once started: the number of processors, at least [`MIN_BASE_WORKERS`].
    pub base_workers: usize,
    /// Most workers, at least the base: [`MAX_WORKERS`].
    pub max_workers: usize,
    /// How long the queue may stand still before a worker is added: [`STALL`].
    pub stall: Duration,
    /// How long a worker beyond the base stays idle: [`KEEP_ALIVE`].
    pub keep_alive: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(MIN_BASE_WORKERS, NonZero::get);
        Self {
            base_workers: processors.clamp(MIN_BASE_WORKERS, MAX_WORKERS),
            max_workers: MAX_WORKERS,
            stall: STALL,
            keep_alive: KEEP_ALIVE,
        }
    }
}

impl PoolOptions {
    /// The same limits without contradictions: at least one worker, and no base above the maximum.
    pub(super) fn normalised(self) -> Self {
        let base_workers = self.base_workers.max(1);
        Self { base_workers, max_workers: self.max_workers.max(base_workers), ..self }
    }
}
