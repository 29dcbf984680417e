//! A node with ten million events of one author in one subject: how long a proof takes to be made and to be checked, and how
//! long it takes to open.
//!
//! The events are small, so that the directory is built in a minute; it serves all figures. "Theirs" is the limit.

mod support;

use std::{
    hint::black_box,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use support::{
    directory,
    engine::{self, WINDOW},
    report::{Figure, is_selected, is_smoke, is_wanted, median, size},
};
use xaeroflux::{Subject, XaeroEvent, event::CRDT_SET_ADD, wire::proof::EventProof};

/// The variable that makes this program the one that is killed; its value is the directory.
const VICTIM: &str = "XAEROFLUX_BENCH_VICTIM";

const SUBJECT: &str = "bench/ten-million";
const PAYLOAD: usize = 16;

/// A proof that takes longer than this is made of nodes that are not stored.
const CAUGHT_UP: Duration = Duration::from_millis(1);

const MAKE_LIMIT_US: f64 = 20.0;
const CHECK_LIMIT_US: f64 = 100.0;
const OPEN_LIMIT_MS: f64 = 1_000.0;

fn main() {
    if let Some(dir) = std::env::var_os(VICTIM) {
        publish_until_killed(Path::new(&dir));
    }
    if !is_wanted() {
        return;
    }
    let dir = directory();
    let start = Instant::now();
    fill(dir.path());
    eprintln!("filled in {:.1} s", start.elapsed().as_secs_f64());
    proofs(dir.path());
    reopening(dir.path());
}

fn events() -> usize {
    size(10_000_000, 3_000)
}

fn proofs(dir: &Path) {
    if !is_selected("proof_10m") {
        return;
    }
    let node = engine::open(dir);
    let author = node.own_identity().expect("its identity");
    let key = node.public_key("self").expect("its key");
    let subject = node.subject(SUBJECT);
    let handle = subject.run().expect("it runs");
    let mut random = Random(1);
    let mut seq = || random.next() % events() as u64 + 1;
    // So many bring most of the log's pages into the process.
    let warm_up = size(100_000, 20);
    for _ in 0..warm_up {
        black_box(subject.prove(author, seq()).expect("a proof"));
    }
    let (mut making, mut checking, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size(20_000, 20) {
        let seq = seq();
        let start = Instant::now();
        let proof = subject.prove(author, seq).expect("a proof");
        making.push(micros(start));
        let encoded = proof.encode();
        let start = Instant::now();
        EventProof::decode(&encoded).expect("a proof").verify(&key).expect("a proof that holds");
        checking.push(micros(start));
        bytes.push(encoded.len() as f64);
    }
    drop(handle);
    for (name, times, limit) in
        [("proof_make_10m", &mut making, MAKE_LIMIT_US), ("proof_check_10m", &mut checking, CHECK_LIMIT_US)]
    {
        let ours = median(times);
        times.sort_by(f64::total_cmp);
        Figure::new(name, ours, limit, ours / limit)
            .unit("us")
            .with("p99", times[times.len() * 99 / 100])
            .with("proof_bytes", median(&bytes))
            .with("samples", times.len() as f64)
            .print();
    }
}

fn reopening(dir: &Path) {
    if !is_selected("restart_10m") {
        return;
    }
    let (mut clean, mut killed) = (Vec::new(), Vec::new());
    for _ in 0..size(5, 1) {
        clean.push(restart(dir));
        kill_while_publishing(dir);
        killed.push(restart(dir));
    }
    for (name, times) in [("restart_10m", &clean), ("restart_10m_after_kill", &killed)] {
        let ours = median(times);
        Figure::new(name, ours, OPEN_LIMIT_MS, ours / OPEN_LIMIT_MS)
            .unit("ms")
            .with("slowest", times.iter().copied().fold(0.0, f64::max))
            .with("rounds", times.len() as f64)
            .print();
    }
}

/// Milliseconds until the first publish is durable.
fn restart(dir: &Path) -> f64 {
    let start = Instant::now();
    let node = engine::open(dir);
    let subject = node.subject(SUBJECT);
    let handle = subject.run().expect("it runs");
    let receipt = subject.publish(event(0)).wait().expect("it is durable");
    let time = start.elapsed().as_secs_f64() * 1e3;
    assert!(receipt.seq > events() as u64, "the events are there");
    drop(handle);
    time
}

fn fill(dir: &Path) {
    let node = engine::open(dir);
    let author = node.own_identity().expect("an identity");
    let subject = node.subject(SUBJECT);
    let handle = subject.run().expect("it runs");
    publish(&subject, events());
    subject.prove(author, events() as u64).expect("a proof");
    let start = Instant::now();
    // The nodes of the tree are stored behind the log, and those that are not are made from the log each time. The path of
    // the first event has nodes over all the others.
    loop {
        let asked = Instant::now();
        subject.prove(author, 1).expect("a proof");
        if asked.elapsed() < CAUGHT_UP {
            break;
        }
    }
    eprintln!("the nodes came {:.1} s later", start.elapsed().as_secs_f64());
    drop(handle);
}

/// So many events, a call for each window of receipts.
fn publish(subject: &Subject, events: usize) {
    let mut open = Vec::new();
    for first in (0..events).step_by(WINDOW) {
        let sent = subject.publish_all((first..(first + WINDOW).min(events)).map(event));
        engine::settle(std::mem::replace(&mut open, sent));
    }
    engine::settle(open);
}

/// Has another process publish on, and kills it.
fn kill_while_publishing(dir: &Path) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(VICTIM, dir).stdout(Stdio::piped());
    if is_smoke() {
        command.arg("--smoke");
    }
    let mut victim = command.spawn().expect("a process to kill");
    let mut ready = String::new();
    let output = victim.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut ready).expect("it says when it is ready");
    // Killed, whatever it said: nobody else ends it.
    victim.kill().expect("it is killed");
    victim.wait().expect("it has ended");
    assert_eq!(ready, "ready\n");
}

fn publish_until_killed(dir: &Path) -> ! {
    let node = engine::open(dir);
    let subject = node.subject(SUBJECT);
    let _handle = subject.run().expect("it runs");
    // Far enough for the log to end anywhere between two checkpoints.
    publish(&subject, size(100_000, 1_000));
    println!("ready");
    publish(&subject, usize::MAX);
    unreachable!("it is killed before the numbers end")
}

fn event(number: usize) -> XaeroEvent {
    let mut payload = vec![7; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    XaeroEvent::new(payload, CRDT_SET_ADD)
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

/// The usual generator of 64 bits with shifts; where proofs are asked for is no secret.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
