//! Who else shares a subject: from it a node that has a session with one peer learns that there are many, and where to find some.
//!
//! It need not know all of them: so many as make a swarm worth while are enough, and the nearest ones. Where they are is said by those
//! only who are in the swarm, where it is known anyway.
//!
//! | bytes | field | allowed |
//! |---|---|---|
//! | 1 | number of others | 0 to 6 |
//! | | for each of them, ascending by hops and endpoint, each endpoint once: | |
//! | 1 | hops from the sender | 1 to 5 |
//! | 32 | endpoint | |
//! | 1 | number of addresses | 0 to 2 |
//! | 7 or 19 each | addresses, as in an [announcement](super::announce) | as there |

use std::net::SocketAddr;

use super::{
    Kind, SyncError,
    announce::{MAX_PLACE_BYTES, announceable, read_place, write_place},
};
use crate::wire::{bytes::Reader, endpoint::PeerAddr, id::EndpointId};

/// Most others that are told of: with these and the sender itself the receiver knows more than enough to join a swarm.
pub const MAX_OTHERS: usize = 6;

/// Most hops to one that is told of. Where there are six others, the sixth nearest is not farther than six hops from the receiver.
pub const MAX_HOPS: u8 = 5;

pub(super) const MAX_OTHERS_BYTES: usize = 1 + MAX_OTHERS * (1 + 32 + MAX_PLACE_BYTES);

/// Somebody who shares the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Over how many links it is known: 1 for a peer with a session.
    pub hops: u8,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Where it is, as far as that is known and told.
    pub addrs: Vec<SocketAddr>,
}

impl Other {
    /// A peer, so many links away.
    #[must_use]
    pub fn new(hops: u8, peer: PeerAddr) -> Self {
        Self { hops, endpoint: peer.endpoint, addrs: peer.addrs }
    }

    /// Where it is.
    #[must_use]
    pub fn peer(&self) -> PeerAddr {
        PeerAddr { addrs: self.addrs.clone(), ..PeerAddr::new(self.endpoint) }
    }

    const fn place(&self) -> (u8, EndpointId) {
        (self.hops, self.endpoint)
    }
}

/// Who shares the subject beside the two that talk, as the sender knows: the nearest ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others(Vec<Other>);

impl Others {
    /// The first of these, which are ascending by hops and endpoint: each endpoint once, as far as they may be told of.
    #[must_use]
    pub fn nearest_of(sorted: impl IntoIterator<Item = Other>) -> Self {
        let mut others: Vec<Other> = Vec::with_capacity(MAX_OTHERS);
        for other in sorted {
            if let Some(known) = others.iter_mut().find(|known| known.endpoint == other.endpoint) {
                if known.addrs.is_empty() {
                    known.addrs = announceable(&other.peer());
                }
            } else if others.len() >= MAX_OTHERS || other.hops > MAX_HOPS {
                break;
            } else {
                others.push(Other { addrs: announceable(&other.peer()), ..other });
            }
        }
        Self(others)
    }

    /// The same ones, wherever they are.
    #[must_use]
    pub fn without_addrs(mut self) -> Self {
        self.0.iter_mut().for_each(|other| other.addrs.clear());
        self
    }

    /// They, the nearest first.
    pub fn iter(&self) -> impl Iterator<Item = &Other> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        for Other { hops, endpoint, addrs } in &self.0 {
            out.push(*hops);
            out.extend_from_slice(endpoint.as_bytes());
            write_place(addrs, out);
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
            let endpoint = EndpointId::from(reader.array::<32>().map_err(&malformed)?);
            let addrs = read_place(&mut reader).map_err(&malformed)?.ok_or(bad("address"))?;
            if hops == 0 || hops > MAX_HOPS {
                return Err(bad("hops"));
            }
            let other = Other { hops, endpoint, addrs };
            let is_again = others.iter().any(|known| known.endpoint == endpoint);
            if is_again || others.last().is_some_and(|last| last.place() >= other.place()) {
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
        Other { hops, endpoint: EndpointId::from([name; 32]), addrs: Vec::new() }
    }

    fn at(other: Other, addrs: &[&str]) -> Other {
        Other { addrs: addrs.iter().map(|addr| addr.parse().unwrap()).collect(), ..other }
    }

    fn bytes(others: &[Other]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Others(others.to_vec()).write(&mut bytes);
        bytes
    }

    #[test]
    fn the_nearest_are_told_of_once_each_and_no_farther_than_is_of_use() {
        let near = [other(1, 9), other(2, 3), at(other(2, 9), &["192.0.2.1:9"]), other(5, 1), other(6, 2)];
        let others = Others::nearest_of(near);
        assert_eq!(others, Others(vec![at(other(1, 9), &["192.0.2.1:9"]), other(2, 3), other(5, 1)]));
        assert_eq!(Others::read(&bytes(&others.0)), Ok(others.clone()));
        assert_eq!(others.without_addrs(), Others(vec![other(1, 9), other(2, 3), other(5, 1)]));
    }

    #[test]
    fn of_many_with_many_addresses_the_first_are_told() {
        let addrs = ["0.0.0.0:1", "[2001:db8::1]:1", "[2001:db8::2]:2", "192.0.2.1:3"];
        let many = Others::nearest_of((0..99).map(|name| at(other(1, name), &addrs)));
        assert_eq!(many.iter().count(), MAX_OTHERS);
        assert!(many.iter().all(|other| other.addrs.len() == 2));
        assert_eq!(bytes(&many.0).len(), MAX_OTHERS_BYTES);
        assert_eq!(Others::read(&bytes(&many.0)), Ok(many));
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
        let mut nowhere = bytes(&[at(other(1, 1), &["192.0.2.1:3"])]);
        nowhere.truncate(nowhere.len() - 2);
        nowhere.extend([0, 0]);
        assert!(Others::read(&nowhere).unwrap_err().to_string().contains("address"), "port 0");
        for cut in 0..bytes(&seven[..3]).len() {
            assert!(Others::read(&bytes(&seven[..3])[..cut]).is_err());
        }
        let longer = [bytes(&seven[..3]), vec![0]].concat();
        assert!(Others::read(&longer).is_err());
    }
}
