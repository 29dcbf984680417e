//! What can go wrong with a node or a subject.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    actors::{
        bus::{PublishError, SendError},
        committer::RightsError,
        keyring::KeyringError,
        net::NetError,
        storage::StorageError,
    },
    subject::{durable::DurableError, pipeline::PipelineError, shares::ShareError},
    wire::{id::Dot, name::NameError, proof::ProofError, ticket::TicketError},
};

/// A failure of a node or a subject. Its message names the broken rule and the way out.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum Error {
    /// The subject's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The data directory.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An identity or its key file.
    #[error(transparent)]
    Keyring(Arc<KeyringError>),
    /// A pipeline that makes no sense.
    #[error(transparent)]
    Pipeline(Arc<PipelineError>),
    /// A durable subscription.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A subject that cannot be shared or joined under its name.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// A ticket that is none, or cannot be made.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetError),
    /// An event was not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A role in an owned subject that was not given or taken.
    #[error(transparent)]
    Rights(#[from] RightsError),
    /// The platform names no directory for application data.
    #[error("this platform names no directory for data: set XAEROFLUX_DATA_DIR, or call Node::set_default")]
    NoDataDir,
    /// Another default was used already.
    #[error("the default node is in use already: call Node::set_default before the first subject runs")]
    DefaultInUse,
    /// A thread could not be started.
    #[error("the engine's threads could not be started: {0}")]
    Threads(Arc<std::io::Error>),
    /// There is no such event here.
    #[error("there is no event {dot} in this subject's log here: it may have another author, or not have arrived yet")]
    NoSuchEvent {
        /// Author and sequence number that were asked for.
        dot: Dot,
    },
    /// Nothing here shows that the author signed the event.
    #[error(
        "event {dot} is covered by no signed head here: it came without one, or its author's key file here cannot be used; restore the key and open the node again, or get the event from a node that has its head"
    )]
    Unsigned {
        /// The event.
        dot: Dot,
    },
    /// A proof that does not hold.
    #[error(transparent)]
    Proof(Arc<ProofError>),
    /// The subject does not run.
    #[error("the subject is not running: call run() first, and keep the handle")]
    NotRunning,
    /// The subject's supervisor gave up.
    #[error("the subject failed: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

impl From<KeyringError> for Error {
    fn from(error: KeyringError) -> Self {
        Self::Keyring(Arc::new(error))
    }
}

impl From<ProofError> for Error {
    fn from(error: ProofError) -> Self {
        Self::Proof(Arc::new(error))
    }
}

impl From<PipelineError> for Error {
    fn from(error: PipelineError) -> Self {
        Self::Pipeline(Arc::new(error))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Threads(Arc::new(error))
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        Self::Publish(error.into())
    }
}
