//! Bundles: one subject in one file, for machines that never meet.
//!
//! A bundle holds the events of a subject in the order of some log, which is causal, and all that shows whose they are:
//! each author's public key and newest [signed head](crate::wire::head), and in every chunk of events, for every author in
//! it, the proof that the author's log up to there is the beginning of the signed one. So each chunk is known to be
//! genuine, whole and in its place *before* any of it enters a log, and a reader holds one chunk at a time.
//!
//! ```text
//! preamble │ SUBJ │ AUTH AUTH … │ FORK … │ EVTS EVTS EVTS … │ DONE
//!                  key and signed  evidence  events and proofs   number, root, hash
//!                  head of each    of forks
//! ```
//!
//! All after the preamble are *sections*: a kind, a length, a body, and checksums of both. A kind that begins with a capital
//! letter is required: who does not know it refuses the bundle. One that begins with a small letter may stand anywhere
//! before the last section and is skipped by who does not know it. `docs/format-bundle.md` gives the layout byte by byte.
//!
//! A bundle may begin in the middle: then it says for each author how many events came before and the root over them, and
//! only who has just these can take it.
//!
//! Three machines do the work, none of which does input or output:
//!
//! * [`Encoder`] makes the bytes from an [`Opening`], [`AuthorEntry`]s and [`ChunkBuilder`]s.
//! * [`Decoder`] is fed bytes, as many as it [wants](Decoder::wanted), and gives [`Part`]s. It judges form: lengths, order,
//!   checksums. No length is believed before it was compared with a limit.
//! * [`BundleCheck`] is fed the parts and judges what they say: keys, signatures, places, proofs.

mod check;
mod chunk;
mod decoder;
mod encoder;
mod error;
mod opening;
mod section;
#[cfg(test)]
mod tests;

pub use check::{BundleCheck, BundleLog, CheckedChunk, CheckedEvent, CheckedRange};
pub use chunk::{Chunk, ChunkBuilder, ChunkProof};
pub use decoder::{Decoder, Part, Trailer};
pub use encoder::Encoder;
pub use error::BundleError;
pub use opening::{AuthorEntry, ForkEntry, Opening};
pub use section::Kind;

use crate::wire::limits::MAX_FRAME_BYTES;

/// Most events in one chunk: what one commit takes, and enough for ids to be hashed many at a time.
pub const MAX_CHUNK_EVENTS: usize = 4_096;

/// Most bytes of frames in one chunk (4 MiB): what a reader has to hold, and room for some of the largest frames.
pub const MAX_CHUNK_FRAME_BYTES: usize = 4 << 20;

/// Most authors with events in one chunk: their proofs take no more room than its events.
pub const MAX_CHUNK_AUTHORS: usize = 1_024;

/// Most hashes of one proof: one for each bit of a length, and one more.
pub const MAX_PROOF_HASHES: usize = 65;

/// Most authors of a bundle: with key and head each takes about 2 kB of a reader's memory.
pub const MAX_AUTHORS: usize = 65_536;

/// Most bytes of a section that a reader does not know and skips (1 MiB).
pub const MAX_SKIPPED_BYTES: usize = 1 << 20;

const _: () = assert!(MAX_CHUNK_FRAME_BYTES >= MAX_FRAME_BYTES, "every frame fits into a chunk");
