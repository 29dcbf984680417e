//! Events that are not what they seem: altered, made up, out of place, of another history. Nothing of them is taken, and who
//! sends them is cut off, counted and named; who brings true news of an author's two histories is not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod hostile_kit;

use hostile_kit::{
    Eve, header,
    scene::{Scene, is_cut_off_for_saying},
    until,
    writer::{Writer, chunk, log, unsigned},
};
use xaeroflux::{
    Dot, EventType, Notice, XaeroID,
    wire::{
        fork::{ForkEvidence, ForkHalf},
        sync::{Events, Fork, Kind, LogProof, Message},
    },
};

/// Eve is asked for what she has, sends this, and is cut off for it.
fn is_cut_off_for(events: impl FnOnce(&Scene) -> Events, what: &str) {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    stream.is_asked();
    stream.says(&Message::Events(events(&scene)));
    scene.cuts_off_and_tells(&eve, what);
    scene.is_unharmed();
}

#[test]
fn what_keeps_the_rules_is_taken_and_passed_on() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    let writer = log(scene.id(), 3);
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
    let writer = log(scene.id(), 2);
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
fn who_is_called_is_cut_off_like_who_calls() {
    let scene = Scene::new();
    let mut eve = Eve::is_called_by(&scene.alice.node);
    let mut stream = eve.is_opened(&scene.ticket);
    let writer = log(scene.id(), 3);
    stream.is_asked();
    stream.says(&Message::Events(writer.branch(2).whole()));
    stream.says(&Message::Events(chunk([writer.frame(3)], [LogProof { head: unsigned(&writer), ..writer.proof(3) }])));
    scene.cuts_off_and_tells(&eve, "signed head does not cover");
    scene.is_unharmed_with(&[(writer.id(), 2)]);
}

#[test]
fn an_altered_event_is_not_taken() {
    let altered = |scene: &Scene| {
        let writer = log(scene.id(), 3);
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
    let writer = log(scene.id(), 4);
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
        let writer = log(scene.id(), 3);
        let proof = LogProof { head: unsigned(&writer), ..writer.proof(3) };
        chunk((1..=3).map(|seq| writer.frame(seq)), [proof])
    };
    is_cut_off_for(altered, "signed head does not cover");
}

#[test]
fn an_altered_head_of_a_log_that_is_here_is_not_taken_for_a_fork() {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    let writer = log(scene.id(), 4);
    stream.is_asked();
    stream.says(&Message::Events(writer.branch(2).whole()));
    let proof = LogProof { head: unsigned(&writer), ..writer.proof(4) };
    stream.says(&Message::Events(chunk([writer.frame(3), writer.frame(4)], [proof])));
    scene.cuts_off_and_tells(&eve, "signed head does not cover");
    scene.is_unharmed_with(&[(writer.id(), 2)]);
}

#[test]
fn events_with_a_gap_between_them_are_not_taken() {
    let gap = |scene: &Scene| {
        let writer = log(scene.id(), 3);
        chunk([writer.frame(1), writer.frame(3)], [writer.proof(3)])
    };
    is_cut_off_for(gap, "where event 2 of its author comes next");
}

#[test]
fn events_that_do_not_begin_where_the_log_ends_are_not_taken() {
    is_cut_off_for(|scene| log(scene.id(), 4).chunk(3..=4), "where event 1 of its author comes next");
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
        let mut writer = log(scene.id(), 2);
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
        let mut writer = log(scene.id(), 1);
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
        let writer = log(scene.id(), 1);
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
fn events_that_only_engines_make_harm_nobody() {
    for event_type in [EventType::SystemEvent(1), EventType::MetaEvent(255), EventType::StorageEvent(0)] {
        let scene = Scene::new();
        let (_eve, mut stream) = scene.eve();
        let mut writer = Writer::new(scene.id());
        writer.write_as_engine(event_type, b"of no meaning");
        stream.is_asked();
        stream.says(&Message::Events(writer.whole()));
        // Whether it is taken and counts for nothing, or is not taken: the log goes on.
        stream.says_caught_up();
        scene.alice.add("later");
        scene.carol.add("later, too");
        until("the honest nodes do not sync", || {
            let agree = scene.alice.root() == scene.carol.root();
            agree && scene.carol.events_of(scene.alice.author) == 3 && scene.alice.events_of(scene.carol.author) == 2
        });
        while scene.notice().is_some() {}
    }
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
fn a_log_whose_end_never_comes_is_passed_on_as_far_as_it_goes() {
    let scene = Scene::new();
    let (_eve, mut stream) = scene.eve();
    let writer = log(scene.id(), 2);
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
    let one = log(scene.id(), 4);
    let mut other = one.branch(2);
    (0..3).for_each(|_| other.write(b"to somebody else"));
    let (eve, mut stream) = scene.eve();
    stream.is_asked();
    stream.says(&Message::Events(one.whole()));
    stream.says(&Message::Events(other.whole()));
    until("there is no notice", || match scene.notice() {
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
    let one = log(scene.id(), 3);
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
    let one = log(scene.id(), 3);
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
    is_cut_off_for_saying("does not hold", |scene, stream| {
        stream.says(&evidence_of_one_history(scene));
    });
}

/// The evidence of two histories, of which one is not signed.
fn evidence_of_one_history(scene: &Scene) -> Message {
    let one = log(scene.id(), 2);
    let mut other = one.branch(1);
    other.write(b"never signed");
    let theirs = ForkHalf::new(other.ids()[1].into(), other.inclusion(2), unsigned(&other));
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
