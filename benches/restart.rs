//! How long a node with a million events in one subject takes from opening its directory until the first publish is
//! durable: after a clean stop, and after its process was killed while it published.
//!
//! "Theirs" is the limit. What bare LMDB needs to open as many events and commit one more stands beside it.

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use support::{
    bare::Bare,
    directory,
    engine::{self, WINDOW},
    report::{Figure, is_smoke, is_wanted, median, size},
};
use xaeroflux::Receipt;

/// The variable that makes this program the one that is killed; its value is the directory.
const VICTIM: &str = "XAEROFLUX_BENCH_VICTIM";

const LIMIT_MS: f64 = 1_000.0;

const SUBJECT: &str = "bench/restart";

fn main() {
    if let Some(dir) = std::env::var_os(VICTIM) {
        publish_until_killed(Path::new(&dir));
    }
    if !is_wanted() {
        return;
    }
    let (events, rounds) = (size(1_000_000, 3_000), size(5, 1));
    let (clean_dir, bare_dir) = (directory(), directory());
    fill(clean_dir.path(), events);
    Bare::open(bare_dir.path()).write(events, 1_000);
    let (mut clean, mut killed, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        clean.push(restart(clean_dir.path()));
        let killed_dir = directory();
        kill_while_publishing(killed_dir.path());
        killed.push(restart(killed_dir.path()));
        let start = Instant::now();
        Bare::open(bare_dir.path()).commit(1);
        bare.push(start.elapsed().as_secs_f64() * 1e3);
    }
    for (name, times) in [("restart_1m", &clean), ("restart_1m_after_kill", &killed)] {
        let ours = median(times);
        Figure::new(name, ours, LIMIT_MS, ours / LIMIT_MS)
            .unit("ms")
            .with("slowest", times.iter().copied().fold(0.0, f64::max))
            .with("bare", median(&bare))
            .with("events", events as f64)
            .with("rounds", rounds as f64)
            .print();
    }
}

/// Milliseconds until the first publish is durable.
fn restart(dir: &Path) -> f64 {
    let start = Instant::now();
    let node = engine::open(dir);
    let subject = node.subject(SUBJECT);
    let handle = subject.run().expect("it runs");
    let receipt = subject.publish(engine::event(0)).wait().expect("it is durable");
    let time = start.elapsed().as_secs_f64() * 1e3;
    assert!(receipt.seq > size(1_000_000, 3_000) as u64, "the events are there");
    drop(handle);
    time
}

fn fill(dir: &Path, events: usize) {
    let node = engine::open(dir);
    let subject = node.subject(SUBJECT);
    let handle = subject.run().expect("it runs");
    for first in (0..events).step_by(WINDOW) {
        let receipts = subject.publish_all((first..(first + WINDOW).min(events)).map(engine::event));
        receipts.into_iter().for_each(|receipt| drop(receipt.wait().expect("it is durable")));
    }
    drop(handle);
}

/// Has another process fill the directory and publish on, and kills it.
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
    let events = size(1_000_000, 3_000);
    // Some way past the million, so that the log ends anywhere between two checkpoints.
    let ready = events + events / 20 + WINDOW;
    let node = engine::open(dir);
    let subject = node.subject(SUBJECT);
    let _handle = subject.run().expect("it runs");
    let mut open: std::collections::VecDeque<Receipt> = std::collections::VecDeque::new();
    for number in 0.. {
        if open.len() == WINDOW {
            open.pop_front().map(Receipt::wait).transpose().expect("it is durable");
        }
        if number == ready {
            println!("ready");
        }
        open.push_back(subject.publish(engine::event(number)));
    }
    unreachable!("it is killed before the numbers end")
}
