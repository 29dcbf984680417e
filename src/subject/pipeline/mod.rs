//! The chain of Rx stages between a subject's log or bus and one subscriber.
//!
//! A [`PipelineSpec`] is what the operators of a subject build: a cheap value that says which stages follow each other,
//! with the user's closures behind `Arc`s. Each subscription makes its own [`Pipeline`] from it, which holds the
//! state of those stages: open windows, pending timers, fold states.
//!
//! A pipeline is a state machine. It has no thread, reads no clock, and does no input or output: events, the time
//! ([`Tick`]) and answers about causality ([`Contexts`]) go in, events come out through a closure, and
//! [`Pipeline::deadline`] says when it wants to be called next. A shell around it does the rest, and tests drive it in
//! virtual time.
//!
//! Some invariants hold for every stage:
//!
//! - Events leave in the order of those that caused them: no stage but a sorted batch reorders what a source
//!   delivers.
//! - An event is cloned only when a stage or the subscriber needs to own it. What a filter refuses was only looked at.
//! - Everything that is held is bounded: a window by [`MAX_WINDOW_EVENTS`] and [`MAX_WINDOW_BYTES`], the memory of
//!   `distinct` by [`DISTINCT_MEMORY`], reports by [`MAX_REPORTS`].
//! - A user's closure that panics unwinds out of the call. The pipeline is then of no further use, and is dropped like
//!   any other value.
//!
//! | file | what it holds |
//! |---|---|
//! | `spec` | the builder, and the tree that `merge` makes |
//! | `machine` | the state machine, and how an item travels from stage to stage |
//! | `batch` | windows that are sorted, folded into a state, and reduced to an event |
//! | `scope` | names of events where several subjects are merged, and what a fold may ask about them |
//! | `contexts` | what the shell answers about causality, and its answer in memory |
//! | `window` | when a window opens and closes; `buffer` and `window` |
//! | `timing`, `limit`, `select` | `debounce` and `throttle`; `take` and `distinct`; `scan` and proofs |

mod batch;
mod contexts;
mod error;
mod limit;
mod machine;
mod report;
mod scope;
mod select;
mod spec;
mod timing;
mod window;

#[cfg(test)]
mod tests;

pub use batch::CATCH_UP_CHUNK;
pub use contexts::{Contexts, MemoryContexts};
pub use error::PipelineError;
pub use limit::DISTINCT_MEMORY;
pub use machine::{Pipeline, Tick};
pub use report::{MAX_REPORTS, Report};
pub use spec::PipelineSpec;
pub use window::{MAX_WINDOW_BYTES, MAX_WINDOW_EVENTS};
