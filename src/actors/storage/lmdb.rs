//! The only module that touches LMDB.
//!
//! lmdb-rkv is sound by discipline only: its iterators outlive cursors and its cursors outlive transactions. The
//! discipline is here. Cursors live inside one function each, every slice that is handed out borrows the transaction,
//! and the map is never resized. Full sync is never switched off.

use std::{
    fs::File,
    os::{fd::AsRawFd, raw::c_int},
    path::Path,
    sync::Arc,
};

use lmdb::{
    Cursor, Database, DatabaseFlags, Environment, EnvironmentFlags, Error as LmdbError, RoTransaction, RwTransaction,
    Transaction, WriteFlags,
};
use lmdb_sys as ffi;

use super::error::StorageError;
use crate::actors::segment::list::{Parts, SegmentList};

/// Read transactions open at once, over all threads and processes: one for each worker, with room to spare.
const MAX_READERS: u32 = 1024;

/// The tables of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Facts about the whole directory.
    Meta,
    /// Position of the first event → block.
    Log,
    /// Subject number → identifier, name.
    Subjects,
    /// Subject identifier → subject number.
    SubjectNumbers,
    /// Subject number → head, as of the checkpoint.
    Heads,
    /// Subject number, ordinal / 64 → position.
    SubjectIndex,
    /// Subject number, author's slot, sequence number / 64 → position.
    AuthorIndex,
    /// Subject number, author, sequence number → frame that waits for its causes or its time.
    Pending,
    /// Subject number, name of the fold → state.
    Snapshots,
    /// Subject number, author's slot, sequence number / 64 → roots of the perfect subtrees that this leaf completes.
    Nodes,
    /// Number of a batch → the heads that one signature covers.
    SignedHeads,
    /// Subject number, author → the signed head of an author whose key is elsewhere.
    PeerHeads,
    /// Author → public key, where it is not in the key directory.
    Writers,
    /// Subject number, author → where the author's log ends for all who know of its fork.
    Cuts,
    /// Subject number, hash of the subscription's name → how far it has been acknowledged.
    Cursors,
    /// Subject number, ordinal in the subject's log → the control event there: see `control`.
    Control,
    /// Subject identifier → the local name, the secrets and the peers of a subject that is shared.
    Shares,
    /// Subject number, author → what of the author's log past its cut was published again, and where it is now.
    Republished,
    /// Subject number, author's slot → a signed head over more of the author's log than is here, and what leads there.
    AheadHeads,
}

/// The tables with their names, in the order of the enum.
pub(crate) const TABLES: [(Table, &str); 19] = [
    (Table::Meta, "meta"),
    (Table::Log, "log"),
    (Table::Subjects, "subjects"),
    (Table::SubjectNumbers, "subject_numbers"),
    (Table::Heads, "heads"),
    (Table::SubjectIndex, "subject_index"),
    (Table::AuthorIndex, "author_index"),
    (Table::Pending, "pending"),
    (Table::Snapshots, "snapshots"),
    (Table::Nodes, "nodes"),
    (Table::SignedHeads, "signed_heads"),
    (Table::PeerHeads, "peer_heads"),
    (Table::Writers, "writers"),
    (Table::Cuts, "cuts"),
    (Table::Cursors, "cursors"),
    (Table::Control, "control"),
    (Table::Shares, "shares"),
    (Table::Republished, "republished"),
    (Table::AheadHeads, "ahead_heads"),
];

/// An open environment.
pub(crate) struct Env {
    env: Environment,
    tables: [Database; TABLES.len()],
    map_size: usize,
    segments: SegmentList,
}

impl Env {
    /// Opens or creates the environment in an existing directory.
    pub(crate) fn open(dir: &Path, map_size: usize) -> Result<Self, StorageError> {
        let env = Environment::new()
            .set_flags(EnvironmentFlags::NO_TLS)
            .set_max_dbs(u32::try_from(TABLES.len()).unwrap_or(u32::MAX))
            .set_max_readers(MAX_READERS)
            .set_map_size(map_size)
            .open_with_permissions(dir, 0o600)
            .map_err(|error| match error {
                LmdbError::Invalid | LmdbError::VersionMismatch => StorageError::DamagedFile {
                    path: dir.join("data.mdb"),
                    what: "a meta page is not one of LMDB's".to_owned(),
                },
                LmdbError::Other(libc::EACCES | libc::EROFS | libc::EPERM) => StorageError::NotWritable {
                    path: dir.to_owned(),
                    source: Arc::new(std::io::Error::from_raw_os_error(match error {
                        LmdbError::Other(code) => code,
                        _ => libc::EACCES,
                    })),
                },
                other => translate("opening the environment", map_size, other),
            })?;
        let mut opened = Vec::with_capacity(TABLES.len());
        for (_, name) in TABLES {
            let table = match env.open_db(Some(name)) {
                Ok(table) => table,
                Err(LmdbError::NotFound) => env
                    .create_db(Some(name), DatabaseFlags::empty())
                    .map_err(|e| translate("creating a table", map_size, e))?,
                Err(error) => return Err(translate("opening a table", map_size, error)),
            };
            opened.push(table);
        }
        let tables = opened.try_into().map_err(|_| StorageError::Engine {
            action: "opening the tables",
            reason: "their number does not match".to_owned(),
        })?;
        let env = Self { env, tables, map_size, segments: SegmentList::default() };
        env.release_dead_readers();
        Ok(env)
    }

    /// Releases the read transactions of processes that have ended without doing so: each keeps pages from being reused.
    pub(crate) fn release_dead_readers(&self) {
        let mut dead: c_int = 0;
        // SAFETY: the environment is open, and the pointer is to a local.
        unsafe { ffi::mdb_reader_check(self.env.env(), &raw mut dead) };
        if dead > 0 {
            tracing::info!(dead, "released the read transactions of processes that have ended");
        }
    }

    /// A consistent view of what is durable now.
    pub(crate) fn read(&self) -> Result<ReadTxn<'_>, StorageError> {
        let txn = self.env.begin_ro_txn().map_err(|e| translate("beginning to read", self.map_size, e))?;
        // After the transaction has begun: what it does not find in the table any more is in these.
        Ok(ReadTxn { env: self, txn, parts: self.segments.snapshot() })
    }

    /// Pins the newest commit, for somebody who reads the pages in another way.
    pub(super) fn pin(&self) -> Result<PinTxn<'_>, StorageError> {
        PinTxn::begin(&self.env)
    }

    /// The write transaction. Only the committer calls this: a second one on the same thread would wait for ever.
    pub(crate) fn write(&self) -> Result<WriteTxn<'_>, StorageError> {
        let txn = self.env.begin_rw_txn().map_err(|e| translate("beginning to write", self.map_size, e))?;
        Ok(WriteTxn { env: self, txn, parts: self.segments.snapshot() })
    }

    /// The segments that hold what has left the log table.
    pub(crate) const fn segments(&self) -> &SegmentList {
        &self.segments
    }

    /// Bytes that the newest commit's pages span: what the data file must at least have.
    pub(crate) fn used_bytes(&self) -> u64 {
        let pages = self.env.info().map_or(0, |info| info.last_pgno().saturating_add(1));
        let page = self.env.stat().map_or(4096, |stat| stat.page_size());
        u64::try_from(pages).unwrap_or(u64::MAX).saturating_mul(u64::from(page))
    }

    /// Pages that the newest commit spans, and those of them that are meta pages, in use, or free.
    #[cfg(test)]
    pub(crate) fn census(&self) -> (usize, usize) {
        let txn = self.env.begin_ro_txn().unwrap();
        let mut known = 2 + self.env.freelist().unwrap();
        // LMDB numbers the list of free pages and the main table before the named ones.
        for number in 0..2 + u32::try_from(TABLES.len()).unwrap() {
            // SAFETY: a value of only numbers, which the call fills; the transaction is open, and so are the tables.
            let stat = unsafe {
                let mut stat: ffi::MDB_stat = std::mem::zeroed();
                assert_eq!(ffi::mdb_stat(txn.txn(), number, &raw mut stat), 0);
                stat
            };
            known += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
        }
        (self.env.info().unwrap().last_pgno() + 1, known)
    }

    fn db(&self, table: Table) -> Database {
        // The tables are in the order of the enum.
        #[expect(clippy::indexing_slicing, reason = "every variant has a table, and no number comes from outside")]
        self.tables[table as usize]
    }
}

/// An environment that is opened for nothing but a place among its readers: the pages are read by
/// [`pages`](super::pages).
pub(super) struct PinEnv(Environment);

impl PinEnv {
    /// Opens the environment, which must be there, for reading. Changes nothing but the table of readers.
    pub(super) fn open(dir: &Path) -> Result<Self, StorageError> {
        let flags = EnvironmentFlags::NO_TLS | EnvironmentFlags::READ_ONLY;
        let env = Environment::new().set_flags(flags).set_max_readers(MAX_READERS).open_with_permissions(dir, 0o600);
        env.map(Self).map_err(|error| translate("opening the environment", 0, error))
    }

    /// Pins the newest commit.
    pub(super) fn pin(&self) -> Result<PinTxn<'_>, StorageError> {
        PinTxn::begin(&self.0)
    }
}

/// A place among the readers: the pages of one commit are not reused until it is dropped.
pub(super) struct PinTxn<'e>(RoTransaction<'e>);

impl<'e> PinTxn<'e> {
    fn begin(env: &'e Environment) -> Result<Self, StorageError> {
        env.begin_ro_txn().map(Self).map_err(|e| translate("beginning to read", 0, e))
    }

    /// The number of the commit.
    pub(super) fn number(&self) -> u64 {
        // SAFETY: the transaction is open.
        let number = unsafe { ffi::mdb_txn_id(self.0.txn()) };
        u64::try_from(number).unwrap_or(u64::MAX)
    }
}

/// What both kinds of transaction can read.
pub(crate) trait Reads {
    /// The value under `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError>;

    /// The row with the largest key that is not above `key`.
    fn at_or_before(&self, table: Table, key: &[u8]) -> Result<Option<Row<'_>>, StorageError>;

    /// The segments: what is not in the log table of this transaction is in one of them.
    fn parts(&self) -> &Parts;

    /// The row with the largest key.
    fn last(&self, table: Table) -> Result<Option<Row<'_>>, StorageError>;

    /// Visits the rows from `from` on, in order of their keys, until `visit` returns `false`.
    fn scan<'t>(
        &'t self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&'t [u8], &'t [u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError>;
}

/// Key and value.
pub(crate) type Row<'t> = (&'t [u8], &'t [u8]);

/// A read transaction. Holds its view of the data until dropped, so that pages cannot be reused: keep it short.
pub(crate) struct ReadTxn<'e> {
    env: &'e Env,
    txn: RoTransaction<'e>,
    parts: Arc<Parts>,
}

/// The write transaction. Dropped without a commit it leaves nothing behind.
pub(crate) struct WriteTxn<'e> {
    env: &'e Env,
    txn: RwTransaction<'e>,
    parts: Arc<Parts>,
}

impl WriteTxn<'_> {
    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.txn
            .put(self.env.db(table), &key, &value, WriteFlags::empty())
            .map_err(|e| translate("writing", self.env.map_size, e))
    }

    /// Puts a value that consists of several parts, which saves a copy of large ones.
    pub(crate) fn put_parts(&mut self, table: Table, key: &[u8], parts: &[&[u8]]) -> Result<(), StorageError> {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut room = self
            .txn
            .reserve(self.env.db(table), &key, length, WriteFlags::empty())
            .map_err(|e| translate("writing", self.env.map_size, e))?;
        for part in parts {
            let (slot, rest) = room.split_at_mut(part.len());
            slot.copy_from_slice(part);
            room = rest;
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StorageError> {
        match self.txn.del(self.env.db(table), &key, None) {
            Ok(()) | Err(LmdbError::NotFound) => Ok(()),
            Err(error) => Err(translate("deleting", self.env.map_size, error)),
        }
    }

    /// Commits with a full sync: when this returns `Ok`, everything put is on disk.
    ///
    /// A disk that fills up in the middle of a write makes LMDB report EIO, as a failed sync does. `witness`, another
    /// opening of the data file, tells the two apart: see [`was_cut_short`].
    pub(crate) fn commit(self, witness: &File) -> Result<(), StorageError> {
        let (env, map_size) = (self.env, self.env.map_size);
        self.txn.commit().map_err(|error| match translate("committing", map_size, error) {
            StorageError::Engine { .. } if error == LmdbError::Other(libc::EIO) && was_cut_short(env, witness) => {
                StorageError::DiskFull
            }
            refusal @ (StorageError::MapFull { .. } | StorageError::DiskFull | StorageError::Poisoned { .. }) => {
                refusal
            }
            // A failed sync may have thrown the dirty pages away: reading them back would show what is not on disk.
            other => StorageError::Poisoned { reason: other.to_string() },
        })
    }
}

macro_rules! reads {
    ($name:ident) => {
        impl Reads for $name<'_> {
            fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError> {
                match self.txn.get(self.env.db(table), &key) {
                    Ok(value) => Ok(Some(value)),
                    Err(LmdbError::NotFound) => Ok(None),
                    Err(error) => Err(translate("reading", self.env.map_size, error)),
                }
            }

            fn at_or_before(&self, table: Table, key: &[u8]) -> Result<Option<Row<'_>>, StorageError> {
                at_or_before(&self.txn, self.env.db(table), key).map_err(|e| translate("seeking", self.env.map_size, e))
            }

            fn parts(&self) -> &Parts {
                &self.parts
            }

            fn last(&self, table: Table) -> Result<Option<Row<'_>>, StorageError> {
                let step = || {
                    let cursor = self.txn.open_ro_cursor(self.env.db(table))?;
                    row(cursor.get(None, None, ffi::MDB_LAST))
                };
                step().map_err(|e| translate("seeking", self.env.map_size, e))
            }

            fn scan<'t>(
                &'t self,
                table: Table,
                from: &[u8],
                visit: &mut dyn FnMut(&'t [u8], &'t [u8]) -> Result<bool, StorageError>,
            ) -> Result<(), StorageError> {
                let wrong = |e| translate("scanning", self.env.map_size, e);
                let cursor = self.txn.open_ro_cursor(self.env.db(table)).map_err(wrong)?;
                let first = if from.is_empty() {
                    cursor.get(None, None, ffi::MDB_FIRST)
                } else {
                    cursor.get(Some(from), None, ffi::MDB_SET_RANGE)
                };
                let mut current = row(first).map_err(wrong)?;
                while let Some((key, value)) = current {
                    if !visit(key, value)? {
                        break;
                    }
                    current = row(cursor.get(None, None, ffi::MDB_NEXT)).map_err(wrong)?;
                }
                Ok(())
            }
        }
    };
}

reads!(ReadTxn);
reads!(WriteTxn);

fn at_or_before<'t, T: Transaction>(txn: &'t T, db: Database, key: &[u8]) -> Result<Option<Row<'t>>, LmdbError> {
    let cursor = txn.open_ro_cursor(db)?;
    match row(cursor.get(Some(key), None, ffi::MDB_SET_RANGE))? {
        Some((found, value)) if found == key => Ok(Some((found, value))),
        Some(_) => row(cursor.get(None, None, ffi::MDB_PREV)),
        None => row(cursor.get(None, None, ffi::MDB_LAST)),
    }
}

/// What a cursor returned, with "not there" as `None`.
fn row<'t>(got: Result<(Option<&'t [u8]>, &'t [u8]), LmdbError>) -> Result<Option<Row<'t>>, LmdbError> {
    match got {
        Ok((Some(key), value)) => Ok(Some((key, value))),
        Ok((None, _)) | Err(LmdbError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an EIO of a commit was a write that the full disk cut short, and not a failed sync.
///
/// The operating system tells a writeback that failed once to every opening of a file, so the witness would hear of it
/// from its own sync. Where that succeeds, everything that was written is on disk. The pages of the failed commit belong
/// to nobody as long as the meta page was not touched, which LMDB's going on to serve readers shows. That the disk is
/// full is asked as well: any other EIO, however harmless it may look, is not explained by this.
fn was_cut_short(env: &Env, witness: &File) -> bool {
    /// Bytes that a file system may keep back when it is full, for lack of a whole block or extent.
    const REST: u64 = 64 << 10;
    let mut room = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the descriptor is open, and the structure is valid when all its bytes are zero.
    let room = unsafe {
        if libc::fstatvfs(witness.as_raw_fd(), room.as_mut_ptr()) != 0 {
            return false;
        }
        room.assume_init()
    };
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "their width differs between systems")]
    let free = u64::from(room.f_bavail).saturating_mul(u64::from(room.f_frsize));
    free < REST && witness.sync_all().is_ok() && env.env.begin_ro_txn().is_ok()
}

fn translate(action: &'static str, map_size: usize, error: LmdbError) -> StorageError {
    match error {
        LmdbError::MapFull => StorageError::MapFull { map_size: u64::try_from(map_size).unwrap_or(u64::MAX) },
        // A full disk shows when the pages are written, before the sync and before the meta page that would make
        // them count: the batch is gone as if it had never been, and the environment goes on.
        LmdbError::Other(libc::ENOSPC | libc::EDQUOT) => StorageError::DiskFull,
        LmdbError::Panic => StorageError::Poisoned { reason: "the meta page could not be written".to_owned() },
        other => StorageError::Engine { action, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_at_or_before_a_key_is_found_between_and_beyond_the_rows() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::open(dir.path(), 1 << 20).unwrap();
        let mut txn = env.write().unwrap();
        assert_eq!(txn.at_or_before(Table::Log, &[5]).unwrap(), None);
        txn.put(Table::Log, &[2], b"two").unwrap();
        txn.put(Table::Log, &[4], b"four").unwrap();
        txn.commit(&File::open(dir.path().join("data.mdb")).unwrap()).unwrap();
        let txn = env.read().unwrap();
        assert_eq!(txn.at_or_before(Table::Log, &[1]).unwrap(), None);
        assert_eq!(txn.at_or_before(Table::Log, &[2]).unwrap().unwrap().1, b"two");
        assert_eq!(txn.at_or_before(Table::Log, &[3]).unwrap().unwrap().1, b"two");
        assert_eq!(txn.at_or_before(Table::Log, &[9]).unwrap().unwrap().1, b"four");
    }
}
