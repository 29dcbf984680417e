//! Whether this directory is the one that its data was written in.
//!
//! The data file's inode number and time of birth are kept inside it. A copy, and what is restored from an archive, has
//! others. A restore that overwrites the file in place, or that brings back a whole machine, is not noticed.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    StorageError, Store,
    lmdb::{Reads, Table},
};

/// Key of the row in the meta table.
pub(crate) const KEY: &[u8] = b"home";

impl Store {
    /// Whether the data was written in another directory. A new directory is marked as its own home.
    ///
    /// Called before there is a committer, which is the only writer from then on.
    pub(crate) fn is_copy(&self) -> Result<bool, StorageError> {
        let here = self.fingerprint().map_err(|source| StorageError::io("looking at", self.dir(), source))?;
        let txn = self.env.read()?;
        let home = txn.get(Table::Meta, KEY)?.map(<[u8]>::to_vec);
        drop(txn);
        match home {
            Some(home) => Ok(home != here),
            None => self.settle().map(|()| false),
        }
    }

    /// From now on this directory is the data's home.
    pub(crate) fn settle(&self) -> Result<(), StorageError> {
        let here = self.fingerprint().map_err(|source| StorageError::io("looking at", self.dir(), source))?;
        let mut txn = self.env.write()?;
        txn.put(Table::Meta, KEY, &here)?;
        self.commit(txn)
    }

    fn fingerprint(&self) -> std::io::Result<Vec<u8>> {
        self.data_file().metadata().map(|metadata| fingerprint(&metadata))
    }
}

/// Inode number and time of birth, where the file system knows it.
pub(crate) fn fingerprint(metadata: &Metadata) -> Vec<u8> {
    let born = metadata.created().unwrap_or(SystemTime::UNIX_EPOCH);
    let born = born.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut out = metadata.ino().to_le_bytes().to_vec();
    out.extend_from_slice(&born.as_secs().to_le_bytes());
    out.extend_from_slice(&born.subsec_nanos().to_le_bytes());
    out
}
