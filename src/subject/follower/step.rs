//! One turn of a follower: orders, timers, events, reports. `snapshots` is how a fold's state is saved and taken up.

mod snapshots;

use std::{
    borrow::Cow,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use super::{
    Ending, Feed, Follower, Sink,
    context::SourceContexts,
    moment,
    options::Overflow,
    sink::panic_message,
    source::{dot_of, fill_proofs, is_passed_over},
    tick,
};
use smallvec::SmallVec;

use crate::{
    actors::{
        bus::Chunk,
        fault::fault_point,
        storage::{StorageError, cuts::Cuts},
    },
    subject::{
        notice::Notice,
        pipeline::{Pipeline, PipelineSpec},
        prover::Prover,
    },
    wire::{
        event::XaeroEvent,
        id::{Dot, SubjectId, XaeroID},
    },
};

/// Reads that a turn makes before other tasks have theirs.
const READS: usize = 4;

/// What a turn works on.
pub(super) struct Inner {
    pipeline: Pipeline,
    feeds: Vec<Feed>,
    contexts: SourceContexts,
    subjects: Vec<SubjectId>,
    sink: Option<Box<dyn Sink>>,
    catching_up: bool,
    /// The deadline for which the follower has asked to be woken.
    alarm: Option<Duration>,
    /// How many events the last snapshot covers.
    saved: u64,
    /// When it was made, or the pipeline was.
    saved_at: Duration,
}

/// Why a subscription ended before its time.
enum Failure {
    Panicked(String),
    Storage(StorageError),
}

impl Inner {
    pub(super) fn new(spec: &PipelineSpec, subjects: Vec<SubjectId>, sink: Box<dyn Sink>) -> Self {
        Self {
            pipeline: spec.instantiate(),
            feeds: subjects.iter().map(|_| Feed::Memory { seen: 0 }).collect(),
            contexts: SourceContexts::new(subjects.clone()),
            subjects,
            sink: Some(sink),
            catching_up: false,
            alarm: None,
            saved: 0,
            saved_at: tick(),
        }
    }
}

impl Follower {
    /// Does a part of what there is to do. `true`: there is more.
    pub(super) fn turn(&self) -> bool {
        // A panic of an earlier batch actor may have come out of here; what it left is made anew by its successor.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        if self.has_ended() {
            self.close(inner);
            return false;
        }
        match self.work(inner) {
            Ok(more) => {
                if self.has_ended() {
                    self.close(inner);
                }
                more
            }
            Err(failure) => {
                let notice = match failure {
                    Failure::Panicked(message) => Notice::SubscriberPanicked { message },
                    Failure::Storage(error) => Notice::SubscriptionFailed { reason: error.to_string() },
                };
                self.tell(&notice);
                self.set_ended();
                self.close(inner);
                false
            }
        }
    }

    fn work(&self, inner: &mut Inner) -> Result<bool, Failure> {
        self.obey(inner)?;
        let Some(sink) = &inner.sink else { return Ok(false) };
        if sink.is_closed() {
            self.set_ended();
            return Ok(false);
        }
        // Asked before anything is read. What became durable before the end was ordered is then read by this turn; where
        // the order comes during the turn, it wakes the follower for another one.
        let is_ending = *self.ending() == Ending::WhenDone;
        let (mut more, mut is_blocked) = (false, false);
        for _ in 0..READS {
            is_blocked = !inner.sink.as_ref().is_some_and(|sink| sink.is_ready());
            if is_blocked || inner.pipeline.finished() {
                // Whoever makes room wakes the follower. Until then nobody knows whether there is more.
                break;
            }
            more = false;
            for source in 0..inner.feeds.len() {
                more |= self.read(inner, source)?;
            }
            if !more {
                break;
            }
        }
        if inner.pipeline.finished() {
            self.report(inner);
            self.end_if_drained(inner);
            return Ok(false);
        }
        self.drive(inner, |pipeline, contexts, sink, now| {
            if pipeline.deadline().is_some_and(|due| due <= now) {
                pipeline.tick(now, contexts, sink);
            }
        })?;
        self.report(inner);
        self.save(inner);
        self.set_alarm(inner);
        let is_ready = inner.sink.as_ref().is_some_and(|sink| sink.is_ready());
        if is_ending && !more && !is_blocked && is_ready {
            self.drive(inner, |pipeline, contexts, sink, now| pipeline.finish(now, contexts, sink))?;
            self.report(inner);
            self.end_if_drained(inner);
        }
        Ok(more && is_ready)
    }

    /// Nothing more will come out of the pipeline: ends the subscription, or leaves that to the turn that follows when the
    /// sink has passed on the last event.
    fn end_if_drained(&self, inner: &Inner) {
        if inner.sink.as_ref().is_none_or(|sink| sink.is_drained()) {
            self.set_ended();
        } else if !self.finishing.swap(true, Ordering::AcqRel) {
            // What comes now is not for this pipeline, and what it has not taken holds nobody up.
            self.cores.iter().for_each(|core| core.pump_memory());
        }
    }

    /// Does what was ordered since the last turn.
    fn obey(&self, inner: &mut Inner) -> Result<(), Failure> {
        let orders = mem::take(&mut *self.orders());
        if orders.restart {
            self.start_anew(inner);
            self.begin_history(inner)?;
        }
        if !orders.logs.is_empty() {
            for (source, log, count) in orders.logs {
                // What was sent in memory comes first; what a fold made of it is not part of the subject's state.
                while !self.has_ended() && !inner.pipeline.finished() && self.read_memory(inner, source)? {}
                let from_start = self.options.from_start
                    || self.spec.scan_windows().get(source).is_some_and(|window| window.is_some());
                let next = if from_start { 0 } else { count };
                if let Some(slot) = inner.feeds.get_mut(source) {
                    let prover = self.wants_proofs().then(|| Prover::new(log.engine.clone(), Arc::clone(&log.log)));
                    *slot = Feed::Log {
                        source: log,
                        next,
                        history: 0,
                        covered: 0,
                        cuts: Cuts::default(),
                        prover: prover.map(Box::new),
                    };
                }
            }
            if self.is_batch() {
                // The sources that read their logs already were folded into the state that goes.
                self.start_anew(inner);
            } else {
                self.rewind(inner);
            }
            self.begin_history(inner)?;
        }
        Ok(())
    }

    /// Makes the pipeline anew. What was folded is to be read again.
    fn start_anew(&self, inner: &mut Inner) {
        inner.pipeline = self.spec.instantiate();
        inner.catching_up = false;
        inner.alarm = None;
        inner.contexts = SourceContexts::new(inner.subjects.clone());
        self.rewind(inner);
    }

    /// Has the sources that come to a fold read their logs from the beginning, and notes for all how much of their logs
    /// is history.
    fn rewind(&self, inner: &mut Inner) {
        let folds = self.spec.folds();
        for (source, feed) in inner.feeds.iter_mut().enumerate() {
            let Feed::Log { source: log, next, history, covered, cuts, .. } = feed else { continue };
            let folds = folds.get(source).copied().unwrap_or(false);
            inner.contexts.read_log(source, folds);
            if log.is_partial() {
                inner.contexts.note_partial();
            }
            if folds {
                *next = 0;
            }
            *covered = 0;
            *history = log.log.count();
            *cuts = log.log.cuts();
            if let Some(place) = self.places.get(source) {
                place.next.store(*next, Ordering::Relaxed);
                *place.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&log.log));
            }
        }
    }

    /// Whether the events are to carry their proofs.
    fn wants_proofs(&self) -> bool {
        self.options.proofs || self.spec.wants_proofs()
    }

    fn set_next(&self, source: usize, next: u64) {
        if let Some(place) = self.places.get(source) {
            place.next.store(next, Ordering::Relaxed);
        }
    }

    /// Reads from one source. `true`: there was something.
    fn read(&self, inner: &mut Inner, source: usize) -> Result<bool, Failure> {
        match inner.feeds.get(source) {
            Some(Feed::Memory { .. }) => self.read_memory(inner, source),
            Some(Feed::Log { .. }) => self.read_log_part(inner, source),
            None => Ok(false),
        }
    }

    fn read_memory(&self, inner: &mut Inner, source: usize) -> Result<bool, Failure> {
        let Some(queue) = self.queues.get(source) else { return Ok(false) };
        let Some((chunk, gone)) = queue.pop() else { return Ok(false) };
        let Some(Feed::Memory { seen }) = inner.feeds.get_mut(source) else { return Ok(false) };
        let first = *seen;
        *seen = seen.saturating_add(u64::try_from(chunk.entries.len() - gone).unwrap_or(u64::MAX));
        let folds = self.is_batch();
        let mut used = gone;
        let place = |at: usize| first.saturating_add(u64::try_from(at).unwrap_or(u64::MAX)).saturating_add(1);
        let result = match Arc::try_unwrap(chunk) {
            // The only follower: the events are its own.
            Ok(Chunk { entries, .. }) => {
                let events = entries.into_iter().skip(gone).map(|entry| Cow::Owned(entry.event));
                self.feed_memory(inner, source, folds, events, place, &mut used)
            }
            Err(shared) => {
                let events = shared.entries.iter().skip(gone).map(|entry| Cow::Borrowed(&entry.event));
                let result = self.feed_memory(inner, source, folds, events, place, &mut used);
                if used < shared.entries.len() && result.is_ok() {
                    queue.put_back(shared, used);
                }
                result
            }
        };
        if let Some(core) = self.cores.get(source) {
            core.pump_memory();
        }
        result.map(|()| true)
    }

    fn feed_memory<'e>(
        &self,
        inner: &mut Inner,
        source: usize,
        folds: bool,
        events: impl Iterator<Item = Cow<'e, XaeroEvent>>,
        place: impl Fn(usize) -> u64,
        used: &mut usize,
    ) -> Result<(), Failure> {
        let now = tick();
        let Inner { pipeline, contexts, sink, .. } = inner;
        let Some(sink) = sink else { return Ok(()) };
        let mut delivered = 0;
        let fed = catch_unwind(AssertUnwindSafe(|| {
            let mut emit = |event| {
                delivered += 1;
                sink.emit(event);
            };
            for (at, event) in events.enumerate() {
                if self.has_ended() || pipeline.finished() {
                    break;
                }
                let dot = folds.then(|| {
                    let author = event.author_id.unwrap_or_else(|| XaeroID::from([0; 32]));
                    let dot = Dot::new(author, place(at));
                    contexts.observe_memory(source, dot);
                    dot
                });
                pipeline.feed(source, event, dot, now, contexts, &mut emit);
                *used += 1;
            }
        }));
        self.counts.delivered.fetch_add(delivered, Ordering::Relaxed);
        fed.map_err(|panic| Failure::Panicked(panic_message(&*panic)))
    }

    fn read_log_part(&self, inner: &mut Inner, source: usize) -> Result<bool, Failure> {
        let Some(Feed::Log { source: log, next, history, covered, cuts, prover }) = inner.feeds.get_mut(source) else {
            return Ok(false);
        };
        let folds = self.spec.folds().get(source).copied().unwrap_or(false);
        let now_cut = log.log.cuts();
        if *cuts != now_cut {
            cuts.clone_from(&now_cut);
            if folds {
                // What is folded may hold what counts no more.
                self.start_anew(inner);
                return self.begin_history(inner).map(|()| true);
            }
        }
        let count = log.log.count();
        let capacity = u64::try_from(self.options.capacity).unwrap_or(u64::MAX);
        // History was asked for, so none of it is too much.
        if self.options.overflow == Overflow::DropOldest && !folds && *next >= *history {
            let behind = count.saturating_sub(*next);
            let excess = behind.saturating_sub(capacity);
            *next = next.saturating_add(excess);
            self.note_dropped(excess);
        }
        self.set_next(source, *next);
        if *next >= count {
            return Ok(false);
        }
        let first = *next;
        let (history, covered) = (*history, *covered);
        let (mut events, is_partial) = (log.read(first).map_err(Failure::Storage)?, folds && log.is_partial());
        if events.is_empty() {
            return Ok(false);
        }
        if let Some(prover) = prover {
            fill_proofs(prover, &mut events).map_err(Failure::Storage)?;
        }
        let read = u64::try_from(events.len()).unwrap_or(u64::MAX);
        if folds {
            fault_point!(self.scope(), "batch.fold");
        }
        let now = tick();
        let Inner { pipeline, contexts, sink, .. } = &mut *inner;
        let Some(sink) = sink else { return Ok(false) };
        if is_partial {
            contexts.note_partial();
        }
        let mut delivered = 0;
        let fed = catch_unwind(AssertUnwindSafe(|| {
            let mut emit = |event| {
                delivered += 1;
                sink.emit(event);
            };
            for (ordinal, event) in (first..).zip(events) {
                if self.has_ended() || pipeline.finished() {
                    break;
                }
                let dot = dot_of(&event);
                if dot.is_some_and(|dot| now_cut.parts(dot)) {
                    continue;
                }
                if folds && let Some(dot) = dot {
                    let deps: SmallVec<[Dot; 4]> =
                        event.evt.deps().iter().filter_map(|dep| now_cut.clamp(*dep)).collect();
                    contexts.observe_log(source, dot, &deps);
                }
                let counts = dot.is_none_or(|dot| !now_cut.retracts(dot)) && !is_passed_over(&event.evt);
                if ordinal >= covered && counts {
                    pipeline.feed(source, Cow::Owned(event), dot, now, contexts, &mut emit);
                }
            }
        }));
        self.counts.delivered.fetch_add(delivered, Ordering::Relaxed);
        fed.map_err(|panic| Failure::Panicked(panic_message(&*panic)))?;
        if folds {
            fault_point!(self.scope(), "batch.emit");
        }
        if let Some(Feed::Log { next, .. }) = inner.feeds.get_mut(source) {
            *next = first.saturating_add(read);
        }
        self.set_next(source, first.saturating_add(read));
        if inner.catching_up && first.saturating_add(read) >= history {
            let unread = |feed: &Feed| matches!(feed, Feed::Log { next, history, .. } if next < history);
            if !inner.feeds.iter().any(unread) {
                inner.catching_up = false;
                self.drive(inner, |pipeline, contexts, sink, now| {
                    pipeline.set_catching_up(false, now, contexts, sink);
                })?;
            }
        }
        Ok(true)
    }

    /// Has the pipeline do something that may emit.
    fn drive(
        &self,
        inner: &mut Inner,
        act: impl FnOnce(&mut Pipeline, &SourceContexts, &mut dyn FnMut(XaeroEvent), Duration),
    ) -> Result<(), Failure> {
        let Inner { pipeline, contexts, sink, .. } = inner;
        let Some(sink) = sink else { return Ok(()) };
        let mut delivered = 0;
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut emit = |event| {
                delivered += 1;
                sink.emit(event);
            };
            act(pipeline, contexts, &mut emit, tick());
        }));
        self.counts.delivered.fetch_add(delivered, Ordering::Relaxed);
        done.map_err(|panic| Failure::Panicked(panic_message(&*panic)))
    }

    /// Passes on what the pipeline has to report.
    fn report(&self, inner: &mut Inner) {
        for report in inner.pipeline.take_reports() {
            self.tell(&Notice::from(report));
        }
    }

    /// Asks to be woken at the pipeline's next deadline.
    fn set_alarm(&self, inner: &mut Inner) {
        let deadline = inner.pipeline.deadline();
        if deadline.is_some()
            && (deadline != inner.alarm || deadline.is_some_and(|due| due <= tick()))
            && let Some(at) = deadline.and_then(moment)
        {
            self.wake_at(at);
        }
        inner.alarm = deadline;
    }

    fn close(&self, inner: &mut Inner) {
        if let Some(mut sink) = inner.sink.take() {
            sink.end();
        }
    }

    fn tell(&self, notice: &Notice) {
        if let Some(core) = self.cores.first() {
            core.notices.tell(notice);
        }
    }

    /// What the fault points go by. Release builds look at it while compiling only.
    fn scope(&self) -> &str {
        self.cores.first().map_or("", |core| &core.name)
    }
}
