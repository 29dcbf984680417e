//! Conflict-free replicated data types, and the operators that run them over a stream of events.
//!
//! Every replica of a subject holds the same events in the end, but meets them in its own order. The types here give the
//! same result for every order (see Shapiro et al., "Conflict-free Replicated Data Types", 2011). They are
//! *operation-based*: an event says what its author did, and its [causal context](operator::CausalContext) says what
//! the author had seen when doing it. Two events of which neither had seen the other are concurrent, and each type
//! has a rule for these:
//!
//! | type | rule |
//! |---|---|
//! | [`ORSet`] | a remove cancels the adds that it had seen; a concurrent add wins |
//! | [`GCounter`], [`PNCounter`] | every increment and decrement counts once |
//! | [`LWWRegister`] | the highest (timestamp, author, sequence number) wins |
//! | [`MVRegister`] | concurrent writes are all kept, until a later write has seen them |
//!
//! Each is a plain type that can be used by itself. [`operator`] is the shape that a batch pipeline runs: [`Sort`] the
//! window, [`Fold`] it into a state, [`Reduce`] the state to bytes; each has a `to_operator()` and takes users' closures
//! in the same place. [`causality`] and [`frontier`] derive contexts from the few dependencies that an event names.
//! [`rights`] is what grants and revocations come to in whatever order they arrive.
//!
//! # What a source may promise
//!
//! A log delivers each event exactly once and after its causes. Under that promise
//! ([`causal_delivery`](operator::CausalContext::causal_delivery)) the types keep nothing but what is alive: no
//! tombstones, no record of what was counted. Without it they keep what a late or repeated event could need, and are right
//! under any order and any duplication. A state that was ever fed without the promise goes on honouring what it kept.

mod authors;
pub mod causality;
mod dot_set;
pub mod fold;
pub mod frontier;
pub mod g_counter;
#[cfg(test)]
mod laws;
pub mod lww_register;
pub mod mv_register;
pub mod operator;
pub mod or_set;
pub mod pn_counter;
pub mod reduce;
pub mod rights;
mod snapshot;
pub mod sort;

pub use causality::CausalIndex;
pub use fold::Fold;
pub use frontier::Frontier;
pub use g_counter::GCounter;
pub use lww_register::LWWRegister;
pub use mv_register::MVRegister;
pub use operator::{Applied, CausalContext, FoldOp, FoldState, Operator, ReduceOp, SortOp};
pub use or_set::ORSet;
pub use pn_counter::PNCounter;
pub use reduce::Reduce;
pub use sort::Sort;
