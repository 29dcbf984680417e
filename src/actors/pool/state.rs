//! What a pool knows, behind one lock. No threads and no clock here: the time is an argument.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
    fmt, mem,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{ShutdownReport, Task};

/// Whether a pool takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stop {
    /// It takes tasks and deadlines.
    #[default]
    Open,
    /// It takes tasks, as what is queued may need them, but no deadlines; closed at this time at the latest.
    Draining(Instant),
    /// It takes nothing, and its threads end.
    Closed,
}

/// A queue with no idle worker for it, and whether it moves.
#[derive(Debug, Clone, Copy)]
struct Watch {
    /// When to look again.
    due: Instant,
    /// How many tasks had been taken when the timer thread looked last.
    taken: u64,
}

#[derive(Default)]
pub(super) struct State {
    /// Tasks that wait for a worker, the oldest first.
    pub(super) queue: VecDeque<Arc<dyn Task>>,
    /// Tasks that wait for their time, the earliest first.
    pub(super) deadlines: BinaryHeap<Reverse<Deadline>>,
    next_deadline: u64,
    /// Worker threads, busy or idle.
    pub(super) workers: usize,
    /// Workers in a task.
    pub(super) running: usize,
    /// Workers that look at the queue without the lock. They will take the lock and look again before they park.
    pub(super) spinning: usize,
    /// Workers that sleep.
    pub(super) parked: usize,
    /// Tasks taken from the queue since the start: the queue's progress.
    pub(super) taken: u64,
    pub(super) panics: u64,
    pub(super) stop: Stop,
    watch: Option<Watch>,
    /// Whether it was logged that the queue stands still and there can be no more workers.
    exhaustion_logged: bool,
    next_thread: u64,
    /// The handles of the workers, by number.
    threads: Vec<(u64, JoinHandle<()>)>,
    /// The handles of workers that have ended or are about to.
    pub(super) finished: Vec<JoinHandle<()>>,
    pub(super) timer: Option<JoinHandle<()>>,
    abandoned: usize,
    dropped_deadlines: usize,
}

impl State {
    /// Takes the oldest task.
    pub(super) fn take(&mut self) -> Option<Arc<dyn Task>> {
        let task = self.queue.pop_front()?;
        self.taken = self.taken.wrapping_add(1);
        self.running += 1;
        Some(task)
    }

    /// Adds a deadline. `true`: it is now the earliest, so the timer thread has to know.
    pub(super) fn add_deadline(&mut self, at: Instant, task: Arc<dyn Task>) -> bool {
        let number = self.next_deadline;
        self.next_deadline = number.wrapping_add(1);
        self.deadlines.push(Reverse(Deadline { at, number, task }));
        self.deadlines.peek().is_some_and(|Reverse(first)| first.number == number)
    }

    /// Takes a task whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Arc<dyn Task>> {
        if self.deadlines.peek().is_none_or(|Reverse(first)| first.at > now) {
            return None;
        }
        self.deadlines.pop().map(|Reverse(due)| due.task)
    }

    /// Starts to watch whether the queue moves. `true`: nobody did so before, so the timer thread has to know.
    pub(super) fn start_watch(&mut self, due: Instant) -> bool {
        let new = self.watch.is_none();
        if new {
            self.watch = Some(Watch { due, taken: self.taken });
        }
        new
    }

    /// Whether the queue has stood still since the last look, `stall` ago. Looks again in as long; ends the watch where
    /// the queue is empty.
    pub(super) fn has_stalled(&mut self, now: Instant, stall: Duration) -> bool {
        let Some(watch) = self.watch.filter(|watch| watch.due <= now) else { return false };
        let stalled = !self.queue.is_empty() && watch.taken == self.taken;
        self.watch =
            (!self.queue.is_empty()).then(|| Watch { due: now.checked_add(stall).unwrap_or(now), taken: self.taken });
        self.exhaustion_logged &= stalled;
        stalled
    }

    /// Whether to log that the queue stands still and there can be no more workers: once until it moves again.
    pub(super) const fn log_exhaustion(&mut self) -> bool {
        !mem::replace(&mut self.exhaustion_logged, true)
    }

    /// When the timer thread has to act next; `None` where it need not.
    pub(super) fn next_action(&self) -> Option<Instant> {
        let deadline = self.deadlines.peek().map(|Reverse(first)| first.at);
        let watch = self.watch.map(|watch| watch.due);
        let stop = match self.stop {
            Stop::Draining(until) => Some(until),
            Stop::Open | Stop::Closed => None,
        };
        [deadline, watch, stop].into_iter().flatten().min()
    }

    /// Notes a new worker. The number names it in [`State::worker_ended`].
    pub(super) const fn next_thread(&mut self) -> u64 {
        self.next_thread = self.next_thread.wrapping_add(1);
        self.next_thread
    }

    pub(super) fn worker_started(&mut self, number: u64, thread: JoinHandle<()>) {
        self.workers += 1;
        self.threads.push((number, thread));
    }

    /// A worker is about to end: whoever waits for it finds its handle among the finished ones.
    pub(super) fn worker_ended(&mut self, number: u64) {
        self.workers -= 1;
        if let Some(index) = self.threads.iter().position(|(own, _)| *own == number) {
            self.finished.push(self.threads.swap_remove(index).1);
        }
    }

    /// Begins to drain, and hands back the tasks whose deadlines are forgotten, to be dropped without the lock.
    pub(super) fn stop_accepting(&mut self, until: Instant) -> Vec<Arc<dyn Task>> {
        self.stop = match self.stop {
            Stop::Open => Stop::Draining(until),
            Stop::Draining(earlier) => Stop::Draining(earlier.min(until)),
            Stop::Closed => Stop::Closed,
        };
        let forgotten: Vec<_> = mem::take(&mut self.deadlines).into_iter().map(|Reverse(it)| it.task).collect();
        self.dropped_deadlines += forgotten.len();
        forgotten
    }

    /// Whether all that a shutdown waits for is done.
    pub(super) fn is_drained(&self) -> bool {
        matches!(self.stop, Stop::Draining(_)) && self.queue.is_empty() && self.running == 0
    }

    /// Takes nothing more, and hands back the tasks that will not run.
    pub(super) fn close(&mut self) -> Vec<Arc<dyn Task>> {
        self.stop = Stop::Closed;
        self.watch = None;
        self.abandoned += self.queue.len();
        for task in &self.queue {
            task.scheduled().forget();
        }
        mem::take(&mut self.queue).into()
    }

    pub(super) const fn report(&self, stuck_threads: usize, only_signalled: bool) -> ShutdownReport {
        ShutdownReport {
            stuck_threads,
            abandoned_tasks: self.abandoned,
            dropped_deadlines: self.dropped_deadlines,
            panics: self.panics,
            only_signalled,
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("queued", &self.queue.len())
            .field("deadlines", &self.deadlines.len())
            .field("workers", &self.workers)
            .field("running", &self.running)
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

/// A task that is to run at a time. Those of one time come in the order in which they were added.
pub(super) struct Deadline {
    at: Instant,
    number: u64,
    task: Arc<dyn Task>,
}

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Deadline {}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at).then(self.number.cmp(&other.number))
    }
}
