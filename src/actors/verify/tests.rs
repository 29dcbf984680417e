//! Every kind of row, damaged on purpose: it is found, where it is.

use std::{fs::File, path::Path};

use super::*;
use crate::{
    actors::{
        mmr::projection,
        storage::{
            Store,
            ahead::Ahead,
            cursor::Cursor,
            lmdb::{Env, TABLES, WriteTxn},
            republished::{Republished, Run},
            row::checked,
            shares::Share,
        },
    },
    event::{CRDT_SET_ADD, XaeroEvent},
    prelude::*,
    wire::{
        endpoint::PeerAddr,
        fork::{ForkEvidence, ForkHalf},
        head::{HeadBatch, LogHead},
        id::{EndpointId, EventId},
        mmr::{ConsistencyProof, Hash, InclusionProof, Peaks, Tree, root_at},
        sign::{SecretIdentity, Signer as _},
        ticket::{SubjectKind, SubjectSecret},
    },
};

const MAP: usize = 64 << 20;

/// Writes into a directory that nobody has open.
fn write(dir: &Path, write: impl FnOnce(&mut WriteTxn<'_>)) {
    let env = Env::open(dir, MAP).unwrap();
    let mut txn = env.write().unwrap();
    write(&mut txn);
    txn.commit(&File::open(dir.join("data.mdb")).unwrap()).unwrap();
}

/// Opens a directory whose node is being closed.
fn reopened(dir: &Path) -> std::sync::Arc<Store> {
    let begun = Instant::now();
    loop {
        match Store::open(dir, MAP, None) {
            Ok(store) => return store,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
        }
        std::thread::yield_now();
    }
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// All rows of a table that can be read, and what is wrong with the others.
fn rows(dir: &Path, table: Table) -> Rows {
    let mut watch = Watch::open(dir).unwrap();
    let frozen = watch.freeze().unwrap();
    let mut rows = Rows::new();
    let visit = &mut |key: &[u8], row: &[u8]| {
        rows.push((key.to_vec(), row.to_vec()));
        Ok(true)
    };
    frozen.view().rows(table, &[], visit, &mut |_| {}).unwrap();
    rows
}

/// A directory with rows in every table: two subjects, two authors and one from elsewhere with a signed head, events that
/// wait, a fold's state, nodes of trees.
fn scene(dir: &Path) {
    let foreign = SecretIdentity::generate().unwrap();
    let mut leaves: Vec<Hash> = Vec::new();
    {
        let node = crate::Node::builder().data_dir(dir).build().unwrap();
        let (alice, bob) = (node.identity("alice").unwrap(), node.identity("bob").unwrap());
        let (tags, votes) = (node.subject("tags"), node.subject("votes"));
        let handles = (tags.run().unwrap(), votes.run().unwrap());
        for n in 0..400 {
            let author = if n % 3 == 0 { bob } else { alice };
            let receipt = tags.publish(XaeroEvent::new(format!("tag {n}"), CRDT_SET_ADD).by(author));
            if n % 8 == 7 {
                receipt.wait().unwrap();
                votes.publish(XaeroEvent::new(format!("vote {n}"), CRDT_SET_ADD).by(author)).wait().unwrap();
            }
        }
        // An author from elsewhere; the last event lacks the one before it.
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for seq in [1, 2, 3, 5] {
            let mut frame = Vec::new();
            let record = crate::wire::record::Record {
                subject: tags.id(),
                dot: Dot::new(foreign.id(), seq),
                clock: crate::event::Clock::from_millis(seq),
                latest_ts: seq,
                deps: &[],
                event_type: crate::event::EventType::ApplicationEvent(CRDT_SET_ADD),
                payload: b"from elsewhere",
            };
            crate::wire::frame::encode_into(&mut frame, &record).unwrap();
            leaves.push(*crate::wire::archive::open(&frame).unwrap().0.id().as_bytes());
            frames.push(frame);
        }
        tags.ingest(frames).unwrap().wait().unwrap();
        let board = node.create_owned_by("board", alice).unwrap();
        let handle = board.run().unwrap();
        board.grant_as(alice, bob, crate::Role::Writer).unwrap();
        board.publish(XaeroEvent::new("bob's", CRDT_SET_ADD).by(bob)).wait().unwrap();
        drop((handles, handle));
    }
    let store = reopened(dir);
    let mut txn = store.env.write().unwrap();
    let mut writer = crate::actors::committer::writer::LogWriter::recover(std::sync::Arc::clone(&store), None);
    drop(txn);
    let writer = writer.as_mut().unwrap();
    for id in [open_subject_id("tags"), open_subject_id("votes")] {
        let read = store.env.read().unwrap();
        writer.load(&read, id).unwrap();
        drop(read);
        let subject = writer.subjects.get(&id).unwrap();
        let number = subject.head.number;
        let (slot, known) = subject.head.author(foreign.id());
        let tree = subject.head.tree(slot).map(|(_, tree)| tree.peaks.clone());
        txn = store.env.write().unwrap();
        txn.put(Table::Heads, &number.key(), &subject.head.encode()).unwrap();
        if let Some(tree) = tree.filter(|_| known.seq > 0) {
            let head = LogHead { subject: id, author: foreign.id(), length: tree.len(), root: tree.root() };
            let signed = HeadBatch::sign(&foreign, vec![head]).unwrap().signed_head(0).unwrap();
            txn.put(Table::PeerHeads, &keys::author(number, slot), &checked(&signed.encode())).unwrap();
            // And one over the event that waits as well, and the one before it, which has not come.
            let mut whole = Tree::new(&[&leaves[..3], &[[9; 32], leaves[3]]].concat());
            let proof = ConsistencyProof::make(&mut whole, 3, 5).unwrap();
            let head = LogHead { length: 5, root: root_at(&mut whole, 5).unwrap(), ..head };
            let signed = HeadBatch::sign(&foreign, vec![head]).unwrap().signed_head(0).unwrap();
            let ahead = Ahead { head: signed, proof };
            txn.put(Table::AheadHeads, &keys::author(number, slot), &checked(&ahead.encode())).unwrap();
            txn.put(Table::Writers, foreign.id().as_bytes(), &checked(foreign.public_key().as_bytes())).unwrap();
        }
        store.commit(txn).unwrap();
        loop {
            let step = projection::step(&store, number).unwrap();
            let mut txn = store.env.write().unwrap();
            step.rows.iter().for_each(|(key, row)| txn.put(Table::Nodes, key, row).unwrap());
            store.commit(txn).unwrap();
            if step.rows.is_empty() {
                break;
            }
        }
    }
    let mut txn = store.env.write().unwrap();
    let key = keys::snapshot(keys::SubjectNumber(0), &[3; 32]);
    let snapshot = crate::actors::storage::open::snapshot_row(&key, 7, b"state of a fold");
    txn.put(Table::Snapshots, &key, &snapshot).unwrap();
    let fork = fork(&foreign, open_subject_id("tags"));
    let row = [0_u64.to_le_bytes().as_slice(), &fork.encode()].concat();
    txn.put(Table::Cuts, &keys::cut(keys::SubjectNumber(0), foreign.id()), &checked(&row)).unwrap();
    let cursor = Cursor { name: "indexer".to_owned(), covered: 7, state: None };
    let number = keys::SubjectNumber(0);
    let mut done = Republished::default();
    done.note(Run { from: 1, to: 3, now: Some(crate::wire::id::Dot::new(foreign.id(), 4)) });
    txn.put(Table::Republished, &keys::cut(number, foreign.id()), &checked(&done.encode())).unwrap();
    txn.put(Table::Cursors, &keys::cursor(number, &Cursor::name_key("indexer")), &cursor.encode(number)).unwrap();
    let share = Share {
        subject: open_subject_id("tags"),
        kind: SubjectKind::Open,
        name: "tags".to_owned(),
        secrets: vec![SubjectSecret::from([4; 32])],
        peers: vec![PeerAddr::new(EndpointId::from([5; 32]))],
        filter: crate::ReplicaFilter::all(),
    };
    txn.put(Table::Shares, share.subject.as_bytes(), &share.encode()).unwrap();
    store.commit(txn).unwrap();
    drop(Peaks::new());
}

fn report(dir: &Path) -> VerifyReport {
    verify(dir, &VerifyOptions::default(), &mut |_| {}).unwrap()
}

fn damage(report: &VerifyReport) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.severity == Severity::Damage).collect()
}

fn hex(key: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(key)
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }
}

#[test]
fn the_scene_is_whole_and_has_rows_in_every_table() {
    let dir = tempfile::tempdir().unwrap();
    scene(dir.path());
    let report = report(dir.path());
    assert_eq!(damage(&report), Vec::<&Finding>::new());
    assert_eq!((report.unknown_keys, report.unsigned), (0, 0), "{:?}", report.findings);
    for (table, name) in TABLES {
        assert!(!rows(dir.path(), table).is_empty(), "{name}");
    }
}

#[test]
fn a_flipped_bit_in_any_row_is_found_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    scene(dir.path());
    let mut random = Random(5);
    for (table, name) in TABLES {
        let all = rows(dir.path(), table);
        for round in 0..6 {
            let (key, row) = &all[if round == 0 { all.len() - 1 } else { random.below(all.len()) }];
            let bit = random.below(row.len() * 8);
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            write(dir.path(), |txn| txn.put(table, key, &bad).unwrap());
            let report = report(dir.path());
            if key == home::KEY {
                assert!(report.findings.iter().any(|f| f.key == Some(hex(key))));
            } else {
                let found = damage(&report);
                let is_named =
                    found.iter().any(|f| f.table == Some(name) && f.key == Some(hex(key)) && f.offset.is_some());
                assert!(is_named, "{name} {} bit {bit}: {found:#?}", hex(key));
                // The place is within the row, wherever LMDB put it.
                let at = found.iter().find(|f| f.table == Some(name)).and_then(|f| f.offset).unwrap();
                let file = std::fs::read(dir.path().join("data.mdb")).unwrap();
                let at = usize::try_from(at).unwrap();
                let begin = bad.windows(8.min(bad.len())).position(|part| file[at..].starts_with(part));
                assert!(begin.is_some(), "{name}: byte {at} is not in the row");
            }
            write(dir.path(), |txn| txn.put(table, key, row).unwrap());
        }
    }
    assert!(report(dir.path()).is_whole());
}

/// What the checksum of a row covers is the row; that it is under its own key is another matter.
#[test]
fn a_flipped_bit_in_any_key_is_found() {
    let dir = tempfile::tempdir().unwrap();
    scene(dir.path());
    let mut random = Random(6);
    for (table, name) in TABLES {
        let all = rows(dir.path(), table);
        // A key that no version knows may be one of a later version.
        for round in 0..if table == Table::Meta { 0 } else { 40 } {
            let (key, row) = &all[random.below(all.len())];
            let mut bad = key.clone();
            // Each table's keys begin with a number, where a flip may lead to what is not there.
            let bit = random.below(if round < 16 { 32.min(key.len() * 8) } else { key.len() * 8 });
            bad[bit / 8] ^= 1 << (bit % 8);
            let taken = all.iter().find(|(key, _)| *key == bad);
            write(dir.path(), |txn| {
                txn.delete(table, key).unwrap();
                txn.put(table, &bad, row).unwrap();
            });
            assert!(!report(dir.path()).is_whole(), "{name} {} bit {bit}", hex(key));
            write(dir.path(), |txn| {
                txn.delete(table, &bad).unwrap();
                taken.iter().for_each(|(key, row)| txn.put(table, key, row).unwrap());
                txn.put(table, key, row).unwrap();
            });
        }
    }
    assert!(report(dir.path()).is_whole());
}

#[test]
fn a_row_that_is_gone_is_found_where_the_log_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    scene(dir.path());
    let mut random = Random(8);
    for (table, name) in TABLES {
        // What nothing else tells of, and what a start makes again.
        let is_told_of = matches!(
            table,
            Table::Log
                | Table::Subjects
                | Table::SubjectNumbers
                | Table::SubjectIndex
                | Table::AuthorIndex
                | Table::SignedHeads
                | Table::Control
        );
        let all = rows(dir.path(), table);
        for _ in 0..4 {
            let (key, row) = &all[random.below(all.len())];
            write(dir.path(), |txn| txn.delete(table, key).unwrap());
            let report = report(dir.path());
            let is_last = table == Table::Log && Some(key) == all.last().map(|(key, _)| key);
            assert!(!is_told_of || is_last || !report.is_whole(), "{name} {}", hex(key));
            write(dir.path(), |txn| txn.put(table, key, row).unwrap());
        }
    }
}

#[test]
fn a_row_that_nothing_explains_is_found() {
    let dir = tempfile::tempdir().unwrap();
    scene(dir.path());
    for (table, name, row) in [
        (Table::SubjectIndex, "subject_index", vec![0; 8]),
        (Table::AuthorIndex, "author_index", vec![0; 8]),
        (Table::Nodes, "nodes", checked(&[0; 32])),
    ] {
        let (mut key, _) = rows(dir.path(), table).last().unwrap().clone();
        *key.last_mut().unwrap() = 99;
        write(dir.path(), |txn| txn.put(table, &key, &row).unwrap());
        let report = report(dir.path());
        let found = damage(&report);
        assert!(found.len() == 1 && found[0].table == Some(name) && found[0].key == Some(hex(&key)), "{found:#?}");
        write(dir.path(), |txn| txn.delete(table, &key).unwrap());
    }
    assert!(report(dir.path()).is_whole());
}

#[test]
fn a_lie_with_a_right_checksum_is_found() {
    let dir = tempfile::tempdir().unwrap();
    scene(dir.path());
    let lie = |table: Table, name: &str, which: &dyn Fn(&[u8]) -> bool, change: &dyn Fn(&mut Vec<u8>), what: &str| {
        let (key, row) = rows(dir.path(), table).into_iter().find(|(key, _)| which(key)).unwrap();
        let mut body = row[..row.len() - 4].to_vec();
        change(&mut body);
        let crc = if table == Table::Heads {
            crc32c::crc32c_append(crc32c::crc32c(&key), &body)
        } else {
            crc32c::crc32c(&body)
        };
        body.extend_from_slice(&crc.to_le_bytes());
        write(dir.path(), |txn| txn.put(table, &key, &body).unwrap());
        let report = report(dir.path());
        let found = damage(&report);
        let is_named = found.iter().any(|f| f.table == Some(name) && f.key == Some(hex(&key)) && f.what.contains(what));
        assert!(is_named, "{name}, {what}: {found:#?}");
        write(dir.path(), |txn| txn.put(table, &key, &row).unwrap());
    };
    let any = |_: &[u8]| true;
    lie(Table::Heads, "heads", &any, &|row| row[1] += 1, "events");
    lie(Table::Heads, "heads", &any, &|row| row[9] ^= 1, "another last event");
    lie(Table::Heads, "heads", &any, &|row| row[17] ^= 1, "another clock");
    lie(Table::Heads, "heads", &any, &|row| row[33 + 32] ^= 1, "head of an author's log");
    lie(Table::Heads, "heads", &any, &|row| row[33 + 32 + 48 + 1] ^= 1, "tree of an author's log");
    lie(Table::Nodes, "nodes", &any, &|row| row[0] ^= 1, "node of an author's tree");
    lie(Table::SignedHeads, "signed_heads", &|key| key.len() == 8, &|row| row[60] ^= 1, "does not hold");
    lie(
        Table::SignedHeads,
        "signed_heads",
        &|key| key.len() == 8,
        &|row| *row.last_mut().unwrap() ^= 1,
        "does not hold",
    );
    lie(Table::PeerHeads, "peer_heads", &any, &|row| *row.last_mut().unwrap() ^= 1, "does not hold");
    lie(Table::PeerHeads, "peer_heads", &any, &|row| row[100] ^= 1, "does not hold");
    lie(Table::AheadHeads, "ahead_heads", &any, &|row| *row.last_mut().unwrap() ^= 1, "does not hold");
    lie(Table::AheadHeads, "ahead_heads", &any, &|row| row[10] ^= 1, "not a beginning");
    lie(Table::Writers, "writers", &any, &|row| row[500] ^= 1, "public key");
    assert!(report(dir.path()).is_whole());
}

#[test]
fn no_flip_in_the_data_file_that_changes_what_is_read_goes_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    scene(dir.path());
    std::fs::remove_file(dir.path().join("lock.mdb")).unwrap();
    let path = dir.path().join("data.mdb");
    let good = std::fs::read(&path).unwrap();
    let all = |dir: &Path| -> Vec<Rows> { TABLES.iter().map(|(table, _)| rows(dir, *table)).collect() };
    let before = all(dir.path());
    let (mut random, mut changed, mut unused) = (Random(1), 0, 0);
    for round in 0..600 {
        let mut bad = good.clone();
        // Pages that are in use are few, and older commits' many.
        let at = 2 * 4096 + random.below(bad.len() - 2 * 4096);
        bad[at] ^= 1 << random.below(8);
        std::fs::write(&path, &bad).unwrap();
        let report = report(dir.path());
        let after = all(dir.path());
        if after == before {
            unused += 1;
            continue;
        }
        changed += 1;
        // That the directory is a copy is a warning, and so is a row of a newer version: both are what a flip may make of
        // the rows of facts.
        let warned = report.findings.iter().any(|finding| finding.table == Some("meta"));
        let is_fact = after[1..] == before[1..] && warned;
        let differs: Vec<&str> = TABLES
            .iter()
            .zip(after.iter().zip(&before))
            .filter_map(|((_, name), (after, before))| (after != before).then_some(*name))
            .collect();
        assert!(is_fact || !report.is_whole(), "round {round}: byte {at}: {differs:?}");
    }
    assert!(changed > 50 && unused > 50, "{changed} {unused}");
}

#[test]
fn damage_to_the_list_of_free_pages_is_found() {
    let dir = tempfile::tempdir().unwrap();
    scene(dir.path());
    std::fs::remove_file(dir.path().join("lock.mdb")).unwrap();
    let path = dir.path().join("data.mdb");
    let good = std::fs::read(&path).unwrap();
    let places: Vec<usize> = {
        let mut watch = Watch::open(dir.path()).unwrap();
        let frozen = watch.freeze().unwrap();
        let view = frozen.view();
        let mut places = Vec::new();
        view.free_rows(&mut |row| places.push(usize::try_from(view.offset_of(row).unwrap()).unwrap()));
        places
    };
    assert!(!places.is_empty());
    for place in &places {
        let mut bad = good.clone();
        // The first number of the row.
        bad[place + 8] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let report = report(dir.path());
        let at = usize::try_from(report.first_bad().unwrap().offset.unwrap()).unwrap();
        // That of the row, or of the other one that has the same page now.
        assert!(places.contains(&at), "{:?}", report.findings);
    }
}

#[test]
fn findings_are_counted_beyond_those_that_are_named() {
    let dir = tempfile::tempdir().unwrap();
    scene(dir.path());
    let all = rows(dir.path(), Table::SubjectIndex);
    write(dir.path(), |txn| all.iter().for_each(|(key, _)| txn.put(Table::SubjectIndex, key, &[9; 8]).unwrap()));
    let options = VerifyOptions { max_findings: 2, ..VerifyOptions::default() };
    let report = verify(dir.path(), &options, &mut |_| {}).unwrap();
    assert_eq!((damage(&report).len(), report.damaged), (2, u64::try_from(all.len()).unwrap()));
}

/// Evidence that an author has signed two first events.
fn fork(who: &SecretIdentity, subject: SubjectId) -> ForkEvidence {
    let half = |event: u8| {
        let head = LogHead { subject, author: who.id(), length: 1, root: [event; 32] };
        let head = HeadBatch::sign(who, vec![head]).unwrap().signed_head(0).unwrap();
        ForkHalf::new(EventId::from([event; 32]), InclusionProof { index: 0, length: 1, path: Vec::new() }, head)
    };
    ForkEvidence::new(half(1), half(2)).unwrap()
}

/// A directory most of whose log is in segments.
fn segmented(dir: &Path) {
    let node = crate::Node::builder().data_dir(dir).segment_bytes(8 << 10).build().unwrap();
    let (tags, votes) = (node.subject("tags"), node.subject("votes"));
    let handles = (tags.run().unwrap(), votes.run().unwrap());
    let begun = Instant::now();
    let count = || std::fs::read_dir(dir.join("segments")).map_or(0, Iterator::count);
    let mut n = 0;
    // Until the log has left its table for several segments.
    while count() < 5 || trimmed(dir) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no segments");
        let payload = format!("{n} {}", "x".repeat(n % 300));
        let receipt = if n % 5 == 0 { &votes } else { &tags }.publish(XaeroEvent::new(payload, CRDT_SET_ADD));
        receipt.wait().unwrap();
        n += 1;
    }
    drop(handles);
}

fn trimmed(dir: &Path) -> u64 {
    let mut watch = Watch::open(dir).unwrap();
    watch.freeze().unwrap().view().trimmed()
}

fn segment_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(dir.join("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "seg"));
    files.sort_unstable();
    files
}

#[test]
fn a_log_in_segments_is_whole_and_every_flipped_bit_in_them_is_found_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    segmented(dir.path());
    let whole = report(dir.path());
    assert_eq!(damage(&whole), Vec::<&Finding>::new());
    assert!(whole.segments >= 4, "{whole:?}");
    let files = segment_files(dir.path());
    let mut random = Random(9);
    for round in 0..120 {
        let file = &files[random.below(files.len())];
        let good = std::fs::read(file).unwrap();
        let mut bad = good.clone();
        // The footer, the first and the last byte, and anything.
        let at = match round % 4 {
            0 => bad.len() - 1 - random.below(100),
            1 if round == 1 => 0,
            _ => random.below(bad.len()),
        };
        bad[at] ^= 1 << random.below(8);
        std::fs::write(file, &bad).unwrap();
        let found = report(dir.path());
        let name = Path::new("segments").join(file.file_name().unwrap());
        let bad = found.findings.iter().find(|finding| finding.severity == Severity::Damage && finding.file == name);
        let offset = bad.unwrap_or_else(|| panic!("byte {at} of {}: {:#?}", file.display(), found.findings)).offset;
        assert!(offset.is_none_or(|offset| offset <= at as u64), "{offset:?} {at}");
        assert_eq!(found.subjects, 2);
        std::fs::write(file, &good).unwrap();
    }
    // One that is gone.
    let aside = dir.path().join("aside");
    std::fs::rename(&files[1], &aside).unwrap();
    let found = report(dir.path());
    assert!(damage(&found).iter().any(|finding| finding.what.contains("it is missing") && finding.positions.is_some()));
    std::fs::rename(&aside, &files[1]).unwrap();
    assert!(report(dir.path()).is_whole());
}

#[test]
fn it_goes_on_beside_a_node_whose_log_moves_to_segments() {
    let dir = tempfile::tempdir().unwrap();
    let node = crate::Node::builder().data_dir(dir.path()).segment_bytes(16 << 10).build().unwrap();
    let tags = node.subject("tags");
    let _handle = tags.run().unwrap();
    for round in 0..40 {
        let receipts = tags.publish_all((0..50).map(|n| XaeroEvent::new(format!("{round} {n}"), CRDT_SET_ADD)));
        let found = report(dir.path());
        assert_eq!(damage(&found), Vec::<&Finding>::new(), "round {round}");
        receipts.into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
    }
    assert_eq!(report(dir.path()).events, 2_000);
}
