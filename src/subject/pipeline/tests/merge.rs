//! Pipelines with several sources.

use super::*;
use crate::wire::event::ScanWindow;

fn tag(tag: &'static str) -> PipelineSpec {
    PipelineSpec::default().map(tagged(tag))
}

fn tagged(tag: &'static str) -> impl Fn(XaeroEvent) -> XaeroEvent + Send + Sync + 'static {
    move |mut event| {
        event.evt.data.extend(tag.bytes());
        event
    }
}

fn set_of(spec: &PipelineSpec) -> PipelineSpec {
    spec.batch(ms(10), None, vec![by_clock(), fold(), contents()]).unwrap()
}

#[test]
fn each_source_passes_its_own_branch_and_then_the_common_stages() {
    let plain = PipelineSpec::default();
    let left = tag("1").merge(&tag("2")).map(tagged("L"));
    let spec = left.merge(&plain.merge(&tag("4")).merge(&plain)).map(tagged("!"));
    assert_eq!(spec.sources(), 5);
    let mut rig = Rig::new(&spec);
    for source in [4, 3, 2, 1, 0, 4] {
        rig.send_from(source, &XaeroEvent::new("x", ADD));
    }
    assert_eq!(rig.heard(), ["x!", "x4!", "x!", "x2L!", "x1L!", "x!"]);
}

#[test]
fn branches_without_stages_meet_at_once() {
    let plain = PipelineSpec::default();
    let mut rig = Rig::new(&plain.merge(&plain));
    rig.send_from(1, &XaeroEvent::new("b", ADD));
    rig.send_from(0, &XaeroEvent::new("a", ADD));
    rig.send_from(0, &XaeroEvent::new("c", ADD));
    assert_eq!(rig.heard(), ["b", "a", "c"], "in the order in which they were fed");
}

#[test]
fn what_a_branch_holds_goes_through_the_common_stages() {
    let branch = PipelineSpec::default().debounce(ms(10));
    let mut rig = Rig::new(&branch.merge(&branch).map(tagged("!")));
    rig.send_from(0, &XaeroEvent::new("a", ADD));
    rig.pass(5);
    rig.send_from(1, &XaeroEvent::new("b", ADD));
    rig.pass(5);
    assert_eq!(rig.heard(), ["a!"]);
    rig.pass(5);
    assert_eq!(rig.heard(), ["b!"]);
}

#[test]
fn a_take_in_one_branch_ends_only_that_branch() {
    let one = PipelineSpec::default().take(1);
    let mut rig = Rig::new(&one.merge(&one));
    for (source, text) in [(0, "a"), (0, "b"), (1, "c")] {
        assert!(!rig.pipeline.finished());
        rig.send_from(source, &XaeroEvent::new(text, ADD));
    }
    assert!(rig.pipeline.finished(), "no branch is left");
    assert_eq!(rig.heard(), ["a", "c"]);
}

#[test]
fn the_same_dot_in_two_subjects_is_two_events() {
    let plain = PipelineSpec::default();
    let mut rig = Rig::new(&set_of(&plain.merge(&plain)));
    rig.send_from(0, &XaeroEvent::new("here", ADD));
    rig.send_from(1, &XaeroEvent::new("there", ADD));
    rig.send_from(1, &XaeroEvent::new("here", REMOVE));
    rig.pass(10);
    assert_eq!(rig.heard(), ["here,there"], "the remover cannot have seen the other subject's add");
    rig.send_from(0, &XaeroEvent::new("here", REMOVE));
    rig.pass(10);
    assert_eq!(rig.heard(), ["there"]);
}

#[test]
fn two_branches_of_one_subject_resolve_together() {
    let is = |code| move |event: &XaeroEvent| event.evt.event_type == EventType::ApplicationEvent(code);
    let plain = PipelineSpec::default();
    let spec = set_of(&plain.filter(is(ADD)).merge(&plain.filter(is(REMOVE))));
    let mut rig = Rig::reading(&spec, vec![7, 7]);
    for (seq, code) in [(1, ADD), (2, REMOVE), (3, ADD)] {
        for source in [0, 1] {
            rig.send_as(source, &XaeroEvent::new("x", code), Some(Dot::new(author(1), seq)));
        }
        rig.pass(10);
    }
    assert_eq!(rig.heard(), ["x", "", "x"]);
}

#[test]
fn each_source_is_asked_for_its_own_history() {
    let (a, b) = (ScanWindow { start: 1, end: 9 }, ScanWindow { start: 3, end: 20 });
    let plain = PipelineSpec::default();
    let spec = plain.scan(a).merge(&set_of(&plain)).merge(&plain).scan(b);
    assert_eq!(spec.scan_windows(), [Some(ScanWindow { start: 3, end: 9 }), None, Some(b)]);
    assert_eq!(spec.folds(), [false, true, false]);
    assert!(spec.has_batch());
    assert!(!plain.merge(&plain).batch(ms(1), None, vec![by_clock()]).unwrap().has_batch());
}

#[test]
fn an_event_of_no_source_is_ignored() {
    let mut rig = Rig::new(&PipelineSpec::default());
    rig.send_as(3, &XaeroEvent::new("a", ADD), None);
    assert!(rig.heard().is_empty());
}
