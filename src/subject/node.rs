//! Nodes: one data directory, its identities, its subjects.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use hashbrown::HashMap;

use super::{
    core::Core,
    engine::{Engine, system_clock},
    error::Error,
    handle::Subject,
};
use crate::{
    actors::{bus::BusLimits, committer::thread::WallClock, keyring::Succession},
    wire::{id::XaeroID, key::PublicKey},
};

/// The environment variable that names the data directory of the default node.
pub const DATA_DIR_VARIABLE: &str = "XAEROFLUX_DATA_DIR";

/// Size of the storage map unless told otherwise: 64 GiB of address space, of which only what is written takes disk.
pub const DEFAULT_MAP_SIZE: u64 = 64 << 30;

/// One data directory with its identities and subjects.
///
/// A process usually has one, and needs none by name: [`Subject::new`] uses the *default node*. Clones are handles on the
/// same node, which closes its directory when the last handle, subject handle and run handle are gone.
///
/// ```
/// use xaeroflux::{Node, XaeroEvent, event::CRDT_SET_ADD};
/// let node = Node::ephemeral()?;
/// let tags = node.subject("workspace/docs/object/tags");
/// let handle = tags.run()?;
/// let receipt = tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD)).wait()?;
/// assert_eq!(receipt.seq, 1);
/// # drop(handle);
/// # Ok::<(), xaeroflux::Error>(())
/// ```
#[derive(Clone)]
pub struct Node {
    shared: Arc<NodeShared>,
    // Keeps the directory open.
    _engine: Arc<Engine>,
}

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
struct Options {
    /// `None`: the default node's directory, found out when it is needed.
    dir: Option<PathBuf>,
    map_size: usize,
    wall: WallClock,
    /// The name of the node's own identity, where it is not the usual one.
    own_name: Option<String>,
    bus: BusLimits,
}

impl Node {
    /// A node in a directory of one's own choice.
    pub fn builder() -> NodeBuilder {
        NodeBuilder {
            dir: None,
            map_size: DEFAULT_MAP_SIZE,
            wall: system_clock(),
            own_name: None,
            bus: BusLimits::default(),
        }
    }

    /// A node in a temporary directory, which is deleted when the node is gone: for tests and examples.
    ///
    /// # Errors
    /// Where no temporary directory can be made or opened.
    pub fn ephemeral() -> Result<Self, Error> {
        Self::builder().ephemeral()
    }

    /// The default node, opened: the one that [`Subject::new`] uses.
    ///
    /// # Errors
    /// Where its directory cannot be opened.
    pub fn default_node() -> Result<Self, Error> {
        let shared = default_shared();
        let engine = shared.engine()?;
        Ok(Self { shared, _engine: engine })
    }

    /// Sets the directory and the limits of the default node. `XAEROFLUX_DATA_DIR` overrides the directory.
    ///
    /// # Errors
    /// [`Error::DefaultInUse`] where a subject of the default node exists already.
    pub fn set_default(builder: NodeBuilder) -> Result<(), Error> {
        let mut default = lock_default();
        if default.is_in_use() {
            return Err(Error::DefaultInUse);
        }
        *default =
            DefaultNode::Kept(Arc::new(NodeShared { is_default: true, ..NodeShared::new(builder.options(), None) }));
        Ok(())
    }

    /// Makes this node the default one, for as long as it or a subject of it is held; after that the default is found
    /// as if none had been set. It is open already, so that `XAEROFLUX_DATA_DIR` has no say.
    ///
    /// With [`ephemeral`](Self::ephemeral) it lets a test or an example use [`Subject::new`] and leave nothing behind:
    ///
    /// ```
    /// use xaeroflux::prelude::*;
    /// let node = Node::ephemeral()?;
    /// node.make_default()?;
    /// let alice = identity("alice")?;
    /// let tags = Subject::new("workspace/docs/object/tags".into());
    /// let handle = tags.run()?;
    /// tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD).by(alice)).wait()?;
    /// assert_eq!(node.subject("workspace/docs/object/tags").count()?, 1);
    /// # drop(handle);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::DefaultInUse`] where a subject of another default node exists, or that node is held.
    pub fn make_default(&self) -> Result<(), Error> {
        let mut default = lock_default();
        let is_this = default.get().is_some_and(|shared| Arc::ptr_eq(&shared, &self.shared));
        if default.is_in_use() && !is_this {
            return Err(Error::DefaultInUse);
        }
        *default = DefaultNode::Lent(Arc::downgrade(&self.shared));
        Ok(())
    }

    /// A handle on the subject with this name. Two handles with one name are the same stream.
    ///
    /// A bad name shows when something is sent or the subject is run.
    #[must_use]
    pub fn subject(&self, name: impl Into<String>) -> Subject {
        Subject::on(&self.shared, name.into())
    }

    /// Makes or finds the identity with this local name.
    ///
    /// # Errors
    /// Where the name is not one, or its key file cannot be read or written.
    pub fn identity(&self, name: &str) -> Result<XaeroID, Error> {
        Ok(self._engine.keyring.make_or_find(name)?)
    }

    /// Makes an identity with this local name; never takes one that is there.
    ///
    /// # Errors
    /// [`KeyringError::Exists`](crate::KeyringError::Exists) where there is one, otherwise as
    /// [`identity`](Self::identity).
    pub fn create_identity(&self, name: &str) -> Result<XaeroID, Error> {
        Ok(self._engine.keyring.create(name)?)
    }

    /// Finds the identity with this local name, and makes none.
    #[must_use]
    pub fn find_identity(&self, name: &str) -> Option<XaeroID> {
        self._engine.keyring.find(name)
    }

    /// The node's own identity: who writes events without an author. Made on first use.
    ///
    /// # Errors
    /// Where its key file cannot be read or written.
    pub fn own_identity(&self) -> Result<XaeroID, Error> {
        Ok(self._engine.keyring.own()?)
    }

    /// Writes a copy of an identity's key file, the secret included, for a backup. Never over a file that is there.
    ///
    /// A writer is one key in *one* data directory: publishing with the copy elsewhere forks the writer's log.
    ///
    /// # Errors
    /// Where there is no identity of this name, or the copy cannot be written.
    pub fn export_identity(&self, name: &str, to: impl AsRef<Path>) -> Result<(), Error> {
        Ok(self._engine.keyring.export(name, to.as_ref())?)
    }

    /// Takes over an exported identity under this name, once its key was tried out.
    ///
    /// The file is trusted to come from its owner: one that was made up to do harm can keep this call from returning.
    ///
    /// ```
    /// use xaeroflux::Node;
    /// let (old, new, dir) = (Node::ephemeral()?, Node::ephemeral()?, tempfile::tempdir()?);
    /// let alice = old.identity("alice")?;
    /// old.export_identity("alice", dir.path().join("alice.key"))?;
    /// assert_eq!(new.import_identity("alice", dir.path().join("alice.key"))?, alice);
    /// # Ok::<(), xaeroflux::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the name or the key is here already, or the file is not a key file of one's own.
    pub fn import_identity(&self, name: &str, from: impl AsRef<Path>) -> Result<XaeroID, Error> {
        Ok(self._engine.keyring.import(name, from.as_ref())?)
    }

    /// All identities that have a key here, by local name.
    #[must_use]
    pub fn identities(&self) -> Vec<(String, XaeroID)> {
        self._engine.keyring.names()
    }

    /// The public key of a local identity.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn public_key(&self, name: &str) -> Result<PublicKey, Error> {
        Ok(self._engine.keyring.public_key(name)?)
    }

    /// Whose work this writer continues: the writer of the directory that this one was copied from.
    #[must_use]
    pub fn predecessor(&self, writer: XaeroID) -> Option<Succession> {
        self._engine.keyring.predecessor(writer)
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self._engine.store.dir().to_owned()
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("data_dir", &self.data_dir()).finish_non_exhaustive()
    }
}

/// Makes or finds the identity with this local name on the process's default node.
///
/// # Errors
/// Where the default node's directory cannot be opened, or the name or its key file is bad.
pub fn identity(name: &str) -> Result<XaeroID, Error> {
    Node::default_node()?.identity(name)
}

/// How a node is to be.
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct NodeBuilder {
    dir: Option<PathBuf>,
    map_size: u64,
    wall: WallClock,
    own_name: Option<String>,
    bus: BusLimits,
}

impl NodeBuilder {
    /// The data directory, created if absent. Without it: what `XAEROFLUX_DATA_DIR` says, else one for each executable
    /// among the platform's application data. For the [default node](Node::set_default) the variable comes first.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Size of the storage map in bytes: the most that the data file can grow to. [`DEFAULT_MAP_SIZE`] unless set.
    pub fn map_size(mut self, bytes: u64) -> Self {
        self.map_size = bytes;
        self
    }

    /// The local name of the node's own identity, which writes events without an author: `self` unless set. It is made on
    /// first use, like any other.
    pub fn identity(mut self, name: impl Into<String>) -> Self {
        self.own_name = Some(name.into());
        self
    }

    /// How many events, and how many bytes of payload, may wait on the bus of a subject before [`send`] waits and
    /// [`try_send`] refuses: 4,096 events and 32 MiB unless set. A bus takes one event at least.
    ///
    /// [`send`]: crate::Sender::send
    /// [`try_send`]: crate::Sender::try_send
    pub fn bus_limits(mut self, events: usize, bytes: usize) -> Self {
        self.bus = BusLimits { events, bytes, ..self.bus };
        self
    }

    /// The wall clock, in milliseconds since the Unix epoch. Tests pass one of their own.
    pub fn clock(mut self, millis: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.wall = Arc::new(millis);
        self
    }

    /// Opens the node. Where this process has a node on the directory already, this is a handle on that one, and its map
    /// size and clock stay as they are.
    ///
    /// # Errors
    /// Where the directory cannot be made, opened or locked; the message says which and what to do.
    pub fn build(self) -> Result<Node, Error> {
        Node::open(NodeShared::new(self.options(), None))
    }

    /// Opens the node in a temporary directory, which is deleted when the node is gone.
    ///
    /// # Errors
    /// Where no temporary directory can be made or opened.
    pub fn ephemeral(self) -> Result<Node, Error> {
        let temporary = tempfile::Builder::new().prefix("xaeroflux-").tempdir()?;
        let builder = self.data_dir(temporary.path());
        Node::open(NodeShared::new(builder.options(), Some(temporary)))
    }

    fn options(self) -> Options {
        // LMDB takes whole pages; a map of less than this cannot hold its own tables.
        const SMALLEST: u64 = 256 << 10;
        const PAGE: u64 = 4096;
        let map_size = self.map_size.max(SMALLEST).div_ceil(PAGE).saturating_mul(PAGE);
        Options {
            dir: self.dir,
            map_size: usize::try_from(map_size).unwrap_or(usize::MAX),
            wall: self.wall,
            own_name: self.own_name,
            bus: self.bus,
        }
    }
}

impl std::fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeBuilder").field("dir", &self.dir).field("map_size", &self.map_size).finish_non_exhaustive()
    }
}

impl Node {
    /// A handle on the node that has the directory in this process, or a new node.
    fn open(shared: NodeShared) -> Result<Self, Error> {
        // Two nodes on one directory would each number the batches of a subject, so there is one, with many handles.
        static OPEN: Mutex<Vec<(PathBuf, Weak<NodeShared>)>> = Mutex::new(Vec::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, known)| known.strong_count() > 0);
        let wanted = shared.dir()?.canonicalize().ok();
        let known = open.iter().find(|(dir, _)| Some(dir) == wanted.as_ref()).and_then(|(_, known)| known.upgrade());
        if let Some(known) = known {
            // It may be there only because of a subject handle, or for one moment more: then it is opened as asked now.
            let engine = known.engine_with(Some(shared.options()))?;
            return Ok(Self { shared: known, _engine: engine });
        }
        let engine = shared.engine()?;
        let shared = Arc::new(shared);
        if let Ok(dir) = shared.dir()?.canonicalize() {
            open.push((dir, Arc::downgrade(&shared)));
        }
        Ok(Self { shared, _engine: engine })
    }
}

impl NodeShared {
    fn new(options: Options, temporary: Option<tempfile::TempDir>) -> Self {
        let options = Mutex::new(options);
        Self { options, is_default: false, engine: Mutex::default(), subjects: Mutex::default(), _temporary: temporary }
    }

    fn options(&self) -> Options {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The node's engine, opened if it is not.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>, Error> {
        self.engine_with(None)
    }

    /// As [`engine`](Self::engine); where it is not open, from now on with these options.
    fn engine_with(&self, options: Option<Options>) -> Result<Arc<Engine>, Error> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engine.upgrade() {
            return Ok(engine);
        }
        if let Some(new) = options {
            let mut options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
            *options = Options { dir: options.dir.take(), ..new };
        }
        let Options { map_size, wall, own_name, .. } = self.options();
        let opened = Engine::open(&self.dir()?, map_size, wall, own_name.as_deref())?;
        *engine = Arc::downgrade(&opened);
        Ok(opened)
    }

    fn dir(&self) -> Result<PathBuf, Error> {
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
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(core) = subjects.get(&name).and_then(Weak::upgrade) {
            return core;
        }
        if subjects.len() >= subjects.capacity() {
            subjects.retain(|_, core| core.strong_count() > 0);
        }
        let core = Core::new(Arc::clone(self), name.clone());
        subjects.insert(name, Arc::downgrade(&core));
        core
    }
}

/// Which node is the default one.
enum DefaultNode {
    /// Found out when it is needed.
    Unset,
    /// By its options: kept for the whole process, open only while in use.
    Kept(Arc<NodeShared>),
    /// A node that somebody else holds. Not kept here: nothing drops a static, and a temporary directory would stay.
    Lent(Weak<NodeShared>),
}

impl DefaultNode {
    fn get(&self) -> Option<Arc<NodeShared>> {
        match self {
            Self::Unset => None,
            Self::Kept(shared) => Some(Arc::clone(shared)),
            Self::Lent(shared) => shared.upgrade(),
        }
    }

    /// Whether anything but this static holds it.
    fn is_in_use(&self) -> bool {
        match self {
            Self::Unset => false,
            Self::Kept(shared) => Arc::strong_count(shared) > 1,
            Self::Lent(shared) => shared.strong_count() > 0,
        }
    }
}

/// The default node, not necessarily open.
pub(crate) fn default_shared() -> Arc<NodeShared> {
    let mut default = lock_default();
    if let Some(shared) = default.get() {
        return shared;
    }
    let shared = Arc::new(NodeShared { is_default: true, ..NodeShared::new(Node::builder().options(), None) });
    *default = DefaultNode::Kept(Arc::clone(&shared));
    shared
}

fn lock_default() -> MutexGuard<'static, DefaultNode> {
    static DEFAULT: Mutex<DefaultNode> = Mutex::new(DefaultNode::Unset);
    DEFAULT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn environment_dir() -> Option<PathBuf> {
    std::env::var_os(DATA_DIR_VARIABLE).filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// The directory of a node that was given none: the environment's, else one for each executable among the platform's
/// application data.
///
/// # Errors
/// [`Error::NoDataDir`] where the platform names no such place.
pub fn platform_dir() -> Result<PathBuf, Error> {
    if let Some(dir) = environment_dir() {
        return Ok(dir);
    }
    let dirs = directories::ProjectDirs::from("", "", "xaeroflux").ok_or(Error::NoDataDir)?;
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_stem()).unwrap_or_else(|| "program".as_ref());
    Ok(dirs.data_dir().join(program))
}
