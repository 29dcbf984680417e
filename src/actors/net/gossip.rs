//! The swarms: small messages that reach everybody who shares a subject, also those to whom this node has no connection.
//!
//! iroh-gossip does it (HyParView for who is whose neighbour, Plumtree for what goes over which link), on connections of its
//! own beside ours: see `docs/protocol.md`. It is started when the first subject joins its swarm, on the endpoint that there is,
//! and ends with that. What it does not do is done here:
//!
//! * A message above its limit breaks the link without a word: nothing longer than [`MAX_GOSSIP_BYTES`] gets to it.
//! * It talks to everybody: a [`Gate`] at the endpoint turns away who is banned or muted, whoever has called, and holds the
//!   other end of every link so that it can be cut.
//! * Its actor may die: who waits for messages is told that they ended, and the next who joins a swarm starts another one.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::Poll,
    time::Duration,
};

use futures_core::Stream as _;
use hashbrown::HashMap;
use iroh::{
    Endpoint, EndpointAddr,
    address_lookup::memory::MemoryLookup,
    endpoint::{AfterHandshakeOutcome, BeforeConnectOutcome, Connection, EndpointHooks, VarInt, WeakConnectionHandle},
};
use iroh_gossip::{
    Gossip, TopicId,
    api::{Event, GossipReceiver, GossipSender, JoinOptions},
    proto::{HyparviewConfig, PlumtreeConfig},
};
use tokio::time::{Instant, timeout};

use super::{
    NetError, endpoint,
    limits::{ALPN, GOSSIP_ALPN, MAX_GOSSIP_BYTES, MAX_GOSSIP_LINKS, MAX_MUTED, MAX_SWARMS, MUTE, SWARM_QUEUE},
    service::{Shared, lock},
};
use crate::wire::{endpoint::PeerAddr, id::EndpointId, sync::ByeReason};

/// How long what was said is kept for those who ask for it again: several round trips. It is what a flood fills.
const KEPT: Duration = Duration::from_secs(3);

/// How long it is known that a message has come: it comes over all links within a second or two.
const KNOWN: Duration = Duration::from_secs(30);

/// Between two exchanges of who else is in a swarm. Each costs up to two kilobytes in each swarm, and a swarm at rest is
/// to cost next to nothing.
const SHUFFLE: Duration = Duration::from_secs(600);

/// How long the gossip may take to take a message or a connection; one that does not is dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// The swarms of a node.
#[derive(Default)]
pub(super) struct Swarms(Mutex<State>);

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// Swarms that were joined and not left.
    joined: usize,
    /// The connections of the gossip.
    links: HashMap<EndpointId, Vec<WeakConnectionHandle>>,
    /// Whose connections are refused, and until when.
    muted: HashMap<EndpointId, Instant>,
}

#[derive(Clone)]
struct Running {
    gossip: Gossip,
    /// Where the peers are that are told to it.
    lookup: MemoryLookup,
}

impl Swarms {
    /// Ends the gossip: the endpoint is about to close.
    pub(super) async fn stop(&self) {
        let running = {
            let mut state = lock(&self.0);
            state.links.clear();
            state.running.take()
        };
        if let Some(running) = running {
            // Neighbours that do not hear of it find out by themselves.
            let _ = timeout(PATIENCE, running.gossip.shutdown()).await;
        }
    }

    /// Ends the gossip's actor, as a panic in it would, and tells nobody.
    #[cfg(test)]
    pub(super) async fn kill(&self) {
        let gossip = lock(&self.0).running.as_ref().map(|running| running.gossip.clone());
        gossip.unwrap().shutdown().await.unwrap();
    }

    /// A connection of the gossip that a peer has made: lives through it.
    pub(super) async fn take(&self, connection: Connection) {
        let gossip = lock(&self.0).running.as_ref().map(|running| running.gossip.clone());
        let Some(gossip) = gossip else { return };
        let weak = connection.weak_handle();
        if let Ok(Ok(())) = timeout(PATIENCE, gossip.handle_connection(connection)).await {
            weak.closed().await;
        }
    }

    /// Cuts all links to a peer.
    pub(super) fn cut(&self, endpoint: EndpointId) {
        let links = lock(&self.0).links.remove(&endpoint).unwrap_or_default();
        for connection in links.iter().filter_map(WeakConnectionHandle::upgrade) {
            connection.close(VarInt::from_u32(ByeReason::Refused.code().into()), b"not heard at present");
        }
    }

    /// Cuts all links to a peer, and takes no new one for a while. Its sessions go on.
    pub(super) fn mute(&self, endpoint: EndpointId) {
        {
            let mut state = lock(&self.0);
            let now = Instant::now();
            if state.muted.len() >= MAX_MUTED {
                state.muted.retain(|_, until| *until > now);
            }
            if state.muted.len() < MAX_MUTED {
                state.muted.insert(endpoint, now + MUTE);
            }
        }
        self.cut(endpoint);
    }

    fn is_muted(&self, endpoint: EndpointId) -> bool {
        lock(&self.0).muted.get(&endpoint).is_some_and(|until| *until > Instant::now())
    }

    /// Notes a new link; `false` where there are too many.
    fn note(&self, endpoint: EndpointId, connection: &Connection) -> bool {
        let mut state = lock(&self.0);
        let is_open = |link: &WeakConnectionHandle| link.upgrade().is_some_and(|link| link.close_reason().is_none());
        state.links.retain(|_, links| {
            links.retain(is_open);
            !links.is_empty()
        });
        if state.links.values().map(Vec::len).sum::<usize>() >= MAX_GOSSIP_LINKS {
            return false;
        }
        state.links.entry(endpoint).or_default().push(connection.weak_handle());
        true
    }
}

/// Stands at the endpoint and turns away who is not to be a neighbour.
pub(super) struct Gate(Weak<Shared>);

impl Gate {
    /// The gate of these swarms. The endpoint belongs to them, so it does not keep them.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

fn admits(shared: &Shared, endpoint: EndpointId) -> bool {
    shared.book.check(endpoint).is_ok() && !shared.swarms.is_muted(endpoint)
}

impl EndpointHooks for Gate {
    async fn before_connect<'a>(&'a self, remote: &'a EndpointAddr, alpn: &'a [u8]) -> BeforeConnectOutcome {
        let is_admitted = alpn != GOSSIP_ALPN
            || self.0.upgrade().is_some_and(|shared| admits(&shared, EndpointId::from(*remote.id.as_bytes())));
        if is_admitted { BeforeConnectOutcome::Accept } else { BeforeConnectOutcome::Reject }
    }

    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        let is_admitted = connection.alpn() != GOSSIP_ALPN
            || self.0.upgrade().is_some_and(|shared| {
                let endpoint = endpoint::remote(connection);
                admits(&shared, endpoint) && shared.swarms.note(endpoint, connection)
            });
        if is_admitted {
            return AfterHandshakeOutcome::Accept;
        }
        let error_code = VarInt::from_u32(ByeReason::Refused.code().into());
        AfterHandshakeOutcome::Reject { error_code, reason: b"not heard at present".to_vec() }
    }
}

/// What a swarm has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A message.
    Message {
        /// Its bytes: whoever wrote them, they prove nothing.
        bytes: Vec<u8>,
        /// The neighbour who delivered it.
        from: EndpointId,
        /// Whether that neighbour says that it is its own.
        is_own: bool,
    },
    /// There is a new neighbour.
    Up,
    /// A neighbour is gone.
    Down,
    /// Messages were lost: they came faster than they were taken.
    Lagged,
}

/// A place in the swarm of one subject. Dropping it leaves.
pub(crate) struct SwarmLink {
    shared: Arc<Shared>,
    running: Running,
    sender: GossipSender,
    receiver: GossipReceiver,
}

impl Drop for SwarmLink {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.swarms.0);
        state.joined = state.joined.saturating_sub(1);
    }
}

impl SwarmLink {
    /// What is heard next; `None` where the gossip has ended. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        loop {
            let event = std::future::poll_fn(|context| match Pin::new(&mut self.receiver).poll_next(context) {
                Poll::Ready(event) => Poll::Ready(event),
                Poll::Pending => Poll::Pending,
            });
            return Some(match event.await?.ok()? {
                Event::Received(message) if message.content.len() > MAX_GOSSIP_BYTES => continue,
                Event::Received(message) => Heard::Message {
                    bytes: message.content.to_vec(),
                    from: EndpointId::from(*message.delivered_from.as_bytes()),
                    is_own: message.scope.is_direct(),
                },
                Event::NeighborUp(_) => Heard::Up,
                Event::NeighborDown(_) => Heard::Down,
                Event::Lagged => Heard::Lagged,
            });
        }
    }

    /// The neighbours.
    pub(crate) fn neighbours(&self) -> Vec<EndpointId> {
        self.receiver.neighbors().map(|neighbour| EndpointId::from(*neighbour.as_bytes())).collect()
    }

    /// Says this to everybody, or to the neighbours only.
    ///
    /// # Errors
    /// [`NetError::GossipTooLong`]: it is not said. [`NetError::Stopped`]: the gossip has ended.
    pub(crate) async fn say(&self, bytes: Vec<u8>, to_all: bool) -> Result<(), NetError> {
        if bytes.len() > MAX_GOSSIP_BYTES {
            return Err(NetError::GossipTooLong { bytes: bytes.len(), most: MAX_GOSSIP_BYTES });
        }
        let saying = async {
            if to_all {
                self.sender.broadcast(bytes.into()).await
            } else {
                self.sender.broadcast_neighbors(bytes.into()).await
            }
        };
        timeout(PATIENCE, saying).await.map_err(|_| NetError::Stopped)?.map_err(|_| NetError::Stopped)
    }

    /// Tells the swarm of further members.
    pub(crate) async fn invite(&self, peers: &[PeerAddr]) {
        let known = self.running.know(peers);
        // Where it has ended, who listens is told.
        let _ = timeout(PATIENCE, self.sender.join_peers(known)).await;
    }
}

impl Running {
    /// Starts the gossip on this endpoint.
    fn start(endpoint: &Endpoint) -> Self {
        let lookup = MemoryLookup::new();
        if let Ok(services) = endpoint.address_lookup() {
            services.add(lookup.clone());
        }
        let membership = HyparviewConfig { shuffle_interval: SHUFFLE, ..HyparviewConfig::default() };
        let broadcast =
            PlumtreeConfig { message_cache_retention: KEPT, message_id_retention: KNOWN, ..PlumtreeConfig::default() };
        let builder = Gossip::builder().alpn(GOSSIP_ALPN).membership_config(membership).broadcast_config(broadcast);
        let gossip = builder.spawn(endpoint.clone());
        endpoint.set_alpns(vec![ALPN.to_vec(), GOSSIP_ALPN.to_vec()]);
        Self { gossip, lookup }
    }

    /// Notes where these are. Who cannot be a peer is left out.
    fn know(&self, peers: &[PeerAddr]) -> Vec<iroh::EndpointId> {
        let mut known = Vec::with_capacity(peers.len());
        for address in peers.iter().filter_map(|peer| endpoint::address(peer).ok()) {
            known.push(address.id);
            if !address.addrs.is_empty() {
                self.lookup.add_endpoint_info(address);
            }
        }
        known
    }
}

/// Joins a swarm, by way of these members.
///
/// # Errors
/// [`NetError::TooManySwarms`]; [`NetError::Stopped`] while there is no endpoint.
pub(super) async fn join(shared: &Arc<Shared>, topic: [u8; 32], members: &[PeerAddr]) -> Result<SwarmLink, NetError> {
    let running = {
        let mut state = lock(&shared.swarms.0);
        if state.joined >= MAX_SWARMS {
            return Err(NetError::TooManySwarms(MAX_SWARMS));
        }
        let running = match &state.running {
            Some(running) => running.clone(),
            None => {
                let endpoint = lock(&shared.endpoint).clone().ok_or(NetError::Stopped)?;
                let running = Running::start(&endpoint);
                state.running.insert(running).clone()
            }
        };
        state.joined += 1;
        running
    };
    let bootstrap = running.know(members).into_iter().collect();
    let options = JoinOptions { bootstrap, subscription_capacity: SWARM_QUEUE };
    let joining = running.gossip.subscribe_with_opts(TopicId::from_bytes(topic), options);
    if let Ok(Ok(joined)) = timeout(PATIENCE, joining).await {
        let (sender, receiver) = joined.split();
        return Ok(SwarmLink { shared: Arc::clone(shared), running, sender, receiver });
    }
    // Its actor is dead: whoever comes next starts another one.
    let mut state = lock(&shared.swarms.0);
    state.joined = state.joined.saturating_sub(1);
    if state.running.as_ref().is_some_and(|now| Arc::ptr_eq(now.gossip.metrics(), running.gossip.metrics())) {
        state.running = None;
    }
    Err(NetError::Stopped)
}
