//! A hundred subjects come and go, and nothing of them stays: no thread, no file, no lock.
//!
//! One test in a file of its own, since it counts what the whole process has.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod fault_kit;

use std::{fs::File, path::Path, sync::mpsc, time::Duration};

use fault_kit::{PATIENCE, counter, log_of, or_set, value_of};
use xaeroflux::{
    Fold, Node, XaeroEvent,
    event::{CRDT_COUNTER_INCREMENT, CRDT_SET_ADD, ScanWindow},
};

fn threads() -> Vec<String> {
    let mut names: Vec<String> = entries("/proc/self/task")
        .iter()
        .map(|task| {
            std::fs::read_to_string(format!("/proc/self/task/{task}/comm")).unwrap_or_default().trim().to_owned()
        })
        .collect();
    names.sort();
    names
}

fn files() -> Vec<String> {
    let mut targets: Vec<String> = entries("/proc/self/fd")
        .iter()
        .filter_map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok())
        .map(|target| target.display().to_string())
        // The directory that this very function reads.
        .filter(|target| !target.ends_with("/fd"))
        .collect();
    targets.sort();
    targets
}

fn entries(dir: &str) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn maps_of(dir: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(&*dir.to_string_lossy())).count()
}

fn round(dir: &Path, n: u64) {
    let node = Node::builder().data_dir(dir).build().unwrap();
    let subject = node.subject("counted");
    let (tell, told) = mpsc::channel();
    let plain = subject.subscribe(|_| {});
    let filtered = subject
        .filter(|event| event.evt.event_type.to_bytes()[1] == CRDT_SET_ADD)
        .scan(ScanWindow::ALL)
        .subscribe(|_| {});
    let total = subject.batch(Duration::from_millis(1), Some(4), counter(Fold::PNCounter)).subscribe(move |state| {
        // A subscription that is gone takes no more, and the test has what it wants.
        let _ = tell.send(value_of(&state));
    });
    let unread = subject.stream();
    let other = node.subject("another");
    let set = other.batch(Duration::from_millis(1), None, or_set()).subscribe(|_| {});
    let handles = [subject.run().unwrap(), other.run().unwrap()];
    let events = (0..10).map(|_| XaeroEvent::new(1_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT));
    let receipts = subject.publish_all(events);
    other.publish(XaeroEvent::new(format!("{n}"), CRDT_SET_ADD)).wait().unwrap();
    for receipt in receipts {
        receipt.wait().unwrap();
    }
    while told.recv_timeout(PATIENCE).unwrap() != 10 * i64::try_from(n).unwrap() {}
    // In every order in which an application may let go.
    if n.is_multiple_of(2) {
        drop((plain, filtered, total, unread, set));
        drop(handles);
        drop((subject, other, node));
    } else {
        drop((subject, other, node));
        drop(handles);
        drop((plain, filtered, total, unread, set));
    }
}

#[test]
fn a_hundred_rounds_leave_no_thread_no_file_and_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    // What the process keeps for itself is made in the first round.
    round(dir.path(), 1);
    let before = (threads(), files());
    for n in 2..=100 {
        // Opening it again at once is part of the promise: nothing waits here.
        round(dir.path(), n);
        assert_eq!(maps_of(dir.path()), 0, "round {n} left a mapping");
        File::open(dir.path().join("LOCK")).unwrap().try_lock().unwrap();
    }
    assert_eq!((threads(), files()), before);
    let node = Node::builder().data_dir(dir.path()).build().unwrap();
    assert_eq!(log_of(&node.subject("counted")).len(), 1000);
}
