//! The durable half of a node: its data directory, its committer, its keys. Opened when something first needs the disk,
//! closed when the last user of it is gone.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    time::{SystemTime, UNIX_EPOCH},
};

use hashbrown::HashMap;

use super::error::Error;
use crate::{
    actors::{
        committer::{
            thread::{Committer, WallClock},
            writer::{Batch, Submission},
        },
        keyring::Keyring,
        runtime::Runtime,
        storage::{StorageError, Store, open::SubjectLog},
    },
    wire::id::SubjectId,
};

/// An open data directory with its threads.
pub(crate) struct Engine {
    pub(crate) keyring: Arc<Keyring>,
    // Before the store: the committer's thread ends, and with it its hold on the store.
    pub(crate) committer: Arc<Committer>,
    pub(crate) store: Arc<Store>,
    // Last: the threads on which the others' actors lived.
    pub(crate) runtime: Arc<Runtime>,
}

impl Engine {
    /// The engine of this directory: the one that is open in this process, or a new one.
    pub(crate) fn open(dir: &Path, map_size: usize, wall: WallClock) -> Result<Arc<Self>, Error> {
        // LMDB must not open one directory twice in a process.
        static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Engine>>>> = Mutex::new(None);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_with(HashMap::new);
        open.retain(|_, engine| engine.strong_count() > 0);
        let key = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let key = key.canonicalize().unwrap_or(key);
        if let Some(engine) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(engine);
        }
        let runtime = Runtime::shared()?;
        let store = Store::open(dir, map_size)?;
        let keyring = Arc::new(Keyring::open(dir.join("keys"))?);
        if store.is_copy()? {
            keyring.succeed_all();
            store.settle()?;
        }
        let committer = Arc::new(Committer::start(Arc::clone(&store), wall)?);
        let engine = Arc::new(Self { keyring, committer, store, runtime });
        let key = dir.canonicalize().unwrap_or(key);
        open.insert(key, Arc::downgrade(&engine));
        Ok(engine)
    }

    /// The log of a subject, its extent known.
    pub(crate) fn log(&self, id: SubjectId, name: &str) -> Result<Arc<SubjectLog>, StorageError> {
        let log = self.store.log(id, name);
        let (tell, told) = mpsc::channel();
        self.committer.submit(Submission {
            log: Arc::clone(&log),
            token: 0,
            batch: Batch::Open,
            reply: Box::new(move |answer| drop(tell.send(answer.map(drop)))),
        });
        told.recv().unwrap_or(Err(StorageError::Closed))?;
        Ok(log)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.committer.stop();
    }
}

/// The machine's wall clock.
pub(crate) fn system_clock() -> WallClock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
