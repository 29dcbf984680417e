//! Reading sealed segments, and what an event takes on the disk.
//!
//! `segment_scan` visits every sealed event in place, through the public API, against a plain read of the same files with
//! the same checksum over the same bytes: what any program pays that looks at every byte and trusts none. Both read what
//! the operating system has in memory, so that it is the code that is measured and not the disk.
//!
//! `segment_window` asks for the last hundredth of the time, which the footers lead to; the other side is the whole scan.
//!
//! `segment_publish` is how much of the rate of a saturating publisher is left while segments are written, of what it is on
//! a node that writes none.
//!
//! `segment_disk` is bytes on disk for each event, of segments and of the data file, which never gets smaller: so its
//! length is its largest.

mod support;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lmdb::{Environment, Transaction};
use support::{
    MAP_SIZE, PAYLOAD, directory,
    engine::{event, settle},
    report::{Figure, Rounds, is_selected, is_wanted, median, size},
};
use tempfile::TempDir;
use xaeroflux::{Node, ScanWindow, Subject};

/// Receipts that are open at once.
const WINDOW: usize = 8_192;
/// Events that one call hands over.
const CALL: usize = 1_000;
/// What the plain read reads at once.
const BUFFER: usize = 256 << 10;

fn main() {
    if !is_wanted() {
        return;
    }
    let events = size(1_000_000, 20_000);
    if is_selected("segment_publish") {
        publish(events);
    }
    if !["segment_scan", "segment_window", "segment_disk"].into_iter().any(is_selected) {
        return;
    }
    let dir = directory();
    let (elapsed, sealed_at_end) = fill(&dir, events, segment_bytes());
    let start = Instant::now();
    let node = open(dir.path(), segment_bytes());
    let subject = node.subject("bench/segments");
    assert_eq!(subject.count().expect("a log"), events as u64);
    let reopened = start.elapsed();
    let files = files(dir.path());
    let sealed = sealed(&files);
    if is_selected("segment_scan") {
        scan(&subject, &files, sealed);
    }
    if is_selected("segment_window") {
        window(&subject, events);
    }
    drop((subject, node));
    if is_selected("segment_disk") {
        disk(dir.path(), events, elapsed, sealed_at_end, reopened);
    }
}

fn segment_bytes() -> u64 {
    size(32 << 20, 1 << 20) as u64
}

fn open(dir: &Path, segment_bytes: u64) -> Node {
    let node = Node::builder().data_dir(dir).map_size(MAP_SIZE as u64).segment_bytes(segment_bytes).build();
    node.expect("a node")
}

/// Publishes so many events, as fast as that goes, and waits until all that is due is sealed.
fn fill(dir: &TempDir, events: usize, segment_bytes: u64) -> (Duration, u64) {
    let node = open(dir.path(), segment_bytes);
    let subject = node.subject("bench/segments");
    let handle = subject.run().expect("it runs");
    let start = Instant::now();
    let mut open = std::collections::VecDeque::new();
    for first in (0..events).step_by(CALL) {
        if open.len() * CALL >= WINDOW {
            settle(open.pop_front().into_iter().flatten());
        }
        open.push_back(subject.publish_all((first..(first + CALL).min(events)).map(event)));
    }
    settle(open.into_iter().flatten());
    let elapsed = start.elapsed();
    let sealed_at_end = sealed(&files(dir.path()));
    // What is due is sealed when nothing more comes for a while.
    let mut before = 0;
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = files(dir.path()).len();
        if now == before {
            break;
        }
        before = now;
    }
    drop((subject, handle, node));
    (elapsed, sealed_at_end)
}

fn publish(events: usize) {
    let mut rounds = Rounds::default();
    for _ in 0..size(5, 1) {
        let rate = |segment_bytes| events as f64 / fill(&directory(), events, segment_bytes).0.as_secs_f64();
        rounds.push(rate(segment_bytes()), rate(u64::MAX));
    }
    rounds.figure("segment_publish").unit("events/s").with("events", events as f64).print();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("segments")).map(|entries| entries.flatten().map(|entry| entry.path()));
    let mut files: Vec<PathBuf> = entries
        .map(|paths| paths.filter(|path| path.extension().is_some_and(|ext| ext == "seg")).collect())
        .unwrap_or_default();
    files.sort();
    files
}

/// How many events are in segments.
fn sealed(files: &[PathBuf]) -> u64 {
    let Some(last) = files.last() else { return 0 };
    xaeroflux::actors::segment::check(&std::fs::read(last).expect("a segment")).expect("a whole segment").end
}

fn scan(subject: &Subject, files: &[PathBuf], sealed: u64) {
    let bytes: u64 = files.iter().map(|file| file.metadata().expect("a segment").len()).sum();
    let mut rounds = Rounds::default();
    let (mut rates, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    for _ in 0..size(9, 1) {
        let start = Instant::now();
        let (mut left, mut sum) = (sealed, 0_usize);
        subject
            .for_each_archived(ScanWindow::ALL, |record| {
                sum += record.payload().len();
                left -= 1;
                left > 0
            })
            .expect("a scan");
        let ours = start.elapsed().as_secs_f64();
        assert_eq!(sum, sealed as usize * PAYLOAD);
        let start = Instant::now();
        let mut crc = 0;
        for file in files {
            let mut file = File::open(file).expect("a segment");
            loop {
                match file.read(&mut buffer).expect("its bytes") {
                    0 => break,
                    got => crc = crc32c::crc32c_append(crc, &buffer[..got]),
                }
            }
        }
        std::hint::black_box(crc);
        let theirs = start.elapsed().as_secs_f64();
        rates.push(sealed as f64 / ours);
        rounds.push(bytes as f64 / ours / 1e6, bytes as f64 / theirs / 1e6);
    }
    rounds
        .figure("segment_scan")
        .unit("MB/s")
        .with("events_per_second", median(&rates))
        .with("events", sealed as f64)
        .with("bytes", bytes as f64)
        .print();
}

fn window(subject: &Subject, events: usize) {
    let mut clocks = Vec::with_capacity(events);
    let all = |clocks: &mut Vec<u64>| {
        clocks.clear();
        let start = Instant::now();
        subject
            .for_each_archived(ScanWindow::ALL, |record| {
                clocks.push(record.clock().millis());
                true
            })
            .expect("a scan");
        start.elapsed().as_secs_f64()
    };
    let mut rounds = Rounds::default();
    for _ in 0..size(5, 1) {
        let theirs = all(&mut clocks);
        let from = clocks[events - events / 100];
        let start = Instant::now();
        let mut seen = 0;
        subject
            .for_each_archived(ScanWindow { start: from, end: u64::MAX }, |_| {
                seen += 1;
                true
            })
            .expect("a scan");
        let ours = start.elapsed().as_secs_f64();
        assert!(seen >= events / 100);
        rounds.push(ours * 1e3, theirs * 1e3);
    }
    rounds.figure("segment_window").unit("ms").with("events", events as f64).print();
}

fn disk(dir: &Path, events: usize, elapsed: Duration, sealed_at_end: u64, reopened: Duration) {
    let segments: u64 = files(dir).iter().map(|file| file.metadata().expect("a segment").len()).sum();
    let data = dir.join("data.mdb").metadata().expect("the data file").len();
    let each = |bytes: u64| bytes as f64 / events as f64;
    let total = each(segments + data);
    let mut figure = Figure::new("segment_disk", total, PAYLOAD as f64, total / PAYLOAD as f64)
        .unit("bytes/event")
        .with("segments", each(segments))
        .with("data_file", each(data))
        .with("data_file_mib", data as f64 / (1 << 20) as f64)
        .with("events", events as f64)
        .with("published_per_second", events as f64 / elapsed.as_secs_f64())
        .with("sealed_while_publishing", sealed_at_end as f64)
        .with("reopened_ms", reopened.as_secs_f64() * 1e3);
    let env = Environment::new().set_map_size(MAP_SIZE).set_max_dbs(32).open(dir).expect("the environment");
    for table in ["log", "subject_index", "author_index", "heads", "nodes", "signed_heads"] {
        let Ok(db) = env.open_db(Some(table)) else { continue };
        let stat = env.begin_ro_txn().and_then(|txn| txn.stat(db)).expect("a table");
        let pages = stat.branch_pages() + stat.leaf_pages() + stat.overflow_pages();
        figure = figure.with(table, each(pages as u64 * u64::from(stat.page_size())));
    }
    figure.print();
}
