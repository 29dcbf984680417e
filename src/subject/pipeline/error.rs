//! What can be wrong with a pipeline before it has seen an event.

use thiserror::Error;

use crate::subject::pipeline::window::MAX_WINDOW_EVENTS;

/// A stage that cannot work as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A batch has a fold and no reducer.
    #[error("a batch that folds needs a reducer to make events from its state: add an Operator::Reduce")]
    FoldWithoutReduce,
    /// A batch has a reducer and no fold.
    #[error("a batch that reduces needs a state to read: add the Operator::Fold that keeps it, or remove the reducer")]
    ReduceWithoutFold,
    /// A batch has more than one fold.
    #[error("a batch keeps one state: put each Operator::Fold into a batch of its own")]
    SeveralFolds,
    /// A batch has more than one reducer.
    #[error("a batch emits one event a window: put each Operator::Reduce into a batch of its own")]
    SeveralReduces,
    /// The window holds no events.
    #[error("a window of 0 events never closes with one in it: pass a count of at least 1, or None for no count")]
    CountIsZero,
    /// The window would hold too many events.
    #[error(
        "a window holds at most {MAX_WINDOW_EVENTS} events, {0} were asked for: pass a smaller count, or None and a \
         duration"
    )]
    CountTooLarge(usize),
    /// The window has neither a duration nor a count.
    #[error("a window needs an end: pass a duration, a count, or both")]
    Endless,
}
