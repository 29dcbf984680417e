//! Frames as they lie on somebody's disk, good and damaged: what each of them is read as never changes.
//!
//! The files in `tests/fixtures/frames/` were written once. A program of any later version must read the good ones as
//! the same records, and refuse each damaged one for the same reason. The same frames are also built here, by today's
//! writer, and compared: so a change of the format cannot slip in on the writing side either.
//!
//! `XAEROFLUX_WRITE_FIXTURES=1 cargo test --test damaged_frames` writes files that do not exist yet. It never replaces
//! one: a frame of version 1 looks the same for ever.

use std::{fs, path::PathBuf};

use xaeroflux::{
    Dot, EventId, EventType, SubjectId, XaeroID,
    event::{CRDT_SET_ADD, Clock},
    wire::{
        archive,
        frame::{self, FrameError, HEADER_BYTES},
        limits::MAX_FRAME_BYTES,
        record::Record,
    },
};

/// Where the header's fields lie.
const VERSION_AT: usize = 4;
const LENGTH_AT: usize = 8;
const CRC_AT: usize = 16;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/frames").join(format!("{name}.bin"))
}

/// The fixture's bytes, which are also those that `built` has.
fn fixture(name: &str, built: &[u8]) -> Vec<u8> {
    let path = path(name);
    if std::env::var_os("XAEROFLUX_WRITE_FIXTURES").is_some() && !path.exists() {
        fs::write(&path, built).unwrap();
    }
    let stored = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(stored == built, "{name}: today's writer makes other bytes than those on disk");
    stored
}

const AUTHOR: [u8; 32] = [0x11; 32];

fn deps() -> [Dot; 2] {
    [Dot::new(XaeroID::from([0x22; 32]), 3), Dot::new(XaeroID::from([0x33; 32]), 1)]
}

fn record<'a>(deps: &'a [Dot], event_type: EventType, payload: &'a [u8]) -> Record<'a> {
    Record {
        subject: SubjectId::from([0x99; 32]),
        dot: Dot::new(XaeroID::from(AUTHOR), 7),
        clock: Clock::from_millis(1_700_000_000_000),
        latest_ts: 1_700_000_000_123,
        deps,
        event_type,
        payload,
    }
}

fn encode(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode_into(&mut out, record).unwrap();
    out
}

/// The frame that the damaged ones are made from.
fn good() -> Vec<u8> {
    encode(&record(&deps(), EventType::ApplicationEvent(CRDT_SET_ADD), b"urgent"))
}

/// The frame with its checksum made right again.
fn resealed(mut frame: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..CRC_AT]), &frame[HEADER_BYTES..]);
    frame[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    frame
}

fn error_of(bytes: &[u8]) -> FrameError {
    archive::open(bytes).expect_err("a damaged frame was read")
}

#[test]
fn a_good_frame_reads_as_the_same_record_for_ever() {
    let bytes = fixture("good_v1_with_deps", &good());
    let (view, length) = archive::open(&bytes).unwrap();
    assert_eq!(length, bytes.len());
    assert_eq!(view.subject(), SubjectId::from([0x99; 32]));
    assert_eq!(view.dot(), Dot::new(XaeroID::from(AUTHOR), 7));
    assert_eq!(view.clock(), Clock::from_millis(1_700_000_000_000));
    assert_eq!(view.latest_ts(), 1_700_000_000_123);
    assert_eq!(view.deps().collect::<Vec<_>>(), deps());
    assert_eq!(view.event_type(), EventType::ApplicationEvent(CRDT_SET_ADD));
    assert_eq!(view.payload(), b"urgent");
    let id: EventId = "5b30a90d85239a1420af581b3950b1dc5dce1d62d2c372c7fa3a1d0f71057539".parse().unwrap();
    assert_eq!(view.id(), id);
}

#[test]
fn an_empty_payload_is_a_payload() {
    let bytes = fixture("empty_payload", &encode(&record(&[], EventType::MetaEvent(255), b"")));
    let (view, _) = archive::open(&bytes).unwrap();
    assert_eq!(view.payload(), b"");
    assert_eq!(view.deps().count(), 0);
    assert_eq!(view.event_type(), EventType::MetaEvent(255));
    let id: EventId = "e59e6a5df82d4b839945281f0139cb9acac62a2f390e5126f56d2127fdcda8fe".parse().unwrap();
    assert_eq!(view.id(), id);
}

#[test]
fn a_frame_cut_short() {
    let good = good();
    let bytes = fixture("truncated", &good[..good.len() - 1]);
    assert_eq!(error_of(&bytes), FrameError::Truncated { have: good.len() - 1, need: good.len() });
    let bytes = fixture("truncated_header", &good[..HEADER_BYTES - 1]);
    assert_eq!(error_of(&bytes), FrameError::Truncated { have: 19, need: 20 });
}

#[test]
fn no_bytes_at_all() {
    let bytes = fixture("no_bytes", &[]);
    assert_eq!(error_of(&bytes), FrameError::Truncated { have: 0, need: 20 });
}

#[test]
fn a_flipped_bit_in_the_checksum() {
    let mut damaged = good();
    let right = u32::from_le_bytes(damaged[CRC_AT..HEADER_BYTES].try_into().unwrap());
    damaged[CRC_AT] ^= 1;
    let bytes = fixture("flipped_crc", &damaged);
    assert_eq!(error_of(&bytes), FrameError::Checksum { expected: right ^ 1, found: right });
}

#[test]
fn a_flipped_bit_in_the_payload() {
    let mut damaged = good();
    let at = damaged.windows(6).position(|window| window == b"urgent").unwrap();
    damaged[at] ^= 0x20;
    let bytes = fixture("flipped_payload", &damaged);
    assert!(matches!(error_of(&bytes), FrameError::Checksum { .. }));
}

#[test]
fn a_newer_version_is_not_taken_for_damage() {
    let mut newer = good();
    newer[VERSION_AT] = 2;
    let bytes = fixture("newer_version", &resealed(newer));
    assert_eq!(error_of(&bytes), FrameError::UnknownVersion { version: 2, schema: 1 });
}

#[test]
fn a_giant_length_is_refused_before_anything_is_read() {
    let mut giant = good();
    giant[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let bytes = fixture("giant_length", &resealed(giant.clone()));
    assert_eq!(error_of(&bytes), FrameError::TooLong(u32::MAX as usize));
    let just_above = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
    giant[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&just_above.to_le_bytes());
    assert_eq!(error_of(&giant), FrameError::TooLong(MAX_FRAME_BYTES + 1));
}

#[test]
fn another_magic_is_not_a_frame() {
    let mut wrong = good();
    wrong[3] = b'X';
    let bytes = fixture("wrong_magic", &resealed(wrong));
    assert_eq!(error_of(&bytes), FrameError::NotAFrame);
}

#[test]
fn zeros_are_not_a_frame() {
    let bytes = fixture("zeros", &[0; 64]);
    assert_eq!(error_of(&bytes), FrameError::NotAFrame);
}

#[test]
fn a_field_that_no_writer_sets() {
    let mut odd = good();
    odd[7] = 1;
    let bytes = fixture("flags_set", &resealed(odd));
    assert_eq!(error_of(&bytes), FrameError::BadField("reserved bytes"));
}

#[test]
fn an_event_type_that_nobody_knows() {
    // Two records that differ in the variant of their type only show where it lies in the archive.
    let mut frame = encode(&record(&[], EventType::ApplicationEvent(30), b"urgent"));
    let other = encode(&record(&[], EventType::SystemEvent(30), b"urgent"));
    let at = (HEADER_BYTES..frame.len()).find(|at| frame[*at] != other[*at]).unwrap();
    frame[at] = 5;
    let bytes = fixture("unknown_event_type", &resealed(frame));
    assert_eq!(error_of(&bytes), FrameError::Malformed("its event type is unknown"));
}

#[test]
fn dependencies_out_of_order_or_twice() {
    let [first, second] = deps();
    let add = EventType::ApplicationEvent(CRDT_SET_ADD);
    let error = FrameError::Malformed("its dependencies are not in ascending order");
    let bytes = fixture("unsorted_deps", &encode(&record(&[second, first], add, b"urgent")));
    assert_eq!(error_of(&bytes), error);
    let bytes = fixture("repeated_deps", &encode(&record(&[first, first], add, b"urgent")));
    assert_eq!(error_of(&bytes), error);
}

#[test]
fn a_dependency_on_the_authors_own_log() {
    let own = [Dot::new(XaeroID::from(AUTHOR), 6)];
    let bytes = fixture("own_dep", &encode(&record(&own, EventType::ApplicationEvent(CRDT_SET_ADD), b"urgent")));
    assert_eq!(error_of(&bytes), FrameError::Malformed("it depends on its own author's log, which is implied"));
}

#[test]
fn a_record_with_no_place_in_its_log() {
    let mut record = record(&[], EventType::ApplicationEvent(CRDT_SET_ADD), b"urgent");
    record.dot.seq = 0;
    let bytes = fixture("seq_zero", &encode(&record));
    assert_eq!(error_of(&bytes), FrameError::Malformed("sequence numbers start at 1"));
}

#[test]
fn a_structure_that_does_not_hold_together() {
    // A right checksum over an archive whose relative pointers lead out of it.
    let mut frame = good();
    let record = frame.len() - HEADER_BYTES;
    frame[HEADER_BYTES + record / 2..].fill(0x7F);
    let bytes = fixture("broken_structure", &resealed(frame));
    assert_eq!(error_of(&bytes), FrameError::Malformed("its structure does not hold together"));
}
