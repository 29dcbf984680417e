//! Storage that fails: full, damaged, cut short, from the future, not ours to write. Each gets a clear error, and what
//! was acknowledged is there afterwards.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
};

use fault_kit::{PATIENCE, child, holds, log_of, notice, payloads_of};
use xaeroflux::{Acknowledged, Error, Node, Notice, PublishError, StorageError, Subject, XaeroEvent};

const MIB: u64 = 1 << 20;

fn open(dir: &Path) -> Result<Node, Error> {
    Node::builder().data_dir(dir).build()
}

/// What was acknowledged, with its payload.
type Acks = Vec<(Acknowledged, Vec<u8>)>;

fn payload(n: u32, bytes: usize) -> Vec<u8> {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(bytes.max(4), n.to_le_bytes()[0]);
    payload
}

/// Publishes events of this size, a few at a time, until one is not stored; returns why.
fn publish_until_refused(subject: &Subject, bytes: usize, acks: &mut Acks) -> PublishError {
    for first in (0..100_000_u32).step_by(4) {
        let payloads: Vec<Vec<u8>> = (first..first + 4).map(|n| payload(n, bytes)).collect();
        let receipts = subject.publish_all(payloads.iter().map(|payload| XaeroEvent::new(payload.clone(), 7)));
        let mut refused = None;
        for (receipt, payload) in receipts.into_iter().zip(payloads) {
            match receipt.wait_timeout(PATIENCE).expect("a receipt hangs") {
                Ok(ack) => acks.push((ack, payload)),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            return error;
        }
    }
    panic!("it was never full");
}

fn assert_all_there(subject: &Subject, acks: &Acks) {
    let log = log_of(subject);
    assert_eq!(log.len(), acks.len(), "what was refused is not there, what was acknowledged is");
    for (ack, payload) in acks {
        assert!(holds(&log, ack, payload), "{ack}");
    }
}

// Full.

#[test]
fn a_full_map_refuses_loudly_and_a_larger_one_goes_on_with_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut acks = Acks::new();
    {
        let node = Node::builder().data_dir(dir.path()).map_size(MIB).build().unwrap();
        let subject = node.subject("s");
        let (tell, told) = mpsc::channel();
        let _subscription = subject.subscribe(move |event| tell.send(event.evt.data).unwrap());
        let handle = subject.run().unwrap();
        let refused = publish_until_refused(&subject, 8 << 10, &mut acks);
        assert!(matches!(refused, PublishError::StorageFull { map_size } if map_size == MIB), "{refused:?}");
        assert!(refused.to_string().contains("larger map size"));
        assert!(acks.len() > 20);
        // Reading goes on, for those who come and for those who follow.
        assert_all_there(&subject, &acks);
        for (_, payload) in &acks {
            assert_eq!(&told.recv_timeout(PATIENCE).unwrap(), payload);
        }
        // What nobody has a receipt for is a dead letter.
        let notices = subject.notices();
        subject.data.sink.tx.send(XaeroEvent::new(vec![1; 512 << 10], 7)).unwrap();
        notice(&notices, "set aside", |notice| matches!(notice, Notice::SetAside { events: 1, .. }).then_some(()));
        assert_eq!(subject.dead_letters().len(), 1);
        // A small event may still fit; if it does, it counts.
        if let Ok(ack) = subject.publish(XaeroEvent::new("small", 7)).wait() {
            acks.push((ack, b"small".to_vec()));
        }
        assert!(handle.failure().is_none(), "the subject is well");
    }
    let node = Node::builder().data_dir(dir.path()).map_size(64 * MIB).build().unwrap();
    let subject = node.subject("s");
    assert_all_there(&subject, &acks);
    let _handle = subject.run().unwrap();
    for n in 0..200 {
        let payload = payload(n, 8 << 10);
        acks.push((subject.publish(XaeroEvent::new(payload.clone(), 7)).wait().unwrap(), payload));
    }
    assert_all_there(&subject, &acks);
}

/// A small file system of its own.
struct Tmpfs {
    dir: PathBuf,
    _parent: tempfile::TempDir,
}

impl Tmpfs {
    /// `None`, loudly, where this may not mount.
    fn mount(test: &str, kib: u64) -> Option<Self> {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("small");
        fs::create_dir(&dir).unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"], &dir);
        if !mounted {
            println!("SKIPPED: {test}: a file system of its own cannot be mounted here (it takes root)");
            eprintln!("SKIPPED: {test}: a file system of its own cannot be mounted here (it takes root)");
            return None;
        }
        Some(Self { dir, _parent: parent })
    }

    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], &self.dir));
    }
}

fn mount(options: &[&str], dir: &Path) -> bool {
    Command::new("mount").args(options).arg(dir).output().is_ok_and(|output| output.status.success())
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a test that failed may still hold files open.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).output();
    }
}

/// Fills a small disk with events of this size, makes room, and goes on.
fn fill_a_disk(test: &str, bytes: usize) {
    let Some(disk) = Tmpfs::mount(test, 3 << 10) else { return };
    let dir = disk.dir.join("data");
    let ballast = disk.dir.join("ballast");
    let mut acks = Acks::new();
    {
        let node = open(&dir).unwrap();
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        // Three times full, each time with more room after it.
        for round in 0..3_u32 {
            fs::write(&ballast, vec![0; (768 - round as usize * 256) << 10]).unwrap();
            let refused = publish_until_refused(&subject, bytes, &mut acks);
            assert!(matches!(refused, PublishError::DiskFull), "{refused:?}");
            assert!(refused.to_string().contains("free some space"));
            assert!(handle.failure().is_none(), "the subject is well");
            assert_all_there(&subject, &acks);
            fs::remove_file(&ballast).unwrap();
            let payload = payload(round, bytes);
            let ack = subject.publish(XaeroEvent::new(payload.clone(), 7)).wait();
            acks.push((ack.expect("there is room again, and no restart was needed"), payload));
        }
    }
    let node = open(&dir).unwrap();
    assert_all_there(&node.subject("s"), &acks);
}

#[test]
fn a_full_disk_refuses_loudly_and_goes_on_when_there_is_room_small_events() {
    fill_a_disk("full disk, small events", 200);
}

#[test]
fn a_full_disk_refuses_loudly_and_goes_on_when_there_is_room_events_of_pages() {
    fill_a_disk("full disk, events of pages", 10_000);
}

#[test]
fn a_full_disk_refuses_loudly_and_goes_on_when_there_is_room_large_events() {
    fill_a_disk("full disk, large events", 60_000);
}

// A failed sync.

#[test]
#[cfg(debug_assertions)]
fn a_failed_sync_poisons_the_node_and_what_was_acknowledged_is_there_in_the_next() {
    use xaeroflux::actors::fault::{Action, arm};

    let dir = tempfile::tempdir().unwrap();
    let mut acks = Acks::new();
    {
        let node = open(dir.path()).unwrap();
        let (subject, other) = (node.subject("s"), node.subject("t"));
        let (handle, other_handle) = (subject.run().unwrap(), other.run().unwrap());
        let notices = subject.notices();
        for n in 0..10 {
            let payload = payload(n, 100);
            acks.push((subject.publish(XaeroEvent::new(payload.clone(), 7)).wait().unwrap(), payload));
        }
        let guard = arm(Some(&dir.path().to_string_lossy()), "committer.commit_fails", Action::Fail, 1, 1);
        let failed = subject.publish(XaeroEvent::new("lost", 7)).wait_timeout(PATIENCE).unwrap().unwrap_err();
        assert!(matches!(&failed, PublishError::Poisoned { reason } if reason.contains("fsync")), "{failed:?}");
        assert_eq!(guard.fired(), 1, "it fails once, and the node does not try again");
        let reason = fault_kit::in_time("wait", move || handle.wait().map(|()| handle)).unwrap_err();
        assert!(matches!(&reason, Error::Failed { reason } if reason.contains("fsync")), "{reason}");
        notice(&notices, "escalated", |notice| matches!(notice, Notice::Escalated { .. }).then_some(()));
        // Every other subject of the node learns it with its next event, and none can be run any more.
        let elsewhere = other.publish(XaeroEvent::new("lost", 7)).wait_timeout(PATIENCE).unwrap();
        assert!(matches!(elsewhere, Err(PublishError::Poisoned { .. })), "{elsewhere:?}");
        assert!(other_handle.wait().is_err());
        assert!(matches!(node.subject("u").run(), Err(Error::Storage(StorageError::Poisoned { .. }))));
    }
    let node = open(dir.path()).unwrap();
    let subject = node.subject("s");
    assert_all_there(&subject, &acks);
    let _handle = subject.run().unwrap();
    assert_eq!(subject.publish(XaeroEvent::new("again", 7)).wait().unwrap().seq, 11);
}

// Damage.

const MARK: &[u8] = b"this very payload is what the test looks for in the file";

/// A directory with events of two subjects, the marked one in the middle of one of them.
fn with_a_marked_event(dir: &Path) {
    let node = open(dir).unwrap();
    let (subject, other) = (node.subject("damaged"), node.subject("whole"));
    let _handles = (subject.run().unwrap(), other.run().unwrap());
    for n in 0..100 {
        subject.publish(XaeroEvent::new(payload(n, 300), 7)).wait().unwrap();
        other.publish(XaeroEvent::new(payload(n, 300), 7)).wait().unwrap();
        if n == 49 {
            subject.publish(XaeroEvent::new(MARK, 7)).wait().unwrap();
        }
    }
}

fn data_file(dir: &Path) -> PathBuf {
    dir.join("data.mdb")
}

/// Flips bits in every copy of the marked payload that the file has.
fn damage_the_mark(dir: &Path) {
    let mut bytes = fs::read(data_file(dir)).unwrap();
    let places: Vec<usize> = (0..bytes.len() - MARK.len()).filter(|at| bytes[*at..].starts_with(MARK)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 10] ^= 0x40;
    }
    fs::write(data_file(dir), bytes).unwrap();
}

#[test]
fn a_damaged_event_is_reported_with_its_position_and_harms_no_other_subject() {
    let dir = tempfile::tempdir().unwrap();
    with_a_marked_event(dir.path());
    damage_the_mark(dir.path());
    let node = open(dir.path()).unwrap();
    let (subject, other) = (node.subject("damaged"), node.subject("whole"));
    let mut before = 0;
    let damage = subject.for_each_archived(xaeroflux::ScanWindow::ALL, |_| {
        before += 1;
        true
    });
    // Each subject has an event in turn, so the marked one is number 100 of the node.
    assert!(matches!(damage, Err(Error::Storage(StorageError::DamagedEvent { position: 100, .. }))), "{damage:?}");
    assert_eq!(before, 50, "what comes before it is readable");
    assert_eq!(log_of(&other).len(), 100);
    let _other = other.run().unwrap();
    assert_eq!(other.publish(XaeroEvent::new("more", 7)).wait().unwrap().seq, 101);
    assert_eq!(payloads_of(&other)[100], b"more");
    // A subscriber that comes to it loses its subscription, and is told why.
    let notices = subject.notices();
    let subscription = subject.subscribe_with(xaeroflux::SubscribeOptions::new().from_start(), |_| {});
    let _handle = subject.run().unwrap();
    let reason = notice(&notices, "the subscription failed", |notice| match notice {
        Notice::SubscriptionFailed { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("position 100"), "{reason}");
    assert!(subscription.wait_until_ended(PATIENCE));
    // The subject itself takes events: those behind the damage are as durable as any.
    assert_eq!(subject.publish(XaeroEvent::new("more", 7)).wait().unwrap().seq, 102);
}

/// Opening must fail, with this error, and must not change a byte.
fn assert_refused(dir: &Path, is: impl Fn(&StorageError) -> bool, says: &str) {
    let before = fs::read(data_file(dir)).ok();
    match open(dir) {
        Err(Error::Storage(error)) => {
            assert!(is(&error), "{error:?}");
            assert!(error.to_string().contains(says), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(data_file(dir)).ok(), before, "nothing was changed");
}

#[test]
fn a_damaged_meta_page_is_refused_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    with_a_marked_event(dir.path());
    let whole = fs::read(data_file(dir.path())).unwrap();
    // On either meta page: the magic, the version, the page size, the root of the main table, the last page.
    for page in [0, 4096] {
        for (at, value) in [(16, 0x00), (20, 0x77), (40, 0x03), (134, 0x55), (142, 0x55)] {
            let mut bytes = whole.clone();
            bytes[page + at] ^= value;
            if bytes == whole {
                bytes[page + at] ^= 0xff;
            }
            fs::write(data_file(dir.path()), bytes).unwrap();
            let damaged = |error: &StorageError| {
                matches!(error, StorageError::DamagedFile { .. } | StorageError::Truncated { .. })
            };
            assert_refused(dir.path(), damaged, "restore it from a backup");
        }
    }
    fs::write(data_file(dir.path()), &whole).unwrap();
    assert_eq!(open(dir.path()).unwrap().subject("damaged").count().unwrap(), 101, "the backup works");
}

#[test]
fn a_data_file_that_was_cut_short_is_refused_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    with_a_marked_event(dir.path());
    let whole = fs::read(data_file(dir.path())).unwrap();
    for length in [whole.len() / 2, 8192, 5000, 100] {
        fs::write(data_file(dir.path()), &whole[..length]).unwrap();
        assert_refused(dir.path(), |error| matches!(error, StorageError::Truncated { .. }), "restore it from a backup");
    }
    fs::write(data_file(dir.path()), &whole).unwrap();
    assert_eq!(open(dir.path()).unwrap().subject("damaged").count().unwrap(), 101, "the backup works");
}

/// Pages at the end of a file may be free ones, and then nothing is lost with them: a process that dies between a commit
/// and the lengthening of the file leaves it so.
#[test]
fn a_data_file_that_lacks_a_few_pages_is_either_refused_or_whole() {
    let dir = tempfile::tempdir().unwrap();
    with_a_marked_event(dir.path());
    let whole = fs::read(data_file(dir.path())).unwrap();
    let mut refused = 0;
    for pages in 1..=16 {
        fs::write(data_file(dir.path()), &whole[..whole.len() - pages * 4096]).unwrap();
        match open(dir.path()) {
            Ok(node) => {
                assert_eq!(log_of(&node.subject("damaged")).len(), 101, "{pages} pages less");
                assert_eq!(log_of(&node.subject("whole")).len(), 100, "{pages} pages less");
            }
            Err(Error::Storage(StorageError::Truncated { .. })) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "sixteen pages are never all free here");
}

#[test]
fn a_larger_map_applies_also_where_a_subject_handle_outlived_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().data_dir(dir.path()).map_size(MIB).build().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let mut acks = Acks::new();
    publish_until_refused(&subject, 8 << 10, &mut acks);
    drop((node, handle));
    let _node = Node::builder().data_dir(dir.path()).map_size(64 * MIB).build().unwrap();
    let _handle = subject.run().unwrap();
    subject.publish(XaeroEvent::new(vec![1; MIB as usize / 2], 7)).wait().unwrap();
}

#[test]
fn a_data_file_that_was_emptied_or_deleted_is_refused_and_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    with_a_marked_event(dir.path());
    fs::write(data_file(dir.path()), b"").unwrap();
    assert_refused(dir.path(), |error| matches!(error, StorageError::Truncated { have: 0, .. }), "backup");
    fs::remove_file(data_file(dir.path())).unwrap();
    assert_refused(dir.path(), |error| matches!(error, StorageError::Truncated { have: 0, .. }), "backup");
    assert!(!data_file(dir.path()).exists());
}

// Versions.

#[test]
fn a_directory_of_a_newer_version_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    with_a_marked_event(dir.path());
    fs::write(dir.path().join("FORMAT"), "xaeroflux data 3\n").unwrap();
    let newer =
        |error: &StorageError| matches!(error, StorageError::NewerFormat { found, known: 2, .. } if found == "3");
    assert_refused(dir.path(), newer, "upgrade xaeroflux");
}

#[test]
fn a_format_file_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    with_a_marked_event(dir.path());
    let damaged = |error: &StorageError| matches!(error, StorageError::DamagedFile { .. });
    for text in ["", "xaeroflux data one\n", "something else\n"] {
        fs::write(dir.path().join("FORMAT"), text).unwrap();
        assert_refused(dir.path(), damaged, "FORMAT is damaged");
    }
    fs::remove_file(dir.path().join("FORMAT")).unwrap();
    assert_refused(dir.path(), damaged, "not a data directory of xaeroflux");
}

// Whose directory it is.

#[test]
fn a_read_only_directory_is_refused_with_the_way_out() {
    let Some(disk) = Tmpfs::mount("read-only directory", 8 << 10) else { return };
    let dir = disk.dir.join("data");
    with_a_marked_event(&dir);
    disk.remount("ro");
    let not_writable = |error: &StorageError| matches!(error, StorageError::NotWritable { .. });
    assert_refused(&dir, not_writable, "change its permissions or choose another");
    assert_refused(&disk.dir.join("new"), not_writable, "change its permissions or choose another");
    disk.remount("rw");
    assert_eq!(open(&dir).unwrap().subject("damaged").count().unwrap(), 101);
}

#[test]
fn a_second_process_learns_at_once_who_has_the_directory() {
    const DIR: &str = "XAEROFLUX_TEST_SECOND_PROCESS";
    if let Some(dir) = std::env::var_os(DIR) {
        let error = open(Path::new(&dir)).unwrap_err();
        assert!(matches!(error, Error::Storage(StorageError::InUse { .. })), "{error:?}");
        println!("refused: {error}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).unwrap();
    let output = child("a_second_process_learns_at_once_who_has_the_directory").env(DIR, dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let holder = format!("is in use by process {} (", std::process::id());
    assert!(output.status.success() && text.contains("refused: ") && text.contains(&holder), "{output:?}");
    // The first is not disturbed.
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    assert_eq!(subject.publish(XaeroEvent::new("x", 7)).wait().unwrap().seq, 1);
}

#[test]
fn two_nodes_of_one_process_on_one_directory_share_it() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (open(dir.path()).unwrap(), open(dir.path()).unwrap());
    let alice = first.identity("alice").unwrap();
    assert_eq!(second.find_identity("alice"), Some(alice));
    drop(first);
    let subject = second.subject("s");
    let _handle = subject.run().unwrap();
    assert_eq!(subject.publish(XaeroEvent::new("x", 7).by(alice)).wait().unwrap().seq, 1);
}
