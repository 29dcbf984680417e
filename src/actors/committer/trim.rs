//! Taking out of the log table what is in segments.
//!
//! A transaction of its own, so that it spoils no commit of events, and a small one, so that none waits for long. It is
//! asked for by nobody in particular: what is below the end of the segments may go, so that it is taken up again after
//! every failure and every start.

use std::{sync::Arc, time::Duration};

use super::writer::LogWriter;
use crate::actors::{
    fault::fault_point,
    storage::{
        StorageError,
        block::BlockView,
        keys,
        lmdb::{Reads, Table},
        mark,
    },
};

/// Blocks that one transaction takes out, at most: with a single event each they cost a few milliseconds.
const TRIM_BLOCKS: usize = 4_096;

/// Bytes of blocks that one transaction takes out, at most: LMDB notes each of their pages in its list of free ones.
const TRIM_BYTES: usize = 16 << 20;

/// How long after a failure it is tried again. Nothing is wrong meanwhile but the room on the disk.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Takes out some blocks that lie wholly in segments. `true`: there are more.
pub(super) fn step(writer: &mut LogWriter) -> Result<bool, StorageError> {
    let store = Arc::clone(&writer.store);
    let sealed = store.env.segments().end();
    let txn = store.env.read()?;
    let mut trimmed = mark::get(&txn, mark::TRIMMED)?;
    if trimmed >= sealed {
        return Ok(false);
    }
    let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
    txn.scan(Table::Log, &[], &mut |key, value| {
        let position = keys::position_of(key).unwrap_or(u64::MAX);
        if position >= sealed {
            return Ok(false);
        }
        if rows.len() >= TRIM_BLOCKS || bytes >= TRIM_BYTES {
            more = true;
            return Ok(false);
        }
        let view =
            BlockView::open(position, value).map_err(|source| StorageError::DamagedEvent { position, source })?;
        if view.end() > sealed {
            return Ok(false);
        }
        rows.push(<[u8; 8]>::try_from(key).unwrap_or_default());
        bytes += value.len();
        trimmed = view.end();
        Ok(true)
    })?;
    drop(txn);
    if rows.is_empty() {
        return Ok(false);
    }
    fault_point!(writer.scope, "segment.before_trim");
    let mut txn = store.env.write()?;
    for row in &rows {
        txn.delete(Table::Log, row)?;
    }
    mark::put(&mut txn, mark::TRIMMED, trimmed)?;
    if writer.checkpoint < trimmed {
        // A start replays the log from the checkpoint. That a segment is damaged must not keep it from doing so.
        writer.write_checkpoint(&mut txn)?;
    }
    store.commit(txn)?;
    fault_point!(writer.scope, "segment.after_trim");
    if let Err(error) = store.extend_data_file() {
        tracing::warn!(%error, "the data file could not be brought to its full length");
    }
    Ok(more)
}
