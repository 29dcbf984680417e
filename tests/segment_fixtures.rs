//! A data directory with three segments of eight events each, the middle one damaged in all ways there are. The node
//! opens each time; what is whole is used, what can be made again is, and the rest is refused by name.
//!
//! The files are in `tests/fixtures/segments`: the directory as version 0.1 wrote it, `good.seg`, which is its middle
//! segment, and what became of it. The events are `note 00` to `note 23`, in a log table that is empty.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use xaeroflux::{
    Error, Node, ScanWindow, StorageError, Subject, XaeroEvent,
    actors::segment::{SegmentError, check},
};

const MIDDLE: &str = "00000000000000000008.seg";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/segments").join(name)
}

/// The directory, its middle segment replaced by this file, or taken away.
fn unpack(middle: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for part in ["keys", "segments"] {
        let to = dir.path().join(part);
        fs::create_dir(&to).unwrap();
        fs::set_permissions(&to, PermissionsExt::from_mode(0o700)).unwrap();
        for entry in fs::read_dir(fixture("node").join(part)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            fs::set_permissions(to.join(entry.file_name()), PermissionsExt::from_mode(0o600)).unwrap();
        }
    }
    fs::copy(fixture("node/FORMAT"), dir.path().join("FORMAT")).unwrap();
    let mut data = Vec::new();
    let packed = fs::File::open(fixture("node/data.mdb.gz")).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut data).unwrap();
    fs::write(dir.path().join("data.mdb"), data).unwrap();
    let to = dir.path().join("segments").join(MIDDLE);
    match middle {
        Some(name) => drop(fs::copy(fixture(name), to).unwrap()),
        None => fs::remove_file(to).unwrap(),
    }
    dir
}

fn open(dir: &Path) -> Node {
    Node::builder().data_dir(dir).build().unwrap()
}

fn notes(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|n| format!("note {n:02}").into_bytes()).collect()
}

/// What a scan gives before it ends, and how it ends.
fn scan(subject: &Subject) -> (Vec<Vec<u8>>, Result<(), Error>) {
    let mut seen = Vec::new();
    let end = subject.for_each_archived(ScanWindow::ALL, |record| {
        seen.push(record.payload().to_vec());
        true
    });
    (seen, end)
}

/// The node opens, these events of the middle segment are refused with this text, all else is read and publishing goes on,
/// now and after another start.
fn assert_refused(middle: Option<&str>, refused: std::ops::Range<u64>, says: &str) {
    let dir = unpack(middle);
    for start in 0..2 {
        let node = open(dir.path());
        let subject = node.subject("old/notes");
        let (seen, end) = scan(&subject);
        assert_eq!(seen, notes(0..usize::try_from(refused.start).unwrap()));
        match end {
            Err(Error::Storage(error @ StorageError::DamagedSegment { .. })) => {
                let text = error.to_string();
                let range = format!("positions {} up to {}", refused.start, refused.end);
                for part in [MIDDLE, &range, says, "restore the file from a backup"] {
                    assert!(text.contains(part), "{part:?} is not in {text:?}");
                }
            }
            other => panic!("{other:?}"),
        }
        // Behind it all can be read, and the first event of it cannot.
        assert_eq!(subject.frames(refused.end, 100).unwrap().len(), 24 - usize::try_from(refused.end).unwrap() + start);
        assert!(subject.frames(refused.start, 1).is_err());
        let _handle = subject.run().unwrap();
        let receipt = subject.publish(XaeroEvent::new("more", 7)).wait().unwrap();
        assert_eq!(subject.count().unwrap(), 25 + u64::try_from(start).unwrap(), "{receipt:?}");
    }
    let left = dir.path().join("segments").join(MIDDLE);
    let as_it_was = middle.map(|name| fs::read(fixture(name)).unwrap());
    assert_eq!(fs::read(left).ok(), as_it_was, "what is refused is left as it is: perhaps somebody can mend it");
}

/// The node opens, and the segment is as it was before it was damaged.
fn assert_mended(middle: &str) {
    let dir = unpack(Some(middle));
    let node = open(dir.path());
    let (seen, end) = scan(&node.subject("old/notes"));
    end.unwrap();
    assert_eq!(seen, notes(0..24));
    let segment = fs::read(dir.path().join("segments").join(MIDDLE)).unwrap();
    assert_eq!(segment, fs::read(fixture("good.seg")).unwrap());
}

fn checked(name: &str) -> Result<std::ops::Range<u64>, SegmentError> {
    check(&fs::read(fixture(name)).unwrap())
}

#[test]
fn a_good_segment_of_this_version_is_read_for_ever() {
    assert_eq!(checked("good.seg"), Ok(8..16));
    assert_mended("good.seg");
}

#[test]
fn a_segment_that_is_cut_short_is_refused_and_all_else_is_read() {
    assert_eq!(checked("cut_short.seg"), Err(SegmentError::NotASegment));
    assert_refused(Some("cut_short.seg"), 8..16, "does not end with XSEG");
}

#[test]
fn a_segment_with_a_flipped_bit_in_its_footer_gets_it_back_from_its_blocks() {
    assert!(matches!(checked("footer_bit.seg"), Err(SegmentError::Checksum { .. })));
    assert_mended("footer_bit.seg");
}

#[test]
fn a_segment_with_another_magic_gets_its_footer_back_from_its_blocks() {
    assert_eq!(checked("wrong_magic.seg"), Err(SegmentError::NotASegment));
    assert_mended("wrong_magic.seg");
}

#[test]
fn a_flipped_bit_in_a_block_refuses_the_event_that_it_is_in() {
    assert!(matches!(checked("block_bit.seg"), Err(SegmentError::Block { offset: 0, .. })));
    assert_refused(Some("block_bit.seg"), 12..13, "checksum");
}

#[test]
fn a_segment_of_a_newer_version_is_refused_with_the_way_out_and_left_alone() {
    assert_eq!(checked("newer_version.seg"), Err(SegmentError::NewerVersion { version: 2 }));
    assert_refused(Some("newer_version.seg"), 8..16, "upgrade xaeroflux");
}

#[test]
fn a_segment_that_is_missing_is_refused_and_all_else_is_read() {
    assert_refused(None, 8..16, "it is missing");
}
