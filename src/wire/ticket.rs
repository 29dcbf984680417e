//! Tickets: what one person hands to another so that both share a subject.
//!
//! A ticket names the subject, holds the secret that all who share it know, and says where some of them can be reached. It
//! is a text of at most [`MAX_TICKET_CHARS`] characters, to be sent as a message or shown as a picture. Whoever has it can
//! read the subject: it is to be kept like a password.
//!
//! The text is `xaero` and, in base64url without padding:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | kind of subject: 1 open, 2 owned |
//! | 32 | secret |
//! | 32 | subject id, of an owned subject only: that of an open one follows from its name |
//! | 2 | length of the name, n, in little-endian |
//! | n | the name; of an owned subject a proposal for what to call it |
//! | 1 | number of peers |
//! | | each peer, as in [`endpoint`](crate::wire::endpoint) |
//! | 4 | CRC32C of all bytes before it, little-endian |
//!
//! In every version the bytes start with the version and end with the checksum, so that a newer ticket is told from a
//! damaged one; and the checksum sees every change of up to 32 bits in a row, so that no single character can be mistaken.
//! A ticket has one text: what would be written in another way is refused.

use std::{fmt, str::FromStr};

use data_encoding::BASE64URL_NOPAD;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::wire::{
    bytes::Reader,
    endpoint::{MAX_PEER_BYTES, PeerAddr, merged},
    id::SubjectId,
    name::{self, NameError},
};

/// Longest text of a ticket, in characters: what a code to be photographed, or one line of a message, holds with ease.
pub const MAX_TICKET_CHARS: usize = 512;

/// Most peers that a ticket names. Any of them knows the others.
pub const MAX_TICKET_PEERS: usize = 16;

/// What the text starts with.
const PREFIX: &str = "xaero";

const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;

/// Most bytes behind the prefix: four characters hold three of them.
const MAX_BYTES: usize = (MAX_TICKET_CHARS - PREFIX.len()) * 3 / 4;

/// Bytes of a ticket of an open subject without a name or a peer.
const LEAST_BYTES: usize = 1 + 1 + 32 + 2 + 1 + CRC_BYTES;

/// Longest name of an open subject in a ticket, in bytes.
pub const MAX_OPEN_NAME_BYTES: usize = MAX_BYTES - LEAST_BYTES;

/// Longest name of an owned subject in a ticket, in bytes: its identifier is there too.
pub const MAX_OWNED_NAME_BYTES: usize = MAX_OPEN_NAME_BYTES - 32;

/// What all who share a subject know. Wiped from memory when dropped, and never shown by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SubjectSecret([u8; 32]);

impl SubjectSecret {
    /// The secret's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for SubjectSecret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for SubjectSecret {
    /// Takes the same time for all secrets.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |differing, (left, right)| differing | (left ^ right)) == 0
    }
}

impl Eq for SubjectSecret {}

impl fmt::Debug for SubjectSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectSecret(..)")
    }
}

/// Who may write to a subject, and where its identifier comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// Everybody who has it. Its identifier follows from its name, so that two who choose one name have one subject.
    Open,
    /// Whom its creator or an owner lets. Its identifier follows from its genesis, and its name is a local alias.
    Owned,
}

impl SubjectKind {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Owned => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Owned),
            _ => None,
        }
    }
}

/// A subject to share: see the [module](self).
///
/// ```
/// use xaeroflux::wire::ticket::{SubjectSecret, SubjectTicket};
/// let ticket = SubjectTicket::open("workspace/docs/object/tags", SubjectSecret::from([7; 32]), &[])?;
/// let text = ticket.to_string();
/// assert!(text.starts_with("xaero") && text.len() <= 512);
/// assert_eq!(text.parse::<SubjectTicket>()?, ticket);
/// # Ok::<(), xaeroflux::wire::ticket::TicketError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectTicket {
    kind: SubjectKind,
    subject: SubjectId,
    name: String,
    secret: SubjectSecret,
    peers: Vec<PeerAddr>,
}

impl SubjectTicket {
    /// A ticket for the open subject with this name.
    ///
    /// Where there is no room for all peers, addresses are left out from the end, then relays and peers.
    ///
    /// # Errors
    /// Where no subject can have the name, or it is too long for a ticket.
    pub fn open(name: &str, secret: SubjectSecret, peers: &[PeerAddr]) -> Result<Self, TicketError> {
        Self::new(SubjectKind::Open, name::open_subject_id(name), name, secret, peers)
    }

    /// A ticket for an owned subject, and what to call it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn owned(
        subject: SubjectId,
        name: &str,
        secret: SubjectSecret,
        peers: &[PeerAddr],
    ) -> Result<Self, TicketError> {
        Self::new(SubjectKind::Owned, subject, name, secret, peers)
    }

    fn new(
        kind: SubjectKind,
        subject: SubjectId,
        name: &str,
        secret: SubjectSecret,
        peers: &[PeerAddr],
    ) -> Result<Self, TicketError> {
        name::check(name)?;
        let most = match kind {
            SubjectKind::Open => MAX_OPEN_NAME_BYTES,
            SubjectKind::Owned => MAX_OWNED_NAME_BYTES,
        };
        if name.len() > most {
            return Err(TicketError::NameTooLong { bytes: name.len(), most });
        }
        let peers = merged(peers, MAX_TICKET_PEERS);
        let mut ticket = Self { kind, subject, name: name.to_owned(), secret, peers };
        while ticket.bytes().len() > MAX_BYTES {
            // Ends: with no peer there is room for any name that got here.
            let shortened =
                ticket.peers.last_mut().is_some_and(|peer| peer.addrs.pop().is_some() || peer.relay.take().is_some());
            if !shortened {
                ticket.peers.pop();
            }
        }
        Ok(ticket)
    }

    /// Whether the subject is open or owned.
    #[must_use]
    pub const fn kind(&self) -> SubjectKind {
        self.kind
    }

    /// The subject.
    #[must_use]
    pub const fn subject(&self) -> SubjectId {
        self.subject
    }

    /// The name of an open subject, or what to call an owned one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What all who share the subject know.
    #[must_use]
    pub const fn secret(&self) -> &SubjectSecret {
        &self.secret
    }

    /// Some who share it, the best first.
    #[must_use]
    pub fn peers(&self) -> &[PeerAddr] {
        &self.peers
    }

    /// All bytes behind the prefix.
    fn bytes(&self) -> Zeroizing<Vec<u8>> {
        // The full capacity at once: a vector that grows leaves copies of the secret behind.
        let mut out = Zeroizing::new(Vec::with_capacity(MAX_BYTES + MAX_PEER_BYTES * self.peers.len()));
        out.extend_from_slice(&[VERSION, self.kind.code()]);
        out.extend_from_slice(self.secret.as_bytes());
        if self.kind == SubjectKind::Owned {
            out.extend_from_slice(self.subject.as_bytes());
        }
        // Checked when the ticket was made.
        out.extend_from_slice(&u16::try_from(self.name.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.push(u8::try_from(self.peers.len()).unwrap_or(u8::MAX));
        self.peers.iter().for_each(|peer| peer.encode_into(&mut out));
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, TicketError> {
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(TicketError::Damaged)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(TicketError::Damaged);
        }
        let (version, body) = body.split_first().ok_or(TicketError::Damaged)?;
        if *version != VERSION {
            return Err(TicketError::OtherVersion(*version));
        }
        let ticket = Self::fields(body).ok_or(TicketError::Malformed)?;
        name::check(&ticket.name)?;
        // Two peers of one endpoint, say: whoever wrote that follows other rules than these.
        let again = Self::new(ticket.kind, ticket.subject, &ticket.name, ticket.secret.clone(), &ticket.peers)?;
        if again != ticket || again.bytes().as_slice() != bytes {
            return Err(TicketError::Malformed);
        }
        Ok(ticket)
    }

    fn fields(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new("a ticket", body);
        let [kind] = reader.array().ok()?;
        let kind = SubjectKind::from_code(kind)?;
        let secret = SubjectSecret::from(reader.array::<32>().ok()?);
        let owned = match kind {
            SubjectKind::Open => None,
            SubjectKind::Owned => Some(SubjectId::from(reader.array::<32>().ok()?)),
        };
        let length = usize::from(reader.u16().ok()?);
        let name = str::from_utf8(reader.take(length).ok()?).ok()?.to_owned();
        let [count] = reader.array().ok()?;
        if usize::from(count) > MAX_TICKET_PEERS {
            return None;
        }
        let peers = (0..count).map(|_| PeerAddr::decode(&mut reader)).collect::<Option<Vec<_>>>()?;
        reader.finish().ok()?;
        let subject = owned.unwrap_or_else(|| name::open_subject_id(&name));
        Some(Self { kind, subject, name, secret, peers })
    }
}

impl fmt::Display for SubjectTicket {
    /// The whole ticket, its secret included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Zeroizing::new(BASE64URL_NOPAD.encode(&self.bytes()));
        f.write_str(PREFIX)?;
        f.write_str(&text)
    }
}

impl FromStr for SubjectTicket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(TicketError::NotATicket)?;
        if text.len() > MAX_TICKET_CHARS {
            return Err(TicketError::TooLong(text.len()));
        }
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| TicketError::Damaged)?;
        Self::from_bytes(&Zeroizing::new(bytes))
    }
}

/// A text that is not a ticket, or a ticket that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The text does not start as a ticket does.
    #[error("this is not a ticket: a ticket starts with \"{PREFIX}\"; copy the whole of it, and nothing else")]
    NotATicket,
    /// The text is longer than any ticket.
    #[error("a ticket has at most {MAX_TICKET_CHARS} characters, this text has {0} bytes: copy the ticket alone")]
    TooLong(usize),
    /// A ticket of another version.
    #[error(
        "the ticket has version {0}, which this program does not know: upgrade xaeroflux, or ask for another ticket"
    )]
    OtherVersion(u8),
    /// Characters are missing, or others than they were.
    #[error("the ticket is damaged: a character is missing or was changed; copy it again, or ask for another one")]
    Damaged,
    /// The checksum holds, but no program of this version writes such a ticket.
    #[error("the ticket breaks the rules of its version: ask for another one, made by xaeroflux")]
    Malformed,
    /// The name of the subject.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no room for the name.
    #[error(
        "a ticket has room for a name of {most} bytes, and the subject's has {bytes}: use a shorter name for a subject that is to be shared"
    )]
    NameTooLong {
        /// Bytes of the name.
        bytes: usize,
        /// Bytes that there is room for.
        most: usize,
    },
}

#[cfg(test)]
mod tests;
