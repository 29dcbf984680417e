//! What two nodes that mean well do.

use tokio::time::timeout;

use super::nodes::{
    DEADLINE, Streams, addr, agree, connected, identity, local, node, node_with, secret, status, until,
};
use crate::{
    actors::net::{SubjectStream, write_message},
    wire::{
        id::SubjectId,
        sign::Signer,
        sync::{Message, Role},
    },
};

#[test]
fn two_nodes_know_each_other_over_a_post_quantum_connection() {
    let (alice, bob) = (node(0), node(1));
    alice.add_peer(addr(&bob)).unwrap();
    connected(&alice, &bob);
    let (bob_there, alice_there) = (status(&alice, &bob).unwrap(), status(&bob, &alice).unwrap());
    assert_eq!(bob_there.writer, Some(identity(1).id()));
    assert_eq!(alice_there.writer, Some(identity(0).id()));
    assert_eq!((bob_there.role, alice_there.role), (Some(Role::Dialer), Some(Role::Acceptor)));
    assert_eq!((bob_there.post_quantum, alice_there.post_quantum), (Some(true), Some(true)));
    assert_eq!(bob_there.addr, bob.listen_addrs().first().copied());
    assert!(bob_there.bytes_sent > 0 && alice.bytes_sent() > 0);
    alice.shutdown();
    bob.shutdown();
}

#[test]
fn a_shared_subject_gets_a_stream_that_carries_messages() {
    let (alice, bob) = (node(0), node(1));
    let (mut at_alice, mut at_bob) = (Streams::share(&alice, 1, &[7]), Streams::share(&bob, 1, &[7]));
    alice.add_peer(addr(&bob)).unwrap();
    let (mut ours, mut theirs) = (at_alice.next(), at_bob.next());
    assert_eq!(ours.peer.writer, identity(1).id());
    assert_eq!(theirs.peer.writer, identity(0).id());
    let message = Message::CaughtUp { root: [3; 32], events: 5 };
    let said = message.clone();
    alice.runtime().block_on(async move {
        write_message(&mut ours.send, &said).await.unwrap();
        assert_eq!(theirs.reader.next().await.unwrap(), Some(message));
        drop(ours);
        assert_eq!(theirs.reader.next().await.unwrap(), None);
    });
}

#[test]
fn a_stranger_who_shares_other_subjects_gets_no_stream() {
    let (alice, bob, stranger) = (node(0), node(1), node(2));
    let mut at_alice = Streams::share(&alice, 1, &[7]);
    let mut at_stranger = Streams::share(&stranger, 1, &[8]);
    let mut at_bob = Streams::share(&bob, 1, &[7]);
    stranger.add_peer(addr(&alice)).unwrap();
    connected(&stranger, &alice);
    bob.add_peer(addr(&alice)).unwrap();
    assert_eq!(at_alice.next().peer.endpoint, bob.endpoint_id());
    at_bob.next();
    assert!(at_stranger.is_empty() && at_alice.is_empty());
    assert_eq!(status(&alice, &stranger).unwrap().offences, 0);
}

#[test]
fn a_subject_that_is_shared_after_the_connection_gets_its_stream() {
    let (alice, bob) = (node(0), node(1));
    alice.add_peer(addr(&bob)).unwrap();
    connected(&alice, &bob);
    // The dialer first, then the acceptor; and the other way round.
    let mut one = Streams::share(&alice, 1, &[1]);
    let mut other = Streams::share(&bob, 1, &[1]);
    drop((one.next(), other.next()));
    let mut other = Streams::share(&bob, 2, &[2]);
    let mut one = Streams::share(&alice, 2, &[2]);
    drop((one.next(), other.next()));
}

#[test]
fn a_subject_that_lets_its_stream_go_and_is_shared_again_gets_another_one() {
    let (alice, bob) = (node(0), node(1));
    alice.add_peer(addr(&bob)).unwrap();
    let (mut at_alice, mut at_bob) = (Streams::share(&alice, 1, &[7]), Streams::share(&bob, 1, &[7]));
    let (ours, theirs) = (at_alice.next(), at_bob.next());
    // The acceptor's subject starts again, before the dialer's has let go.
    drop(theirs);
    bob.unshare(SubjectId::from([1; 32]), at_bob.number);
    let mut at_bob = Streams::share(&bob, 1, &[7]);
    drop(ours);
    let (ours, theirs) = (at_alice.next(), at_bob.next());
    // Then the dialer's.
    drop(ours);
    let mut at_alice = Streams::share(&alice, 1, &[7]);
    drop(theirs);
    drop((at_alice.next(), at_bob.next()));
}

#[test]
fn two_that_call_each_other_at_once_end_with_one_connection() {
    for _ in 0..5 {
        let (alice, bob) = (node(0), node(1));
        let (mut at_alice, mut at_bob) = (Streams::share(&alice, 1, &[7]), Streams::share(&bob, 1, &[7]));
        alice.add_peer(addr(&bob)).unwrap();
        bob.add_peer(addr(&alice)).unwrap();
        // A stream of the connection that stays works; one end of another may have come as well.
        alice.runtime().block_on(async {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            let works = async {
                loop {
                    tokio::select! {
                        stream = at_alice.come() => ours.push(stream),
                        stream = at_bob.come() => theirs.push(stream),
                    }
                    for left in &mut ours {
                        for right in &mut theirs {
                            // Of one connection, on which one of them is the dialer.
                            if left.peer.role != right.peer.role && carries(left, right).await {
                                return;
                            }
                        }
                    }
                }
            };
            timeout(DEADLINE, works).await.expect("no stream works");
        });
        agree(&alice, &bob);
        assert_eq!(status(&alice, &bob).unwrap().offences + status(&bob, &alice).unwrap().offences, 0);
    }
}

/// Whether what is written to one end of a stream comes out of the other.
async fn carries(left: &mut SubjectStream, right: &mut SubjectStream) -> bool {
    let message = Message::Push(true);
    let written = write_message(&mut left.send, &message).await;
    written.is_ok() && right.reader.next().await.is_ok_and(|came| came.as_ref() == Some(&message))
}

#[test]
fn a_node_that_stops_says_so() {
    let (alice, bob) = (node(0), node(1));
    alice.add_peer(addr(&bob)).unwrap();
    connected(&alice, &bob);
    bob.shutdown();
    until(&alice, "bob is gone", |peers| {
        peers.iter().any(|peer| peer.last_error.as_deref().is_some_and(|error| error.contains("stop")))
    });
}

#[test]
fn a_peer_that_comes_back_on_its_port_is_called_again() {
    let (alice, key) = (node(0), secret());
    let bob = node_with(1, key, local());
    alice.add_peer(addr(&bob)).unwrap();
    connected(&alice, &bob);
    let port = bob.listen_addrs()[0];
    bob.shutdown();
    let bob = node_with(1, key, super::super::NetworkConfig::new().listen(port));
    connected(&alice, &bob);
}

#[test]
fn an_endpoint_that_is_killed_is_started_again_on_its_port() {
    let (alice, bob) = (node(0), node(1));
    let (mut at_alice, mut at_bob) = (Streams::share(&alice, 1, &[7]), Streams::share(&bob, 1, &[7]));
    alice.add_peer(addr(&bob)).unwrap();
    let streams = (at_alice.next(), at_bob.next());
    let before = bob.listen_addrs();
    bob.kill();
    drop(streams);
    drop((at_alice.next(), at_bob.next()));
    assert_eq!(bob.listen_addrs(), before);
    assert!(bob.failure().is_none());
}
