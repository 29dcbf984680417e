//! Somebody who does not mean well: a node that meets one cuts it off, names it, and goes on with its other peer.

use std::time::{Duration, Instant, SystemTime};

use super::{
    nodes::{Streams, addr, connected, identity, local, node, node_with, secret, status, until},
    raw::Raw,
};
use crate::{
    actors::net::{NetHandle, PeerStatus, SubjectStream, limits::MAX_UNKNOWN_STREAMS, write_message},
    wire::{
        id::XaeroID,
        sign::Signer,
        sync::{ByeReason, Message, Role, Tag, Versions, tag::MAX_TAGS},
    },
};

/// A node and its friend, with a stream between them.
struct Scene {
    node: NetHandle,
    friend: NetHandle,
    /// The node's end and the friend's.
    stream: (SubjectStream, SubjectStream),
    since: Option<SystemTime>,
}

impl Scene {
    fn new() -> Self {
        Self::with_hello_within(Duration::from_secs(10))
    }

    fn with_hello_within(limit: Duration) -> Self {
        let node = node_with(0, secret(), local().connect_timeout(limit));
        let friend = node_with(1, secret(), local());
        let (mut here, mut there) = (Streams::share(&node, 1, &[7]), Streams::share(&friend, 1, &[7]));
        node.add_peer(addr(&friend)).unwrap();
        let stream = (here.next(), there.next());
        connected(&node, &friend);
        let since = status(&node, &friend).unwrap().connected_since;
        Self { node, friend, stream, since }
    }

    /// The offender is named, with what it did, and the friend notices nothing.
    fn named(mut self, offender: &Raw, what: &str, writer: Option<XaeroID>) -> PeerStatus {
        let id = offender.id();
        let peers = until(&self.node, "the offender is named", |peers| {
            peers.iter().any(|peer| peer.endpoint == id && peer.offences > 0)
        });
        let status = peers.into_iter().find(|peer| peer.endpoint == id).unwrap();
        assert_eq!(status.offences, 1);
        let offence = status.last_offence.clone().unwrap();
        assert!(offence.contains(what), "{offence}");
        assert_eq!(status.writer, writer);
        self.goes_on();
        status
    }

    fn goes_on(&mut self) {
        let message = Message::CaughtUp { root: [9; 32], events: 1 };
        let (ours, theirs) = &mut self.stream;
        self.node.runtime().block_on(async {
            write_message(&mut ours.send, &message).await.unwrap();
            assert_eq!(theirs.reader.next().await.unwrap().as_ref(), Some(&message));
        });
        let friend = status(&self.node, &self.friend).unwrap();
        assert_eq!((friend.connected_since, friend.offences), (self.since, 0));
    }
}

#[test]
fn who_speaks_with_the_key_of_another_is_cut_off() {
    let (scene, raw) = (Scene::new(), Raw::new());
    let mut call = raw.call(&scene.node);
    let hello = call.hello(&*identity(3), &identity(2), Versions::OURS);
    raw.say(&mut call, &hello);
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    scene.named(&raw, "did not prove", None);
}

#[test]
fn a_hello_of_another_connection_is_of_no_use() {
    let (scene, honest, raw) = (Scene::new(), Raw::new(), Raw::new());
    let first = honest.greet(&scene.node, &identity(2));
    let recorded = first.hello(&*identity(2), &identity(2), Versions::OURS);
    let mut call = raw.call(&scene.node);
    raw.say(&mut call, &recorded);
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    assert_eq!(first.connection.close_reason(), None);
    scene.named(&raw, "did not prove", None);
}

#[test]
fn who_sends_garbage_is_cut_off() {
    let (scene, raw) = (Scene::new(), Raw::new());
    let mut call = raw.call(&scene.node);
    raw.say(&mut call, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    scene.named(&raw, "kind 71", None);
}

#[test]
fn who_announces_a_giant_message_is_cut_off_before_it_comes() {
    let (scene, raw) = (Scene::new(), Raw::new());
    let mut call = raw.call(&scene.node);
    raw.say(&mut call, &[1, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    scene.named(&raw, "4294967295 bytes", None);
}

#[test]
fn a_kind_that_must_be_known_ends_the_connection_and_one_that_need_not_does_not() {
    let (scene, raw) = (Scene::new(), Raw::new());
    let mut call = raw.greet(&scene.node, &identity(2));
    raw.say(&mut call, &[200, 3, 0, 0, 0, 1, 2, 3]);
    raw.say(&mut call, &[100, 0, 0, 0, 0]);
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    scene.named(&raw, "kind 100", Some(identity(2).id()));
}

#[test]
fn who_says_nothing_is_cut_off() {
    let (scene, raw) = (Scene::with_hello_within(Duration::from_secs(2)), Raw::new());
    let call = raw.call(&scene.node);
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    scene.named(&raw, "did not say who it is within 2 s", None);
}

#[test]
fn who_says_hello_a_byte_at_a_time_is_cut_off() {
    let (scene, raw) = (Scene::with_hello_within(Duration::from_secs(2)), Raw::new());
    let mut call = raw.call(&scene.node);
    let hello = call.hello(&*identity(2), &identity(2), Versions::OURS);
    raw.runtime.block_on(async {
        let mut clock = tokio::time::interval(Duration::from_millis(50));
        for byte in hello {
            clock.tick().await;
            if call.send.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    });
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    scene.named(&raw, "did not say who it is within 2 s", None);
}

#[test]
fn who_goes_on_with_a_byte_a_second_is_cut_off() {
    let (scene, raw) = (Scene::new(), Raw::new());
    let mut call = raw.greet(&scene.node, &identity(2));
    raw.say(&mut call, &[2, 0, 1, 0, 0]);
    raw.runtime.block_on(async {
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        // Three times as long as it may take.
        for _ in 0..30 {
            clock.tick().await;
            if call.send.write_all(&[0]).await.is_err() {
                break;
            }
        }
    });
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    scene.named(&raw, "too slowly", Some(identity(2).id()));
}

#[test]
fn ten_thousand_tags_are_heard_and_a_hundred_thousand_are_not() {
    let (scene, raw) = (Scene::new(), Raw::new());
    let mut call = raw.greet(&scene.node, &identity(2));
    let tags = |first: u32, count: usize| {
        let tag = |n: u32| {
            let mut bytes = [0; Tag::BYTES];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            Tag::from_bytes(bytes)
        };
        let tags: Vec<Tag> = (first..).take(count).map(tag).collect();
        tags.chunks(MAX_TAGS).flat_map(|tags| Message::Tags(tags.to_vec()).encode()).collect::<Vec<u8>>()
    };
    raw.say(&mut call, &tags(0, 10_000));
    // What it knows is answered behind all that it does not know.
    let known = call.tags().tag(&[7; 32], Role::Dialer);
    raw.say(&mut call, &Message::Tags(vec![known]).encode());
    let answer = call.tags().tag(&[7; 32], Role::Acceptor);
    raw.runtime.block_on(async {
        let mut came = Vec::new();
        let arrived = async {
            while !came.windows(Tag::BYTES).any(|window| window == answer.as_bytes()) {
                came.extend_from_slice(&call.recv.read_chunk(4_096).await.unwrap().unwrap());
            }
        };
        tokio::time::timeout(super::nodes::DEADLINE, arrived).await.expect("no answer in time");
    });
    raw.say(&mut call, &tags(10_000, 90_000));
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    scene.named(&raw, "more tags", Some(identity(2).id()));
}

#[test]
fn who_opens_streams_about_what_was_never_offered_is_cut_off() {
    let (scene, raw) = (Scene::new(), Raw::new());
    let call = raw.greet(&scene.node, &identity(2));
    let mut streams = Vec::new();
    raw.runtime.block_on(async {
        for n in 0..=MAX_UNKNOWN_STREAMS {
            // It knows the secret, but has not been offered the subject; the others are made up.
            let known = call.tags().tag(&[7; 32], Role::Dialer);
            let tag = if n == 0 { known } else { Tag::from_bytes([u8::try_from(n).unwrap(); Tag::BYTES]) };
            let Ok((mut send, recv)) = call.connection.open_bi().await else { break };
            let _ = write_message(&mut send, &Message::Open(tag)).await;
            streams.push((send, recv));
        }
    });
    assert_eq!(raw.cut_off(&call.connection).0, ByeReason::Offence);
    scene.named(&raw, "never offered", Some(identity(2).id()));
}

#[test]
fn a_peer_of_another_major_version_is_refused_with_a_reason() {
    let (mut scene, raw) = (Scene::new(), Raw::new());
    let mut call = raw.call(&scene.node);
    let hello = call.hello(&*identity(2), &identity(2), Versions { major: 2, ..Versions::OURS });
    raw.say(&mut call, &hello);
    let (reason, text) = raw.cut_off(&call.connection);
    assert_eq!(reason, ByeReason::OtherMajor);
    assert!(text.contains("version 2"), "{text}");
    let peers = until(&scene.node, "the version is told", |peers| {
        peers.iter().any(|peer| peer.endpoint == raw.id() && peer.last_error.is_some())
    });
    let status = peers.into_iter().find(|peer| peer.endpoint == raw.id()).unwrap();
    assert_eq!((status.last_error, status.offences), (Some(text), 0));
    scene.goes_on();
}

#[test]
fn an_offender_that_comes_back_is_not_listened_to() {
    let (scene, raw) = (Scene::new(), Raw::new());
    let call = raw.greet(&scene.node, &identity(2));
    scene.node.report_offence(raw.id(), "it lies");
    assert_eq!(raw.cut_off(&call.connection), (ByeReason::Offence, "it lies".to_owned()));
    let again = raw.connect(&scene.node);
    assert_eq!(raw.cut_off(&again).0, ByeReason::Refused);
    scene.named(&raw, "it lies", Some(identity(2).id()));
}

#[test]
fn a_peer_that_is_killed_is_noticed_within_five_seconds() {
    let (node, raw) = (node(0), Raw::new());
    let (call, id) = (raw.greet(&node, &identity(2)), raw.id());
    let is_there =
        |peers: &[PeerStatus]| peers.iter().any(|peer| peer.endpoint == id && peer.connected_since.is_some());
    until(&node, "it is there", is_there);
    let killed = Instant::now();
    raw.die(call);
    until(&node, "it is gone", |peers| !is_there(peers));
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
}
