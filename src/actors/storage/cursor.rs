//! The cursors of durable subscriptions: how much of a subject's log each has done with.
//!
//! A row of the cursors table stands under the subject's number and the hash of the subscription's name, and is written
//! whole: the place, and the state that the subscriber keeps with it, can never be of two different moments. All numbers
//! are little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 8 | events of the log that are done with |
//! | 9 | 2 | length of the name, n |
//! | 11 | n | the name |
//! | 11 + n | 1 | 1 where a state follows, else 0 |
//! | 12 + n | | the state |
//! | last 4 | 4 | CRC32C of the key, then of all before |

use std::sync::Arc;

use super::{
    error::StorageError,
    keys::{self, SubjectNumber},
    lmdb::{Reads, Table},
    open::{Store, SubjectLog},
};

const VERSION: u8 = 1;

const TABLE: &str = "cursors";

/// The place of one durable subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The subscription's name.
    pub(crate) name: String,
    /// Events of the subject's log that are done with: the ordinal of the next.
    pub(crate) covered: u64,
    /// What the subscriber keeps with it.
    pub(crate) state: Option<Arc<[u8]>>,
}

impl Cursor {
    /// The part of the key that stands for a name.
    pub(crate) fn name_key(name: &str) -> [u8; 32] {
        blake3::derive_key("xaeroflux 2026 durable subscription name v1", name.as_bytes())
    }

    /// The row, for the subject with this number.
    pub(crate) fn encode(&self, number: SubjectNumber) -> Vec<u8> {
        let state = self.state.as_deref();
        let mut row = Vec::with_capacity(16 + self.name.len() + state.map_or(0, <[u8]>::len));
        row.push(VERSION);
        row.extend_from_slice(&self.covered.to_le_bytes());
        // Names are checked to be far shorter before one gets here.
        row.extend_from_slice(&u16::try_from(self.name.len()).unwrap_or(u16::MAX).to_le_bytes());
        row.extend_from_slice(self.name.as_bytes());
        row.push(u8::from(state.is_some()));
        row.extend_from_slice(state.unwrap_or_default());
        let key = keys::cursor(number, &Self::name_key(&self.name));
        let crc = crc32c::crc32c_append(crc32c::crc32c(&key), &row);
        row.extend_from_slice(&crc.to_le_bytes());
        row
    }

    /// The cursor from its row; `None` where the row is damaged.
    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Option<Self> {
        let (body, crc) = row.split_last_chunk::<4>()?;
        if crc32c::crc32c_append(crc32c::crc32c(key), body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (&VERSION, body) = body.split_first()? else { return None };
        let (covered, body) = body.split_first_chunk()?;
        let (length, body) = body.split_first_chunk()?;
        let (name, body) = body.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let (has_state, state) = body.split_first()?;
        Some(Self {
            name: String::from_utf8(name.to_vec()).ok()?,
            covered: u64::from_le_bytes(*covered),
            state: (*has_state == 1).then(|| Arc::from(state)),
        })
    }
}

impl Store {
    /// The cursor of this name, if there is one.
    ///
    /// # Errors
    /// [`StorageError::DamagedRow`] where its row is damaged.
    pub(crate) fn cursor(&self, log: &SubjectLog, name: &str) -> Result<Option<Cursor>, StorageError> {
        let Some(number) = log.published().number else { return Ok(None) };
        let txn = self.env.read()?;
        let key = keys::cursor(number, &Cursor::name_key(name));
        let Some(row) = txn.get(Table::Cursors, &key)? else { return Ok(None) };
        let cursor = Cursor::decode(&key, row).filter(|cursor| cursor.name == name);
        cursor.map(Some).ok_or_else(|| damaged(&key))
    }

    /// The names of all cursors of a subject, sorted.
    ///
    /// # Errors
    /// [`StorageError::DamagedRow`] where one of their rows is damaged.
    pub(crate) fn cursor_names(&self, log: &SubjectLog) -> Result<Vec<String>, StorageError> {
        let Some(number) = log.published().number else { return Ok(Vec::new()) };
        let txn = self.env.read()?;
        let mut names = Vec::new();
        txn.scan(Table::Cursors, &number.key(), &mut |key, row| {
            if !key.starts_with(&number.key()) {
                return Ok(false);
            }
            names.push(Cursor::decode(key, row).ok_or_else(|| damaged(key))?.name);
            Ok(true)
        })?;
        names.sort();
        Ok(names)
    }
}

fn damaged(key: &[u8]) -> StorageError {
    StorageError::DamagedRow { table: TABLE, key: data_encoding::HEXLOWER.encode(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_row_and_a_damaged_or_misplaced_row_does_not_pass() {
        let number = SubjectNumber(3);
        for state in [None, Some(Arc::from([])), Some(Arc::from(*b"state"))] {
            let cursor = Cursor { name: "indexer".to_owned(), covered: 70_000, state };
            let key = keys::cursor(number, &Cursor::name_key("indexer"));
            let row = cursor.encode(number);
            assert_eq!(Cursor::decode(&key, &row), Some(cursor));
            assert_eq!(Cursor::decode(&keys::cursor(SubjectNumber(4), &Cursor::name_key("indexer")), &row), None);
            for bit in 0..row.len() * 8 {
                let mut bad = row.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Cursor::decode(&key, &bad), None, "bit {bit}");
            }
            for length in 0..row.len() {
                assert_eq!(Cursor::decode(&key, &row[..length]), None);
            }
        }
    }
}
