//! What can be wrong with what a peer says.

use thiserror::Error;

use super::Kind;
use crate::wire::{
    frame::FrameError,
    id::{Dot, SubjectId, XaeroID},
    proof::ProofError,
};

/// Why a message of a peer is refused: the rule of the protocol that it breaks. Whoever sends such a message is cut off.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SyncError {
    /// A kind that must be known, and is not.
    #[error(
        "the peer sent a message of kind {0}, which this version does not know and may not skip: upgrade xaeroflux"
    )]
    UnknownKind(u8),
    /// Longer than its kind may be.
    #[error("the peer announced a {kind} message of {have} bytes, where {limit} are the most")]
    TooLong {
        /// The kind.
        kind: Kind,
        /// The length that was announced.
        have: u64,
        /// The most.
        limit: usize,
    },
    /// A field has a value that no writer of this version produces.
    #[error("the peer sent a {kind} message whose {field} breaks the protocol")]
    BadField {
        /// The kind.
        kind: Kind,
        /// The field.
        field: &'static str,
    },
    /// The fields and the bytes do not fit together.
    #[error("the peer sent a {kind} message that cannot be read: {error}")]
    Malformed {
        /// The kind.
        kind: Kind,
        /// What is wrong.
        error: ProofError,
    },
    /// A frame among the events cannot be read.
    #[error("event {place} of a chunk cannot be read: {error}")]
    Frame {
        /// Its place in the chunk, from 0.
        place: usize,
        /// What is wrong.
        error: FrameError,
    },
    /// An event of another subject.
    #[error("event {dot} of a chunk is of subject {found}, which this stream is not about")]
    OtherSubject {
        /// The event.
        dot: Dot,
        /// The subject that it names.
        found: SubjectId,
    },
    /// Events of an author without a proof, or a proof without events.
    #[error("a chunk has events of author {author} without a proof, or a proof without events")]
    Unproven {
        /// The author.
        author: XaeroID,
    },
    /// Not the event that comes next in its author's log.
    #[error("a chunk has event {dot} where event {expected} of its author comes next")]
    Gap {
        /// The event.
        dot: Dot,
        /// The number that comes next.
        expected: u64,
    },
    /// The public key of an author is neither here nor in the chunk.
    #[error("a chunk has events of author {author}, whose public key has never been sent")]
    UnknownKey {
        /// The author.
        author: XaeroID,
    },
    /// The events are not those that the author signed.
    #[error("a chunk has events of author {author} that the author's signed head does not cover: {error}")]
    NotSigned {
        /// The author.
        author: XaeroID,
        /// The number of the first of these events.
        first: u64,
        /// What is wrong.
        error: ProofError,
    },
    /// Events that have come before, too often.
    #[error("the peer sends event {dot} and what follows it again and again")]
    Again {
        /// The first of them.
        dot: Dot,
    },
    /// An event breaks a rule that every replica judges alike: no honest node has it.
    #[error("the peer sent an event that no replica takes: {reason}")]
    Refused {
        /// The rule.
        reason: String,
    },
    /// Evidence of a fork that proves nothing.
    #[error("the peer sent evidence of a fork that does not hold: {error}")]
    BadEvidence {
        /// What is wrong.
        error: ProofError,
    },
    /// The peer speaks another major version.
    #[error("the peer speaks version {theirs} of the protocol, this node version {ours}: upgrade the older of the two")]
    OtherMajor {
        /// This node's.
        ours: u8,
        /// The peer's.
        theirs: u8,
    },
    /// Who the peer is does not hold for this connection.
    #[error("the peer did not prove that it is {claimed} on this connection: {error}")]
    NotItself {
        /// Who it says that it is.
        claimed: XaeroID,
        /// What is wrong.
        error: ProofError,
    },
}

impl SyncError {
    /// A message of this kind that cannot be read.
    pub(crate) fn malformed(kind: Kind) -> impl Fn(ProofError) -> Self {
        move |error| Self::Malformed { kind, error }
    }
}
