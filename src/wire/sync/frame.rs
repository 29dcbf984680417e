//! The frame around a message: its kind and its length, which is judged before a byte of the body is read.

use std::fmt;

use super::{SyncError, chunk, hello, message, others, tag};
use crate::wire::interest::MAX_INTEREST_BYTES;

/// Length of a frame's header: the kind, and the length of the body.
pub const HEADER_BYTES: usize = 5;

/// Longest body of a message that a peer may skip because it does not know its kind. Enough for what a later version may
/// want to add, and nothing that could be used to fill memory.
pub const MAX_SKIPPED_BYTES: usize = 64 << 10;

/// Kinds from here on may be skipped by who does not know them.
const FIRST_OPTIONAL: u8 = 128;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(u8);

impl Kind {
    /// Who the sender is: the first message on a control stream, of both sides.
    pub const HELLO: Self = Self(1);
    /// Which subjects the sender shares, told to those who share them.
    pub const TAGS: Self = Self(2);
    /// Why the sender ends the connection.
    pub const BYE: Self = Self(3);
    /// Which subject a stream is about: its first message, by the side that opened it.
    pub const OPEN: Self = Self(16);
    /// What the sender has, in one hash.
    pub const SUMMARY: Self = Self(17);
    /// What the sender has, author by author, and wants more of.
    pub const VECTOR: Self = Self(18);
    /// Events.
    pub const EVENTS: Self = Self(19);
    /// The receiver has all that the sender has.
    pub const CAUGHT_UP: Self = Self(20);
    /// An author has signed two histories.
    pub const FORK: Self = Self(21);
    /// Whether events are to be pushed as they come.
    pub const PUSH: Self = Self(22);
    /// Who else shares the subject. Of minor version 1; who does not know it skips it.
    pub const OTHERS: Self = Self(128);

    /// What part of the subject the sender keeps.
    pub const INTEREST: Self = Self(129);

    /// The byte.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// The kind that this byte stands for.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// Whether who does not know it may skip it.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        self.0 >= FIRST_OPTIONAL
    }

    /// The longest body of a message of this kind.
    ///
    /// # Errors
    /// [`SyncError::UnknownKind`].
    pub const fn limit(self) -> Result<usize, SyncError> {
        Ok(match self {
            Self::HELLO => hello::MAX_HELLO_BYTES,
            Self::TAGS => tag::MAX_TAGS_BYTES,
            Self::BYE => message::MAX_BYE_BYTES,
            Self::OPEN => message::OPEN_BYTES,
            Self::SUMMARY => message::MAX_SUMMARY_BYTES,
            Self::VECTOR => message::MAX_VECTOR_BYTES,
            Self::EVENTS => chunk::MAX_EVENTS_BYTES,
            Self::CAUGHT_UP => message::CAUGHT_UP_BYTES,
            Self::FORK => message::MAX_FORK_BYTES,
            Self::PUSH => message::PUSH_BYTES,
            Self::INTEREST => MAX_INTEREST_BYTES,
            Self::OTHERS => others::MAX_OTHERS_BYTES,
            Self(byte) if byte >= FIRST_OPTIONAL => MAX_SKIPPED_BYTES,
            Self(byte) => return Err(SyncError::UnknownKind(byte)),
        })
    }

    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::HELLO => "hello",
            Self::TAGS => "tags",
            Self::BYE => "bye",
            Self::OPEN => "open",
            Self::SUMMARY => "summary",
            Self::VECTOR => "vector",
            Self::EVENTS => "events",
            Self::CAUGHT_UP => "caught-up",
            Self::FORK => "fork",
            Self::PUSH => "push",
            Self::INTEREST => "interest",
            Self::OTHERS => "others",
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind {}", self.0),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({self})")
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the message is.
    pub kind: Kind,
    /// Bytes of its body: not above the limit of its kind.
    pub length: usize,
}

impl Header {
    /// The header with these bytes, its length compared with the limit of its kind.
    ///
    /// # Errors
    /// [`SyncError::UnknownKind`], [`SyncError::TooLong`].
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, SyncError> {
        let [kind, l0, l1, l2, l3] = bytes;
        let kind = Kind(kind);
        let (have, limit) = (u32::from_le_bytes([l0, l1, l2, l3]), kind.limit()?);
        match usize::try_from(have) {
            Ok(length) if length <= limit => Ok(Self { kind, length }),
            _ => Err(SyncError::TooLong { kind, have: u64::from(have), limit }),
        }
    }
}

impl Header {
    /// The bytes of the header.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let [l0, l1, l2, l3] = u32::try_from(self.length).unwrap_or(u32::MAX).to_le_bytes();
        [self.kind.0, l0, l1, l2, l3]
    }
}

/// Appends a frame whose body `write` appends.
pub(crate) fn append(out: &mut Vec<u8>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[kind.0, 0, 0, 0, 0]);
    let body = out.len();
    write(out);
    let length = u32::try_from(out.len() - body).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(start + 1..body) {
        slot.copy_from_slice(&length.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_has_the_limit_of_each_kind() {
        let page = include_str!("../../../docs/protocol.md");
        let thousands = |text: &str| text.replace(',', "").parse().ok();
        for byte in (0..=u8::MAX).filter(|byte| Kind(*byte).name().is_some()) {
            let start = format!("| {byte} | `{}` |", Kind(byte));
            let line = page.lines().find(|line| line.starts_with(&start)).expect(&start);
            let limit = line.trim_end_matches('|').rsplit('|').next().unwrap().trim();
            let evidence = super::super::message::MAX_FORK_BYTES;
            let limit = thousands(limit).or((limit == "897 + the longest fork evidence").then_some(evidence));
            assert_eq!(limit, Kind(byte).limit().ok(), "{line}");
        }
    }

    #[test]
    fn a_length_above_the_limit_of_its_kind_is_refused_before_the_body() {
        for byte in 0..=u8::MAX {
            let kind = Kind::from_byte(byte);
            let header = |length: usize| {
                let [l0, l1, l2, l3] = u32::try_from(length).unwrap().to_le_bytes();
                Header::decode([byte, l0, l1, l2, l3])
            };
            match kind.limit() {
                Ok(limit) => {
                    assert_eq!(header(limit), Ok(Header { kind, length: limit }));
                    let have = limit as u64 + 1;
                    assert_eq!(header(limit + 1), Err(SyncError::TooLong { kind, have, limit }));
                }
                Err(error) => {
                    assert_eq!(error, SyncError::UnknownKind(byte));
                    assert!(!kind.is_optional());
                    assert_eq!(header(0), Err(error));
                }
            }
        }
    }
}
