//! What can be wrong with a proof.

use thiserror::Error;

use crate::wire::{
    frame::FrameError,
    head::MAX_BATCH_HEADS,
    id::{SubjectId, XaeroID},
    key::{KeyError, SIGNATURE_BYTES},
    limits::{MAX_DEPS, MAX_PAYLOAD_BYTES},
};

/// Why a head, a proof, a range or an evidence is refused: the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The bytes do not start as they should.
    #[error("these bytes are not {what}: they do not start with {magic}")]
    WrongMagic {
        /// What they should be.
        what: &'static str,
        /// What they should start with.
        magic: &'static str,
    },
    /// There are fewer bytes than the fields ask for.
    #[error("{what} is cut short: it has {have} bytes and needs {need} or more; copy it again, whole")]
    CutShort {
        /// What they should be.
        what: &'static str,
        /// Bytes that are there.
        have: usize,
        /// Bytes up to the end of the field that is not whole.
        need: usize,
    },
    /// There are more bytes than the fields ask for.
    #[error("{what} is followed by {bytes} bytes that do not belong to it: copy it again, and nothing else")]
    TrailingBytes {
        /// What they should be.
        what: &'static str,
        /// How many there are too many.
        bytes: usize,
    },
    /// Of a version that this program does not know.
    #[error("{what} has format version {version}, which this program does not know: upgrade xaeroflux")]
    UnknownVersion {
        /// What the bytes are.
        what: &'static str,
        /// The version.
        version: u8,
    },
    /// Signed with an algorithm that this program does not know.
    #[error("{what} is signed with algorithm {algorithm}, which this program does not know: upgrade xaeroflux")]
    UnknownAlgorithm {
        /// What the bytes are.
        what: &'static str,
        /// The algorithm.
        algorithm: u8,
    },
    /// A field has a value that no writer of this version produces.
    #[error("the {0} has a value that this version never writes: the bytes are damaged")]
    BadField(&'static str),
    /// About another subject.
    #[error("this is about subject {found}, not about subject {expected}")]
    OtherSubject {
        /// The subject that it should be about.
        expected: SubjectId,
        /// The subject that it is about.
        found: SubjectId,
    },
    /// By another author, or checked with the key of another author.
    #[error("this is by author {found}, not by author {expected}: get the public key of the author that is meant")]
    OtherAuthor {
        /// The author that it should be by: where a key is used, the key's.
        expected: XaeroID,
        /// The author that it is by.
        found: XaeroID,
    },
    /// About an event with another sequence number.
    #[error("this is about event {found} of the author, not about event {expected}")]
    OtherSeq {
        /// The sequence number that it should be about.
        expected: u64,
        /// The sequence number that it is about.
        found: u64,
    },
    /// About a log of another length.
    #[error("this is about a log of {found} events, not of {expected}")]
    OtherLength {
        /// The length that it should be about.
        expected: u64,
        /// The length that it is about.
        found: u64,
    },
    /// The event differs from the one that is proven.
    #[error("the event's {0} is not what the proof says: it is another event, or was altered")]
    AlteredEvent(&'static str),
    /// The event is in no log.
    #[error("the event is in no log yet, so nothing can be proven about it: take it from a subject that runs")]
    NotInALog,
    /// A leaf beyond the end of the log.
    #[error("place {index} is not in a tree of {length} leaves")]
    NotInTree {
        /// The place, from 0.
        index: u64,
        /// The number of leaves.
        length: u64,
    },
    /// A path of the wrong length.
    #[error("the path has {have} hashes, not the {need} that its place and the tree's length ask for")]
    PathLength {
        /// Hashes that are there.
        have: usize,
        /// Hashes that there must be.
        need: usize,
    },
    /// The path does not lead to the signed root.
    #[error("the path does not lead to the signed root: the event, the path or the head was altered")]
    BadPath,
    /// The events of a range do not give the signed root.
    #[error(
        "these events do not give the root that their author signed: one was altered or left out, or the log has forked; fetch them from another peer"
    )]
    WrongRoot,
    /// A log that is shorter than it was.
    #[error("a log of {new} events cannot continue one of {old}: a log only grows")]
    Shrunk {
        /// The length that it should continue.
        old: u64,
        /// The length that it has.
        new: u64,
    },
    /// The longer log does not begin with the shorter one.
    #[error("the log of {new} events does not begin with the one of {old}: one of the two was altered, or it forked")]
    NotAnExtension {
        /// The length of the shorter log.
        old: u64,
        /// The length of the longer log.
        new: u64,
    },
    /// A signature of another length: cut short, unpadded, or of another algorithm.
    #[error(
        "the signature has {have} bytes, not {SIGNATURE_BYTES}: only the padded encoding of Falcon-512 is accepted; sign again with it"
    )]
    SignatureLength {
        /// Bytes that it has.
        have: usize,
    },
    /// A signature of the right length in another encoding.
    #[error(
        "the signature starts with {header:#04x}, so it is not in the padded encoding of Falcon-512, the only one that is accepted; sign again with it"
    )]
    SignatureEncoding {
        /// Its first byte.
        header: u8,
    },
    /// The signature does not hold.
    #[error("the signature does not hold: it is over something else, by another key, or damaged")]
    BadSignature,
    /// The signer could not sign.
    #[error("the heads could not be signed: {0}")]
    CannotSign(KeyError),
    /// A batch of no heads or too many.
    #[error("a batch has 1 to {MAX_BATCH_HEADS} heads, not {0}: sign them in several batches")]
    BatchSize(usize),
    /// A head of a log without events.
    #[error("a log without events has no head: sign it once it has one")]
    EmptyLog,
    /// A sequence number of 0.
    #[error("sequence numbers start at 1")]
    SeqZero,
    /// Dependencies that are not in order, or name the event's own author.
    #[error("the dependencies are not in ascending order, or name the event's own author or no event")]
    BadDeps,
    /// Too many dependencies.
    #[error("an event names at most {MAX_DEPS} dependencies, not {0}")]
    TooManyDeps(usize),
    /// A payload above the limit.
    #[error("a payload has at most {MAX_PAYLOAD_BYTES} bytes, not {0}")]
    PayloadTooLarge(usize),
    /// An event type of a newer version.
    #[error("the event type {0:?} is unknown to this program: upgrade xaeroflux")]
    UnknownEventType([u8; 2]),
    /// A fork's halves name one event.
    #[error("both halves name the same event, so they prove no fork")]
    SameEvent,
    /// The halves of a fork are not in ascending order of their event ids.
    #[error("the halves are not in ascending order of their event ids, which is the only encoding of an evidence")]
    HalvesOutOfOrder,
    /// A frame of a range cannot be read.
    #[error("frame {place} of the range cannot be read: {error}")]
    Frame {
        /// Its place among the frames that were given, from 0.
        place: usize,
        /// What is wrong with it.
        error: FrameError,
    },
}
