//! Followers: each drives the pipeline of one subscription.
//!
//! A follower *pulls*. On a durable subject it has a place in the log and reads on from there whenever it is woken, so
//! that history, what is live, and what a slow subscriber missed come by the same way, with no gap and no duplicate. In
//! memory it has a bounded queue of chunks, which the subject's pump fills.
//!
//! * `source` is where events come from, and what their authors had seen.
//! * `queue` is the bounded queue of a source in memory.
//! * `sink` is where events go: a closure, or the queue behind a stream.
//! * `step` is what happens at each turn.
//! * `options` is what a subscriber may choose.
//!
//! The state of a fold that has a name and a version is kept as a snapshot now and then: state and number of events that it
//! covers in one row, written in one transaction. After a restart the events that it covers are not folded again.
//!
//! Pipelines that fold are driven by the subject's batch actor, and hand what they emit to the pool; all others run
//! on the pool as a whole.

mod context;
mod options;
mod queue;
mod sink;
mod source;
mod step;

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::Addr;

pub use options::{Lag, Overflow, SubscribeOptions};
pub(crate) use sink::{ClosureSink, Outbox, OutboxSink, Sink};
pub(crate) use source::{LogSource, event_of, fill_proofs, is_passed_over};

use self::{queue::MemoryQueue, source::Feed, step::Inner};
use super::{core::Core, pipeline::PipelineSpec};
use crate::actors::{
    batch::{Advance, BatchProcessor, Fold},
    bus::Chunk,
    pool::{Pool, Scheduled, Task, Worker},
    runtime::Runtime,
    storage::open::SubjectLog,
};

/// One subscription at work.
pub(crate) struct Follower {
    pub(crate) spec: PipelineSpec,
    pub(crate) options: SubscribeOptions,
    /// The subjects that the sources read.
    cores: Vec<Arc<Core>>,
    pool: Weak<Pool>,
    scheduled: Scheduled,
    /// Where the batch actor is, for a pipeline that folds on a durable subject.
    host: Mutex<Host>,
    /// Whether the batch actor has been told that there is something to do.
    told: AtomicBool,
    queues: Vec<MemoryQueue>,
    /// How far each source has read its log.
    places: Vec<Place>,
    /// What was decided about the sources since the last turn.
    orders: Mutex<Orders>,
    inner: Mutex<Inner>,
    counts: Counts,
    ending: Mutex<Ending>,
    ended: Condvar,
    /// Whether nothing more will come out of the pipeline, and only the sink still has something to pass on.
    finishing: AtomicBool,
    this: Weak<Self>,
}

/// Who runs the pipeline.
enum Host {
    /// The pool.
    Pool,
    /// The batch actor, once it is known.
    Batch(Option<Addr<BatchProcessor>>),
}

/// What the next turn is to begin with.
#[derive(Default)]
struct Orders {
    /// These sources are to read the log, which had so many events when that was decided.
    logs: Vec<(usize, LogSource, u64)>,
    /// The pipeline is to be made anew, from what is durable.
    restart: bool,
}

/// How far a source has read its log, for those who ask from other threads: a turn may be held up in a closure.
#[derive(Default)]
struct Place {
    log: Mutex<Option<Arc<SubjectLog>>>,
    next: AtomicU64,
}

impl Place {
    /// Events of the log that have not been passed to the pipeline.
    fn behind(&self) -> u64 {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.as_ref().map_or(0, |log| log.count().saturating_sub(self.next.load(Ordering::Relaxed)))
    }
}

#[derive(Default)]
struct Counts {
    dropped: AtomicU64,
    delivered: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Not,
    /// To end as soon as everything that is there has been passed on.
    WhenDone,
    Ended,
}

impl Follower {
    /// Starts to follow. Events from now on reach the pipeline.
    pub(crate) fn start(
        spec: PipelineSpec,
        cores: Vec<Arc<Core>>,
        options: SubscribeOptions,
        runtime: &Arc<Runtime>,
        sink: Box<dyn Sink>,
    ) -> Arc<Self> {
        let subjects = cores.iter().map(|core| core.id()).collect();
        let queues = cores.iter().map(|_| MemoryQueue::new(&options)).collect();
        let places = cores.iter().map(|_| Place::default()).collect();
        let follower = Arc::new_cyclic(|this| Self {
            inner: Mutex::new(Inner::new(&spec, subjects, sink)),
            spec,
            options,
            cores,
            pool: Arc::downgrade(runtime.pool()),
            scheduled: Scheduled::new(),
            host: Mutex::new(Host::Pool),
            told: AtomicBool::new(false),
            queues,
            places,
            orders: Mutex::default(),
            counts: Counts::default(),
            ending: Mutex::new(Ending::Not),
            ended: Condvar::new(),
            finishing: AtomicBool::new(false),
            this: Weak::clone(this),
        });
        for (source, core) in follower.cores.iter().enumerate() {
            core.attach(&follower, source);
        }
        follower
    }

    /// Whether the pipeline folds, and therefore lives with the batch actor.
    pub(crate) fn is_batch(&self) -> bool {
        self.spec.has_batch()
    }

    /// There may be something to do.
    pub(crate) fn wake(&self) {
        let Some(this) = self.this.upgrade() else { return };
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        match &*host {
            Host::Pool => {
                drop(host);
                self.schedule(this);
            }
            Host::Batch(address) => {
                if let Some(address) = address
                    && !self.told.swap(true, Ordering::AcqRel)
                {
                    address.do_send(Advance(this));
                }
            }
        }
    }

    /// Has the pool run something.
    pub(crate) fn schedule(&self, task: Arc<dyn Task>) {
        if let Some(pool) = self.pool.upgrade() {
            pool.schedule(task);
        }
    }

    /// From now on this source reads the log.
    pub(crate) fn read_log(&self, source: usize, log: LogSource) {
        // Counted here and not at the next turn: what becomes durable in between is for this pipeline.
        let count = log.log.count();
        self.orders().logs.push((source, log, count));
        if self.is_batch() && source == 0 {
            let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(*host, Host::Pool) {
                *host = Host::Batch(None);
            }
        }
    }

    /// The batch actor is here; `restart`: a new one, and what the old one did in memory is gone with it.
    pub(crate) fn host(&self, address: Addr<BatchProcessor>, restart: bool) {
        if restart {
            self.orders().restart = true;
        }
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Host::Batch(Some(address));
        self.told.store(false, Ordering::Release);
        self.wake();
    }

    /// Takes a chunk for a source that works in memory.
    pub(crate) fn offer(&self, source: usize, chunk: Arc<Chunk>) {
        let Some(queue) = self.queues.get(source).filter(|_| !self.takes_no_more()) else { return };
        let dropped = queue.push(chunk);
        self.note_dropped(dropped);
    }

    /// Whether the source in memory can take a chunk. One that drops what is too much always can.
    pub(crate) fn has_room(&self, source: usize) -> bool {
        self.takes_no_more() || self.queues.get(source).is_none_or(MemoryQueue::has_room)
    }

    fn takes_no_more(&self) -> bool {
        self.finishing.load(Ordering::Acquire) || self.has_ended()
    }

    /// How far the subscriber is behind.
    pub(crate) fn lag(&self) -> Lag {
        let queued: u64 = self.queues.iter().map(MemoryQueue::len).sum();
        let behind = self.places.iter().map(Place::behind).fold(queued, u64::saturating_add);
        Lag { behind, dropped: self.counts.dropped.load(Ordering::Relaxed) }
    }

    /// Events that reached the subscriber.
    pub(crate) fn delivered(&self) -> u64 {
        self.counts.delivered.load(Ordering::Relaxed)
    }

    /// Ends the subscription now: what has not been delivered is not.
    pub(crate) fn cancel(&self) {
        self.set_ended();
        // One more turn, which closes the sink: a stream's reader waits for that.
        self.wake();
    }

    /// Ends the subscription when everything that is there has been passed on.
    pub(crate) fn end_when_done(&self) {
        {
            let mut ending = self.ending();
            if *ending == Ending::Not {
                *ending = Ending::WhenDone;
            }
        }
        self.wake();
    }

    /// Waits until the subscription has ended. `false` where that takes longer.
    pub(crate) fn wait_until_ended(&self, until: Instant) -> bool {
        let mut ending = self.ending();
        while *ending != Ending::Ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            ending = self.ended.wait_timeout(ending, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.ending() == Ending::Ended
    }

    fn set_ended(&self) {
        *self.ending() = Ending::Ended;
        self.ended.notify_all();
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Host::Pool;
        for core in &self.cores {
            core.detach(self);
        }
    }

    fn note_dropped(&self, dropped: u64) {
        if dropped > 0 {
            self.counts.dropped.fetch_add(dropped, Ordering::Relaxed);
            if let Some(core) = self.cores.first() {
                core.notices.tell(&super::notice::Notice::Lagged { missed: dropped });
            }
        }
    }

    /// Has the follower woken at a deadline of its pipeline.
    fn wake_at(&self, deadline: Instant) {
        if let Some(pool) = self.pool.upgrade() {
            pool.at(deadline, Arc::new(Alarm { follower: Weak::clone(&self.this), scheduled: Scheduled::new() }));
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ending(&self) -> MutexGuard<'_, Ending> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task for Follower {
    fn scheduled(&self) -> &Scheduled {
        &self.scheduled
    }

    fn run(self: Arc<Self>, worker: &Worker<'_>) {
        let hosted = matches!(*self.host.lock().unwrap_or_else(PoisonError::into_inner), Host::Batch(_));
        if hosted {
            // It was queued here before the batch actor took it over.
            self.wake();
        } else if self.turn() {
            worker.schedule(self);
        }
    }
}

/// Wakes a follower when its time has come. The pool keeps it until then, so it must not keep the follower: that may have
/// ended long before, and with it goes what the user's closures hold.
struct Alarm {
    follower: Weak<Follower>,
    scheduled: Scheduled,
}

impl Task for Alarm {
    fn scheduled(&self) -> &Scheduled {
        &self.scheduled
    }

    fn run(self: Arc<Self>, _: &Worker<'_>) {
        if let Some(follower) = self.follower.upgrade() {
            follower.wake();
        }
    }
}

impl Fold for Follower {
    fn advance(&self) -> bool {
        self.told.store(false, Ordering::Release);
        let more = self.turn();
        // What comes back by itself needs no wake-up meanwhile.
        more && !self.told.swap(true, Ordering::AcqRel)
    }
}

/// Time since the process first asked, for the pipelines.
fn tick() -> Duration {
    epoch().elapsed()
}

fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// The moment that a pipeline's tick stands for.
fn moment(tick: Duration) -> Option<Instant> {
    epoch().checked_add(tick)
}
