//! What a peer does that does not keep the rules, and what becomes of it: it is cut off, counted and named; the log that it
//! lied to stays as it was, and goes on syncing with everybody else.
//!
//! The peer, Eve, speaks the real transport, has a key of her own and knows the subject's secret: whoever has less gets
//! less far. What memory she can make a node use is in `hostile_memory.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod hostile_kit;

use hostile_kit::{
    Eve, Stream, header,
    scene::{Peer, Scene},
    until,
    writer::{Writer, chunk},
};
use xaeroflux::{
    Dot, Notice, XaeroID,
    wire::{
        fork::{ForkEvidence, ForkHalf},
        head::{LogHead, SignedHead},
        sync::{
            Events, Fork, HEADER_BYTES, Kind, LogProof, Message, Summary, Tag, Vector, VectorEntry,
            message::MAX_VECTOR_ENTRIES, tag::MAX_TAGS,
        },
    },
};

/// A log of Eve's of so many events, of which nobody knows anything.
fn log(scene: &Scene, events: u64) -> Writer {
    let mut writer = Writer::new(scene.id());
    for n in 0..events {
        writer.write(format!("event {n}").as_bytes());
    }
    writer
}

/// Eve is asked for what she has, sends this, and is cut off for it.
fn is_cut_off_for(events: impl FnOnce(&Scene) -> Events, what: &str) {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    stream.is_asked();
    stream.says(&Message::Events(events(&scene)));
    scene.cuts_off_and_tells(&eve, what);
    scene.is_unharmed();
}

/// Eve says this once both have compared what they have, and is cut off for it.
fn is_cut_off_for_saying(what: &str, says: impl FnOnce(&Scene, &mut Stream)) {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    stream.has_the_same();
    says(&scene, &mut stream);
    scene.cuts_off_and_tells(&eve, what);
    scene.is_unharmed();
}

// What keeps the rules.

#[test]
fn what_keeps_the_rules_is_taken_and_passed_on() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    let writer = log(&scene, 3);
    assert_eq!(stream.is_asked().entries.len(), 2);
    stream.says(&Message::Events(writer.whole()));
    stream.says_caught_up();
    scene.is_unharmed_with(&[(writer.id(), 3)]);
    scene.is_served(&eve);
}

#[test]
fn a_message_that_may_be_skipped_is() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    let writer = log(&scene, 2);
    for length in [0, 1, 64 << 10] {
        stream.raw(&header(Kind::from_byte(200), length));
        stream.raw(&vec![0xAB; length as usize]);
    }
    stream.is_asked();
    stream.raw(&header(Kind::from_byte(255), 0));
    stream.says(&Message::Events(writer.whole()));
    scene.is_unharmed_with(&[(writer.id(), 2)]);
    scene.is_served(&eve);
}

// Events that are not what they seem.

#[test]
fn an_altered_event_is_not_taken() {
    let altered = |scene: &Scene| {
        let writer = log(scene, 3);
        let mut other = writer.branch(1);
        other.write(b"never signed");
        chunk([writer.frame(1), other.frame(2), writer.frame(3)], [writer.proof(3)])
    };
    is_cut_off_for(altered, "signed head does not cover");
}

#[test]
fn an_altered_event_further_on_in_a_log_is_found_out_when_it_comes_again() {
    let scene = Scene::new();
    let (mut eve, mut stream) = scene.eve();
    let writer = log(&scene, 4);
    let mut other = writer.branch(2);
    other.write(b"never signed");
    let altered = chunk([other.frame(3), writer.frame(4)], [writer.proof(4)]);
    stream.is_asked();
    stream.says(&Message::Events(writer.branch(2).whole()));
    stream.says(&Message::Events(altered.clone()));
    // It might be that the author has signed two histories: the two sides compare what they have once more.
    let mut stream = eve.opens_again(&scene.ticket);
    assert!(stream.is_asked().entries.iter().any(|entry| (entry.author, entry.length) == (writer.id(), 2)));
    stream.says(&Message::Events(altered));
    scene.cuts_off_and_tells(&eve, "signed head does not cover");
    scene.is_unharmed_with(&[(writer.id(), 2)]);
}

#[test]
fn an_altered_head_is_not_taken() {
    let altered = |scene: &Scene| {
        let writer = log(scene, 3);
        let mut head = writer.head().encode();
        *head.last_mut().unwrap() ^= 1;
        let proof = LogProof { head: SignedHead::decode(&head).unwrap(), ..writer.proof(3) };
        chunk((1..=3).map(|seq| writer.frame(seq)), [proof])
    };
    is_cut_off_for(altered, "signed head does not cover");
}

#[test]
fn an_altered_head_of_a_log_that_is_here_is_not_taken_for_a_fork() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    let writer = log(&scene, 4);
    stream.is_asked();
    stream.says(&Message::Events(writer.branch(2).whole()));
    let mut head = writer.head().encode();
    *head.last_mut().unwrap() ^= 1;
    let proof = LogProof { head: SignedHead::decode(&head).unwrap(), ..writer.proof(4) };
    stream.says(&Message::Events(chunk([writer.frame(3), writer.frame(4)], [proof])));
    scene.cuts_off_and_tells(&eve, "signed head does not cover");
    scene.is_unharmed_with(&[(writer.id(), 2)]);
}

#[test]
fn events_with_a_gap_between_them_are_not_taken() {
    let gap = |scene: &Scene| {
        let writer = log(scene, 3);
        chunk([writer.frame(1), writer.frame(3)], [writer.proof(3)])
    };
    is_cut_off_for(gap, "where event 2 of its author comes next");
}

#[test]
fn events_that_do_not_begin_where_the_log_ends_are_not_taken() {
    is_cut_off_for(|scene| log(scene, 4).chunk(3..=4), "where event 1 of its author comes next");
}

#[test]
fn events_of_another_subject_are_not_taken() {
    let other = |_: &Scene| {
        let mut writer = Writer::new([7; 32].into());
        writer.write(b"elsewhere");
        writer.whole()
    };
    is_cut_off_for(other, "which this stream is not about");
}

#[test]
fn a_proof_about_another_log_of_the_author_shows_nothing() {
    let other = |scene: &Scene| {
        let mut writer = log(scene, 2);
        let mut elsewhere = Writer::of(writer.identity(), [7; 32].into());
        (0..2).for_each(|_| elsewhere.write(b"elsewhere"));
        writer.write(b"never signed");
        chunk([writer.frame(1), writer.frame(2)], [elsewhere.proof(2)])
    };
    is_cut_off_for(other, "signed head does not cover");
}

#[test]
fn events_of_honest_people_cannot_be_made_up() {
    let made_up = |scene: &Scene| {
        let author = scene.carol.author;
        let mut writer = log(scene, 1);
        writer.write_as(Dot::new(author, 2), b"never said");
        let signed = scene.carol.subject.signed_head(author).unwrap().unwrap();
        let proof = LogProof { key: None, head: signed, length: 2, path: Vec::new() };
        chunk([writer.frame(2)], [proof])
    };
    is_cut_off_for(made_up, "signed head does not cover");
}

#[test]
fn an_author_whose_key_never_came_is_not_believed() {
    let without_key = |scene: &Scene| {
        let writer = log(scene, 1);
        chunk([writer.frame(1)], [LogProof { key: None, ..writer.proof(1) }])
    };
    is_cut_off_for(without_key, "whose public key has never been sent");
}

#[test]
fn an_event_that_breaks_a_rule_of_all_replicas_is_not_taken() {
    let backwards = |scene: &Scene| {
        let mut writer = Writer::new(scene.id());
        // Made long before what it says that it has seen.
        writer.write_after(&[Dot::new(scene.alice.author, 1)], b"an effect before its cause");
        writer.whole()
    };
    is_cut_off_for(backwards, "that no replica takes");
}

#[test]
fn events_without_their_causes_wait_and_the_log_goes_on_without_them() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    let mut writer = Writer::new(scene.id());
    for seq in 1..=100 {
        writer.write_after(&[Dot::new(XaeroID::from([9; 32]), seq)], b"an effect without its cause");
    }
    stream.is_asked();
    stream.says(&Message::Events(writer.whole()));
    stream.says_caught_up();
    scene.is_unharmed();
    assert_eq!(scene.alice.events_of(writer.id()), 0);
    scene.is_served(&eve);
}

#[test]
#[ignore = "what an author signed is passed on only where the log here reaches to the end of it"]
fn a_log_whose_end_never_comes_is_passed_on_as_far_as_it_goes() {
    let scene = Scene::new();
    let (_eve, mut stream) = scene.eve();
    let writer = log(&scene, 2);
    stream.is_asked();
    stream.says(&Message::Events(writer.chunk(1..=1)));
    until("the event is not taken", || scene.alice.events_of(writer.id()) == 1);
    // From now on what Alice writes depends on it.
    scene.is_unharmed_with(&[(writer.id(), 1)]);
}

// Two histories of one author.

#[test]
fn who_brings_two_histories_of_an_author_is_thanked_and_the_author_is_cut() {
    let scene = Scene::new();
    let one = log(&scene, 4);
    let mut other = one.branch(2);
    (0..3).for_each(|_| other.write(b"to somebody else"));
    let (eve, mut stream) = scene.eve();
    stream.is_asked();
    stream.says(&Message::Events(one.whole()));
    stream.says(&Message::Events(other.whole()));
    until("there is no notice", || match scene.notices.try_next() {
        Some(Notice::Forked { author, last_valid }) => {
            assert_eq!((author, last_valid), (one.id(), 2));
            true
        }
        _ => false,
    });
    until("the evidence does not get round", || scene.carol.subject.cuts().unwrap().len() == 1);
    assert_eq!(scene.alice.events_of(one.id()), 2);
    until("the two do not agree", || scene.alice.root() == scene.carol.root());
    scene.is_served(&eve);
    assert!(stream.says_caught_up());
    scene.alice.add("later");
    until("the two do not sync any more", || scene.alice.root() == scene.carol.root());
}

#[test]
fn what_continues_another_history_is_found_out_when_it_comes_again() {
    let scene = Scene::new();
    let one = log(&scene, 3);
    let mut other = one.branch(1);
    (0..4).for_each(|_| other.write(b"to somebody else"));
    let (mut eve, mut stream) = scene.eve();
    stream.is_asked();
    stream.says(&Message::Events(one.whole()));
    stream.says(&Message::Events(other.chunk(4..=5)));
    let mut stream = eve.opens_again(&scene.ticket);
    stream.is_asked();
    // Honest would be the other history from its beginning.
    stream.says(&Message::Events(other.chunk(4..=5)));
    scene.cuts_off_and_tells(&eve, "signed head does not cover");
    scene.is_unharmed_with(&[(one.id(), 3)]);
}

#[test]
fn what_continues_another_history_is_cleared_up_by_who_is_honest() {
    let scene = Scene::new();
    let one = log(&scene, 3);
    let mut other = one.branch(1);
    (0..4).for_each(|_| other.write(b"to somebody else"));
    let (mut eve, mut stream) = scene.eve();
    stream.is_asked();
    stream.says(&Message::Events(one.whole()));
    stream.says(&Message::Events(other.chunk(4..=5)));
    let mut stream = eve.opens_again(&scene.ticket);
    let vector = stream.is_asked();
    let entry = vector.entries.iter().find(|entry| entry.author == one.id()).unwrap();
    assert!(entry.has_root(&one.head().head().root) && !entry.has_root(&other.head_at(3).head().root));
    stream.says(&Message::Events(other.whole()));
    stream.says_caught_up();
    until("the author is not cut", || scene.alice.events_of(one.id()) == 1);
    scene.is_served(&eve);
}

#[test]
fn evidence_that_proves_nothing_is_an_offence() {
    let (says, what) = (evidence_of_one_history, "does not hold");
    is_cut_off_for_saying(what, |scene, stream| {
        stream.says(&says(scene));
    });
}

/// The evidence of two histories, of which one is not signed.
fn evidence_of_one_history(scene: &Scene) -> Message {
    let one = log(scene, 2);
    let mut other = one.branch(1);
    other.write(b"never signed");
    let mut head = other.head().encode();
    *head.last_mut().unwrap() ^= 1;
    let theirs = ForkHalf::new(other.ids()[1].into(), other.inclusion(2), SignedHead::decode(&head).unwrap());
    let ours = ForkHalf::new(one.ids()[1].into(), one.inclusion(2), one.head());
    let evidence = ForkEvidence::new(ours, theirs).unwrap();
    Message::Fork(Box::new(Fork { key: one.key().clone(), evidence }))
}

#[test]
fn evidence_about_another_subject_is_an_offence() {
    is_cut_off_for_saying("does not hold", |_, stream| {
        let mut one = Writer::new([7; 32].into());
        let mut other = one.clone();
        one.write(b"one");
        other.write(b"other");
        let half = |log: &Writer| ForkHalf::new(log.ids()[0].into(), log.inclusion(1), log.head());
        let evidence = ForkEvidence::new(half(&one), half(&other)).unwrap();
        stream.says(&Message::Fork(Box::new(Fork { key: one.key().clone(), evidence })));
    });
}

// Messages that are none, or are out of place.

#[test]
fn a_giant_length_is_refused_before_its_body() {
    is_cut_off_for_saying("where 6291468 are the most", |_, stream| {
        stream.raw(&header(Kind::EVENTS, u32::MAX));
    });
}

#[test]
fn a_message_of_an_unknown_kind_that_may_not_be_skipped_is_an_offence() {
    is_cut_off_for_saying("message of kind 99", |_, stream| {
        stream.raw(&header(Kind::from_byte(99), 0));
    });
}

#[test]
fn a_message_that_may_be_skipped_has_its_limit_too() {
    is_cut_off_for_saying("where 65536 are the most", |_, stream| {
        stream.raw(&header(Kind::from_byte(200), 65_537));
    });
}

#[test]
fn garbage_is_an_offence() {
    is_cut_off_for_saying("the peer sent a", |_, stream| {
        stream.raw(&[0x5A; 4096]);
    });
}

#[test]
fn events_before_anything_is_known_are_an_offence() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    stream.says(&Message::Events(log(&scene, 1).whole()));
    scene.cuts_off_and_tells(&eve, "events message on a subject's stream, where it has no place");
    scene.is_unharmed();
}

#[test]
fn a_caught_up_that_answers_nothing_is_an_offence() {
    is_cut_off_for_saying("answers no version vector", |_, stream| {
        stream.says_caught_up();
    });
}

#[test]
fn a_message_of_the_control_stream_has_no_place_on_a_subjects_stream() {
    is_cut_off_for_saying("where it has no place", |_, stream| {
        stream.says(&Message::Tags(vec![Tag::from_bytes([1; 16])]));
    });
}

#[test]
fn a_message_of_a_subjects_stream_has_no_place_on_the_control_stream() {
    let scene = Scene::new();
    let (mut eve, _stream) = scene.eve();
    eve.says(&Message::Push(true));
    scene.cuts_off(&eve, "on the control stream");
    scene.is_unharmed();
}

// Version vectors.

fn entries(from: u64, count: u64) -> Vec<VectorEntry> {
    let entry = |n: u64| {
        let mut author = [0; 32];
        author[..8].copy_from_slice(&n.to_be_bytes());
        VectorEntry::new(author.into(), 1, &[0; 32])
    };
    (from..from + count).map(entry).collect()
}

#[test]
fn a_version_vector_of_a_million_entries_is_refused_long_before_its_end() {
    is_cut_off_for_saying("of more than 65536 authors", |_, stream| {
        let each = MAX_VECTOR_ENTRIES as u64;
        let part = |n| Message::Vector(Vector { entries: entries(n * each, each), more: true, push: false });
        (0..=1_000_000 / each).map(part).all(|part| stream.says(&part));
    });
}

#[test]
fn a_version_vector_of_one_message_has_its_limit_too() {
    is_cut_off_for_saying("vector message of 56000005 bytes", |_, stream| {
        stream.raw(&header(Kind::VECTOR, 5 + 1_000_000 * 56));
    });
}

#[test]
fn a_version_vector_out_of_order_is_an_offence() {
    is_cut_off_for_saying("order of entries", |_, stream| {
        let mut entries = entries(0, 10);
        entries.swap(3, 4);
        stream.says(&Message::Vector(Vector { entries, more: false, push: false }));
    });
}

#[test]
fn a_version_vector_whose_parts_are_out_of_order_is_an_offence() {
    is_cut_off_for_saying("not ascending by author", |_, stream| {
        stream.says(&Message::Vector(Vector { entries: entries(100, 10), more: true, push: false }));
        stream.says(&Message::Vector(Vector { entries: entries(50, 10), more: false, push: false }));
    });
}

// Too much, too often, too slowly.

#[test]
fn summaries_without_end_are_an_offence() {
    is_cut_off_for_saying("faster than any honest peer does", |scene, stream| {
        let (root, cuts) = (scene.alice.root(), [3; 32]);
        let mut events = 0;
        while stream.says(&Message::Summary(Summary { root, events, cuts })) {
            events += 1;
        }
    });
}

#[test]
fn the_same_chunk_again_and_again_is_an_offence() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    let writer = log(&scene, 50);
    stream.is_asked();
    while stream.says(&Message::Events(writer.whole())) {}
    scene.cuts_off_and_tells(&eve, "again and again");
    scene.is_unharmed_with(&[(writer.id(), 50)]);
}

#[test]
fn a_message_that_comes_byte_by_byte_is_not_waited_for() {
    is_cut_off_for_saying("too slowly", |_, stream| {
        let message = [header(Kind::EVENTS, 1_000), vec![0; 1_000]].concat();
        stream.trickles(&message);
    });
}

#[test]
fn who_does_not_send_what_it_was_asked_for_loses_its_turn_to_others() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    stream.is_asked();
    // Alice downloads from one peer at a time, and Eve has the turn. Now somebody comes with news.
    let dave = Peer::joined(&scene.ticket);
    for n in 0..10 {
        dave.add(&format!("news {n}"));
    }
    until("Eve keeps everybody waiting", || scene.alice.events_of(dave.author) == 10);
    until("Dave gets nothing", || dave.root() == scene.alice.root());
    scene.is_served(&eve);
}

#[test]
fn who_takes_nothing_keeps_nobody_else_waiting() {
    let scene = Scene::new();
    let (_eve, mut stream) = scene.eve();
    // Asks for everything and never reads it: more than the windows hold.
    stream.has_the_same();
    let all = Message::Vector(Vector { entries: Vec::new(), more: false, push: true });
    stream.says(&all);
    let element = "x".repeat(100_000);
    for n in 0..100 {
        scene.alice.add(&format!("{n} {element}"));
    }
    scene.is_unharmed();
}

#[test]
fn ten_thousand_subjects_that_nobody_knows_are_no_offence() {
    let scene = Scene::new();
    let mut eve = Eve::calls(&scene.alice.node);
    let tags: Vec<Tag> = tags(10_000);
    for part in tags.chunks(MAX_TAGS) {
        eve.says(&Message::Tags(part.to_vec()));
    }
    let mut stream = eve.opens(&scene.ticket);
    stream.has_the_same();
    scene.is_served(&eve);
    scene.is_unharmed();
}

#[test]
fn more_subjects_than_anybody_shares_are_an_offence() {
    let scene = Scene::new();
    let mut eve = Eve::calls(&scene.alice.node);
    for part in tags(65_537).chunks(MAX_TAGS) {
        eve.says(&Message::Tags(part.to_vec()));
    }
    scene.cuts_off(&eve, "more tags than anybody needs");
    scene.is_unharmed();
}

fn tags(count: u64) -> Vec<Tag> {
    let tag = |n: u64| {
        let mut bytes = [0x5A; Tag::BYTES];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        Tag::from_bytes(bytes)
    };
    (0..count).map(tag).collect()
}

#[test]
fn streams_about_what_was_never_offered_are_an_offence() {
    let scene = Scene::new();
    let eve = Eve::calls(&scene.alice.node);
    let streams: Vec<Stream> = tags(17).into_iter().map(|tag| eve.opens_with(tag)).collect();
    scene.cuts_off(&eve, "about what was never offered");
    drop(streams);
    scene.is_unharmed();
}

#[test]
fn a_second_stream_of_a_subject_does_not_get_in_the_way_of_the_first() {
    let scene = Scene::new();
    let (mut eve, mut first) = scene.eve();
    let writer = log(&scene, 2);
    first.is_asked();
    let tag = eve.tag(&scene.ticket, xaeroflux::wire::sync::Role::Dialer);
    let _others: Vec<Stream> = (0..10).map(|_| eve.opens_with(tag)).collect();
    first.says(&Message::Events(writer.whole()));
    first.says_caught_up();
    scene.is_unharmed_with(&[(writer.id(), 2)]);
    eve.says(&Message::Tags(vec![tag]));
    assert!(eve.hears().is_some());
}

#[test]
#[ignore = "whoever comes slowly holds the right to large messages for as long as an honest peer on a slow link may"]
fn who_sends_large_messages_slowly_does_not_keep_those_of_others_out() {
    let scene = Scene::new();
    let mut slow: Vec<(Eve, Stream)> = (0..16).map(|_| scene.eve()).collect();
    for (_, stream) in &mut slow {
        stream.has_the_same();
        stream.raw(&header(Kind::EVENTS, 6 << 20));
        stream.raw(&[0; 16 << 10]);
    }
    scene.carol.add(&"x".repeat(500_000));
    until("a large event does not come through", || {
        // As much as it takes not to be cut off.
        for (_, stream) in &mut slow {
            stream.raw(&[0; 64]);
        }
        scene.alice.events_of(scene.carol.author) == 2
    });
}

// Many at once.

#[test]
fn ten_at_once_do_not_keep_two_honest_nodes_apart() {
    let scene = Scene::new();
    std::thread::scope(|threads| {
        for number in 0..10 {
            let scene = &scene;
            threads.spawn(move || {
                let (eve, mut stream) = scene.eve();
                attack(scene, &mut stream, number);
                eve.is_told();
            });
        }
        for n in 0..50 {
            scene.alice.add(&format!("alice {n}"));
            scene.carol.add(&format!("carol {n}"));
        }
    });
    scene.converges(3 + 2 * 50);
    let offenders = scene.alice.node.peers().into_iter().filter(|peer| peer.offences > 0).count();
    assert_eq!(offenders, 10);
    scene.is_unharmed();
}

/// One of several ways to be cut off.
fn attack(scene: &Scene, stream: &mut Stream, number: usize) {
    match number % 5 {
        0 => {
            stream.is_asked();
            let writer = log(scene, 3);
            stream.says(&Message::Events(chunk([writer.frame(1), writer.frame(3)], [writer.proof(3)])));
        }
        1 => {
            stream.is_asked();
            let writer = log(scene, 2);
            let proof = LogProof { head: bad_head(&writer), ..writer.proof(2) };
            stream.says(&Message::Events(chunk([writer.frame(1), writer.frame(2)], [proof])));
        }
        2 => drop(stream.raw(&header(Kind::EVENTS, u32::MAX))),
        3 => {
            stream.has_the_same();
            let summary = Message::Summary(Summary { root: [1; 32], events: 1, cuts: [2; 32] });
            while stream.says(&summary) {}
        }
        _ => {
            stream.has_the_same();
            stream.says_caught_up();
        }
    }
}

/// A head that the author has signed, about another log than the one that goes with it.
fn bad_head(writer: &Writer) -> SignedHead {
    let head = LogHead { root: [0xBA; 32], ..*writer.head().head() };
    writer.sign(head)
}

const _: () = assert!(HEADER_BYTES == 5);
