//! Proofs: that an event is in its author's signed log, for anyone who has the author's public key.
//!
//! A proof carries all of the event but the payload ([`EventHeader`]), the path from the event's id to the root of the
//! author's log, and a [signed head](crate::wire::head) with that root: nothing else is needed to check it, no data
//! directory and no network, years later. What it says is: *the owner of this key has signed a log of this subject in
//! which the event with this sequence number is this one.*
//!
//! Two questions are asked of a proof. [`EventProof::verify`] is whether it holds for a key; [`EventProof::proves`] is
//! whether it is about the event at hand. Neither says anything without the other.
//!
//! A proof has one encoding only: every number has its one length, the number of hashes in a path follows from its place,
//! and nothing may follow. Any altered bit makes it a proof of something else, which then fails, or no proof at all; each
//! is refused with the rule that it breaks ([`ProofError`]).

mod error;
mod event;
mod header;

#[cfg(test)]
mod tests;

pub use error::ProofError;
pub use event::{EventProof, MAX_PROOF_BYTES};
pub use header::EventHeader;
