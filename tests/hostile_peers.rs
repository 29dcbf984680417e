//! What a peer does that does not keep the rules, and what becomes of it: it is cut off, counted and named; the log that it
//! lied to stays as it was, and goes on syncing with everybody else.
//!
//! The peer, Eve, speaks the real transport, has a key of her own and knows the subject's secret: whoever has less gets
//! less far. What is wrong with events is in `hostile_events.rs`, what memory she can make a node use in `hostile_memory.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod hostile_kit;

use hostile_kit::{
    Eve, Stream, header,
    scene::{Peer, Scene, is_cut_off_for_saying},
    until,
    writer::{chunk, log, unsigned},
};
use xaeroflux::wire::sync::{
    Kind, LogProof, Message, Role, Summary, Tag, Vector, VectorEntry, message::MAX_VECTOR_ENTRIES, tag::MAX_TAGS,
};

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
    stream.says(&Message::Events(log(scene.id(), 1).whole()));
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

// What part of a subject is kept.

fn interest() -> Message {
    Message::Interest(Box::default())
}

#[test]
fn whoever_knows_of_parts_says_first_which_one_it_keeps() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve_of_today();
    stream.says(&Message::Summary(Summary { root: [1; 32], events: 1, cuts: [2; 32] }));
    scene.cuts_off_and_tells(&eve, "began with summary instead of interest");
    scene.is_unharmed();
}

#[test]
fn who_knows_of_no_parts_does_not_speak_of_them() {
    is_cut_off_for_saying("interest message on a subject's stream, where it has no place", |_, stream| {
        stream.says(&interest());
    });
}

#[test]
fn to_keep_another_part_again_and_again_is_an_offence() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve_of_today();
    assert_eq!(stream.hears(), Some(interest()), "she hears that Alice keeps everything");
    stream.says(&interest());
    stream.hears_summary();
    stream.says(&Message::Summary(Summary { root: [1; 32], events: 1, cuts: [2; 32] }));
    (0..1_000).all(|_| stream.says(&interest()));
    scene.cuts_off_and_tells(&eve, "interest message on a subject's stream, where it has no place");
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
    let writer = log(scene.id(), 50);
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
    let writer = log(scene.id(), 2);
    first.is_asked();
    let tag = eve.tag(&scene.ticket, Role::Dialer);
    let _others: Vec<Stream> = (0..10).map(|_| eve.opens_with(tag)).collect();
    first.says(&Message::Events(writer.whole()));
    first.says_caught_up();
    scene.is_unharmed_with(&[(writer.id(), 2)]);
    eve.says(&Message::Tags(vec![tag]));
    assert!(eve.hears().is_some());
}

#[test]
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
            let writer = log(scene.id(), 3);
            stream.says(&Message::Events(chunk([writer.frame(1), writer.frame(3)], [writer.proof(3)])));
        }
        1 => {
            stream.is_asked();
            let writer = log(scene.id(), 2);
            let proof = LogProof { head: unsigned(&writer), ..writer.proof(2) };
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
