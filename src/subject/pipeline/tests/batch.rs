//! Batches: windows, sorting, folding, catching up, snapshots.

use super::*;
use crate::subject::pipeline::{CATCH_UP_CHUNK, PipelineError};

fn batch(operators: Vec<Operator>) -> PipelineSpec {
    PipelineSpec::default().batch(ms(10), Some(3), operators).unwrap()
}

fn set() -> PipelineSpec {
    batch(vec![by_clock(), fold(), contents()])
}

fn event(text: &str, code: u8) -> XaeroEvent {
    XaeroEvent::new(text, code)
}

#[test]
fn a_window_closes_when_its_time_has_passed_since_its_first_event() {
    let mut rig = Rig::new(&set());
    assert_eq!(rig.pipeline.deadline(), None);
    rig.pass(100);
    rig.send("a");
    rig.pass(9);
    rig.send("b");
    assert!(rig.heard().is_empty());
    rig.pass(1);
    assert_eq!(rig.heard(), ["a,b"]);
    rig.pass(1_000);
    assert!(rig.heard().is_empty(), "an empty window emits nothing");
}

#[test]
fn a_window_closes_when_it_holds_its_count() {
    let mut rig = Rig::new(&set());
    for text in ["a", "b", "c", "d"] {
        rig.send(text);
    }
    assert_eq!(rig.heard(), ["a,b,c"]);
    assert_eq!(rig.pipeline.deadline(), Some(ms(10)), "d has opened the next");
    rig.pass(10);
    assert_eq!(rig.heard(), ["a,b,c,d"], "the state survives the window");
}

#[test]
fn a_late_tick_does_not_widen_the_window() {
    let mut rig = Rig::new(&set());
    rig.send("a");
    rig.now = ms(10);
    rig.send("b");
    assert_eq!(rig.heard(), ["a"]);
}

#[test]
fn the_state_is_nobodys_event_and_carries_the_latest_timestamp() {
    let mut rig = Rig::new(&set());
    for (text, ts) in [("a", 5), ("b", 9), ("c", 7)] {
        rig.send_from(0, &event(text, ADD).by(author(1)).at(ts));
    }
    rig.send_from(0, &event("d", ADD).at(1));
    rig.finish();
    for state in &rig.out {
        assert_eq!(state.evt.event_type, EventType::ApplicationEvent(STATE));
        assert_eq!((state.author_id, state.latest_ts, state.evt.dot()), (None, Some(9), None));
    }
    assert_eq!(rig.heard(), ["a,b,c", "a,b,c,d"]);
}

#[test]
fn a_window_of_events_that_the_fold_does_not_know_emits_nothing() {
    let mut rig = Rig::new(&set());
    for _ in 0..3 {
        rig.send_from(0, &event("a", 99));
    }
    assert!(rig.heard().is_empty());
    rig.send_from(0, &event("a", 99));
    rig.send("b");
    rig.pass(10);
    assert_eq!(rig.heard(), ["b"]);
}

#[test]
fn a_skipped_event_is_reported_under_its_own_name() {
    let plain = PipelineSpec::default();
    let merged = plain.merge(&plain).batch(ms(10), None, vec![fold(), contents()]).unwrap();
    let mut rig = Rig::new(&merged);
    rig.send_from(1, &event("a", BROKEN).by(author(4)));
    rig.pass(10);
    assert!(rig.heard().is_empty(), "the state did not change");
    let dot = Dot::new(author(4), 1);
    assert_eq!(rig.pipeline.take_reports(), [Report::Skipped { source: 1, dot, rule: "it is broken" }]);
    assert!(rig.pipeline.take_reports().is_empty());
}

#[test]
fn a_reducer_that_cannot_read_the_state_is_reported_once() {
    let mut rig = Rig::new(&batch(vec![fold(), reduce("blind", |_| None)]));
    for text in ["a", "b", "c", "d", "e", "f"] {
        rig.send(text);
    }
    assert!(rig.heard().is_empty());
    let report = Report::CannotReduce { fold: "test-set/1".into(), reduce: "blind".into() };
    assert_eq!(rig.pipeline.take_reports(), [report]);
}

#[test]
fn without_a_fold_the_events_come_one_by_one_and_sorted() {
    let mut rig = Rig::new(&batch(vec![by_payload()]));
    for text in ["c", "a", "b"] {
        rig.send(text);
    }
    assert!(rig.out.iter().all(|event| event.evt.stamp().is_none()), "what it was sorted by is taken back");
    assert_eq!(rig.heard(), ["a", "b", "c"]);
    let mut rig = Rig::new(&batch(vec![]));
    for text in ["c", "a", "b"] {
        rig.send(text);
    }
    assert_eq!(rig.heard(), ["c", "a", "b"], "as they arrived");
}

#[test]
fn the_first_sort_decides_and_the_next_orders_its_equals() {
    let by_ts = sort("by-ts", |event| event.latest_ts);
    let mut rig = Rig::new(&batch(vec![by_ts, by_payload()]));
    for (text, ts) in [("a", 2), ("c", 1), ("b", 1)] {
        rig.send_from(0, &event(text, ADD).at(ts));
    }
    assert_eq!(rig.heard(), ["b", "c", "a"]);
}

#[test]
fn an_order_that_breaks_causality_is_not_passed_off_as_causal() {
    let causal = |sorts: Vec<Operator>| {
        let operators = sorts.into_iter().chain([fold(), reduce("causal", |set| Some(set.causal.to_string()))]);
        let mut rig = Rig::new(&batch(operators.collect()));
        for text in ["b", "a", "c", "d", "e", "f"] {
            rig.send(text);
        }
        rig.heard()
    };
    assert_eq!(causal(vec![]), ["3", "6"]);
    assert_eq!(causal(vec![by_clock()]), ["3", "6"]);
    assert_eq!(causal(vec![by_payload()]), ["0", "3"], "a went before b, then d, e and f kept their order");
}

#[test]
fn history_is_folded_silently_and_its_end_emits_the_state_once() {
    let mut rig = Rig::new(&set());
    rig.catching_up(true);
    let many = CATCH_UP_CHUNK + 5;
    for _ in 0..many {
        rig.send("a");
    }
    rig.pass(1_000);
    assert_eq!(rig.pipeline.deadline(), None);
    assert!(rig.heard().is_empty());
    rig.catching_up(false);
    assert_eq!(rig.heard(), [vec!["a"; many].join(",")]);
    rig.catching_up(false);
    rig.pass(1_000);
    assert!(rig.heard().is_empty());
}

#[test]
fn an_empty_history_emits_nothing() {
    let mut rig = Rig::new(&set());
    rig.catching_up(true);
    rig.send_from(0, &event("a", 99));
    rig.catching_up(false);
    assert!(rig.heard().is_empty());
}

#[test]
fn falling_behind_takes_the_open_window_along() {
    let mut rig = Rig::new(&set());
    rig.send("a");
    rig.catching_up(true);
    rig.pass(50);
    rig.send("b");
    assert!(rig.heard().is_empty());
    rig.catching_up(false);
    assert_eq!(rig.heard(), ["a,b"]);
}

#[test]
fn a_pipeline_that_ends_within_its_history_passes_off_no_part_as_the_state() {
    let mut rig = Rig::new(&set());
    rig.catching_up(true);
    rig.send("a");
    rig.finish();
    assert!(rig.heard().is_empty());
}

#[test]
fn a_batch_behind_a_batch_catches_up_with_it() {
    let count = reduce("count", |set| Some(set.adds.len().to_string()));
    let renamed = set().map(|mut event| {
        event.evt.event_type = EventType::ApplicationEvent(ADD);
        event
    });
    let mut rig = Rig::new(&renamed.batch(ms(5), None, vec![fold(), count]).unwrap());
    rig.catching_up(true);
    rig.send("a");
    rig.send("b");
    rig.catching_up(false);
    assert_eq!(rig.heard(), ["1"], "one state reached the second batch");
}

#[test]
fn events_made_by_a_stage_are_told_apart() {
    let both = |events: Vec<XaeroEvent>| events.into_iter().next();
    let spec = PipelineSpec::default().buffer_with(None, Some(2), both).unwrap();
    let mut rig = Rig::new(&spec.batch(ms(10), None, vec![fold(), contents()]).unwrap());
    for (text, code) in [("a", ADD), ("", ADD), ("b", ADD), ("", ADD), ("a", REMOVE), ("", ADD)] {
        rig.send_from(0, &event(text, code).by(author(3)));
    }
    rig.pass(10);
    assert_eq!(rig.heard(), ["b"]);
}

#[test]
fn a_snapshot_covers_all_events_or_is_not_there() {
    let mut rig = Rig::new(&set());
    assert_eq!(rig.pipeline.snapshot(), None, "nothing was folded");
    rig.send("a");
    assert_eq!(rig.pipeline.snapshot(), None, "a is not in the state yet");
    rig.pass(10);
    assert!(rig.pipeline.snapshot().is_some());
    rig.send("b");
    assert_eq!(rig.pipeline.snapshot(), None);
}

#[test]
fn a_restored_state_goes_on_where_it_was() {
    let mut first = Rig::new(&set());
    first.send_from(0, &event("a", ADD).at(8));
    first.pass(10);
    let snapshot = first.pipeline.snapshot().unwrap();

    let mut second = Rig::new(&set());
    assert!(second.pipeline.restore(&snapshot));
    assert_eq!(second.pipeline.snapshot(), Some(snapshot.clone()));
    second.catching_up(true);
    second.catching_up(false);
    assert_eq!(second.out[0].latest_ts, Some(8));
    assert_eq!(second.heard(), ["a"], "the subscriber learns the state although there was nothing to add");
    second.send("b");
    second.pass(10);
    assert_eq!(second.heard(), ["a,b"]);

    for length in 0..=9 {
        assert!(!Rig::new(&set()).pipeline.restore(&snapshot[..length]), "{length} bytes");
    }
    let mut other = snapshot;
    other[0] = 2;
    assert!(!Rig::new(&set()).pipeline.restore(&other));
}

#[test]
fn only_a_state_whose_meaning_is_certain_is_saved() {
    assert_eq!(set().snapshot_name().as_deref(), Some("test-set/1|by-clock"));
    assert_eq!(set().map(|event| event).snapshot_name(), set().snapshot_name(), "what stands behind does not matter");
    let plain = PipelineSpec::default();
    let operators = || vec![fold(), contents()];
    let filtered = plain.filter(|_| true).batch(ms(10), None, operators()).unwrap();
    let merged = plain.merge(&plain).batch(ms(10), None, operators()).unwrap();
    let Operator::Fold(mut anonymous) = fold() else { unreachable!() };
    anonymous.name = None;
    for spec in [filtered, merged, batch(vec![Operator::Fold(anonymous), contents()]), batch(vec![by_clock()])] {
        assert_eq!(spec.snapshot_name(), None, "{spec:?}");
        let mut rig = Rig::new(&spec);
        rig.send("a");
        rig.pass(10);
        assert_eq!(rig.pipeline.snapshot(), None);
        assert!(!rig.pipeline.restore(&[0; 10]));
    }
}

#[test]
fn operators_that_make_no_batch_are_refused() {
    let refused = |count, operators| PipelineSpec::default().batch(ms(1), count, operators).unwrap_err();
    assert_eq!(refused(None, vec![fold()]), PipelineError::FoldWithoutReduce);
    assert_eq!(refused(None, vec![contents()]), PipelineError::ReduceWithoutFold);
    assert_eq!(refused(None, vec![fold(), fold(), contents()]), PipelineError::SeveralFolds);
    assert_eq!(refused(None, vec![fold(), contents(), contents()]), PipelineError::SeveralReduces);
    assert_eq!(refused(Some(0), vec![fold(), contents()]), PipelineError::CountIsZero);
}
