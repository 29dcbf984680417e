//! The subject handle: operators, publishing, subscribing.

use std::{sync::Arc, time::Duration};

use actix::Addr;

use super::{
    core::Core,
    error::Error,
    follower::SubscribeOptions,
    node::{NodeShared, default_shared},
    notice::Notices,
    pipeline::{PipelineError, PipelineSpec},
    prover::ProofChecker,
    run::Handle,
    subscription::{EventStream, Subscription},
    supervisor::SubjectActor,
};
use crate::{
    actors::bus::{Mode, PublishError, Receipt, Sender},
    crdt::Operator,
    wire::{
        event::{ScanWindow, XaeroEvent},
        id::SubjectId,
    },
};

/// A named event stream, and a chain of operators on it.
///
/// A handle is cheap to clone. An operator returns a new handle on the same stream, with one operator more; publishing
/// and running go to the stream itself, whichever handle they are called on.
///
/// Before it [runs](Self::run) a subject works in memory: nothing touches the disk, and pipelines see what is sent while
/// they are subscribed. From then on it is durable: what is sent goes to the log first, and pipelines read the log.
///
/// ```
/// use xaeroflux::prelude::*;
/// let likes = Subject::new("workspace/blog/object/post-123-likes".into());
/// let (tell, told) = std::sync::mpsc::channel();
/// let subscription = likes
///     .filter(|event| matches!(event.evt.event_type, EventType::ApplicationEvent(CRDT_COUNTER_INCREMENT)))
///     .subscribe(move |event| tell.send(event).unwrap());
/// likes.data.sink.tx.send(XaeroEvent::new(1i64.to_le_bytes(), CRDT_COUNTER_INCREMENT))?;
/// assert_eq!(told.recv()?.evt.data, 1i64.to_le_bytes());
/// # drop(subscription);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Subject {
    /// Where events are sent.
    pub data: DataBus,
    /// Where the engine tells what happens to the subject, and where an application may send what is not to be stored.
    pub control: ControlBus,
    /// The subjects that the sources of the pipeline read; the first is the one that this is a handle on.
    cores: Arc<[Arc<Core>]>,
    spec: PipelineSpec,
    error: Option<Arc<PipelineError>>,
}

/// The bus that events are sent on.
#[derive(Debug, Clone)]
pub struct DataBus {
    /// Its way in.
    pub sink: Sink,
}

/// The bus for what is not to be stored.
#[derive(Debug, Clone)]
pub struct ControlBus {
    /// Its way in.
    pub sink: Sink,
}

/// The way into a bus.
#[derive(Debug, Clone)]
pub struct Sink {
    /// The sending end, with the methods of a bounded crossbeam channel.
    pub tx: Sender,
}

impl Subject {
    /// A handle on the subject with this name on the process's default node.
    ///
    /// A bad name shows when something is sent or the subject is run: see [`wire::name`](crate::wire::name).
    #[must_use]
    pub fn new(name: String) -> Self {
        Self::on(&default_shared(), name)
    }

    pub(crate) fn on(node: &Arc<NodeShared>, name: String) -> Self {
        let core = node.core(name);
        Self {
            data: DataBus { sink: Sink { tx: core.data.sender() } },
            control: ControlBus { sink: Sink { tx: core.control.sender() } },
            cores: Arc::from([core]),
            spec: PipelineSpec::default(),
            error: None,
        }
    }

    /// The subject's name on this node.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core().map_or("", |core| &core.name)
    }

    /// The subject's identifier, the same on every node.
    ///
    /// Whether a name stands for an owned subject is known to the data directory: a handle on the default node tells the
    /// identifier of the open subject with its name until that is opened.
    #[must_use]
    pub fn id(&self) -> SubjectId {
        self.core().map_or(SubjectId::from([0; 32]), |core| core.id())
    }

    /// Changes each event.
    #[must_use]
    pub fn map(&self, change: impl Fn(XaeroEvent) -> XaeroEvent + Send + Sync + 'static) -> Self {
        self.with(self.spec.map(change))
    }

    /// Keeps the events for which `keep` says so.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&XaeroEvent) -> bool + Send + Sync + 'static) -> Self {
        self.with(self.spec.filter(keep))
    }

    /// Keeps the events whose proof is there and holds: the event is, as it is here, in its author's signed log.
    ///
    /// On a durable subject proofs are made for a pipeline with this stage, and for no other; an event passes as soon as
    /// its author's signature covers it, which is after the commit. An event that a stage before this one has changed does
    /// not pass, nor does one that came without a signed head. In memory only events pass that bring their proof with
    /// them, as long as the node is open and knows their author's key.
    ///
    /// ```
    /// use xaeroflux::{Node, XaeroEvent, event::CRDT_SET_ADD};
    /// let node = Node::ephemeral()?;
    /// let tags = node.subject("tags");
    /// let handle = tags.run()?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let proven = tags.filter_merkle_proofs().subscribe(move |event| tell.send(event.merkle_proof).unwrap());
    /// tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD)).wait()?;
    /// let proof = xaeroflux::wire::proof::EventProof::decode(&told.recv()?.unwrap())?;
    /// proof.verify(&node.public_key("self")?)?;
    /// # drop((proven, handle));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn filter_merkle_proofs(&self) -> Self {
        let (checker, core) = (ProofChecker::default(), self.core().map(Arc::downgrade).unwrap_or_default());
        self.with(self.spec.filter_merkle_proofs(move |event| checker.holds(event, &core)))
    }

    /// Begins with the events of the log whose clocks lie in the window, and stays open for what comes later and lies in
    /// it too: no gap, no duplicate. In memory there is no history, and only the window is applied.
    #[must_use]
    pub fn scan(&self, window: ScanWindow) -> Self {
        self.with(self.spec.scan(window))
    }

    /// Collects events in windows, and resolves them: sorts, folds, reduces.
    ///
    /// A window opens with its first event and closes after `duration`, or with its `count`-th event. What is emitted is
    /// the state of the subject so far, not of the window. On a durable subject the state covers the whole log, whenever
    /// the pipeline subscribes.
    ///
    /// A list of operators that makes no sense (a fold without a reducer, two folds, a count of zero) is kept as an error:
    /// [`run`](Self::run) on the derived handle returns it, and a subscription to it ends at once and
    /// [tells it](Subscription::error).
    ///
    /// Closures upstream of a fold run on threads that all subjects share: they should not block.
    #[must_use]
    pub fn batch(&self, duration: Duration, count: Option<usize>, operators: Vec<Operator>) -> Self {
        self.with_result(self.spec.batch(duration, count, operators))
    }

    /// Passes on the events of both streams. Between the two there is no order. A subscription ends when either of two
    /// durable subjects stops.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Self {
            cores: self.cores.iter().chain(other.cores.iter()).cloned().collect(),
            error: self.error.clone().or_else(|| other.error.clone()),
            spec: self.spec.merge(&other.spec),
            ..self.clone()
        }
    }

    /// Passes on the first `count` events; the subscription ends with the last of them.
    #[must_use]
    pub fn take(&self, count: u64) -> Self {
        self.with(self.spec.take(count))
    }

    /// Leaves out events whose type and payload were there before. Remembers a bounded number of them: see
    /// [`DISTINCT_MEMORY`](crate::subject::pipeline::DISTINCT_MEMORY).
    #[must_use]
    pub fn distinct(&self) -> Self {
        self.with(self.spec.distinct())
    }

    /// Passes on an event once there was none for so long after it.
    #[must_use]
    pub fn debounce(&self, quiet: Duration) -> Self {
        self.with(self.spec.debounce(quiet))
    }

    /// Passes on an event, and then none for so long.
    #[must_use]
    pub fn throttle(&self, pause: Duration) -> Self {
        self.with(self.spec.throttle(pause))
    }

    /// Collects events like [`batch`](Self::batch) does, and passes each window on as one event: the payloads as an rkyv
    /// `Vec<Vec<u8>>`.
    #[must_use]
    pub fn buffer(&self, duration: Option<Duration>, count: Option<usize>) -> Self {
        self.with_result(self.spec.buffer(duration, count))
    }

    /// Collects events in windows, and passes on what `make` makes of each.
    #[must_use]
    pub fn buffer_with(
        &self,
        duration: Option<Duration>,
        count: Option<usize>,
        make: impl Fn(Vec<XaeroEvent>) -> Option<XaeroEvent> + Send + Sync + 'static,
    ) -> Self {
        self.with_result(self.spec.buffer_with(duration, count, make))
    }

    /// Collects events in windows, and passes the events of each on at its close.
    #[must_use]
    pub fn window(&self, duration: Option<Duration>, count: Option<usize>) -> Self {
        self.with_result(self.spec.window(duration, count))
    }

    /// Has `take` called for each event that comes out of the pipeline, one after the other, on a thread of the engine's.
    ///
    /// The subscription ends when it is dropped: bind it to a name.
    pub fn subscribe(&self, take: impl FnMut(XaeroEvent) + Send + 'static) -> Subscription {
        self.subscribe_with(SubscribeOptions::new(), take)
    }

    /// As [`subscribe`](Self::subscribe), with a choice of where to begin and what to do about a slow subscriber.
    pub fn subscribe_with(
        &self,
        options: SubscribeOptions,
        take: impl FnMut(XaeroEvent) + Send + 'static,
    ) -> Subscription {
        Subscription::closure(self, options, take)
    }

    /// The events that come out of the pipeline, as a [`Stream`](futures_core::Stream).
    pub fn stream(&self) -> EventStream {
        self.stream_with(SubscribeOptions::new())
    }

    /// As [`stream`](Self::stream), with a choice of where to begin and what to do about a slow reader.
    pub fn stream_with(&self, options: SubscribeOptions) -> EventStream {
        EventStream::new(self, options)
    }

    /// Publishes an event. Waits for room on the bus; the receipt resolves when the event is on disk.
    ///
    /// In memory the event reaches the pipelines, and the receipt says [`PublishError::NotRunning`].
    pub fn publish(&self, event: XaeroEvent) -> Receipt {
        match self.data.sink.tx.send_with_receipt(event, Mode::Blocking) {
            Ok(receipt) => receipt,
            Err(error) => Receipt::known(Err(PublishError::from(error))),
        }
    }

    /// Publishes an event, and does not wait: where there is no room, the receipt says [`PublishError::QueueFull`].
    pub fn try_publish(&self, event: XaeroEvent) -> Receipt {
        match self.data.sink.tx.send_with_receipt(event, Mode::Try) {
            Ok(receipt) => receipt,
            Err(error) => Receipt::known(Err(PublishError::from(error))),
        }
    }

    /// Publishes many events, in order, with less cost for each.
    pub fn publish_all(&self, events: impl IntoIterator<Item = XaeroEvent>) -> Vec<Receipt> {
        let receipts = self.data.sink.tx.send_many_with_receipts(events, Mode::Blocking);
        receipts.into_iter().map(|sent| sent.unwrap_or_else(|error| Receipt::known(Err(error.into())))).collect()
    }

    /// Makes the subject durable, for as long as the handle (or another one) is held.
    ///
    /// # Errors
    /// A bad name, a pipeline that makes no sense, or a data directory that cannot be opened.
    pub fn run(&self) -> Result<Handle, Error> {
        if let Some(error) = &self.error {
            return Err(Error::Pipeline(Arc::clone(error)));
        }
        Handle::run(self.core().ok_or(Error::NotRunning)?)
    }

    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// With the error, where [`run`](Self::run) returns one.
    #[must_use = "the subject is durable only as long as the handle is held"]
    #[expect(clippy::panic, reason = "that is what this method is documented to do")]
    pub fn unsafe_run(&self) -> Handle {
        match self.run() {
            Ok(handle) => handle,
            Err(error) => panic!("the subject {:?} could not be run: {error}", self.name()),
        }
    }

    /// What the engine tells about the subject from now on.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn notices(&self) -> Notices {
        match self.core() {
            Some(core) => core.notices.subscribe(),
            None => super::notice::NoticeHub::default().subscribe(),
        }
    }

    /// Takes the events that could not be stored and that nobody holds a receipt for, to be sent again.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<XaeroEvent> {
        self.core().map(|core| core.dead.take()).unwrap_or_default()
    }

    /// The actor behind a running subject, for those who speak actix: it takes [`Publish`](super::Publish).
    ///
    /// # Errors
    /// [`Error::NotRunning`] before the subject runs.
    pub fn addr(&self) -> Result<Addr<SubjectActor>, Error> {
        let running = self.core().and_then(|core| core.running()).ok_or(Error::NotRunning)?;
        Ok(running.supervisor)
    }

    pub(crate) fn core(&self) -> Option<&Arc<Core>> {
        self.cores.first()
    }

    pub(crate) fn cores(&self) -> Vec<Arc<Core>> {
        self.cores.to_vec()
    }

    pub(crate) const fn spec(&self) -> &PipelineSpec {
        &self.spec
    }

    pub(crate) const fn error(&self) -> Option<&Arc<PipelineError>> {
        self.error.as_ref()
    }

    fn with(&self, spec: PipelineSpec) -> Self {
        Self { spec, ..self.clone() }
    }

    fn with_result(&self, spec: Result<PipelineSpec, PipelineError>) -> Self {
        match spec {
            Ok(spec) => self.with(spec),
            Err(error) => {
                tracing::error!(subject = self.name(), %error, "a pipeline that makes no sense");
                Self { error: self.error.clone().or_else(|| Some(Arc::new(error))), ..self.clone() }
            }
        }
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("name", &self.name()).field("pipeline", &self.spec).finish_non_exhaustive()
    }
}
