//! What memory a peer can make a node use: a bounded amount, whatever it sends, and however much of it.
//!
//! Both ends are in this process, and so is what the peer itself uses; the bounds are far below what it sends. It is one test,
//! since the memory is the process's.
//!
//! Two things are measured. What is *in use* are the bytes that were asked of the allocator and not given back: that is what
//! nodes hold, at any moment. What is *resident* is what the system has given the process: more, since the C library keeps some
//! of what was given back for each of its arenas, of which there are up to eight a core, and what LMDB has allocated, which the
//! first number does not see. What is mapped from files does not count: the kernel takes that back.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod hostile_kit;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use hostile_kit::{Eve, header, scene::Scene, until, writer::Writer};
use xaeroflux::{
    Dot, XaeroID,
    wire::sync::{Kind, Message, Tag, Vector, VectorEntry, tag::MAX_TAGS},
};

/// Most that may be in use at any moment beyond what was before: what the limits of the protocol add up to for two nodes that
/// pass the same on to each other, and for Eve, who has two copies of the chunk that she sends. It is 45 MiB with chunks of three
/// megabytes each, however many.
const MOST_IN_USE: usize = 64 << 20;

/// Most that the process may grow by: what is in use, and as much again that the C library keeps. With chunks of three
/// megabytes each that is 80 to 105 MiB on two cores, and up to 116 where there are arenas enough for each thread to have its own.
const MOST_RESIDENT: usize = 128 << 20;

/// Bytes that are sent where it is not something else that ends it.
const SENT: usize = 256 << 20;

/// Events of a megabyte each that are sent: more than the bound. From ninety on the process grows no more.
const LARGE_EVENTS: u64 = 150;

/// The system's allocator, counting what is in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// The most that was in use since the last [`Meter`] began.
static MOST: AtomicUsize = AtomicUsize::new(0);

fn came(bytes: usize) {
    let in_use = IN_USE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(in_use, Ordering::Relaxed);
}

fn went(bytes: usize) {
    IN_USE.fetch_sub(bytes, Ordering::Relaxed);
}

// SAFETY: all is passed on to the system's allocator; the counters are atomic numbers, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        came(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        came(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        went(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The larger part of both may be in use for a moment; the system mostly moves no bytes for it.
        went(layout.size());
        came(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of anonymous memory that the process has.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

struct Meter {
    in_use: usize,
    resident: usize,
    most_resident: usize,
}

impl Meter {
    fn new() -> Self {
        let (in_use, resident) = (IN_USE.load(Ordering::Relaxed), resident());
        MOST.store(in_use, Ordering::Relaxed);
        Self { in_use, resident, most_resident: resident }
    }

    fn look(&mut self) {
        self.most_resident = self.most_resident.max(resident());
    }

    fn holds(mut self, what: &str) {
        self.look();
        let in_use = MOST.load(Ordering::Relaxed) - self.in_use;
        let resident = self.most_resident - self.resident;
        println!("{what}: {} KiB in use, {} KiB resident", in_use >> 10, resident >> 10);
        assert!(in_use < MOST_IN_USE, "{what}: {in_use} bytes in use");
        assert!(resident < MOST_RESIDENT, "{what}: {resident} bytes resident");
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
