//! What lies on a bus, and whether its consumer knows: the bookkeeping behind the bus's lock, without the lock.

use std::{collections::VecDeque, mem, sync::Arc};

use super::{BusLimits, Chunk, Entry, Notify, Receipt};

/// Most drained buffers that are kept for the next chunks: as many as a full bus has chunks.
const MAX_SPARES: usize = 4;

#[derive(Default)]
pub(super) struct Queue {
    /// The chunk that takes the next event.
    current: Chunk,
    /// Chunks that take no more, the oldest first.
    full: VecDeque<Chunk>,
    /// Empty buffers for the next chunks; none while the bus is idle.
    spares: Vec<Vec<Entry>>,
    /// Events that take up space: queued, or held by the consumer.
    events: usize,
    /// What these count in bytes.
    bytes: usize,
    /// Those among the events that the consumer holds.
    held: usize,
    /// How many threads wait for space.
    pub(super) waiting: usize,
    /// What tells the consumer that there is something for it.
    notify: Option<Arc<Notify>>,
    consumer: Consumer,
    pub(super) closed: bool,
}

/// What the consumer waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Consumer {
    /// For any event: it has found the bus empty.
    #[default]
    Resting,
    /// For a chunk that takes no more: it has something to do meanwhile, and comes back by itself when that is done.
    Busy,
    /// For nothing: it was told, and comes.
    Told,
}

impl Queue {
    /// Events that take up space.
    pub(super) const fn events(&self) -> usize {
        self.events
    }

    /// Events that are not drained yet.
    pub(super) const fn queued(&self) -> usize {
        self.events.saturating_sub(self.held)
    }

    /// Whether an event of this size has space. A very large one has where nothing else takes up any.
    pub(super) const fn fits(&self, bytes: usize, limits: &BusLimits) -> bool {
        self.events < limits.events && (self.bytes == 0 || self.bytes.saturating_add(bytes) <= limits.bytes)
    }

    /// Queues an event that fits.
    pub(super) fn push(&mut self, entry: Entry, limits: &BusLimits) {
        let bytes = entry.bytes();
        let Chunk { entries, bytes: chunk_bytes, .. } = &self.current;
        let is_full = entries.len() >= limits.chunk_events || chunk_bytes.saturating_add(bytes) > limits.chunk_bytes;
        if is_full && !entries.is_empty() {
            // A chunk filled up before it was drained: the bus is under load, and the next will be as long.
            let next = self.spares.pop().unwrap_or_else(|| Vec::with_capacity(entries.len()));
            let full = mem::replace(&mut self.current, Chunk { entries: next, ..Chunk::default() });
            self.full.push_back(full);
        }
        self.current.bytes += bytes;
        self.current.entries.push(entry);
        self.bytes += bytes;
        self.events += 1;
    }

    /// Queues an event that fits, and makes its receipt.
    pub(super) fn push_with_receipt(&mut self, entry: Entry, limits: &BusLimits) -> Receipt {
        self.push(Entry { receipt: true, ..entry }, limits);
        self.current.receipts.get_or_insert_default().receipt(self.current.entries.len() - 1)
    }

    /// Takes the oldest chunk, whether it is full or not. Its space is free at once, unless it is held.
    pub(super) fn take(&mut self, hold: bool) -> Option<Chunk> {
        let chunk = match self.full.pop_front() {
            Some(full) => full,
            None if self.current.entries.is_empty() => return None,
            None => {
                let next = self.spares.pop().unwrap_or_default();
                mem::replace(&mut self.current, Chunk { entries: next, ..Chunk::default() })
            }
        };
        self.held += chunk.entries.len();
        if !hold {
            self.release(chunk.entries.len(), chunk.bytes);
        }
        Some(chunk)
    }

    /// Takes the oldest of the chunks that take no more. Its space is free at once, unless it is held.
    pub(super) fn take_full(&mut self, hold: bool) -> Option<Chunk> {
        if self.full.is_empty() { None } else { self.take(hold) }
    }

    /// Frees the space of events that the consumer held.
    pub(super) fn release(&mut self, events: usize, bytes: usize) {
        debug_assert!(events <= self.held && bytes <= self.bytes, "only what is held can be released, and once only");
        let events = events.min(self.held);
        self.held -= events;
        self.events -= events;
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The consumer has found nothing: it is told of the next event, and the buffers go.
    pub(super) fn rest(&mut self) {
        self.consumer = Consumer::Resting;
        self.current.entries = Vec::new();
        self.full = VecDeque::new();
        self.spares = Vec::new();
    }

    /// The consumer has found no full chunk, and is busy: it is told when there is one.
    pub(super) const fn await_full(&mut self) {
        self.consumer = Consumer::Busy;
    }

    /// Keeps an empty buffer while the bus is in use; hands back one that is to be dropped.
    pub(super) fn recycle(&mut self, buffer: Vec<Entry>) -> Option<Vec<Entry>> {
        if self.consumer == Consumer::Resting || self.spares.len() >= MAX_SPARES {
            return Some(buffer);
        }
        self.spares.push(buffer);
        None
    }

    /// The notice to give after the lock is free, where the consumer does not know yet that there is something.
    pub(super) fn claim_notice(&mut self) -> Option<Arc<Notify>> {
        let is_due = match self.consumer {
            Consumer::Resting => self.queued() > 0,
            Consumer::Busy => !self.full.is_empty(),
            Consumer::Told => false,
        };
        let notify = Arc::clone(self.notify.as_ref().filter(|_| is_due)?);
        self.consumer = Consumer::Told;
        Some(notify)
    }

    /// Puts a new consumer in the place of the old one, which may have died after it was told. Returns the old notice.
    pub(super) fn set_notify(&mut self, notify: Option<Arc<Notify>>) -> Option<Arc<Notify>> {
        self.consumer = Consumer::Resting;
        mem::replace(&mut self.notify, notify)
    }
}

#[cfg(test)]
impl Queue {
    /// How many entries and chunks the buffers have room for.
    pub(super) fn buffers(&self) -> usize {
        self.current.entries.capacity() + self.full.capacity() + self.spares.capacity()
    }
}
