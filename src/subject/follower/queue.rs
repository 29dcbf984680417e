//! The bounded queue of a source that works in memory: chunks, shared by all followers of the subject.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::options::{Overflow, SubscribeOptions};
use crate::actors::bus::Chunk;

/// Chunks that wait, and how many events they have.
pub(super) struct MemoryQueue {
    capacity: usize,
    overflow: Overflow,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Each with the events at its front that are gone already.
    chunks: VecDeque<(Arc<Chunk>, usize)>,
    events: usize,
}

impl MemoryQueue {
    pub(super) fn new(options: &SubscribeOptions) -> Self {
        Self { capacity: options.capacity, overflow: options.overflow, waiting: Mutex::default() }
    }

    /// Whether the pump may bring another chunk. The capacity may be overrun by that one chunk, since a chunk is not cut.
    pub(super) fn has_room(&self) -> bool {
        self.overflow == Overflow::DropOldest || self.lock().events < self.capacity
    }

    /// Takes a chunk. Returns how many events had to go for it.
    pub(super) fn push(&self, chunk: Arc<Chunk>) -> u64 {
        let mut waiting = self.lock();
        waiting.events += chunk.entries.len();
        waiting.chunks.push_back((chunk, 0));
        let mut dropped = 0;
        if self.overflow == Overflow::DropOldest {
            while waiting.events > self.capacity {
                let excess = waiting.events - self.capacity;
                let Some((oldest, gone)) = waiting.chunks.front_mut() else { break };
                let left = oldest.entries.len() - *gone;
                if left <= excess {
                    waiting.chunks.pop_front();
                    waiting.events -= left;
                    dropped += left;
                } else {
                    *gone += excess;
                    waiting.events -= excess;
                    dropped += excess;
                }
            }
        }
        u64::try_from(dropped).unwrap_or(u64::MAX)
    }

    /// The oldest chunk, and how many events at its front are gone.
    pub(super) fn pop(&self) -> Option<(Arc<Chunk>, usize)> {
        let mut waiting = self.lock();
        let (chunk, gone) = waiting.chunks.pop_front()?;
        waiting.events -= chunk.entries.len() - gone;
        Some((chunk, gone))
    }

    /// Puts back what was not used of a chunk.
    pub(super) fn put_back(&self, chunk: Arc<Chunk>, gone: usize) {
        let mut waiting = self.lock();
        waiting.events += chunk.entries.len().saturating_sub(gone);
        waiting.chunks.push_front((chunk, gone));
    }

    /// Events that wait.
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.lock().events).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
