//! What a start makes of what it finds: see [`recover`](super::super::recover).

use super::*;

#[test]
fn what_was_sealed_and_not_trimmed_is_trimmed_after_a_start() {
    let world = World::new();
    varied(&world);
    // The committer has stopped: it hears of no segment.
    world.committer.stop();
    while world.store.segments.advance(&world.store, &world.committer).unwrap() == Progress::Sealed {}
    assert_eq!(world.trimmed(), 0);
    let files = world.files();
    let world = world.restart();
    world.wait_trimmed();
    assert!(world.trimmed() > 0);
    assert_eq!(world.files(), files);
    assert_varied(&world);
}

#[test]
fn a_damaged_segment_whose_events_are_in_the_table_is_put_aside_and_written_again() {
    let world = World::new();
    varied(&world);
    world.committer.stop();
    while world.store.segments.advance(&world.store, &world.committer).unwrap() == Progress::Sealed {}
    let files = world.files();
    let world = world.close(|dir| dir.damage(0, |bytes| bytes[5_000] ^= 1));
    assert_eq!(world.files(), [file_name(0) + ".damaged"]);
    assert_varied(&world);
    world.settle();
    assert_eq!(world.files().into_iter().filter(|name| !name.ends_with(".damaged")).collect::<Vec<_>>(), files);
    assert_varied(&world);
}

#[test]
fn a_footer_that_is_damaged_is_made_again_from_whole_blocks() {
    let world = World::new();
    varied(&world);
    world.settle();
    let damage = |bytes: &mut Vec<u8>| {
        let at = bytes.len() - 30;
        bytes[at] ^= 4;
    };
    let last = layout::first_of(world.files().last().unwrap()).unwrap();
    let originals: Vec<Vec<u8>> =
        [0, last].map(|first| fs::read(world.dir.path().join("segments").join(file_name(first))).unwrap()).into();
    let world = world.close(|dir| {
        dir.damage(0, damage);
        dir.damage(last, damage);
    });
    assert_varied(&world);
    for (first, original) in [0, last].into_iter().zip(originals) {
        assert_eq!(fs::read(world.dir.path().join("segments").join(file_name(first))).unwrap(), original);
    }
}

/// The refused range of a scan.
fn refused(error: StorageError) -> (PathBuf, u64, u64) {
    match error {
        StorageError::DamagedSegment { path, first, end, .. } => (path, first, end),
        other => panic!("{other}"),
    }
}

#[test]
fn a_segment_that_is_gone_or_damaged_refuses_its_range_and_nothing_else() {
    for damage in ["gone", "cut short", "a block"] {
        let world = World::new();
        varied(&world);
        world.settle();
        let positions = world.all();
        let files = world.files();
        let [_, second, third, ..] = &files[..] else { panic!("{files:?}") };
        let [second, third] = [second, third].map(|name| layout::first_of(name).unwrap());
        let world = world.close(|dir| match damage {
            "gone" => fs::remove_file(dir.path(second)).unwrap(),
            "cut short" => dir.damage(second, |bytes| bytes.truncate(bytes.len() / 2)),
            _ => dir.damage(second, |bytes| bytes[3_000] ^= 16),
        });
        let bad = world.unreadable(positions.len());
        match damage {
            // The checksums of the events tell which one it is.
            "a block" => assert!(bad.len() == 1 && (second..third).contains(&bad[0])),
            _ => assert_eq!(bad, (second..third).collect::<Vec<_>>(), "{damage}"),
        }
        for (subject, count) in VARIED {
            let mine = positions.iter().filter(|event| event.1 == [subject; 32]).map(|event| event.0);
            let lost: Vec<u64> =
                (0..).zip(mine).filter(|(_, at)| bad.contains(at)).map(|(ordinal, _)| ordinal).collect();
            let Some((first, last)) = lost.first().zip(lost.last()) else {
                assert_eq!(world.scan(subject, 0, None).unwrap(), expected(subject, 1..=count));
                continue;
            };
            let mut seen = Vec::new();
            let (path, from, to) = refused(world.scan_into(subject, 0, None, &mut seen).unwrap_err());
            assert!(path.ends_with(file_name(second)));
            assert_eq!((from, to), (bad[0], bad[bad.len() - 1] + 1));
            // All before it, and no more; all after it.
            assert_eq!(seen, expected(subject, 1..=*first), "{damage}");
            assert_eq!(world.scan(subject, last + 1, None).unwrap(), expected(subject, last + 2..=count), "{damage}");
            let log = world.log(subject);
            for seq in (1..=count).step_by(7) {
                let found = world.by_seq(&log, count, seq);
                assert_eq!(found.is_err(), lost.contains(&(seq - 1)), "{damage}: {seq}");
            }
            // Within it nothing is passed over.
            assert!(world.scan(subject, *last, None).is_err());
        }
        // Publishing goes on.
        world.append(3, 101, 900);
        assert_eq!(world.scan(3, 100, None).unwrap(), expected(3, 101..=1_000));
        world.settle();
    }
}

#[test]
fn an_unfinished_file_is_removed_by_a_start() {
    let world = World::new();
    world.append(1, 1, 1_000);
    world.settle();
    let files = world.files();
    let world = world.close(|dir| fs::write(dir.dir.join(file_name(7) + ".tmp"), b"half").unwrap());
    assert_eq!(world.files(), files);
}

#[test]
fn segments_that_are_newer_than_the_data_file_are_put_aside() {
    let world = World::new();
    let backup = tempfile::tempdir().unwrap();
    world.append(1, 1, 500);
    let world = world.close(|dir| {
        let data = dir.dir.parent().unwrap().join("data.mdb");
        fs::copy(data, backup.path().join("data.mdb")).unwrap();
    });
    world.append(1, 501, 900);
    world.settle();
    let world = world.close(|dir| {
        let data = dir.dir.parent().unwrap().join("data.mdb");
        fs::copy(backup.path().join("data.mdb"), data).unwrap();
    });
    assert_eq!(world.scan(1, 0, None).unwrap(), expected(1, 1..=500));
    // The one that holds nothing else than the data file is used.
    assert_eq!(world.files(), [file_name(0), file_name(500) + ".damaged"]);
}
