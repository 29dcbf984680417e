//! Why an event could not be sent, and why a sent one did not become durable.

use std::{error::Error, fmt, sync::Arc};

use thiserror::Error;

use crate::{
    actors::storage::StorageError,
    crdt::rights::Denial,
    wire::{
        event::{EventType, XaeroEvent},
        id::XaeroID,
        limits::MAX_PAYLOAD_BYTES,
    },
};

/// An event that was not queued. It carries the event back: see [`SendError::into_inner`].
#[derive(Clone, Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no space now.
    #[error("the bus is full: use `send`, which waits for space, or try again when subscribers have caught up")]
    Full(Box<XaeroEvent>),
    /// There was no space within the given time.
    #[error("the bus stayed full for the whole time-out: try again, or look for a subscriber that blocks")]
    Timeout(Box<XaeroEvent>),
    /// The subject has been stopped.
    #[error("the subject has stopped and takes no more events: open and run it again, then send again")]
    Closed(Box<XaeroEvent>),
    /// The event, or any event on this bus, breaks a rule.
    #[error("{reason}")]
    Refused {
        /// The event.
        event: Box<XaeroEvent>,
        /// The broken rule.
        reason: Refusal,
    },
}

impl SendError {
    /// The event that was not sent.
    #[must_use]
    pub fn into_inner(self) -> XaeroEvent {
        match self {
            Self::Full(event) | Self::Timeout(event) | Self::Closed(event) | Self::Refused { event, .. } => *event,
        }
    }

    /// Whether there was no space; the same event may well be taken later.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Timeout(_))
    }

    /// Whether the subject has stopped.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// The rule that the event breaks, where it does.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            Self::Full(_) | Self::Timeout(_) | Self::Closed(_) => None,
        }
    }
}

/// Without the event: `unwrap` should print the reason, not a megabyte of payload.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Full(_) => "Full",
            Self::Timeout(_) => "Timeout",
            Self::Closed(_) => "Closed",
            Self::Refused { .. } => "Refused",
        };
        write!(f, "{name}({self})")
    }
}

/// The rule that keeps an event off a bus.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The payload is too large for any replica.
    #[error(
        "a payload has at most {MAX_PAYLOAD_BYTES} bytes, this one has {0}: put the content into a blob store and its \
         hash into the event"
    )]
    PayloadTooLarge(usize),
    /// The proof is larger than any proof is.
    #[error("a proof has at most {MAX_PAYLOAD_BYTES} bytes, this one has {0}: leave it out, the engine makes its own")]
    ProofTooLarge(usize),
    /// The type is the engine's own.
    #[error("events of type {0:?} are sent by the engine only: use `EventType::ApplicationEvent`")]
    ReservedEventType(EventType),
    /// The subject itself is unusable, for instance because of its name.
    #[error("this subject cannot be used: {0}")]
    Subject(Arc<dyn Error + Send + Sync>),
}

/// Why an event that was to be published did not become durable.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The subject works in memory: its subscribers got the event, but nothing was stored.
    #[error("the subject works in memory only, so the event is not durable: call `run` before publishing")]
    NotRunning,
    /// There is no key for the author on this node.
    #[error("there is no key for author {id} on this node: make one with `identity`, or leave `author_id` empty")]
    UnknownAuthor {
        /// The author in question.
        id: XaeroID,
    },
    /// Events that the author wrote elsewhere wait here for their causes or their time: what it wrote now would contradict
    /// them.
    #[error(
        "events that author {author} wrote elsewhere wait in this subject for what they follow: bring that in first, or publish under another identity"
    )]
    Behind {
        /// The author in question.
        author: XaeroID,
    },
    /// The author has signed two histories of this subject, so nothing that it writes here counts any more. An identity of the
    /// node goes on under a fresh key by itself: this is said where that could not be made, and the log says why.
    #[error(
        "author {author} has signed two histories of this subject, and everything after its event {last_valid} counts for nothing: a fresh key for it could not be made, see the log; publish under another identity"
    )]
    Forked {
        /// The author in question.
        author: XaeroID,
        /// The sequence number of its last event that counts.
        last_valid: u64,
    },
    /// The subject is owned, and the author may not write in it.
    #[error("author {author} may not write in this owned subject: {denial}")]
    NoRight {
        /// The author in question.
        author: XaeroID,
        /// Why.
        denial: Denial,
    },
    /// The payload is too large for any replica.
    #[error(
        "a payload has at most {MAX_PAYLOAD_BYTES} bytes, this one has {size}: put the content into a blob store and \
         its hash into the event"
    )]
    PayloadTooLarge {
        /// The size of the payload, in bytes.
        size: usize,
    },
    /// The proof is larger than any proof is.
    #[error(
        "a proof has at most {MAX_PAYLOAD_BYTES} bytes, this one has {size}: leave it out, the engine makes its own"
    )]
    ProofTooLarge {
        /// The size of the proof, in bytes.
        size: usize,
    },
    /// The type is the engine's own.
    #[error("events of type {event_type:?} are sent by the engine only: use `EventType::ApplicationEvent`")]
    ReservedEventType {
        /// The type in question.
        event_type: EventType,
    },
    /// The subject itself is unusable; the text says why.
    #[error("this subject cannot be used: {0}")]
    InvalidSubject(String),
    /// The bus had no space.
    #[error("the bus is full: publish again when the subject has caught up, or use the call that waits for space")]
    QueueFull,
    /// The subject was stopped before the event was queued.
    #[error("the subject has stopped and takes no more events: open and run it again, then publish again")]
    Stopped,
    /// The storage has reached its configured size.
    #[error(
        "the storage has reached its size of {map_size} bytes: stop the node, start it with a larger map size, and \
         publish again"
    )]
    StorageFull {
        /// The configured size, in bytes.
        map_size: u64,
    },
    /// The file system has no space.
    #[error("the disk is full, so the event was not stored: free some space and publish again")]
    DiskFull,
    /// An earlier failure makes it impossible to say what is on disk.
    #[error(
        "the storage failed ({reason}), and nothing can be stored until the process is restarted: restart it, see which \
         events are in the log, and publish the others again"
    )]
    Poisoned {
        /// The failure.
        reason: Arc<str>,
    },
    /// The event was at the head of the queue whenever the storage failed.
    #[error(
        "the event was set aside because storing it failed again and again: it is on the control bus, from where it can \
         be published again"
    )]
    SetAside,
    /// The engine ended before it knew.
    #[error(
        "the engine stopped before the event was acknowledged, so it may or may not be in the log: see whether it is, \
         and publish it again if not"
    )]
    Abandoned,
    /// The node's own identity could not be made or read.
    #[error("the node's own identity cannot be used: {0}")]
    Identity(Arc<str>),
    /// The storage refused the event for another reason.
    #[error("the event was not stored: {0}")]
    Storage(Arc<str>),
}

impl From<StorageError> for PublishError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::MapFull { map_size } => Self::StorageFull { map_size },
            StorageError::DiskFull => Self::DiskFull,
            StorageError::Poisoned { reason } => Self::Poisoned { reason: Arc::from(reason) },
            StorageError::Closed => Self::Stopped,
            other => Self::Storage(Arc::from(other.to_string())),
        }
    }
}

impl From<Refusal> for PublishError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::PayloadTooLarge(size) => Self::PayloadTooLarge { size },
            Refusal::ProofTooLarge(size) => Self::ProofTooLarge { size },
            Refusal::ReservedEventType(event_type) => Self::ReservedEventType { event_type },
            Refusal::Subject(error) => Self::InvalidSubject(error.to_string()),
        }
    }
}

impl From<SendError> for PublishError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full(_) | SendError::Timeout(_) => Self::QueueFull,
            SendError::Closed(_) => Self::Stopped,
            SendError::Refused { reason, .. } => reason.into(),
        }
    }
}
