//! What can go wrong with an export or an import.

use std::{io, sync::Arc};

use thiserror::Error;

use crate::{
    actors::{committer::IngestRefusal, storage::StorageError},
    subject::error::Error,
    wire::{
        bundle::{BundleError, MAX_AUTHORS},
        fork::{ForkEvidence, ForkHalf},
        id::{Dot, EventId, XaeroID},
        proof::ProofError,
    },
};

/// Why a subject cannot be exported.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The node or its data directory.
    #[error(transparent)]
    Node(#[from] Error),
    /// The writer refused.
    #[error("the bundle could not be written: {0}")]
    Write(Arc<io::Error>),
    /// There is nothing to export.
    #[error("the subject {name:?} has no events here: check its name")]
    Empty {
        /// The subject's name.
        name: String,
    },
    /// There is only a part of the subject here.
    #[error(
        "a part of the subject {name:?} is kept here only ({filter}), and a bundle has all: export it on a node that has all"
    )]
    Partial {
        /// The subject's name.
        name: String,
        /// What is kept here.
        filter: crate::ReplicaFilter,
    },
    /// The export is to begin after the end.
    #[error("the subject has {events} events here, so an export cannot begin after the first {from}")]
    BeyondEnd {
        /// How many events were to be left out.
        from: u64,
        /// How many there are.
        events: u64,
    },
    /// Nothing shows that an author wrote all of its events.
    #[error(
        "author {author} has {length} events here and a signed head over {signed} of them: nobody could verify the rest; import them from a bundle, or from a peer that has the head"
    )]
    Unsigned {
        /// Whose events.
        author: XaeroID,
        /// Events that its newest signed head covers.
        signed: u64,
        /// Events in the log.
        length: u64,
    },
    /// An author's key is not here.
    #[error("the public key of author {author} is not known here: import its events from a bundle, which has it")]
    UnknownKey {
        /// Whose key.
        author: XaeroID,
    },
    /// Too many authors.
    #[error("the subject has {0} authors, and a bundle has room for {MAX_AUTHORS}")]
    TooManyAuthors(usize),
    /// No moment was found at which the heads of all authors fit together.
    #[error(
        "events of several authors kept arriving faster than their heads could be collected: export again when fewer arrive"
    )]
    Restless,
}

impl From<StorageError> for ExportError {
    fn from(error: StorageError) -> Self {
        Self::Node(error.into())
    }
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        Self::Write(Arc::new(error))
    }
}

/// An import that ended before its time. What was verified before stays in the log.
#[derive(Debug, Clone, Error)]
#[error("{failure}{}", stays(*.new, *.duplicates))]
pub struct ImportError {
    /// Why it ended.
    #[source]
    pub failure: Box<ImportFailure>,
    /// Events that it has brought before: verified, durable, and in the log for good.
    pub new: u64,
    /// Events before that were in the log already.
    pub duplicates: u64,
}

fn stays(new: u64, duplicates: u64) -> String {
    match (new, duplicates) {
        (0, 0) => " (nothing was imported)".to_owned(),
        (0, _) => format!(" (the {duplicates} events before it were here already)"),
        _ => format!(" ({new} events before it are verified and imported, and stay)"),
    }
}

/// Why an import ended.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ImportFailure {
    /// The bundle is damaged, cut short or forged: see [`BundleError`].
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The reader refused.
    #[error("the bundle could not be read: {0}")]
    Read(Arc<io::Error>),
    /// The node or its data directory.
    #[error(transparent)]
    Node(#[from] Error),
    /// The bundle goes on where the log here has not come yet.
    #[error(
        "the bundle leaves out the subject's first {first} events, and of author {author} only {have} of {base} are here: import a bundle that begins earlier first"
    )]
    PrefixMissing {
        /// How many events the bundle leaves out.
        first: u64,
        /// Whose events are missing.
        author: XaeroID,
        /// How many are here.
        have: u64,
        /// How many must be.
        base: u64,
    },
    /// The author has another history here.
    #[error(transparent)]
    Fork(Box<ImportFork>),
    /// An event that is its author's breaks a rule of the protocol all the same.
    #[error(transparent)]
    Refused(IngestRefusal),
}

impl From<StorageError> for ImportFailure {
    fn from(error: StorageError) -> Self {
        Self::Node(error.into())
    }
}

/// Two events with one author and sequence number: one in the log here, one in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "author {} has another event number {} here than in the bundle ({} and {}): its log has forked; nothing of the chunk with it was imported",
    .dot.author, .dot.seq, .here, .there
)]
pub struct ImportFork {
    /// The contested place.
    pub dot: Dot,
    /// The event that is here.
    pub here: EventId,
    /// The event of the bundle.
    pub there: EventId,
    /// That the author has signed the event here; `None` where no signed head covers it.
    pub ours: Option<ForkHalf>,
    /// That the author has signed the event of the bundle.
    pub theirs: Option<ForkHalf>,
}

impl ImportFork {
    /// The evidence against the author, which anybody can verify; `None` where only one of the two events is shown to be the
    /// author's.
    ///
    /// # Errors
    /// Where the two halves do not contradict each other.
    pub fn evidence(&self) -> Result<Option<ForkEvidence>, ProofError> {
        match (&self.ours, &self.theirs) {
            (Some(ours), Some(theirs)) => ForkEvidence::new(ours.clone(), theirs.clone()).map(Some),
            _ => Ok(None),
        }
    }
}
