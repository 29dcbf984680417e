//! What a bundle begins with: its subject, and its authors.

use super::{BundleError, MAX_AUTHORS, section::Kind};
use crate::wire::{
    bytes::Reader,
    fork::{ForkEvidence, MAX_FORK_BYTES},
    head::{MAX_SIGNED_HEAD_BYTES, SignedHead},
    id::{SubjectId, XaeroID},
    key::{PUBLIC_KEY_BYTES, PublicKey},
    limits::MAX_SUBJECT_NAME_BYTES,
    mmr::Hash,
    name,
};

/// Longest body of an opening.
pub(super) const MAX_OPENING_BYTES: usize = 32 + 8 + 8 + 4 + 2 + MAX_SUBJECT_NAME_BYTES + 1;

/// Stands behind the name of an owned subject.
const OWNED: u8 = 2;

/// Longest body of an author's section.
pub(super) const MAX_AUTHOR_BYTES: usize = 8 + 32 + PUBLIC_KEY_BYTES + MAX_SIGNED_HEAD_BYTES;

/// Longest body of the section of a fork.
pub(super) const MAX_FORK_ENTRY_BYTES: usize = PUBLIC_KEY_BYTES + MAX_FORK_BYTES;

/// Evidence that an author of the subject signed two histories, with the author's key: it need not be an author of the
/// bundle's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkEntry {
    /// The author's key.
    pub key: PublicKey,
    /// The evidence.
    pub evidence: ForkEvidence,
}

impl ForkEntry {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.evidence.encode());
    }

    pub(super) fn read(at: u64, body: &[u8]) -> Result<Self, BundleError> {
        let malformed = |error| BundleError::Malformed { at, kind: Kind::FORK, error };
        let mut reader = Reader::new("the entry of a fork", body);
        let key = reader.take(PUBLIC_KEY_BYTES).map_err(malformed)?;
        let key = PublicKey::from_bytes(key).map_err(|error| BundleError::Key { at, error })?;
        let rest = body.get(PUBLIC_KEY_BYTES..).unwrap_or_default();
        Ok(Self { key, evidence: ForkEvidence::decode(rest).map_err(malformed)? })
    }
}

/// What a bundle is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The subject.
    pub subject: SubjectId,
    /// Its name: of an owned subject what it was called where it was exported, and a proposal elsewhere.
    pub name: String,
    /// Whether it is an owned one, so that its identifier follows from its first event, and not from its name.
    pub is_owned: bool,
    /// How many events came before those of the bundle: 0 in one that is complete.
    pub first: u64,
    /// How many events the bundle has.
    pub events: u64,
    /// How many authors the events so far have, those before the bundle included.
    pub authors: u32,
}

impl Opening {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.subject.as_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.events.to_le_bytes());
        out.extend_from_slice(&self.authors.to_le_bytes());
        out.extend_from_slice(&u16::try_from(self.name.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        if self.is_owned {
            out.push(OWNED);
        }
    }

    pub(super) fn read(at: u64, body: &[u8]) -> Result<Self, BundleError> {
        let kind = Kind::SUBJECT;
        let malformed = |error| BundleError::Malformed { at, kind, error };
        let contradiction = |field| BundleError::Contradiction { at, kind, field };
        let mut reader = Reader::new("an opening", body);
        let mut read = || {
            let subject = SubjectId::from(reader.array()?);
            let (first, events, authors) = (reader.u64()?, reader.u64()?, reader.u32()?);
            let length = usize::from(reader.u16()?);
            Ok((subject, first, events, authors, reader.take(length)?))
        };
        let (subject, first, events, authors, text) = read().map_err(malformed)?;
        let is_owned = match reader.rest() {
            [] => false,
            _ if reader.array().map_err(malformed)? == [OWNED] => true,
            _ => return Err(contradiction("kind of subject")),
        };
        reader.finish().map_err(malformed)?;
        let text = std::str::from_utf8(text).map_err(|_| contradiction("name"))?;
        name::check(text)?;
        // That the first event of an owned subject is the one that its identifier names, the log sees to.
        if (name::open_subject_id(text) == subject) == is_owned {
            return Err(BundleError::OtherName { name: text.to_owned(), found: subject });
        }
        if usize::try_from(authors).map_or(true, |authors| authors > MAX_AUTHORS) {
            return Err(BundleError::TooManyAuthors(authors));
        }
        if first.checked_add(events).is_none() {
            return Err(contradiction("number of events"));
        }
        Ok(Self { subject, name: text.to_owned(), is_owned, first, events, authors })
    }
}

/// One author of the events of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorEntry {
    /// How many of the author's events came before those of the bundle.
    pub base: u64,
    /// The root over these.
    pub base_root: Hash,
    /// The author's key: its hash is the author's id.
    pub key: PublicKey,
    /// The author's head: the author's events of the bundle are those from `base` up to its length.
    pub head: SignedHead,
}

impl AuthorEntry {
    /// Whose entry it is.
    #[must_use]
    pub const fn author(&self) -> XaeroID {
        self.head.head().author
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base.to_le_bytes());
        out.extend_from_slice(&self.base_root);
        out.extend_from_slice(self.key.as_bytes());
        self.head.encode_into(out);
    }

    pub(super) fn read(at: u64, body: &[u8]) -> Result<Self, BundleError> {
        let malformed = |error| BundleError::Malformed { at, kind: Kind::AUTHOR, error };
        let mut reader = Reader::new("an author's entry", body);
        let base = reader.u64().map_err(malformed)?;
        let base_root = reader.array().map_err(malformed)?;
        let key = reader.take(PUBLIC_KEY_BYTES).map_err(malformed)?;
        let head = SignedHead::read(&mut reader).map_err(malformed)?;
        reader.finish().map_err(malformed)?;
        let key = PublicKey::from_bytes(key).map_err(|error| BundleError::Key { at, error })?;
        Ok(Self { base, base_root, key, head })
    }
}
