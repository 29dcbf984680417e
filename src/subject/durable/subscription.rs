//! The subscription itself: reads the log on from its place, and hands events out.

use std::{
    borrow::Cow,
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_core::Stream;

use super::{
    claim::Claim,
    delivery::{Delivery, DeliveryBatch, Place},
    error::DurableError,
    progress::Progress,
};
use crate::{
    actors::storage::StorageError,
    subject::{
        bell::Bell,
        engine::Engine,
        error::Error,
        follower::{LogSource, fill_proofs, is_passed_over},
        handle::Subject,
        pipeline::{MemoryContexts, Pipeline},
        prover::Prover,
    },
    wire::event::XaeroEvent,
};

/// Reads of some hundred events that a task makes before it lets others have their turn: a filter may refuse them all.
const READS: usize = 4;

/// So many events that a filter refused are acknowledged by themselves, while nothing else waits to be: a start should not
/// have to look at all of them again.
const SKIPPED_EVENTS: u64 = 65_536;

/// A named subscription whose place in the log is on disk. Made by [`Subject::durable`]; see the [module](super).
///
/// As a [`Stream`] it gives `Result<Delivery, Error>`, and after an error the same again: the event that cannot be read is
/// not passed over.
#[must_use = "a subscription does nothing unless it is asked"]
pub struct DurableSubscription {
    progress: Arc<Progress>,
    /// What was kept with the place when it was opened.
    state: Option<Arc<[u8]>>,
    source: LogSource,
    /// Makes the proofs of the events, where an operator asks for them.
    prover: Option<Prover>,
    pipeline: Pipeline,
    contexts: MemoryContexts,
    /// Events that were read, each with its ordinal.
    held: VecDeque<(u64, XaeroEvent)>,
    /// The ordinal of the next event to read.
    next: u64,
    /// Up to here events were handed out, or passed over by a filter.
    delivered: u64,
    bell: Arc<Bell>,
    claim: Claim,
    // Last: the directory stays open for the acknowledgements.
    _engine: Arc<Engine>,
}

/// Why there is nothing to wait for, if so.
enum End {
    NotYet,
    Stopped,
    Failed(String),
}

impl DurableSubscription {
    pub(super) fn open(subject: &Subject, name: &str) -> Result<Self, Error> {
        if let Some(error) = subject.error() {
            return Err(Error::Pipeline(Arc::clone(error)));
        }
        if subject.spec().sources() > 1 {
            return Err(DurableError::Merged.into());
        }
        if let Some(operator) = subject.spec().stateful_operator() {
            return Err(DurableError::Stateful(operator).into());
        }
        let core = subject.core().ok_or(Error::NotRunning)?;
        core.check()?;
        if core.running().is_none() {
            return Err(Error::NotRunning);
        }
        let claim = Claim::new(core, name)?;
        let engine = core.node.engine()?;
        // The answer comes behind all that an earlier subscription of this name has acknowledged.
        let log = engine.log(core.resolve(&engine)?, &core.name)?;
        let cursor = engine.store.cursor(&log, name).map_err(|error| match error {
            StorageError::DamagedRow { .. } => Error::from(DurableError::Damaged(name.to_owned())),
            other => other.into(),
        })?;
        let (next, count) = (cursor.as_ref().map_or(0, |cursor| cursor.covered), log.count());
        if next > count {
            return Err(DurableError::BeyondEnd { name: name.to_owned(), acknowledged: next, count }.into());
        }
        let prover = subject.spec().wants_proofs().then(|| Prover::new(Arc::downgrade(&engine), Arc::clone(&log)));
        Ok(Self {
            prover,
            progress: Progress::new(name, Arc::clone(&log), &engine.committer, cursor.as_ref()),
            state: cursor.and_then(|cursor| cursor.state),
            source: LogSource { store: Arc::downgrade(&engine.store), log, engine: Arc::downgrade(&engine) },
            pipeline: subject.spec().instantiate(),
            contexts: MemoryContexts::new(vec![core.id()]),
            held: VecDeque::new(),
            next,
            delivered: next,
            bell: core.bells.add(),
            claim,
            _engine: engine,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.claim.name()
    }

    /// The state that was kept with its place when it was opened: see [`Delivery::ack_with_state`]. `None` before the first.
    #[must_use]
    pub fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }

    /// Events of the log that it has not acknowledged; those that its operators refuse count until they are passed over.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let acknowledged = self.progress.acknowledged();
        let passed = if acknowledged >= self.delivered && self.held.is_empty() { self.next } else { acknowledged };
        self.source.log.count().saturating_sub(passed)
    }

    /// Waits for the next event. `None` once the subject has stopped and all that it stored was handed out; if it runs
    /// again, it goes on.
    ///
    /// Not to be called in a subscriber's closure, nor in what a receipt wakes: these run on threads that the event may
    /// need on its way.
    ///
    /// # Errors
    /// Where the log cannot be read, and [`Error::Failed`] where the subject has given up.
    #[expect(clippy::should_implement_trait, reason = "an iterator's `next` cannot say that it failed and go on")]
    pub fn next(&mut self) -> Result<Option<Delivery>, Error> {
        self.wait(None)
    }

    /// As [`next`](Self::next), at most so long; `None` also where none came.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery>, Error> {
        self.wait(Instant::now().checked_add(timeout))
    }

    /// The next event, if it is there already.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn try_next(&mut self) -> Result<Option<Delivery>, Error> {
        while self.held.is_empty() && self.read()? {}
        let Some((_, event)) = self.held.pop_front() else { return Ok(None) };
        Ok(Some(Delivery::new(event, self.place())))
    }

    /// Waits for the next event, and takes with it those behind it that are there already: at most `max`, at least one, and
    /// no more than are read at once (some hundred).
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_batch(&mut self, max: usize) -> Result<Option<DeliveryBatch>, Error> {
        let Some(first) = self.next()? else { return Ok(None) };
        let count = self.held.len().min(max.saturating_sub(1));
        let more = self.held.drain(..count).map(|(_, event)| event);
        let events = std::iter::once(first.event).chain(more).collect();
        Ok(Some(DeliveryBatch::new(events, self.place())))
    }

    /// As [`next`](Self::next), for asynchronous code. Reading the log may take the moment that a page takes to come from
    /// the disk, and with `filter_merkle_proofs` the moment that a signature takes.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_async(&mut self) -> Result<Option<Delivery>, Error> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Delivery>, Error>> {
        // Before the look, so that what comes after it wakes this task.
        self.bell.listen(context.waker());
        let end = self.end();
        for _ in 0..READS {
            if !self.held.is_empty() {
                return Poll::Ready(self.try_next());
            }
            if !self.read()? {
                return match end {
                    End::NotYet => Poll::Pending,
                    End::Stopped => Poll::Ready(Ok(None)),
                    End::Failed(reason) => Poll::Ready(Err(Error::Failed { reason })),
                };
            }
        }
        if !self.held.is_empty() {
            return Poll::Ready(self.try_next());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn wait(&mut self, until: Option<Instant>) -> Result<Option<Delivery>, Error> {
        loop {
            // Both before the look: what comes after it rings, and what was stored before the end is seen by it.
            let (rings, end) = (self.bell.rings(), self.end());
            if let Some(delivery) = self.try_next()? {
                return Ok(Some(delivery));
            }
            match end {
                End::NotYet => {}
                End::Stopped => return Ok(None),
                End::Failed(reason) => return Err(Error::Failed { reason }),
            }
            if !self.bell.wait(rings, until) {
                return Ok(None);
            }
        }
    }

    fn end(&self) -> End {
        match self.claim.core().running() {
            None => End::Stopped,
            Some(running) => match running.lifecycle.failed() {
                Some(reason) => End::Failed(reason),
                None if running.lifecycle.is_gone() => End::Stopped,
                None => End::NotYet,
            },
        }
    }

    /// Reads the next part of the log. `false`: there was none.
    fn read(&mut self) -> Result<bool, Error> {
        let mut events = self.source.read(self.next)?;
        if events.is_empty() {
            return Ok(false);
        }
        if let Some(prover) = &mut self.prover {
            fill_proofs(prover, &mut events)?;
        }
        let end = self.next.saturating_add(u64::try_from(events.len()).unwrap_or(u64::MAX));
        // Apart from what is held: a closure of the user's that panics leaves nothing half done.
        let mut passed = VecDeque::new();
        let cuts = self.source.log.cuts();
        for (ordinal, event) in (self.next..).zip(events) {
            let dot = event.evt.dot();
            if dot.is_some_and(|dot| cuts.retracts(dot)) || is_passed_over(&event.evt) {
                continue;
            }
            let mut sink = |event| passed.push_back((ordinal, event));
            self.pipeline.feed(0, Cow::Owned(event), dot, Duration::ZERO, &self.contexts, &mut sink);
        }
        self.next = end;
        self.held.append(&mut passed);
        self.pass_over();
        Ok(true)
    }

    /// Acknowledges what the operators refused, where all that was handed out is acknowledged and much was refused since.
    fn pass_over(&mut self) {
        let acknowledged = self.progress.acknowledged();
        if self.held.is_empty()
            && acknowledged >= self.delivered
            && self.next.saturating_sub(acknowledged) >= SKIPPED_EVENTS
        {
            self.delivered = self.next;
            // Where it fails, the next acknowledgement covers it.
            drop(self.progress.acknowledge(self.next, None));
        }
    }

    /// The place after what was just taken. It reaches up to the next event that is held: what was refused in between is
    /// done with too.
    fn place(&mut self) -> Place {
        let upto = self.held.front().map_or(self.next, |(ordinal, _)| *ordinal);
        self.delivered = upto;
        Place { progress: Arc::clone(&self.progress), upto }
    }
}

impl Stream for DurableSubscription {
    type Item = Result<Delivery, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context).map(Result::transpose)
    }
}

impl Drop for DurableSubscription {
    fn drop(&mut self) {
        // Before the name is free again.
        self.progress.close();
    }
}

impl std::fmt::Debug for DurableSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableSubscription")
            .field("name", &self.name())
            .field("acknowledged", &self.progress.acknowledged())
            .field("lag", &self.lag())
            .finish_non_exhaustive()
    }
}
