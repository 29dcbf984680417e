//! `batch`: windows of events that are sorted, folded into a state, and reduced to one event each.
//!
//! The fold's state belongs to the subscription, not to the window: each window adds to it, and what is emitted is the
//! state of everything so far. A window whose events change nothing, because the fold has no use for them, emits nothing.
//! Without a fold, a batch lets its events go when the window closes, one by one and sorted.
//!
//! While history is read, events are folded in chunks of [`CATCH_UP_CHUNK`] and nothing is emitted; when it ends, the
//! state is emitted once. That is how a late subscriber gets the current state. A batch without a fold has no state,
//! and treats history like anything else.

use std::{borrow::Cow, cmp::Ordering, sync::Arc, time::Duration};

use crate::{
    crdt::operator::{Applied, FoldOp, FoldState, Operator, ReduceOp, SortOp},
    subject::pipeline::{
        error::PipelineError,
        machine::{Downstream, Item, Origin, Stage, Tick},
        report::Report,
        scope::{EventContext, Named, Scopes},
        window::{Window, WindowRule},
    },
    wire::event::{Event, XaeroEvent},
};

/// How many events of history are sorted and folded at a time: enough for the sort to see concurrent events together,
/// and less than a megabyte of small ones.
pub const CATCH_UP_CHUNK: usize = 4_096;

/// The name in reports of what the user gave no name.
const UNNAMED: &str = "unnamed";

/// What a batch was asked to do.
#[derive(Debug)]
pub(super) struct BatchSpec {
    rule: WindowRule,
    /// The first decides; each further one orders what those before it hold for equal.
    sorts: Vec<SortOp>,
    fold: Option<(FoldOp, ReduceOp)>,
}

impl BatchSpec {
    pub(super) fn new(
        duration: Duration,
        count: Option<usize>,
        operators: Vec<Operator>,
    ) -> Result<Self, PipelineError> {
        let rule = WindowRule::new(Some(duration), count)?;
        let (mut sorts, mut fold, mut reduce) = (Vec::new(), None, None);
        for operator in operators {
            match operator {
                Operator::Sort(op) => sorts.push(op),
                Operator::Fold(op) if fold.is_none() => fold = Some(op),
                Operator::Fold(_) => return Err(PipelineError::SeveralFolds),
                Operator::Reduce(op) if reduce.is_none() => reduce = Some(op),
                Operator::Reduce(_) => return Err(PipelineError::SeveralReduces),
            }
        }
        let fold = match (fold, reduce) {
            (Some(fold), Some(reduce)) => Some((fold, reduce)),
            (None, None) => None,
            (Some(_), None) => return Err(PipelineError::FoldWithoutReduce),
            (None, Some(_)) => return Err(PipelineError::ReduceWithoutFold),
        };
        Ok(Self { rule, sorts, fold })
    }

    pub(super) const fn folds(&self) -> bool {
        self.fold.is_some()
    }

    /// The name under which snapshots of the state are kept: the fold's, and the sorts', which may matter to it.
    pub(super) fn snapshot_name(&self) -> Option<String> {
        let (fold, _) = self.fold.as_ref()?;
        let names = fold.name.iter().chain(self.sorts.iter().map(|sort| &sort.name));
        fold.name.is_some().then(|| names.map(Cow::as_ref).collect::<Vec<_>>().join("|"))
    }

    fn compare(&self, a: &XaeroEvent, b: &XaeroEvent) -> Ordering {
        self.sorts.iter().fold(Ordering::Equal, |order, sort| order.then_with(|| (sort.compare)(a, b)))
    }
}

/// A running batch.
pub(super) struct Batch {
    spec: Arc<BatchSpec>,
    window: Window<Held>,
    scopes: Scopes,
    folding: Option<Folding>,
    catching_up: bool,
}

/// An event in a window.
struct Held {
    event: XaeroEvent,
    named: Named,
    /// Whether the event got a stamp only to be sorted by.
    lent_stamp: bool,
}

impl Batch {
    pub(super) fn new(spec: Arc<BatchSpec>, sources: usize) -> Self {
        Self {
            window: Window::new(spec.rule),
            scopes: Scopes::new(sources),
            folding: spec.fold.as_ref().map(|(fold, reduce)| Folding::new(fold.clone(), reduce.clone())),
            catching_up: false,
            spec,
        }
    }

    /// Whether events go into the state with nothing coming out.
    const fn is_silent(&self) -> bool {
        self.catching_up && self.folding.is_some()
    }

    /// Takes what the window holds, sorted, and whether it lies in causal order.
    fn close_sorted(&mut self) -> (Vec<Held>, bool) {
        let mut held = self.window.close();
        if self.spec.sorts.is_empty() {
            return (held, true);
        }
        held.sort_by(|a, b| self.spec.compare(&a.event, &b.event));
        // An event's clock is above those of all that its author had seen. Where clocks ascend, no event stands before
        // its causes; an order by something else may well put it there.
        let clocks = held.iter().map(|held| held.event.evt.clock());
        let in_order = clocks.clone().all(|clock| clock.is_some()) && clocks.is_sorted();
        (held, in_order)
    }

    /// Merges what the window holds into the state.
    fn fold_window(&mut self, down: &mut Downstream<'_, '_>) {
        let (events, in_order) = self.close_sorted();
        let contexts = down.contexts();
        let causal = in_order && contexts.causal_delivery();
        let Some(folding) = &mut self.folding else { return };
        for Held { event, named, .. } in &events {
            let context = EventContext { scopes: &self.scopes, contexts, event: *named, causal };
            folding.apply(event, &context, down);
        }
    }

    fn close(&mut self, down: &mut Downstream<'_, '_>) {
        if self.folding.is_some() {
            self.fold_window(down);
            if let Some(folding) = &mut self.folding {
                folding.emit_if_changed(down);
            }
            return;
        }
        for Held { mut event, named, lent_stamp } in self.close_sorted().0 {
            if lent_stamp {
                event.evt.set_stamp(None);
            }
            let origin = Origin { source: named.source, dot: named.dot };
            down.emit(Item { event: Cow::Owned(event), origin: &origin });
        }
    }
}

impl Stage for Batch {
    fn feed(&mut self, item: Item<'_>, down: &mut Downstream<'_, '_>) {
        let (mut event, Origin { source, dot }) = item.into_kept();
        let named = self.scopes.name(source, dot, event.author_id, down.contexts());
        let mut lent_stamp = false;
        if event.evt.stamp().is_none()
            && let Some(dot) = dot
        {
            event.evt.set_stamp(down.contexts().stamp(source, dot));
            lent_stamp = true;
        }
        let bytes = event.evt.data.len();
        self.window.push(Held { event, named, lent_stamp }, bytes, down.now());
        if self.is_silent() {
            if self.window.holds(CATCH_UP_CHUNK) {
                self.fold_window(down);
            }
        } else if self.window.is_full() {
            self.close(down);
        }
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn deadline(&self) -> Option<Tick> {
        if self.is_silent() { None } else { self.window.deadline() }
    }

    fn expire(&mut self, down: &mut Downstream<'_, '_>) {
        self.close(down);
    }

    fn finish(&mut self, down: &mut Downstream<'_, '_>) {
        if !self.is_silent() {
            self.close(down);
        }
    }

    fn set_catching_up(&mut self, yes: bool, down: &mut Downstream<'_, '_>) {
        let was_silent = self.is_silent();
        self.catching_up = yes;
        if was_silent && !yes {
            self.close(down);
        }
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        if self.window.is_empty() { self.folding.as_ref()?.save() } else { None }
    }

    fn restore(&mut self, snapshot: &[u8]) -> bool {
        self.folding.as_mut().is_some_and(|folding| folding.restore(snapshot))
    }
}

/// A fold, its state, and what makes events from it.
struct Folding {
    fold: FoldOp,
    reduce: ReduceOp,
    state: Box<dyn FoldState>,
    /// The latest author's timestamp in the state.
    latest_ts: Option<u64>,
    /// Whether the state holds any event.
    begun: bool,
    /// Whether the state took in events since it was last emitted.
    changed: bool,
    /// Whether it was reported that the reducer cannot read the state.
    told: bool,
}

impl Folding {
    fn new(fold: FoldOp, reduce: ReduceOp) -> Self {
        let state = (fold.make)();
        Self { fold, reduce, state, latest_ts: None, begun: false, changed: false, told: false }
    }

    fn apply(&mut self, event: &XaeroEvent, context: &EventContext<'_>, down: &mut Downstream<'_, '_>) {
        let Named { source, dot, alias, .. } = context.event;
        match self.state.apply(event, alias, context) {
            Applied::Yes => {
                self.latest_ts = self.latest_ts.max(event.latest_ts);
                self.begun = true;
                self.changed = true;
            }
            Applied::NotMine => {}
            Applied::Skipped(rule) => down.report(Report::Skipped { source, dot: dot.unwrap_or(alias), rule }),
        }
    }

    /// Emits the state, as nobody's event in particular, with the latest timestamp that went into it.
    fn emit_if_changed(&mut self, down: &mut Downstream<'_, '_>) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let Some(bytes) = (self.reduce.reduce)(self.state.as_any()) else {
            if !std::mem::replace(&mut self.told, true) {
                let fold = self.fold.name.as_deref().unwrap_or(UNNAMED).to_owned();
                down.report(Report::CannotReduce { fold, reduce: self.reduce.name.clone().into_owned() });
            }
            return;
        };
        down.emit(Item::made(XaeroEvent {
            evt: Event::state(bytes, self.reduce.event_type, down.contexts().is_partial()),
            merkle_proof: None,
            author_id: None,
            latest_ts: self.latest_ts,
        }));
    }

    /// A snapshot: whether there is a latest timestamp, that timestamp, and the fold's own bytes.
    fn save(&self) -> Option<Vec<u8>> {
        if !self.begun {
            return None;
        }
        let state = self.state.save()?;
        let mut bytes = Vec::with_capacity(SNAPSHOT_HEADER + state.len());
        bytes.push(u8::from(self.latest_ts.is_some()));
        bytes.extend(self.latest_ts.unwrap_or(0).to_le_bytes());
        bytes.extend(state);
        Some(bytes)
    }

    fn restore(&mut self, snapshot: &[u8]) -> bool {
        let Some((&[has_ts @ (0 | 1), ref ts @ ..], state)) = snapshot.split_first_chunk::<SNAPSHOT_HEADER>() else {
            return false;
        };
        let Some(state) = (self.fold.restore)(state) else { return false };
        self.state = state;
        self.latest_ts = (has_ts == 1).then_some(u64::from_le_bytes(*ts));
        // The subscriber has not seen this state, whatever an earlier subscription has.
        (self.begun, self.changed) = (true, true);
        true
    }
}

/// Bytes of a snapshot before the fold's own.
const SNAPSHOT_HEADER: usize = 9;
