//! What can go wrong with the network as a whole. What goes wrong with one peer is in its
//! [status](super::PeerStatus).

use std::io;

use iroh::endpoint::ReadError;
use thiserror::Error;

use crate::{
    actors::supervise::policy::Escalation,
    wire::sync::{ByeReason, SyncError},
};

/// Why the network does not run.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum NetError {
    /// The threads could not be started.
    #[error("the threads of the network could not be started: {0}")]
    Threads(#[source] std::sync::Arc<io::Error>),
    /// No socket could be bound.
    #[error("the network could not listen on {addrs}: {reason}; choose another address, or port 0 for any free one")]
    Bind {
        /// The addresses.
        addrs: String,
        /// What the system said.
        reason: String,
    },
    /// The URL of a relay is none.
    #[error("{url:?} is not the URL of a relay: {reason}")]
    BadRelay {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An endpoint that is no key.
    #[error("endpoint {0} is not an ed25519 public key: copy it again")]
    BadEndpoint(crate::wire::id::EndpointId),
    /// It was started again too often.
    #[error("the network was given up: {0}")]
    GivenUp(#[source] Escalation),
    /// A message to a swarm that would break the link to the neighbours. It was not sent.
    #[error("a message to a swarm has {bytes} bytes, where {most} are the most")]
    GossipTooLong {
        /// Its length.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// The node is in as many swarms as it can be.
    #[error("the node is in {0} swarms, which are the most: the subject is synced with connected peers only")]
    TooManySwarms(usize),
    /// It has been shut down.
    #[error("the network has been shut down")]
    Stopped,
}

/// Why a message could not be read from a stream.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub(crate) enum ReadMessageError {
    /// The peer broke a rule of the protocol.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The stream ended within a message.
    #[error("the peer ended a stream in the middle of a message")]
    CutShort,
    /// A message took longer than anybody honest needs.
    #[error("the peer began a message and sent the rest of it too slowly")]
    TooSlow,
    /// A message came too slowly to be waited for while others wait.
    #[error("a message came too slowly, while others wait for their turn: it is asked for again later")]
    Outpaced,
    /// The stream or the connection is gone.
    #[error("the stream is gone: {0}")]
    Lost(#[from] ReadError),
}

impl ReadMessageError {
    /// The reason that the peer has given for ending the stream, if it has.
    pub(crate) fn reason(&self) -> Option<ByeReason> {
        match self {
            Self::Lost(ReadError::Reset(code)) => {
                Some(ByeReason::from_code(u16::try_from(code.into_inner()).unwrap_or(u16::MAX)))
            }
            _ => None,
        }
    }

    /// Whether the peer has done something that no correct peer does.
    pub(crate) const fn is_offence(&self) -> bool {
        !matches!(self, Self::Lost(_) | Self::Outpaced)
    }
}
