//! Each stage but the batch, alone and in a chain.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    subject::pipeline::{DISTINCT_MEMORY, MAX_WINDOW_BYTES, MAX_WINDOW_EVENTS, PipelineError},
    wire::event::ScanWindow,
};

fn spec() -> PipelineSpec {
    PipelineSpec::default()
}

fn stamp(millis: u64) -> Arc<Stamp> {
    Arc::new(Stamp {
        is_withheld: false,
        subject: SubjectId::from([9; 32]),
        dot: Dot::new(author(9), 9),
        clock: Clock::from_millis(millis),
        deps: Vec::new(),
    })
}

#[test]
fn pipelines_move_between_threads_and_specs_are_shared() {
    const fn send<T: Send>() {}
    const fn share<T: Send + Sync>() {}
    send::<Pipeline>();
    share::<PipelineSpec>();
}

#[test]
fn stages_run_in_the_order_in_which_they_were_added() {
    let exclaim = |mut event: XaeroEvent| {
        event.evt.data.push(b'!');
        event
    };
    let short = |event: &XaeroEvent| event.evt.data.len() <= 2;
    let mut before = Rig::new(&spec().map(exclaim).filter(short));
    let mut after = Rig::new(&spec().filter(short).map(exclaim));
    for text in ["a", "bb", "ccc"] {
        before.send(text);
        after.send(text);
    }
    assert_eq!(before.heard(), ["a!"]);
    assert_eq!(after.heard(), ["a!", "bb!"]);
}

#[test]
fn a_builder_leaves_the_spec_it_was_called_on_alone() {
    let all = spec();
    let none = all.filter(|_| false);
    let (mut all, mut none) = (Rig::new(&all), Rig::new(&none));
    all.send("a");
    none.send("a");
    assert_eq!((all.heard().len(), none.heard().len()), (1, 0));
}

#[test]
fn a_mapped_event_keeps_its_place_in_the_log() {
    let mut rig = Rig::new(&spec().map(|event| XaeroEvent::new(event.evt.data, ADD)));
    let mut event = XaeroEvent::new("a", ADD);
    event.evt.set_stamp(Some(stamp(5)));
    rig.send_from(0, &event);
    rig.send("b");
    assert_eq!(rig.out[0].evt.stamp(), event.evt.stamp());
    assert_eq!(rig.out[1].evt.stamp(), None);
}

#[test]
fn an_owned_event_is_moved_through_not_copied() {
    let mut pipeline = spec().filter(|_| true).map(|event| event).instantiate();
    let event = XaeroEvent::new(vec![7; 100], ADD);
    let address = event.evt.data.as_ptr();
    let contexts = MemoryContexts::new(Vec::new());
    let mut arrived = None;
    pipeline.feed(0, Cow::Owned(event), None, ms(0), &contexts, &mut |event| arrived = Some(event));
    assert_eq!(arrived.unwrap().evt.data.as_ptr(), address);
}

#[test]
fn only_the_scanned_time_passes_live_and_from_history() {
    let window = ScanWindow { start: 10, end: 20 };
    let spec = spec().scan(ScanWindow { start: 0, end: 20 }).filter(|_| true).scan(ScanWindow { start: 10, end: 99 });
    assert_eq!(spec.scan_window(), Some(window));
    let mut rig = Rig::new(&spec);
    for yes in [true, false] {
        rig.catching_up(yes);
        for millis in [9, 10, 19, 20] {
            let mut event = XaeroEvent::new(millis.to_string(), ADD);
            event.evt.set_stamp(Some(stamp(millis)));
            rig.send_from(0, &event);
        }
        assert_eq!(rig.heard(), ["10", "19"]);
    }
}

#[test]
fn only_events_whose_proof_holds_pass() {
    let mut rig = Rig::new(&spec().filter_merkle_proofs(|event| event.merkle_proof.as_deref() == Some(b"good")));
    assert!(spec().filter_merkle_proofs(|_| true).map(|event| event).wants_proofs() && !spec().wants_proofs());
    for (text, proof) in [("a", Some(b"good")), ("b", Some(b"evil")), ("c", None)] {
        let merkle_proof = proof.map(|proof| proof.to_vec());
        rig.send_from(0, &XaeroEvent { merkle_proof, ..XaeroEvent::new(text, ADD) });
    }
    assert_eq!(rig.heard(), ["a"]);
}

#[test]
fn take_ends_the_pipeline_after_its_last_event() {
    let mut rig = Rig::new(&spec().take(2));
    rig.send("a");
    assert!(!rig.pipeline.finished());
    rig.send("b");
    assert!(rig.pipeline.finished());
    rig.send("c");
    assert_eq!(rig.heard(), ["a", "b"]);
    assert!(spec().take(0).instantiate().finished());
}

#[test]
fn what_stands_after_a_take_lets_go_what_it_holds() {
    let mut rig = Rig::new(&spec().take(3).window(None, Some(2)).unwrap().debounce(ms(10)));
    for text in ["a", "b", "c"] {
        rig.send(text);
    }
    assert_eq!(rig.heard(), ["c"], "the window closed with c alone, and nothing follows it");
    assert_eq!(rig.pipeline.deadline(), None);
}

#[test]
fn take_cuts_a_window_short() {
    let mut rig = Rig::new(&spec().window(None, Some(3)).unwrap().take(2));
    for text in ["a", "b", "c"] {
        rig.send(text);
    }
    assert_eq!(rig.heard(), ["a", "b"]);
    assert!(rig.pipeline.finished());
}

#[test]
fn distinct_compares_type_and_payload() {
    let mut rig = Rig::new(&spec().distinct());
    for (text, code) in [("a", ADD), ("b", ADD), ("a", ADD), ("a", REMOVE)] {
        rig.send_from(0, &XaeroEvent::new(text, code).at(rig.buses[0]));
    }
    assert_eq!(rig.heard(), ["a", "b", "a"]);
}

#[test]
fn distinct_forgets_the_oldest_beyond_its_memory() {
    let mut rig = Rig::new(&spec().distinct());
    for number in 0..=DISTINCT_MEMORY {
        rig.send(&number.to_string());
    }
    rig.heard();
    rig.send("1");
    assert!(rig.heard().is_empty(), "the oldest that is remembered");
    rig.send("0");
    assert_eq!(rig.heard(), ["0"], "the youngest that is not");
}

#[test]
fn debounce_lets_the_last_of_a_burst_pass_after_silence() {
    let mut rig = Rig::new(&spec().debounce(ms(10)));
    rig.send("a");
    rig.pass(9);
    rig.send("b");
    rig.pass(9);
    assert!(rig.heard().is_empty());
    rig.pass(1);
    assert_eq!(rig.heard(), ["b"]);
    rig.send("c");
    rig.finish();
    assert_eq!(rig.heard(), ["c"], "the end of the source is silence");
}

#[test]
fn a_timer_that_nobody_ticked_goes_off_before_the_next_event() {
    let mut rig = Rig::new(&spec().debounce(ms(10)));
    rig.send("a");
    rig.now = ms(10);
    rig.send("b");
    assert_eq!(rig.heard(), ["a"]);
}

#[test]
fn throttle_lets_the_first_of_a_burst_pass() {
    let mut rig = Rig::new(&spec().throttle(ms(10)));
    rig.send("a");
    rig.pass(9);
    rig.send("b");
    rig.pass(1);
    rig.send("c");
    rig.pass(9);
    rig.send("d");
    assert_eq!(rig.heard(), ["a", "c"]);
}

#[test]
fn a_buffer_closes_on_count_or_on_time() {
    let mut rig = Rig::new(&spec().buffer(Some(ms(10)), Some(3)).unwrap());
    for text in ["a", "b", "c", "d"] {
        rig.send_from(0, &XaeroEvent::new(text, ADD).by(author(1)).at(7));
        rig.pass(3);
    }
    rig.pass(6);
    assert_eq!(rig.out.len(), 1, "d's window has a millisecond to go");
    rig.pass(1);
    let payloads: Vec<_> = rig
        .out
        .iter()
        .map(|event| {
            assert_eq!((event.evt.event_type, event.latest_ts), (EventType::ApplicationEvent(ADD), Some(7)));
            assert_eq!((event.author_id, event.evt.dot()), (None, None));
            rkyv::from_bytes::<Vec<Vec<u8>>, rkyv::rancor::Error>(&event.evt.data).unwrap()
        })
        .collect();
    assert_eq!(payloads, [vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()], vec![b"d".to_vec()]]);
    rig.pass(1_000);
    assert_eq!(rig.out.len(), 2, "an empty window emits nothing");
}

#[test]
fn a_buffer_with_a_function_emits_what_that_makes() {
    let last = |events: Vec<XaeroEvent>| events.into_iter().next_back().filter(|event| event.evt.data != b"b");
    let mut rig = Rig::new(&spec().buffer_with(None, Some(2), last).unwrap());
    for text in ["a", "b", "c", "d", "e"] {
        rig.send(text);
    }
    rig.finish();
    assert_eq!(rig.heard(), ["d", "e"]);
}

#[test]
fn a_window_lets_its_events_go_together() {
    let mut rig = Rig::new(&spec().window(Some(ms(10)), Some(3)).unwrap());
    rig.send("a");
    rig.pass(9);
    rig.send("b");
    assert!(rig.heard().is_empty());
    rig.pass(1);
    assert_eq!(rig.heard(), ["a", "b"], "ten milliseconds after it opened");
    rig.send("c");
    rig.send("d");
    rig.send("e");
    assert_eq!(rig.heard(), ["c", "d", "e"]);
    assert_eq!(rig.pipeline.deadline(), None);
}

#[test]
fn a_window_is_bounded_in_events_and_in_bytes() {
    let mut rig = Rig::new(&spec().window(Some(ms(1_000)), None).unwrap());
    for _ in 0..MAX_WINDOW_EVENTS {
        assert!(rig.out.is_empty());
        rig.send("a");
    }
    assert_eq!(rig.heard().len(), MAX_WINDOW_EVENTS);
    let large = XaeroEvent::new(vec![b'x'; MAX_WINDOW_BYTES / 2], ADD);
    rig.send_from(0, &large);
    assert!(rig.out.is_empty());
    rig.send_from(0, &large);
    assert_eq!(rig.out.len(), 2);
}

#[test]
fn a_window_without_a_sensible_end_is_refused() {
    assert_eq!(spec().window(None, None).unwrap_err(), PipelineError::Endless);
    assert_eq!(spec().buffer(Some(ms(1)), Some(0)).unwrap_err(), PipelineError::CountIsZero);
    let too_many = MAX_WINDOW_EVENTS + 1;
    assert_eq!(spec().buffer(None, Some(too_many)).unwrap_err(), PipelineError::CountTooLarge(too_many));
}

#[test]
fn after_the_end_nothing_passes() {
    let mut rig = Rig::new(&spec().window(Some(ms(10)), None).unwrap());
    rig.send("a");
    rig.finish();
    rig.send("b");
    rig.pass(100);
    rig.finish();
    assert_eq!(rig.heard(), ["a"]);
    assert!(rig.pipeline.finished());
}

#[test]
fn a_panic_leaves_other_pipelines_of_the_spec_alone() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let spec = spec().window(None, Some(2)).unwrap().map(move |event| {
        counted.fetch_add(1, Ordering::Relaxed);
        assert_ne!(event.evt.data, b"bad");
        event
    });
    let (mut broken, mut other) = (Rig::new(&spec), Rig::new(&spec));
    other.send("a");
    broken.send("bad");
    assert!(catch_unwind(AssertUnwindSafe(|| broken.send("b"))).is_err());
    drop(broken);
    other.send("b");
    assert_eq!(other.heard(), ["a", "b"]);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    drop((spec, other));
    assert_eq!(Arc::strong_count(&calls), 1, "the closures went with the specs and pipelines");
}
