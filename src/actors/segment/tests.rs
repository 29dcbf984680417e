//! Segments of a store whose committer is real and whose events come from elsewhere, so that all is known of them.

mod recovery;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use super::{
    layout::{self, ClockWindow, file_name},
    pager::Progress,
};
use crate::{
    actors::{
        committer::{
            submission::{Batch, ForeignBatch, Outcome, Submission},
            thread::{Committer, Trust},
        },
        storage::{
            StorageError, Store,
            lmdb::{Reads, Table},
            mark,
            open::{StoreOptions, SubjectLog},
            reader::LogReader,
        },
    },
    wire::{
        clock::Clock,
        event::EventType,
        frame,
        id::{Dot, SubjectId, XaeroID},
        record::Record,
    },
};

const SEGMENT_BYTES: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    committer: Committer,
    store: Arc<Store>,
    dir: Arc<tempfile::TempDir>,
}

/// What a test compares of an event: subject, sequence number, clock, payload.
type Seen = (u8, u64, Clock, Vec<u8>);

fn foreign(frames: Vec<Vec<u8>>) -> Batch {
    Batch::Foreign(Arc::new(ForeignBatch { frames: frames.into(), ..ForeignBatch::default() }))
}

impl World {
    fn new() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap())).unwrap()
    }

    fn open(dir: Arc<tempfile::TempDir>) -> Result<Self, StorageError> {
        let options = StoreOptions { map_size: 256 << 20, segment_bytes: SEGMENT_BYTES };
        let store = Store::open_with(dir.path(), options, None)?;
        let committer = Committer::start(Arc::clone(&store), Arc::new(|| 1_700_000_000_000), Trust::Unsigned)?;
        Ok(Self { committer, store, dir })
    }

    fn restart(self) -> Self {
        self.close(|_| {})
    }

    /// Closes the directory, has something done to it, and opens it again.
    fn close(self, meanwhile: impl FnOnce(&Closed)) -> Self {
        let Self { committer, store, dir } = self;
        committer.stop();
        drop((committer, store));
        meanwhile(&Closed { dir: dir.path().join("segments") });
        Self::open(dir).unwrap()
    }

    fn log(&self, subject: u8) -> Arc<SubjectLog> {
        let log = self.store.log(SubjectId::from([subject; 32]), &format!("subject {subject}"));
        self.submit(&log, Batch::Open);
        log
    }

    fn submit(&self, log: &Arc<SubjectLog>, batch: Batch) {
        let (tell, told) = mpsc::channel();
        self.committer.submit(Submission {
            log: Arc::clone(log),
            token: 0,
            batch,
            reply: Box::new(move |result| tell.send(result).unwrap()),
        });
        if let Outcome::Foreign(outcomes) = told.recv_timeout(PATIENCE).unwrap().unwrap() {
            assert!(outcomes.iter().all(|outcome| matches!(outcome, crate::IngestOutcome::Stored(_))));
        }
    }

    /// Appends events to a subject: sequence numbers from `first` on, clocks as many milliseconds.
    fn append(&self, subject: u8, first: u64, count: u64) {
        let frames = (first..first + count).map(|seq| frame_of(subject, seq)).collect();
        self.submit(&self.log(subject), foreign(frames));
    }

    /// Seals what is due, and waits until the table is rid of it.
    fn settle(&self) -> usize {
        let mut sealed = 0;
        while self.store.segments.advance(&self.store, &self.committer).unwrap() == Progress::Sealed {
            sealed += 1;
        }
        self.wait_trimmed();
        sealed
    }

    fn wait_trimmed(&self) {
        let (end, start) = (self.store.env.segments().end(), Instant::now());
        while self.trimmed() < end {
            assert!(start.elapsed() < PATIENCE);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn trimmed(&self) -> u64 {
        mark::get(&self.store.env.read().unwrap(), mark::TRIMMED).unwrap()
    }

    fn rows(&self) -> usize {
        let (txn, mut rows) = (self.store.env.read().unwrap(), 0);
        txn.scan(Table::Log, &[], &mut |_, _| {
            rows += 1;
            Ok(true)
        })
        .unwrap();
        rows
    }

    fn scan(&self, subject: u8, from: u64, window: Option<ClockWindow>) -> Result<Vec<Seen>, StorageError> {
        let mut seen = Vec::new();
        self.scan_into(subject, from, window, &mut seen).map(|()| seen)
    }

    fn scan_into(
        &self,
        subject: u8,
        from: u64,
        window: Option<ClockWindow>,
        seen: &mut Vec<Seen>,
    ) -> Result<(), StorageError> {
        self.store
            .scan(&self.log(subject), from, window, &mut |stored| {
                assert_eq!(stored.id(), stored.record.id());
                let record = stored.record;
                seen.push((subject, record.seq(), record.clock(), record.payload().to_vec()));
                Ok(true)
            })
            .map(drop)
    }

    /// The payload of an author's event in a log of so many.
    fn by_seq(&self, log: &SubjectLog, count: u64, seq: u64) -> Result<Vec<u8>, StorageError> {
        let txn = self.store.env.read()?;
        let published = log.published();
        let whose = (published.number.unwrap(), log.id);
        let author = XaeroID::from([9; 32]);
        let head = match txn.get(Table::Heads, &whose.0.key())? {
            Some(row) => crate::actors::storage::head::Head::decode(whose.0, row).unwrap(),
            None => crate::actors::storage::head::Head::new(whose.0),
        };
        let (slot, mut head) = head.author(author);
        (head.seq, head.last) = (count, published.extent.last);
        let found = LogReader::new(&txn).by_seq(whose, slot, &head, seq)?;
        Ok(found.unwrap().record.payload().to_vec())
    }

    /// Every event of the log, by position.
    fn all(&self) -> Vec<(u64, [u8; 32], u64)> {
        let (txn, mut all) = (self.store.env.read().unwrap(), Vec::new());
        LogReader::new(&txn)
            .from(0, &mut |stored| {
                all.push((stored.position, stored.record.subject().into(), stored.record.seq()));
                Ok(true)
            })
            .unwrap();
        all
    }

    /// The positions whose events cannot be read.
    fn unreadable(&self, end: usize) -> Vec<u64> {
        let txn = self.store.env.read().unwrap();
        (0..u64::try_from(end).unwrap()).filter(|position| LogReader::new(&txn).stored(*position).is_err()).collect()
    }

    fn files(&self) -> Vec<String> {
        files(&self.dir.path().join("segments"))
    }
}

/// The directory of the segments of a world that is closed.
struct Closed {
    dir: PathBuf,
}

impl Closed {
    fn path(&self, first: u64) -> PathBuf {
        self.dir.join(file_name(first))
    }

    fn damage(&self, first: u64, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(first)).unwrap();
        damage(&mut bytes);
        fs::remove_file(self.path(first)).unwrap();
        fs::write(self.path(first), bytes).unwrap();
    }
}

fn files(dir: &std::path::Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn payload(subject: u8, seq: u64) -> Vec<u8> {
    let mut payload = vec![subject; 100 + usize::try_from(seq % 7).unwrap() * 30];
    payload[..8].copy_from_slice(&seq.to_le_bytes());
    payload
}

fn frame_of(subject: u8, seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let record = Record {
        subject: SubjectId::from([subject; 32]),
        dot: Dot::new(XaeroID::from([9; 32]), seq),
        clock: Clock::from_millis(seq),
        latest_ts: seq,
        deps: &[],
        event_type: EventType::ApplicationEvent(1),
        payload: &payload(subject, seq),
    };
    frame::encode_into(&mut out, &record).unwrap();
    out
}

fn expected(subject: u8, seqs: impl IntoIterator<Item = u64>) -> Vec<Seen> {
    seqs.into_iter().map(|seq| (subject, seq, Clock::from_millis(seq), payload(subject, seq))).collect()
}

/// One subject alone, then two side by side, then one alone again, then three in turn.
fn varied(world: &World) {
    world.append(1, 1, 1_000);
    for round in 0..50 {
        world.append(2, 1 + round * 3, 3);
        world.append(1, 1_001 + round * 5, 5);
    }
    world.append(2, 151, 700);
    for round in 0..100 {
        for subject in [1, 2, 3] {
            let first = [1_251, 851, 1][usize::from(subject) - 1];
            world.append(subject, first + round, 1);
        }
    }
}

const VARIED: [(u8, u64); 3] = [(1, 1_350), (2, 950), (3, 100)];

fn assert_varied(world: &World) {
    for (subject, count) in VARIED {
        assert_eq!(world.scan(subject, 0, None).unwrap(), expected(subject, 1..=count), "subject {subject}");
    }
}

#[test]
fn sealed_events_leave_the_table_and_are_read_as_before() {
    let world = World::new();
    varied(&world);
    let (before, rows) = (world.all(), world.rows());
    assert!(world.settle() > 3);
    assert!(world.rows() < rows);
    assert_eq!(world.all(), before);
    assert_varied(&world);
    let world = world.restart();
    assert_eq!(world.all(), before);
    assert_varied(&world);
    // And it goes on from there.
    world.append(3, 101, 2_000);
    world.settle();
    assert_eq!(world.scan(3, 0, None).unwrap(), expected(3, 1..=2_100));
}

#[test]
fn a_scan_from_any_ordinal_gives_the_rest() {
    let world = World::new();
    varied(&world);
    world.settle();
    for (subject, count) in VARIED {
        for from in (0..count + 2).step_by(37) {
            assert_eq!(
                world.scan(subject, from, None).unwrap(),
                expected(subject, from + 1..=count),
                "{subject} {from}"
            );
        }
    }
}

#[test]
fn an_author_s_events_are_found_by_number_in_segments_and_beyond() {
    let world = World::new();
    varied(&world);
    world.settle();
    for (subject, count) in VARIED {
        let log = world.log(subject);
        for seq in (1..=count).step_by(3) {
            assert_eq!(world.by_seq(&log, count, seq).unwrap(), payload(subject, seq));
        }
    }
}

#[test]
fn a_window_gives_what_lies_in_it_wherever_that_is() {
    let world = World::new();
    varied(&world);
    world.settle();
    for (subject, count) in VARIED {
        for (first, last) in
            [(0, 0), (1, 1), (5, 90), (400, 1_100), (1_020, 1_230), (900, 5_000), (count, count), (7_000, 9_000)]
        {
            let window = (Clock::from_millis(first), Clock::from_millis(last));
            let seqs = first.max(1)..=last.min(count);
            assert_eq!(
                world.scan(subject, 0, Some(window)).unwrap(),
                expected(subject, seqs),
                "{subject} {first} {last}"
            );
        }
    }
}

#[test]
fn a_log_that_is_all_in_segments_knows_its_end() {
    let world = World::new();
    world.append(1, 1, 500);
    assert_eq!(world.settle(), 1, "one commit makes one block, and a segment grows to what a block needs");
    assert_eq!(world.rows(), 0);
    let world = world.restart();
    world.append(1, 501, 10);
    assert_eq!(world.all().last().unwrap().0, 509);
    assert_eq!(world.scan(1, 0, None).unwrap(), expected(1, 1..=510));
}

#[test]
fn a_payload_of_a_mebibyte_fits_into_a_small_segment() {
    let world = World::new();
    let mut bytes = Vec::new();
    let record = Record {
        subject: SubjectId::from([1; 32]),
        dot: Dot::new(XaeroID::from([9; 32]), 1),
        clock: Clock::from_millis(1),
        latest_ts: 1,
        deps: &[],
        event_type: EventType::ApplicationEvent(1),
        payload: &vec![5; 1 << 20],
    };
    frame::encode_into(&mut bytes, &record).unwrap();
    world.submit(&world.log(1), foreign(vec![bytes]));
    assert_eq!(world.settle(), 1);
    assert_eq!(world.rows(), 0);
    assert_eq!(world.scan(1, 0, None).unwrap()[0].3.len(), 1 << 20);
}

#[test]
fn entries_are_in_a_segment_as_they_were_in_the_table() {
    let world = World::new();
    world.append(1, 1, 400);
    let table = {
        let (txn, mut all) = (world.store.env.read().unwrap(), Vec::new());
        txn.scan(Table::Log, &[], &mut |_, value| {
            all.push(value.to_vec());
            Ok(true)
        })
        .unwrap();
        all.concat()
    };
    world.settle();
    let segment = fs::read(world.dir.path().join("segments").join(file_name(0))).unwrap();
    assert!(super::check(&segment).is_ok());
    // A single commit is a single block here as there: header, entries, checksums.
    assert!(segment.starts_with(&table));
}
