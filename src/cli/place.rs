//! Where a command runs: in a process of its own, or in that of `serve`.

use std::path::{Path, PathBuf};

use xaeroflux::{Handle, Node, Subject};

use super::{args::Global, exit::Failure, serve::served::Served};

/// Where a command finds its node and its files.
pub enum Place<'a> {
    /// A process of its own opens the data directory, and what it runs ends with it.
    Own(&'a Global),
    /// `serve` has the node already, and what was run goes on.
    Served {
        /// The node, and what runs on it.
        served: &'a Served,
        /// The directory in which the command was called.
        directory: &'a Path,
    },
}

impl Place<'_> {
    /// The node.
    ///
    /// # Errors
    /// Where the data directory cannot be opened.
    pub fn open(&self) -> Result<Node, Failure> {
        match self {
            Self::Own(global) => Ok(super::builder(global).build()?),
            Self::Served { served, .. } => Ok(served.node().clone()),
        }
    }

    /// Runs a subject of the node.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn run(&self, subject: &Subject) -> Result<Handle, Failure> {
        match self {
            Self::Own(_) => Ok(subject.run()?),
            Self::Served { served, .. } => served.run(subject),
        }
    }

    /// Has a subject run where it goes on when the command is done: what is shared is to be there for its peers.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn keep(&self, subject: &Subject) -> Result<(), Failure> {
        match self {
            Self::Own(_) => Ok(()),
            Self::Served { served, .. } => served.run(subject).map(drop),
        }
    }

    /// A file as it is named by whoever called the command.
    pub fn file(&self, named: &Path) -> PathBuf {
        match self {
            Self::Own(_) => named.to_owned(),
            Self::Served { directory, .. } => directory.join(named),
        }
    }
}
