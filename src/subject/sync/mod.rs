//! Syncing a subject with peers: what leaves, what comes in, and the child actor that has it done.
//!
//! * `replica` is the log as sessions see it: what is here, and what shows it.
//! * `interests` are what part of the subject the two sides keep.
//! * `outlet` is what leaves for one peer, `intake` what comes in from one: verified first, then handed over by the same
//!   door as what is published here. `repeats` finds out who sends the same again and again.
//! * `driver` runs one [session](crate::actors::sync), with its `lane` for what waits for the stream and its `storing` for
//!   what came, which tells the lane through `sent`; `hub` is what the sessions of a subject share.
//! * `swarming` is the subject's place among more peers than it has sessions with.
//! * `actor` is the child of a subject that starts sessions; `network` the node's network, as its subjects have it; `peers` what
//!   applications may know of it all.

pub(crate) mod actor;
mod driver;
pub(crate) mod hub;
pub(crate) mod intake;
pub(crate) mod interests;
mod lane;
pub(crate) mod network;
pub(crate) mod outlet;
pub(crate) mod peers;
mod repeats;
pub(crate) mod replica;
mod sent;
mod storing;
mod swarming;

#[cfg(test)]
mod tests;
