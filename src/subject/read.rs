//! Reading a subject's log without running the subject: its size, its frames, and the state that it resolves to, now or
//! at a time in the past.

use std::{borrow::Cow, time::Duration};

use super::{
    error::Error,
    follower::{event_of, is_passed_over},
    handle::Subject,
    notice::Notice,
    pipeline::{Contexts, PipelineSpec},
    replay::Walk,
};
use crate::{
    crdt::{CausalIndex, Operator},
    wire::{
        event::{ScanWindow, XaeroEvent},
        id::Dot,
        vector::VersionVector,
    },
};

impl Subject {
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
        let mut walk = Walk::all(self, from)?;
        while frames.len() < max
            && walk.part(&mut |stored| {
                frames.push(stored.frame.to_vec());
                frames.len() < max
            })?
        {}
        Ok(frames)
    }

    /// How many events the subject's log has on this node.
    ///
    /// # Errors
    /// Where the data directory cannot be opened.
    pub fn count(&self) -> Result<u64, Error> {
        let core = self.core().ok_or(Error::NotRunning)?;
        Ok(core.log()?.1.count())
    }

    /// The state of the whole log as of now, resolved by these operators: what a [`batch`](Self::batch) pipeline would
    /// emit. `None` where the log has no event that the fold uses. What such a pipeline would have to tell, such as an
    /// event that the fold left out, comes as [notices](Self::notices) before this returns.
    ///
    /// # Errors
    /// As [`for_each_archived`](Self::for_each_archived), and where the operators make no sense.
    pub fn resolve(&self, operators: Vec<Operator>) -> Result<Option<XaeroEvent>, Error> {
        self.state_at(u64::MAX, operators)
    }

    /// The state as it was: resolved from the events whose clocks are *before* this millisecond since the Unix epoch.
    /// The time itself is not included, as the end of a [`ScanWindow`] is not. Otherwise as [`resolve`](Self::resolve).
    ///
    /// An event's clock is above those of all that its author had seen, so no event is in the state without its causes, and
    /// every node that has the same events gives the same answer. It is the past by the clocks of the events, not by when
    /// they came here: one that was written in time elsewhere, and came late, is part of it.
    ///
    /// ```
    /// use xaeroflux::prelude::*;
    /// let now = Arc::new(std::sync::atomic::AtomicU64::new(1_000));
    /// let clock = Arc::clone(&now);
    /// let node = Node::builder().clock(move || clock.load(std::sync::atomic::Ordering::Relaxed)).ephemeral()?;
    /// let votes = node.subject("votes");
    /// let handle = votes.run()?;
    /// votes.publish(XaeroEvent::new(1i64.to_le_bytes(), CRDT_COUNTER_INCREMENT)).wait()?;
    /// now.store(2_000, std::sync::atomic::Ordering::Relaxed);
    /// votes.publish(XaeroEvent::new(1i64.to_le_bytes(), CRDT_COUNTER_INCREMENT)).wait()?;
    /// let operators = || {
    ///     vec![
    ///         Operator::Fold(Fold::PNCounter.to_operator()),
    ///         Operator::Reduce(Reduce::CounterValue.to_operator()),
    ///     ]
    /// };
    /// let value = |state: Option<XaeroEvent>| state.map(|state| state.evt.data);
    /// assert_eq!(value(votes.state_at(1_000, operators())?), None);
    /// assert_eq!(value(votes.state_at(2_000, operators())?), Some(1i64.to_le_bytes().to_vec()));
    /// assert_eq!(value(votes.resolve(operators())?), Some(2i64.to_le_bytes().to_vec()));
    /// # drop(handle);
    /// # Ok::<(), xaeroflux::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn state_at(&self, time_ms: u64, operators: Vec<Operator>) -> Result<Option<XaeroEvent>, Error> {
        let spec = PipelineSpec::default().batch(Duration::MAX, None, operators)?;
        let mut pipeline = spec.instantiate();
        let is_partial = self.replica_filter()?.is_some();
        let mut contexts = LogContexts { index: CausalIndex::new(), is_partial };
        let mut state = None;
        let mut sink = |event| state = Some(event);
        pipeline.set_catching_up(true, Duration::ZERO, &contexts, &mut sink);
        let cuts = self.log()?.1.cuts();
        self.replay().window(ScanWindow { start: 0, end: time_ms }).with_withheld().for_each(|record| {
            if cuts.parts(record.dot()) {
                return true;
            }
            contexts.index.insert(record.dot(), record.deps().filter_map(|dep| cuts.clamp(dep)));
            if cuts.retracts(record.dot()) {
                return true;
            }
            let event = event_of(record);
            if is_passed_over(&event.evt) {
                return true;
            }
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
}

/// The contexts of one log.
struct LogContexts {
    index: CausalIndex,
    is_partial: bool,
}

impl Contexts for LogContexts {
    fn covers(&self, _: usize, event: Dot, other: Dot) -> bool {
        event == other || self.index.saw(event, other)
    }

    fn vector(&self, _: usize, event: Dot) -> VersionVector {
        self.index.vector(event)
    }

    fn causal_delivery(&self) -> bool {
        true
    }

    fn is_partial(&self) -> bool {
        self.is_partial
    }
}
