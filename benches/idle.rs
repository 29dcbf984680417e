//! What ten thousand subjects cost that run, have a few events each, and are idle: anonymous resident memory a subject,
//! and threads.
//!
//! Both are read from `/proc`; "ours" is bytes a subject beyond what the node takes with one, "theirs" the limit.

mod support;

use std::{fs, thread, time::Duration};

use support::{
    directory, engine,
    report::{Figure, is_wanted, size},
};
use xaeroflux::{Handle, Node, Receipt, Subject};

/// Bytes that a subject may take.
const LIMIT: f64 = 16_384.0;

/// Events in each subject.
const EVENTS: usize = 3;

fn main() {
    if !is_wanted() {
        return;
    }
    let subjects = size(10_000, 100);
    let dir = directory();
    let node = engine::open(dir.path());
    // What is there once for all subjects: threads, tables, the identity.
    let first = begin(&node, 0);
    wait(publish(&first.0));
    let (before, threads_before) = settled();
    let running: Vec<(Subject, Handle)> = (1..=subjects).map(|number| begin(&node, number)).collect();
    let started = settled().0;
    running.chunks(100).for_each(|part| wait(part.iter().flat_map(|(subject, _)| publish(subject)).collect()));
    let (after, threads) = settled();
    let per_subject = |bytes: u64| bytes.saturating_sub(before) as f64 / subjects as f64;
    let ours = per_subject(after);
    Figure::new("idle_subjects", ours, LIMIT, ours / LIMIT)
        .unit("bytes/subject")
        .with("before_first_event", per_subject(started))
        .with("threads", threads as f64)
        .with("threads_with_one_subject", threads_before as f64)
        .with("rss_anon_mib", after as f64 / f64::from(1 << 20))
        .with("subjects", subjects as f64)
        .print();
}

fn begin(node: &Node, number: usize) -> (Subject, Handle) {
    let subject = node.subject(format!("workspace/bench/object/idle-{number}"));
    let handle = subject.run().expect("it runs");
    (subject, handle)
}

fn publish(subject: &Subject) -> Vec<Receipt> {
    (0..EVENTS).map(|number| subject.publish(engine::event(number))).collect()
}

fn wait(receipts: Vec<Receipt>) {
    receipts.into_iter().for_each(|receipt| drop(receipt.wait().expect("it is durable")));
}

/// Anonymous resident bytes and threads of this process, once they stay as they are.
fn settled() -> (u64, u64) {
    let mut last = (0, 0);
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(100));
        let now = (status("RssAnon:") * 1024, status("Threads:"));
        if now == last {
            break;
        }
        last = now;
    }
    last
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the state of this process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
