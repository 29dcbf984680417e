use proptest::prelude::*;

use super::*;
use crate::wire::{archive, clock::Clock, frame, id::Dot, id::SubjectId, record::Record};

fn id(byte: u8) -> XaeroID {
    XaeroID::from([byte; 32])
}

fn frame_of(author: u8, event_type: EventType, millis: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let record = Record {
        subject: SubjectId::from([9; 32]),
        dot: Dot::new(id(author), 1),
        clock: Clock::from_millis(millis),
        latest_ts: 5,
        deps: &[],
        event_type,
        payload: b"payload",
    };
    frame::encode_into(&mut out, &record).unwrap();
    out
}

#[test]
fn an_event_has_to_be_right_in_every_respect_that_is_asked_about() {
    let tag = EventType::ApplicationEvent(30);
    let filter =
        ReplicaFilter::all().author(id(2)).author(id(1)).event_type(tag).window(ScanWindow { start: 10, end: 20 });
    assert_eq!(filter.authors(), [id(1), id(2)]);
    let interest = Interest { filter, own: vec![id(7)] };
    let kept = |author, event_type, millis| {
        let frame = frame_of(author, event_type, millis);
        let record = archive::open(&frame).unwrap().0;
        (interest.keeps_author(id(author), false), interest.keeps_payload(&record))
    };
    assert_eq!(kept(1, tag, 10), (true, true));
    assert_eq!(kept(2, tag, 19), (true, true));
    assert_eq!(kept(2, tag, 20), (true, false));
    assert_eq!(kept(2, tag, 9), (true, false));
    assert_eq!(kept(2, EventType::ApplicationEvent(31), 10), (true, false));
    assert_eq!(kept(3, tag, 10), (false, false));
    assert_eq!(kept(7, EventType::ApplicationEvent(31), 99), (true, true), "its own are kept whole");
    assert_eq!(kept(3, EventType::SystemEvent(1), 99), (false, true), "of an owner it would be there whole");
    assert!(interest.keeps_author(id(3), true));
    assert!(Interest::default().is_whole() && !interest.is_whole());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let whole = Interest { filter: ReplicaFilter::all().author(id(1)).author(id(2)), own: vec![id(3)] };
    let mut good = Vec::new();
    whole.encode_into(&mut good);
    assert_eq!(Interest::decode(&good), Ok(whole));
    for length in 0..good.len() {
        assert!(Interest::decode(&good[..length]).is_err(), "{length} bytes");
    }
    assert!(Interest::decode(&[good.as_slice(), &[0]].concat()).is_err());
    let mut swapped = good.clone();
    swapped[2..66].rotate_left(32);
    assert_eq!(Interest::decode(&swapped), Err(ProofError::BadField("authors asked for")));
    let mut many = good.clone();
    many[..2].copy_from_slice(&1_025_u16.to_le_bytes());
    assert_eq!(Interest::decode(&many), Err(ProofError::BadField("authors asked for")));
    let mut no_time = good;
    let end = no_time.len() - 8;
    no_time[end..].fill(0);
    assert_eq!(Interest::decode(&no_time), Err(ProofError::BadField("time asked for")));
}

#[test]
fn own_writers_are_added_until_there_is_no_room_and_none_is_taken_back() {
    let filter = ReplicaFilter::all().author(id(1));
    let first = Interest { filter, own: Vec::new() }.with_own(&[id(200), id(100), id(200)]);
    assert_eq!(first.own, [id(100), id(200)]);
    let writer = |n: u16| XaeroID::from(std::array::from_fn(|at| n.to_be_bytes()[at % 2]));
    let many: Vec<XaeroID> = (0..300).map(writer).collect();
    let full = first.with_own(&many);
    assert_eq!(full.own.len(), MAX_OWN_WRITERS);
    assert!(full.own.is_sorted() && [id(100), id(200)].iter().all(|own| full.own.contains(own)));
    assert_eq!(full.with_own(&[id(250)]), full);
}

#[test]
fn the_longest_interest_is_as_long_as_is_said() {
    let mut filter = ReplicaFilter::all();
    for variant in 0..5 {
        for code in 0..=u8::MAX {
            filter = filter.event_type(EventType::from_bytes([variant, code]).unwrap());
        }
    }
    let author = |n: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        XaeroID::from(bytes)
    };
    for n in 0..MAX_FILTER_AUTHORS {
        filter = filter.author(author(n));
    }
    let interest = Interest { filter, own: (0..MAX_OWN_WRITERS).map(author).collect() };
    let mut bytes = Vec::new();
    interest.encode_into(&mut bytes);
    assert_eq!(bytes.len(), MAX_INTEREST_BYTES);
    assert_eq!(Interest::decode(&bytes), Ok(interest));
}

proptest! {
    #[test]
    fn what_is_written_is_read(authors in prop::collection::btree_set(any::<[u8; 32]>(), 0..9),
        own in prop::collection::btree_set(any::<[u8; 32]>(), 0..9),
        codes in prop::collection::vec(any::<u8>(), 0..9), start in 0..u64::MAX) {
        let mut filter = ReplicaFilter::all().window(ScanWindow { start, end: u64::MAX });
        for code in codes {
            filter = filter.event_type(EventType::ApplicationEvent(code));
        }
        for author in authors {
            filter = filter.author(XaeroID::from(author));
        }
        let interest = Interest { filter, own: own.into_iter().map(XaeroID::from).collect() };
        let mut bytes = Vec::new();
        interest.encode_into(&mut bytes);
        prop_assert_eq!(Interest::decode(&bytes), Ok(interest));
    }

    #[test]
    fn no_bytes_are_read_as_what_would_be_written_otherwise(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(interest) = Interest::decode(&bytes) {
            let mut again = Vec::new();
            interest.encode_into(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}
