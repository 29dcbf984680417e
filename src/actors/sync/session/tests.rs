//! What one machine promises, one promise each. `pair` has two and more, in virtual time.

mod pair;

use std::time::Duration;

use super::{limits::*, *};
use crate::{
    actors::sync::simulation::log::{Lengths, Log, author, evidence},
    wire::{
        id::XaeroID,
        sync::{Bye, ByeReason, Events, Kind, Message, Other, Others, Summary, SyncError, Vector, VectorEntry},
    },
};

const NOW: Duration = Duration::from_secs(100);
const MILLI: Duration = Duration::from_millis(1);

fn summary(root: u8, events: u64) -> Summary {
    Summary { root: [root; 32], events, cuts: [0; 32] }
}

fn chunk() -> Events {
    let mut log = Log::default();
    log.publish(author(1));
    log.read(&mut Lengths::new(), &mut 0, 1).unwrap()
}

fn entry(author: XaeroID) -> VectorEntry {
    VectorEntry::new(author, 1, &[7; 32])
}

fn vector(entries: &[u8], more: bool, push: bool) -> Message {
    Message::Vector(Vector { entries: entries.iter().map(|number| entry(author(*number))).collect(), more, push })
}

fn done(new: u64) -> Input {
    Input::Stored(StoreOutcome::Done { new, duplicates: 1 })
}

/// A machine by itself, and the time.
struct Alone {
    session: Session,
    now: Duration,
    wake: Option<Duration>,
}

impl Alone {
    /// Started, and compared: what is here, and what the peer has. The turn is asked for where they differ.
    fn new(ours: Summary, theirs: Summary) -> Self {
        let mut alone = Self { session: Session::new(3), now: NOW, wake: None };
        assert_eq!(alone.give(Input::Start), [Output::Look]);
        assert_eq!(alone.give(Input::Looked(ours)), [Output::Send(Message::Summary(ours))]);
        let out = alone.hear(Message::Summary(theirs));
        assert_eq!(out, if ours.root == theirs.root { [Output::PeerHasLook] } else { [Output::AskTurn] });
        alone
    }

    /// With the turn, and a version vector sent.
    fn downloading() -> Self {
        let mut alone = Self::new(summary(1, 5), summary(2, 9));
        assert_eq!(alone.give(Input::Turn { push: false }), [Output::SendVector { push: false }]);
        alone
    }

    /// After a download that brought nothing, so that the two differ and nothing is on its way.
    fn after_download() -> Self {
        let mut alone = Self::downloading();
        let out = alone.hear(Message::CaughtUp { root: [2; 32], events: 9 });
        assert_eq!(out, [Output::ReturnTurn, Output::Look]);
        alone
    }

    /// What comes out, but for the timer.
    fn give(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.session.handle(self.now, input, &mut out);
        out.retain(|output| match output {
            Output::Wake(at) => {
                self.wake = *at;
                false
            }
            _ => true,
        });
        out
    }

    fn hear(&mut self, message: Message) -> Vec<Output> {
        self.give(Input::Received(message))
    }

    /// Lets time pass until the machine wants to be woken; says how long that was.
    fn sleep(&mut self) -> (Duration, Vec<Output>) {
        let before = self.now;
        self.now = self.wake.expect("a timer");
        (self.now - before, self.give(Input::Time))
    }

    fn offence(mut self, message: Message) -> Offence {
        let out = self.hear(message);
        assert_eq!(self.session.status(), Status::Ended);
        assert_eq!(self.give(Input::Start), [], "an ended session says nothing more");
        match out.last() {
            Some(Output::End(EndReason::Offence(offence))) => offence.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn equal_roots_are_current_at_once_and_nothing_more_is_said() {
    let alone = Alone::new(summary(1, 5), summary(1, 5));
    assert_eq!((alone.session.status(), alone.wake), (Status::Current, None));
}

#[test]
fn a_download_is_turn_vector_chunks_caught_up_and_the_turn_goes_back_when_all_is_stored() {
    let mut alone = Alone::downloading();
    assert_eq!(alone.session.status(), Status::Downloading);
    assert_eq!(alone.hear(Message::Events(chunk())), [Output::Store(chunk())]);
    assert_eq!(alone.hear(Message::CaughtUp { root: [2; 32], events: 9 }), []);
    assert_eq!(alone.give(done(4)), [Output::ReturnTurn, Output::Look]);
    let ours = summary(2, 9);
    let out = alone.give(Input::Looked(ours));
    assert_eq!(out, [Output::Send(Message::Summary(ours)), Output::PeerHasLook]);
    assert_eq!(alone.session.status(), Status::Current);
}

#[test]
fn while_as_much_is_being_stored_as_may_be_no_further_chunk_is_read() {
    let mut alone = Alone::downloading();
    for _ in 0..MAX_STORING {
        assert!(alone.session.wants_input());
        alone.hear(Message::Events(chunk()));
    }
    assert!(!alone.session.wants_input());
    alone.give(done(1));
    assert!(alone.session.wants_input());
}

#[test]
fn a_vector_is_answered_chunk_by_chunk_also_while_we_download_ourselves() {
    let mut alone = Alone::downloading();
    let has = |number, first| Output::PeerHas { entries: vec![entry(author(number))], first };
    assert_eq!(alone.hear(vector(&[1], true, false)), [has(1, true)]);
    assert_eq!(alone.hear(vector(&[2], false, false)), [has(2, false), Output::Read]);
    let out = alone.give(Input::Read(ReadOutcome::Chunk(chunk())));
    assert_eq!(out, [Output::Send(Message::Events(chunk())), Output::Read]);
    assert_eq!(alone.give(Input::Grown { cuts_changed: false }), [], "one read at a time");
    let out = alone.give(Input::Read(ReadOutcome::End(summary(7, 8))));
    assert_eq!(out, [Output::Send(Message::CaughtUp { root: [7; 32], events: 8 })]);
    assert_eq!(alone.session.status(), Status::Downloading);
}

#[test]
fn between_the_parts_of_a_vector_nothing_is_pushed() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    alone.hear(Message::Push(true));
    alone.give(Input::Read(ReadOutcome::End(summary(1, 5))));
    alone.hear(vector(&[1], true, true));
    assert_eq!(alone.give(Input::Grown { cuts_changed: false }), []);
    assert_eq!(alone.hear(vector(&[2], false, true)).last(), Some(&Output::Read));
}

#[test]
fn who_asked_for_pushes_gets_what_is_new_and_after_a_while_a_summary() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    assert_eq!(alone.hear(Message::Push(true)), [Output::Read]);
    assert_eq!(alone.give(Input::Read(ReadOutcome::End(summary(1, 5)))), []);
    assert_eq!(alone.give(Input::Grown { cuts_changed: false }), [Output::Read]);
    assert_eq!(alone.give(Input::Grown { cuts_changed: false }), [], "while reading");
    let out = alone.give(Input::Read(ReadOutcome::Chunk(chunk())));
    assert_eq!(out, [Output::Send(Message::Events(chunk())), Output::Read]);
    assert_eq!(alone.give(Input::Grown { cuts_changed: false }), []);
    assert_eq!(alone.give(Input::Read(ReadOutcome::End(summary(2, 6)))), [Output::Read], "what grew meanwhile");
    assert_eq!(alone.give(Input::Read(ReadOutcome::End(summary(2, 6)))), []);
    assert_eq!(alone.sleep(), (IDLE_SUMMARY, vec![Output::Look]));
    assert_eq!(alone.give(Input::Looked(summary(2, 6))), [Output::Send(Message::Summary(summary(2, 6)))]);
    assert_eq!(alone.wake, None);
}

#[test]
fn a_lazy_peer_hears_once_of_a_burst() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    for _ in 0..10 {
        assert_eq!(alone.give(Input::Grown { cuts_changed: false }), []);
    }
    assert_eq!(alone.sleep(), (LAZY_DELAY, vec![Output::Look]));
    assert_eq!(alone.give(Input::Looked(summary(2, 15))), [Output::Send(Message::Summary(summary(2, 15)))]);
    assert_eq!(alone.wake, None);
}

#[test]
fn what_the_peer_has_sent_is_not_told_it_again_at_once() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    assert_eq!(alone.give(Input::SetPush(true)), [Output::Send(Message::Push(true))]);
    alone.hear(Message::Events(chunk()));
    alone.give(done(1));
    alone.give(Input::Grown { cuts_changed: false });
    assert_eq!(alone.sleep(), (LAZY_DELAY, vec![Output::Look]));
    assert_eq!(alone.give(Input::Looked(summary(2, 6))), []);
    assert_eq!(alone.sleep(), (IDLE_SUMMARY, vec![Output::Look]));
    assert_eq!(alone.give(Input::Looked(summary(2, 6))), [Output::Send(Message::Summary(summary(2, 6)))]);
}

#[test]
fn a_difference_is_asked_about_when_it_outlives_its_grace_period() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    assert_eq!(alone.hear(Message::Summary(summary(3, 7))), []);
    assert_eq!(alone.session.status(), Status::Behind);
    let (wait, out) = alone.sleep();
    assert!((GRACE..2 * GRACE).contains(&wait), "{wait:?}");
    assert_eq!(out, [Output::Look]);
    assert_eq!(alone.give(Input::Looked(summary(1, 5))), [Output::AskTurn]);
    let out = alone.hear(Message::Summary(summary(1, 5)));
    assert_eq!(out, [Output::ReturnTurn], "nothing to fetch any more");
    assert_eq!(alone.give(Input::Turn { push: true }), [Output::ReturnTurn], "it was given too late");
}

#[test]
fn what_came_from_elsewhere_in_the_grace_period_is_not_fetched() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    alone.hear(Message::Summary(summary(3, 7)));
    alone.sleep();
    assert_eq!(alone.give(Input::Looked(summary(3, 7))), [Output::PeerHasLook]);
    assert_eq!(alone.wake, None);
}

#[test]
fn while_a_look_is_under_way_nothing_is_compared_with_the_last_one() {
    let mut alone = Alone::new(summary(1, 5), summary(2, 5));
    alone.give(Input::Grown { cuts_changed: false });
    assert_eq!(alone.sleep().1, [Output::Look]);
    // The shell may have looked by now, and "the look" be another than the one that the machine knows.
    assert_eq!(alone.hear(Message::Summary(summary(1, 5))), []);
    let out = alone.give(Input::Looked(summary(3, 6)));
    assert_eq!(out, [Output::Send(Message::Summary(summary(3, 6)))]);
}

#[test]
fn a_peer_that_has_what_we_had_before_is_merely_behind() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    for root in 2..5 {
        alone.give(Input::Grown { cuts_changed: false });
        alone.sleep();
        alone.give(Input::Looked(summary(root, 5 + u64::from(root))));
    }
    assert_eq!(alone.hear(Message::Summary(summary(3, 8))), []);
    assert_eq!((alone.session.status(), alone.wake), (Status::Current, None));
}

#[test]
fn downloads_that_bring_nothing_come_ever_more_seldom() {
    let mut alone = Alone::after_download();
    alone.give(Input::Looked(summary(1, 5)));
    let mut expected = FIRST_BACKOFF;
    for _ in 0..12 {
        let (wait, out) = alone.sleep();
        assert!((expected..2 * expected).contains(&wait), "{wait:?}");
        assert_eq!(out, [Output::Look]);
        assert_eq!(alone.give(Input::Looked(summary(1, 5))), [Output::AskTurn]);
        alone.give(Input::Turn { push: false });
        alone.hear(Message::CaughtUp { root: [2; 32], events: 9 });
        alone.give(Input::Looked(summary(1, 5)));
        expected = (2 * expected).min(MAX_BACKOFF_UNCHANGED);
    }
    assert_eq!(alone.hear(Message::Summary(summary(3, 10))), []);
    let (wait, _) = alone.sleep();
    assert!(wait < 2 * MAX_BACKOFF_CHANGED, "the peer has changed: {wait:?}");
}

#[test]
fn who_brings_nothing_loses_the_turn_and_after_three_times_the_session() {
    let mut alone = Alone::downloading();
    for stall in 1..=MAX_STALLS {
        let (wait, out) = alone.sleep();
        assert_eq!(wait, STALL);
        if stall == MAX_STALLS {
            assert_eq!(out, [Output::ReturnTurn, Output::End(EndReason::Stalled)]);
            return;
        }
        assert_eq!(out, [Output::ReturnTurn]);
        assert_eq!(alone.sleep().1, [Output::AskTurn]);
        assert_eq!(alone.give(Input::Turn { push: false }), [], "the vector is still to be answered");
    }
}

#[test]
fn who_brings_something_late_gets_the_turn_again() {
    let mut alone = Alone::downloading();
    assert_eq!(alone.sleep().1, [Output::ReturnTurn]);
    assert_eq!(alone.hear(Message::Events(chunk())), [Output::Store(chunk())]);
    assert_eq!(alone.give(done(1)), [Output::AskTurn]);
}

#[test]
fn parts_of_a_large_message_keep_the_turn_for_a_while_and_not_for_ever() {
    let mut alone = Alone::downloading();
    let begun = alone.now;
    loop {
        alone.now += Duration::from_secs(4);
        alone.give(Input::Receiving);
        if alone.wake.is_some_and(|at| at <= alone.now) {
            assert_eq!(alone.give(Input::Time), [Output::ReturnTurn]);
            break;
        }
    }
    assert_eq!(alone.now - begun, MAX_BARREN);
}

#[test]
fn a_slow_disk_of_ours_is_not_the_peers_fault() {
    let mut alone = Alone::downloading();
    alone.hear(Message::Events(chunk()));
    for _ in 0..10 {
        assert_eq!(alone.sleep().1, []);
    }
    assert_eq!(alone.give(done(1)), []);
    assert_eq!(alone.session.status(), Status::Downloading);
}

#[test]
fn evidence_of_forks_is_sent_once_for_each_pair_of_digests_and_at_most_once_a_second() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    let theirs = |cuts| Message::Summary(Summary { cuts: [cuts; 32], ..summary(1, 5) });
    assert_eq!(alone.hear(theirs(1)), [Output::Look]);
    assert_eq!(alone.give(Input::Looked(summary(1, 5))), [Output::SendForks]);
    assert_eq!(alone.hear(theirs(1)), []);
    assert_eq!(alone.hear(theirs(2)), []);
    assert_eq!(alone.sleep(), (FORKS_EVERY, vec![Output::Look]));
    assert_eq!(alone.give(Input::Looked(summary(1, 5))), [Output::SendForks]);
    let fork = Box::new(evidence());
    assert_eq!(alone.hear(Message::Fork(fork.clone())), [Output::TakeFork(fork)]);
}

fn others(names: &[u8]) -> Others {
    Others::nearest_of(names.iter().map(|name| Other { hops: 1, endpoint: [*name; 32].into(), addrs: Vec::new() }))
}

#[test]
fn what_is_known_of_others_follows_the_first_summary_and_of_what_waits_only_the_last_is_said() {
    let mut alone = Alone { session: Session::new(3), now: NOW, wake: None };
    assert_eq!(alone.give(Input::Start), [Output::Look]);
    assert_eq!(alone.give(Input::Others(others(&[1]))), []);
    assert_eq!(alone.give(Input::Others(others(&[1, 2]))), []);
    let ours = summary(1, 5);
    let said = [Message::Summary(ours), Message::Others(others(&[1, 2]))].map(Output::Send);
    let out = alone.give(Input::Looked(ours));
    assert_eq!(out[..2], said);
    assert_eq!(out[2..], [Output::Look]);
    alone.give(Input::Looked(ours));
    assert_eq!(alone.give(Input::Others(others(&[]))), [Output::Look], "a peer that takes nothing gets no more");
    assert_eq!(alone.give(Input::Others(others(&[3]))), []);
    assert_eq!(alone.give(Input::Looked(ours)), [Output::Send(Message::Others(others(&[3])))]);
}

#[test]
fn what_a_peer_knows_of_others_is_passed_on_and_not_before_its_summary() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    assert_eq!(alone.hear(Message::Others(others(&[1, 2]))), [Output::PeerKnows(others(&[1, 2]))]);
    let mut unknown = Alone { session: Session::new(1), now: NOW, wake: None };
    unknown.give(Input::Start);
    assert_eq!(unknown.offence(Message::Others(others(&[1]))), Offence::Misplaced(Kind::OTHERS));
}

#[test]
fn what_nobody_asked_for_is_an_offence() {
    let equal = || Alone::new(summary(1, 5), summary(1, 5));
    assert_eq!(equal().offence(Message::Events(chunk())), Offence::UnaskedEvents);
    let caught_up = Message::CaughtUp { root: [1; 32], events: 5 };
    assert_eq!(equal().offence(caught_up.clone()), Offence::UnaskedCaughtUp);
    let mut alone = Alone::downloading();
    alone.hear(Message::Events(chunk()));
    alone.hear(caught_up.clone());
    assert_eq!(alone.offence(caught_up), Offence::UnaskedCaughtUp);
    assert_eq!(equal().offence(Message::Tags(Vec::new())), Offence::Misplaced(Kind::TAGS));
    let mut unknown = Alone { session: Session::new(1), now: NOW, wake: None };
    unknown.give(Input::Start);
    assert_eq!(unknown.offence(Message::Push(true)), Offence::Misplaced(Kind::PUSH), "first comes a summary");
}

#[test]
fn events_that_were_on_their_way_are_no_offence_and_after_a_while_they_are() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    alone.give(Input::SetPush(true));
    assert_eq!(alone.give(Input::SetPush(false)), [Output::Send(Message::Push(false))]);
    alone.now += PUSH_LAPSE - MILLI;
    assert_eq!(alone.hear(Message::Events(chunk())), [Output::Store(chunk())]);
    alone.now += MILLI;
    assert_eq!(alone.offence(Message::Events(chunk())), Offence::UnaskedEvents);
}

#[test]
fn a_vector_out_of_order_too_long_or_before_its_time_is_an_offence() {
    let equal = || Alone::new(summary(1, 5), summary(1, 5));
    for next in [&[2][..], &[1, 3], &[]] {
        let mut alone = equal();
        alone.hear(vector(&[1, 2], true, false));
        let is_empty = next.is_empty();
        assert_eq!(alone.offence(vector(next, is_empty, false)), Offence::VectorOrder, "{next:?}");
    }
    let mut alone = equal();
    alone.hear(vector(&[1], false, false));
    assert_eq!(alone.offence(vector(&[1], false, false)), Offence::SecondVector);

    let part = |from: u32, authors: u32, more| {
        let author = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            XaeroID::from(bytes)
        };
        let entries = (from..from + authors).map(|number| entry(author(number))).collect();
        Message::Vector(Vector { entries, more, push: false })
    };
    let most = u32::try_from(MAX_AUTHORS).unwrap();
    let mut alone = equal();
    alone.hear(part(1, most, true));
    assert_eq!(alone.session.status(), Status::Current);
    assert_eq!(alone.offence(part(most + 1, 1, false)), Offence::VectorTooLong { limit: MAX_AUTHORS });
}

#[test]
fn a_flood_of_small_messages_is_an_offence() {
    let mut alone = Alone::new(summary(1, 5), summary(1, 5));
    for _ in 1..FLOOD_BURST {
        assert_eq!(alone.hear(Message::Push(false)), []);
    }
    assert_eq!(alone.offence(Message::Push(false)), Offence::Flood(Kind::PUSH));
}

#[test]
fn the_turn_goes_back_whatever_the_end() {
    let bye = Bye { reason: ByeReason::Stopping, text: String::new() };
    let lie = SyncError::UnknownKind(9);
    let ends = [
        (Input::Closed, EndReason::Closed),
        (Input::Received(Message::Bye(bye.clone())), EndReason::Bye(bye)),
        (Input::Stored(StoreOutcome::Failed("disk".into())), EndReason::Failed("disk".into())),
        (Input::Stored(StoreOutcome::Offence(lie.clone())), EndReason::Offence(Offence::Sync(lie))),
        (Input::Received(vector(&[], true, false)), EndReason::Offence(Offence::VectorOrder)),
    ];
    for (input, reason) in ends {
        let mut alone = Alone::downloading();
        assert_eq!(alone.give(input), [Output::ReturnTurn, Output::End(reason)]);
        assert_eq!(alone.wake, None);
        assert!(!alone.session.wants_input());
    }
}
