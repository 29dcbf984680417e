//! Any bytes as a frame: reading never panics, and what is read can be written and read again as the same record.

use xaeroflux::{
    Dot,
    wire::{archive, frame, record::Record},
};

const LENGTH_AT: usize = 8;
const CRC_AT: usize = 16;

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    holds(bytes);
    // Chance does not find a checksum: with a right one the input reaches what lies behind it.
    if let Some(sealed) = seal(bytes) {
        holds(&sealed);
    }
}

fn holds(bytes: &[u8]) {
    let Ok((view, length)) = archive::open(bytes) else { return };
    assert!(length <= bytes.len());
    if let Some(short) = view.withheld_frame() {
        let (header, length) = archive::open(&short).expect("a frame without its payload can be read");
        assert_eq!((header.id(), header.is_withheld(), length), (view.id(), true, short.len()));
        assert_eq!(header.withheld_frame(), Some(short.clone()));
    }
    if view.is_withheld() {
        return;
    }
    let deps: Vec<Dot> = view.deps().collect();
    let record = Record {
        subject: view.subject(),
        dot: view.dot(),
        clock: view.clock(),
        latest_ts: view.latest_ts(),
        deps: &deps,
        event_type: view.event_type(),
        payload: view.payload(),
    };
    let mut again = Vec::new();
    frame::encode_into(&mut again, &record).expect("what was read keeps the rules for writing");
    let (second, length) = archive::open(&again).expect("what was written can be read");
    assert_eq!(length, again.len());
    assert_eq!(second.subject(), view.subject());
    assert_eq!(second.dot(), view.dot());
    assert_eq!(second.clock(), view.clock());
    assert_eq!(second.latest_ts(), view.latest_ts());
    assert!(second.deps().eq(deps));
    assert_eq!(second.event_type(), view.event_type());
    assert_eq!(second.payload(), view.payload());
    assert_eq!(second.id(), view.id());
}

/// The input with the checksum that its header and length ask for.
fn seal(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = bytes.get(LENGTH_AT..LENGTH_AT + 4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let body = bytes.get(frame::HEADER_BYTES..frame::HEADER_BYTES.checked_add(length)?)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), body);
    let mut sealed = bytes.to_vec();
    sealed[CRC_AT..frame::HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    Some(sealed)
}
