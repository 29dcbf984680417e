//! The signing of heads beside the commits, what goes wrong included.

use std::{sync::mpsc, time::Duration};

use super::{tests::*, *};
use crate::{
    actors::{
        committer::{IngestOutcome, heads::KnownHead, submission::ForeignBatch},
        fault::{Action, arm},
        signing::thread::{Job, sign},
        storage::open::SubjectLog,
    },
    wire::{
        head::{HeadBatch, LogHead},
        id::{Dot, XaeroID},
    },
};

/// Longer than anything here takes that ends at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// A committer with a keyring, and an author whose events came from elsewhere with a signed head.
struct Scene {
    world: World,
    keys: tempfile::TempDir,
    log: Arc<SubjectLog>,
    author: XaeroID,
    elsewhere: Keyring,
}

impl Scene {
    fn new() -> Self {
        Self::of(World::new())
    }

    fn of(mut world: World) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let elsewhere = Keyring::open(keys.path().join("elsewhere")).unwrap();
        let author = elsewhere.create("alice").unwrap();
        elsewhere.export("alice", &keys.path().join("alice.key")).unwrap();
        let keyring = Arc::new(Keyring::open(keys.path().join("keys")).unwrap());
        world.committer.writer.keyring = Some(Arc::clone(&keyring));
        world.committer.keyring = Some(keyring);
        let log = world.log(1);
        Self { world, keys, log, author, elsewhere }
    }

    fn keyring(&self) -> Arc<Keyring> {
        self.world.committer.keyring.clone().unwrap()
    }

    fn import_key(&self) {
        self.keyring().import("alice", &self.keys.path().join("alice.key")).unwrap();
    }

    /// An event of the author that a signed head covers, which is not here.
    fn take(&mut self, seq: u64) {
        assert!(self.try_take(1, seq, 1));
    }

    /// The same with so many bytes, in any subject. `false` where there is no room for it.
    fn try_take(&mut self, subject: u8, seq: u64, bytes: usize) -> bool {
        let frames = vec![frame_with(subject, Dot::new(self.author, seq), NOW_MS + seq, &[], &vec![b'x'; bytes])];
        let batch = ForeignBatch { frames: frames.into(), is_verified: true, ..ForeignBatch::default() };
        let log = self.world.log(subject);
        match self.world.submit(&log, Batch::Foreign(Arc::new(batch))) {
            Ok(_) => true,
            Err(StorageError::MapFull { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn known(&mut self) -> KnownHead {
        let store = Arc::clone(&self.world.committer.store);
        let txn = store.env.read().unwrap();
        self.world.committer.writer.known_head(&txn, self.log.id, self.author).unwrap()
    }

    fn job(&mut self) -> Option<Job> {
        let (keyring, epoch) = (self.keyring(), self.world.committer.epoch);
        self.world.committer.writer.signing_job(&keyring, epoch)
    }

    /// Has the loop run with its signing thread, deal with this first, and asks it for a head over so many events.
    fn ask(self, first: Vec<Batch>, length: u64) -> KnownHead {
        let (keyring, Self { world, keys: _keys, log, author, .. }) = (self.keyring(), self);
        let World { mut committer, dir: _dir, .. } = world;
        let (inbox, messages) = unbounded();
        let back = inbox.clone();
        let tell = Box::new(move |done| drop(back.send(Message::Signed(done))));
        committer.signing = Some(Signing::start(keyring, "asked".to_owned(), tell).unwrap());
        let (tell, told) = mpsc::channel();
        let reply: Reply = Box::new(move |answer| tell.send(answer).unwrap());
        let question = Submission { log: Arc::clone(&log), token: 0, batch: Batch::Head { author, length }, reply };
        let thread = std::thread::spawn(move || committer.run(&messages));
        for batch in first {
            let (tell, told) = mpsc::channel();
            let reply: Reply = Box::new(move |_| tell.send(()).unwrap());
            assert!(inbox.send(Message::Submit(Submission { log: Arc::clone(&log), token: 0, batch, reply })).is_ok());
            told.recv_timeout(PATIENCE).unwrap();
        }
        assert!(inbox.send(Message::Submit(question)).is_ok());
        let answer = told.recv_timeout(PATIENCE);
        assert!(inbox.send(Message::Stop).is_ok());
        thread.join().unwrap();
        match answer {
            Ok(Ok(Outcome::Head(known))) => *known,
            Ok(_) => panic!("another outcome"),
            Err(_) => panic!("the question was not answered"),
        }
    }
}

#[test]
fn a_log_whose_authors_key_came_after_its_events_is_signed_when_it_is_asked_for() {
    let mut scene = Scene::new();
    scene.take(1);
    scene.take(2);
    scene.import_key();
    assert_eq!(scene.ask(Vec::new(), 2).signed_length(), 2);
}

#[test]
fn what_was_signed_and_not_stored_when_the_writer_was_made_anew_is_signed_again() {
    let mut scene = Scene::new();
    scene.import_key();
    scene.take(1);
    let job = scene.job().unwrap();
    let done = sign(&scene.keyring(), job);
    scene.world.committer.take_signed(done);
    let scope = scene.world.committer.writer.scope.clone();
    let fault = arm(Some(&scope), "committer.received", Action::Panic, 1, 4);
    assert_eq!(scene.ask(vec![Batch::Logs], 1).signed_length(), 1);
    assert_eq!(fault.fired(), 4);
}

#[test]
fn what_a_job_that_panicked_did_not_bring_back_is_part_of_the_next() {
    let mut scene = Scene::new();
    scene.import_key();
    scene.take(1);
    let job = scene.job().unwrap();
    scene.take(2);
    let done = sign(&scene.keyring(), job);
    scene.world.committer.take_signed(done);
    // The log's first signature is not stored yet when the second fails.
    let epoch = scene.job().unwrap().epoch;
    scene.world.committer.take_signed(Done { epoch, batches: Vec::new(), failed: Vec::new() });
    let job = scene.job().unwrap();
    assert_eq!(job.heads[0].1[0].peaks.len(), 2);
}

#[test]
fn a_head_from_elsewhere_is_known_after_a_crash_though_its_subject_was_not_replayed() {
    let mut scene = Scene::new();
    scene.take(1);
    scene.take(2);
    let store = Arc::clone(&scene.world.committer.store);
    let mut txn = store.env.write().unwrap();
    scene.world.committer.writer.write_checkpoint(&mut txn).unwrap();
    store.commit(txn).unwrap();
    let tree = &scene.known().peaks;
    let head = LogHead { subject: scene.log.id, author: scene.author, length: tree.len(), root: tree.root() };
    let batch = HeadBatch::sign(&*scene.elsewhere.signer(scene.author).unwrap(), vec![head]).unwrap();
    let heads = vec![batch.signed_head(0).unwrap()];
    let log = Arc::clone(&scene.log);
    let batch = Batch::Foreign(Arc::new(ForeignBatch { heads, ..ForeignBatch::default() }));
    assert!(scene.world.submit(&log, batch).is_ok());
    assert_eq!(scene.known().signed_length(), 2);
    drop((log, store));
    let Scene { world, log, keys: _keys, author, elsewhere } = scene;
    drop(log);
    let world = world.restart();
    let mut scene = Scene { log: world.log(1), world, keys: _keys, author, elsewhere };
    assert_eq!(scene.known().signed_length(), 2);
    assert!(scene.world.committer.writer.subjects[&scene.log.id].dirty);
}

#[test]
fn what_was_not_signed_when_a_node_without_signing_came_between_is_signed_afterwards() {
    let mut scene = Scene::new();
    scene.import_key();
    scene.take(1);
    let keyring = scene.keyring();
    let Scene { world, log, keys: _keys, .. } = scene;
    drop(log);
    // The process ends before anything is signed; then comes one that does not sign.
    let mut world = world.restart();
    world.committer.writer.keeps_trees = false;
    world.committer.writer.abandon_trees().unwrap();
    world.committer.close();
    let mut world = world.restart();
    world.committer.writer =
        LogWriter::recover(Arc::clone(&world.committer.store), Some(Arc::clone(&keyring))).unwrap();
    world.committer.writer.complete_trees().unwrap();
    let job = world.committer.writer.signing_job(&keyring, 0).unwrap();
    assert_eq!(job.heads[0].1[0].peaks.len(), 1);
}

#[test]
fn a_signature_that_there_is_no_room_for_refuses_nobody_and_is_not_forgotten() {
    let mut scene = Scene::of(World::with_map(1 << 20));
    // One signature over so many heads takes several pages.
    let subjects = 1..=200;
    let logs: Vec<_> = subjects.clone().map(|subject| scene.world.log(subject)).collect();
    assert!(subjects.clone().all(|subject| scene.try_take(subject, 1, 1)));
    let mut length = 1;
    for bytes in [8 << 10, 1_000, 1] {
        while scene.try_take(1, length + 1, bytes) {
            length += 1;
        }
    }
    scene.import_key();
    assert_eq!(scene.known().signed_length(), 0);
    logs.iter().for_each(|log| scene.world.committer.writer.want_signed(log.id, scene.author));
    let job = scene.job().unwrap();
    let done = sign(&scene.keyring(), job);
    scene.world.committer.take_signed(done);
    for _ in 0..2 {
        // Who only asks is answered, and sees what is signed.
        let log = Arc::clone(&scene.log);
        assert!(scene.world.submit(&log, Batch::Open).is_ok());
        assert!(scene.world.committer.writer.heads.has_ready(), "there was room for it");
        assert_eq!(scene.known().signed_length(), length);
        assert!(scene.job().is_none(), "it is signed once");
    }
    // The next attempt comes by itself, and as long as it fails nothing is lost either.
    assert!(scene.world.committer.store_at.is_some());
    scene.world.committer.writer.heads.hold(false);
    scene.world.committer.commit(Vec::new());
    assert_eq!(scene.known().signed_length(), length);
}

#[test]
fn what_waited_in_an_authors_name_is_let_go_once_the_authors_key_is_here() {
    let mut scene = Scene::new();
    let forged = frame_with(1, Dot::new(scene.author, 2), NOW_MS + 2, &[], b"forged");
    let log = Arc::clone(&scene.log);
    let outcomes = scene.world.ingest(&log, vec![forged]);
    assert!(matches!(outcomes[..], [IngestOutcome::Waiting { .. }]), "{outcomes:?}");
    scene.import_key();
    scene.take(1);
    assert_eq!(log.count(), 1);
    scene.take(2);
    assert_eq!(scene.ask(Vec::new(), 2).signed_length(), 2);
}
