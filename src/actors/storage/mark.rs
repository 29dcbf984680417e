//! Positions in the meta table that the directory cannot do without, each with a checksum.

use super::{
    error::StorageError,
    lmdb::{Reads, Table, WriteTxn},
};

/// Key of the position up to which the log has left its table: its events are in segments.
pub(crate) const TRIMMED: &[u8] = b"trimmed";

/// The position under this key, 0 where there is none.
pub(crate) fn get(txn: &impl Reads, key: &[u8]) -> Result<u64, StorageError> {
    let Some(found) = txn.get(Table::Meta, key)? else { return Ok(0) };
    let position = found.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    position
        .filter(|position| found == row(key, *position))
        .ok_or_else(|| StorageError::DamagedRow { table: "meta", key: String::from_utf8_lossy(key).into_owned() })
}

/// Keeps a position.
pub(crate) fn put(txn: &mut WriteTxn<'_>, key: &[u8], position: u64) -> Result<(), StorageError> {
    txn.put(Table::Meta, key, &row(key, position))
}

/// The position and CRC32C of the key and it.
fn row(key: &[u8], position: u64) -> [u8; 12] {
    let mut row = [0; 12];
    let bytes = position.to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &bytes).to_le_bytes();
    for (slot, byte) in row.iter_mut().zip(bytes.iter().chain(&crc)) {
        *slot = *byte;
    }
    row
}
