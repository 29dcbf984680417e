//! The three operators of a batch pipeline: sort the window, fold it into the state, reduce the state to bytes.
//!
//! Each is a small value that a pipeline clones freely: a function (or a factory of states) behind an `Arc`, with a name
//! where it is one of ours. A name makes a fold's snapshots reusable after a restart; a user's closure has none unless
//! the user gives one, because nobody can tell whether it still means the same.

use std::{any::Any, borrow::Cow, cmp::Ordering, fmt, sync::Arc};

use crate::wire::{event::XaeroEvent, id::Dot, vector::VersionVector};

/// One step of a batch pipeline.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Operator {
    /// Brings the window's events into an order.
    Sort(SortOp),
    /// Merges the window's events into the state.
    Fold(FoldOp),
    /// Makes the bytes that are emitted from the state.
    Reduce(ReduceOp),
}

/// What an event's author had seen when the event was made.
pub trait CausalContext {
    /// Whether the author had seen the event with this dot.
    fn covers(&self, dot: Dot) -> bool;

    /// All that the author had seen.
    fn to_vector(&self) -> VersionVector;

    /// Whether the source delivers each event exactly once and after all that its author had seen. A fold may then
    /// forget what only a late or repeated event could need. A log does; a test that shuffles does not.
    fn causal_delivery(&self) -> bool;
}

impl CausalContext for VersionVector {
    fn covers(&self, dot: Dot) -> bool {
        Self::covers(self, dot)
    }

    fn to_vector(&self) -> VersionVector {
        self.clone()
    }

    fn causal_delivery(&self) -> bool {
        false
    }
}

/// What a fold did with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// It is part of the state now, or was already.
    Yes,
    /// It is of a type that this fold has no use for.
    NotMine,
    /// Its type is right but its meaning is not; it stays in the log, outside the state. Says which rule it breaks.
    Skipped(&'static str),
}

/// A state into which events are merged.
pub trait FoldState: Any + Send {
    /// Merges one event. `dot` is its name within this pipeline, `context` what its author had seen.
    fn apply(&mut self, event: &XaeroEvent, dot: Dot, context: &dyn CausalContext) -> Applied;

    /// The state as bytes, for a snapshot; `None` where it cannot be saved.
    fn save(&self) -> Option<Vec<u8>>;

    /// The state, for the reducer to look into.
    fn as_any(&self) -> &dyn Any;
}

type Compare = dyn Fn(&XaeroEvent, &XaeroEvent) -> Ordering + Send + Sync;
type Make = dyn Fn() -> Box<dyn FoldState> + Send + Sync;
type Restore = dyn Fn(&[u8]) -> Option<Box<dyn FoldState>> + Send + Sync;
type Reduce = dyn Fn(&dyn Any) -> Option<Vec<u8>> + Send + Sync;

/// An order of events. It must be total and the same on every replica.
#[derive(Clone)]
pub struct SortOp {
    pub(crate) name: Cow<'static, str>,
    pub(crate) compare: Arc<Compare>,
    /// Whether it sorts causes before their effects: see [`SortOp::keeps_causes_first`].
    pub(crate) keeps_causes_first: bool,
}

/// A factory of fold states.
#[derive(Clone)]
pub struct FoldOp {
    /// The name and version under which snapshots are kept; `None` keeps none.
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) make: Arc<Make>,
    pub(crate) restore: Arc<Restore>,
}

/// A reader of fold states.
#[derive(Clone)]
pub struct ReduceOp {
    pub(crate) name: Cow<'static, str>,
    /// The application code of the event that carries the result.
    pub(crate) event_type: u8,
    /// `None` where the state is of a fold that this reducer cannot read.
    pub(crate) reduce: Arc<Reduce>,
}

impl fmt::Debug for SortOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SortOp").field(&self.name).finish()
    }
}

impl fmt::Debug for FoldOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FoldOp").field(&self.name).finish()
    }
}

impl fmt::Debug for ReduceOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReduceOp").field(&self.name).finish()
    }
}
