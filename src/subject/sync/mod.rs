//! Syncing a subject with peers: what leaves, what comes in, and the child actor that has it done.
//!
//! * `replica` is the log as sessions see it: what is here, and what shows it.
//! * `outlet` is what leaves for one peer, `intake` what comes in from one: verified first, then handed over by the same
//!   door as what is published here.

pub(crate) mod intake;
pub(crate) mod outlet;
pub(crate) mod replica;

#[cfg(test)]
mod tests;
