//! Signed heads: one Falcon signature for all logs of an author that a commit changed.
//!
//! A signature costs as much as hundreds of events, so an author signs neither events nor logs one by one. What is said
//! about one log is its head ([`LogHead`]): the subject, the author, the log's length and the root of its
//! [tree](crate::wire::mmr). The heads that one commit changed are the leaves of another tree of the same shape, and the
//! author signs that tree's root ([`HeadBatch`]). One head with its path to that root and the signature is a
//! [`SignedHead`]: it needs nothing else, and tells nothing of the other heads.
//!
//! ```text
//!            signature over (author, number of heads, batch root)
//!                                  │
//!            ┌─────────────────────┴───────┐
//!       head of subject A             head of subject B        ← batch leaves
//!            │                             │
//!       root of the log in A          root of the log in B     ← trees of logs: wire/mmr
//! ```
//!
//! # Domains
//!
//! | what | BLAKE3 `derive_key` context, or domain tag |
//! |---|---|
//! | batch leaf | `xaeroflux 2026 log head v1` |
//! | batch node | `xaeroflux 2026 head batch node v1` |
//! | signed message | `xaeroflux 2026 head batch v1` |
//! | subject root | `xaeroflux 2026 subject root v1` |
//!
//! The number of heads is part of the message, so a path has one shape only.
//!
//! Two heads of one author and subject that contradict each other prove a [fork](crate::wire::fork). Who holds many heads
//! of one batch checks its signature once, through [`HeadCheck`].

mod batch;
mod check;
mod log_head;
mod signature;
mod signed;
#[cfg(test)]
mod tests;

pub use batch::{HeadBatch, MAX_BATCH_HEADS};
pub use check::{HeadCheck, REMEMBERED_BATCHES};
pub use log_head::{LogHead, subject_root};
pub use signature::Signature;
pub use signed::{MAX_BATCH_PATH, MAX_SIGNED_HEAD_BYTES, SignedHead};
