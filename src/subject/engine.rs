//! The durable half of a node: its data directory, its committer, its keys. Opened when something first needs the disk,
//! closed when the last user of it is gone.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hashbrown::HashMap;

use super::{error::Error, shares::Shares, sync::network::Network};
use crate::{
    actors::{
        committer::{
            heads::KnownHead,
            submission::{Batch, Outcome, Submission},
            thread::{Committer, Trust, WallClock},
        },
        keyring::{
            Keyring,
            endpoint::{self, EndpointSecret},
        },
        runtime::Runtime,
        storage::{
            StorageError, Store,
            lmdb::{Reads, Table},
            open::{StoreOptions, SubjectLog},
            row::unchecked,
        },
    },
    wire::{
        id::{EndpointId, SubjectId, XaeroID},
        key::PublicKey,
    },
};

/// An open data directory with its threads.
pub(crate) struct Engine {
    pub(crate) keyring: Arc<Keyring>,
    // Before the store: the committer's thread ends, and with it its hold on the store.
    pub(crate) committer: Arc<Committer>,
    pub(crate) store: Arc<Store>,
    /// The subjects that are shared, and what the network has to know of them.
    pub(crate) shares: Shares,
    /// The network, once it is switched on.
    pub(crate) network: Network,
    /// Whether the logs have trees, which the heads are made of.
    pub(crate) keeps_trees: bool,
    // After these: the threads on which the others' actors lived.
    pub(crate) runtime: Arc<Runtime>,
}

/// The directories that this process has open or is closing.
type Directories = HashMap<PathBuf, (Weak<Engine>, Arc<Mutex<Closed>>)>;

/// Tells when the directory of an engine is free again. The engine's end takes a moment: its committer writes a
/// checkpoint, and a reader may hold the store for the rest of its read.
pub(crate) struct Closed(mpsc::Receiver<()>);

impl Closed {
    fn is_over(&self) -> bool {
        self.0.try_recv() == Err(mpsc::TryRecvError::Disconnected)
    }

    /// Waits until the directory is free, at most for [`CLOSING_PATIENCE`].
    pub(crate) fn wait(&self) {
        // Nothing is ever sent: the other end goes with the store.
        if self.0.recv_timeout(CLOSING_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the data directory is still being closed by this process");
        }
    }
}

/// How long an opening waits for the same directory to be closed by this process: longer than any last commit takes.
const CLOSING_PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    /// Opens the directory for one node.
    ///
    /// A directory is one node's, in a process as between processes: two would each number the batches of a subject, and
    /// take the other's numbers for their own.
    pub(crate) fn open(
        dir: &Path,
        options: StoreOptions,
        wall: WallClock,
        own_name: Option<&str>,
        signing: Option<Duration>,
    ) -> Result<Arc<Self>, Error> {
        static OPEN: Mutex<Option<Directories>> = Mutex::new(None);
        let lock = || OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let canonical = |dir: &Path| dir.canonicalize().or_else(|_| std::path::absolute(dir)).unwrap_or(dir.to_owned());
        let known = lock().get_or_insert_with(HashMap::new).get(&canonical(dir)).cloned();
        if let Some((engine, closed)) = known {
            if engine.strong_count() > 0 {
                let holder = "another node of this process".to_owned();
                return Err(StorageError::InUse { path: dir.to_owned(), holder }.into());
            }
            closed.lock().unwrap_or_else(PoisonError::into_inner).wait();
        }
        let runtime = Runtime::shared()?;
        let (held, closed) = mpsc::channel();
        let store = Store::open_with(dir, options, Some(held))?;
        let keyring = Keyring::open(dir.join("keys"))?;
        let keyring = Arc::new(match own_name {
            Some(name) => keyring.with_own_name(name)?,
            None => keyring,
        });
        if store.is_copy()? {
            keyring.succeed_all();
            keyring.forget_endpoint()?;
            store.settle()?;
        }
        for error in keyring.damaged() {
            tracing::error!(%error, "an identity cannot be used");
        }
        let shares = Shares::load(&store)?;
        let trust = signing.map_or(Trust::Off, |pause| Trust::Keys(Arc::clone(&keyring), pause));
        let committer = Arc::new(Committer::start(Arc::clone(&store), wall, trust)?);
        let engine = Arc::new(Self {
            keyring,
            committer,
            store,
            shares,
            network: Network::default(),
            keeps_trees: signing.is_some(),
            runtime,
        });
        let listener = Arc::downgrade(&engine);
        engine.on_share_change(Some(Arc::new(move |subject| {
            if let Some(engine) = listener.upgrade() {
                engine.network.share_changed(subject);
            }
        })));
        let mut open = lock();
        let open = open.get_or_insert_with(HashMap::new);
        open.retain(|_, (engine, closed)| engine.strong_count() > 0 || !closed.try_lock().is_ok_and(|it| it.is_over()));
        open.insert(canonical(dir), (Arc::downgrade(&engine), Arc::new(Mutex::new(Closed(closed)))));
        Ok(engine)
    }

    /// The log of a subject, its extent known.
    pub(crate) fn log(&self, id: SubjectId, name: &str) -> Result<Arc<SubjectLog>, StorageError> {
        let log = self.store.log(id, name);
        self.ask(&log, Batch::Open)?;
        Ok(log)
    }

    /// What is known of an author's log, once a signed head covers so many of its events, or none will.
    pub(crate) fn head(&self, log: &Arc<SubjectLog>, author: XaeroID, length: u64) -> Result<KnownHead, StorageError> {
        match self.ask(log, Batch::Head { author, length })? {
            Outcome::Head(known) => Ok(*known),
            _ => Err(StorageError::Closed),
        }
    }

    /// What is known of all authors' logs, as of one moment.
    pub(crate) fn heads(&self, log: &Arc<SubjectLog>) -> Result<Vec<KnownHead>, StorageError> {
        match self.ask(log, Batch::Heads)? {
            Outcome::Heads(known) => Ok(known),
            _ => Err(StorageError::Closed),
        }
    }

    /// The public key of a writer: of a local identity, of one that was retired here, or one that came with its events.
    pub(crate) fn writer_key(&self, writer: XaeroID) -> Result<Option<PublicKey>, StorageError> {
        if let Some(key) = self.keyring.key_of(writer) {
            return Ok(Some(key));
        }
        let txn = self.store.env.read()?;
        let Some(row) = txn.get(Table::Writers, writer.as_bytes())? else { return Ok(None) };
        let key = unchecked(row).and_then(|row| PublicKey::from_bytes(row).ok()).filter(|key| key.id() == writer);
        key.map(Some).ok_or_else(|| StorageError::DamagedRow { table: "writers", key: writer.to_string() })
    }

    /// The secret key of the node's endpoint, made on first use.
    pub(crate) fn endpoint_secret(&self) -> Result<EndpointSecret, Error> {
        Ok(self.keyring.endpoint_secret()?)
    }

    /// Who the node is on the network.
    pub(crate) fn endpoint_id(&self) -> Result<EndpointId, Error> {
        Ok(endpoint::id_of(&self.endpoint_secret()?))
    }

    /// Has the committer answer.
    pub(crate) fn ask(&self, log: &Arc<SubjectLog>, batch: Batch) -> Result<Outcome, StorageError> {
        if self.committer.is_own_thread() {
            return Err(StorageError::OwnThread);
        }
        let (tell, told) = mpsc::channel();
        self.committer.submit(Submission {
            log: Arc::clone(log),
            token: 0,
            batch,
            // Whoever gave up waiting does not want to know.
            reply: Box::new(move |answer| drop(tell.send(answer))),
        });
        told.recv().unwrap_or(Err(StorageError::Closed))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.network.stop();
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
