//! The seeds of the fuzz targets for what peers say to each other, good and corrupt.
//!
//! All are signed with keys that are thrown away. The chunks of events go with a fixture, which has the whole logs of
//! their authors and is written together with them: the tests have to be built once more after that.

use std::{fs, path::Path};

use xaeroflux::{
    EventType, ReplicaFilter, SubjectId, XaeroID,
    wire::{
        fork::{ForkEvidence, ForkHalf},
        interest::Interest,
        sign::SecretIdentity,
        sync::{
            Bye, ByeReason, Events, Fork, Hello, LogProof, Message, Other, Others, Role, Summary, Tag, Vector,
            VectorEntry, Versions,
        },
    },
};

use super::{
    checks::{sync_events::SUBJECT, sync_hello::BINDING},
    writer::{self, Writer, chunk},
};

struct Seeds<'a>(&'a Path);

impl<'a> Seeds<'a> {
    fn new(dir: &'a Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        Self(dir)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name).with_extension("bin"), bytes).unwrap();
    }

    /// What can happen to any bytes.
    fn spoil(&self, good: &[u8]) {
        let altered = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.to_vec();
            change(&mut bytes);
            bytes
        };
        self.write("empty", &[]);
        self.write("zeros", &vec![0; good.len()]);
        self.write("cut_short", &good[..good.len() * 2 / 3]);
        self.write("last_byte_missing", &good[..good.len() - 1]);
        self.write("trailing_byte", &altered(&|bytes| bytes.push(0)));
        self.write("largest_numbers", &altered(&|bytes| bytes.iter_mut().take(16).for_each(|byte| *byte = 0xFF)));
    }
}

fn log(events: u64) -> Writer {
    writer::log(SubjectId::from(SUBJECT), events)
}

/// One of each kind, and such as no peer sends.
pub fn messages(dir: &Path) {
    let (seeds, log) = (Seeds::new(dir), log(3));
    let summary = Message::Summary(Summary { root: [1; 32], events: 7, cuts: [2; 32] }).encode();
    seeds.write("good", &summary);
    seeds.spoil(&summary);

    let identity = SecretIdentity::generate().unwrap();
    let hello = Hello::sign(&identity, identity.public_key(), Versions::OURS, Role::Dialer, &BINDING).unwrap();
    seeds.write("good_hello", &Message::Hello(Box::new(hello)).encode());
    let tags = Message::Tags(vec![Tag::from_bytes([1; 16]), Tag::from_bytes([2; 16])]).encode();
    seeds.write("good_tags", &tags);
    seeds.write("tags_none", &[2, 4, 0, 0, 0, 0, 0, 0, 0]);
    let bye = Bye { reason: ByeReason::Stopping, text: "the node stops".to_owned() };
    let bye = Message::Bye(bye).encode();
    seeds.write("good_bye", &bye);
    seeds.write("bye_with_a_line_break", &changed(&bye, 9, b'\n'));
    seeds.write("bye_that_is_not_text", &changed(&bye, 9, 0xFF));
    seeds.write("good_bye_for_a_reason_of_later", &changed(&bye, 5, 77));
    seeds.write("good_open", &Message::Open(Tag::from_bytes([3; 16])).encode());
    let entry = |author: u8| VectorEntry::new(XaeroID::from([author; 32]), 5, &[9; 32]);
    let vector = Message::Vector(Vector { entries: vec![entry(1), entry(2)], more: true, push: false }).encode();
    seeds.write("good_vector", &vector);
    seeds.write("good_vector_of_nothing", &Message::Vector(Vector::default()).encode());
    seeds.write("vector_out_of_order", &changed(&vector, 5 + 5, 3));
    seeds.write("vector_with_an_unknown_flag", &changed(&vector, 5, 4));
    seeds.write("vector_of_an_empty_log", &changed(&vector, 5 + 5 + 32, 0));
    let events = Message::Events(log.whole()).encode();
    seeds.write("good_events", &events);
    seeds.write("events_of_no_event", &changed(&events, 5, 0));
    seeds.write("events_of_no_author", &changed(&events, 5 + 4, 0));
    seeds.write("events_with_an_unknown_flag", &changed(&events, 5 + 12 + log.whole().frames().len(), 2));
    seeds.write("good_caught_up", &Message::CaughtUp { root: [4; 32], events: 9 }.encode());
    let mut other = log.branch(1);
    other.write(b"another history");
    let half = |log: &Writer| ForkHalf::new(log.ids()[1].into(), log.inclusion(2), log.head());
    let evidence = ForkEvidence::new(half(&log), half(&other)).unwrap();
    seeds.write("good_fork", &Message::Fork(Box::new(Fork { key: log.key().clone(), evidence })).encode());
    seeds.write("good_push", &Message::Push(true).encode());
    seeds.write("push_maybe", &[22, 1, 0, 0, 0, 2]);
    let interest = Interest {
        filter: ReplicaFilter::all().author(XaeroID::from([1; 32])).event_type(EventType::ApplicationEvent(30)),
        own: vec![XaeroID::from([2; 32])],
    };
    let interest = Message::Interest(Box::new(interest)).encode();
    seeds.write("good_interest", &interest);
    seeds.write("interest_in_more_authors_than_there_are", &changed(&interest, 5, 2));
    let no_time = [&interest[..interest.len() - 8], &[0; 8]].concat();
    seeds.write("interest_in_a_time_that_is_none", &no_time);
    let others = Others::nearest_of([1, 2].map(|name| Other {
        hops: 1,
        endpoint: [name; 32].into(),
        addrs: vec![([192, 0, 2, name], 4433).into()],
    }));
    seeds.write("good_others", &Message::Others(others.clone()).encode());
    seeds.write("others_out_of_order", &changed(&Message::Others(others).encode(), 5 + 1 + 41 + 1, 0));
    seeds.write("of_an_unknown_kind", &[99, 0, 0, 0, 0]);
    seeds.write("that_may_be_skipped", &[200, 1, 0, 0, 0, 7]);
    seeds.write("of_a_giant_length", &[19, 0xFF, 0xFF, 0xFF, 0xFF]);
}

/// The hello of a dialer on the connection of the seeds, and such as nobody says.
pub fn hellos(dir: &Path) {
    let seeds = Seeds::new(dir);
    let identity = SecretIdentity::generate().unwrap();
    let says = |versions, role| {
        let mut body = Vec::new();
        Hello::sign(&identity, identity.public_key(), versions, role, &BINDING).unwrap().encode_body(&mut body);
        body
    };
    let good = says(Versions::OURS, Role::Dialer);
    seeds.write("good", &good);
    seeds.spoil(&good);
    let newer = Versions { minor: 200, features: u32::MAX, ..Versions::OURS };
    seeds.write("good_of_a_newer_minor_version", &says(newer, Role::Dialer));
    seeds.write("of_another_major_version", &says(Versions { major: 200, ..Versions::OURS }, Role::Dialer));
    seeds.write("of_the_acceptor", &says(Versions::OURS, Role::Acceptor));
    seeds.write("with_another_minor_version_than_was_signed", &changed(&good, 7, 100));
    seeds.write("with_another_signature", &changed(&good, good.len() - 1, good[good.len() - 1] ^ 1));
}

/// Chunks of two logs that are the fixture, and such as an honest peer does not send.
pub fn events(dir: &Path, logs: &Path) {
    let seeds = Seeds::new(dir);
    let (one, two) = (log(8), log(3));
    let of_both = |events: u64| {
        let frames = (1..=events).map(|seq| one.frame(seq)).chain((1..=3).map(|seq| two.frame(seq)));
        chunk(frames, [one.proof(events), two.proof(3)])
    };
    fs::create_dir_all(logs.parent().unwrap()).unwrap();
    fs::write(logs, of_both(8).body()).unwrap();
    let write = |name: &str, chunk: &Events| seeds.write(name, chunk.body());
    let good = of_both(5);
    write("good", &good);
    seeds.spoil(good.body());
    write("good_beginning_of_one", &one.chunk(1..=1));
    write("good_continuation", &one.chunk(6..=8));
    write("good_continuation_from_the_middle", &one.chunk(3..=4));
    let without_key = LogProof { key: None, ..one.proof(8) };
    write("good_continuation_without_a_key", &chunk([one.frame(7), one.frame(8)], [without_key]));
    write("with_a_gap", &chunk([one.frame(1), one.frame(3)], [one.proof(3)]));
    write("in_another_order", &chunk([one.frame(2), one.frame(1)], [one.proof(2)]));
    write("with_a_proof_of_nothing", &chunk([one.frame(1), one.frame(2)], [one.proof(2), two.proof(3)]));
    write("without_a_proof", &chunk([one.frame(1), two.frame(1)], [one.proof(1)]));
    let mut never_signed = one.branch(1);
    never_signed.write(b"never signed");
    write("with_an_altered_event", &chunk([one.frame(1), never_signed.frame(2)], [one.proof(2)]));
    let mut another_history = one.branch(4);
    (0..4).for_each(|_| another_history.write(b"another history"));
    write("of_another_history", &chunk([another_history.frame(8)], [another_history.proof(8)]));
    write("with_a_proof_of_another_length", &chunk([one.frame(1), one.frame(2)], [one.proof(3)]));
    let mut elsewhere = Writer::of(one.identity(), SubjectId::from([7; 32]));
    elsewhere.write(b"elsewhere");
    write("of_another_subject", &elsewhere.whole());
    write("with_a_head_of_another_subject", &chunk([one.frame(1)], [elsewhere.proof(1)]));
}

fn changed(bytes: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] = byte;
    bytes
}
