//! Carrying a subject from one node to another as a [bundle](crate::wire::bundle): export and import.
//!
//! * [`export`] writes a bundle of what the log has at one `moment`, which is fixed when the export begins: what is
//!   published meanwhile is no part of it.
//! * [`import`] reads one. Each chunk is proven, then compared (`arrival`) with what the log has already, and what is new of
//!   it goes in by the same door as events from peers.

mod arrival;
pub mod error;
pub mod export;
pub mod import;
mod moment;

pub use error::{ExportError, ImportError, ImportFailure, ImportFork};
pub use export::{ExportOptions, ExportSummary};
pub use import::ImportSummary;

/// How far an export or an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Events that are dealt with: written, or durable.
    pub done: u64,
    /// Events of the bundle.
    pub total: u64,
}
