//! Two nodes that have no way to each other but a relay, with which they find each other by key, and again after it was
//! gone.
//!
//! One listens at an IPv4 address and the other at an IPv6 address, so that they cannot find a way past it; each is told
//! the other's key and the URL of the relay, and nothing else.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use iroh_relay::server::{RelayConfig, Server, ServerConfig};
use tokio::runtime::Runtime;
use xaeroflux::{
    EndpointId, Handle, NetworkConfig, Node, PeerAddr, Subject, SubjectSecret, SubjectTicket, XaeroEvent,
    event::CRDT_SET_ADD,
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what tells nobody when it changes.
const PAUSE: Duration = Duration::from_millis(10);

/// Several chunks of events, and more bytes than may be on their way at once.
const MANY: u64 = 100_000;

/// Bytes of each of these.
const PAYLOAD: u64 = 256;

const SUBJECT: &str = "docs/tags";

/// A relay without TLS: what it carries is encrypted between the nodes.
struct Relay {
    runtime: Runtime,
    server: Option<Server>,
    addr: SocketAddr,
}

impl Relay {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let mut relay = Self { runtime, server: None, addr: (Ipv4Addr::LOCALHOST, 0).into() };
        relay.start();
        relay
    }

    /// Starts it, at the port that it had before.
    fn start(&mut self) {
        let mut config = ServerConfig::default();
        config.relay = Some(RelayConfig::new(self.addr));
        let server = self.runtime.block_on(Server::spawn(config)).expect("a relay");
        self.addr = server.http_addr().expect("it listens");
        self.server = Some(server);
    }

    fn stop(&mut self) {
        let server = self.server.take().expect("it runs");
        self.runtime.block_on(server.shutdown()).expect("it stops");
    }

    /// Bytes that it has handed on since it was started.
    fn carried(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| server.metrics().server.bytes_sent.get())
    }

    fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }
}

/// A node, and the one subject that it shares.
struct Peer {
    subject: Subject,
    _handle: Handle,
    node: Node,
}

impl Peer {
    fn new(ip: impl Into<IpAddr>, relay: &Relay) -> Self {
        let network = NetworkConfig::new().listen((ip.into(), 0).into()).relay(relay.url());
        let node = Node::builder().network(network).ephemeral().expect("a node");
        let subject = node.subject(SUBJECT);
        let handle = subject.run().expect("it runs");
        Self { subject, _handle: handle, node }
    }

    fn id(&self) -> EndpointId {
        self.node.endpoint_id().expect("it has a key")
    }

    fn add(&self, element: &str) {
        self.subject.publish(XaeroEvent::new(element, CRDT_SET_ADD)).wait().expect("it is durable");
    }

    /// Publishes so many events of [`PAYLOAD`] bytes.
    fn fill(&self, events: u64) {
        let event = |n: u64| XaeroEvent::new([n.to_le_bytes(); 32].concat(), CRDT_SET_ADD);
        for receipt in self.subject.publish_all((0..events).map(event)) {
            receipt.wait().expect("it is durable");
        }
    }

    fn is_connected(&self) -> bool {
        self.node.peers().iter().any(|peer| peer.connected_since.is_some())
    }

    /// Whether it has this many events, and as many as the other.
    fn has(&self, events: u64, other: &Self) -> bool {
        self.subject.count().expect("a count") == events
            && self.subject.root().expect("a root") == other.subject.root().expect("a root")
    }
}

/// What a ticket would say that knows of no address.
fn ticket(secret: SubjectSecret, endpoint: EndpointId, relay: &Relay) -> SubjectTicket {
    let peer = PeerAddr { endpoint, addrs: Vec::new(), relay: Some(relay.url()) };
    SubjectTicket::open(SUBJECT, secret, &[peer]).expect("a ticket")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(PAUSE);
    }
}

/// Both take a ticket of the other's: it does not matter who calls.
fn introduce(alice: &Peer, bob: &Peer, relay: &Relay) {
    let secret = SubjectSecret::from([7; 32]);
    alice.node.join(&ticket(secret.clone(), bob.id(), relay)).expect("it joins");
    bob.node.join(&ticket(secret, alice.id(), relay)).expect("it joins");
}

/// That nothing goes past the relay.
fn assert_no_direct_way(peers: [&Peer; 2]) {
    for peer in peers {
        let connected = peer.node.peers().into_iter().find(|peer| peer.connected_since.is_some());
        assert_eq!(connected.expect("a connection").addr, None, "there is a direct way");
    }
}

#[test]
fn two_nodes_converge_through_a_relay_and_again_after_it_was_gone() {
    let mut relay = Relay::new();
    let (alice, bob) = (Peer::new(Ipv4Addr::LOCALHOST, &relay), Peer::new(Ipv6Addr::LOCALHOST, &relay));
    alice.add("draft");
    bob.add("urgent");
    introduce(&alice, &bob, &relay);
    until("they do not converge", || alice.has(2, &bob));
    assert_no_direct_way([&alice, &bob]);

    relay.stop();
    until("they stay connected without it", || !alice.is_connected() && !bob.is_connected());
    alice.add("reviewed");
    bob.add("merged");
    assert!(!alice.has(4, &bob));

    relay.start();
    until("they do not converge again", || alice.has(4, &bob));
    assert_no_direct_way([&alice, &bob]);
}

#[test]
fn a_relay_that_comes_late_is_found_and_carries_much() {
    let mut relay = Relay::new();
    relay.stop();
    let (alice, bob) = (Peer::new(Ipv4Addr::LOCALHOST, &relay), Peer::new(Ipv6Addr::LOCALHOST, &relay));
    alice.fill(MANY);
    introduce(&alice, &bob, &relay);
    until("nobody has tried yet", || alice.node.peers().iter().any(|peer| peer.last_error.is_some()));

    relay.start();
    until("they do not converge", || bob.has(MANY, &alice));
    assert_no_direct_way([&alice, &bob]);
    assert!(relay.carried() > MANY * PAYLOAD, "{} bytes went through the relay", relay.carried());
}
