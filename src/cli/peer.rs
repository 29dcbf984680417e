//! A peer as `serve --peer` takes it: who it is, and where it may be reached.

use std::{fmt, net::SocketAddr, str::FromStr};

use data_encoding::HEXLOWER;
use xaeroflux::{NetError, NetworkConfig};

/// Bytes of an endpoint's public key.
const ID_BYTES: usize = 32;

/// A peer that is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its endpoint's public key.
    pub id: [u8; ID_BYTES],
    /// Where it was last; without it, it is looked for.
    pub address: Option<SocketAddr>,
}

impl FromStr for Peer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "a peer is its endpoint id, of 64 hexadecimal digits as its `serve` prints it";
        let (id, address) = match text.split_once('@') {
            Some((id, address)) => (id, Some(address)),
            None => (text, None),
        };
        let id = HEXLOWER.decode(id.as_bytes()).ok().and_then(|id| id.try_into().ok()).ok_or(RULE)?;
        let address = address.map(endpoint_address).transpose()?;
        Ok(Self { id, address })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.id).fmt(f)?;
        match &self.address {
            Some(address) => write!(f, "@{address}"),
            None => Ok(()),
        }
    }
}

/// An address that something can be sent to.
fn endpoint_address(text: &str) -> Result<SocketAddr, &'static str> {
    let address = listen_address(text)?;
    if address.port() == 0 || address.ip().is_unspecified() {
        return Err("this is where a node may listen, not where it can be reached");
    }
    Ok(address)
}

/// An address to listen on.
///
/// # Errors
/// The rule that it breaks.
pub fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an address is IP:PORT, such as 192.168.1.7:4433, 0.0.0.0:0 or [::1]:4433")
}

/// Reads the URL of a relay.
pub fn relay_url(text: &str) -> Result<String, NetError> {
    NetworkConfig::check_relay(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_an_id_and_may_have_an_address() {
        let id = "0123456789abcdef".repeat(4);
        for text in [id.clone(), format!("{id}@10.0.0.1:4433"), format!("{id}@[::1]:1")] {
            let peer: Peer = text.parse().unwrap();
            assert_eq!(peer.to_string(), text);
            assert_eq!(peer.address.is_some(), text.contains('@'));
        }
        let short = &id[1..];
        let bad =
            ["", "@", short, &format!("{id}0"), &format!("{id}@"), &format!("{id}@host:1"), &format!("{id}@10.0.0.1")];
        for bad in bad.into_iter().chain([&*format!("{id}@10.0.0.1:0"), &*format!("{id}@0.0.0.0:4433")]) {
            assert!(bad.parse::<Peer>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_node_may_listen_everywhere_and_on_any_port() {
        for good in ["0.0.0.0:0", "127.0.0.1:4433", "[::]:0"] {
            assert!(listen_address(good).is_ok(), "{good}");
        }
        for bad in ["", "4433", ":4433", "localhost:4433", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(listen_address(bad).is_err(), "{bad}");
        }
    }
}
