//! What the handle, the workers and the timer thread share, and how a queued task finds a worker.

use std::{
    cell::Cell,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{
    PoolOptions, Task,
    state::{State, Stop},
};

thread_local! {
    /// The pool that this thread belongs to; 0 for none.
    static OWN_POOL: Cell<u64> = const { Cell::new(0) };
}

#[derive(Debug)]
pub(super) struct Shared {
    /// Tells the pools of one process apart.
    id: u64,
    pub(super) options: PoolOptions,
    state: Mutex<State>,
    /// The length of the queue, for a worker that looks for work without the lock.
    queued: AtomicUsize,
    /// A parked worker waits here for a task, or for the end.
    pub(super) work: Condvar,
    /// The timer thread waits here for the next deadline.
    pub(super) timer: Condvar,
    /// A shutdown waits here; told whenever a worker ends and when the pool closes.
    pub(super) ended: Condvar,
}

impl Shared {
    pub(super) fn new(options: PoolOptions) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            options: options.normalised(),
            state: Mutex::new(State::default()),
            queued: AtomicUsize::new(0),
            work: Condvar::new(),
            timer: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    /// No code of others runs under this lock, so the state behind a poisoned one is still consistent.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the current thread as one of this pool's.
    pub(super) fn adopt_thread(&self) {
        OWN_POOL.set(self.id);
    }

    pub(super) fn is_own_thread(&self) -> bool {
        OWN_POOL.get() == self.id
    }

    /// Whether a worker that looks without the lock would find a task.
    pub(super) fn has_work(&self) -> bool {
        self.queued.load(Ordering::Acquire) > 0
    }

    pub(super) fn note_length(&self, state: &State) {
        self.queued.store(state.queue.len(), Ordering::Release);
    }

    pub(super) fn schedule(self: &Arc<Self>, task: Arc<dyn Task>) -> bool {
        if !task.scheduled().wake() {
            return true; // It is queued, or will be as soon as its run ends.
        }
        let mut state = self.lock();
        let open = state.stop != Stop::Closed;
        if open {
            self.push(&mut state, task);
        } else {
            // The lock goes first: the destructor of a task is code of others.
            drop(state);
            task.scheduled().forget();
            drop(task);
        }
        open
    }

    pub(super) fn at(self: &Arc<Self>, deadline: Instant, task: Arc<dyn Task>) -> bool {
        let mut state = self.lock();
        let open = state.stop == Stop::Open;
        if !open {
            drop(state);
            drop(task);
        } else if state.add_deadline(deadline, task) {
            self.wake_timer(&mut state);
        }
        open
    }

    /// Queues a task whose [`Scheduled`](super::Scheduled) has moved to *queued*, and finds somebody to run it.
    pub(super) fn push(self: &Arc<Self>, state: &mut State, task: Arc<dyn Task>) {
        state.queue.push_back(task);
        self.note_length(state);
        self.reinforce(state);
    }

    /// Makes sure that what is queued will find a worker: one that looks for work right now, else one that is parked,
    /// else a new one; else the timer thread watches whether the queue moves.
    ///
    /// A worker that takes a task calls this again for the tasks behind it. So it does no harm that two calls in a row
    /// may have woken the same worker.
    pub(super) fn reinforce(self: &Arc<Self>, state: &mut State) {
        if state.queue.len() <= state.spinning {
            return;
        }
        if state.parked > 0 {
            self.work.notify_one();
        } else if state.workers >= self.options.base_workers || !self.add_worker(state) {
            self.watch(state);
        }
    }
}
