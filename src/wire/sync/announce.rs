//! What goes through a swarm: "I have this much of the subject, and here is where I am".
//!
//! A node that keeps no session with somebody who has something new hears of it by gossip, through others, and then fetches
//! it from the holder by an ordinary session. So an announcement is small, carries no event, and losing one costs time
//! only. It is authenticated with a key that follows from the subject's current secret: whoever relays one cannot make or change
//! one, and who only knows of the swarm, or knew the secret before it was changed, cannot either.
//!
//! | bytes | field | allowed |
//! |---|---|---|
//! | 1 | version | 1 |
//! | 8 | nonce: no two announcements are the same bytes | |
//! | 32 | subject root | |
//! | 8 | events in the holder's log | |
//! | 32 | endpoint of the holder | |
//! | 1 | number of addresses | 0 to 2 |
//! | 7 or 19 each | addresses, as in [`endpoint`](crate::wire::endpoint) | each once; none without a port, none that is no single machine's |
//! | 32 | BLAKE3 of all bytes before, keyed | |

use std::{fmt, net::SocketAddr};

use thiserror::Error;
use zeroize::ZeroizeOnDrop;

use crate::wire::{
    bytes::Reader,
    endpoint::{PeerAddr, read_addr, write_addr},
    id::EndpointId,
    mmr::Hash,
    proof::ProofError,
    ticket::SubjectSecret,
};

const WHAT: &str = "an announcement";
const VERSION: u8 = 1;

/// Domain of the key of a subject's announcements.
const KEY_CONTEXT: &str = "xaeroflux 2026 announcement key v1";

/// Domain of the name of a subject's swarm.
const TOPIC_CONTEXT: &str = "xaeroflux 2026 swarm topic v1";

/// Most addresses in an announcement: one on the local network and one beyond it.
pub const MAX_ANNOUNCED_ADDRS: usize = 2;

/// Most bytes of where a member is.
pub(super) const MAX_PLACE_BYTES: usize = 1 + MAX_ANNOUNCED_ADDRS * (1 + 16 + 2);

/// Length of what authenticates an announcement.
const TAG_BYTES: usize = 32;

/// Most bytes of an announcement: far below what breaks a link of the gossip.
pub const MAX_ANNOUNCEMENT_BYTES: usize = 1 + 8 + 32 + 8 + 32 + MAX_PLACE_BYTES + TAG_BYTES;

/// What one node of a swarm tells all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Random, so that no two announcements are the same bytes: gossip drops what it has seen.
    pub nonce: [u8; 8],
    /// The root of what the holder has.
    pub root: Hash,
    /// Events in the holder's log.
    pub events: u64,
    /// The endpoint of the holder.
    pub holder: EndpointId,
    /// Where it is, as far as it knows.
    pub addrs: Vec<SocketAddr>,
}

/// Why an announcement counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// Longer than any is.
    #[error("an announcement has {0} bytes, where {MAX_ANNOUNCEMENT_BYTES} are the most")]
    TooLong(usize),
    /// Made without the subject's current secret, or changed on the way.
    #[error("an announcement was not made by anybody who shares the subject at present")]
    NotAuthentic,
    /// Of another version.
    #[error("an announcement is of version {0}, which this program does not know: upgrade xaeroflux")]
    UnknownVersion(u8),
    /// An address that nobody may announce.
    #[error(
        "an announcement names an address twice, or one that leads to no machine, or more than {MAX_ANNOUNCED_ADDRS}"
    )]
    BadAddress,
    /// The fields and the bytes do not fit together.
    #[error("an announcement cannot be read: {0}")]
    Malformed(#[from] ProofError),
}

/// What the holders of a subject's secret have in common: the key of their announcements, and the name of their swarm.
#[derive(Clone, ZeroizeOnDrop)]
pub struct AnnounceKey {
    key: [u8; 32],
    topic: [u8; 32],
}

impl AnnounceKey {
    /// The key that follows from a subject's current secret. With the secret it changes, and with it the swarm.
    #[must_use]
    pub fn new(secret: &SubjectSecret) -> Self {
        Self {
            key: blake3::derive_key(KEY_CONTEXT, secret.as_bytes()),
            topic: blake3::derive_key(TOPIC_CONTEXT, secret.as_bytes()),
        }
    }

    /// The name of the swarm.
    #[must_use]
    pub const fn topic(&self) -> &[u8; 32] {
        &self.topic
    }
}

impl fmt::Debug for AnnounceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnnounceKey(..)")
    }
}

impl Announcement {
    /// What is announced of this node: of its addresses the first ones that lead anywhere.
    #[must_use]
    pub fn new(nonce: [u8; 8], root: Hash, events: u64, holder: &PeerAddr) -> Self {
        Self { nonce, root, events, holder: holder.endpoint, addrs: announceable(holder) }
    }

    /// Where the holder is.
    #[must_use]
    pub fn peer(&self) -> PeerAddr {
        PeerAddr { endpoint: self.holder, addrs: self.addrs.clone(), relay: None }
    }

    /// The bytes: at most [`MAX_ANNOUNCEMENT_BYTES`].
    ///
    /// ```
    /// use xaeroflux::wire::{endpoint::PeerAddr, id::EndpointId, sync::{AnnounceKey, Announcement}, ticket::SubjectSecret};
    /// let me = PeerAddr::new(EndpointId::from([7; 32]));
    /// let (said, key) = (Announcement::new([1; 8], [2; 32], 3, &me), AnnounceKey::new(&SubjectSecret::from([4; 32])));
    /// assert_eq!(Announcement::open(&said.seal(&key), &key)?, said);
    /// let rotated = AnnounceKey::new(&SubjectSecret::from([5; 32]));
    /// assert!(Announcement::open(&said.seal(&key), &rotated).is_err());
    /// # Ok::<(), xaeroflux::wire::sync::AnnounceError>(())
    /// ```
    #[must_use]
    pub fn seal(&self, key: &AnnounceKey) -> Vec<u8> {
        let mut bytes = self.encode_body();
        let tag = blake3::keyed_hash(&key.key, &bytes);
        bytes.extend_from_slice(tag.as_bytes());
        bytes
    }

    /// Reads an announcement that was made with this key. Nothing of it is looked at before that is known.
    ///
    /// # Errors
    /// Each [`AnnounceError`]. A version or a form that is not known is no fault of who relayed it: it is authentic.
    pub fn open(bytes: &[u8], key: &AnnounceKey) -> Result<Self, AnnounceError> {
        if bytes.len() > MAX_ANNOUNCEMENT_BYTES {
            return Err(AnnounceError::TooLong(bytes.len()));
        }
        let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(AnnounceError::NotAuthentic)?;
        // Compared in constant time.
        if blake3::keyed_hash(&key.key, body) != *tag {
            return Err(AnnounceError::NotAuthentic);
        }
        Self::decode_body(body)
    }

    /// All but what authenticates it.
    #[must_use]
    pub fn encode_body(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_ANNOUNCEMENT_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.root);
        bytes.extend_from_slice(&self.events.to_le_bytes());
        bytes.extend_from_slice(self.holder.as_bytes());
        write_place(&self.addrs, &mut bytes);
        bytes
    }

    /// Reads what [`encode_body`](Self::encode_body) wrote.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for whether it is authentic.
    pub fn decode_body(body: &[u8]) -> Result<Self, AnnounceError> {
        let mut reader = Reader::new(WHAT, body);
        let [version] = reader.array()?;
        if version != VERSION {
            return Err(AnnounceError::UnknownVersion(version));
        }
        let (nonce, root) = (reader.array()?, reader.array()?);
        let (events, holder) = (reader.u64()?, EndpointId::from(reader.array::<32>()?));
        let addrs = read_place(&mut reader)?.ok_or(AnnounceError::BadAddress)?;
        reader.finish()?;
        Ok(Self { nonce, root, events, holder, addrs })
    }
}

/// Where a peer is, as it is told: the first of its addresses that lead anywhere.
pub(super) fn announceable(peer: &PeerAddr) -> Vec<SocketAddr> {
    let mut addrs = peer.normalized().addrs;
    addrs.retain(is_announceable);
    addrs.truncate(MAX_ANNOUNCED_ADDRS);
    addrs
}

/// Appends where a member is. The fields are public: what nobody could read is not written.
pub(super) fn write_place(addrs: &[SocketAddr], out: &mut Vec<u8>) {
    let addrs: Vec<&SocketAddr> = addrs.iter().filter(|addr| is_announceable(addr)).take(MAX_ANNOUNCED_ADDRS).collect();
    out.push(u8::try_from(addrs.len()).unwrap_or(0));
    for addr in addrs {
        write_addr(addr, out);
    }
}

/// Reads what [`write_place`] wrote; `None` where an address is there that nobody may tell.
pub(super) fn read_place(reader: &mut Reader<'_>) -> Result<Option<Vec<SocketAddr>>, ProofError> {
    let [count] = reader.array()?;
    if usize::from(count) > MAX_ANNOUNCED_ADDRS {
        return Ok(None);
    }
    let mut addrs = Vec::new();
    for _ in 0..count {
        match read_addr(reader).filter(is_announceable) {
            Some(addr) if !addrs.contains(&addr) => addrs.push(addr),
            _ => return Ok(None),
        }
    }
    Ok(Some(addrs))
}

/// Whether it may be the address of one machine.
fn is_announceable(addr: &SocketAddr) -> bool {
    let is_broadcast = matches!(addr.ip(), std::net::IpAddr::V4(ip) if ip.is_broadcast());
    addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast() && !is_broadcast
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> AnnounceKey {
        AnnounceKey::new(&SubjectSecret::from([byte; 32]))
    }

    fn longest() -> Announcement {
        let addrs = ["[2001:db8::1]:1", "[2001:db8::2]:2", "192.0.2.1:3"].map(|addr| addr.parse().unwrap()).to_vec();
        let holder = PeerAddr { endpoint: EndpointId::from([3; 32]), addrs, relay: None };
        Announcement::new([1; 8], [2; 32], 4, &holder)
    }

    #[test]
    fn the_longest_is_as_long_as_is_said_and_far_below_what_breaks_a_link() {
        let bytes = longest().seal(&key(1));
        assert_eq!(bytes.len(), MAX_ANNOUNCEMENT_BYTES);
        const { assert!(MAX_ANNOUNCEMENT_BYTES < 512) };
        assert_eq!(Announcement::open(&bytes, &key(1)), Ok(longest()));
    }

    #[test]
    fn no_changed_bit_and_no_missing_byte_passes() {
        let bytes = longest().seal(&key(1));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Announcement::open(&changed, &key(1)), Err(AnnounceError::NotAuthentic), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Announcement::open(&bytes[..length], &key(1)), Err(AnnounceError::NotAuthentic));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Announcement::open(&longer, &key(1)), Err(AnnounceError::TooLong(bytes.len() + 1)));
    }

    #[test]
    fn after_a_rotation_neither_the_topic_nor_the_key_is_of_use() {
        assert_ne!(key(1).topic(), key(2).topic());
        assert_ne!(key(1).topic(), &key(1).key, "who knows the topic does not know the key");
        assert_eq!(Announcement::open(&longest().seal(&key(1)), &key(2)), Err(AnnounceError::NotAuthentic));
    }

    #[test]
    fn addresses_that_lead_nowhere_are_neither_written_nor_read() {
        for addr in ["0.0.0.0:1", "192.0.2.1:0", "224.0.0.1:1", "255.255.255.255:1", "[::]:1", "[ff02::1]:1"] {
            let bad: SocketAddr = addr.parse().unwrap();
            let said = Announcement { addrs: vec![bad], ..longest() };
            let mut body = said.encode_body();
            assert!(Announcement::decode_body(&body).unwrap().addrs.is_empty(), "{addr}");
            let count = body.pop().unwrap();
            assert_eq!(count, 0);
            body.push(1);
            write_addr(&bad, &mut body);
            assert_eq!(Announcement::decode_body(&body), Err(AnnounceError::BadAddress), "{addr}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_as_the_same_bytes(
            body in prop::collection::vec(any::<u8>(), 82 - 1..200), count in 0_u8..4, kinds in any::<[bool; 2]>(),
        ) {
            let mut body = body;
            body[0] = VERSION;
            if let Some(place) = body.get_mut(81) {
                *place = count;
            }
            if let Some(place) = body.get_mut(82) {
                *place = if kinds[0] { 4 } else { 6 };
            }
            if let Ok(said) = Announcement::decode_body(&body) {
                prop_assert_eq!(said.encode_body(), body);
            }
        }

        #[test]
        fn what_is_written_is_read(
            nonce: [u8; 8], root: [u8; 32], events: u64, holder: [u8; 32], ports in prop::collection::vec(1_u16.., 0..5),
        ) {
            let addrs = ports.into_iter().map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
            let holder = PeerAddr { endpoint: EndpointId::from(holder), addrs, relay: None };
            let said = Announcement::new(nonce, root, events, &holder);
            prop_assert_eq!(Announcement::open(&said.seal(&key(9)), &key(9)), Ok(said));
        }
    }
}
