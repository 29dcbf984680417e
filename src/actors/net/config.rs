//! What an application decides about the network.

use std::{net::SocketAddr, time::Duration};

use super::{NetError, limits::Timing};
use crate::wire::endpoint::PeerAddr;

/// When a node joins the swarm of a subject: by gossip it hears there who has something new, and fetches it from those,
/// without a session with everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Swarming {
    /// While more than a handful of others share the subject, as far as peers tell: it is enough to know one of them.
    #[default]
    Auto,
    /// For each subject that is shared, however few share it: so that those are found whom the peers know.
    Always,
    /// Never: a node talks to whom it was told of.
    Never,
}

/// How a node talks to others. It is off unless a node is given one of these.
///
/// As it is made, a node listens on all interfaces, at the ports that it had last if they are free, knows no peer, and uses no relay, no DNS and no other
/// server: two nodes that are told each other's address need nothing else.
///
/// ```
/// use xaeroflux::NetworkConfig;
/// let config = NetworkConfig::new().listen("127.0.0.1:0".parse()?);
/// assert_eq!(config.listen_addrs().len(), 1);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct NetworkConfig {
    listen: Vec<SocketAddr>,
    peers: Vec<PeerAddr>,
    relays: Vec<String>,
    swarming: Swarming,
    #[cfg(feature = "mdns")]
    pub(super) mdns: bool,
    pub(super) timing: Timing,
    /// Where the node listened last: tried first.
    pub(super) former: Vec<SocketAddr>,
}

impl NetworkConfig {
    /// All interfaces, any port, no peers, no relay.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on this address; call it again for another one. Port 0 is any free port. Without any, all
    /// interfaces, at the ports that the node had last, if they are free, so that tickets stay valid.
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen.push(addr);
        self
    }

    /// Listens at these addresses if it can, and otherwise as it was told.
    pub(crate) fn formerly(mut self, addrs: Vec<SocketAddr>) -> Self {
        self.former = addrs;
        self
    }

    /// Keeps a connection to this peer, as far as it can be reached.
    pub fn peer(mut self, peer: PeerAddr) -> Self {
        self.peers.push(peer);
        self
    }

    /// Uses the relay with this URL for peers that cannot be reached directly; call it again for another one.
    pub fn relay(mut self, url: impl Into<String>) -> Self {
        self.relays.push(url.into());
        self
    }

    /// Finds peers on the local network whose key is known and whose address is not, or not any more, by multicast DNS; and tells the local network this node's
    /// key and addresses, so that it is found. Off, unless this is called: then a node says nothing to a network of its own accord.
    ///
    /// Where the network does not allow multicast, a warning is logged, and the node runs without.
    #[cfg(feature = "mdns")]
    pub const fn mdns(mut self) -> Self {
        self.mdns = true;
        self
    }

    /// Whether this can be the URL of a relay. Nothing is asked of anybody.
    ///
    /// # Errors
    ///
    /// [`NetError::BadRelay`], which building a node with such a relay returns too.
    pub fn check_relay(url: &str) -> Result<(), NetError> {
        super::endpoint::relay_url(url).map(|_| ())
    }

    /// When the node joins the swarm of a subject: where more than a handful of others share it, unless this is called.
    pub const fn swarm(mut self, swarming: Swarming) -> Self {
        self.swarming = swarming;
        self
    }

    /// How long a peer that is called may take to answer, and then to say who it is: 10 seconds each, unless this is called.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timing.connect = timeout;
        self.timing.hello = timeout;
        self
    }

    /// The addresses of [`listen`](Self::listen).
    #[must_use]
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The peers of [`peer`](Self::peer).
    #[must_use]
    pub fn peers(&self) -> &[PeerAddr] {
        &self.peers
    }

    /// What was said by [`swarm`](Self::swarm).
    #[must_use]
    pub const fn swarming(&self) -> Swarming {
        self.swarming
    }

    /// The URLs of [`relay`](Self::relay).
    #[must_use]
    pub fn relays(&self) -> &[String] {
        &self.relays
    }
}
