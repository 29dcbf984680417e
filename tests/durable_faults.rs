//! Durable subscriptions under faults: a state that is kept with its place counts every event once, whatever the process or
//! its committer died of, and wherever.
//!
//! The child process publishes, folds what it publishes through a durable subscription, and prints how far its
//! acknowledgements are on disk. It is killed, or ends itself at a fault point, and the next one goes on in its directory.
//! The fold's state must then be that of exactly the events which its place covers. Debug builds only: the fault points
//! are not in any other.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::Stdio,
    thread,
    time::Instant,
};

use fault_kit::{PATIENCE, child, in_time, payloads_of, quiet, until};
use xaeroflux::{
    AckReceipt, ChildKind, DurableSubscription, Error, Node, StorageError, Subject, XaeroEvent,
    actors::fault::{Action, ENVIRONMENT, POINTS, arm},
};

const DIR: &str = "XAEROFLUX_TEST_DURABLE_DIR";
const FOLD: &str = "fold";

/// A fold that an event counted twice, left out or out of order would change: how many, and a hash over all in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Folded {
    count: u64,
    hash: [u8; 32],
}

impl Folded {
    fn add(&mut self, payload: &[u8]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.hash).update(payload);
        (self.count, self.hash) = (self.count + 1, hasher.finalize().into());
    }

    fn to_bytes(self) -> Vec<u8> {
        [&self.count.to_le_bytes()[..], &self.hash].concat()
    }

    fn of(subscription: &DurableSubscription) -> Self {
        let Some(state) = subscription.state() else { return Self::default() };
        let (count, hash) = state.split_first_chunk().unwrap();
        Self { count: u64::from_le_bytes(*count), hash: hash.try_into().unwrap() }
    }
}

fn publish(subject: &Subject, count: usize, name: &str) {
    for receipt in subject.publish_all((0..count).map(|n| XaeroEvent::new(format!("{name}/{n}"), 1))) {
        receipt.wait().unwrap();
    }
}

/// Publishes from two threads, folds, and prints, until it is killed.
fn fold_until_killed(dir: &Path) {
    let node = Node::builder().data_dir(dir).build().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let mut subscription = subject.durable(FOLD).unwrap();
    let end = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        for name in ["a", "b"] {
            let subject = &subject;
            scope.spawn(move || {
                for burst in 1.. {
                    if Instant::now() > end {
                        return;
                    }
                    publish(subject, burst * 7 % 23 + 1, name);
                }
            });
        }
        let mut folded = Folded::of(&subscription);
        let mut waiting: Vec<(u64, AckReceipt)> = Vec::new();
        while Instant::now() < end {
            let Some(batch) = subscription.next_batch(5).unwrap() else { return };
            batch.events.iter().for_each(|event| folded.add(&event.evt.data));
            waiting.push((folded.count, batch.ack_with_state(&folded.to_bytes())));
            // Some are waited for and some are not, so that several travel together.
            if waiting.len() == 4 {
                for (count, receipt) in waiting.drain(..) {
                    receipt.wait().unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "ack {count}").unwrap();
                    out.flush().unwrap();
                }
            }
        }
    });
}

/// Runs a child until it has printed so many acknowledgements, kills it, and returns the last one that it printed.
fn run_and_kill(test: &str, dir: &Path, lines: usize, fault: Option<&str>) -> Option<u64> {
    let mut command = child(test);
    command.env(DIR, dir).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(fault) = fault {
        command.env(ENVIRONMENT, fault);
    }
    let mut process = command.spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let (mut last, mut seen, mut line) = (None, 0, Vec::new());
    while output.read_until(b'\n', &mut line).unwrap() > 0 {
        // A line that was cut short by the kill promises nothing.
        if line.pop() == Some(b'\n')
            && let Some(count) = std::str::from_utf8(&line).unwrap().strip_prefix("ack ")
        {
            last = Some(count.parse().unwrap());
            seen += 1;
            if seen == lines {
                process.kill().unwrap();
            }
        }
        line.clear();
    }
    let status = process.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended by itself: {status}");
    last
}

/// The state is that of exactly the events that its place covers, and covers all that was printed.
fn assert_once(dir: &Path, printed: Option<u64>, what: &str) -> u64 {
    let node = Node::builder().data_dir(dir).build().unwrap_or_else(|error| panic!("{what}: {error}"));
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let subscription = subject.durable(FOLD).unwrap_or_else(|error| panic!("{what}: {error}"));
    let log = payloads_of(&subject);
    let covered = log.len() - usize::try_from(subscription.lag()).unwrap();
    let mut expected = Folded::default();
    log[..covered].iter().for_each(|payload| expected.add(payload));
    assert_eq!(Folded::of(&subscription), expected, "{what}: of {covered} events");
    assert!(printed <= Some(expected.count), "{what}: {printed:?} was on disk, {covered} is");
    expected.count
}

#[test]
fn a_fold_counts_each_event_once_though_its_process_is_killed_again_and_again() {
    if let Some(dir) = std::env::var_os(DIR) {
        return fold_until_killed(Path::new(&dir));
    }
    let test = "a_fold_counts_each_event_once_though_its_process_is_killed_again_and_again";
    let dir = tempfile::tempdir().unwrap();
    let mut printed = None;
    for (round, lines) in [1, 37, 150, 4, 300].into_iter().enumerate() {
        printed = printed.max(run_and_kill(test, dir.path(), lines, None));
        let count = assert_once(dir.path(), printed, &format!("round {round}"));
        printed = printed.max(Some(count));
    }
    assert!(printed.unwrap() > 500);
}

#[test]
fn a_fold_counts_each_event_once_though_its_process_dies_at_any_point_of_a_commit() {
    if let Some(dir) = std::env::var_os(DIR) {
        return fold_until_killed(Path::new(&dir));
    }
    let test = "a_fold_counts_each_event_once_though_its_process_dies_at_any_point_of_a_commit";
    let dir = tempfile::tempdir().unwrap();
    let mut printed = None;
    let on_the_way =
        POINTS.iter().filter(|point| point.starts_with("committer.") && **point != "committer.commit_fails");
    for (point, hit) in on_the_way.flat_map(|point| [(point, 9), (point, 40)]) {
        let what = format!("{point}=abort@{hit}");
        printed = printed.max(run_and_kill(test, dir.path(), usize::MAX, Some(&what)));
        printed = printed.max(Some(assert_once(dir.path(), printed, &what)));
    }
    assert!(printed.unwrap() > 100);
}

#[test]
fn an_acknowledgement_survives_a_committer_that_panics() {
    quiet();
    for point in POINTS.iter().filter(|point| point.starts_with("committer.") && !point.ends_with("_put")) {
        if *point == "committer.commit_fails" {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        publish(&subject, 10, "x");
        let mut subscription = subject.durable(FOLD).unwrap();
        let guard = arm(Some(&node.data_dir().to_string_lossy()), point, Action::Panic, 1, 2);
        let mut folded = Folded::default();
        for _ in 0..5 {
            let delivery = subscription.next().unwrap().unwrap();
            folded.add(&delivery.event.evt.data);
            delivery.ack_with_state(&folded.to_bytes()).wait().unwrap();
        }
        assert!(guard.fired() > 0, "{point}");
        drop((guard, subscription, handle, subject, node));
        assert_eq!(assert_once(dir.path(), Some(5), point), 5);
    }
}

#[test]
fn an_acknowledgement_whose_commit_fails_says_so_and_the_place_is_as_it_was() {
    quiet();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().data_dir(dir.path()).build().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    publish(&subject, 10, "x");
    let mut subscription = subject.durable(FOLD).unwrap();
    let mut folded = Folded::default();
    let deliveries: Vec<_> = (0..4).map(|_| subscription.next().unwrap().unwrap()).collect();
    folded.add(&deliveries[0].event.evt.data);
    deliveries[0].ack_with_state(&folded.to_bytes()).wait().unwrap();
    let guard = arm(Some(&node.data_dir().to_string_lossy()), "committer.commit_fails", Action::Fail, 1, 1);
    let failed = deliveries[1].ack_with_state(b"never stored").wait();
    assert!(matches!(failed, Err(Error::Storage(StorageError::Poisoned { .. }))), "{failed:?}");
    // The node takes nothing any more, and says so to those that come after.
    for delivery in &deliveries[1..] {
        assert!(delivery.ack().wait().is_err());
    }
    assert_eq!(guard.fired(), 1);
    drop((guard, deliveries, subscription, handle, subject, node));
    assert_eq!(assert_once(dir.path(), Some(1), "after a commit that failed"), 1);
}

#[test]
fn whoever_waits_learns_that_the_subject_has_given_up() {
    quiet();
    let node = Node::ephemeral().unwrap();
    for (name, point) in [("durable, aof", "aof.received"), ("durable, supervisor", "supervisor.before_replay")] {
        let subject = node.subject(name);
        let handle = subject.run().unwrap();
        publish(&subject, 3, "x");
        let mut subscription = subject.durable(FOLD).unwrap();
        let _guard = arm(Some(name), point, Action::Panic, 1, u64::MAX);
        let reader = thread::spawn(move || {
            let mut seen = 0;
            loop {
                match subscription.next() {
                    Ok(Some(_)) => seen += 1,
                    Ok(None) => return (seen, None),
                    Err(error) => return (seen, Some(error)),
                }
            }
        });
        handle.kill_child(ChildKind::Aof);
        until("the subject is given up", || {
            drop(subject.try_publish(XaeroEvent::new("x", 1)).wait_timeout(PATIENCE));
            handle.failure().is_some()
        });
        let (seen, error) = in_time("a subscription of a subject that gave up", move || reader.join().unwrap());
        assert_eq!(seen, 3, "{name}");
        assert!(matches!(error, Some(Error::Failed { .. })), "{name}: {error:?}");
    }
}
