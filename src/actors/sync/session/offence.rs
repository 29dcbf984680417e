//! What a peer is cut off for.

use thiserror::Error;

use crate::wire::sync::{Kind, SyncError};

/// How a peer broke the protocol. No honest peer of any version does, so whoever does is cut off and counted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Offence {
    /// What it sent is not true, or not well-formed.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// A message that has no place on a subject's stream.
    #[error("the peer sent a {0} message on a subject's stream, where it has no place")]
    Misplaced(Kind),
    /// Events that nobody asked for.
    #[error("the peer sent events without having been asked for any: neither by a version vector nor to push them")]
    UnaskedEvents,
    /// A caught-up that answers no version vector.
    #[error("the peer sent a caught-up message that answers no version vector")]
    UnaskedCaughtUp,
    /// A version vector while another one is being answered.
    #[error("the peer sent a version vector before the last one was answered with a caught-up message")]
    SecondVector,
    /// A version vector whose parts do not ascend, or are empty.
    #[error("the peer sent a version vector whose parts are not ascending by author")]
    VectorOrder,
    /// A version vector of too many authors.
    #[error("the peer sent a version vector of more than {limit} authors")]
    VectorTooLong {
        /// The most.
        limit: usize,
    },
    /// Too many messages in too short a time.
    #[error("the peer sent {0} messages faster than any honest peer does")]
    Flood(Kind),
}
