//! The death watch: a guard that every child owns, whose drop tells the supervisor.
//!
//! actix does not tell anybody when an actor's task panics, and its own supervisor does not restart it then. A value that
//! the actor owns is dropped however the actor ends: by stopping, by a panic in a handler, with its arbiter.

use actix::{Message, WeakRecipient};

/// Which child of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChildKind {
    /// Appends to the log.
    Aof,
    /// Moves what is old out of the log table.
    Segment,
    /// Stores the nodes of the trees over the log.
    Mmr,
    /// Folds.
    Batch,
    /// Has the subject synced with peers.
    Sync,
}

impl std::fmt::Display for ChildKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Aof => "AOF actor",
            Self::Mmr => "MMR actor",
            Self::Segment => "segment writer",
            Self::Batch => "batch actor",
            Self::Sync => "sync actor",
        })
    }
}

/// A child is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChildDied {
    pub(crate) child: ChildKind,
    /// Which incarnation of it: a late message about an earlier one means nothing.
    pub(crate) incarnation: u64,
    /// Whether it went in a panic.
    pub(crate) panicked: bool,
}

impl Message for ChildDied {
    type Result = ();
}

/// Ends the actor that gets it as a panic would. An ordinary message, so that demonstrations and tests kill the real thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill;

impl Message for Kill {
    type Result = ();
}

impl Kill {
    /// Unwinds, without the noise of a panic message.
    pub(crate) fn strike() -> ! {
        std::panic::resume_unwind(Box::new("killed on request"))
    }
}

/// Tells the supervisor when it is dropped.
pub(crate) struct DeathWatch {
    pub(crate) child: ChildKind,
    pub(crate) incarnation: u64,
    pub(crate) supervisor: WeakRecipient<ChildDied>,
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.upgrade() {
            supervisor.do_send(ChildDied {
                child: self.child,
                incarnation: self.incarnation,
                panicked: std::thread::panicking(),
            });
        }
    }
}
