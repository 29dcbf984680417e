//! What must hold for any bytes at all, one file for each parser of bytes from outside.
//!
//! The fuzz targets call these with what they make up, and the crate's test `fuzz_corpus` with the seeds that are checked
//! in, so that every change is held to them without a fuzzer.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

pub mod announce;
pub mod control;
pub mod event_proof;
pub mod export;
pub mod fork_evidence;
pub mod frame;
pub mod head_batch;
pub mod key_file;
pub mod public_key;
pub mod segment;
pub mod signed_head;
pub mod sync_events;
pub mod sync_hello;
pub mod sync_message;
pub mod ticket;

use xaeroflux::wire::key::PublicKey;

/// The key that the seeds are signed with.
pub fn key() -> PublicKey {
    PublicKey::from_text(include_str!("../../tests/fixtures/proof/author.pub")).expect("the key of the fixtures")
}
