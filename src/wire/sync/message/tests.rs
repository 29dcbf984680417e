//! Every message is read as it was written, has one form, and keeps its limits.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::wire::{
    head::{HeadBatch, LogHead},
    interest::ReplicaFilter,
    sign::{Signer, tests::identity},
    sync::{
        EventsBuilder, HEADER_BYTES, Header, LogProof, Other, Role, Versions, hello::Binding, others::MAX_HOPS,
        tag::MAX_TAGS,
    },
    test_log::{SUBJECT, TestLog},
};

/// Any message of plain fields.
fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        vec(any::<[u8; 16]>(), 1..50).prop_map(|tags| Message::Tags(tags.into_iter().map(Tag::from_bytes).collect())),
        (any::<u16>(), "[^\\p{C}]{0,60}").prop_map(|(code, text)| {
            Message::Bye(Bye { reason: ByeReason::from_code(code), text: shortened(&text) })
        }),
        any::<[u8; 16]>().prop_map(|tag| Message::Open(Tag::from_bytes(tag))),
        (any::<Hash>(), any::<u64>(), any::<Hash>()).prop_map(|(root, events, cuts)| Message::Summary(Summary {
            root,
            events,
            cuts
        })),
        any_vector().prop_map(Message::Vector),
        (any::<Hash>(), any::<u64>()).prop_map(|(root, events)| Message::CaughtUp { root, events }),
        any::<bool>().prop_map(Message::Push),
        any::<[u8; 32]>().prop_map(|author| {
            let filter = ReplicaFilter::all().author(XaeroID::from(author));
            Message::Interest(Box::new(Interest { filter, own: vec![XaeroID::from(author)] }))
        }),
        vec((1..=MAX_HOPS, any::<[u8; 32]>(), vec(any::<(u32, u16)>(), 0..3)), 0..20).prop_map(|mut others| {
            others.sort();
            let other = |(hops, endpoint, addrs): (u8, [u8; 32], Vec<(u32, u16)>)| {
                let addrs = addrs.into_iter().map(|(ip, port)| (std::net::Ipv4Addr::from(ip), port).into()).collect();
                Other { hops, endpoint: endpoint.into(), addrs }
            };
            Message::Others(Others::nearest_of(others.into_iter().map(other)))
        }),
    ]
}

fn any_vector() -> impl Strategy<Value = Vector> {
    let entries = proptest::collection::btree_map(any::<[u8; 32]>(), (1..u64::MAX, any::<Hash>()), 0..20);
    (entries, any::<bool>(), any::<bool>()).prop_map(|(entries, more, push)| {
        let entry = |(author, (length, root)): ([u8; 32], (u64, Hash))| VectorEntry::new(author.into(), length, &root);
        Vector { entries: entries.into_iter().map(entry).collect(), more, push }
    })
}

/// Of every kind that has more than plain fields.
fn signed() -> Vec<Message> {
    let binding = Binding { exported: [1; 32], dialer: [2; 32], acceptor: [3; 32] };
    let key = identity().public_key();
    let hello = Hello::sign(identity(), key, Versions::OURS, Role::Dialer, &binding).unwrap();
    let log = TestLog::new(3);
    let mut builder = EventsBuilder::new();
    assert!(log.frames().into_iter().all(|frame| builder.push(frame)));
    let proof = LogProof { key: Some(key.clone()), head: log.head(3), length: 3, path: Vec::new() };
    assert!(builder.prove(&proof));
    let other = TestLog::forked(3, 2);
    let half = |log: &TestLog| crate::wire::fork::ForkHalf::new(log.id(2), log.inclusion(2, 3), log.head(3));
    let evidence = ForkEvidence::new(half(&log), half(&other)).unwrap();
    vec![
        Message::Hello(Box::new(hello)),
        Message::Events(builder.finish().unwrap()),
        Message::Fork(Box::new(Fork { key: key.clone(), evidence })),
    ]
}

/// The message that these bytes are, if they are one and nothing else.
fn read(bytes: &[u8]) -> Result<Option<Message>, SyncError> {
    let (head, body) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
    let header = Header::decode(*head)?;
    assert_eq!(header.length, body.len());
    Message::decode(header.kind, body.to_vec())
}

/// Whatever one byte is changed to: the message is refused, or is another one that is written just so.
fn every_altered_byte_is_refused_or_means_something_else(message: &Message) {
    let good = message.encode();
    for at in HEADER_BYTES..good.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            if let Ok(Some(other)) = read(&bytes) {
                assert_ne!(other, *message, "byte {at}");
                assert_eq!(other.encode(), bytes, "byte {at}");
            }
        }
    }
    let (body, kind) = (&good[HEADER_BYTES..], message.kind());
    for length in 0..body.len() {
        assert!(Message::decode(kind, body[..length].to_vec()).is_err(), "{length} bytes of {kind}");
    }
    assert!(Message::decode(kind, [body, &[0]].concat()).is_err(), "{kind} with a byte too many");
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in any_message()) {
        prop_assert_eq!(read(&message.encode()), Ok(Some(message)));
    }

    #[test]
    fn every_altered_byte_of_a_message_is_refused_or_means_something_else_(message in any_message()) {
        every_altered_byte_is_refused_or_means_something_else(&message);
    }

    #[test]
    fn bytes_that_are_read_are_written_alike(kind: u8, body in vec(any::<u8>(), 0..200)) {
        let kind = Kind::from_byte(kind);
        if let Ok(Some(message)) = Message::decode(kind, body.clone()) {
            prop_assert_eq!(&message.encode()[HEADER_BYTES..], body);
        }
    }

    #[test]
    fn whatever_is_said_at_the_end_can_be_read(text in "\\PC{0,300}|[\\x00-\\x7F]{0,300}") {
        let bytes = Message::Bye(Bye { reason: ByeReason::Failed, text: text.clone() }).encode();
        let Ok(Some(Message::Bye(bye))) = read(&bytes) else { panic!("it is refused") };
        prop_assert!(bye.text.len() <= MAX_BYE_TEXT && !bye.text.contains(char::is_control));
        let clean: String = text.chars().filter(|character| !character.is_control()).collect();
        prop_assert!(clean.starts_with(&bye.text));
    }
}

#[test]
fn what_is_signed_is_read_as_it_was_written() {
    for message in signed() {
        assert_eq!(read(&message.encode()), Ok(Some(message)));
    }
}

#[test]
fn every_altered_byte_of_what_is_signed_is_refused_or_means_something_else() {
    signed().iter().for_each(every_altered_byte_is_refused_or_means_something_else);
}

#[test]
fn a_kind_that_may_be_skipped_is_whatever_it_says() {
    for byte in 130..=u8::MAX {
        assert_eq!(Message::decode(Kind::from_byte(byte), vec![0xAB; 100]), Ok(None));
    }
}

#[test]
fn a_vector_keeps_its_limit_and_its_order() {
    let entry = |n: usize| {
        let mut author = [0; 32];
        author[..8].copy_from_slice(&n.to_be_bytes());
        VectorEntry::new(author.into(), 1, &[0; 32])
    };
    let vector = |entries| Message::Vector(Vector { entries, more: false, push: false });
    let most = vector((0..MAX_VECTOR_ENTRIES).map(entry).collect());
    assert_eq!(read(&most.encode()), Ok(Some(most)));
    let bad = |entries: Vec<VectorEntry>, field| {
        let body = vector(entries).encode().split_off(HEADER_BYTES);
        assert_eq!(Message::decode(Kind::VECTOR, body), Err(SyncError::BadField { kind: Kind::VECTOR, field }));
    };
    bad((0..=MAX_VECTOR_ENTRIES).map(entry).collect(), "number of entries");
    bad(vec![entry(2), entry(1)], "order of entries");
    bad(vec![entry(1), entry(1)], "order of entries");
    bad(vec![VectorEntry { length: 0, ..entry(1) }], "order of entries");
    // A number of entries that the bytes do not hold asks for no memory.
    let mut body = vector(vec![entry(1)]).encode().split_off(HEADER_BYTES);
    body[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Message::decode(Kind::VECTOR, body).is_err());
}

#[test]
fn tags_are_one_at_least_and_keep_their_limit() {
    let tags = |count| Message::Tags(vec![Tag::from_bytes([7; 16]); count]);
    assert_eq!(read(&tags(MAX_TAGS).encode()), Ok(Some(tags(MAX_TAGS))));
    for count in [0, MAX_TAGS + 1] {
        let body = tags(count).encode().split_off(HEADER_BYTES);
        assert!(Message::decode(Kind::TAGS, body).is_err(), "{count}");
    }
}

#[test]
fn the_longest_message_of_each_kind_is_within_the_limit_of_its_kind() {
    let head = LogHead { subject: SUBJECT.into(), author: identity().id(), length: u64::MAX, root: [0; 32] };
    let head = HeadBatch::sign(identity(), vec![head]).unwrap().signed_head(0).unwrap();
    let text = "x".repeat(1_000);
    for message in signed().into_iter().chain([
        Message::Bye(Bye { reason: ByeReason::Other(u16::MAX), text }),
        Message::Open(Tag::from_bytes([0; 16])),
        Message::Summary(Summary { root: [0; 32], events: u64::MAX, cuts: [0; 32] }),
        Message::CaughtUp { root: [0; 32], events: u64::MAX },
        Message::Push(true),
    ]) {
        assert!(message.encode().len() - HEADER_BYTES <= message.kind().limit().unwrap(), "{}", message.kind());
    }
    assert!(head.encode().len() <= crate::wire::head::MAX_SIGNED_HEAD_BYTES);
}
