//! Who else shares a subject, in a few bytes: from it a node that has a session with one peer learns that there are many.
//!
//! It need not know who they are, nor all of them: so many as make a swarm worth while are enough, and the nearest ones. An
//! endpoint is named by the beginning of its key, which tells the same one from another and lets nobody call it.
//!
//! | bytes | field | allowed |
//! |---|---|---|
//! | 1 | number of others | 0 to 6 |
//! | 9 each | hops from the sender, the first 8 bytes of the endpoint's key | 1 to 5 hops; ascending by both; each name once |

use super::{Kind, SyncError};
use crate::wire::{bytes::Reader, id::EndpointId};

/// Most others that are told of: with these and the sender itself the receiver knows more than enough to join a swarm.
pub const MAX_OTHERS: usize = 6;

/// Most hops to one that is told of. Where there are six others, the sixth nearest is not farther than six hops from the receiver.
pub const MAX_HOPS: u8 = 5;

pub(super) const MAX_OTHERS_BYTES: usize = 1 + MAX_OTHERS * Other::BYTES;

/// Somebody who shares the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Other {
    /// Over how many links it is known: 1 for a peer with a session.
    pub hops: u8,
    /// The beginning of its endpoint's key.
    pub name: [u8; Self::NAME_BYTES],
}

impl Other {
    /// Length of a name. That two endpoints of one subject have the same one does not happen by itself; who makes it happen is
    /// counted once.
    pub const NAME_BYTES: usize = 8;

    const BYTES: usize = 1 + Self::NAME_BYTES;

    /// What an endpoint is called.
    #[must_use]
    pub const fn name_of(endpoint: &EndpointId) -> [u8; Self::NAME_BYTES] {
        match endpoint.as_bytes().first_chunk() {
            Some(name) => *name,
            None => [0; Self::NAME_BYTES],
        }
    }
}

/// Who shares the subject beside the two that talk, as the sender knows: the nearest ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others(Vec<Other>);

impl Others {
    /// The first of these: the nearest first, each name once, as far as they may be told of.
    #[must_use]
    pub fn nearest_of(sorted: impl IntoIterator<Item = Other>) -> Self {
        let mut others: Vec<Other> = Vec::with_capacity(MAX_OTHERS);
        for other in sorted {
            if others.len() >= MAX_OTHERS || other.hops > MAX_HOPS {
                break;
            }
            if others.iter().all(|known| known.name != other.name) {
                others.push(other);
            }
        }
        Self(others)
    }

    /// They, the nearest first.
    pub fn iter(&self) -> impl Iterator<Item = Other> {
        self.0.iter().copied()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        for Other { hops, name } in &self.0 {
            out.push(*hops);
            out.extend_from_slice(name);
        }
    }

    pub(super) fn read(body: &[u8]) -> Result<Self, SyncError> {
        let malformed = SyncError::malformed(Kind::OTHERS);
        let bad = |field| SyncError::BadField { kind: Kind::OTHERS, field };
        let mut reader = Reader::new("a message about others", body);
        let [count] = reader.array().map_err(&malformed)?;
        if usize::from(count) > MAX_OTHERS {
            return Err(bad("number of others"));
        }
        let mut others: Vec<Other> = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let [hops] = reader.array().map_err(&malformed)?;
            let other = Other { hops, name: reader.array().map_err(&malformed)? };
            if hops == 0 || hops > MAX_HOPS {
                return Err(bad("hops"));
            }
            let is_again = others.iter().any(|known| known.name == other.name);
            if is_again || others.last().is_some_and(|last| *last >= other) {
                return Err(bad("order of the others"));
            }
            others.push(other);
        }
        reader.finish().map_err(&malformed)?;
        Ok(Self(others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(hops: u8, name: u8) -> Other {
        Other { hops, name: [name; 8] }
    }

    fn bytes(others: &[Other]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Others(others.to_vec()).write(&mut bytes);
        bytes
    }

    #[test]
    fn the_nearest_are_told_of_once_each_and_no_farther_than_is_of_use() {
        let near = [other(1, 9), other(2, 3), other(2, 9), other(5, 1), other(6, 2)];
        let others = Others::nearest_of(near);
        assert_eq!(others, Others(vec![other(1, 9), other(2, 3), other(5, 1)]));
        assert_eq!(Others::read(&bytes(&others.0)), Ok(others));
        let many = Others::nearest_of((0..99).map(|name| other(1, name)));
        assert_eq!(many.iter().count(), MAX_OTHERS);
        assert_eq!(bytes(&many.0).len(), MAX_OTHERS_BYTES);
    }

    #[test]
    fn what_has_another_form_is_refused() {
        let bad = |others: &[Other]| Others::read(&bytes(others)).unwrap_err().to_string();
        assert!(bad(&[other(0, 1)]).contains("hops"));
        assert!(bad(&[other(MAX_HOPS + 1, 1)]).contains("hops"));
        assert!(bad(&[other(2, 1), other(1, 2)]).contains("order"));
        assert!(bad(&[other(1, 1), other(2, 1)]).contains("order"), "the same one twice");
        let seven: Vec<Other> = (0..7).map(|name| other(1, name)).collect();
        assert!(bad(&seven).contains("number"));
        for cut in 0..bytes(&seven[..3]).len() {
            assert!(Others::read(&bytes(&seven[..3])[..cut]).is_err());
        }
        let longer = [bytes(&seven[..3]), vec![0]].concat();
        assert!(Others::read(&longer).is_err());
    }
}
