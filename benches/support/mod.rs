//! What the benches share.
//!
//! A figure is one line of JSON, made by one run of one program that measures both sides in turn: what else the machine
//! does then slows both. Rounds alternate, and the one with the middle ratio counts.
//!
//! * [`report`] is the line, and whether this run is a short one.
//! * [`bare`] is the other side of the durable figures: a loop on LMDB and nothing else.
//! * [`raw_iroh`] is the other side of the figures of the network: a connection and nothing else.
//! * [`engine`] is ours: a node in a directory of its own, and publishers that wait for every receipt.

#![allow(dead_code, reason = "each bench uses a part of it")]

pub mod bare;
pub mod engine;
pub mod raw_iroh;
pub mod report;

use tempfile::TempDir;

/// Payload of the durable figures, in bytes.
pub const PAYLOAD: usize = 256;

/// Size of the maps of both sides: address space, not disk.
pub const MAP_SIZE: usize = 64 << 30;

/// A new directory on the disk that the crate is built on. The system's own place for temporary files may be in memory,
/// where a sync costs nothing.
pub fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory for the bench")
}
