//! Swarms: nodes that know one neighbour each find the others by gossip, and a neighbour that floods a swarm is of no account.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use iroh::{Endpoint, RelayMode, TransportAddr, address_lookup::memory::MemoryLookup, endpoint::presets};
use iroh_gossip::{Gossip, TopicId, api::GossipTopic, proto::PlumtreeConfig};
use tokio::runtime::Runtime;
use xaeroflux::{
    NetworkConfig, PeerAddr, SubjectSecret, SubjectTicket, Swarming,
    prelude::*,
    wire::sync::{AnnounceKey, Announcement},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A thousand messages take a small part of it, unless nothing takes them.
const STANDSTILL: Duration = Duration::from_secs(5);

const NAME: &str = "docs/tags";

const SECRET: [u8; 32] = [7; 32];

/// A node with a network and a subject.
struct Peer {
    subject: Subject,
    _handle: Handle,
    node: Node,
}

impl Peer {
    /// One that knows the subject, and of others who share it these, and is always in the swarm.
    fn knows(peers: &[PeerAddr]) -> Self {
        Self::in_mode(Swarming::Always, peers)
    }

    fn in_mode(swarming: Swarming, peers: &[PeerAddr]) -> Self {
        let network = NetworkConfig::new().listen(([127, 0, 0, 1], 0).into()).swarm(swarming);
        let node = Node::builder().network(network).ephemeral().unwrap();
        let subject = node.join(&SubjectTicket::open(NAME, SubjectSecret::from(SECRET), peers).unwrap()).unwrap();
        let handle = subject.run().unwrap();
        Self { subject, _handle: handle, node }
    }

    fn addr(&self) -> PeerAddr {
        self.node.peer_addr().unwrap()
    }

    fn add(&self, element: &str) {
        self.subject.publish(XaeroEvent::new(element, CRDT_SET_ADD)).wait().unwrap();
    }

    fn is_connected(&self, other: &Self) -> bool {
        let endpoint = other.addr().endpoint;
        self.node.peers().iter().any(|peer| peer.endpoint == endpoint && peer.connected_since.is_some())
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn until_same(peers: &[Peer]) {
    until("the peers do not converge", || {
        let root = peers[0].subject.root().unwrap();
        peers.iter().all(|peer| peer.subject.root().unwrap() == root)
    });
}

/// So many nodes are in a swarm by themselves, and no fewer: each has more than five others.
const LEAST: usize = 7;

/// Nodes of which each knows the one before it.
fn chain(nodes: usize, swarming: Swarming) -> Vec<Peer> {
    let mut chain = vec![Peer::in_mode(swarming, &[])];
    for _ in 1..nodes {
        let neighbour = chain.last().unwrap().addr();
        chain.push(Peer::in_mode(swarming, &[neighbour]));
    }
    chain
}

/// Until each has so many neighbours in the swarm.
fn until_neighbours(peers: &[Peer], least: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let neighbours: Vec<_> = peers.iter().map(|peer| peer.subject.swarm_neighbours()).collect();
        if neighbours.iter().all(|neighbours| neighbours.is_some_and(|neighbours| neighbours >= least)) {
            return;
        }
        assert!(Instant::now() < deadline, "not all have {least} neighbours: {neighbours:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Who is just calling somebody that is gone takes a while to stop: all at once.
fn end(peers: Vec<Peer>) {
    std::thread::scope(|scope| {
        for peer in peers {
            scope.spawn(move || drop(peer));
        }
    });
}

/// The one in the middle of a chain ends: the only one whom both halves knew.
fn breaks(mut chain: Vec<Peer>) {
    let middle = chain.len() / 2;
    drop(chain.remove(middle));
    chain[0].add("second");
    chain.last().unwrap().add("third");
    until_same(&chain);
    let (left, right) = chain.split_at(middle);
    let crosses = |peer: &Peer| left.iter().any(|other| peer.is_connected(other));
    assert!(right.iter().any(crosses), "it came over a connection that was not there before");
    end(chain);
}

#[test]
fn nodes_that_know_one_neighbour_each_find_new_ones_when_the_chain_breaks() {
    let chain = chain(8, Swarming::Always);
    chain[0].add("first");
    until_same(&chain);
    breaks(chain);
}

#[test]
fn in_a_chain_that_is_long_enough_all_join_the_swarm_by_themselves_and_outlive_its_middle() {
    let chain = chain(LEAST, Swarming::Auto);
    chain[0].add("first");
    until_same(&chain);
    until_neighbours(&chain, 2);
    breaks(chain);
}

#[test]
fn a_newcomer_who_knows_one_member_only_hears_from_the_others_when_that_one_is_gone() {
    let mut star = vec![Peer::in_mode(Swarming::Auto, &[])];
    let hub = star[0].addr();
    star.extend((2..LEAST).map(|_| Peer::in_mode(Swarming::Auto, std::slice::from_ref(&hub))));
    star[0].add("before");
    until_same(&star);
    assert!(star.iter().all(|peer| peer.subject.swarm_neighbours().is_none()), "they are a handful");
    let known = star.last().unwrap().addr();
    star.push(Peer::in_mode(Swarming::Auto, &[known]));
    until_neighbours(&star, 2);
    until_same(&star);
    // The only one whom the newcomer knew, and who knew the newcomer.
    drop(star.remove(LEAST - 2));
    star[1].add("by another leaf");
    until_same(&star);
    let newcomer = star.last().unwrap();
    assert!(star.iter().any(|peer| newcomer.is_connected(peer)), "over a connection that was not there before");
    newcomer.add("by the newcomer");
    until_same(&star);
    end(star);
}

/// Somebody who speaks the gossip's own protocol, and knows the name of the swarm.
struct Eve {
    runtime: Runtime,
    endpoint: Endpoint,
    _gossip: Gossip,
    topic: Option<GossipTopic>,
}

impl Eve {
    fn joins(peer: &Peer) -> Self {
        // Before that it does not speak her protocol, and she asks once.
        until("the peer is in the swarm", || peer.subject.swarm_neighbours().is_some());
        let addr = peer.addr();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (endpoint, gossip, topic) = runtime.block_on(async {
            let endpoint = Endpoint::builder(presets::Minimal)
                .crypto_provider(std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .relay_mode(RelayMode::Disabled)
                .clear_address_lookup()
                .clear_ip_transports()
                .bind_addr("127.0.0.1:0")
                .unwrap()
                .bind()
                .await
                .unwrap();
            let lookup = MemoryLookup::new();
            let id = iroh::EndpointId::from_bytes(addr.endpoint.as_bytes()).unwrap();
            let to = iroh::EndpointAddr::new(id).with_addrs(addr.addrs.iter().copied().map(TransportAddr::Ip));
            lookup.add_endpoint_info(to);
            endpoint.address_lookup().unwrap().add(lookup);
            // She forgets at once what she said, so that the memory of the process is the honest node's.
            let short = Duration::from_millis(200);
            let broadcast = PlumtreeConfig {
                message_cache_retention: short,
                message_id_retention: short,
                cache_evict_interval: short,
                ..PlumtreeConfig::default()
            };
            let gossip =
                Gossip::builder().alpn("xaeroflux-swarm/1").broadcast_config(broadcast).spawn(endpoint.clone());
            let topic = TopicId::from_bytes(*AnnounceKey::new(&SubjectSecret::from(SECRET)).topic());
            let joining = gossip.subscribe_and_join(topic, vec![id]);
            let topic = tokio::time::timeout(PATIENCE, joining).await.expect("she becomes a neighbour").unwrap();
            (endpoint, gossip, topic)
        });
        Self { runtime, endpoint, _gossip: gossip, topic: Some(topic) }
    }

    /// One who says this to her neighbour again and again until it is so.
    fn that_floods(
        peer: &Peer,
        mut say: impl FnMut(u64) -> Vec<u8>,
        mut until: impl FnMut(&iroh::EndpointId) -> bool,
    ) -> Self {
        for _ in 0..5 {
            let mut eve = Self::joins(peer);
            let me = eve.endpoint.id();
            if eve.floods(&mut say, || until(&me)) {
                return eve;
            }
        }
        panic!("her own gossip takes nothing, five times in a row");
    }

    /// Says this again and again, as fast as it goes, until it is so. `false` where her own gossip takes nothing any more, as
    /// it comes to now and then under such a load: it is another Eve's turn then.
    fn floods(&mut self, mut say: impl FnMut(u64) -> Vec<u8>, mut until: impl FnMut() -> bool) -> bool {
        let (sender, receiver) = self.topic.take().unwrap().split();
        let deadline = Instant::now() + PATIENCE;
        let mut number = 0;
        while !until() {
            assert!(Instant::now() < deadline, "she is never cut off: {number} messages");
            let saying = async {
                for _ in 0..1_000 {
                    number += 1;
                    let _ = sender.broadcast(say(number).into()).await;
                }
            };
            let said = self.runtime.block_on(async { tokio::time::timeout(STANDSTILL, saying).await });
            if said.is_err() && !until() {
                return false;
            }
        }
        println!("she is cut off after {number} messages");
        drop(receiver);
        true
    }

    fn status(&self, at: &Peer) -> Option<xaeroflux::PeerStatus> {
        let me = self.endpoint.id();
        at.node.peers().into_iter().find(|peer| peer.endpoint.as_bytes() == me.as_bytes())
    }
}

fn offences(at: &Peer, of: &iroh::EndpointId) -> u64 {
    let status = at.node.peers().into_iter().find(|peer| peer.endpoint.as_bytes() == of.as_bytes());
    status.map_or(0, |status| status.offences)
}

/// Bytes of memory that the process has.
fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[test]
fn who_floods_a_swarm_with_what_no_member_made_is_cut_off_and_the_rest_goes_on() {
    let alice = Peer::knows(&[]);
    let bob = Peer::knows(&[alice.addr()]);
    alice.add("before");
    let pair = [alice, bob];
    until_same(&pair);
    let before = memory();
    let junk = |number: u64| [&number.to_le_bytes()[..], &[0; 140]].concat();
    let mut ticks = 0;
    let eve = Eve::that_floods(&pair[0], junk, |eve| {
        ticks += 1;
        pair[0].add(&format!("while she floods {ticks}"));
        offences(&pair[0], eve) > 0
    });
    until_same(&pair);
    let status = eve.status(&pair[0]).unwrap();
    assert_eq!(status.offences, 1, "what was on its way is no offence of its own: {status:?}");
    let grown = memory().saturating_sub(before);
    println!("{} MiB more", grown >> 20);
    assert!(grown < 128 << 20, "{} MiB more", grown >> 20);
}

#[test]
fn a_member_that_says_far_too_much_is_not_heard_and_its_events_still_come() {
    let alice = Peer::knows(&[]);
    let bob = Peer::knows(&[alice.addr()]);
    let pair = [alice, bob];
    until_same(&pair);
    let (key, holder) = (AnnounceKey::new(&SubjectSecret::from(SECRET)), pair[1].addr());
    let said = |number: u64| Announcement::new(number.to_le_bytes(), [9; 32], 1, &holder).seal(&key);
    let eve = Eve::that_floods(&pair[0], said, |eve| {
        let status = pair[0].node.peers().into_iter().find(|peer| peer.endpoint.as_bytes() == eve.as_bytes());
        status.and_then(|status| status.last_error).is_some_and(|error| error.contains("not heard"))
    });
    assert_eq!(eve.status(&pair[0]).unwrap().offences, 0, "what she said was in order");
    pair[1].add("after");
    until_same(&pair);
}
