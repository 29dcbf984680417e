//! The committer's loop, called from the test's own thread.

use std::sync::{
    atomic::{AtomicU64, Ordering},
    mpsc,
};

use super::*;
use crate::{
    actors::{
        committer::{IngestOutcome, ingest::MAX_CLOCK_AHEAD_MS, writer::CHECKPOINT_EVENTS},
        fault::{Action, arm},
        storage::open::SubjectLog,
    },
    wire::{
        clock::Clock,
        event::EventType,
        frame,
        id::{Dot, SubjectId, XaeroID},
        record::Record,
    },
};

const NOW_MS: u64 = 1_700_000_000_000;

struct World {
    wall: Arc<AtomicU64>,
    committer: Loop,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wall = Arc::new(AtomicU64::new(NOW_MS));
        let committer = Self::open(&dir, &wall);
        Self { wall, committer, dir }
    }

    fn open(dir: &tempfile::TempDir, wall: &Arc<AtomicU64>) -> Loop {
        let store = Store::open(dir.path(), 64 << 20, None).unwrap();
        let writer = LogWriter::recover(Arc::clone(&store)).unwrap();
        let wall = Arc::clone(wall);
        Loop {
            store,
            writer,
            wall: Arc::new(move || wall.load(Ordering::Relaxed)),
            staged: Vec::new(),
            committed: false,
            look_at: None,
        }
    }

    /// As after a crash: nothing is written on the way out.
    fn restart(self) -> Self {
        let Self { wall, committer, dir } = self;
        drop(committer);
        let committer = Self::open(&dir, &wall);
        Self { wall, committer, dir }
    }

    fn log(&self, subject: u8) -> Arc<SubjectLog> {
        self.committer.store.log(SubjectId::from([subject; 32]), &format!("subject {subject}"))
    }

    fn submit(&mut self, log: &Arc<SubjectLog>, batch: Batch) -> Result<Outcome, StorageError> {
        let (tell, told) = mpsc::channel();
        let reply: Reply = Box::new(move |result| tell.send(result).unwrap());
        self.committer.commit(vec![Submission { log: Arc::clone(log), token: log.token() + 1, batch, reply }]);
        told.recv().unwrap()
    }

    fn ingest(&mut self, log: &Arc<SubjectLog>, frames: Vec<Vec<u8>>) -> Vec<IngestOutcome> {
        match self.submit(log, Batch::Foreign(Arc::new(frames))) {
            Ok(Outcome::Foreign(outcomes)) => outcomes,
            Ok(_) => panic!("another outcome"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn dot(seq: u64) -> Dot {
    Dot::new(XaeroID::from([9; 32]), seq)
}

fn frame_of(subject: u8, seq: u64, millis: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let record = Record {
        subject: SubjectId::from([subject; 32]),
        dot: dot(seq),
        clock: Clock::from_millis(millis),
        latest_ts: millis,
        deps: &[],
        event_type: EventType::ApplicationEvent(1),
        payload: b"x",
    };
    frame::encode_into(&mut out, &record).unwrap();
    out
}

#[test]
fn a_frame_is_said_to_wait_only_once_it_does_so_on_disk() {
    let mut world = World::new();
    let log = world.log(1);
    let scope = world.dir.path().to_string_lossy().into_owned();
    let fault = arm(Some(&scope), "committer.before_commit", Action::Panic, 1, 1);
    let outcomes = world.ingest(&log, vec![frame_of(1, 2, NOW_MS + 1)]);
    assert_eq!(fault.fired(), 1);
    assert_eq!(outcomes, [IngestOutcome::Waiting { dot: dot(2), missing: dot(1) }]);
    drop(log);
    let mut world = world.restart();
    let log = world.log(1);
    assert_eq!(world.ingest(&log, vec![frame_of(1, 1, NOW_MS)]), [IngestOutcome::Stored(dot(1))]);
    assert_eq!(log.count(), 2);
}

#[test]
fn a_batch_whose_commit_was_not_seen_to_end_is_not_stored_twice() {
    let mut world = World::new();
    let log = world.log(1);
    let scope = world.dir.path().to_string_lossy().into_owned();
    let _fault = arm(Some(&scope), "committer.after_commit", Action::Panic, 1, 1);
    assert_eq!(world.ingest(&log, vec![frame_of(1, 1, NOW_MS)]), [IngestOutcome::Stored(dot(1))]);
    assert_eq!((log.count(), log.token()), (1, 1));
}

#[test]
fn readers_see_a_commit_that_was_interrupted_after_its_checkpoint() {
    let mut world = World::new();
    let log = world.log(1);
    world.ingest(&log, vec![frame_of(1, 1, NOW_MS)]);
    let scope = world.dir.path().to_string_lossy().into_owned();
    let fault = arm(Some(&scope), "committer.after_commit", Action::Panic, 1, 1);
    let frames = (2..=CHECKPOINT_EVENTS).map(|seq| frame_of(1, seq, NOW_MS + seq)).collect();
    world.ingest(&log, frames);
    assert_eq!(fault.fired(), 1);
    assert_eq!(world.committer.writer.checkpoint, CHECKPOINT_EVENTS, "the checkpoint was part of it");
    assert_eq!(log.count(), CHECKPOINT_EVENTS);
}

#[test]
fn a_held_event_enters_when_its_time_has_come_and_the_log_s_holder_is_told() {
    let mut world = World::new();
    let (log, other) = (world.log(1), world.log(2));
    let ahead = NOW_MS + MAX_CLOCK_AHEAD_MS + 1_000;
    for (subject, log) in [(1, &log), (2, &other)] {
        let until_ms = NOW_MS + 1_000;
        assert_eq!(
            world.ingest(log, vec![frame_of(subject, 1, ahead)]),
            [IngestOutcome::Held { dot: dot(1), until_ms }]
        );
    }
    let (tell, told) = mpsc::channel();
    log.set_grown(Arc::new(move || tell.send(()).unwrap()));
    world.committer.release_held();
    assert_eq!(log.count(), 0, "too early");
    world.wall.store(NOW_MS + 1_000, Ordering::Relaxed);
    world.committer.release_held();
    assert_eq!((log.count(), other.count()), (1, 1));
    assert_eq!(told.try_iter().count(), 1);
}

#[test]
fn an_event_held_before_a_restart_enters_when_its_subject_is_opened_in_time() {
    let mut world = World::new();
    let log = world.log(1);
    world.ingest(&log, vec![frame_of(1, 1, NOW_MS + MAX_CLOCK_AHEAD_MS + 1_000)]);
    drop(log);
    let mut world = world.restart();
    world.wall.store(NOW_MS + 1_000, Ordering::Relaxed);
    let log = world.log(1);
    world.submit(&log, Batch::Open).ok().unwrap();
    assert_eq!(log.count(), 1);
}

#[test]
fn a_subject_that_was_opened_too_early_for_its_held_event_gets_it_later() {
    let mut world = World::new();
    let log = world.log(1);
    world.ingest(&log, vec![frame_of(1, 1, NOW_MS + MAX_CLOCK_AHEAD_MS + 1_000)]);
    drop(log);
    let mut world = world.restart();
    let log = world.log(1);
    world.submit(&log, Batch::Open).ok().unwrap();
    assert_eq!(log.count(), 0);
    world.wall.store(NOW_MS + 1_000, Ordering::Relaxed);
    world.committer.release_held();
    assert_eq!(log.count(), 1);
}

#[test]
fn heads_of_subjects_that_nobody_holds_leave_memory_and_are_read_again() {
    let mut world = World::new();
    let (gone, kept) = (world.log(1), world.log(2));
    world.ingest(&gone, vec![frame_of(1, 1, NOW_MS)]);
    world.ingest(&kept, vec![frame_of(2, 1, NOW_MS)]);
    drop(gone);
    let mut txn = world.committer.store.env.write().unwrap();
    world.committer.writer.evict();
    assert_eq!(world.committer.writer.subjects.len(), 2, "both differ from what is on disk");
    world.committer.writer.write_checkpoint(&mut txn).unwrap();
    world.committer.writer.evict();
    drop(world.committer.store.commit(txn));
    assert_eq!(world.committer.writer.subjects.len(), 1);
    let gone = world.log(1);
    assert_eq!(world.ingest(&gone, vec![frame_of(1, 2, NOW_MS + 1)]), [IngestOutcome::Stored(dot(2))]);
    assert_eq!(gone.count(), 2);
}

#[test]
fn an_answer_that_panics_does_not_end_the_committer() {
    let mut world = World::new();
    let log = world.log(1);
    let reply: Reply = Box::new(|_| panic!("a waker"));
    let batch = Batch::Foreign(Arc::new(vec![frame_of(1, 1, NOW_MS)]));
    world.committer.commit(vec![Submission { log: Arc::clone(&log), token: 1, batch, reply }]);
    assert_eq!(world.ingest(&log, vec![frame_of(1, 2, NOW_MS + 1)]), [IngestOutcome::Stored(dot(2))]);
}
