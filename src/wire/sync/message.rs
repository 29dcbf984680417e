//! The messages of the protocol, and their encodings.

use super::{Events, Hello, Kind, Others, SyncError, Tag, frame, hello, tag};
use crate::wire::{
    bytes::Reader,
    fork::{ForkEvidence, MAX_FORK_BYTES as MAX_EVIDENCE_BYTES},
    id::XaeroID,
    interest::Interest,
    key::{PUBLIC_KEY_BYTES, PublicKey},
    mmr::Hash,
};

/// Most entries of one message with a version vector; further ones go into further messages.
pub const MAX_VECTOR_ENTRIES: usize = 4_096;

/// Most bytes of the text with which a connection is ended.
pub const MAX_BYE_TEXT: usize = 256;

pub(super) const MAX_BYE_BYTES: usize = 2 + 2 + MAX_BYE_TEXT;
pub(super) const OPEN_BYTES: usize = Tag::BYTES;
pub(super) const MAX_SUMMARY_BYTES: usize = 32 + 8 + 32;
pub(super) const MAX_VECTOR_BYTES: usize = 1 + 4 + MAX_VECTOR_ENTRIES * VectorEntry::BYTES;
pub(super) const CAUGHT_UP_BYTES: usize = 32 + 8;
pub(super) const MAX_FORK_BYTES: usize = PUBLIC_KEY_BYTES + MAX_EVIDENCE_BYTES;
pub(super) const PUSH_BYTES: usize = 1;

const VECTOR_MORE: u8 = 1;
const VECTOR_PUSH: u8 = 2;

/// What one side tells the other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Who the sender is: the first message on a control stream, of both sides.
    Hello(Box<Hello>),
    /// Which subjects the sender shares, to those who share them: 1 to [`tag::MAX_TAGS`].
    Tags(Vec<Tag>),
    /// Why the sender ends the connection, or the stream.
    Bye(Bye),
    /// Which subject this stream is about: its first message, by the side that opened it.
    Open(Tag),
    /// What the sender has of the subject.
    Summary(Summary),
    /// What the sender has, author by author: all beyond it is wanted.
    Vector(Vector),
    /// Events that the receiver lacks.
    Events(Events),
    /// All that the sender had when it looked last has been sent: its root, and how many events that were.
    CaughtUp {
        /// The subject's root at the sender.
        root: Hash,
        /// Events in the sender's log.
        events: u64,
    },
    /// An author has signed two histories.
    Fork(Box<Fork>),
    /// Whether the sender wants events as they come, or only summaries.
    Push(bool),
    /// What part of the subject the sender keeps: between those who both know of [`FILTERS`](super::hello::FILTERS), the
    /// first message of each side, and again when it changes.
    Interest(Box<Interest>),
    /// Who else shares the subject, as far as the sender knows.
    Others(Others),
}

/// What a side has of a subject, in one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The [subject root](crate::wire::head::subject_root).
    pub root: Hash,
    /// Events in the log.
    pub events: u64,
    /// Hash over what is known of authors who signed two histories: see [`Fork`].
    pub cuts: Hash,
}

/// A part of a version vector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vector {
    /// What the sender has of each author, ascending by author: at most [`MAX_VECTOR_ENTRIES`].
    pub entries: Vec<VectorEntry>,
    /// Whether another part follows.
    pub more: bool,
    /// Whether the sender wants events as they come, once it has caught up.
    pub push: bool,
}

/// What a side has of one author's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorEntry {
    /// The author.
    pub author: XaeroID,
    /// How many events, as far as they count and are shown to be the author's: 1 or more.
    pub length: u64,
    /// The first bytes of the root over these events. Whoever has the log as well, and another root at that length, knows
    /// that the author has signed two histories, and sends the log from its beginning, so that the other side finds out where
    /// they part.
    pub digest: [u8; Self::DIGEST_BYTES],
}

impl VectorEntry {
    /// Length of a digest: nobody makes two logs whose roots begin alike.
    pub const DIGEST_BYTES: usize = 16;

    const BYTES: usize = 32 + 8 + Self::DIGEST_BYTES;

    /// The entry for a log of this length with this root.
    #[must_use]
    pub const fn new(author: XaeroID, length: u64, root: &Hash) -> Self {
        let (digest, _) = root.split_at(Self::DIGEST_BYTES);
        let digest = match digest.first_chunk() {
            Some(digest) => *digest,
            None => [0; Self::DIGEST_BYTES],
        };
        Self { author, length, digest }
    }

    /// Whether this is the root over the events that the entry is about.
    #[must_use]
    pub fn has_root(&self, root: &Hash) -> bool {
        root.starts_with(&self.digest)
    }
}

/// Why a side ends a connection or a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bye {
    /// The reason.
    pub reason: ByeReason,
    /// The same for people: at most [`MAX_BYE_TEXT`] bytes.
    pub text: String,
}

/// Why a connection or a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ByeReason {
    /// The node stops.
    Stopping,
    /// There is another connection between the two.
    Duplicate,
    /// The other side speaks another major version.
    OtherMajor,
    /// The other side broke the protocol.
    Offence,
    /// The other side is not served, at present or at all.
    Refused,
    /// This side failed.
    Failed,
    /// A reason of a later version.
    Other(u16),
}

impl ByeReason {
    /// The number that stands for it, on the stream and as the connection's closing code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Stopping => 1,
            Self::Duplicate => 2,
            Self::OtherMajor => 3,
            Self::Offence => 4,
            Self::Refused => 5,
            Self::Failed => 6,
            Self::Other(code) => code,
        }
    }

    /// The reason that this number stands for.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Stopping,
            2 => Self::Duplicate,
            3 => Self::OtherMajor,
            4 => Self::Offence,
            5 => Self::Refused,
            6 => Self::Failed,
            other => Self::Other(other),
        }
    }
}

/// Evidence that an author signed two histories, with the author's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The author's key.
    pub key: PublicKey,
    /// The evidence. Nothing is checked but its form: [`ForkEvidence::verify`] it.
    pub evidence: ForkEvidence,
}

impl Message {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::HELLO,
            Self::Tags(_) => Kind::TAGS,
            Self::Bye(_) => Kind::BYE,
            Self::Open(_) => Kind::OPEN,
            Self::Summary(_) => Kind::SUMMARY,
            Self::Vector(_) => Kind::VECTOR,
            Self::Events(_) => Kind::EVENTS,
            Self::CaughtUp { .. } => Kind::CAUGHT_UP,
            Self::Fork(_) => Kind::FORK,
            Self::Push(_) => Kind::PUSH,
            Self::Interest(_) => Kind::INTEREST,
            Self::Others(_) => Kind::OTHERS,
        }
    }

    /// Appends the message, its frame included.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        frame::append(out, self.kind(), |out| match self {
            Self::Hello(hello) => hello.encode_body(out),
            Self::Tags(tags) => Tag::write_all(tags, out),
            Self::Bye(Bye { reason, text }) => {
                let text = shortened(text);
                out.extend_from_slice(&reason.code().to_le_bytes());
                out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Self::Open(tag) => out.extend_from_slice(tag.as_bytes()),
            Self::Summary(Summary { root, events, cuts }) => {
                out.extend_from_slice(root);
                out.extend_from_slice(&events.to_le_bytes());
                out.extend_from_slice(cuts);
            }
            Self::Vector(vector) => vector.write(out),
            Self::Events(events) => out.extend_from_slice(events.body()),
            Self::CaughtUp { root, events } => {
                out.extend_from_slice(root);
                out.extend_from_slice(&events.to_le_bytes());
            }
            Self::Fork(fork) => {
                out.extend_from_slice(fork.key.as_bytes());
                out.extend_from_slice(&fork.evidence.encode());
            }
            Self::Push(push) => out.push(u8::from(*push)),
            Self::Interest(interest) => interest.encode_into(out),
            Self::Others(others) => others.write(out),
        });
    }

    /// The message by itself.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// The message of this kind with this body; `None` where it is of a kind that may be skipped.
    ///
    /// # Errors
    /// Says which field is not as [`encode_into`](Self::encode_into) writes it.
    pub fn decode(kind: Kind, body: Vec<u8>) -> Result<Option<Self>, SyncError> {
        if kind == Kind::EVENTS {
            // The only one that keeps its bytes.
            return Events::decode(body).map(Self::Events).map(Some);
        }
        let body = body.as_slice();
        Ok(Some(match kind {
            Kind::HELLO => Self::Hello(Box::new(Hello::decode(body)?)),
            Kind::TAGS => Self::Tags(Tag::read_all(body)?),
            Kind::FORK => Self::Fork(Box::new(fork(body)?)),
            Kind::VECTOR => Self::Vector(Vector::read(body)?),
            Kind::INTEREST => {
                Self::Interest(Box::new(Interest::decode(body).map_err(SyncError::malformed(Kind::INTEREST))?))
            }
            Kind::OTHERS => Self::Others(Others::read(body)?),
            kind if kind.is_optional() => return Ok(None),
            kind => plain(kind, body)?,
        }))
    }
}

/// The messages of plain fields.
fn plain(kind: Kind, body: &[u8]) -> Result<Message, SyncError> {
    let malformed = SyncError::malformed(kind);
    let bad = |field| SyncError::BadField { kind, field };
    let mut reader = Reader::new("a message", body);
    let message = match kind {
        Kind::BYE => {
            let (code, length) = (reader.u16().map_err(&malformed)?, reader.u16().map_err(&malformed)?);
            let text = reader.take(usize::from(length)).map_err(&malformed)?;
            let text = std::str::from_utf8(text).ok().filter(|text| !text.chars().any(char::is_control));
            let text = text.filter(|text| text.len() <= MAX_BYE_TEXT).ok_or(bad("text"))?.to_owned();
            Message::Bye(Bye { reason: ByeReason::from_code(code), text })
        }
        Kind::OPEN => Message::Open(Tag::from_bytes(reader.array().map_err(&malformed)?)),
        Kind::SUMMARY => Message::Summary(Summary {
            root: reader.array().map_err(&malformed)?,
            events: reader.u64().map_err(&malformed)?,
            cuts: reader.array().map_err(&malformed)?,
        }),
        Kind::CAUGHT_UP => {
            Message::CaughtUp { root: reader.array().map_err(&malformed)?, events: reader.u64().map_err(&malformed)? }
        }
        Kind::PUSH => match reader.array().map_err(&malformed)? {
            [0] => Message::Push(false),
            [1] => Message::Push(true),
            _ => return Err(bad("flag")),
        },
        other => return Err(SyncError::UnknownKind(other.byte())),
    };
    reader.finish().map_err(&malformed)?;
    Ok(message)
}

fn fork(body: &[u8]) -> Result<Fork, SyncError> {
    let malformed = SyncError::malformed(Kind::FORK);
    let key = Reader::new("evidence of a fork", body).take(PUBLIC_KEY_BYTES).map_err(&malformed)?;
    let key = PublicKey::from_bytes(key).map_err(|_| SyncError::BadField { kind: Kind::FORK, field: "public key" })?;
    let evidence = ForkEvidence::decode(body.get(PUBLIC_KEY_BYTES..).unwrap_or_default()).map_err(&malformed)?;
    Ok(Fork { key, evidence })
}

impl Vector {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(if self.more { VECTOR_MORE } else { 0 } | if self.push { VECTOR_PUSH } else { 0 });
        out.extend_from_slice(&u32::try_from(self.entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        for VectorEntry { author, length, digest } in &self.entries {
            out.extend_from_slice(author.as_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(digest);
        }
    }

    fn read(body: &[u8]) -> Result<Self, SyncError> {
        let malformed = SyncError::malformed(Kind::VECTOR);
        let bad = |field| SyncError::BadField { kind: Kind::VECTOR, field };
        let mut reader = Reader::new("a version vector", body);
        let [flags] = reader.array().map_err(&malformed)?;
        if flags & !(VECTOR_MORE | VECTOR_PUSH) != 0 {
            return Err(bad("flags"));
        }
        let count = usize::try_from(reader.u32().map_err(&malformed)?).unwrap_or(usize::MAX);
        if count > MAX_VECTOR_ENTRIES || body.len() != 5 + count * VectorEntry::BYTES {
            return Err(bad("number of entries"));
        }
        let mut entries: Vec<VectorEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            let author = XaeroID::from(reader.array::<32>().map_err(&malformed)?);
            let (length, digest) = (reader.u64().map_err(&malformed)?, reader.array().map_err(&malformed)?);
            if length == 0 || entries.last().is_some_and(|last| last.author >= author) {
                return Err(bad("order of entries"));
            }
            entries.push(VectorEntry { author, length, digest });
        }
        reader.finish().map_err(&malformed)?;
        Ok(Self { entries, more: flags & VECTOR_MORE != 0, push: flags & VECTOR_PUSH != 0 })
    }
}

/// As much of the text as a message takes, without what would break the lines of a log.
fn shortened(text: &str) -> String {
    let mut short = String::with_capacity(text.len().min(MAX_BYE_TEXT));
    for character in text.chars().filter(|character| !character.is_control()) {
        if short.len() + character.len_utf8() > MAX_BYE_TEXT {
            break;
        }
        short.push(character);
    }
    short
}

const _: () = assert!(hello::MAX_EXTENSION_BYTES < u16::MAX as usize && tag::MAX_TAGS < u32::MAX as usize);

#[cfg(test)]
mod tests;
