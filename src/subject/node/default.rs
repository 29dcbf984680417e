//! The default node, which [`Subject::new`](crate::Subject::new)(crate::Subject::new) uses.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{Node, NodeBuilder, shared::NodeShared};
use crate::subject::error::Error;

/// The environment variable that names the data directory of the default node.
pub const DATA_DIR_VARIABLE: &str = "XAEROFLUX_DATA_DIR";

impl Node {
    /// The default node, opened: the one that [`Subject::new`](crate::Subject::new) uses.
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
        *default = DefaultNode::Kept(Arc::new(NodeShared::default_of(builder.options())));
        Ok(())
    }

    /// Makes this node the default one, for as long as it or a subject of it is held; after that the default is found
    /// as if none had been set. It is open already, so that `XAEROFLUX_DATA_DIR` has no say.
    ///
    /// With [`ephemeral`](Self::ephemeral) it lets a test or an example use [`Subject::new`](crate::Subject::new) and leave nothing behind:
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
pub(in crate::subject) fn default_shared() -> Arc<NodeShared> {
    let mut default = lock_default();
    if let Some(shared) = default.get() {
        return shared;
    }
    let shared = Arc::new(NodeShared::default_of(Node::builder().options()));
    *default = DefaultNode::Kept(Arc::clone(&shared));
    shared
}

fn lock_default() -> MutexGuard<'static, DefaultNode> {
    static DEFAULT: Mutex<DefaultNode> = Mutex::new(DefaultNode::Unset);
    DEFAULT.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn environment_dir() -> Option<PathBuf> {
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
