//! Where a node can be reached: its endpoint, and the addresses under which it was seen.
//!
//! An endpoint is an ed25519 public key: whoever answers at one of the addresses must show that it has the secret half, so
//! that a wrong or an old address costs an attempt and no more.
//!
//! | bytes | field |
//! |---|---|
//! | 32 | endpoint |
//! | 1 | length of the relay's URL, r; 0 where there is none |
//! | r | the relay's URL, of printable ASCII characters |
//! | 1 | number of addresses |
//! | 1 + 4 + 2 or 1 + 16 + 2 each | 4 or 6, the IP address, the port in little-endian |

use std::net::{IpAddr, SocketAddr};

use crate::wire::{bytes::Reader, id::EndpointId};

/// Most addresses of one peer: a machine has an address or two on each of a few networks.
pub const MAX_PEER_ADDRS: usize = 16;

/// Longest URL of a relay, in bytes: longer than any host name.
pub const MAX_RELAY_BYTES: usize = 255;

/// Most bytes of one peer.
pub(crate) const MAX_PEER_BYTES: usize = 32 + 1 + MAX_RELAY_BYTES + 1 + MAX_PEER_ADDRS * (1 + 16 + 2);

const IPV4: u8 = 4;
const IPV6: u8 = 6;

/// Where a node can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerAddr {
    /// Who must answer there.
    pub endpoint: EndpointId,
    /// Addresses, the best first. There may be none: then the endpoint has to be found in another way.
    pub addrs: Vec<SocketAddr>,
    /// The URL of the relay that the node keeps a connection to, if it does.
    pub relay: Option<String>,
}

impl PeerAddr {
    /// An endpoint of which no address is known.
    #[must_use]
    pub const fn new(endpoint: EndpointId) -> Self {
        Self { endpoint, addrs: Vec::new(), relay: None }
    }

    /// The address in its one form: each address once, without what means something on one machine only, and no more
    /// than [`MAX_PEER_ADDRS`]; a relay that no peer could use is left out.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let mut addrs: Vec<SocketAddr> = Vec::with_capacity(self.addrs.len().min(MAX_PEER_ADDRS));
        // The flow label and the scope of an IPv6 address name nothing elsewhere.
        for addr in self.addrs.iter().map(|addr| SocketAddr::new(addr.ip(), addr.port())) {
            if addrs.len() < MAX_PEER_ADDRS && !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        let relay = self.relay.clone().filter(|relay| is_relay(relay.as_bytes()));
        Self { endpoint: self.endpoint, addrs, relay }
    }

    /// What is known of the same endpoint here and there, what is said there first.
    #[must_use]
    pub(crate) fn joined(self, other: Self) -> Self {
        let addrs = other.addrs.into_iter().chain(self.addrs).collect();
        Self { endpoint: self.endpoint, addrs, relay: other.relay.or(self.relay) }.normalized()
    }

    /// Appends the bytes of an address in its one form.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        let relay = self.relay.as_deref().unwrap_or_default();
        out.extend_from_slice(self.endpoint.as_bytes());
        // Both are within their limits once the address is normalized.
        out.push(u8::try_from(relay.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(relay.as_bytes());
        out.push(u8::try_from(self.addrs.len()).unwrap_or(u8::MAX));
        for addr in &self.addrs {
            write_addr(addr, out);
        }
    }

    /// Reads what [`encode_into`](Self::encode_into) wrote; `None` for anything else.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let endpoint = EndpointId::from(reader.array::<32>().ok()?);
        let [length] = reader.array().ok()?;
        let relay = match reader.take(usize::from(length)).ok()? {
            [] => None,
            relay if is_relay(relay) => Some(String::from_utf8(relay.to_vec()).ok()?),
            _ => return None,
        };
        let [count] = reader.array().ok()?;
        if usize::from(count) > MAX_PEER_ADDRS {
            return None;
        }
        let mut addrs: Vec<SocketAddr> = Vec::new();
        for _ in 0..count {
            let addr = read_addr(reader)?;
            if addrs.contains(&addr) {
                return None;
            }
            addrs.push(addr);
        }
        Some(Self { endpoint, addrs, relay })
    }
}

/// Appends the bytes of one address.
pub(crate) fn write_addr(addr: &SocketAddr, out: &mut Vec<u8>) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            out.push(IPV4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(IPV6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&addr.port().to_le_bytes());
}

/// Reads one address; `None` for anything else.
pub(crate) fn read_addr(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let [kind] = reader.array().ok()?;
    let ip = match kind {
        IPV4 => IpAddr::from(reader.array::<4>().ok()?),
        IPV6 => IpAddr::from(reader.array::<16>().ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, reader.u16().ok()?))
}

/// What is known of several peers, in one list: an endpoint stands in it once, under what was said of it first, and no
/// more than `most` of them.
#[must_use]
pub fn merged<'p>(peers: impl IntoIterator<Item = &'p PeerAddr>, most: usize) -> Vec<PeerAddr> {
    let mut merged: Vec<PeerAddr> = Vec::new();
    for peer in peers {
        if merged.len() < most && merged.iter().all(|known| known.endpoint != peer.endpoint) {
            merged.push(peer.normalized());
        }
    }
    merged
}

fn is_relay(relay: &[u8]) -> bool {
    !relay.is_empty() && relay.len() <= MAX_RELAY_BYTES && relay.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form_and_is_read_back() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut peer = PeerAddr::new(EndpointId::from([7; 32]));
        peer.addrs = vec![addr("[fe80::1%3]:9"), addr("192.0.2.1:4433"), addr("[fe80::1]:9"), addr("192.0.2.1:4433")];
        peer.relay = Some("https://relay.example./".to_owned());
        let peer = peer.normalized();
        assert_eq!(peer.addrs, [addr("[fe80::1]:9"), addr("192.0.2.1:4433")]);
        let mut bytes = Vec::new();
        peer.encode_into(&mut bytes);
        assert_eq!(PeerAddr::decode(&mut Reader::new("peer", &bytes)), Some(peer));
        for length in 0..bytes.len() {
            assert_eq!(PeerAddr::decode(&mut Reader::new("peer", &bytes[..length])), None, "{length} bytes");
        }
    }

    #[test]
    fn what_was_known_of_a_peer_is_not_forgotten_for_what_is_new() {
        let addr = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let (me, relay) = (EndpointId::from([7; 32]), Some("https://relay.example./".to_owned()));
        let known = PeerAddr { endpoint: me, addrs: (1..=16).map(addr).collect(), relay: relay.clone() };
        let joined = known.joined(PeerAddr { endpoint: me, addrs: vec![addr(99), addr(3)], relay: None });
        let ports: Vec<u16> = joined.addrs.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [&[99, 3, 1, 2][..], &(4..=15).collect::<Vec<_>>()].concat(), "the oldest goes");
        assert_eq!(joined.relay, relay);
    }

    #[test]
    fn a_relay_that_nobody_could_use_is_left_out() {
        for relay in [String::new(), "https://a b/".to_owned(), "https://ü/".to_owned(), "x".repeat(256)] {
            let peer = PeerAddr { relay: Some(relay), ..PeerAddr::new(EndpointId::from([7; 32])) };
            assert_eq!(peer.normalized().relay, None);
        }
    }
}
