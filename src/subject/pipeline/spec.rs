//! The builder of pipelines.
//!
//! A spec is a tree. Its leaves are sources, each node is where two specs are merged, and stages lie along the
//! branches. Most specs have one source and are a plain list.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    crdt::operator::Operator,
    subject::pipeline::{
        batch::{Batch, BatchSpec},
        error::PipelineError,
        limit::{DISTINCT_MEMORY, Distinct, Take},
        machine::{Change, Keep, Pipeline, Slot, Step},
        select::{in_window, intersection},
        timing::{Debounce, Throttle},
        window::{Buffer, Gather, Release, WindowRule, gather_payloads},
    },
    wire::event::{ScanWindow, XaeroEvent},
};

/// Which stages events pass on their way to a subscriber. A cheap value: every method returns a new one.
///
/// ```
/// use std::{borrow::Cow, time::Duration};
/// use xaeroflux::{XaeroEvent, subject::pipeline::{MemoryContexts, PipelineSpec}};
///
/// let mut loud = PipelineSpec::default()
///     .filter(|event| !event.evt.data.is_empty())
///     .map(|mut event| {
///         event.evt.data.make_ascii_uppercase();
///         event
///     })
///     .instantiate();
/// let contexts = MemoryContexts::new(Vec::new());
/// let mut heard = Vec::new();
/// for text in ["hello", ""] {
///     let event = XaeroEvent::new(text, 1);
///     loud.feed(0, Cow::Borrowed(&event), None, Duration::ZERO, &contexts, &mut |event| heard.push(event.evt.data));
/// }
/// assert_eq!(heard, [b"HELLO"]);
/// ```
#[derive(Clone, Default)]
pub struct PipelineSpec {
    /// The two specs whose events come in, unless this is a source.
    merged: Option<Arc<(PipelineSpec, PipelineSpec)>>,
    stages: Arc<[StageSpec]>,
}

#[derive(Clone)]
enum StageSpec {
    Map(Arc<Change>),
    Filter(Arc<Keep>),
    FilterMerkleProofs(Arc<Keep>),
    Scan(ScanWindow),
    Batch(Arc<BatchSpec>),
    Take(u64),
    Distinct,
    Debounce(Duration),
    Throttle(Duration),
    Buffer(WindowRule, Arc<Gather>),
    Window(WindowRule),
}

impl PipelineSpec {
    /// Changes each event. A result without a stamp gets that of the event it was made from: it still has its place
    /// in the log.
    #[must_use]
    pub fn map(&self, change: impl Fn(XaeroEvent) -> XaeroEvent + Send + Sync + 'static) -> Self {
        self.then(StageSpec::Map(Arc::new(change)))
    }

    /// Keeps the events for which `keep` holds.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&XaeroEvent) -> bool + Send + Sync + 'static) -> Self {
        self.then(StageSpec::Filter(Arc::new(keep)))
    }

    /// Keeps the events that carry a proof for which `holds`. The source makes the proofs of its events for a pipeline
    /// with this stage.
    #[must_use]
    pub fn filter_merkle_proofs(&self, holds: impl Fn(&XaeroEvent) -> bool + Send + Sync + 'static) -> Self {
        self.then(StageSpec::FilterMerkleProofs(Arc::new(holds)))
    }

    /// Whether a stage asks for proofs of the events.
    #[must_use]
    pub fn wants_proofs(&self) -> bool {
        let merged = self.merged.as_ref().is_some_and(|both| both.0.wants_proofs() || both.1.wants_proofs());
        merged || self.stages.iter().any(|stage| matches!(stage, StageSpec::FilterMerkleProofs(_)))
    }

    /// Keeps the events whose hybrid clock lies in the window, and has the source read from its start.
    ///
    /// An event without a clock, in memory, is judged by `latest_ts`; one without either passes only a window whose end
    /// is `u64::MAX`.
    #[must_use]
    pub fn scan(&self, window: ScanWindow) -> Self {
        self.then(StageSpec::Scan(window))
    }

    /// Collects events into windows; sorts, folds and reduces each.
    ///
    /// A window opens with its first event and closes when `duration` has passed since then or when it holds `count`
    /// events. Of several sorts, the first decides and the others order what it holds for equal; without one, events
    /// keep the order of arrival. With a fold, each window that changes the state emits the state so far: an
    /// application event of the reducer's code, with the latest `latest_ts` that went into the state and without an author.
    /// Without a fold, the window's events are emitted one by one.
    ///
    /// # Errors
    /// Says which rule the count or the operators break: see [`PipelineError`].
    pub fn batch(
        &self,
        duration: Duration,
        count: Option<usize>,
        operators: Vec<Operator>,
    ) -> Result<Self, PipelineError> {
        Ok(self.then(StageSpec::Batch(Arc::new(BatchSpec::new(duration, count, operators)?))))
    }

    /// Lets the first `count` events pass, then ends.
    #[must_use]
    pub fn take(&self, count: u64) -> Self {
        self.then(StageSpec::Take(count))
    }

    /// Keeps the first of all events with the same type and payload. It remembers the latest
    /// [`DISTINCT_MEMORY`] different ones; an event equal to one from before these passes again.
    #[must_use]
    pub fn distinct(&self) -> Self {
        self.then(StageSpec::Distinct)
    }

    /// Lets an event pass once `quiet` has passed without another, and drops it if another comes before. The last one
    /// passes when the source ends.
    #[must_use]
    pub fn debounce(&self, quiet: Duration) -> Self {
        self.then(StageSpec::Debounce(quiet))
    }

    /// Lets an event pass, and drops those that come within `pause` after it. There are at least `pause` between two
    /// events that pass, and a burst is represented by its first event.
    #[must_use]
    pub fn throttle(&self, pause: Duration) -> Self {
        self.then(StageSpec::Throttle(pause))
    }

    /// Makes one event of each window: its payload is the archive in rkyv of the `Vec<Vec<u8>>` of their payloads, its
    /// type that of the last of them, its `latest_ts` their latest. It has no author and no place in a log.
    ///
    /// Windows open with their first event and close after `duration` or with `count` events, whichever is given and comes
    /// first; at the latest with [`MAX_WINDOW_EVENTS`](crate::subject::pipeline::MAX_WINDOW_EVENTS) events or
    /// [`MAX_WINDOW_BYTES`](crate::subject::pipeline::MAX_WINDOW_BYTES) of payload.
    ///
    /// # Errors
    /// The count is 0 or too large, or neither is given.
    pub fn buffer(&self, duration: Option<Duration>, count: Option<usize>) -> Result<Self, PipelineError> {
        self.buffer_with(duration, count, gather_payloads)
    }

    /// Like [`PipelineSpec::buffer`], with a function that makes the event, or none, of a window's events.
    ///
    /// # Errors
    /// The count is 0 or too large, or neither is given.
    pub fn buffer_with(
        &self,
        duration: Option<Duration>,
        count: Option<usize>,
        gather: impl Fn(Vec<XaeroEvent>) -> Option<XaeroEvent> + Send + Sync + 'static,
    ) -> Result<Self, PipelineError> {
        Ok(self.then(StageSpec::Buffer(WindowRule::new(duration, count)?, Arc::new(gather))))
    }

    /// Holds the events of each window back, and lets them pass together when it closes: the same events in the same
    /// order, in slices. Windows open and close as those of [`PipelineSpec::buffer`].
    ///
    /// Rx makes a stream of each window. Here there is one kind of item, an event, so that a window shows in when its
    /// events arrive, not in what they are. Who needs its bounds takes `buffer`.
    ///
    /// # Errors
    /// The count is 0 or too large, or neither is given.
    pub fn window(&self, duration: Option<Duration>, count: Option<usize>) -> Result<Self, PipelineError> {
        Ok(self.then(StageSpec::Window(WindowRule::new(duration, count)?)))
    }

    /// Lets the events of both pass, each through its own stages so far, and together through those that follow. The
    /// sources of `other` are numbered after those of `self`.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Self { merged: Some(Arc::new((self.clone(), other.clone()))), stages: Arc::default() }
    }

    /// How many sources there are; 1 unless merged.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.merged.as_ref().map_or(1, |merged| merged.0.sources() + merged.1.sources())
    }

    /// The time from which the first source is read: see [`PipelineSpec::scan_windows`].
    #[must_use]
    pub fn scan_window(&self) -> Option<ScanWindow> {
        self.scan_windows().first().copied().flatten()
    }

    /// For each source, the window that all its `scan`s have in common, or `None` where it has none. Only those before a
    /// batch or buffer count: a later one speaks of what these emit.
    #[must_use]
    pub fn scan_windows(&self) -> Vec<Option<ScanWindow>> {
        self.needs().into_iter().map(|needs| needs.scan).collect()
    }

    /// Whether there is a batch with a fold, which needs all history to resolve a state.
    #[must_use]
    pub fn has_batch(&self) -> bool {
        self.folds().contains(&true)
    }

    /// For each source, whether its events come to a batch with a fold.
    #[must_use]
    pub fn folds(&self) -> Vec<bool> {
        self.needs().into_iter().map(|needs| needs.folds).collect()
    }

    /// The name under which snapshots of the fold's state can be kept and found again after a restart. `None` where there
    /// is no fold, or nobody can tell whether a state means the same then as now: because the fold has no name, or other
    /// stages or sources stand before it.
    #[must_use]
    pub fn snapshot_name(&self) -> Option<String> {
        match (&self.merged, self.stages.first()) {
            (None, Some(StageSpec::Batch(batch))) => batch.snapshot_name(),
            _ => None,
        }
    }

    /// The first operator that remembers events or holds them back, if there is one: what it holds is gone when the
    /// subscription ends. Of a merged pipeline only those after the merge are looked at.
    #[must_use]
    pub fn stateful_operator(&self) -> Option<&'static str> {
        self.stages.iter().find_map(|stage| match stage {
            StageSpec::Map(_) | StageSpec::Filter(_) | StageSpec::FilterMerkleProofs(_) | StageSpec::Scan(_) => None,
            StageSpec::Batch(_) => Some("batch"),
            StageSpec::Take(_) => Some("take"),
            StageSpec::Distinct => Some("distinct"),
            StageSpec::Debounce(_) => Some("debounce"),
            StageSpec::Throttle(_) => Some("throttle"),
            StageSpec::Buffer(..) => Some("buffer"),
            StageSpec::Window(_) => Some("window"),
        })
    }

    /// The stages, ready for one subscription.
    #[must_use]
    pub fn instantiate(&self) -> Pipeline {
        let mut layout = Layout { sources: self.sources(), steps: Vec::new(), entries: Vec::new() };
        layout.add(self);
        let slots = layout.steps.into_iter().enumerate();
        let slots = slots.map(|(at, (step, next))| Slot { step, skip: next.saturating_sub(at + 1) });
        Pipeline::new(slots.collect(), layout.entries, self.snapshot_name().is_some())
    }

    fn then(&self, stage: StageSpec) -> Self {
        let stages = self.stages.iter().cloned().chain([stage]).collect();
        Self { merged: self.merged.clone(), stages }
    }

    fn needs(&self) -> Vec<Needs> {
        let mut needs = match &self.merged {
            None => vec![Needs::default()],
            Some(merged) => [merged.0.needs(), merged.1.needs()].concat(),
        };
        for needs in &mut needs {
            for stage in self.stages.iter() {
                match stage {
                    StageSpec::Scan(window) if !needs.made => {
                        needs.scan = Some(needs.scan.map_or(*window, |scan| intersection(scan, *window)));
                    }
                    StageSpec::Batch(batch) => {
                        needs.folds |= batch.folds();
                        needs.made |= batch.folds();
                    }
                    StageSpec::Buffer(..) => needs.made = true,
                    _ => {}
                }
            }
        }
        needs
    }
}

impl fmt::Debug for PipelineSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PipelineSpec");
        if let Some(merged) = &self.merged {
            debug.field("merged", merged);
        }
        debug.field("stages", &self.stages).finish()
    }
}

impl fmt::Debug for StageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(_) => f.write_str("map"),
            Self::Filter(_) => f.write_str("filter"),
            Self::FilterMerkleProofs(_) => f.write_str("filter_merkle_proofs"),
            Self::Scan(window) => f.debug_tuple("scan").field(window).finish(),
            Self::Batch(batch) => f.debug_tuple("batch").field(batch).finish(),
            Self::Take(count) => f.debug_tuple("take").field(count).finish(),
            Self::Distinct => f.write_str("distinct"),
            Self::Debounce(quiet) => f.debug_tuple("debounce").field(quiet).finish(),
            Self::Throttle(pause) => f.debug_tuple("throttle").field(pause).finish(),
            Self::Buffer(rule, _) => f.debug_tuple("buffer").field(rule).finish(),
            Self::Window(rule) => f.debug_tuple("window").field(rule).finish(),
        }
    }
}

/// What a source's way to the subscriber asks of the source.
#[derive(Clone, Default)]
struct Needs {
    scan: Option<ScanWindow>,
    folds: bool,
    /// Whether events further on are made from several, and have no place in time of their own.
    made: bool,
}

/// The tree of a spec, being laid out as one list in which every way leads forward.
struct Layout {
    sources: usize,
    /// Each step, and the position of the one that follows it.
    steps: Vec<(Step, usize)>,
    entries: Vec<usize>,
}

impl Layout {
    fn add(&mut self, spec: &PipelineSpec) {
        match &spec.merged {
            None => self.entries.push(self.steps.len()),
            Some(merged) => {
                let (first_step, first_entry) = (self.steps.len(), self.entries.len());
                self.add(&merged.0);
                let (end, last_entry) = (self.steps.len(), self.entries.len());
                self.add(&merged.1);
                // What led to the end of the left branch leads behind the right one, where they meet.
                let meeting = self.steps.len();
                let left_steps = self.steps.iter_mut().take(end).skip(first_step).map(|(_, next)| next);
                let left_entries = self.entries.iter_mut().take(last_entry).skip(first_entry);
                for next in left_steps.chain(left_entries).filter(|next| **next == end) {
                    *next = meeting;
                }
            }
        }
        for stage in spec.stages.iter() {
            let step = stage.start(self.sources);
            self.steps.push((step, self.steps.len() + 1));
        }
    }
}

impl StageSpec {
    fn start(&self, sources: usize) -> Step {
        match self {
            Self::Map(change) => Step::Map(Arc::clone(change)),
            Self::Filter(keep) => Step::Filter(Arc::clone(keep)),
            Self::FilterMerkleProofs(holds) => Step::Filter(Arc::clone(holds)),
            Self::Scan(window) => {
                let window = *window;
                Step::Filter(Arc::new(move |event| in_window(window, event)))
            }
            Self::Batch(spec) => Step::Stage(Box::new(Batch::new(Arc::clone(spec), sources))),
            Self::Take(count) => Step::Stage(Box::new(Take::new(*count))),
            Self::Distinct => Step::Stage(Box::new(Distinct::new(DISTINCT_MEMORY))),
            Self::Debounce(quiet) => Step::Stage(Box::new(Debounce::new(*quiet))),
            Self::Throttle(pause) => Step::Stage(Box::new(Throttle::new(*pause))),
            Self::Buffer(rule, gather) => Step::Stage(Box::new(Buffer::new(*rule, Arc::clone(gather)))),
            Self::Window(rule) => Step::Stage(Box::new(Release::new(*rule))),
        }
    }
}
