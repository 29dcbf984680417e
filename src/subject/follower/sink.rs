//! Where a pipeline's events go.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::Waker,
};

use super::{
    Follower,
    options::{Overflow, SubscribeOptions},
};
use crate::{
    actors::pool::{Pool, Scheduled, Task, Worker},
    subject::{core::Core, notice::Notice},
    wire::event::XaeroEvent,
};

/// Events that a closure behind an [`Outbox`] gets before other tasks have their turn.
const TURN: usize = 256;

/// Takes what a pipeline emits.
pub(crate) trait Sink: Send {
    /// Whether it can take more. Where not, it wakes the follower when it can.
    fn is_ready(&self) -> bool;

    /// Takes an event. It may panic, if it is a user's closure.
    fn emit(&mut self, event: XaeroEvent);

    /// There will be no more.
    fn end(&mut self);

    /// Whether nobody takes events any more.
    fn is_closed(&self) -> bool;

    /// Whether all that was emitted has been taken.
    fn is_drained(&self) -> bool;
}

/// A subscriber's closure, run in place.
pub(crate) struct ClosureSink<F>(pub(crate) F);

impl<F: FnMut(XaeroEvent) + Send> Sink for ClosureSink<F> {
    fn is_ready(&self) -> bool {
        true
    }

    fn emit(&mut self, event: XaeroEvent) {
        (self.0)(event);
    }

    fn end(&mut self) {}

    fn is_closed(&self) -> bool {
        false
    }

    fn is_drained(&self) -> bool {
        true
    }
}

/// A subscriber's closure, run behind an [`Outbox`].
type Taker = Box<dyn FnMut(XaeroEvent) + Send>;

/// A bounded queue between a pipeline and whoever takes its events elsewhere: a stream, or a closure on the pool.
pub(crate) struct Outbox {
    capacity: usize,
    overflow: Overflow,
    state: Mutex<State>,
    follower: OnceLock<Weak<Follower>>,
    /// The closure that takes the events, unless a stream does.
    taker: Option<Mutex<Taker>>,
    scheduled: Scheduled,
    pool: Weak<Pool>,
    core: Weak<Core>,
}

#[derive(Default)]
struct State {
    events: VecDeque<XaeroEvent>,
    waker: Option<Waker>,
    ended: bool,
    closed: bool,
    /// Whether the taker is in the middle of an event.
    busy: bool,
    dropped: u64,
}

impl Outbox {
    pub(crate) fn new(
        options: &SubscribeOptions,
        pool: &Arc<Pool>,
        core: &Arc<Core>,
        taker: Option<Taker>,
    ) -> Arc<Self> {
        Arc::new(Self {
            capacity: options.capacity,
            overflow: options.overflow,
            state: Mutex::default(),
            follower: OnceLock::new(),
            taker: taker.map(Mutex::new),
            scheduled: Scheduled::new(),
            pool: Arc::downgrade(pool),
            core: Arc::downgrade(core),
        })
    }

    /// Whom to wake when there is room.
    pub(crate) fn set_follower(&self, follower: &Arc<Follower>) {
        // Set once, right after the follower was made.
        let _ = self.follower.set(Arc::downgrade(follower));
    }

    /// The next event; `Err` with whether there will be more.
    pub(crate) fn take(&self, waker: Option<&Waker>) -> Result<XaeroEvent, bool> {
        let mut state = self.lock();
        let Some(event) = state.events.pop_front() else {
            if let Some(waker) = waker {
                state.waker = Some(waker.clone());
            }
            return Err(!state.ended);
        };
        let has_room = state.events.len() + 1 == self.capacity;
        drop(state);
        if has_room {
            self.wake_follower();
        }
        Ok(event)
    }

    /// Nobody takes any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.events.clear();
    }

    /// Events lost because the stream's reader was slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn wake_follower(&self) {
        if let Some(follower) = self.follower.get().and_then(Weak::upgrade) {
            follower.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task for Outbox {
    fn scheduled(&self) -> &Scheduled {
        &self.scheduled
    }

    fn run(self: Arc<Self>, worker: &Worker<'_>) {
        let Some(taker) = &self.taker else { return };
        let mut taker = taker.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TURN {
            self.lock().busy = true;
            let Ok(event) = self.take(None) else {
                self.lock().busy = false;
                self.wake_follower();
                return;
            };
            let taken = catch_unwind(AssertUnwindSafe(|| taker(event)));
            self.lock().busy = false;
            if let Err(panic) = taken {
                self.close();
                if let Some(core) = self.core.upgrade() {
                    core.notices.tell(&Notice::SubscriberPanicked { message: panic_message(&*panic) });
                }
                self.wake_follower();
                return;
            }
        }
        drop(taker);
        worker.schedule(self);
    }
}

/// The pipeline's end of an [`Outbox`].
pub(crate) struct OutboxSink(pub(crate) Arc<Outbox>);

impl Sink for OutboxSink {
    fn is_ready(&self) -> bool {
        let state = self.0.lock();
        self.0.overflow == Overflow::DropOldest || state.events.len() < self.0.capacity
    }

    fn emit(&mut self, event: XaeroEvent) {
        let mut state = self.0.lock();
        if state.closed {
            return;
        }
        state.events.push_back(event);
        if self.0.overflow == Overflow::DropOldest {
            while state.events.len() > self.0.capacity {
                state.events.pop_front();
                state.dropped += 1;
            }
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if self.0.taker.is_some()
            && let Some(pool) = self.0.pool.upgrade()
        {
            pool.schedule(Arc::clone(&self.0) as Arc<dyn Task>);
        }
    }

    fn end(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    fn is_drained(&self) -> bool {
        // A stream's reader takes what is left when it likes; a closure is waited for.
        let state = self.0.lock();
        self.0.taker.is_none() || state.closed || (state.events.is_empty() && !state.busy)
    }
}

impl Drop for OutboxSink {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked with something that is not a text".to_owned())
}
