//! Telling which subjects one shares, to nobody who does not share them.
//!
//! A *tag* is a hash keyed with a subject's secret, over what only the two ends of one connection know, and over which of
//! the two is speaking. Who has the secret computes the same tag and recognises it; to anyone else it is sixteen bytes of
//! noise, which say nothing about the subject, match nothing that was ever said on another connection, and cannot be sent
//! back as one's own. So a tag is an announcement and a proof of the right to read, in one.

use std::fmt;

use super::{Kind, Role, SyncError};
use crate::wire::bytes::Reader;

/// Most tags in one message; further ones go into further messages.
pub const MAX_TAGS: usize = 4_096;

/// Longest body of a message with tags.
pub(super) const MAX_TAGS_BYTES: usize = 4 + MAX_TAGS * Tag::BYTES;

/// Domain of the key of a subject's tags.
const TAG_CONTEXT: &str = "xaeroflux 2026 subject tag v1";

/// Which subject is meant, to those who know its secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag([u8; Self::BYTES]);

impl Tag {
    /// Length of a tag: nobody guesses one of 128 bits while a connection lasts.
    pub const BYTES: usize = 16;

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The tag with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Appends the body of a message with these tags: at most [`MAX_TAGS`].
    pub(super) fn write_all(tags: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(&u32::try_from(tags.len()).unwrap_or(u32::MAX).to_le_bytes());
        for tag in tags {
            out.extend_from_slice(&tag.0);
        }
    }

    pub(super) fn read_all(body: &[u8]) -> Result<Vec<Self>, SyncError> {
        let malformed = SyncError::malformed(Kind::TAGS);
        let mut reader = Reader::new("a list of tags", body);
        let count = reader.u32().map_err(&malformed)?;
        let count = usize::try_from(count).ok().filter(|count| (1..=MAX_TAGS).contains(count));
        let count = count.ok_or(SyncError::BadField { kind: Kind::TAGS, field: "number of tags" })?;
        let (tags, _) = reader.take(count * Self::BYTES).map_err(&malformed)?.as_chunks();
        reader.finish().map_err(&malformed)?;
        Ok(tags.iter().copied().map(Self).collect())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Makes the tags of one connection.
#[derive(Clone)]
pub struct TagKey {
    /// What only the two ends of the connection know: its exported keying material.
    binding: [u8; 32],
}

impl TagKey {
    /// For the connection with this exported keying material.
    #[must_use]
    pub const fn new(binding: [u8; 32]) -> Self {
        Self { binding }
    }

    /// The tag by which `role`'s side of the connection names the subject with this secret.
    ///
    /// ```
    /// use xaeroflux::wire::sync::{Role, TagKey};
    /// let (connection, secret) = (TagKey::new([7; 32]), [9; 32]);
    /// let tag = connection.tag(&secret, Role::Dialer);
    /// assert_eq!(tag, TagKey::new([7; 32]).tag(&secret, Role::Dialer));
    /// assert_ne!(tag, connection.tag(&secret, Role::Acceptor), "it cannot be sent back");
    /// assert_ne!(tag, TagKey::new([8; 32]).tag(&secret, Role::Dialer), "nor on another connection");
    /// ```
    #[must_use]
    pub fn tag(&self, secret: &[u8; 32], role: Role) -> Tag {
        let key = blake3::derive_key(TAG_CONTEXT, secret);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&self.binding).update(&[role.byte()]);
        let mut tag = [0; Tag::BYTES];
        hasher.finalize_xof().fill(&mut tag);
        Tag(tag)
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey(..)")
    }
}
