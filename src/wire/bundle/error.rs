//! What can be wrong with a bundle.

use thiserror::Error;

use super::{MAX_AUTHORS, section::Kind};
use crate::wire::{
    frame::FrameError,
    id::{Dot, SubjectId, XaeroID},
    key::KeyError,
    name::NameError,
    proof::ProofError,
};

/// Why a bundle is refused: the rule that it breaks, and where. Places are bytes from the start of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bytes do not start as a bundle does.
    #[error(transparent)]
    Preamble(ProofError),
    /// The input ended within a bundle.
    #[error("the bundle is cut short: it ends at byte {at}, within {within}; get the rest, and import the whole file")]
    CutShort {
        /// Where the input ended.
        at: u64,
        /// What is not whole.
        within: &'static str,
    },
    /// A checksum differs.
    #[error("the {kind} section at byte {at} is damaged: its checksum does not hold; copy the bundle again")]
    Checksum {
        /// Where the section begins.
        at: u64,
        /// What it says to be.
        kind: Kind,
    },
    /// A section is longer than any of its kind.
    #[error("the {kind} section at byte {at} claims {have} bytes, more than the {limit} that any has")]
    TooLong {
        /// Where the section begins.
        at: u64,
        /// Its kind.
        kind: Kind,
        /// Bytes that it claims.
        have: usize,
        /// The limit.
        limit: usize,
    },
    /// A required section that this program does not know.
    #[error("the bundle has a {kind} section at byte {at}, which this program must know to read it: upgrade xaeroflux")]
    UnknownSection {
        /// Where the section begins.
        at: u64,
        /// Its kind.
        kind: Kind,
    },
    /// A section where it must not be.
    #[error("the {kind} section at byte {at} is not in its place: no writer makes such a bundle")]
    OutOfOrder {
        /// Where the section begins.
        at: u64,
        /// Its kind.
        kind: Kind,
    },
    /// A section's fields do not fit its length.
    #[error("the {kind} section at byte {at} is malformed: {error}")]
    Malformed {
        /// Where the section begins.
        at: u64,
        /// Its kind.
        kind: Kind,
        /// What is wrong.
        error: ProofError,
    },
    /// A number that contradicts others.
    #[error("the {kind} section at byte {at} contradicts the rest of the bundle: its {field} is wrong")]
    Contradiction {
        /// Where the section begins.
        at: u64,
        /// Its kind.
        kind: Kind,
        /// Which field.
        field: &'static str,
    },
    /// Something follows the end.
    #[error("the bundle ends at byte {at}, and more follows: pass the bundle, and nothing else")]
    TrailingBytes {
        /// Where the bundle ends.
        at: u64,
    },
    /// The hash over all bytes differs.
    #[error("the hash over all {at} bytes of the bundle does not hold: copy it again")]
    WrongHash {
        /// Where the hash is.
        at: u64,
    },
    /// The subject's name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The subject's id is not that of its name.
    #[error("the bundle names its subject {name:?}, which has not the id {found}: the bundle is forged")]
    OtherName {
        /// The name.
        name: String,
        /// The id that the bundle gives.
        found: SubjectId,
    },
    /// Too many authors.
    #[error("a bundle has at most {MAX_AUTHORS} authors, not {0}")]
    TooManyAuthors(u32),
    /// A public key that is none.
    #[error("the public key at byte {at} cannot be used: {error}")]
    Key {
        /// Where its section begins.
        at: u64,
        /// What is wrong with it.
        error: KeyError,
    },
    /// A signed head that does not hold.
    #[error("the head of author {author} does not hold: {error}")]
    Head {
        /// Whose head.
        author: XaeroID,
        /// What is wrong with it.
        error: ProofError,
    },
    /// What must be here already is not what the bundle continues.
    #[error(
        "the bundle continues another log of author {author} than the one here: export the subject from its first event on"
    )]
    OtherBase {
        /// Whose log.
        author: XaeroID,
    },
    /// A frame cannot be read.
    #[error("event {place} of the chunk at byte {at} cannot be read: {error}")]
    Frame {
        /// Where the chunk begins.
        at: u64,
        /// The event's place in the chunk, from 0.
        place: usize,
        /// What is wrong with it.
        error: FrameError,
    },
    /// An event of another subject.
    #[error("event {dot} in the chunk at byte {at} is of subject {found}, not of this bundle's")]
    OtherSubject {
        /// Where the chunk begins.
        at: u64,
        /// The event.
        dot: Dot,
        /// Its subject.
        found: SubjectId,
    },
    /// An event of an author that the bundle does not list.
    #[error("event {dot} in the chunk at byte {at} is of an author whose key and head are not in the bundle")]
    UnknownAuthor {
        /// Where the chunk begins.
        at: u64,
        /// The event.
        dot: Dot,
    },
    /// An event out of its author's order.
    #[error("event {dot} in the chunk at byte {at} is not the author's next, which is number {expected}")]
    OtherSeq {
        /// Where the chunk begins.
        at: u64,
        /// The event.
        dot: Dot,
        /// The author's next sequence number.
        expected: u64,
    },
    /// An event before one of its causes.
    #[error("event {dot} in the chunk at byte {at} comes before {missing}, which its author had seen")]
    CauseMissing {
        /// Where the chunk begins.
        at: u64,
        /// The event.
        dot: Dot,
        /// The cause.
        missing: Dot,
    },
    /// The events of a chunk are not those that their author signed.
    #[error(
        "the events of author {author} in the chunk at byte {at} are not those of the signed log, up to number {length}: {error}"
    )]
    NotSigned {
        /// Where the chunk begins.
        at: u64,
        /// Whose events.
        author: XaeroID,
        /// The length of the author's log with them.
        length: u64,
        /// What is wrong with the proof.
        error: ProofError,
    },
    /// Fewer events than the head says.
    #[error("the bundle has {have} events of author {author}, whose signed log has {need}")]
    Incomplete {
        /// Whose events.
        author: XaeroID,
        /// The length of the log that the bundle gives.
        have: u64,
        /// The length of the signed log.
        need: u64,
    },
}
