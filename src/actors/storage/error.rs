//! What can go wrong with a data directory, and what to do about it.

use std::{io, path::PathBuf, sync::Arc};

use thiserror::Error;

use crate::{
    actors::supervise::{MAX_BYTES, MAX_EVENTS},
    wire::{
        frame::FrameError,
        id::{SubjectId, XaeroID},
    },
};

/// A failure of the storage. Every message names the rule that was broken and the way out.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process, or another node of this process, has the directory.
    #[error(
        "the data directory {} is in use by {holder}: stop that, or choose another directory",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What is known of the holder.
        holder: String,
    },
    /// The directory cannot be written.
    #[error("the data directory {} cannot be written ({source}): change its permissions or choose another with --data-dir or XAEROFLUX_DATA_DIR", path.display())]
    NotWritable {
        /// The directory or a file in it.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The directory was written by a newer version.
    #[error("the data directory {} has format {found}, this program knows up to {known}: upgrade xaeroflux", path.display())]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// The format that it has.
        found: String,
        /// The newest format that this program knows.
        known: u32,
    },
    /// A file of the directory is shorter than it says itself.
    #[error("{} is cut short: it has {have} bytes and refers to {need}; nothing was changed: restore it from a backup", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that are there.
        have: u64,
        /// Bytes that it refers to.
        need: u64,
    },
    /// A file's own description of itself makes no sense.
    #[error("{} is damaged ({what}); nothing was changed: restore it from a backup", path.display())]
    DamagedFile {
        /// The file.
        path: PathBuf,
        /// Which part, and how.
        what: String,
    },
    /// An event in the log is damaged.
    #[error("the event at log position {position} is damaged: {source}")]
    DamagedEvent {
        /// Its position in the node's log.
        position: u64,
        /// What is wrong with it.
        source: FrameError,
    },
    /// A part of the log that is kept in a segment cannot be read.
    #[error(
        "the segment {} is damaged from byte {offset} on ({what}): it held the log positions {first} up to {end}, which are refused while all else can be read: restore the file from a backup of this data directory, or fetch these events from a peer",
        path.display()
    )]
    DamagedSegment {
        /// The file, which may be missing.
        path: PathBuf,
        /// Where the damage begins in it.
        offset: u64,
        /// The first log position that cannot be read.
        first: u64,
        /// The log position after the last that cannot be read.
        end: u64,
        /// How it shows.
        what: Arc<str>,
    },
    /// A row beside the log is damaged.
    #[error("the {table} table is damaged at {key}: restore the data directory from a backup")]
    DamagedRow {
        /// Which table.
        table: &'static str,
        /// Which row.
        key: String,
    },
    /// The tree over an author's log does not give the root that was signed.
    #[error(
        "the tree over the log of {author} in subject {subject} is damaged: no proof can be made from it; see `xaeroflux verify` for the place"
    )]
    DamagedTree {
        /// Whose log it is.
        author: XaeroID,
        /// The subject that the log belongs to.
        subject: SubjectId,
    },
    /// The map is full.
    #[error(
        "the storage map of {map_size} bytes is full, nothing of this batch was stored: restart with a larger --map-size"
    )]
    MapFull {
        /// The size of the map in bytes.
        map_size: u64,
    },
    /// The disk is full.
    #[error(
        "the disk or the quota under the data directory is full, nothing of this batch was stored: free some space and publish again"
    )]
    DiskFull,
    /// A write failed in a way that leaves open what is on disk.
    #[error(
        "the storage failed ({reason}) and takes no more events, since what the system would read back might not be on disk: look at the disk, then restart the process; all that was acknowledged is safe"
    )]
    Poisoned {
        /// What failed first.
        reason: String,
    },
    /// The operating system refused something.
    #[error("{action} {} failed: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// LMDB refused something that it should not have.
    #[error("the storage engine failed while {action}: {reason}")]
    Engine {
        /// What was tried.
        action: &'static str,
        /// What LMDB said.
        reason: String,
    },
    /// Too much of the subject is on its way to the disk already.
    #[error(
        "too many events are on their way to the disk already: wait for the receipts of some, then send this again"
    )]
    Busy,
    /// More was handed over at once than can be on its way to the disk.
    #[error(
        "{events} events with {bytes} bytes are too many for one call: hand over at most {MAX_EVENTS} events and {MAX_BYTES} bytes at once"
    )]
    TooMuchAtOnce {
        /// Events of the call.
        events: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The subject takes nothing any more.
    #[error("the subject gave up ({reason}): drop its handles, and run it again when that is mended")]
    GaveUp {
        /// Why.
        reason: String,
    },
    /// The caller is what a commit woke.
    #[error(
        "this was called from what a receipt woke, on the thread that commits, and would wait for itself: call it from another thread"
    )]
    OwnThread,
    /// The node was shut down.
    #[error("the node is shut down: start it again before using its subjects")]
    Closed,
}

impl StorageError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source: Arc::new(source) }
    }

    /// Whether the same batch may succeed later, in this process.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::MapFull { .. } | Self::DiskFull)
    }
}
