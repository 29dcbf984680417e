//! Opening a data directory: format, lock, files, environment, in this order.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
};

use hashbrown::HashMap;
use tokio::sync::watch;

use super::{
    block::Stored,
    claim::Claim,
    cuts::Cuts,
    error::StorageError,
    keys::{self, SubjectNumber},
    lmdb::{Env, Reads, Table, WriteTxn},
    lock::DirLock,
    preflight,
    reader::{Extent, LogReader},
};
use crate::{
    actors::segment::store::{SEGMENT_BYTES, Segments},
    crdt::rights::Members,
    wire::id::{SubjectId, XaeroID},
};

/// The open data directory of a node. Everybody reads through it; only the committer writes.
pub(crate) struct Store {
    dir: PathBuf,
    pub(crate) env: Env,
    /// What of the log is in segments, and what is due.
    pub(crate) segments: Arc<Segments>,
    /// An opening of the data file that LMDB does not know: see [`WriteTxn::commit`].
    data_file: File,
    logs: Mutex<HashMap<SubjectId, Weak<SubjectLog>>>,
    poison: OnceLock<String>,
    claim: Claim,
    _lock: DirLock,
    // Last: whoever waits at its other end learns that the lock is gone.
    _held: Option<mpsc::Sender<()>>,
}

/// How a data directory is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreOptions {
    /// Size of the map in bytes.
    pub(crate) map_size: usize,
    /// So many bytes of the log make a segment.
    pub(crate) segment_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { map_size: 64 << 20, segment_bytes: SEGMENT_BYTES }
    }
}

/// What readers know of one subject's log, and who shares it with the committer.
pub(crate) struct SubjectLog {
    pub(crate) id: SubjectId,
    pub(crate) name: String,
    published: Mutex<Published>,
    cuts: Mutex<Cuts>,
    /// Who may do what, in an owned subject.
    members: Mutex<Option<Arc<Members>>>,
    /// Logs of local writers that forked and go on under another key, as far as nobody was told.
    healed: Mutex<Vec<Healed>>,
    token: AtomicU64,
    /// Told after each commit that changes the log: the short way to those who pass it on to peers.
    commits: watch::Sender<()>,
    /// How many sessions with peers there are.
    watchers: AtomicUsize,
    /// Told when the log has grown by what nobody just handed over.
    grown: Mutex<Option<Arc<Grown>>>,
}

/// A local writer whose log forked, and who goes on under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Healed {
    pub(crate) old: XaeroID,
    pub(crate) new: XaeroID,
    /// The last event of the old one that counts.
    pub(crate) last_valid: u64,
    /// How many of those after it are published again, in all.
    pub(crate) events: u64,
}

/// Somebody waits for each event of a log.
pub(crate) struct Watching(Arc<SubjectLog>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Called on the committer's thread: it must only pass the news on.
pub(crate) type Grown = dyn Fn() + Send + Sync;

/// The part of a log that is durable.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Published {
    /// The subject's number in this directory, once it has an event.
    pub(crate) number: Option<SubjectNumber>,
    /// How far the log reaches.
    pub(crate) extent: Extent,
}

impl Store {
    /// As [`open_with`](Self::open_with), with a map of this size.
    #[cfg(test)]
    pub(crate) fn open(dir: &Path, map_size: usize, held: Option<mpsc::Sender<()>>) -> Result<Arc<Self>, StorageError> {
        Self::open_with(dir, StoreOptions { map_size, ..StoreOptions::default() }, held)
    }

    /// Opens `dir`, and makes it where it is absent. `held` is dropped when the directory is free again.
    pub(crate) fn open_with(
        dir: &Path,
        StoreOptions { map_size, segment_bytes }: StoreOptions,
        held: Option<mpsc::Sender<()>>,
    ) -> Result<Arc<Self>, StorageError> {
        create(dir)?;
        let lock = DirLock::take(dir)?;
        let claim = Claim::take(dir)?;
        preflight::format(dir)?;
        preflight::data_file(dir)?;
        let env = Env::open(dir, map_size)?;
        let data = dir.join("data.mdb");
        let data_file = File::open(&data).map_err(|source| StorageError::io("opening", data, source))?;
        // LMDB syncs its file, but not the directory that the file's name is in.
        sync_dir(dir)?;
        preflight::mark_begun(dir)?;
        let segments = Arc::new(Segments::new(dir, segment_bytes, u64::try_from(map_size).unwrap_or(u64::MAX)));
        segments.recover(&env)?;
        let store = Arc::new(Self {
            dir: dir.to_owned(),
            env,
            segments,
            data_file,
            logs: Mutex::default(),
            poison: OnceLock::new(),
            claim,
            _lock: lock,
            _held: held,
        });
        store.claim.belongs_to(&store);
        Ok(store)
    }

    pub(super) const fn data_file(&self) -> &File {
        &self.data_file
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The shared part of a subject's log; the committer fills it when it first hears of it.
    pub(crate) fn log(&self, id: SubjectId, name: &str) -> Arc<SubjectLog> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(&id).and_then(Weak::upgrade) {
            return log;
        }
        let log = Arc::new(SubjectLog {
            id,
            name: name.to_owned(),
            published: Mutex::default(),
            cuts: Mutex::default(),
            members: Mutex::default(),
            healed: Mutex::default(),
            token: AtomicU64::new(0),
            commits: watch::Sender::new(()),
            watchers: AtomicUsize::new(0),
            grown: Mutex::default(),
        });
        logs.insert(id, Arc::downgrade(&log));
        log
    }

    /// The shared part of a subject's log, if anybody holds it.
    pub(crate) fn known_log(&self, id: SubjectId) -> Option<Arc<SubjectLog>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(&id).and_then(Weak::upgrade)
    }

    /// The shared parts of all logs that somebody holds.
    pub(crate) fn known_logs(&self) -> Vec<Arc<SubjectLog>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(Weak::upgrade).collect()
    }

    /// Forgets the logs that nobody holds.
    pub(crate) fn forget_unused_logs(&self) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, log| log.strong_count() > 0);
    }

    /// Visits the durable events of a subject from ordinal `from`, at most `max`, until `visit` returns `false`.
    pub(crate) fn read(
        &self,
        log: &SubjectLog,
        from: u64,
        max: u64,
        visit: &mut dyn FnMut(Stored<'_>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        // The extent first: the transaction then sees at least that much.
        let published = log.published();
        let Some(number) = published.number.filter(|_| from < published.extent.count) else { return Ok(()) };
        let txn = self.env.read()?;
        let mut reader = LogReader::new(&txn);
        reader.subject((number, log.id), published.extent, from..from.saturating_add(max), &mut |stored| visit(stored))
    }

    /// The snapshot of a fold, and how many events it covers.
    pub(crate) fn snapshot(&self, log: &SubjectLog, fold: &[u8; 32]) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        let Some(number) = log.published().number else { return Ok(None) };
        let txn = self.env.read()?;
        let key = keys::snapshot(number, fold);
        let Some(row) = txn.get(Table::Snapshots, &key)? else { return Ok(None) };
        let parts = row.split_first_chunk().map(|(covered, rest)| (u64::from_le_bytes(*covered), rest.get(4..)));
        match parts {
            Some((covered, Some(state))) if row == snapshot_row(&key, covered, state) => {
                Ok(Some((covered, state.to_vec())))
            }
            _ => Err(StorageError::DamagedRow { table: "snapshots", key: data_encoding::HEXLOWER.encode(fold) }),
        }
    }

    /// Commits with a full sync: when this returns `Ok`, everything put is on disk.
    pub(crate) fn commit(&self, txn: WriteTxn<'_>) -> Result<(), StorageError> {
        txn.commit(&self.data_file)
    }

    /// LMDB does not write pages that a transaction took and gave back, so the file may end before the last page that
    /// the meta page counts. It is brought to that length, so that a file that is shorter is one that lost something.
    pub(crate) fn extend_data_file(&self) -> std::io::Result<()> {
        let used = self.env.used_bytes();
        if self.data_file.metadata()?.len() < used {
            File::options().write(true).open(self.dir.join("data.mdb"))?.set_len(used)?;
        }
        Ok(())
    }

    /// From now on nothing is written, and nobody is told otherwise.
    pub(crate) fn poison(&self, reason: &str) {
        if self.poison.set(reason.to_owned()).is_ok() {
            tracing::error!(reason, "the storage takes no more events");
        }
    }

    /// Why nothing is written any more, if so.
    pub(crate) fn poisoned(&self) -> Option<StorageError> {
        self.poison.get().map(|reason| StorageError::Poisoned { reason: reason.clone() })
    }
}

impl SubjectLog {
    /// Until what comes back is dropped, somebody waits for each event of this log, and for its signed head.
    pub(crate) fn watch(self: &Arc<Self>) -> Watching {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        Watching(Arc::clone(self))
    }

    /// Whether somebody does.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Acquire) > 0
    }

    /// What is durable of the log.
    pub(crate) fn published(&self) -> Published {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events in the log.
    pub(crate) fn count(&self) -> u64 {
        self.published().extent.count
    }

    /// The last ingress token whose batch is durable in this run of the process.
    pub(crate) fn token(&self) -> u64 {
        self.token.load(Ordering::Acquire)
    }

    /// For the committer: this much is durable now.
    pub(crate) fn publish(&self, number: Option<SubjectNumber>, extent: Extent) {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = Published { number, extent };
    }

    /// Where authors' logs end.
    pub(crate) fn cuts(&self) -> Cuts {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the logs of authors end who have signed two histories. What is past the end of a role is kept, and so
    /// exchanged with others, since it may count again.
    pub(crate) fn forks(&self) -> Cuts {
        self.cuts().with_rights([])
    }

    /// For the committer: from now on they end here. `false` where they did already.
    pub(crate) fn publish_cuts(&self, cuts: &Cuts) -> bool {
        let mut known = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != *cuts;
        if changed {
            known.clone_from(cuts);
        }
        changed
    }

    /// Who may do what; `None` in an open subject.
    pub(crate) fn members(&self) -> Option<Arc<Members>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the holder of this key is served: in an open subject everybody who knows its secret, in an owned one unless
    /// revoked.
    pub(crate) fn may_read(&self, id: XaeroID) -> bool {
        self.members().is_none_or(|members| members.may_read(id))
    }

    /// For the committer: that they may.
    pub(crate) fn publish_members(&self, members: Option<Arc<Members>>) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// For the committer: a local writer's log goes on under another key.
    pub(crate) fn publish_healed(&self, healed: Healed) {
        self.healed.lock().unwrap_or_else(PoisonError::into_inner).push(healed);
    }

    /// What is to be told of local writers' logs that go on under another key.
    pub(crate) fn take_healed(&self) -> Vec<Healed> {
        std::mem::take(&mut *self.healed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether somebody is still to be told.
    pub(crate) fn has_healed(&self) -> bool {
        !self.healed.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Sets who is told when events have entered that waited for their time.
    pub(crate) fn set_grown(&self, grown: Arc<Grown>) {
        *self.grown.lock().unwrap_or_else(PoisonError::into_inner) = Some(grown);
    }

    /// Tells of each commit from now on that changes the log.
    pub(crate) fn commits(&self) -> watch::Receiver<()> {
        self.commits.subscribe()
    }

    /// For the committer: a commit has changed the log.
    pub(crate) fn tell_commit(&self) {
        self.commits.send_modify(|()| {});
    }

    /// For the committer: events have entered that waited for their time.
    pub(crate) fn tell_grown(&self) {
        let grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(grown) = grown {
            grown();
        }
    }

    /// For the committer: the batches up to this token are dealt with.
    pub(crate) fn publish_token(&self, token: u64) {
        self.token.fetch_max(token, Ordering::AcqRel);
    }
}

/// The row of a fold's snapshot under this key: how many events it covers, CRC32C of the key, of that and of the state, the
/// state. The key is part of it, so that no damage makes it the state of another fold, or of another subject.
pub(crate) fn snapshot_row(key: &[u8], covered: u64, state: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(key), &covered.to_le_bytes()), state);
    [covered.to_le_bytes().as_slice(), &crc.to_le_bytes(), state].concat()
}

/// Makes the directory, durable in its parent.
pub(crate) fn create(dir: &Path) -> Result<(), StorageError> {
    if dir.is_dir() {
        return Ok(());
    }
    let refuse = |source: std::io::Error| StorageError::NotWritable { path: dir.to_owned(), source: source.into() };
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir).map_err(refuse)?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| StorageError::io("syncing", dir, source))
}
