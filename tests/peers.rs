//! Nodes that sync over real connections: apart and together, in a line and in a ring, with what was there before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use xaeroflux::{NetworkConfig, SubjectTicket, prelude::*};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node with a network, a subject and a person who writes there.
struct Peer {
    subject: Subject,
    author: XaeroID,
    handle: Option<Handle>,
    node: Node,
}

impl Peer {
    fn new(name: &str) -> Self {
        let node = Node::builder().network(loopback()).ephemeral().unwrap();
        let author = node.own_identity().unwrap();
        let subject = node.subject(name);
        let handle = Some(subject.run().unwrap());
        Self { subject, author, handle, node }
    }

    /// A node that has joined the subject of another.
    fn joined(other: &Self) -> Self {
        let node = Node::builder().network(loopback()).ephemeral().unwrap();
        let author = node.own_identity().unwrap();
        let subject = node.join(&other.ticket()).unwrap();
        let handle = Some(subject.run().unwrap());
        Self { subject, author, handle, node }
    }

    fn ticket(&self) -> SubjectTicket {
        // As somebody else gets it.
        self.subject.ticket().unwrap().to_string().parse().unwrap()
    }

    fn add(&self, element: &str) {
        self.subject.publish(XaeroEvent::new(element, CRDT_SET_ADD)).wait().unwrap();
    }

    fn remove(&self, element: &str) {
        self.subject.publish(XaeroEvent::new(element, CRDT_SET_REMOVE)).wait().unwrap();
    }

    fn set(&self) -> Vec<String> {
        let operators = vec![
            Operator::Sort(Sort::VectorClock.to_operator()),
            Operator::Fold(Fold::ORSet.to_operator()),
            Operator::Reduce(Reduce::SetContents.to_operator()),
        ];
        let Some(state) = self.subject.resolve(operators).unwrap() else { return Vec::new() };
        let set = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data).unwrap();
        set.into_iter().map(|element| String::from_utf8(element).unwrap()).collect()
    }
}

fn loopback() -> NetworkConfig {
    NetworkConfig::new().listen(([127, 0, 0, 1], 0).into())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn until_same(peers: &[&Peer]) {
    until("the peers do not converge", || {
        let root = peers[0].subject.root().unwrap();
        peers.iter().all(|peer| peer.subject.root().unwrap() == root)
    });
}

#[test]
fn what_was_written_before_they_met_is_on_both_sides_after_it() {
    let alice = Peer::new("docs/tags");
    alice.add("draft");
    alice.add("urgent");
    let bob = Peer::joined(&alice);
    until_same(&[&alice, &bob]);
    assert_eq!(bob.set(), ["draft", "urgent"]);
    assert_eq!(bob.subject.name(), "docs/tags");
    assert!(alice.node.peers().iter().any(|peer| peer.writer == Some(bob.author)));
}

#[test]
fn a_live_event_reaches_a_subscriber_on_the_other_side() {
    let alice = Peer::new("docs/tags");
    let bob = Peer::joined(&alice);
    let (tell, told) = std::sync::mpsc::channel();
    let _subscription = bob.subject.subscribe(move |event| tell.send(event.evt.data.clone()).unwrap());
    for text in ["one", "two", "three"] {
        alice.add(text);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), text.as_bytes());
    }
}

/// More than one chunk has room for, several times over.
const MANY: u64 = 30_000;

#[test]
fn what_a_peer_sends_does_not_go_back_to_it() {
    let alice = Peer::new("docs/tags");
    let bob = Peer::joined(&alice);
    until_same(&[&alice, &bob]);
    let events = (0..MANY).map(|n| XaeroEvent::new(n.to_le_bytes(), CRDT_SET_ADD));
    for receipt in alice.subject.publish_all(events) {
        receipt.wait().unwrap();
    }
    until("not all has come", || bob.subject.count().unwrap() == MANY);
    until_same(&[&alice, &bob]);
    let back: u64 = alice.subject.peers().iter().map(|peer| peer.new + peer.known).sum();
    // Where the two happen to compare what they have meanwhile, something may cross.
    assert!(back < MANY / 20, "{back} events came back");
}

#[test]
fn two_devices_that_started_offline_under_one_name_are_merged_when_they_meet() {
    let (laptop, phone) = (Peer::new("notes"), Peer::new("notes"));
    laptop.add("milk");
    laptop.add("bread");
    phone.add("milk");
    phone.remove("milk");
    phone.add("eggs");
    phone.node.join(&laptop.ticket()).unwrap();
    until_same(&[&laptop, &phone]);
    assert_eq!(laptop.set(), ["bread", "eggs", "milk"], "the laptop's milk was not seen by the remove");
    assert_eq!(phone.set(), laptop.set());
}

#[test]
fn both_sides_write_while_they_are_apart_and_converge_when_they_meet_again() {
    let alice = Peer::new("docs/tags");
    let mut bob = Peer::joined(&alice);
    alice.add("draft");
    until_same(&[&alice, &bob]);
    // Bob's subject sleeps; he is offline for this subject.
    bob.handle = None;
    alice.remove("draft");
    for n in 0..50 {
        alice.add(&format!("alice {n:02}"));
    }
    bob.handle = Some(bob.subject.run().unwrap());
    bob.add("bob was here");
    until_same(&[&alice, &bob]);
    assert_eq!(alice.set().len(), 51);
    assert_eq!(alice.set(), bob.set());
}

#[test]
fn what_one_end_of_a_line_writes_comes_to_the_other_end() {
    let mut line = vec![Peer::new("docs/tags")];
    for _ in 1..5 {
        // Each knows its neighbour only.
        let next = Peer::joined(line.last().unwrap());
        line.push(next);
    }
    for (number, peer) in line.iter().enumerate() {
        peer.add(&format!("from {number}"));
    }
    until("the ends do not meet", || line.iter().all(|peer| peer.subject.count().unwrap() == 5));
    until_same(&line.iter().collect::<Vec<_>>());
    line[4].remove("from 0");
    until("a remove is not passed on", || line[0].set().len() == 4);
}

#[test]
fn a_sync_actor_that_is_killed_is_started_again_and_nothing_is_lost() {
    let alice = Peer::new("docs/tags");
    let bob = Peer::joined(&alice);
    for n in 0..20 {
        alice.add(&format!("{n}"));
        if n % 5 == 4 {
            bob.handle.as_ref().unwrap().kill_child(xaeroflux::ChildKind::Sync);
            alice.handle.as_ref().unwrap().kill_child(xaeroflux::ChildKind::Sync);
        }
        bob.add(&format!("bob {n}"));
    }
    until_same(&[&alice, &bob]);
    assert_eq!(alice.subject.count().unwrap(), 40);
}

#[test]
fn a_network_that_is_killed_is_started_again_and_storage_does_not_notice() {
    let alice = Peer::new("docs/tags");
    let bob = Peer::joined(&alice);
    alice.add("before");
    until_same(&[&alice, &bob]);
    bob.node.kill_network();
    bob.add("while it was down");
    alice.add("meanwhile");
    until("they do not meet again", || alice.subject.count().unwrap() == 3 && bob.subject.count().unwrap() == 3);
    until_same(&[&alice, &bob]);
}

#[test]
fn a_stranger_without_the_ticket_gets_nothing() {
    let alice = Peer::new("docs/tags");
    alice.add("secret");
    let ticket = alice.ticket();
    // Knows the name and the address, not the secret.
    let eve = Peer::new("docs/tags");
    eve.subject.ticket().unwrap();
    eve.node.add_peer(alice.node.peer_addr().unwrap()).unwrap();
    until("they do not connect", || eve.node.peers().iter().any(|peer| peer.connected_since.is_some()));
    let bob = Node::builder().network(loopback()).ephemeral().unwrap();
    let joined = bob.join(&ticket).unwrap();
    let _handle = joined.run().unwrap();
    until("who has the ticket gets it", || joined.count().unwrap() == 1);
    assert_eq!(eve.subject.count().unwrap(), 0);
}

#[test]
fn connections_are_protected_against_later_decryption() {
    let alice = Peer::new("docs/tags");
    let bob = Peer::joined(&alice);
    alice.add("x");
    until_same(&[&alice, &bob]);
    until("it is not said", || {
        alice.node.peers().iter().any(|peer| peer.connected_since.is_some() && peer.post_quantum == Some(true))
    });
}

#[test]
fn in_an_owned_subject_those_write_who_were_granted_it() {
    let node = Node::builder().network(loopback()).ephemeral().unwrap();
    let author = node.own_identity().unwrap();
    let subject = node.create_owned("board").unwrap();
    let handle = Some(subject.run().unwrap());
    let alice = Peer { subject, author, handle, node };
    let bob = Peer::joined(&alice);
    until("the genesis does not come", || bob.subject.count().unwrap() == 1);
    let refused = bob.subject.publish(XaeroEvent::new("let me in", CRDT_SET_ADD)).wait();
    assert!(refused.is_err());
    alice.subject.grant(bob.author, xaeroflux::Role::Writer).unwrap();
    until("the grant does not come", || bob.subject.role_of(bob.author).unwrap() == Some(xaeroflux::Role::Writer));
    bob.add("thanks");
    until("what a writer writes does not come", || alice.set() == ["thanks"]);
    until_same(&[&alice, &bob]);
}

#[test]
fn who_was_revoked_is_no_longer_served_and_both_sides_are_told() {
    let node = Node::builder().network(loopback()).ephemeral().unwrap();
    let author = node.own_identity().unwrap();
    let subject = node.create_owned("board").unwrap();
    let handle = Some(subject.run().unwrap());
    let alice = Peer { subject, author, handle, node };
    let (bob, carol) = (Peer::joined(&alice), Peer::joined(&alice));
    alice.subject.grant(bob.author, xaeroflux::Role::Reader).unwrap();
    until_same(&[&alice, &bob, &carol]);
    let (here, there) = (alice.subject.notices(), bob.subject.notices());
    alice.subject.revoke(bob.author).unwrap();
    until(
        "alice is not told",
        || matches!(here.try_next(), Some(Notice::PeerRefused { writer, .. }) if writer == bob.author),
    );
    until(
        "bob is not told",
        || matches!(there.try_next(), Some(Notice::NotServed { writer, .. }) if writer == alice.author),
    );
    let before = bob.subject.count().unwrap();
    alice.add("for those who stayed");
    until("who stayed is not served", || carol.set() == ["for those who stayed"]);
    assert_eq!(bob.subject.count().unwrap(), before);
}

#[test]
fn a_rotated_secret_shuts_out_who_has_an_old_ticket_only() {
    let alice = Peer::new("docs/tags");
    let bob = Peer::joined(&alice);
    alice.add("before");
    until_same(&[&alice, &bob]);
    let fresh = alice.subject.rotate_secret().unwrap();
    alice.add("after");
    let carol = Node::builder().network(loopback()).ephemeral().unwrap();
    let joined = carol.join(&fresh).unwrap();
    let _handle = joined.run().unwrap();
    until("who has the new ticket gets nothing", || joined.count().unwrap() == 2);
    assert_eq!(bob.subject.count().unwrap(), 1);
    // With the new ticket bob is back.
    bob.node.join(&fresh).unwrap();
    until_same(&[&alice, &bob]);
}
