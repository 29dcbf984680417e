//! Supervision: what to do when a child actor dies, and how to lose nothing meanwhile.
//!
//! The idea is Erlang's: a child that is in a state nobody foresaw is better replaced than repaired. What is here is
//! policy only: no actor, no clock, no randomness of its own. Time comes in as a `Duration` since any fixed moment,
//! so that tests run in virtual time with the same trace every time; the shell around it is the subject's supervisor
//! actor.
//!
//! - [`policy`]: a death comes in, a decision comes out. Restart, restart all, set a poison batch aside, escalate.
//! - [`backoff`]: how long to wait before a restart.
//! - [`intensity`]: how many restarts in how much time are too many.
//! - [`retain`]: the queue of batches that a child has been handed and has not acknowledged, for the replay.
//! - [`credit`]: how much may be in that queue.
//!
//! See Armstrong, "Making reliable distributed systems in the presence of software errors" (2003), chapter 5.

pub mod backoff;
pub mod credit;
pub mod intensity;
pub mod policy;
pub mod retain;

#[cfg(test)]
mod simulation;

pub use credit::{Credits, MAX_BYTES, MAX_EVENTS};
pub use policy::{Cause, Decision, Died, Supervisor};
pub use retain::{Retained, Token};
