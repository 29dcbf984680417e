//! Reading a subject's log without running the subject.

use std::{borrow::Cow, sync::Arc, time::Duration};

use super::{
    error::Error,
    follower::event_of,
    handle::Subject,
    notice::Notice,
    pipeline::{Contexts, PipelineSpec},
};
use crate::{
    actors::storage::{StorageError, block::Stored, open::SubjectLog},
    crdt::{CausalIndex, Operator},
    wire::{
        event::{ScanWindow, XaeroEvent},
        id::Dot,
        record::RecordView,
        vector::VersionVector,
    },
};

/// Events that are visited under one read transaction: a long one would keep pages from being reused.
const VISIT_EVENTS: u64 = 4_096;

impl Subject {
    /// Visits the events of the log whose clocks lie in the window, in their order, in place: nothing is copied. Ends with
    /// the log as it is now, or when `visit` returns `false`.
    ///
    /// Works on a subject that runs as on one that does not. Operators of this handle do not apply.
    ///
    /// # Errors
    /// Where the data directory cannot be opened, or an event in it is damaged.
    pub fn for_each_archived(
        &self,
        window: ScanWindow,
        mut visit: impl FnMut(&RecordView<'_>) -> bool,
    ) -> Result<(), Error> {
        let (engine, log) = self.log()?;
        let Some(window) = window.clocks() else { return Ok(()) };
        engine.store.scan(&log, 0, Some(window), &mut |stored| Ok(visit(&stored.record)))?;
        Ok(())
    }

    /// The frames of the log from the `from`-th event on (the first is number 0), at most `max` of them, in their order,
    /// which is causal: what another node's [`ingest`](Self::ingest) takes. Empty at the end of the log.
    ///
    /// Works on a subject that runs as on one that does not. The result is held in memory: ask for a few thousand at a
    /// time.
    ///
    /// ```
    /// use xaeroflux::{Node, XaeroEvent, event::CRDT_SET_ADD};
    /// let (here, there) = (Node::ephemeral()?, Node::ephemeral()?);
    /// let (ours, theirs) = (here.subject("tags"), there.subject("tags"));
    /// let handles = (ours.run()?, theirs.run()?);
    /// ours.publish(XaeroEvent::new("urgent", CRDT_SET_ADD)).wait()?;
    /// theirs.ingest(ours.frames(0, 1_000)?)?.wait()?;
    /// assert_eq!(theirs.count()?, 1);
    /// # drop(handles);
    /// # Ok::<(), xaeroflux::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`for_each_archived`](Self::for_each_archived).
    pub fn frames(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, Error> {
        let mut frames = Vec::new();
        if max > 0 {
            self.read_stored(from, |stored| {
                frames.push(stored.frame.to_vec());
                frames.len() < max
            })?;
        }
        Ok(frames)
    }

    /// How many events the subject's log has on this node.
    ///
    /// # Errors
    /// Where the data directory cannot be opened.
    pub fn count(&self) -> Result<u64, Error> {
        Ok(self.log()?.1.count())
    }

    /// The state of the whole log as of now, resolved by these operators: what a [`batch`](Self::batch) pipeline would
    /// emit. `None` where the log has no event that the fold uses. What such a pipeline would have to tell, such as an
    /// event that the fold left out, comes as [notices](Self::notices) before this returns.
    ///
    /// # Errors
    /// As [`for_each_archived`](Self::for_each_archived), and where the operators make no sense.
    pub fn resolve(&self, operators: Vec<Operator>) -> Result<Option<XaeroEvent>, Error> {
        let spec = PipelineSpec::default().batch(Duration::MAX, None, operators)?;
        let mut pipeline = spec.instantiate();
        let mut contexts = LogContexts(CausalIndex::new());
        let mut state = None;
        let mut sink = |event| state = Some(event);
        pipeline.set_catching_up(true, Duration::ZERO, &contexts, &mut sink);
        self.read_log(0, |record| {
            let event = event_of(record);
            contexts.0.insert(record.dot(), record.deps());
            pipeline.feed(0, Cow::Owned(event), Some(record.dot()), Duration::ZERO, &contexts, &mut sink);
            true
        })?;
        pipeline.set_catching_up(false, Duration::ZERO, &contexts, &mut sink);
        if let Some(core) = self.core() {
            for report in pipeline.take_reports() {
                core.notices.tell(&Notice::from(report));
            }
        }
        Ok(state)
    }

    /// As [`read_stored`](Self::read_stored), for those who want the records alone.
    fn read_log(&self, from: u64, mut visit: impl FnMut(&RecordView<'_>) -> bool) -> Result<u64, Error> {
        self.read_stored(from, |stored| visit(&stored.record))
    }

    /// Reads on from `from`, and returns the ordinal of the next event.
    fn read_stored(&self, from: u64, mut visit: impl FnMut(&Stored<'_>) -> bool) -> Result<u64, Error> {
        let (engine, log) = self.log()?;
        let end = log.count();
        let mut next = from;
        let mut wanted = true;
        while wanted && next < end {
            let (part, before) = (VISIT_EVENTS.min(end - next), next);
            engine.store.read(&log, next, part, &mut |stored| {
                wanted = visit(&stored);
                next += 1;
                Ok::<bool, StorageError>(wanted)
            })?;
            if next == before {
                break;
            }
        }
        Ok(next)
    }

    pub(super) fn log(&self) -> Result<(Arc<super::engine::Engine>, Arc<SubjectLog>), Error> {
        let core = self.core().ok_or(Error::NotRunning)?;
        core.check()?;
        let engine = core.node.engine()?;
        let log = engine.log(core.id, &core.name)?;
        Ok((engine, log))
    }
}

/// The contexts of one log.
struct LogContexts(CausalIndex);

impl Contexts for LogContexts {
    fn covers(&self, _: usize, event: Dot, other: Dot) -> bool {
        event == other || self.0.saw(event, other)
    }

    fn vector(&self, _: usize, event: Dot) -> VersionVector {
        self.0.vector(event)
    }

    fn causal_delivery(&self) -> bool {
        true
    }
}
