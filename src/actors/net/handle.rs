//! The face of the network to the layer above.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use iroh::SecretKey;
use tokio::{
    runtime,
    sync::{Notify, watch},
};
use zeroize::Zeroizing;

use super::{
    NetError, NetworkConfig, Swarming,
    book::Book,
    ended::Ended,
    framed::Permits,
    gossip::{self, SwarmLink, Swarms},
    greeting::Identity,
    limits::WORKERS,
    service::{Shared, lock, supervise},
    shares::{Shares, Sink},
};
use crate::wire::{
    endpoint::PeerAddr,
    id::{EndpointId, SubjectId, XaeroID},
    key::PublicKey,
    sign::Signer,
    sync::Role,
    ticket::SubjectSecret,
};

/// How long tasks on the network's threads may take to notice that these end.
const THREADS_GRACE: Duration = Duration::from_secs(1);

/// What is known of a peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Its writer, once it has shown who it is.
    pub writer: Option<XaeroID>,
    /// Where it is, while it is connected directly.
    pub addr: Option<SocketAddr>,
    /// Since when it is connected; `None` while it is not.
    pub connected_since: Option<SystemTime>,
    /// Which side of the connection this node is.
    pub role: Option<Role>,
    /// Whether the connection resists quantum computers; `None` without one, and where it cannot be told.
    pub post_quantum: Option<bool>,
    /// Subjects that have a stream at present.
    pub subjects: usize,
    /// Bytes sent to it since the node was started, everything included.
    pub bytes_sent: u64,
    /// Bytes received from it since the node was started, everything included.
    pub bytes_received: u64,
    /// The round trip, while it is connected.
    pub round_trip: Option<Duration>,
    /// Why the last connection, or the last attempt at one, ended; `None` after a new one was made.
    pub last_error: Option<String>,
    /// How often it broke the protocol since the node was started.
    pub offences: u64,
    /// How it did so the last time.
    pub last_offence: Option<String>,
}

/// The network of a node. Clones are of the same one; it stops with the last of them.
#[derive(Clone)]
pub(crate) struct NetHandle(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    runtime: runtime::Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread says farewell to the peers and ends by itself.
        self.shared.stop.send_replace(true);
    }
}

impl NetHandle {
    /// Starts the network: binds, and keeps calling the peers of the configuration. Blocks until the sockets are bound.
    ///
    /// # Errors
    /// [`NetError::Bind`], [`NetError::BadRelay`], [`NetError::BadEndpoint`], [`NetError::Threads`].
    pub(crate) fn start(
        config: NetworkConfig,
        endpoint_secret: [u8; 32],
        signer: Arc<dyn Signer>,
        key: PublicKey,
    ) -> Result<Self, NetError> {
        let secret = Zeroizing::new(endpoint_secret);
        let endpoint = EndpointId::from(*SecretKey::from_bytes(&secret).public().as_bytes());
        let shared = Arc::new(Shared {
            me: Identity { endpoint, key, signer },
            secret,
            listening: Mutex::new(config.former.clone()),
            config,
            permits: Permits::new(),
            shares: Shares::new(),
            book: Book::new(endpoint),
            swarms: Swarms::default(),
            stop: watch::Sender::new(false),
            kill: Notify::new(),
            endpoint: Mutex::default(),
            failed: Mutex::default(),
        });
        for peer in shared.config.peers() {
            super::endpoint::address(peer)?;
            shared.book.add(peer.clone());
        }
        let threads = |error: io::Error| NetError::Threads(Arc::new(error));
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("xaeroflux-net")
            .enable_all()
            .build()
            .map_err(threads)?;
        let handle = runtime.handle().clone();
        let (tell, told) = mpsc::channel();
        let tasks = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("xaeroflux-net".to_owned()).spawn(move || {
            runtime.block_on(async {
                match tasks.bind().await {
                    Ok(first) => {
                        // Whoever has started it waits for this.
                        let _ = tell.send(Ok(()));
                        supervise(tasks, first).await;
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                    }
                }
            });
            runtime.shutdown_timeout(THREADS_GRACE);
        });
        let thread = thread.map_err(threads)?;
        told.recv().map_err(|_| threads(io::Error::other("the network's thread died: see the log")))??;
        Ok(Self(Arc::new(Inner { shared, runtime: handle, thread: Mutex::new(Some(thread)) })))
    }

    /// This node's endpoint.
    pub(crate) fn endpoint_id(&self) -> EndpointId {
        self.0.shared.me.endpoint
    }

    /// The sockets, with the ports that they got.
    pub(crate) fn listen_addrs(&self) -> Vec<SocketAddr> {
        lock(&self.0.shared.listening).clone()
    }

    /// Where others may reach this node, as far as it knows: the addresses of the machine's interfaces, where it listens on
    /// all of them.
    pub(crate) fn addr(&self) -> PeerAddr {
        let addr = lock(&self.0.shared.endpoint).as_ref().map(iroh::Endpoint::addr);
        let mut addrs: Vec<SocketAddr> = addr.iter().flat_map(|addr| addr.ip_addrs().copied()).collect();
        for bound in self.listen_addrs() {
            if !bound.ip().is_unspecified() && !addrs.contains(&bound) {
                addrs.push(bound);
            }
        }
        let relay = addr.and_then(|addr| addr.relay_urls().next().cloned()).or_else(|| {
            // Which of its relays a node keeps to is known once they have answered. Where there is one it is that one, and
            // a ticket that is made at once says so.
            let first = self.0.shared.config.relays().first()?;
            super::endpoint::relay_url(first).ok()
        });
        PeerAddr { endpoint: self.endpoint_id(), addrs, relay: relay.map(|relay| relay.to_string()) }
    }

    /// Keeps a connection to this peer from now on.
    ///
    /// # Errors
    /// [`NetError::BadEndpoint`], [`NetError::BadRelay`]; [`NetError::GivenUp`], where nobody is called any more.
    pub(crate) fn add_peer(&self, peer: PeerAddr) -> Result<(), NetError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        super::endpoint::address(&peer)?;
        self.0.shared.book.add(peer);
        Ok(())
    }

    /// Shares a subject with who knows one of these secrets, the current one first. Its streams go to `sink`, one at a time for
    /// each peer, on a thread of the network: it must not block. Called again it asks all peers for a stream anew.
    /// Returns a number by which that is taken back.
    pub(crate) fn share(&self, subject: SubjectId, secrets: Vec<SubjectSecret>, sink: Sink) -> u64 {
        self.0.shared.shares.insert(subject, secrets, sink)
    }

    /// Shares a subject no more. The streams that it has are its own to end.
    pub(crate) fn unshare(&self, subject: SubjectId, number: u64) {
        self.0.shared.shares.remove(subject, number);
    }

    /// What is known of the peers, by endpoint.
    pub(crate) fn peers(&self) -> Vec<PeerStatus> {
        self.0.shared.book.statuses()
    }

    /// Tells when something of [`peers`](Self::peers) may have changed: a connection came or went, a call failed.
    #[cfg(test)]
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.shared.book.watch()
    }

    /// Bytes sent to all peers since the start, everything included.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.0.shared.book.sent()
    }

    /// Where sessions run.
    pub(crate) fn runtime(&self) -> &runtime::Handle {
        &self.0.runtime
    }

    /// A session has found that a peer breaks the protocol: it is cut off, and that is counted.
    pub(crate) fn report_offence(&self, endpoint: EndpointId, what: impl Into<String>) {
        let ended = Ended::Offence(what.into());
        if !self.0.shared.book.end(endpoint, ended.clone()) {
            // The connection is gone; the offence stays.
            self.0.shared.book.note(endpoint, None, &ended);
        }
        self.0.shared.swarms.cut(endpoint);
    }

    /// Keeps a connection to this peer until [`part`](Self::part) is called as often as this.
    ///
    /// # Errors
    /// [`NetError::BadEndpoint`].
    pub(crate) fn visit(&self, peer: PeerAddr) -> Result<(), NetError> {
        super::endpoint::address(&peer)?;
        self.0.shared.book.visit(peer);
        Ok(())
    }

    /// Ends a visit. With the last one the connection goes, unless something else wants it.
    pub(crate) fn part(&self, endpoint: EndpointId) {
        self.0.shared.book.part(endpoint);
    }

    /// Whether swarms are joined.
    pub(crate) fn swarming(&self) -> Swarming {
        self.0.shared.config.swarming()
    }

    /// Joins a swarm, by way of these members. To be called on the network's threads.
    ///
    /// # Errors
    /// [`NetError::TooManySwarms`]; [`NetError::Stopped`] while there is no endpoint.
    pub(crate) async fn swarm(&self, topic: [u8; 32], members: &[PeerAddr]) -> Result<SwarmLink, NetError> {
        gossip::join(&self.0.shared, topic, members).await
    }

    /// Ends the gossip's actor, as a panic in it would.
    #[cfg(test)]
    pub(super) fn kill_gossip(&self) {
        self.0.runtime.block_on(self.0.shared.swarms.kill());
    }

    /// Hears a neighbour of swarms no more for a while. Its sessions go on.
    pub(crate) fn mute(&self, endpoint: EndpointId) {
        self.0.shared.swarms.mute(endpoint);
        let ended =
            Ended::Refused("it sent more to a swarm than there is to say, and is not heard for a while".to_owned());
        self.0.shared.book.note(endpoint, None, &ended);
    }

    /// Why the network was given up, if it was.
    pub(crate) fn failure(&self) -> Option<NetError> {
        lock(&self.0.shared.failed).clone()
    }

    /// Ends the endpoint's task as a panic would: it is started again.
    pub(crate) fn kill(&self) {
        self.0.shared.kill.notify_one();
    }

    /// Says farewell to all peers and ends the threads; waits for that. Not to be called on one of these threads.
    pub(crate) fn shutdown(&self) {
        self.0.shared.stop.send_replace(true);
        let thread = lock(&self.0.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the network's thread panicked");
        }
    }
}
