//! What syncing costs: catch-up of a whole subject, latency of a live event, bytes for a few events apart, bytes of idle
//! connections. Both nodes are in this process, on the loopback interface, and share its processors.
//!
//!     cargo bench --bench peers [sync_catch_up|sync_latency|sync_latency_at_once|sync_apart_2|sync_apart_145|sync_idle]

mod support;

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use support::{
    PAYLOAD,
    bare::Bare,
    directory, engine,
    raw_iroh::RawIroh,
    report::{Figure, Rounds, is_selected, is_wanted, median, size},
};
use xaeroflux::{Handle, NetworkConfig, Node, NodeBuilder, Subject, SubscribeOptions, XaeroEvent, XaeroID};

/// Events of one write of the raw stream.
const WRITE_EVENTS: usize = 64;

/// Between two events of an idle system, on both sides of the comparison: what the last one has left to do is done by then.
const IDLE: Duration = Duration::from_millis(10);

fn main() {
    if !is_wanted() {
        return;
    }
    let figures: [(&str, fn()); 6] = [
        ("sync_catch_up", catch_up),
        ("sync_latency", || latency("sync_latency", IDLE)),
        ("sync_latency_at_once", || latency("sync_latency_at_once", Duration::ZERO)),
        ("sync_apart_2", || apart(2)),
        ("sync_apart_145", || apart(145)),
        ("sync_idle", idle),
    ];
    for (name, measure) in figures {
        if is_selected(name) {
            measure();
        }
    }
}

/// A node in a directory of its own.
struct Side {
    subject: Subject,
    handle: Option<Handle>,
    authors: Vec<XaeroID>,
    node: Node,
    _dir: tempfile::TempDir,
}

impl Side {
    fn new(authors: usize, network: bool) -> Self {
        let dir = directory();
        let node = builder(network).data_dir(dir.path()).build().expect("a node");
        let authors = (0..authors).map(|n| node.identity(&format!("author-{n}")).expect("an identity")).collect();
        let subject = node.subject("bench/peers");
        let handle = Some(subject.run().expect("it runs"));
        Self { subject, handle, authors, node, _dir: dir }
    }

    /// Waits until what was published is in segments: neither side of a comparison is to pay for it.
    fn rest(&self) {
        let count = || std::fs::read_dir(self._dir.path().join("segments")).map_or(0, Iterator::count);
        let (mut before, mut same) = (count(), 0);
        while same < 15 {
            thread::sleep(Duration::from_millis(100));
            same = if count() == before { same + 1 } else { 0 };
            before = count();
        }
    }

    /// Publishes so many events, by all authors in turn.
    fn publish(&self, events: usize) {
        let mut authors = self.authors.iter().cycle();
        let mut next = 0;
        while next < events {
            let batch = (next..events.min(next + 4_096)).map(|n| engine::event(n).by(*authors.next().expect("one")));
            next += batch.len();
            engine::settle(self.subject.publish_all(batch));
        }
    }
}

fn builder(network: bool) -> NodeBuilder {
    let builder = Node::builder().map_size(support::MAP_SIZE as u64);
    if network { builder.network(config()) } else { builder }
}

fn config() -> NetworkConfig {
    NetworkConfig::new().listen(([127, 0, 0, 1], 0).into())
}

/// Has `there` join the subject of `here`, and waits until both are the same. Returns how long that took.
fn sync(here: &Side, there: &Side) -> Duration {
    let ticket = here.subject.ticket().expect("a ticket");
    let start = Instant::now();
    there.node.join(&ticket).expect("it joins");
    until_same(here, there);
    start.elapsed()
}

fn until_same(here: &Side, there: &Side) {
    let root = here.subject.root().expect("a root");
    let count = here.subject.count().expect("a count");
    while there.subject.count().expect("a count") < count {
        thread::sleep(Duration::from_millis(1));
    }
    while there.subject.root().expect("a root") != root {
        thread::sleep(Duration::from_millis(1));
    }
}

/// A million events to an empty peer, verified and durable there, against a raw stream of the same payloads.
fn catch_up() {
    let (events, rounds) = (size(1_000_000, 10_000), size(3, 1));
    let here = Side::new(2, true);
    here.publish(events);
    let raw = RawIroh::new();
    let mut figure = Rounds::default();
    for _ in 0..rounds {
        here.rest();
        let start = Instant::now();
        raw.stream(events * PAYLOAD, WRITE_EVENTS * PAYLOAD);
        let theirs = events as f64 / start.elapsed().as_secs_f64();
        let there = Side::new(0, true);
        let ours = events as f64 / sync(&here, &there).as_secs_f64();
        figure.push(ours, theirs);
    }
    figure.figure("sync_catch_up").unit("events/s").with("events", events as f64).print();
}

/// From publish on one node to the subscriber on another, against a raw round trip and two durable commits.
fn latency(name: &str, pause: Duration) {
    let (here, there) = (Side::new(1, true), Side::new(0, true));
    here.publish(1);
    sync(&here, &there);
    let (tell, told) = mpsc::channel();
    let options = SubscribeOptions::default();
    let _subscription = there.subject.subscribe_with(options, move |_: XaeroEvent| {
        let _ = tell.send(Instant::now());
    });
    let raw = RawIroh::new();
    let mut bare = Bare::new();
    let (rounds, each) = (size(20, 1), size(50, 3));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // What is there already arrives first.
    while told.recv_timeout(Duration::from_secs(1)).is_ok() {}
    for _ in 0..rounds {
        for n in 0..each {
            thread::sleep(pause);
            let start = Instant::now();
            let receipt = here.subject.publish(engine::event(n).by(here.authors[0]));
            let arrived = told.recv().expect("it arrives");
            ours.push(arrived.duration_since(start).as_secs_f64() * 1e6);
            receipt.wait().expect("it is durable");
        }
        for _ in 0..each {
            thread::sleep(pause);
            let trip: f64 = raw.round_trips(1, PAYLOAD).into_iter().sum();
            let start = Instant::now();
            bare.commit(1);
            bare.commit(1);
            theirs.push(trip + start.elapsed().as_secs_f64() * 1e6);
        }
    }
    let (ours, theirs) = (median(&ours), median(&theirs));
    Figure::new(name, ours, theirs, ours / theirs).unit("us").print();
}

/// Two peers whose subject of a million events differs by a hundred: bytes on the wire against the bytes of those events.
fn apart(authors: usize) {
    const APART: usize = 100;
    let events = size(1_000_000, 5_000);
    let (here, mut there) = (Side::new(authors, true), Side::new(0, true));
    here.publish(events);
    sync(&here, &there);
    // The other one goes on without the subject, and comes back: the connection stays.
    there.handle = None;
    let before_frames = here.subject.count().expect("a count");
    here.publish(APART);
    let frames = here.subject.frames(before_frames, APART).expect("the frames");
    let frame_bytes: usize = frames.iter().map(Vec::len).sum();
    let heads = authors.min(APART) * 790;
    thread::sleep(Duration::from_secs(1));
    let sent = || (here.node.bytes_sent() + there.node.bytes_sent()) as f64;
    let (before, start) = (sent(), Instant::now());
    there.handle = Some(there.subject.run().expect("it runs"));
    until_same(&here, &there);
    let seconds = start.elapsed().as_secs_f64();
    let moved = sent() - before;
    Figure::new(&format!("sync_apart_{authors}"), moved, frame_bytes as f64, moved / frame_bytes as f64)
        .unit("bytes")
        .with("signed_heads_about", heads as f64)
        .with("ratio_without_heads", (moved - heads as f64) / frame_bytes as f64)
        .with("payload_bytes", (APART * PAYLOAD) as f64)
        .with("seconds", seconds)
        .print();
}

/// Two connected nodes that share a thousand subjects in which nothing happens.
fn idle() {
    let (subjects, window) = (size(1_000, 20), Duration::from_secs(size(60, 2) as u64));
    let (here, there) = (Side::new(1, true), Side::new(0, true));
    let mut running = Vec::new();
    for n in 0..subjects {
        let name = format!("bench/idle-{n}");
        let ours = here.node.subject(&*name);
        let handle = ours.run().expect("it runs");
        engine::settle([ours.publish(engine::event(n).by(here.authors[0]))]);
        let theirs = there.node.join(&ours.ticket().expect("a ticket")).expect("it joins");
        running.push((theirs.run().expect("it runs"), handle, theirs, ours));
    }
    for (.., theirs, ours) in &running {
        while theirs.root().expect("a root") != ours.root().expect("a root") {
            thread::sleep(Duration::from_millis(1));
        }
    }
    // Summaries after the last event are over by then.
    thread::sleep(Duration::from_secs(size(20, 1) as u64));
    let sent = || (here.node.bytes_sent() + there.node.bytes_sent()) as f64;
    let before = sent();
    thread::sleep(window);
    let minute = (sent() - before) * 60.0 / window.as_secs_f64();
    Figure::new("sync_idle", minute, 30_000.0, minute / 30_000.0)
        .unit("bytes/minute")
        .with("subjects", subjects as f64)
        .print();
}
