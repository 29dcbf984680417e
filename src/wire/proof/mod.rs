//! Proofs: that an event is in its author's signed log, for anyone who has the author's public key.

mod error;

pub use error::ProofError;
