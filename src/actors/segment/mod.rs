//! Segments: where the log goes when it gets old.
//!
//! The log begins its life in a table of LMDB, where a commit is atomic. LMDB's file never shrinks and is written in small
//! pages, so what is old leaves it for *segments*: files of a range of log positions each, for all subjects, that are
//! written once, sealed and mapped read-only. They are read at the speed of memory, and backed up by copying.
//!
//! * `layout` is the bytes, `sealed` a segment that is mapped, `list` the segments in use.
//! * `pager` moves a range: `pack` fills blocks, `writer` makes the file. `store` knows how much is due and whose turn it
//!   is; `actor` is the subject's child that does it.
//! * `recover` is what a start makes of what it finds.
//!
//! # Invariants
//!
//! An event is in the log table, or in a segment of the list, or in both, at every moment and after every crash: a segment
//! counts once it was synced, renamed and read back, and only then the committer takes its events out of the table.
//! A segment is never written to again. What is damaged is refused by name, and nothing is passed over in silence.

pub(crate) mod actor;
pub(crate) mod layout;
pub(crate) mod list;
mod pack;
pub(crate) mod pager;
mod recover;
pub(crate) mod sealed;
pub(crate) mod store;
mod writer;

use std::ops::Range;

pub use layout::SegmentError;

use crate::actors::storage::block::BlockView;

/// Checks the bytes of a whole segment: its footer, the checksum of every block, every event. Returns the log positions
/// that it holds.
///
/// # Errors
/// Says what is wrong first.
pub fn check(bytes: &[u8]) -> Result<Range<u64>, SegmentError> {
    let have = layout::as_u64(bytes.len());
    let length = layout::Footer::length(bytes, have)?;
    let footer = bytes.get(bytes.len().saturating_sub(length)..).unwrap_or_default();
    let footer = layout::Footer::decode(footer, have)?;
    for row in &footer.rows {
        let damaged = |what: String| SegmentError::Block { offset: row.offset, what };
        let start = usize::try_from(row.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(row.length).unwrap_or(usize::MAX));
        let block = bytes.get(start..end).unwrap_or_default();
        let found = crc32c::crc32c(block);
        if found != row.crc {
            return Err(damaged(format!("its checksum is {found:08x}, not {:08x}", row.crc)));
        }
        let view = BlockView::open(row.first, block).map_err(|error| damaged(error.to_string()))?;
        let contents = pack::Contents::of(&view).map_err(|error| damaged(error.to_string()))?;
        if !contents.is_as(row) {
            return Err(damaged("its events are not what the footer says of them".to_owned()));
        }
    }
    Ok(footer.first..footer.end)
}

#[cfg(test)]
mod tests;
