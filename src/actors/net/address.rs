//! Where a node can be reached. Stands in for `wire/endpoint.rs` until that is here.

use std::{fmt, net::SocketAddr};

use data_encoding::HEXLOWER;

/// An endpoint: an ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId([u8; 32]);

impl EndpointId {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for EndpointId {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointId({self})")
    }
}

/// Where a node can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerAddr {
    /// Who must answer there.
    pub endpoint: EndpointId,
    /// Addresses, the best first.
    pub addrs: Vec<SocketAddr>,
    /// The URL of the relay that the node keeps a connection to, if it does.
    pub relay: Option<String>,
}
