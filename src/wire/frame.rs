//! Frames: a record with a header that names its version and carries its checksum.
//!
//! LMDB has no checksums, and rkyv's validation looks at structure only, so most flipped bits would pass unnoticed:
//! the CRC is compared at every read. All numbers are little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic, `XFRM` |
//! | 4 | 1 | frame version, 1 |
//! | 5 | 1 | record schema, 1: an rkyv archive of `RecordV1`; 2: the same *without its payload*, in whose place stand its length (4 bytes) and its BLAKE3 hash (32) |
//! | 6 | 1 | signature algorithm, 0: none of its own (the author's signed head covers it) |
//! | 7 | 1 | flags, 0 |
//! | 8 | 4 | length of the record |
//! | 12 | 2 | length of the signature, 0 |
//! | 14 | 2 | zero |
//! | 16 | 4 | CRC32C of bytes 0 to 15 and of everything after this field |
//! | 20 | | the record |

use thiserror::Error;

use crate::wire::{
    limits::{MAX_DEPS, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES},
    record::Record,
};

/// Length of the header.
pub const HEADER_BYTES: usize = 20;

const MAGIC: [u8; 4] = *b"XFRM";
const FRAME_VERSION: u8 = 1;
const RECORD_SCHEMA: u8 = 1;
/// Of a record whose payload was left out.
const WITHHELD_SCHEMA: u8 = 2;
const CRC_AT: usize = 16;

/// Bytes that are not a frame, or a record that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// There are fewer bytes than the header or its lengths ask for.
    #[error("the frame is cut short: {have} bytes of {need}; read it again from its source, or restore a backup")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that the header asks for.
        need: usize,
    },
    /// The bytes do not start with the magic.
    #[error("these bytes are not a frame: they do not start with XFRM")]
    NotAFrame,
    /// The frame is of a version that this program does not know.
    #[error("frame version {version}, record schema {schema} is newer than this program: upgrade xaeroflux")]
    UnknownVersion {
        /// The frame version.
        version: u8,
        /// The record schema.
        schema: u8,
    },
    /// A field has a value that no writer of this version produces.
    #[error("the frame header's {0} has a value that this version never writes: the bytes are damaged")]
    BadField(&'static str),
    /// A length is above the protocol's limit.
    #[error("the frame claims {0} bytes, more than the {MAX_FRAME_BYTES} that any frame has")]
    TooLong(usize),
    /// The checksum differs.
    #[error(
        "the frame's checksum is {found:08x}, not {expected:08x}: the bytes are damaged; restore a backup or fetch it from a peer"
    )]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        found: u32,
    },
    /// The checksum holds but the record inside is not valid.
    #[error("the frame's record is malformed: {0}")]
    Malformed(&'static str),
    /// A payload above the limit.
    #[error(
        "a payload has at most {MAX_PAYLOAD_BYTES} bytes, this one has {0}: store it elsewhere and put its hash in the event"
    )]
    PayloadTooLarge(usize),
    /// Too many causal dependencies.
    #[error("a record names at most {MAX_DEPS} dependencies, this one has {0}")]
    TooManyDeps(usize),
}

/// Appends the frame of `record` to `out` and returns its length. On an error `out` is as before.
///
/// # Errors
/// Where the record breaks one of the protocol's limits.
pub fn encode_into(out: &mut Vec<u8>, record: &Record<'_>) -> Result<usize, FrameError> {
    encode_as(out, record, RECORD_SCHEMA)
}

/// As [`encode_into`], of a record without its payload: what is given as such is what stands in its place.
pub(crate) fn encode_withheld_into(out: &mut Vec<u8>, record: &Record<'_>) -> Result<usize, FrameError> {
    encode_as(out, record, WITHHELD_SCHEMA)
}

fn encode_as(out: &mut Vec<u8>, record: &Record<'_>, schema: u8) -> Result<usize, FrameError> {
    if record.payload.len() > MAX_PAYLOAD_BYTES {
        return Err(FrameError::PayloadTooLarge(record.payload.len()));
    }
    if record.deps.len() > MAX_DEPS {
        return Err(FrameError::TooManyDeps(record.deps.len()));
    }
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    if record.archive_into(out).is_err() {
        out.truncate(start);
        return Err(FrameError::Malformed("it could not be archived"));
    }
    let record_bytes = out.len() - start - HEADER_BYTES;
    let mut header = [0; HEADER_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        for byte in bytes {
            if let Some(slot) = header.get_mut(at) {
                *slot = *byte;
            }
            at += 1;
        }
    };
    put(&MAGIC);
    put(&[FRAME_VERSION, schema, 0, 0]);
    put(&u32::try_from(record_bytes).map_err(|_| FrameError::TooLong(record_bytes))?.to_le_bytes());
    put(&[0; 4]);
    let (_, frame) = out.split_at_mut(start);
    if let Some((head, body)) = frame.split_first_chunk_mut::<HEADER_BYTES>() {
        let crc = checksum(&header, body);
        let mut put_crc = header;
        if let Some(slot) = put_crc.last_chunk_mut::<4>() {
            *slot = crc.to_le_bytes();
        }
        *head = put_crc;
    }
    Ok(HEADER_BYTES + record_bytes)
}

/// What is in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decoded<'a> {
    /// The record's bytes.
    pub(crate) record: &'a [u8],
    /// Whether its payload was left out.
    pub(crate) is_withheld: bool,
    /// The frame's length.
    pub(crate) length: usize,
}

/// The frame at the start of `bytes`, checked.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded<'_>, FrameError> {
    decode_with(bytes, true)
}

/// As [`decode`], without comparing the checksum: for a frame inside of what was compared as a whole a moment ago.
pub(crate) fn decode_verified(bytes: &[u8]) -> Result<Decoded<'_>, FrameError> {
    decode_with(bytes, false)
}

#[inline]
fn decode_with(bytes: &[u8], compare: bool) -> Result<Decoded<'_>, FrameError> {
    let truncated = |need| FrameError::Truncated { have: bytes.len(), need };
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(truncated(HEADER_BYTES));
    };
    let [m0, m1, m2, m3, version, schema, algorithm, flags, l0, l1, l2, l3, s0, s1, z0, z1, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(FrameError::NotAFrame);
    }
    let record_bytes = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if record_bytes > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(record_bytes));
    }
    let need = HEADER_BYTES + record_bytes;
    let Some(record) = rest.get(..record_bytes) else { return Err(truncated(need)) };
    if compare {
        let expected = u32::from_le_bytes([c0, c1, c2, c3]);
        let found = checksum(header, record);
        if expected != found {
            return Err(FrameError::Checksum { expected, found });
        }
    }
    // Only now do the fields mean anything: a newer version is told from damage by its checksum.
    if version != FRAME_VERSION || !matches!(schema, RECORD_SCHEMA | WITHHELD_SCHEMA) {
        return Err(FrameError::UnknownVersion { version, schema });
    }
    if algorithm != 0 || [s0, s1] != [0, 0] {
        return Err(FrameError::BadField("signature"));
    }
    if flags != 0 || [z0, z1] != [0, 0] {
        return Err(FrameError::BadField("reserved bytes"));
    }
    Ok(Decoded { record, is_withheld: schema == WITHHELD_SCHEMA, length: need })
}

fn checksum(header: &[u8; HEADER_BYTES], body: &[u8]) -> u32 {
    let (covered, _) = header.split_at(CRC_AT);
    crc32c::crc32c_append(crc32c::crc32c(covered), body)
}
