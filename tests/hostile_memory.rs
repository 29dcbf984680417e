//! What memory a peer can make a node use: a bounded amount, whatever it sends, and however much of it.
//!
//! Both ends are in this process, and so is what the peer itself uses; the bound is far below what it sends. What is mapped
//! from files does not count: the kernel takes that back. It is one test, since the memory is the process's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod hostile_kit;

use std::fs;

use hostile_kit::{Eve, header, scene::Scene, until, writer::Writer};
use xaeroflux::{
    Dot, XaeroID,
    wire::sync::{Kind, Message, Tag, Vector, VectorEntry, tag::MAX_TAGS},
};

/// Most that the process may grow by: several times what the limits of the protocol add up to for one peer, and a fraction of
/// what is sent here.
const MOST: usize = 128 << 20;

/// Bytes that are sent where it is not something else that ends it.
const SENT: usize = 256 << 20;

/// Events of a megabyte each that are sent: less than the bound, since three nodes of this process have each of them on its
/// way, and as much as they are allowed to. With ten times as many the process grows by 157 MiB, and by no more.
const LARGE_EVENTS: u64 = 30;

/// Bytes of anonymous memory that the process has.
fn in_use() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

struct Meter {
    before: usize,
    most: usize,
}

impl Meter {
    fn new() -> Self {
        let before = in_use();
        Self { before, most: before }
    }

    fn look(&mut self) {
        self.most = self.most.max(in_use());
    }

    fn holds(mut self, what: &str) {
        self.look();
        let grown = self.most - self.before;
        println!("{what}: {} KiB", grown >> 10);
        assert!(grown < MOST, "{what}: {grown} bytes");
    }
}

#[test]
fn memory_is_bounded_whatever_a_peer_sends() {
    let scene = Scene::new();
    let mut others = Vec::new();
    large_chunks(&scene, &mut others);
    messages_that_are_skipped(&scene);
    version_vectors_without_end(&scene);
    effects_without_causes(&scene, &mut others);
    tags_without_end(&scene);
    who_takes_nothing(&scene);
    scene.is_unharmed_with(&others);
}

/// Three events of almost a mebibyte each, faster than they can be stored.
fn large_chunks(scene: &Scene, others: &mut Vec<(XaeroID, u64)>) {
    let (eve, mut stream) = scene.eve();
    let mut writer = Writer::new(scene.id());
    // What the writer has is none of the node's: it is there before the node is looked at.
    (0..LARGE_EVENTS).for_each(|n| writer.write(&vec![n as u8; 1_000_000]));
    stream.is_asked();
    let mut meter = Meter::new();
    for first in (1..LARGE_EVENTS).step_by(3) {
        assert!(stream.says(&Message::Events(writer.chunk(first..=first + 2))));
        meter.look();
    }
    until("they are not taken", || scene.alice.events_of(writer.id()) == LARGE_EVENTS);
    scene.is_served(&eve);
    others.push((writer.id(), LARGE_EVENTS));
    meter.holds("large chunks");
}

fn messages_that_are_skipped(scene: &Scene) {
    let (eve, mut stream) = scene.eve();
    stream.has_the_same();
    let message = [header(Kind::from_byte(200), 64 << 10), vec![0xAB; 64 << 10]].concat();
    let mut meter = Meter::new();
    for _ in 0..SENT / message.len() {
        assert!(stream.raw(&message));
        meter.look();
    }
    scene.is_served(&eve);
    meter.holds("messages that are skipped");
}

/// Parts of vectors, of which each is in order.
fn version_vectors_without_end(scene: &Scene) {
    let (eve, mut stream) = scene.eve();
    stream.has_the_same();
    let mut meter = Meter::new();
    let mut number = 0_u64;
    let mut entry = || {
        number += 1;
        let mut author = [0; 32];
        author[..8].copy_from_slice(&number.to_be_bytes());
        VectorEntry::new(author.into(), 1, &[0; 32])
    };
    let mut part =
        || Message::Vector(Vector { entries: (0..4_096).map(|_| entry()).collect(), more: true, push: false });
    while stream.says(&part()) {
        meter.look();
    }
    scene.cuts_off(&eve, "of more than 65536 authors");
    meter.holds("version vectors");
}

/// More events than may wait for their causes, which never come.
fn effects_without_causes(scene: &Scene, others: &mut Vec<(XaeroID, u64)>) {
    let (eve, mut stream) = scene.eve();
    let mut writer = Writer::new(scene.id());
    for seq in 1..=70_000 {
        writer.write_after(&[Dot::new(XaeroID::from([9; 32]), seq)], b"an effect without its cause");
    }
    stream.is_asked();
    let mut meter = Meter::new();
    for first in (1..=70_000).step_by(3_500) {
        if !stream.says(&Message::Events(writer.chunk(first..=first + 3_499))) {
            break;
        }
        meter.look();
    }
    // It is not for her to know whether they come some time.
    until("the session goes on", || !stream.says(&Message::Push(false)));
    scene.is_served(&eve);
    assert_eq!(scene.alice.events_of(writer.id()), 0);
    others.push((writer.id(), 0));
    meter.holds("effects without causes");
}

fn tags_without_end(scene: &Scene) {
    let mut eve = Eve::calls(&scene.alice.node);
    let mut meter = Meter::new();
    let mut number = 0_u64;
    let mut tag = || {
        number += 1;
        let mut bytes = [0x5A; Tag::BYTES];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Tag::from_bytes(bytes)
    };
    while eve.is_connected() {
        eve.says(&Message::Tags((0..MAX_TAGS).map(|_| tag()).collect()));
        meter.look();
    }
    scene.cuts_off(&eve, "more tags than anybody needs");
    meter.holds("tags");
}

/// Asks for all that there is, and for what comes, and takes none of it.
fn who_takes_nothing(scene: &Scene) {
    let (_eve, mut stream) = scene.eve();
    stream.has_the_same();
    stream.says(&Message::Vector(Vector { entries: Vec::new(), more: false, push: true }));
    let mut meter = Meter::new();
    for n in 0..300 {
        scene.alice.add(&format!("{n} {}", "x".repeat(500_000)));
        meter.look();
    }
    meter.holds("who takes nothing");
}
