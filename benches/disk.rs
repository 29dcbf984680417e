//! What an event of 256 bytes takes on the disk, everything included, and which part takes what.
//!
//! The node publishes a million events as fast as it can, which is when the log table grows most before its events move to
//! segments: LMDB's file never shrinks, so that its highest level counts.

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lmdb::{Environment, Transaction};
use support::{
    MAP_SIZE, PAYLOAD, directory,
    engine::{self, WINDOW},
    report::{Figure, is_wanted, size},
};
use xaeroflux::{
    Dot, EventType, SubjectId,
    event::Clock,
    wire::{frame, id::XaeroID, record::Record},
};

/// The most that an event may take, in terms of its payload.
const LIMIT: f64 = 2.5;

/// How often is looked whether the segments are written.
const POLL: Duration = Duration::from_millis(100);

/// Nothing has changed for so long: they are.
const SETTLED: Duration = Duration::from_secs(2);

/// Length of the trailer of a segment, where its footer's length is in it, and an event id.
const TRAILER: usize = 60;
const FOOTER_LENGTH_AT: usize = 44;
const ID: f64 = 32.0;

fn main() {
    if !is_wanted() {
        return;
    }
    let events = size(2_000_000, 20_000);
    let dir = directory();
    {
        let node = engine::open(dir.path());
        let subject = node.subject("bench/disk");
        let handle = subject.run().expect("it runs");
        let mut open = Vec::new();
        for first in (0..events).step_by(WINDOW) {
            let sent = subject.publish_all((first..(first + WINDOW).min(events)).map(engine::event));
            engine::settle(std::mem::replace(&mut open, sent));
        }
        engine::settle(open);
        settle(dir.path());
        drop(handle);
    }
    report(dir.path(), events as f64);
}

/// Waits until the files do not change any more.
fn settle(dir: &Path) {
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < SETTLED {
        std::thread::sleep(POLL);
        let now = bytes(dir);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

fn report(dir: &Path, events: f64) {
    let each = |bytes: u64| bytes as f64 / events;
    let segments: Vec<_> = dir.join("segments").read_dir().map_or_else(|_| Vec::new(), |it| it.flatten().collect());
    let (mut sealed, mut footers) = (0, 0);
    for segment in &segments {
        let file = std::fs::read(segment.path()).expect("a segment");
        let trailer = file.last_chunk::<TRAILER>().expect("a segment has a trailer");
        footers += u64::from(u32::from_le_bytes(trailer[FOOTER_LENGTH_AT..][..4].try_into().expect("four bytes")));
        sealed += file.len() as u64;
    }
    let data = dir.join("data.mdb").metadata().expect("the data file").len();
    let tables = tables(dir);
    let of = |name: &str| tables.iter().find(|(table, _)| *table == name).map_or(0, |(_, bytes)| *bytes);
    let used: u64 = tables.iter().map(|(_, bytes)| *bytes).sum();
    let total = bytes(dir);
    let frame = frame_bytes() as f64;
    // The blocks of both hold each event once, in a segment or in the table.
    let entries = each(sealed - footers + of("log")) - frame - ID;
    let ours = each(total);
    Figure::new("disk_per_event", ours, PAYLOAD as f64, ours / PAYLOAD as f64)
        .unit("bytes")
        .with("limit_ratio", LIMIT)
        .with("frame_header_and_fields", frame - PAYLOAD as f64)
        .with("event_id", ID)
        .with("links_and_blocks", entries)
        .with("segment_footers", each(footers))
        .with("nodes", each(of("nodes")))
        .with("subject_index", each(of("subject_index")))
        .with("author_index", each(of("author_index")))
        .with("other_tables", each(used - of("log") - of("nodes") - of("subject_index") - of("author_index")))
        .with("free_pages", each(data.saturating_sub(used)))
        .with("keys_and_lock", each(total - data - sealed))
        .with("of_it_segments", each(sealed))
        .with("of_it_data_file", each(data))
        .with("of_it_log_table", each(of("log")))
        .with("events", events)
        .with("segments", segments.len() as f64)
        .print();
}

/// Bytes of the pages of each table.
fn tables(dir: &Path) -> Vec<(&'static str, u64)> {
    const NAMES: [&str; 15] = [
        "log",
        "nodes",
        "subject_index",
        "author_index",
        "meta",
        "subjects",
        "subject_numbers",
        "heads",
        "pending",
        "snapshots",
        "signed_heads",
        "peer_heads",
        "writers",
        "cuts",
        "cursors",
    ];
    let env = Environment::new().set_map_size(MAP_SIZE).set_max_dbs(16).open(dir).expect("the engine's environment");
    let opened = NAMES.map(|name| (name, env.open_db(Some(name)).expect("a table")));
    let txn = env.begin_ro_txn().expect("a transaction");
    let pages = |table| {
        let stat = txn.stat(table).expect("its state");
        (stat.branch_pages() + stat.leaf_pages() + stat.overflow_pages()) as u64 * u64::from(stat.page_size())
    };
    opened.into_iter().map(|(name, table)| (name, pages(table))).collect()
}

/// Bytes of all files below a directory.
fn bytes(dir: &Path) -> u64 {
    let entries = dir.read_dir().expect("a directory").flatten();
    entries.map(|entry| (entry.path(), entry.metadata())).fold(0, |sum, (path, found)| match found {
        Ok(found) if found.is_dir() => sum + bytes(&path),
        Ok(found) => sum + found.len(),
        // Renamed meanwhile.
        Err(_) => sum,
    })
}

/// Length of the frame of such an event, whose author has seen all before it.
fn frame_bytes() -> usize {
    let author = XaeroID::from([1; 32]);
    let record = Record {
        subject: SubjectId::from([9; 32]),
        dot: Dot::new(author, 2),
        clock: Clock::from_millis(1_700_000_000_000),
        latest_ts: 1_700_000_000_000,
        deps: &[],
        event_type: EventType::ApplicationEvent(30),
        payload: &[7; PAYLOAD],
    };
    let mut frame = Vec::new();
    frame::encode_into(&mut frame, &record).expect("a frame")
}
