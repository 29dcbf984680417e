//! What the handles on a node share.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use hashbrown::HashMap;

use super::default::{environment_dir, platform_dir};
use crate::{
    actors::{bus::BusLimits, committer::thread::WallClock, net::NetworkConfig, storage::open::StoreOptions},
    subject::{core::Core, engine::Engine, error::Error},
    wire::id::SubjectId,
};

/// What a node is made of, open or not.
pub(crate) struct NodeShared {
    /// Where it is, and how it is opened: the newest builder decides, when the directory is not open.
    options: Mutex<Options>,
    /// Whether it is the default node, whose directory the environment may name.
    is_default: bool,
    engine: Mutex<Weak<Engine>>,
    subjects: Mutex<HashMap<String, Weak<Core>>>,
    // Deleted when the node is gone.
    _temporary: Option<tempfile::TempDir>,
}

#[derive(Clone)]
pub(super) struct Options {
    /// `None`: the default node's directory, found out when it is needed.
    pub(super) dir: Option<PathBuf>,
    pub(super) store: StoreOptions,
    pub(super) wall: WallClock,
    /// The name of the node's own identity, where it is not the usual one.
    pub(super) own_name: Option<String>,
    pub(super) bus: BusLimits,
    /// How long from one job of the signing thread to the next; `None` where there are no trees, and nothing is signed.
    pub(super) signing: Option<Duration>,
    /// How it talks to peers, if it does.
    pub(super) network: Option<NetworkConfig>,
}

impl NodeShared {
    pub(super) fn new(options: Options, temporary: Option<tempfile::TempDir>) -> Self {
        let options = Mutex::new(options);
        Self { options, is_default: false, engine: Mutex::default(), subjects: Mutex::default(), _temporary: temporary }
    }

    /// The default node's.
    pub(super) fn default_of(options: Options) -> Self {
        Self { is_default: true, ..Self::new(options, None) }
    }

    pub(super) fn options(&self) -> Options {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The node's engine, opened if it is not.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>, Error> {
        self.engine_with(None)
    }

    /// As [`engine`](Self::engine); where it is not open, from now on with these options.
    pub(super) fn engine_with(&self, options: Option<Options>) -> Result<Arc<Engine>, Error> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engine.upgrade() {
            return Ok(engine);
        }
        if let Some(new) = options {
            let mut options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
            *options = Options { dir: options.dir.take(), ..new };
        }
        let Options { store, wall, own_name, signing, network, .. } = self.options();
        let opened = Engine::open(&self.dir()?, store, wall, own_name.as_deref(), signing)?;
        if let Some(config) = network {
            opened.start_network(config)?;
        }
        *engine = Arc::downgrade(&opened);
        Ok(opened)
    }

    /// The node's engine, if it is open and that can be seen without waiting for somebody who opens it.
    pub(crate) fn engine_at_hand(&self) -> Option<Arc<Engine>> {
        self.engine.try_lock().ok()?.upgrade()
    }

    /// The subject that the handles with this name are on, if there are any and they know.
    pub(super) fn live_subject(&self, name: &str) -> Option<SubjectId> {
        let subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        let core = subjects.get(name).and_then(Weak::upgrade);
        drop(subjects);
        core.and_then(|core| core.known_id())
    }

    /// The node's engine, if it is open.
    pub(crate) fn open_engine(&self) -> Option<Arc<Engine>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    pub(super) fn dir(&self) -> Result<PathBuf, Error> {
        match self.options().dir {
            Some(dir) if self.is_default => Ok(environment_dir().unwrap_or(dir)),
            Some(dir) => Ok(dir),
            None => platform_dir(),
        }
    }

    /// The wall clock's milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        let wall = Arc::clone(&self.options.lock().unwrap_or_else(PoisonError::into_inner).wall);
        wall()
    }

    /// What the bus of a subject takes.
    pub(crate) fn bus_limits(&self) -> BusLimits {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).bus
    }

    /// The subject with this name, made if it is not there.
    pub(crate) fn core(self: &Arc<Self>, name: String) -> Arc<Core> {
        // Before the lock, and dropped after it: it may be the last reference.
        let engine = self.engine_at_hand();
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(core) = subjects.get(&name).and_then(Weak::upgrade) {
            return core;
        }
        if subjects.len() >= subjects.capacity() {
            subjects.retain(|_, core| core.strong_count() > 0);
        }
        let core = Core::new(Arc::clone(self), name.clone());
        if let Some(Err(error)) = engine.as_deref().map(|engine| core.resolve(engine)) {
            // Whoever needs the log is told.
            tracing::error!(subject = core.name, %error, "which subject the name stands for cannot be told");
        }
        subjects.insert(name, Arc::downgrade(&core));
        core
    }
}
