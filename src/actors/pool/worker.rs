//! A worker thread: takes a task, runs it, and looks for the next; parks where there is none.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    thread,
};

use crossbeam::utils::Backoff;

use super::{
    Task,
    shared::Shared,
    shutdown::discard,
    state::{State, Stop},
};

/// The worker that runs a task, as the task sees it.
#[derive(Debug)]
pub struct Worker<'a> {
    shared: &'a Arc<Shared>,
}

impl Worker<'_> {
    /// Wakes a task: see [`Pool::schedule`](super::Pool::schedule). A task that wakes itself runs again behind those
    /// that are queued.
    pub fn schedule(&self, task: Arc<dyn Task>) -> bool {
        self.shared.schedule(task)
    }
}

impl Shared {
    /// Starts one more worker. `false` where the maximum is reached or the system gives no thread.
    pub(super) fn add_worker(self: &Arc<Self>, state: &mut State) -> bool {
        if state.workers >= self.options.max_workers || state.stop == Stop::Closed {
            return false;
        }
        let number = state.next_thread();
        let shared = Arc::clone(self);
        // The new thread cannot end before its handle is noted: it needs the lock for that.
        match thread::Builder::new().name("xaeroflux-worker".into()).spawn(move || shared.work(number)) {
            Ok(thread) => {
                state.worker_started(number, thread);
                true
            }
            Err(error) => {
                tracing::error!(%error, workers = state.workers, "the system gives no thread for one more worker");
                false
            }
        }
    }

    fn work(self: Arc<Self>, number: u64) {
        self.adopt_thread();
        let worker = Worker { shared: &self };
        while let Some(task) = self.next(number) {
            let again = self.run(task, &worker);
            self.finished(again);
        }
    }

    /// Waits for a task; `None` where this worker has to end.
    fn next(self: &Arc<Self>, number: u64) -> Option<Arc<dyn Task>> {
        let mut state = self.lock();
        let mut idle_too_long = false;
        loop {
            if let Some(task) = state.take() {
                self.note_length(&state);
                self.reinforce(&mut state);
                return Some(task);
            }
            if state.stop == Stop::Closed || (idle_too_long && state.workers > self.options.base_workers) {
                state.worker_ended(number);
                self.ended.notify_all();
                self.timer.notify_one(); // It joins the thread.
                return None;
            }
            // A short look around costs less than to sleep and be woken, for both sides.
            state.spinning += 1;
            drop(state);
            let backoff = Backoff::new();
            while !self.has_work() && !backoff.is_completed() {
                backoff.snooze();
            }
            state = self.lock();
            state.spinning -= 1;
            if !state.queue.is_empty() || state.stop == Stop::Closed {
                continue;
            }
            // With no more workers than the base, this one stays. A later one that is too many sees that by itself.
            state.parked += 1;
            if state.workers > self.options.base_workers {
                let (guard, timeout) =
                    self.work.wait_timeout(state, self.options.keep_alive).unwrap_or_else(PoisonError::into_inner);
                state = guard;
                idle_too_long = timeout.timed_out();
            } else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                idle_too_long = false;
            }
            state.parked -= 1;
        }
    }

    /// Runs a task, and hands it back if it was woken meanwhile.
    fn run(&self, task: Arc<dyn Task>, worker: &Worker<'_>) -> Option<Arc<dyn Task>> {
        let running = Arc::clone(&task);
        task.scheduled().begin();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| running.run(worker))) {
            self.lock().panics += 1;
            let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(|s| &**s));
            tracing::error!(panic = text.unwrap_or("not a text"), "a task panicked; its worker goes on");
            if catch_unwind(AssertUnwindSafe(|| drop(panic))).is_err() {
                tracing::error!("the value that a task panicked with panicked while it was dropped");
            }
        }
        if task.scheduled().finish() {
            return Some(task);
        }
        discard([task]);
        None
    }

    /// Notes that a run is over; the last one of a drain closes the pool.
    fn finished(self: &Arc<Self>, again: Option<Arc<dyn Task>>) {
        let mut state = self.lock();
        state.running -= 1;
        let mut refused = None;
        match again {
            Some(task) if state.stop == Stop::Closed => {
                task.scheduled().forget();
                refused = Some(task);
            }
            Some(task) => self.push(&mut state, task),
            None if state.is_drained() => drop(self.close(&mut state)), // The queue is empty: this drops nothing.
            None => {}
        }
        drop(state);
        discard(refused);
    }
}
