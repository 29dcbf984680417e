//! What goes through a swarm, over real connections: what is said is heard, what is too long is not said, and who is not to be heard
//! is not.

use std::time::Duration;

use tokio::time::timeout;

use super::nodes::{DEADLINE, addr, node, status, until};
use crate::{
    actors::net::{
        Heard, NetError, NetHandle, SwarmLink,
        limits::{MAX_GOSSIP_BYTES, MAX_SWARMS},
    },
    wire::endpoint::PeerAddr,
};

const TOPIC: [u8; 32] = [7; 32];

/// Long enough for a message that is on its way.
const MOMENT: Duration = Duration::from_millis(500);

fn join(node: &NetHandle, members: &[PeerAddr]) -> SwarmLink {
    node.runtime().block_on(node.swarm(TOPIC, members)).unwrap()
}

/// What the link says next.
fn next(node: &NetHandle, link: &mut SwarmLink) -> Option<Heard> {
    node.runtime().block_on(async { timeout(DEADLINE, link.next()).await.expect("nothing in time") })
}

/// What the link says soon, if it does.
fn within_a_moment(node: &NetHandle, link: &mut SwarmLink) -> Option<Heard> {
    node.runtime().block_on(async { timeout(MOMENT, link.next()).await.ok().flatten() })
}

/// Two nodes in one swarm.
fn pair() -> [(NetHandle, SwarmLink); 2] {
    let (alice, bob) = (node(0), node(1));
    let mut here = join(&alice, &[]);
    let mut there = join(&bob, &[addr(&alice)]);
    assert_eq!(next(&bob, &mut there), Some(Heard::Up));
    assert_eq!(next(&alice, &mut here), Some(Heard::Up));
    [(alice, here), (bob, there)]
}

fn say(from: &(NetHandle, SwarmLink), bytes: Vec<u8>) -> Result<(), NetError> {
    from.0.runtime().block_on(from.1.say(bytes, true))
}

#[test]
fn what_is_said_is_heard_with_who_delivered_it() {
    let [alice, (bob, mut there)] = pair();
    say(&alice, vec![1, 2, 3]).unwrap();
    let heard = Heard::Message { bytes: vec![1, 2, 3], from: alice.0.endpoint_id(), is_own: true };
    assert_eq!(next(&bob, &mut there), Some(heard));
}

#[test]
fn what_would_break_the_link_is_not_said_and_the_link_holds() {
    let [alice, (bob, mut there)] = pair();
    for bytes in [MAX_GOSSIP_BYTES + 1, 4_096, 1 << 20] {
        let refused = say(&alice, vec![0; bytes]);
        assert!(matches!(refused, Err(NetError::GossipTooLong { bytes: have, .. }) if have == bytes), "{refused:?}");
    }
    say(&alice, vec![9; MAX_GOSSIP_BYTES]).unwrap();
    assert!(matches!(next(&bob, &mut there), Some(Heard::Message { bytes, .. }) if bytes.len() == MAX_GOSSIP_BYTES));
}

#[test]
fn when_the_endpoint_dies_the_link_ends_and_the_swarm_can_be_joined_again() {
    let [(alice, mut here), (bob, there)] = pair();
    alice.kill();
    while next(&alice, &mut here).is_some() {}
    drop((here, there));
    let mut there = join(&bob, &[]);
    let deadline = std::time::Instant::now() + DEADLINE;
    let _here = loop {
        // There is no endpoint until it is started again.
        match alice.runtime().block_on(alice.swarm(TOPIC, &[addr(&bob)])) {
            Ok(joined) => break joined,
            Err(NetError::Stopped) => assert!(std::time::Instant::now() < deadline),
            Err(other) => panic!("{other}"),
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    assert_eq!(next(&bob, &mut there), Some(Heard::Up));
}

#[test]
fn who_is_muted_is_not_heard_and_may_not_come_back_at_once() {
    let [(alice, mut here), (bob, there)] = pair();
    alice.mute(bob.endpoint_id());
    while next(&alice, &mut here) != Some(Heard::Down) {}
    drop(there);
    let _there = join(&bob, &[addr(&alice)]);
    assert_eq!(within_a_moment(&alice, &mut here), None);
    assert!(status(&alice, &bob).unwrap().last_error.unwrap().contains("not heard"));
    assert_eq!(status(&alice, &bob).unwrap().offences, 0);
}

#[test]
fn who_is_banned_is_no_neighbour_either() {
    let [(alice, mut here), (bob, there)] = pair();
    alice.report_offence(bob.endpoint_id(), "it lies");
    while next(&alice, &mut here) != Some(Heard::Down) {}
    drop(there);
    let _there = join(&bob, &[addr(&alice)]);
    assert_eq!(within_a_moment(&alice, &mut here), None);
}

#[test]
fn a_node_is_in_so_many_swarms_and_no_more() {
    let alice = node(0);
    let topic = |number: usize| [u8::try_from(number).unwrap(); 32];
    let join = |number| alice.runtime().block_on(alice.swarm(topic(number), &[]));
    let mut links: Vec<SwarmLink> = (0..MAX_SWARMS).map(|number| join(number).unwrap()).collect();
    assert!(matches!(join(MAX_SWARMS), Err(NetError::TooManySwarms(MAX_SWARMS))));
    links.pop();
    drop(join(MAX_SWARMS).unwrap());
}

#[test]
fn a_visit_makes_a_connection_that_ends_with_it() {
    let (alice, bob) = (node(0), node(1));
    alice.visit(addr(&bob)).unwrap();
    alice.visit(addr(&bob)).unwrap();
    until(&alice, "connected", |peers| peers.iter().any(|peer| peer.connected_since.is_some()));
    alice.part(bob.endpoint_id());
    assert!(status(&alice, &bob).unwrap().connected_since.is_some(), "there is another visit");
    alice.part(bob.endpoint_id());
    until(&alice, "parted", |peers| peers.iter().all(|peer| peer.connected_since.is_none()));
    assert_eq!(status(&alice, &bob).unwrap().last_error, None);
}

#[test]
fn a_visit_to_who_is_a_peer_anyway_leaves_the_connection_as_it_is() {
    let (alice, bob) = (node(0), node(1));
    alice.add_peer(addr(&bob)).unwrap();
    until(&alice, "connected", |peers| peers.iter().any(|peer| peer.connected_since.is_some()));
    alice.visit(addr(&bob)).unwrap();
    alice.part(bob.endpoint_id());
    let since = status(&alice, &bob).unwrap().connected_since;
    assert!(since.is_some());
}
