//! The timer thread: wakes tasks at their deadlines, and adds a worker where the queue stands still.
//!
//! It runs no closures, so nothing that an application does can block it. It starts with the first deadline or the first
//! time that a task finds all workers busy.

use std::{
    mem,
    sync::{Arc, PoisonError},
    thread,
    time::Instant,
};

use super::{
    Task,
    shared::Shared,
    shutdown::discard,
    state::{State, Stop},
};

impl Shared {
    /// Has the timer thread watch whether the queue moves.
    pub(super) fn watch(self: &Arc<Self>, state: &mut State) {
        let now = Instant::now();
        if state.start_watch(now.checked_add(self.options.stall).unwrap_or(now)) {
            self.wake_timer(state);
        }
    }

    /// Tells the timer thread that it may have to act earlier than it knows; starts it the first time.
    pub(super) fn wake_timer(self: &Arc<Self>, state: &mut State) {
        if state.timer.is_some() {
            self.timer.notify_one();
        } else if state.stop != Stop::Closed {
            let shared = Arc::clone(self);
            match thread::Builder::new().name("xaeroflux-timer".into()).spawn(move || shared.keep_time()) {
                Ok(thread) => state.timer = Some(thread),
                Err(error) => {
                    tracing::error!(%error, "the system gives no thread for the timer; the next use tries again")
                }
            }
        }
    }

    fn keep_time(self: Arc<Self>) {
        self.adopt_thread();
        let mut state = self.lock();
        while state.stop != Stop::Closed {
            let unused = self.act(&mut state, Instant::now());
            let finished = mem::take(&mut state.finished);
            if !unused.is_empty() || !finished.is_empty() {
                drop(state);
                discard(unused);
                for thread in finished {
                    // A worker catches what a task throws, so there is nothing to learn from the result.
                    let _ended = thread.join();
                }
                state = self.lock();
                continue; // The state may have changed meanwhile.
            }
            state = match state.next_action() {
                None => self.timer.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    self.timer.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Does what is due, and hands back the tasks that are to be dropped without the lock.
    fn act(self: &Arc<Self>, state: &mut State, now: Instant) -> Vec<Arc<dyn Task>> {
        let mut unused = Vec::new();
        while let Some(task) = state.take_due(now) {
            if task.scheduled().wake() {
                self.push(state, task);
            } else {
                unused.push(task); // It is queued or running, so it will run once more anyway.
            }
        }
        if state.has_stalled(now, self.options.stall) {
            if state.parked > 0 {
                self.work.notify_one();
            } else if state.spinning == 0 && !self.add_worker(state) && state.log_exhaustion() {
                tracing::warn!(
                    workers = state.workers,
                    queued = state.queue.len(),
                    "every worker is busy with a closure that does not return, and there can be no more of them"
                );
            }
        }
        if matches!(state.stop, Stop::Draining(until) if until <= now) {
            unused.extend(self.close(state));
        }
        unused
    }
}
