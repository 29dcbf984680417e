//! Verification: a directory that is whole has no findings, one that is not has one with its place, and neither is changed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use xaeroflux::{
    Node, Severity, VerifyError, VerifyOptions, VerifyReport, XaeroEvent, event::CRDT_SET_ADD, prelude::*, verify,
};

fn check(dir: &Path) -> VerifyReport {
    verify(dir, &VerifyOptions::default(), &mut |_| {}).unwrap()
}

fn add(text: impl Into<String>, author: XaeroID) -> XaeroEvent {
    XaeroEvent::new(text.into(), CRDT_SET_ADD).by(author)
}

/// Two subjects, two authors, a fold, and events that came from elsewhere, some of which wait.
fn lively(dir: &Path, events: u64) -> (XaeroID, XaeroID) {
    let elsewhere = Node::ephemeral().unwrap();
    let node = Node::builder().data_dir(dir).build().unwrap();
    let (alice, bob) = (node.identity("alice").unwrap(), node.identity("bob").unwrap());
    let (tags, votes) = (node.subject("tags"), node.subject("votes"));
    let there = elsewhere.subject("tags");
    let set = tags.batch(
        Duration::from_millis(5),
        Some(50),
        vec![Operator::Sort(Sort::VectorClock.to_operator()), Operator::Fold(Fold::ORSet.to_operator())],
    );
    let folded = set.subscribe(|_| {});
    let handles = (tags.run().unwrap(), votes.run().unwrap(), there.run().unwrap());
    let mut receipts = Vec::new();
    for n in 0..events {
        let author = if n % 3 == 0 { bob } else { alice };
        receipts.push(tags.publish(add(format!("tag {n}"), author)));
        if n % 10 == 0 {
            receipts.push(votes.publish(add(format!("vote {n}"), author)));
        }
        if n == events / 2 {
            receipts.drain(..).for_each(|receipt| assert!(receipt.wait().is_ok()));
            there.ingest(tags.frames(0, 1_000).unwrap()).unwrap().wait().unwrap();
            for n in 0..150 {
                there.publish(XaeroEvent::new(format!("there {n}"), CRDT_SET_ADD)).wait().unwrap();
            }
            let all = there.count().unwrap();
            let frames = there.frames(0, usize::try_from(all).unwrap()).unwrap();
            // The last but one is missing.
            let (last, before) = frames.split_last().unwrap();
            tags.ingest(before[..before.len() - 1].to_vec()).unwrap().wait().unwrap();
            tags.ingest(vec![last.clone()]).unwrap().wait().unwrap();
        }
    }
    receipts.into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
    drop((folded, handles));
    (alice, bob)
}

#[test]
fn a_whole_directory_has_no_findings() {
    let dir = tempfile::tempdir().unwrap();
    lively(dir.path(), 700);
    let report = check(dir.path());
    assert_eq!(
        report.findings.iter().filter(|f| f.severity == Severity::Damage).collect::<Vec<_>>(),
        Vec::<&xaeroflux::Finding>::new()
    );
    assert!(report.is_whole() && report.first_bad().is_none());
    assert_eq!((report.subjects, report.events, report.authors), (2, 770 + 148, 5));
    assert_eq!(report.unsigned, 148, "{:?}", report.findings);
    assert!(report.heads >= 4 && report.signatures > 0, "{report:?}");
}

#[test]
fn a_log_with_several_checkpoints_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    {
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        let (alice, bob) = (node.identity("alice").unwrap(), node.identity("bob").unwrap());
        let subjects: Vec<Subject> = (0..3).map(|n| node.subject(format!("subject/{n}"))).collect();
        let handles: Vec<_> = subjects.iter().map(|subject| subject.run().unwrap()).collect();
        for round in 0..24_u32 {
            let subject = &subjects[round as usize % 3];
            let events = (0..6_000).map(|n| add(format!("{round} {n}"), if n % 7 < 3 { alice } else { bob }));
            let receipts = subject.publish_all(events);
            receipts.into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
        }
        drop(handles);
    }
    let mut progress = Vec::new();
    let report = verify(dir.path(), &VerifyOptions::default(), &mut |at| progress.push((at.what, at.done, at.total)));
    let report = report.unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!((report.events, report.authors), (144_000, 6));
    assert!(progress.iter().all(|(_, done, total)| done <= total) && progress.len() > 3);
}

/// Every file with its bytes, and when it was last changed.
fn fingerprint(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64, u32)> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::metadata(&path).unwrap();
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        // The table of readers is what a reader writes.
        if path.file_name().is_some_and(|name| name == "lock.mdb") {
            continue;
        }
        let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        found.insert(path, (bytes, metadata.mtime(), metadata.mtime_nsec(), metadata.mode()));
    }
    found
}

#[test]
fn it_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    lively(dir.path(), 100);
    for without_lock in [false, true] {
        if without_lock {
            fs::remove_file(dir.path().join("lock.mdb")).unwrap();
        }
        let before = fingerprint(dir.path());
        assert!(check(dir.path()).is_whole());
        assert!(before == fingerprint(dir.path()));
        assert_ne!(dir.path().join("lock.mdb").exists(), without_lock);
    }
}

#[test]
fn one_subject_is_verified_alone_and_an_unknown_one_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    lively(dir.path(), 100);
    let report = verify(dir.path(), &VerifyOptions::default().subject("votes"), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!((report.subjects, report.events, report.unsigned), (1, 10, 0));
    let unknown = verify(dir.path(), &VerifyOptions::default().subject("voles"), &mut |_| {});
    assert!(matches!(unknown, Err(VerifyError::UnknownSubject(name)) if name == "voles"));
    assert!(matches!(
        verify(dir.path(), &VerifyOptions::default().subject(""), &mut |_| {}),
        Err(VerifyError::Name(_))
    ));
}

#[test]
fn a_node_of_the_same_process_goes_on_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().data_dir(dir.path()).build().unwrap();
    let tags = node.subject("tags");
    let _handle = tags.run().unwrap();
    tags.publish(XaeroEvent::new("first", CRDT_SET_ADD)).wait().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut published = 1_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let events = (0..20).map(|n| XaeroEvent::new(format!("{published} {n}"), CRDT_SET_ADD));
                let receipts = tags.publish_all(events);
                receipts.into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
                published += 20;
            }
            published
        });
        let mut seen = 0;
        for _ in 0..30 {
            let report = check(dir.path());
            assert!(report.is_whole(), "{:?}", report.findings);
            assert!(report.events >= seen);
            seen = report.events;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let published = writer.join().unwrap();
        assert!(seen <= published);
        assert_eq!(check(dir.path()).events, published);
    });
}

/// A directory as it was written before there were trees and signatures.
fn unpack(name: &str) -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format1").join(name);
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::set_permissions(dir.path().join("keys"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(from.join("FORMAT"), dir.path().join("FORMAT")).unwrap();
    for key in ["alice.key", "bob.key"] {
        let to = dir.path().join("keys").join(key);
        fs::copy(from.join("keys").join(key), &to).unwrap();
        fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mut data = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(from.join("data.mdb.gz")).unwrap()).read_to_end(&mut data).unwrap();
    fs::write(dir.path().join("data.mdb"), data).unwrap();
    dir
}

#[test]
fn a_directory_of_the_first_format_is_whole_and_stays_as_it_is() {
    for (name, events) in [("clean", 225), ("killed", 355)] {
        let dir = unpack(name);
        let before = fingerprint(dir.path());
        let report = check(dir.path());
        assert!(report.is_whole(), "{name}: {:?}", report.findings);
        assert_eq!((report.subjects, report.events, report.unsigned), (2, events, events), "{name}");
        assert!(report.findings.iter().any(|finding| finding.what.contains("written in another directory")));
        assert!(before == fingerprint(dir.path()), "{name}");
    }
}

#[test]
fn a_missing_format_and_a_key_that_others_can_read_are_found() {
    let dir = tempfile::tempdir().unwrap();
    lively(dir.path(), 20);
    let key = dir.path().join("keys/bob.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(dir.path().join("FORMAT")).unwrap();
    let report = check(dir.path());
    let files: Vec<_> =
        report.findings.iter().filter(|f| f.severity == Severity::Damage).map(|f| f.file.clone()).collect();
    assert_eq!(files, [PathBuf::from("FORMAT"), PathBuf::from("keys/bob.key")]);
    // Without her key his signatures cannot be checked, which is no damage.
    assert!(report.unknown_keys > 0);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(check(dir.path()).findings.iter().any(|f| f.what.contains("mode 400")));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, []).unwrap();
    assert!(check(dir.path()).findings.iter().any(|f| f.file.ends_with("bob.key") && f.what.contains("2190 bytes")));
}

#[test]
fn what_is_no_data_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for dir in [dir.path().to_owned(), dir.path().join("nowhere")] {
        assert!(matches!(verify(dir, &VerifyOptions::default(), &mut |_| {}), Err(VerifyError::Storage(_))));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_data_file_of_any_length_is_reported_and_never_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    lively(dir.path(), 300);
    let events = check(dir.path()).events;
    let path = dir.path().join("data.mdb");
    let good = fs::read(&path).unwrap();
    let mut lengths: Vec<usize> = (0..good.len()).step_by(good.len() / 40).collect();
    lengths.extend([1, 100, 4095, 4096, 8191, 8192, 8193, good.len() - 1]);
    for length in lengths {
        fs::write(&path, &good[..length]).unwrap();
        let report = check(dir.path());
        if report.is_whole() {
            // What lacks is free.
            assert_eq!(report.events, events, "{length} bytes of {}", good.len());
            continue;
        }
        assert!(report.first_bad().unwrap().offset.is_some_and(|at| at <= length as u64));
    }
    fs::write(&path, &good).unwrap();
    assert!(check(dir.path()).is_whole());
}
