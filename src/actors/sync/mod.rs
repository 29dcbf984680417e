//! How two nodes come to have the same events of a subject, and how many nodes do: the protocol's core, without input or
//! output.
//!
//! - [`session`]: what is said about one subject on one connection. Both sides run the same machine.
//! - [`turns`]: which of a subject's sessions may download, and which peers push.
//! - [`peers`]: whom to dial, which connection stays, who is banned.
//! - [`swarm`]: beyond a handful of peers, when to say what is here, and whom to visit who has more.
//! - [`pace`]: how slow a message may come.
//!
//! Nothing here knows a clock, a network, a disk or chance: time is a `Duration` since any fixed moment, like everything
//! else it is an argument. So tests and the simulation run hundreds of nodes in virtual time with the same trace every
//! time. `docs/protocol.md` is the specification.

pub mod pace;
pub mod peers;
pub mod session;
pub mod swarm;
pub mod turns;

#[cfg(test)]
mod simulation;

pub use session::{EndReason, Input, Offence, Output, ReadOutcome, Session, StoreOutcome};
pub use turns::{Turns, Wish};
