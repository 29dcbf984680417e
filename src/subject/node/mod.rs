//! Nodes: one data directory, its identities, its subjects.
//!
//! * `builder` is how a node is to be; `shared` what its handles share, open or not.
//! * `default` is the node of a process that names none; `network` what a node is to its peers.

mod builder;
pub(super) mod default;
mod network;
mod shared;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

pub use builder::{DEFAULT_MAP_SIZE, NodeBuilder};
pub use default::{DATA_DIR_VARIABLE, platform_dir};
pub(super) use {default::default_shared, shared::NodeShared};

use super::{engine::Engine, error::Error, handle::Subject};
use crate::{
    actors::keyring::Succession,
    wire::{
        id::{SubjectId, XaeroID},
        key::PublicKey,
    },
};

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

impl Node {
    /// A node in a directory of one's own choice.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::new()
    }

    /// A node in a temporary directory, which is deleted when the node is gone: for tests and examples.
    ///
    /// # Errors
    /// Where no temporary directory can be made or opened.
    pub fn ephemeral() -> Result<Self, Error> {
        Self::builder().ephemeral()
    }

    /// A handle on the subject with this name. Two handles with one name are the same stream.
    ///
    /// A bad name shows when something is sent or the subject is run.
    #[must_use]
    pub fn subject(&self, name: impl Into<String>) -> Subject {
        Subject::on(&self.shared, name.into())
    }

    pub(super) const fn engine(&self) -> &Arc<Engine> {
        &self._engine
    }

    /// The subject that the handles with this name are on, if there are any and they know.
    pub(super) fn live_subject(&self, name: &str) -> Option<SubjectId> {
        self.shared.live_subject(name)
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

    /// The public key of a writer, as far as it is known here: of one whose secret is or was in this directory, and of one
    /// elsewhere whose events came together with it.
    ///
    /// # Errors
    /// Where the data directory cannot be read.
    pub fn writer_key(&self, writer: XaeroID) -> Result<Option<PublicKey>, Error> {
        Ok(self._engine.writer_key(writer)?)
    }

    /// Whose work this writer continues: the writer of the directory that this one was copied from, or one whose log forked.
    #[must_use]
    pub fn predecessor(&self, writer: XaeroID) -> Option<Succession> {
        self._engine.keyring.predecessor(writer)
    }

    /// Who continues the work of this writer in this directory since its log forked, if it did. Its local name stands for that
    /// writer, and an event [by](crate::XaeroEvent::by) the old one is published under the new one.
    #[must_use]
    pub fn successor(&self, writer: XaeroID) -> Option<Succession> {
        self._engine.keyring.successor(writer)
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
