//! The one place where bytes from disk or network become an archived record.
//!
//! Every caller goes through [`open`] (or, inside of what was compared as a whole, `open_verified`): checksum, then rkyv's checked access, then the protocol's limits. Nothing else in
//! the crate turns outside bytes into an archived type.

use rkyv::rancor::Failure;

use crate::wire::{
    event::EventType,
    frame::{self, FrameError},
    limits::{MAX_DEPS, MAX_PAYLOAD_BYTES},
    record::{ArchivedRecordV1, RecordView, Withheld},
};

/// Reads the frame at the start of `bytes`: its record, in place, and its length in bytes.
///
/// # Errors
/// Says what is wrong with the bytes: cut short, damaged, of a newer version, or a record that breaks the protocol's
/// rules.
pub fn open(bytes: &[u8]) -> Result<(RecordView<'_>, usize), FrameError> {
    let frame = frame::decode(bytes)?;
    Ok((check(&frame)?, frame.length))
}

/// As [`open`], without the frame's checksum. All else is checked.
///
/// Only for bytes inside of a block of a sealed segment whose own checksum was compared for this very reading (it covers
/// all frames in it, so that comparing theirs as well would say the same twice), and for frames in memory that were opened there
/// before.
pub(crate) fn open_verified(bytes: &[u8]) -> Result<(RecordView<'_>, usize), FrameError> {
    let frame = frame::decode_verified(bytes)?;
    Ok((check(&frame)?, frame.length))
}

/// The record in these bytes, in place.
#[inline]
fn check<'a>(frame: &frame::Decoded<'a>) -> Result<RecordView<'a>, FrameError> {
    let archived = rkyv::access::<ArchivedRecordV1<'_>, Failure>(frame.record)
        .map_err(|_| FrameError::Malformed("its structure does not hold together"))?;
    let event_type =
        EventType::from_bytes(archived.event_type).ok_or(FrameError::Malformed("its event type is unknown"))?;
    if archived.payload.len() > MAX_PAYLOAD_BYTES {
        return Err(FrameError::PayloadTooLarge(archived.payload.len()));
    }
    if archived.deps.len() > MAX_DEPS {
        return Err(FrameError::TooManyDeps(archived.deps.len()));
    }
    if archived.seq.to_native() == 0 {
        return Err(FrameError::Malformed("sequence numbers start at 1"));
    }
    let withheld = if frame.is_withheld { Some(withheld(archived, event_type)?) } else { None };
    let view = RecordView::new(archived, event_type, withheld);
    let mut previous = None;
    for dep in view.deps() {
        if dep.seq == 0 {
            return Err(FrameError::Malformed("sequence numbers start at 1"));
        }
        if dep.author == view.author() {
            return Err(FrameError::Malformed("it depends on its own author's log, which is implied"));
        }
        if previous.is_some_and(|before| before >= dep) {
            return Err(FrameError::Malformed("its dependencies are not in ascending order"));
        }
        previous = Some(dep);
    }
    Ok(view)
}

/// What stands in the place of a payload.
fn withheld<'a>(archived: &'a ArchivedRecordV1<'_>, event_type: EventType) -> Result<Withheld<'a>, FrameError> {
    const RULE: FrameError = FrameError::Malformed("what stands for its payload is not a length and a hash");
    let (length, hash) = archived.payload.split_first_chunk::<4>().ok_or(RULE)?;
    let payload_hash = <&[u8; 32]>::try_from(hash).map_err(|_| RULE)?;
    let payload_bytes = u32::from_le_bytes(*length);
    let bytes = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
    if bytes > MAX_PAYLOAD_BYTES {
        return Err(FrameError::PayloadTooLarge(bytes));
    }
    // Who may write is made of these: nobody who has the others may be without them.
    if matches!(event_type, EventType::SystemEvent(_)) {
        return Err(FrameError::Malformed("the payload of an event about rights is never left out"));
    }
    Ok(Withheld { payload_bytes, payload_hash })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        clock::Clock,
        id::{Dot, SubjectId, XaeroID},
        record::Record,
    };

    fn frame_of(payload: &[u8], deps: &[Dot]) -> Vec<u8> {
        let mut out = Vec::new();
        let record = Record {
            subject: SubjectId::from([9; 32]),
            dot: Dot::new(XaeroID::from([1; 32]), 7),
            clock: Clock::from_millis(1_000),
            latest_ts: 5,
            deps,
            event_type: EventType::ApplicationEvent(30),
            payload,
        };
        frame::encode_into(&mut out, &record).unwrap();
        out
    }

    #[test]
    fn a_record_survives_a_round_trip_at_any_offset() {
        let deps = [Dot::new(XaeroID::from([2; 32]), 3), Dot::new(XaeroID::from([3; 32]), 1)];
        for offset in 0..9 {
            let mut bytes = vec![0xAA; offset];
            bytes.extend(frame_of(b"payload", &deps));
            bytes.extend([0xBB; 5]);
            let (view, length) = open(&bytes[offset..]).unwrap();
            assert_eq!(length, bytes.len() - offset - 5);
            assert_eq!(view.payload(), b"payload");
            assert_eq!(view.deps().collect::<Vec<_>>(), deps);
            assert_eq!(view.dot(), Dot::new(XaeroID::from([1; 32]), 7));
            assert_eq!(view.latest_ts(), 5);
        }
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let good = frame_of(b"twenty bytes of text", &[]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn no_shortened_frame_is_read() {
        let good = frame_of(b"payload", &[]);
        for length in 0..good.len() {
            assert!(open(&good[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_record_without_its_payload_has_the_same_id_and_all_other_fields() {
        let deps = [Dot::new(XaeroID::from([2; 32]), 3)];
        for payload in [&b""[..], b"payload", &[7; 5_000]] {
            let whole = frame_of(payload, &deps);
            let (whole, _) = open(&whole).unwrap();
            let short = whole.withheld_frame().unwrap();
            let (view, length) = open(&short).unwrap();
            assert_eq!((length, view.is_withheld(), view.payload()), (short.len(), true, &b""[..]));
            assert_eq!(view.payload_bytes(), payload.len());
            assert_eq!((view.id(), view.dot(), view.clock()), (whole.id(), whole.dot(), whole.clock()));
            assert_eq!(view.deps().collect::<Vec<_>>(), deps);
            assert_eq!(crate::wire::record::ids_of(&[view, whole]), [whole.id(); 2]);
            // Leaving it out once more changes nothing.
            assert_eq!(view.withheld_frame().unwrap(), short);
            for bit in 0..short.len() * 8 {
                let mut bad = short.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&bad).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn what_stands_for_a_payload_is_a_length_and_a_hash_and_never_that_of_an_event_about_rights() {
        let record = |event_type, payload| Record {
            subject: SubjectId::from([9; 32]),
            dot: Dot::new(XaeroID::from([1; 32]), 7),
            clock: Clock::from_millis(1_000),
            latest_ts: 5,
            deps: &[],
            event_type,
            payload,
        };
        let opened = |event_type, payload| {
            let mut out = Vec::new();
            frame::encode_withheld_into(&mut out, &record(event_type, payload)).unwrap();
            open(&out).map(|(view, _)| view.payload_bytes())
        };
        let tag = EventType::ApplicationEvent(30);
        assert_eq!(opened(tag, &[0; 36]), Ok(0));
        assert!(matches!(opened(tag, &[0; 35]), Err(FrameError::Malformed(_))));
        assert!(matches!(opened(tag, &[0; 37]), Err(FrameError::Malformed(_))));
        assert!(matches!(opened(tag, &[255; 36]), Err(FrameError::PayloadTooLarge(_))));
        assert!(matches!(opened(EventType::SystemEvent(1), &[0; 36]), Err(FrameError::Malformed(_))));
        let mut out = Vec::new();
        frame::encode_into(&mut out, &record(EventType::SystemEvent(1), b"grant")).unwrap();
        assert_eq!(open(&out).unwrap().0.withheld_frame(), None);
    }

    #[test]
    fn the_id_is_the_same_from_the_record_and_from_its_archive() {
        let deps = [Dot::new(XaeroID::from([2; 32]), 3)];
        let bytes = frame_of(b"payload", &deps);
        let (view, _) = open(&bytes).unwrap();
        let record = Record {
            subject: view.subject(),
            dot: view.dot(),
            clock: view.clock(),
            latest_ts: view.latest_ts(),
            deps: &deps,
            event_type: view.event_type(),
            payload: view.payload(),
        };
        assert_eq!(record.id(&blake3::hash(b"payload")), view.id());
    }

    /// What is left out where a block was compared as a whole is the comparison, and nothing else.
    #[test]
    fn a_verified_frame_is_read_without_its_checksum_and_with_all_other_checks() {
        let good = frame_of(b"payload", &[]);
        assert_eq!(open_verified(&good).unwrap().0.payload(), b"payload");
        let mut other_checksum = good.clone();
        other_checksum[frame::HEADER_BYTES - 1] ^= 1;
        assert!(open(&other_checksum).is_err());
        assert!(open_verified(&other_checksum).is_ok());
        for length in 0..good.len() {
            assert!(open_verified(&good[..length]).is_err(), "{length} bytes");
        }
        for (at, flip) in [(0, 1), (4, 2), (5, 2), (6, 1), (7, 1), (12, 1), (14, 1)] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(open_verified(&bad).is_err(), "byte {at} of the header");
        }
        // The relative pointer to the payload, anywhere: it stays in the record or is refused.
        for bit in frame::HEADER_BYTES * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok((view, _)) = open_verified(&bad) {
                assert!(view.payload().len() < good.len());
            }
        }
    }
}
