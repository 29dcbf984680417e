//! The bus: one lock around the [`Queue`], the senders that wait for space, and the notice to the consumer.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{BusLimits, Chunk, Entry, Receipt, Refusal, SendError, Sender, chunk::event_bytes, queue::Queue};
use crate::wire::{event::XaeroEvent, hash_many::SHORT, limits::MAX_PAYLOAD_BYTES};

/// What tells the consumer that the bus is no longer empty. Called on the sending thread, so it should only schedule.
pub type Notify = dyn Fn() + Send + Sync;

/// How long a sender waits for space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Until there is space or the bus is closed.
    Blocking,
    /// Until this time at most.
    Until(Instant),
    /// Not at all.
    Try,
}

/// The bus of one subject: see the [module](super).
pub struct Bus {
    limits: BusLimits,
    /// Why every event is refused, where the subject itself is unusable.
    broken: Option<Arc<dyn Error + Send + Sync>>,
    hash_payloads: AtomicBool,
    queue: Mutex<Queue>,
    /// Senders wait here for space.
    space: Condvar,
}

impl Bus {
    /// An empty bus.
    #[must_use]
    pub fn new(limits: BusLimits) -> Arc<Self> {
        Self::with(limits, None)
    }

    /// A bus that refuses every event with this error: that of a subject which could not be made.
    #[must_use]
    pub fn broken(error: Arc<dyn Error + Send + Sync>) -> Arc<Self> {
        Self::with(BusLimits::default(), Some(error))
    }

    fn with(limits: BusLimits, broken: Option<Arc<dyn Error + Send + Sync>>) -> Arc<Self> {
        Arc::new(Self {
            limits: limits.normalised(),
            broken,
            hash_payloads: AtomicBool::new(false),
            queue: Mutex::default(),
            space: Condvar::new(),
        })
    }

    /// The publishers' side.
    #[must_use]
    pub fn sender(self: &Arc<Self>) -> Sender {
        Sender::new(Arc::clone(self))
    }

    /// The limits, with room for one event at least.
    #[must_use]
    pub const fn limits(&self) -> &BusLimits {
        &self.limits
    }

    /// Whether sending threads hash a long payload from now on, before they take the lock: work that a durable subject
    /// then need not do. Short ones are hashed faster many at once. Events that were sent earlier have no hash.
    pub fn set_hash_payloads(&self, hash: bool) {
        self.hash_payloads.store(hash, Ordering::Relaxed);
    }

    /// Sets what tells the consumer, in place of what did so before; `None` for a bus that only collects. Where events
    /// are queued, it is called at once, even if an earlier consumer had been told of them.
    pub fn set_notify(&self, notify: Option<Arc<Notify>>) {
        let mut queue = self.lock();
        let old = queue.set_notify(notify);
        self.unlock_and_notify(queue);
        drop(old);
    }

    /// Takes the oldest chunk: a full one, or the one that is filling.
    ///
    /// Its space is free at once. A consumer that was told must come back until it gets `None`: only then will it be told again.
    pub fn drain(&self) -> Option<Chunk> {
        let mut queue = self.lock();
        let chunk = queue.take();
        match &chunk {
            None => queue.rest(),
            Some(_) => self.unlock_and_wake_senders(queue),
        }
        chunk
    }

    /// Takes the oldest chunk that is full, and leaves the one that is filling: for a consumer that is busy, and lets
    /// events gather meanwhile.
    ///
    /// Once it got `None`, the consumer is told of the next full chunk, and of nothing else: it comes back by itself when
    /// it is no longer busy.
    pub fn drain_full(&self) -> Option<Chunk> {
        let mut queue = self.lock();
        let chunk = queue.take_full();
        match &chunk {
            None => queue.await_full(),
            Some(_) => self.unlock_and_wake_senders(queue),
        }
        chunk
    }

    /// Takes back the buffer of a chunk, to be filled again while the bus is under load.
    pub fn recycle(&self, mut buffer: Vec<Entry>) {
        buffer.clear();
        let unused = self.lock().recycle(buffer);
        drop(unused);
    }

    /// Takes no more events: senders, those included that wait for space, get [`SendError::Closed`]. What is queued can
    /// still be drained; receipts of what is not are abandoned when the bus is dropped.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        self.unlock_and_wake_senders(queue);
    }

    /// Whether it takes nothing any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes events again, after a [`close`](Self::close): the subject runs once more.
    pub fn reopen(&self) {
        self.lock().closed = false;
    }

    /// Events that are not drained yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().events()
    }

    /// Whether all events were drained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an event, however small, would have to wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.lock().fits(1, &self.limits)
    }

    pub(super) fn send(&self, event: XaeroEvent, mode: Mode) -> Result<(), SendError> {
        if let Some(reason) = self.refusal(&event) {
            return Err(SendError::Refused { event: Box::new(event), reason });
        }
        self.queue(event, mode, Queue::push)
    }

    pub(super) fn send_with_receipt(&self, event: XaeroEvent, mode: Mode) -> Result<Receipt, SendError> {
        if let Some(reason) = self.refusal(&event) {
            return Err(SendError::Refused { event: Box::new(event), reason });
        }
        self.queue(event, mode, Queue::push_with_receipt)
    }

    pub(super) fn send_many_with_receipts(
        &self,
        events: &mut dyn Iterator<Item = XaeroEvent>,
        mode: Mode,
    ) -> Vec<Result<Receipt, SendError>> {
        let mut outcomes = Vec::with_capacity(events.size_hint().0.min(self.limits.events));
        let mut batch = Vec::new();
        let mut bytes = 0_usize;
        for event in events {
            let mut refused = None;
            if let Some(reason) = self.refusal(&event) {
                refused = Some(SendError::Refused { event: Box::new(event), reason });
            } else {
                let entry = Entry { payload_hash: self.hash(&event), event, has_receipt: false };
                bytes = bytes.saturating_add(entry.bytes());
                batch.push(entry);
                if batch.len() < self.limits.chunk_events && bytes < self.limits.chunk_bytes {
                    continue;
                }
            }
            // What came before a refused event keeps its place among the outcomes.
            bytes = 0;
            let goes_on = self.queue_batch(&mut batch, mode, &mut outcomes);
            outcomes.extend(refused.map(Err));
            if !goes_on {
                return outcomes;
            }
        }
        self.queue_batch(&mut batch, mode, &mut outcomes);
        outcomes
    }

    /// Queues a batch under as few locks as the space allows. `false` where the rest could not be queued.
    fn queue_batch(&self, batch: &mut Vec<Entry>, mode: Mode, outcomes: &mut Vec<Result<Receipt, SendError>>) -> bool {
        let mut entries = batch.drain(..).peekable();
        while let Some(first) = entries.peek() {
            match self.lock_with_space(first.bytes(), mode) {
                Ok(mut queue) => {
                    while let Some(entry) = entries.next_if(|entry| queue.fits(entry.bytes(), &self.limits)) {
                        outcomes.push(Ok(queue.push_with_receipt(entry, &self.limits)));
                    }
                    self.unlock_and_notify(queue);
                }
                Err(unavailable) => {
                    outcomes.extend(entries.map(|entry| Err(unavailable.with(entry.event))));
                    return false;
                }
            }
        }
        true
    }

    fn queue<T>(
        &self,
        event: XaeroEvent,
        mode: Mode,
        push: impl FnOnce(&mut Queue, Entry, &BusLimits) -> T,
    ) -> Result<T, SendError> {
        let payload_hash = self.hash(&event);
        match self.lock_with_space(event_bytes(&event), mode) {
            Ok(mut queue) => {
                let pushed = push(&mut queue, Entry { event, payload_hash, has_receipt: false }, &self.limits);
                self.unlock_and_notify(queue);
                Ok(pushed)
            }
            Err(unavailable) => Err(unavailable.with(event)),
        }
    }

    /// The rule that keeps this event off the bus, where there is one.
    fn refusal(&self, event: &XaeroEvent) -> Option<Refusal> {
        let proof_bytes = event.merkle_proof.as_ref().map_or(0, Vec::len);
        if let Some(error) = &self.broken {
            Some(Refusal::Subject(Arc::clone(error)))
        } else if event.evt.event_type.is_reserved() {
            Some(Refusal::ReservedEventType(event.evt.event_type))
        } else if event.evt.data.len() > MAX_PAYLOAD_BYTES {
            Some(Refusal::PayloadTooLarge(event.evt.data.len()))
        } else if proof_bytes > MAX_PAYLOAD_BYTES {
            Some(Refusal::ProofTooLarge(proof_bytes))
        } else {
            None
        }
    }

    /// The hash of the payload, where the bus was told to have it made.
    fn hash(&self, event: &XaeroEvent) -> Option<[u8; 32]> {
        let is_wanted = event.evt.data.len() > SHORT && self.hash_payloads.load(Ordering::Relaxed);
        is_wanted.then(|| *blake3::hash(&event.evt.data).as_bytes())
    }

    /// No code of others runs under this lock, so the queue behind a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, once an event of this size has space.
    fn lock_with_space(&self, bytes: usize, mode: Mode) -> Result<MutexGuard<'_, Queue>, Unavailable> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return Err(Unavailable::Closed);
            }
            if queue.fits(bytes, &self.limits) {
                return Ok(queue);
            }
            let left = match mode {
                Mode::Blocking => None,
                Mode::Try => return Err(Unavailable::Full),
                Mode::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            };
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Unavailable::Timeout);
            }
            queue.waiting += 1;
            queue = match left {
                None => self.space.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.space.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            queue.waiting -= 1;
        }
    }

    /// Frees the lock, and tells the consumer if it does not know yet.
    fn unlock_and_notify(&self, mut queue: MutexGuard<'_, Queue>) {
        let notice = queue.claim_notice();
        drop(queue);
        if let Some(notify) = notice {
            notify();
        }
    }

    /// Frees the lock, and wakes the senders that wait. All of them: the first may wait for more space than there is.
    fn unlock_and_wake_senders(&self, queue: MutexGuard<'_, Queue>) {
        let waiting = queue.waiting;
        drop(queue);
        if waiting > 0 {
            self.space.notify_all();
        }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("limits", &self.limits).field("events", &self.len()).finish_non_exhaustive()
    }
}

/// Why there is no space for an event.
#[derive(Debug, Clone, Copy)]
enum Unavailable {
    Full,
    Timeout,
    Closed,
}

impl Unavailable {
    fn with(self, event: XaeroEvent) -> SendError {
        let event = Box::new(event);
        match self {
            Self::Full => SendError::Full(event),
            Self::Timeout => SendError::Timeout(event),
            Self::Closed => SendError::Closed(event),
        }
    }
}

#[cfg(test)]
impl Bus {
    pub(super) fn lock_for_test(&self) -> MutexGuard<'_, Queue> {
        self.lock()
    }
}
