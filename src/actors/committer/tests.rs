//! The committer's loop, called from the test's own thread.

use std::sync::{
    atomic::{AtomicU64, Ordering},
    mpsc,
};

use super::*;
use crate::{
    actors::{
        committer::{
            IngestOutcome, IngestRefusal,
            ingest::MAX_CLOCK_AHEAD_MS,
            submission::ForeignBatch,
            writer::{CHECKPOINT_EVENTS, CHECKPOINT_KEY},
        },
        fault::{Action, arm},
        mmr::projection,
        storage::{
            cursor::Cursor,
            cuts::Cuts,
            keys::{self, SubjectNumber},
            lmdb::{Reads, Table},
            open::{SubjectLog, snapshot_row},
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

pub(super) const NOW_MS: u64 = 1_700_000_000_000;

const MAP_SIZE: usize = 64 << 20;

fn foreign(frames: Vec<Vec<u8>>) -> Batch {
    Batch::Foreign(Arc::new(ForeignBatch { frames: frames.into(), ..ForeignBatch::default() }))
}

pub(super) struct World {
    pub(super) wall: Arc<AtomicU64>,
    pub(super) committer: Loop,
    pub(super) dir: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_map(MAP_SIZE)
    }

    pub(super) fn with_map(map_size: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wall = Arc::new(AtomicU64::new(NOW_MS));
        let committer = Self::open(&dir, &wall, map_size);
        Self { wall, committer, dir }
    }

    fn open(dir: &tempfile::TempDir, wall: &Arc<AtomicU64>, map_size: usize) -> Loop {
        let store = Store::open(dir.path(), map_size, None).unwrap();
        let writer = LogWriter::recover(Arc::clone(&store), None).unwrap();
        let wall = Arc::clone(wall);
        Loop {
            store,
            writer,
            wall: Arc::new(move || wall.load(Ordering::Relaxed)),
            keyring: None,
            signing: None,
            epoch: 0,
            parked: Vec::new(),
            store_at: None,
            sign_at: None,
            signing_pause: std::time::Duration::ZERO,
            staged: Vec::new(),
            committed: false,
            look_at: None,
            trim_at: None,
            heal_at: None,
            unhealed: hashbrown::HashSet::new(),
            healed: Vec::new(),
        }
    }

    /// As after a crash: nothing is written on the way out.
    pub(super) fn restart(self) -> Self {
        let Self { wall, committer, dir } = self;
        drop(committer);
        let committer = Self::open(&dir, &wall, MAP_SIZE);
        Self { wall, committer, dir }
    }

    pub(super) fn log(&self, subject: u8) -> Arc<SubjectLog> {
        self.committer.store.log(SubjectId::from([subject; 32]), &format!("subject {subject}"))
    }

    pub(super) fn submit(&mut self, log: &Arc<SubjectLog>, batch: Batch) -> Result<Outcome, StorageError> {
        let (tell, told) = mpsc::channel();
        let reply: Reply = Box::new(move |result| tell.send(result).unwrap());
        self.committer.commit(vec![Submission { log: Arc::clone(log), token: log.token() + 1, batch, reply }]);
        told.recv().unwrap()
    }

    pub(super) fn ingest(&mut self, log: &Arc<SubjectLog>, frames: Vec<Vec<u8>>) -> Vec<IngestOutcome> {
        match self.submit(log, foreign(frames)) {
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
    frame_with(subject, dot(seq), millis, &[], b"x")
}

pub(super) fn frame_with(subject: u8, dot: Dot, millis: u64, deps: &[Dot], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let record = Record {
        subject: SubjectId::from([subject; 32]),
        dot,
        clock: Clock::from_millis(millis),
        latest_ts: millis,
        deps,
        event_type: EventType::ApplicationEvent(1),
        payload,
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
    let batch = foreign(vec![frame_of(1, 1, NOW_MS)]);
    world.committer.commit(vec![Submission { log: Arc::clone(&log), token: 1, batch, reply }]);
    assert_eq!(world.ingest(&log, vec![frame_of(1, 2, NOW_MS + 1)]), [IngestOutcome::Stored(dot(2))]);
}

/// Flips the lowest bit of the last byte of a row.
fn damage(world: &World, table: Table, key: &[u8]) {
    let mut txn = world.committer.store.env.write().unwrap();
    let mut row = txn.get(table, key).unwrap().expect("there is such a row").to_vec();
    *row.last_mut().unwrap() ^= 1;
    txn.put(table, key, &row).unwrap();
    world.committer.store.commit(txn).unwrap();
}

#[test]
fn a_damaged_row_beside_the_log_is_an_error_and_never_another_log() {
    let mut world = World::new();
    let (log, other) = (world.log(1), world.log(2));
    // Both indexes have rows from the 64th event on; the other subject's events lie between.
    for seq in 1..=70 {
        world.ingest(&log, vec![frame_of(1, seq, NOW_MS + seq)]);
        world.ingest(&other, vec![frame_of(2, seq, NOW_MS + seq)]);
    }
    let read = |world: &World| world.committer.store.read(&log, 0, 60, &mut |_| Ok(true));
    read(&world).unwrap();
    damage(&world, Table::SubjectIndex, &keys::subject_index(SubjectNumber(0), 1));
    assert!(matches!(read(&world), Err(StorageError::DamagedRow { .. })));

    damage(&world, Table::AuthorIndex, &keys::author_index(SubjectNumber(0), 0, 1));
    let again = world.submit(&log, foreign(vec![frame_of(1, 64, NOW_MS + 64)]));
    assert!(matches!(again, Err(StorageError::DamagedRow { .. })));

    damage(&world, Table::SubjectNumbers, log.id.as_bytes());
    let recovered = LogWriter::recover(Arc::clone(&world.committer.store), None).map(drop);
    assert!(matches!(recovered, Err(StorageError::DamagedRow { .. })), "{recovered:?}");
}

#[test]
fn a_damaged_checkpoint_is_an_error() {
    let mut world = World::new();
    let log = world.log(1);
    world.ingest(&log, vec![frame_of(1, 1, NOW_MS)]);
    world.committer.close();
    damage(&world, Table::Meta, CHECKPOINT_KEY);
    let recovered = LogWriter::recover(Arc::clone(&world.committer.store), None).map(drop);
    assert!(matches!(recovered, Err(StorageError::DamagedRow { .. })), "{recovered:?}");
}

#[test]
fn a_damaged_snapshot_is_not_read() {
    let mut world = World::new();
    let log = world.log(1);
    world.ingest(&log, vec![frame_of(1, 1, NOW_MS)]);
    let key = keys::snapshot(SubjectNumber(0), &[5; 32]);
    let row = Arc::new(snapshot_row(&key, 1, b"state"));
    world.submit(&log, Batch::Snapshot { fold: [5; 32], row, cuts: Cuts::default() }).ok().unwrap();
    let read = |world: &World| world.committer.store.snapshot(&log, &[5; 32]);
    assert_eq!(read(&world).unwrap(), Some((1, b"state".to_vec())));
    damage(&world, Table::Snapshots, &keys::snapshot(SubjectNumber(0), &[5; 32]));
    assert!(matches!(read(&world), Err(StorageError::DamagedRow { .. })));
}

#[test]
fn a_cursor_and_its_state_are_read_back_until_they_are_forgotten_and_a_damaged_one_is_an_error() {
    let mut world = World::new();
    let log = world.log(1);
    world.ingest(&log, vec![frame_of(1, 1, NOW_MS)]);
    let put = |world: &mut World, name: &str, covered, state: Option<&[u8]>| {
        let cursor = Arc::new(Cursor { name: name.to_owned(), covered, state: state.map(Arc::from) });
        let batch = Batch::Cursor { name: Cursor::name_key(name), cursor: Some(Arc::clone(&cursor)) };
        world.submit(&log, batch).ok().unwrap();
        cursor
    };
    let first = put(&mut world, "b", 1, Some(b"state"));
    let second = put(&mut world, "a", 0, None);
    // Another subject's table of names is its own.
    let other = world.log(2);
    world.ingest(&other, vec![frame_of(2, 1, NOW_MS)]);
    let read = |world: &World, name| world.committer.store.cursor(&log, name);
    assert_eq!(read(&world, "b").unwrap().as_ref(), Some(&*first));
    assert_eq!(read(&world, "a").unwrap().as_ref(), Some(&*second));
    assert_eq!(read(&world, "c").unwrap(), None);
    assert_eq!(world.committer.store.cursor_names(&log).unwrap(), ["a", "b"]);
    assert_eq!(world.committer.store.cursor(&other, "a").unwrap(), None);
    assert!(world.committer.store.cursor_names(&other).unwrap().is_empty());
    damage(&world, Table::Cursors, &keys::cursor(SubjectNumber(0), &Cursor::name_key("b")));
    assert!(matches!(read(&world, "b"), Err(StorageError::DamagedRow { table: "cursors", .. })));
    assert!(matches!(world.committer.store.cursor_names(&log), Err(StorageError::DamagedRow { .. })));
    world.submit(&log, Batch::Cursor { name: Cursor::name_key("b"), cursor: None }).ok().unwrap();
    assert_eq!(read(&world, "b").unwrap(), None);
    assert_eq!(world.committer.store.cursor_names(&log).unwrap(), ["a"]);
}

#[test]
fn another_event_with_the_dot_of_one_that_waits_is_a_fork_and_not_said_to_wait() {
    let mut world = World::new();
    let log = world.log(1);
    let waits = IngestOutcome::Waiting { dot: dot(2), missing: dot(1) };
    let first = frame_of(1, 2, NOW_MS + 1);
    assert_eq!(world.ingest(&log, vec![first.clone(), first]), [waits, IngestOutcome::StillWaiting(dot(2))]);
    let outcomes = world.ingest(&log, vec![frame_of(1, 2, NOW_MS + 2)]);
    assert!(matches!(outcomes[..], [IngestOutcome::Refused(IngestRefusal::Fork { .. })]), "{outcomes:?}");
}

/// Commits one group that has a submission of its own subject for each: `true` where it is too large for the map, `false`
/// where it is small. Says which were stored, and whether a subject could be opened after them all.
fn stored_of(group: &[bool]) -> (Vec<bool>, bool) {
    let mut world = World::new();
    let small_map = tempfile::tempdir().unwrap();
    world.committer = World::open(&small_map, &world.wall, 1 << 20);
    world.dir = small_map;
    let (tell, told) = mpsc::channel();
    let mut submissions = Vec::new();
    for (subject, is_large) in (1..).zip(group) {
        let payload = vec![7; if *is_large { 1 << 20 } else { 1 }];
        let batch = foreign(vec![frame_with(subject, dot(1), NOW_MS, &[], &payload)]);
        let tell = tell.clone();
        let reply: Reply = Box::new(move |result| tell.send(result).unwrap());
        submissions.push(Submission { log: world.log(subject), token: 1, batch, reply });
    }
    let reply: Reply = Box::new(move |result| tell.send(result).unwrap());
    submissions.push(Submission { log: world.log(200), token: 0, batch: Batch::Open, reply });
    let tokens: Vec<_> = submissions.iter().map(|submission| Arc::clone(&submission.log)).collect();
    world.committer.commit(submissions);
    assert!(tokens.iter().zip(group).all(|(log, _)| log.token() == 1), "each is dealt with");
    let mut stored: Vec<bool> = told
        .iter()
        .map(|result| match result {
            Ok(_) => true,
            Err(StorageError::MapFull { .. }) => false,
            Err(other) => panic!("{other}"),
        })
        .collect();
    let opened = stored.pop().unwrap();
    for (is_stored, log) in stored.iter().zip(&tokens) {
        assert_eq!(log.count(), u64::from(*is_stored));
    }
    (stored, opened)
}

#[test]
fn after_some_refusals_in_a_row_the_rest_of_a_group_is_refused_untried() {
    let large = [true; REFUSALS_IN_A_ROW];
    let group = [large.as_slice(), &[false, true, false]].concat();
    assert_eq!(stored_of(&group), (vec![false; REFUSALS_IN_A_ROW + 3], true));
}

#[test]
fn a_success_between_refusals_has_the_rest_of_a_group_tried() {
    let large = [true; REFUSALS_IN_A_ROW - 1];
    let group = [large.as_slice(), &[false], &large, &[false]].concat();
    let expected: Vec<bool> = group.iter().map(|is_large| !is_large).collect();
    assert_eq!(stored_of(&group), (expected, true));
}

fn blocks(world: &World) -> usize {
    let mut blocks = 0;
    let txn = world.committer.store.env.read().unwrap();
    txn.scan(Table::Log, &[], &mut |_, _| {
        blocks += 1;
        Ok(true)
    })
    .unwrap();
    blocks
}

/// An event of another author than `dot`'s, that follows an event of that one.
fn reply_to(seq: u64, cause: u64, millis: u64) -> Vec<u8> {
    frame_with(1, Dot::new(XaeroID::from([8; 32]), seq), millis, &[dot(cause)], b"y")
}

#[test]
fn events_whose_causes_must_be_looked_up_are_packed_like_others() {
    let mut world = World::new();
    let log = world.log(1);
    // All of one author first. Then those of the other, each with a clock below the newest of the log and a cause that is
    // not the newest of its author, so that its clock must be read from the log.
    let first = (1..=500).map(|seq| frame_of(1, seq, NOW_MS + 2 * seq));
    let second = (1..=500).map(|seq| reply_to(seq, seq.min(499), NOW_MS + 2 * seq + 1));
    // The last frame's cause is of a higher clock, and is found among what the same call brings.
    let wrong = reply_to(501, 400, NOW_MS + 2);
    let frames: Vec<_> = first.chain(second).chain([wrong]).collect();
    let mut outcomes = world.ingest(&log, frames.clone());
    let last = outcomes.pop().unwrap();
    assert!(matches!(last, IngestOutcome::Refused(IngestRefusal::ClockBelowCause { .. })), "{last:?}");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, IngestOutcome::Stored(_))));
    assert_eq!(log.count(), 1_000);
    assert!(blocks(&world) <= 2, "{} blocks", blocks(&world));

    let mut read = Vec::new();
    world
        .committer
        .store
        .read(&log, 0, 2_000, &mut |stored| {
            read.push(stored.frame.to_vec());
            Ok(true)
        })
        .unwrap();
    assert_eq!(read, frames[..1_000]);
}

#[test]
fn what_the_same_call_brought_before_is_found_as_what_is_on_disk() {
    let mut world = World::new();
    let log = world.log(1);
    // So many that the author's index has rows for what is written and for what is not.
    world.ingest(&log, (1..=100).map(|seq| frame_of(1, seq, NOW_MS + seq)).collect());
    let mut frames: Vec<_> = (101..=300).map(|seq| frame_of(1, seq, NOW_MS + seq)).collect();
    let seen = [1, 64, 65, 99, 100, 101, 127, 128, 129, 192, 256, 257, 299, 300];
    frames.extend(seen.map(|seq| frame_of(1, seq, NOW_MS + seq)));
    frames.extend(seen.map(|seq| frame_of(1, seq, NOW_MS + seq + 1_000)));
    let outcomes = world.ingest(&log, frames);
    let (again, forks) = outcomes[200..].split_at(seen.len());
    assert_eq!(again, seen.map(|seq| IngestOutcome::Duplicate(dot(seq))));
    for (outcome, seq) in forks.iter().zip(seen) {
        let IngestOutcome::Refused(IngestRefusal::Fork { dot: forked, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(*forked, dot(seq));
    }
    assert_eq!(blocks(&world), 2);
}

#[test]
fn one_step_of_the_tree_s_projection_takes_the_rows_of_many_authors() {
    let mut world = World::new();
    let log = world.log(1);
    for author in 1..=10 {
        let dot = |seq| Dot::new(XaeroID::from([author; 32]), seq);
        let frames = (1..=64).map(|seq| frame_with(1, dot(seq), NOW_MS + seq, &[], b"x")).collect();
        world.ingest(&log, frames);
    }
    let number = log.published().number.unwrap();
    let step = projection::step(&world.committer.store, number).unwrap();
    assert_eq!(step.rows.len(), 10);
    world.submit(&log, Batch::Nodes(Arc::new(step.rows))).unwrap();
    assert!(projection::step(&world.committer.store, number).unwrap().rows.is_empty());
}

#[test]
fn what_is_signed_takes_the_place_of_a_forgery_that_waits() {
    let mut world = World::new();
    let log = world.log(1);
    let [forged, signed] = [b"forged", b"signed"].map(|text| frame_with(1, dot(2), NOW_MS + 1, &[], text));
    let waits = [IngestOutcome::Waiting { dot: dot(2), missing: dot(1) }];
    assert_eq!(world.ingest(&log, vec![forged.clone()]), waits);
    let batch = ForeignBatch { frames: vec![signed.clone()].into(), is_verified: true, ..ForeignBatch::default() };
    match world.submit(&log, Batch::Foreign(Arc::new(batch))) {
        Ok(Outcome::Foreign(outcomes)) => assert_eq!(outcomes, waits),
        _ => panic!("another outcome"),
    }
    // And not the other way round.
    assert!(matches!(world.ingest(&log, vec![forged])[..], [IngestOutcome::Refused(IngestRefusal::Fork { .. })]));
    assert_eq!(world.ingest(&log, vec![frame_of(1, 1, NOW_MS)]), [IngestOutcome::Stored(dot(1))]);
    assert_eq!(world.ingest(&log, vec![signed]), [IngestOutcome::Duplicate(dot(2))]);
}
