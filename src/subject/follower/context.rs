//! What the authors of a pipeline's events had seen.

use std::sync::Arc;

use crate::{
    crdt::CausalIndex,
    subject::pipeline::{Contexts, MemoryContexts},
    wire::{
        event::Stamp,
        id::{Dot, SubjectId},
        vector::VersionVector,
    },
};

/// The contexts of all sources of a pipeline, each in memory or from its log.
pub(super) struct SourceContexts {
    memory: MemoryContexts,
    /// The causal index of each source that reads a log and comes to a fold.
    logs: Vec<Option<CausalIndex>>,
    /// Whether a log has a part of its subject only.
    is_partial: bool,
}

impl SourceContexts {
    pub(super) fn new(subjects: Vec<SubjectId>) -> Self {
        let logs = subjects.iter().map(|_| None).collect();
        Self { memory: MemoryContexts::new(subjects), logs, is_partial: false }
    }

    /// From now on the source reads its log from the beginning, and `indexed` says whether a fold asks for its contexts.
    pub(super) fn read_log(&mut self, source: usize, indexed: bool) {
        if let Some(log) = self.logs.get_mut(source) {
            *log = indexed.then(CausalIndex::new);
        }
    }

    /// A source has a part of its subject only.
    pub(super) const fn note_partial(&mut self) {
        self.is_partial = true;
    }

    /// Notes an event of a source in memory.
    pub(super) fn observe_memory(&mut self, source: usize, dot: Dot) {
        self.memory.observe(source, dot);
    }

    /// Notes an event of a log.
    pub(super) fn observe_log(&mut self, source: usize, dot: Dot, deps: &[Dot]) {
        if let Some(Some(index)) = self.logs.get_mut(source) {
            index.insert(dot, deps.iter().copied());
        }
    }

    fn index(&self, source: usize) -> Option<&CausalIndex> {
        self.logs.get(source).and_then(Option::as_ref)
    }
}

impl Contexts for SourceContexts {
    fn covers(&self, source: usize, event: Dot, other: Dot) -> bool {
        match self.index(source) {
            Some(index) => event == other || index.saw(event, other),
            None => self.memory.covers(source, event, other),
        }
    }

    fn vector(&self, source: usize, event: Dot) -> VersionVector {
        match self.index(source) {
            Some(index) => index.vector(event),
            None => self.memory.vector(source, event),
        }
    }

    fn causal_delivery(&self) -> bool {
        self.memory.causal_delivery()
    }

    fn is_partial(&self) -> bool {
        self.is_partial
    }

    fn scope(&self, source: usize) -> usize {
        self.memory.scope(source)
    }

    fn stamp(&self, source: usize, dot: Dot) -> Option<Arc<Stamp>> {
        self.memory.stamp(source, dot)
    }
}
