//! A node on the network: who it is there, whom it talks to.

use std::net::SocketAddr;

use super::Node;
use crate::{
    actors::net::{NetworkConfig, PeerStatus},
    subject::error::Error,
    wire::{endpoint::PeerAddr, id::EndpointId},
};

impl Node {
    /// Who the node is on the network: its endpoint's public key, made on first use. It stays the same for as long as the data
    /// directory does; a copy of the directory gets another one.
    ///
    /// # Errors
    /// Where the key cannot be read or written.
    pub fn endpoint_id(&self) -> Result<EndpointId, Error> {
        self._engine.endpoint_id()
    }

    /// Switches the network on, unless it is on: see [`NodeBuilder::network`](crate::NodeBuilder::network).
    ///
    /// # Errors
    /// Where the sockets cannot be bound, or a key cannot be had.
    pub fn start_network(&self, config: NetworkConfig) -> Result<(), Error> {
        self._engine.start_network(config).map(drop)
    }

    /// The addresses that the node listens on; none while its network is off.
    #[must_use]
    pub fn listen_addrs(&self) -> Vec<SocketAddr> {
        self._engine.network.handle().map(|net| net.listen_addrs()).unwrap_or_default()
    }

    /// Where others reach the node, as far as it knows; `None` while its network is off.
    #[must_use]
    pub fn peer_addr(&self) -> Option<PeerAddr> {
        self._engine.network.handle().map(|net| net.addr())
    }

    /// Keeps a connection to this peer from now on, for as long as the network is on. Peers of tickets that were
    /// [joined](Self::join) need no mention.
    ///
    /// # Errors
    /// [`Error::NotRunning`] while the network is off, and where the address makes no sense.
    pub fn add_peer(&self, peer: PeerAddr) -> Result<(), Error> {
        let net = self._engine.network.handle().ok_or(Error::NotRunning)?;
        Ok(net.add_peer(peer)?)
    }

    /// What is known of the node's peers, by endpoint: those that are connected, those that are called, and those that were
    /// cut off.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self._engine.network.handle().map(|net| net.peers()).unwrap_or_default()
    }

    /// Why the node as a whole is of no use any more, if so: the storage takes nothing until the process restarts, or the
    /// network was started again and failed, again and again. A server ends then.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let poisoned = self._engine.store.poisoned().map(Error::from);
        poisoned.or_else(|| self._engine.network.handle().and_then(|net| net.failure()).map(Error::from))
    }

    /// Bytes sent to all peers since the network was switched on, everything included.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self._engine.network.handle().map_or(0, |net| net.bytes_sent())
    }

    /// Kills the network as a panic in it would, for demonstrations and tests of one's own: it is started again, connections
    /// are made anew, and nothing is lost.
    pub fn kill_network(&self) {
        if let Some(net) = self._engine.network.handle() {
            net.kill();
        }
    }
}
