//! Segments that are interrupted: a panic, a dying process, a full disk at every point of their making, while publishers
//! keep writing. Every event that was acknowledged is there afterwards, once, in order.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use fault_kit::{Logged, PATIENCE, child, log_of, notice, quiet, until};
use xaeroflux::{
    ChildKind, Node, Notice, Subject, XaeroEvent, XaeroID,
    actors::{
        fault::{Action, ENVIRONMENT, POINTS, arm},
        segment,
    },
};

const DIR: &str = "XAEROFLUX_TEST_SEGMENTS_DIR";
const ROUND: &str = "XAEROFLUX_TEST_SEGMENTS_ROUND";
const SEGMENT_BYTES: u64 = 32 << 10;
const SUBJECTS: [&str; 2] = ["first", "second"];
const PUBLISHERS: usize = 3;

fn open(dir: &Path) -> Node {
    Node::builder().data_dir(dir).segment_bytes(SEGMENT_BYTES).build().unwrap()
}

fn points() -> impl Iterator<Item = &'static str> {
    POINTS.iter().copied().filter(|point| point.starts_with("segment."))
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join("segments")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Publishes to all subjects from several threads, a few events at a time, until told to stop; tells each receipt.
fn publish(node: &Node, round: u64, stop: &AtomicBool, told: &(dyn Fn(&str, XaeroID, u64, &str) + Sync)) {
    let subjects = SUBJECTS.map(|name| node.subject(name));
    let _handles = subjects.each_ref().map(|subject| subject.run().unwrap());
    let end = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let author = node.identity(&format!("publisher-{publisher}")).unwrap();
            let subjects = &subjects;
            scope.spawn(move || {
                for burst in 0_usize.. {
                    // A child whose parent is gone must not go on for ever.
                    if stop.load(Ordering::Relaxed) || Instant::now() > end {
                        return;
                    }
                    let at = (burst / 3 + publisher) % SUBJECTS.len();
                    let payloads: Vec<String> = (0..1 + burst * 7 % 23)
                        .map(|n| format!("{round}/{publisher}/{burst:06}/{n:02}/{:100}", ""))
                        .collect();
                    let events = payloads.iter().map(|payload| XaeroEvent::new(payload.as_str(), 7).by(author));
                    for (receipt, payload) in subjects[at].publish_all(events).into_iter().zip(&payloads) {
                        let ack = receipt.wait_timeout(PATIENCE).expect("a receipt hangs").unwrap();
                        told(SUBJECTS[at], ack.author, ack.seq, payload.trim_end());
                    }
                }
            });
        }
    });
}

/// The log makes sense: every author's numbers follow each other, clocks increase, no payload is there twice.
fn assert_sound(log: &[Logged], what: &str) {
    let mut places: HashMap<XaeroID, u64> = HashMap::new();
    let mut payloads = std::collections::HashSet::new();
    for event in log {
        let place = places.entry(event.author).or_default();
        *place += 1;
        assert_eq!(event.seq, *place, "{what}: an author's events are in order, with no gap");
        assert!(payloads.insert(&event.payload), "{what}: an event is there twice");
    }
    assert!(log.windows(2).all(|pair| pair[0].clock < pair[1].clock), "{what}: clocks increase");
}

/// What was acknowledged: subject, author, sequence number, payload.
type Acks = Vec<(String, String, u64, String)>;

fn assert_kept(node: &Node, acks: &Acks, what: &str) {
    for name in SUBJECTS {
        let log = log_of(&node.subject(name));
        assert_sound(&log, what);
        let known: HashMap<(String, u64), String> = log
            .iter()
            .map(|event| {
                let payload = String::from_utf8(event.payload.clone()).unwrap();
                ((event.author.to_string(), event.seq), payload.trim_end().to_owned())
            })
            .collect();
        for (_, author, seq, payload) in acks.iter().filter(|ack| ack.0 == name) {
            assert_eq!(known.get(&(author.clone(), *seq)), Some(payload), "{what}: {author}:{seq} was acknowledged");
        }
    }
}

/// Every file is a whole segment, and they follow each other from the beginning of the log.
fn assert_whole(dir: &Path, what: &str) {
    let mut at = 0;
    for path in segments(dir) {
        if path.extension().is_some_and(|extension| extension == "damaged") {
            continue;
        }
        let range =
            segment::check(&fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{what}: {path:?}: {error}"));
        assert_eq!(range.start, at, "{what}: {path:?}");
        at = range.end;
    }
    assert!(at > 0, "{what}: there are segments");
}

#[test]
fn a_panic_at_every_point_of_a_segment_loses_and_doubles_nothing() {
    quiet();
    for point in points() {
        for hit in [1, 3] {
            let what = format!("a panic at {point}, hit {hit}");
            let dir = tempfile::tempdir().unwrap();
            let acks = std::sync::Mutex::new(Acks::new());
            {
                let node = open(dir.path());
                let subjects = SUBJECTS.map(|name| node.subject(name));
                let notices = subjects.each_ref().map(Subject::notices);
                let guard = arm(Some(&dir.path().to_string_lossy()), point, Action::Panic, hit, 1);
                let stop = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        publish(&node, 0, &stop, &|subject, author, seq, payload| {
                            acks.lock().unwrap().push((
                                subject.to_owned(),
                                author.to_string(),
                                seq,
                                payload.to_owned(),
                            ));
                        });
                    });
                    let fired = guard.wait_fired(1, PATIENCE);
                    // It goes on by itself.
                    let (sealed, start) = (segments(dir.path()).len(), Instant::now());
                    while fired && segments(dir.path()).len() < sealed + 3 && start.elapsed() < PATIENCE {
                        std::thread::park_timeout(std::time::Duration::from_millis(2));
                    }
                    stop.store(true, Ordering::Relaxed);
                    assert!(fired, "{what}: it never came to it");
                    assert!(segments(dir.path()).len() >= sealed + 3, "{what}: no more segments");
                });
                if !point.contains("trim") {
                    // One of the subjects had it its turn.
                    let died = |notice: &Notice| {
                        matches!(notice, Notice::ChildDied { child: ChildKind::Segment, panicked: true, .. })
                    };
                    let told = notices
                        .iter()
                        .flat_map(|notices| std::iter::from_fn(|| notices.next_timeout(std::time::Duration::ZERO)));
                    let told = told.filter(died).count();
                    assert_eq!(told, 1, "{what}");
                }
                assert_kept(&node, &acks.lock().unwrap(), &what);
            }
            let node = open(dir.path());
            assert_kept(&node, &acks.lock().unwrap(), &what);
            drop(node);
            assert_whole(dir.path(), &what);
        }
    }
}

#[test]
fn a_process_that_dies_at_every_point_of_a_segment_loses_and_doubles_nothing() {
    if let Some(dir) = std::env::var_os(DIR) {
        let round = std::env::var(ROUND).unwrap().parse().unwrap();
        let node = open(Path::new(&dir));
        return publish(&node, round, &AtomicBool::new(false), &|subject, author, seq, payload| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {subject} {author} {seq} {payload}").unwrap();
            out.flush().unwrap();
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acks = Acks::new();
    let mut round = 0;
    for point in points() {
        for hit in [1, 4] {
            let what = format!("{point}=abort@{hit}");
            let mut process = child("a_process_that_dies_at_every_point_of_a_segment_loses_and_doubles_nothing")
                .env(DIR, dir.path())
                .env(ROUND, round.to_string())
                .env(ENVIRONMENT, &what)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            for line in BufReader::new(process.stdout.take().unwrap()).lines() {
                let line = line.unwrap();
                if let Some(ack) = line.strip_prefix("ack ") {
                    let parts: Vec<&str> = ack.split(' ').collect();
                    // What was cut off by the end of the process promises nothing.
                    if let [subject, author, seq, payload] = parts[..]
                        && payload.split('/').count() == 5
                    {
                        acks.push((subject.to_owned(), author.to_owned(), seq.parse().unwrap(), payload.to_owned()));
                    }
                }
            }
            let status = process.wait().unwrap();
            assert_eq!(status.code(), None, "{what}: the child ended by itself: {status}");
            let node = open(dir.path());
            assert_kept(&node, &acks, &what);
            drop(node);
            round += 1;
        }
    }
    assert!(acks.len() > 1_000);
    assert_whole(dir.path(), "after all");
}

#[test]
fn a_segment_writer_that_is_killed_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path());
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let notices = subject.notices();
    // It has nothing to do yet, and is there all the same.
    handle.kill_child(ChildKind::Segment);
    notice(&notices, "started again", |notice| {
        matches!(notice, Notice::ChildRestarted { child: ChildKind::Segment, .. }).then_some(())
    });
    fill(&subject, 0, 400);
    until("a segment is there", || {
        segments(dir.path()).iter().any(|path| path.extension().is_some_and(|e| e == "seg"))
    });
    assert_eq!(log_of(&subject).len(), 400);
}

fn fill(subject: &Subject, from: u32, to: u32) {
    for first in (from..to).step_by(20) {
        let events = (first..to.min(first + 20)).map(|n| XaeroEvent::new(n.to_le_bytes().repeat(50), 7));
        for receipt in subject.publish_all(events) {
            receipt.wait().unwrap();
        }
    }
}

/// Readers never see the moment at which an event changes its place.
#[test]
fn whoever_reads_while_segments_are_written_sees_a_log_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path());
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let log = log_of(&subject);
                    assert!((1..).zip(&log).all(|(seq, event)| event.seq == seq));
                }
            });
        }
        fill(&subject, 0, 6_000);
        stop.store(true, Ordering::Relaxed);
    });
    until("there are segments", || segments(dir.path()).len() > 5);
    assert_eq!(log_of(&subject).len(), 6_000);
}

/// No room for a segment is no reason to refuse an event. When there is room, it is written.
#[test]
fn a_disk_without_room_for_a_segment_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("segments");
    fs::create_dir(&small).unwrap();
    let mount = |options: &str| {
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&small)
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !mount("size=16k") {
        println!("SKIPPED: a file system of its own cannot be mounted here (it takes root)");
        return;
    }
    let _unmount = Unmount(small.clone());
    {
        let node = open(dir.path());
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        let guard = arm(Some(&dir.path().to_string_lossy()), "segment.allocated", Action::Block, 1, 1);
        fill(&subject, 0, 1_000);
        assert_eq!(
            (guard.fired(), segments(dir.path()).len()),
            (0, 0),
            "it was not allocated, and nothing is left of it"
        );
        assert!(handle.failure().is_none());
        assert_eq!(log_of(&subject).len(), 1_000);
        drop(guard);
        assert!(mount("remount,size=4m"));
        until("a segment is there", || !segments(dir.path()).is_empty());
        assert_eq!(log_of(&subject).len(), 1_000);
    }
    assert_eq!(log_of(&open(dir.path()).subject("s")).len(), 1_000);
    assert_whole(dir.path(), "after the full disk");
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: a test that failed may still hold files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
