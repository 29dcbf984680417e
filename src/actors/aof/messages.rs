//! What the supervisor and the AOF actor say to each other.

use std::sync::Arc;

use actix::{Message, WeakRecipient};

use crate::{
    actors::{
        bus::{Chunk, PublishError},
        committer::{IngestOutcome, submission::ForeignBatch},
        storage::{StorageError, cuts::Cuts},
        supervise::Token,
        watch::ChildDied,
    },
    wire::id::XaeroID,
};

/// What came in by one of a subject's doors. The supervisor keeps it until it is acknowledged.
pub(crate) enum Ingress {
    /// Events published here.
    Local(Arc<Chunk>),
    /// Frames made elsewhere, and whom to tell what became of them.
    Foreign { batch: Arc<ForeignBatch>, tell: Box<dyn Fn(Result<Vec<IngestOutcome>, StorageError>) + Send + Sync> },
    /// The state of a fold.
    Snapshot { fold: [u8; 32], row: Arc<Vec<u8>>, cuts: Cuts },
}

/// Supervisor to AOF: append this.
pub(crate) struct Append {
    pub(crate) token: Token,
    pub(crate) ingress: Arc<Ingress>,
}

impl Message for Append {
    type Result = ();
}

/// AOF to supervisor: everything up to this token has been dealt with, by this or an earlier incarnation; send the rest
/// again.
pub(crate) struct Durable {
    pub(crate) incarnation: u64,
    pub(crate) result: Result<Token, StorageError>,
}

impl Message for Durable {
    type Result = ();
}

/// AOF to supervisor: this batch has been dealt with.
pub(crate) struct Acknowledged {
    pub(crate) token: Token,
    /// Events of the batch that were refused, with the first reason for each author.
    pub(crate) refused: Vec<(XaeroID, usize, PublishError)>,
    /// Why the whole batch was not stored, if so.
    pub(crate) failed: Option<StorageError>,
}

impl Message for Acknowledged {
    type Result = ();
}

/// How the AOF actor reaches its supervisor, without keeping it alive.
#[derive(Clone)]
pub(crate) struct Parent {
    pub(crate) durable: WeakRecipient<Durable>,
    pub(crate) acknowledged: WeakRecipient<Acknowledged>,
    pub(crate) died: WeakRecipient<ChildDied>,
}
