//! The state machine of one subscription, and how an item travels from stage to stage.
//!
//! The stages lie in one vector, in an order in which every path from a source to the subscriber only goes forward. A
//! stage of a merged branch skips the stages of the other branches that lie between it and the point where they
//! meet. The two commonest stages, `filter` and `map`, hold nothing between events and are run in a loop; the others
//! implement [`Stage`], get the rest of the chain as [`Downstream`], and emit into it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::{
    subject::pipeline::{
        contexts::Contexts,
        report::{Report, Reports},
    },
    wire::{event::XaeroEvent, id::Dot},
};

/// Time since an arbitrary epoch, monotonic. The shell passes it in.
pub type Tick = Duration;

pub(super) type Change = dyn Fn(XaeroEvent) -> XaeroEvent + Send + Sync;
pub(super) type Keep = dyn Fn(&XaeroEvent) -> bool + Send + Sync;

/// The stages of one subscription, with their state. Made by
/// [`PipelineSpec::instantiate`](crate::subject::pipeline::PipelineSpec::instantiate).
pub struct Pipeline {
    slots: Vec<Slot>,
    /// For each source, the slot at which its events enter.
    entries: Vec<usize>,
    reports: Reports,
    /// Whether some stage has timers. Where none has, deadlines need not be looked at.
    timed: bool,
    /// The earliest timer, as of the last call.
    deadline: Option<Tick>,
    finished: bool,
    /// Whether the first stage is a batch whose state may be saved.
    snapshots: bool,
}

impl Pipeline {
    pub(super) fn new(slots: Vec<Slot>, entries: Vec<usize>, snapshots: bool) -> Self {
        let timed = slots.iter().any(|slot| matches!(&slot.step, Step::Stage(stage) if stage.is_timed()));
        let mut pipeline =
            Self { slots, entries, reports: Reports::default(), timed, deadline: None, finished: false, snapshots };
        // `take(0)` has nothing to wait for.
        pipeline.finished = pipeline.all_ended();
        pipeline
    }

    /// Passes one event from source number `source` (0 unless merged) through the stages. `dot` names it within that
    /// source. Timers that are due by `now` go off before.
    ///
    /// An event of a source that the pipeline does not have is ignored.
    pub fn feed(
        &mut self,
        source: usize,
        event: Cow<'_, XaeroEvent>,
        dot: Option<Dot>,
        now: Tick,
        contexts: &dyn Contexts,
        sink: &mut dyn FnMut(XaeroEvent),
    ) {
        if self.deadline.is_some_and(|due| due <= now) {
            self.tick(now, contexts, sink);
        }
        let Some(&entry) = self.entries.get(source) else { return };
        if self.finished {
            return;
        }
        let mut env = Env { now, contexts, sink, reports: &mut self.reports, ended: false };
        run(tail(&mut self.slots, entry), Item { event, origin: &Origin { source, dot } }, &mut env);
        let ended = env.ended;
        if ended || self.timed {
            self.settle(ended, now, contexts, sink);
        }
    }

    /// Says whether history is being read. Folds are silent while it is, and a batch emits its state once when it ends,
    /// if anything was folded. A pipeline starts with no history to read.
    pub fn set_catching_up(&mut self, yes: bool, now: Tick, contexts: &dyn Contexts, sink: &mut dyn FnMut(XaeroEvent)) {
        self.each(now, contexts, sink, |stage, down| stage.set_catching_up(yes, down));
    }

    /// Lets the timers go off that are due by `now`.
    pub fn tick(&mut self, now: Tick, contexts: &dyn Contexts, sink: &mut dyn FnMut(XaeroEvent)) {
        self.each(now, contexts, sink, |stage, down| {
            if stage.deadline().is_some_and(|due| due <= now) {
                stage.expire(down);
            }
        });
    }

    /// When [`Pipeline::tick`] is next wanted.
    #[must_use]
    pub const fn deadline(&self) -> Option<Tick> {
        self.deadline
    }

    /// Ends the pipeline, because its sources have ended or are being drained: open windows close, and what `debounce`
    /// holds is let go. A fold that was still reading history emits nothing: its state is not the subject's yet.
    pub fn finish(&mut self, now: Tick, contexts: &dyn Contexts, sink: &mut dyn FnMut(XaeroEvent)) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.each(now, contexts, sink, |stage, down| stage.finish(down));
        self.deadline = None;
    }

    /// Whether nothing will come out any more: `take` has let its last event pass, or [`Pipeline::finish`] was called.
    #[must_use]
    pub const fn finished(&self) -> bool {
        self.finished
    }

    /// The reports since the last call.
    pub fn take_reports(&mut self) -> Vec<Report> {
        self.reports.take()
    }

    /// The state of the batch's fold, which covers every event fed so far.
    ///
    /// `None` where the pipeline keeps no snapshots (see
    /// [`PipelineSpec::snapshot_name`](crate::subject::pipeline::PipelineSpec::snapshot_name)), nothing was folded, or
    /// events wait in an open window, outside the state. A window is empty after its last event was fed or its
    /// timer went off, and after every [`CATCH_UP_CHUNK`](crate::subject::pipeline::CATCH_UP_CHUNK) events of history:
    /// ask after each call, it costs nothing until it succeeds.
    #[must_use]
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        match &self.slots.first()?.step {
            Step::Stage(stage) if self.snapshots => stage.snapshot(),
            _ => None,
        }
    }

    /// Takes up the state from a snapshot, before the first event is fed. `false`, and unchanged, where the bytes are
    /// not a snapshot of such a pipeline: the shell then folds from the beginning.
    pub fn restore(&mut self, snapshot: &[u8]) -> bool {
        match self.slots.first_mut().map(|slot| &mut slot.step) {
            Some(Step::Stage(stage)) if self.snapshots => stage.restore(snapshot),
            _ => false,
        }
    }

    /// Calls every stage that holds something, from the sources to the subscriber, so that what one stage lets go
    /// reaches the next before that one's turn.
    fn each(
        &mut self,
        now: Tick,
        contexts: &dyn Contexts,
        sink: &mut dyn FnMut(XaeroEvent),
        mut call: impl FnMut(&mut dyn Stage, &mut Downstream<'_, '_>),
    ) {
        let mut env = Env { now, contexts, sink, reports: &mut self.reports, ended: false };
        for at in 0..self.slots.len() {
            let Some((slot, rest)) = tail(&mut self.slots, at).split_first_mut() else { break };
            if let Step::Stage(stage) = &mut slot.step {
                call(stage.as_mut(), &mut Downstream { slots: tail(rest, slot.skip), env: &mut env });
            }
        }
        let ended = env.ended;
        self.settle(ended, now, contexts, sink);
    }

    /// Brings what is known about the stages up to date after a call. `ended` says that a stage has let its last
    /// event pass; once that holds for every source, the stages after it let go what they hold.
    fn settle(&mut self, ended: bool, now: Tick, contexts: &dyn Contexts, sink: &mut dyn FnMut(XaeroEvent)) {
        if ended && !self.finished && self.all_ended() {
            self.finish(now, contexts, sink);
        }
        if self.timed && !self.finished {
            let stages = self.slots.iter().filter_map(|slot| match &slot.step {
                Step::Stage(stage) => stage.deadline(),
                Step::Map(_) | Step::Filter(_) => None,
            });
            self.deadline = stages.min();
        }
    }

    /// Whether each source's way to the subscriber is closed by a stage that lets nothing pass any more.
    fn all_ended(&self) -> bool {
        self.entries.iter().all(|&entry| {
            let mut at = entry;
            while let Some(slot) = self.slots.get(at) {
                if matches!(&slot.step, Step::Stage(stage) if stage.has_ended()) {
                    return true;
                }
                at += 1 + slot.skip;
            }
            false
        })
    }
}

/// A stage in its place.
pub(super) struct Slot {
    pub(super) step: Step,
    /// How many of the slots behind this one belong to other branches.
    pub(super) skip: usize,
}

/// One stage of a running pipeline.
pub(super) enum Step {
    Map(Arc<Change>),
    Filter(Arc<Keep>),
    Stage(Box<dyn Stage>),
}

/// A stage that holds something between events.
pub(super) trait Stage: Send {
    /// Takes one item, and emits what follows from it.
    fn feed(&mut self, item: Item<'_>, down: &mut Downstream<'_, '_>);

    /// Whether the stage ever has a deadline.
    fn is_timed(&self) -> bool {
        false
    }

    /// When the stage's timer goes off.
    fn deadline(&self) -> Option<Tick> {
        None
    }

    /// The timer went off.
    fn expire(&mut self, _down: &mut Downstream<'_, '_>) {}

    /// Lets go what is held: nothing more will come.
    fn finish(&mut self, _down: &mut Downstream<'_, '_>) {}

    /// See [`Pipeline::set_catching_up`].
    fn set_catching_up(&mut self, _yes: bool, _down: &mut Downstream<'_, '_>) {}

    /// Whether the stage lets nothing pass any more.
    fn has_ended(&self) -> bool {
        false
    }

    /// See [`Pipeline::snapshot`].
    fn snapshot(&self) -> Option<Vec<u8>> {
        None
    }

    /// See [`Pipeline::restore`].
    fn restore(&mut self, _snapshot: &[u8]) -> bool {
        false
    }
}

/// An event on its way through the stages, and where it came from.
pub(super) struct Item<'a> {
    pub(super) event: Cow<'a, XaeroEvent>,
    pub(super) origin: &'a Origin,
}

impl Item<'_> {
    /// An event that a stage made.
    pub(super) const fn made(event: XaeroEvent) -> Item<'static> {
        Item { event: Cow::Owned(event), origin: &Origin { source: 0, dot: None } }
    }

    /// The item's parts, to be kept.
    pub(super) fn into_kept(self) -> (XaeroEvent, Origin) {
        (self.event.into_owned(), *self.origin)
    }
}

/// Where an event came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) source: usize,
    /// The event's name within the source. One that a stage made from several has none.
    pub(super) dot: Option<Dot>,
}

/// What stages share during one call into the pipeline.
struct Env<'a> {
    now: Tick,
    contexts: &'a dyn Contexts,
    sink: &'a mut dyn FnMut(XaeroEvent),
    reports: &'a mut Reports,
    /// Whether some stage has let its last event pass.
    ended: bool,
}

/// The rest of the chain, as a stage sees it.
pub(super) struct Downstream<'a, 'e> {
    slots: &'a mut [Slot],
    env: &'a mut Env<'e>,
}

impl<'e> Downstream<'_, 'e> {
    pub(super) fn emit(&mut self, item: Item<'_>) {
        run(self.slots, item, self.env);
    }

    pub(super) const fn now(&self) -> Tick {
        self.env.now
    }

    pub(super) const fn contexts(&self) -> &'e dyn Contexts {
        self.env.contexts
    }

    pub(super) fn report(&mut self, report: Report) {
        self.env.reports.push(report);
    }

    /// Says that the stage lets nothing pass any more.
    pub(super) const fn end(&mut self) {
        self.env.ended = true;
    }
}

/// Passes an item through the stages until one keeps or refuses it, or the subscriber has it.
fn run(slots: &mut [Slot], item: Item<'_>, env: &mut Env<'_>) {
    match item.event {
        Cow::Owned(event) => run_owned(slots, event, item.origin, env),
        Cow::Borrowed(event) => run_borrowed(slots, event, item.origin, env),
    }
}

/// Passes a borrowed event through the filters, to the first stage that has to own it.
fn run_borrowed(mut slots: &mut [Slot], event: &XaeroEvent, origin: &Origin, env: &mut Env<'_>) {
    while let Some((Slot { step: Step::Filter(keep), skip }, _)) = slots.split_first() {
        if !keep(event) {
            return;
        }
        slots = tail(slots, 1 + *skip);
    }
    match slots.split_first_mut() {
        // Such a stage may yet refuse the event.
        Some((Slot { step: Step::Stage(stage), skip }, rest)) => {
            let item = Item { event: Cow::Borrowed(event), origin };
            stage.feed(item, &mut Downstream { slots: tail(rest, *skip), env });
        }
        _ => run_owned(slots, event.clone(), origin, env),
    }
}

/// Passes an owned event on. It stays where it is, apart from the moves into and out of the user's closures: an event is
/// large enough for each move to count.
fn run_owned(mut slots: &mut [Slot], mut event: XaeroEvent, origin: &Origin, env: &mut Env<'_>) {
    while let Some((slot, rest)) = slots.split_first_mut() {
        slots = tail(rest, slot.skip);
        match &mut slot.step {
            Step::Filter(keep) => {
                if !keep(&event) {
                    return;
                }
            }
            Step::Map(change) => {
                // The closure may well build a new event. It still stands for the one it was made from.
                match event.evt.stamp().cloned() {
                    None => event = change(event),
                    Some(stamp) => {
                        event = change(event);
                        if event.evt.stamp().is_none() {
                            event.evt.set_stamp(Some(stamp));
                        }
                    }
                }
            }
            Step::Stage(stage) => {
                return stage.feed(Item { event: Cow::Owned(event), origin }, &mut Downstream { slots, env });
            }
        }
    }
    (env.sink)(event);
}

/// The slots from `at` on.
fn tail(slots: &mut [Slot], at: usize) -> &mut [Slot] {
    slots.get_mut(at..).unwrap_or_default()
}
