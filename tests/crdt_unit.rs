//! The unit tests of the CRDT operations, through the operators that a pipeline runs.
//!
//! Each test plays one small scene: who did what, having seen what, and what everyone ends up with.

use xaeroflux::{
    Dot, Fold, FoldOp, Reduce, ReduceOp, VersionVector, XaeroEvent, XaeroID,
    crdt::{Applied, FoldState},
    event::{
        CRDT_COUNTER_DECREMENT, CRDT_COUNTER_INCREMENT, CRDT_COUNTER_STATE, CRDT_REGISTER_STATE, CRDT_REGISTER_WRITE,
        CRDT_SET_ADD, CRDT_SET_REMOVE, CRDT_SET_STATE,
    },
};

fn alice(seq: u64) -> Dot {
    Dot::new(XaeroID::from([1; 32]), seq)
}

fn bob(seq: u64) -> Dot {
    Dot::new(XaeroID::from([2; 32]), seq)
}

fn seen<const N: usize>(dots: [Dot; N]) -> VersionVector {
    dots.into_iter().collect()
}

/// An event as a scene tells it: code, payload, who, and what they had seen.
type Act = (u8, Vec<u8>, Dot, VersionVector);

fn play(fold: Fold, acts: &[Act]) -> Box<dyn FoldState> {
    let mut state = fold.to_operator().make();
    for (code, payload, dot, context) in acts {
        assert_eq!(state.apply(&XaeroEvent::new(payload.clone(), *code), *dot, context), Applied::Yes);
    }
    state
}

fn list(reduce: Reduce, state: &dyn FoldState) -> Vec<String> {
    let bytes = reduce.to_operator().reduce(state).unwrap();
    let items = rkyv::from_bytes::<Vec<Vec<u8>>, rkyv::rancor::Error>(&bytes).unwrap();
    items.into_iter().map(|item| String::from_utf8(item).unwrap()).collect()
}

fn number(state: &dyn FoldState) -> i64 {
    i64::from_le_bytes(Reduce::CounterValue.to_operator().reduce(state).unwrap().try_into().unwrap())
}

#[test]
fn test_or_set_resolves_to_what_was_not_removed() {
    let acts = [
        (CRDT_SET_ADD, b"alice".to_vec(), alice(1), seen([])),
        (CRDT_SET_ADD, b"bob".to_vec(), bob(1), seen([alice(1)])),
        (CRDT_SET_REMOVE, b"alice".to_vec(), alice(2), seen([alice(1), bob(1)])),
    ];
    assert_eq!(list(Reduce::SetContents, &*play(Fold::ORSet, &acts)), ["bob"]);
}

#[test]
fn test_concurrent_add_wins_over_remove() {
    let acts = [
        (CRDT_SET_ADD, b"tag".to_vec(), alice(1), seen([])),
        (CRDT_SET_REMOVE, b"tag".to_vec(), bob(1), seen([alice(1)])),
        (CRDT_SET_ADD, b"tag".to_vec(), alice(2), seen([alice(1)])),
    ];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let acts = order.map(|index| acts[index].clone());
        assert_eq!(list(Reduce::SetContents, &*play(Fold::ORSet, &acts)), ["tag"], "{order:?}");
    }
}

#[test]
fn test_concurrent_adds_of_one_element_are_one() {
    let acts = [
        (CRDT_SET_ADD, "👍".into(), alice(1), seen([])),
        (CRDT_SET_ADD, "❤️".into(), bob(1), seen([])),
        (CRDT_SET_ADD, "👍".into(), bob(2), seen([bob(1)])),
    ];
    assert_eq!(list(Reduce::SetContents, &*play(Fold::ORSet, &acts)), ["❤️", "👍"]);
}

#[test]
fn test_g_counter_counts_each_increment_once() {
    let one = 1i64.to_le_bytes().to_vec();
    let acts = [
        (CRDT_COUNTER_INCREMENT, one.clone(), alice(1), seen([])),
        (CRDT_COUNTER_INCREMENT, one.clone(), bob(1), seen([])),
        (CRDT_COUNTER_INCREMENT, one, bob(1), seen([])),
    ];
    assert_eq!(number(&*play(Fold::GCounter, &acts)), 2);
}

#[test]
fn test_counters_say_which_rule_a_payload_breaks() {
    let bad: [(Fold, u8, Vec<u8>, &str); 4] = [
        (Fold::GCounter, CRDT_COUNTER_INCREMENT, (-1i64).to_le_bytes().to_vec(), "not negative"),
        (Fold::GCounter, CRDT_COUNTER_DECREMENT, 1i64.to_le_bytes().to_vec(), "no decrement"),
        (Fold::GCounter, CRDT_COUNTER_INCREMENT, vec![1], "8 bytes"),
        (Fold::PNCounter, CRDT_COUNTER_DECREMENT, vec![0; 16], "8 bytes"),
    ];
    for (fold, code, payload, rule) in bad {
        let mut state = fold.to_operator().make();
        let applied = state.apply(&XaeroEvent::new(payload, code), alice(1), &seen([]));
        assert!(matches!(applied, Applied::Skipped(why) if why.contains(rule)), "{applied:?}");
        assert_eq!(number(&*state), 0);
    }
}

#[test]
fn test_pn_counter_counts_votes_both_ways() {
    let one = 1i64.to_le_bytes().to_vec();
    let acts = [
        (CRDT_COUNTER_INCREMENT, one.clone(), alice(1), seen([])),
        (CRDT_COUNTER_INCREMENT, one.clone(), bob(1), seen([])),
        (CRDT_COUNTER_DECREMENT, one.clone(), Dot::new(XaeroID::from([3; 32]), 1), seen([])),
        (CRDT_COUNTER_INCREMENT, one, Dot::new(XaeroID::from([4; 32]), 1), seen([])),
    ];
    assert_eq!(number(&*play(Fold::PNCounter, &acts)), 2);
}

#[test]
fn test_lww_register_takes_the_latest_timestamp() {
    let mut state = Fold::LWWRegister.to_operator().make();
    let value = |state: &dyn FoldState| Reduce::RegisterValue.to_operator().reduce(state).unwrap();
    assert!(value(&*state).is_empty(), "never written");
    assert!(list(Reduce::RegisterValues, &*state).is_empty());
    state.apply(&XaeroEvent::new("late", CRDT_REGISTER_WRITE).at(2_000), alice(1), &seen([]));
    state.apply(&XaeroEvent::new("early", CRDT_REGISTER_WRITE).at(1_000), bob(1), &seen([alice(1)]));
    assert_eq!(value(&*state), b"late");
    assert_eq!(list(Reduce::RegisterValues, &*state), ["late"]);
}

#[test]
fn test_concurrent_writes_are_all_in_the_mv_register() {
    let mut acts = vec![
        (CRDT_REGISTER_WRITE, b"b".to_vec(), alice(1), seen([])),
        (CRDT_REGISTER_WRITE, b"a".to_vec(), bob(1), seen([])),
    ];
    assert_eq!(list(Reduce::RegisterValues, &*play(Fold::MVRegister, &acts)), ["a", "b"]);
    acts.push((CRDT_REGISTER_WRITE, b"c".to_vec(), bob(2), seen([alice(1), bob(1)])));
    assert_eq!(list(Reduce::RegisterValues, &*play(Fold::MVRegister, &acts)), ["c"]);
}

#[test]
fn test_every_fold_comes_back_from_its_snapshot() {
    let acts = [
        (CRDT_SET_ADD, b"12345678".to_vec(), alice(1), seen([])),
        (CRDT_COUNTER_INCREMENT, 5i64.to_le_bytes().to_vec(), alice(2), seen([alice(1)])),
        (CRDT_REGISTER_WRITE, b"x".to_vec(), alice(3), seen([alice(2)])),
    ];
    let pairs = [
        (Fold::ORSet, Reduce::SetContents),
        (Fold::GCounter, Reduce::CounterValue),
        (Fold::PNCounter, Reduce::CounterValue),
        (Fold::LWWRegister, Reduce::RegisterValue),
        (Fold::MVRegister, Reduce::RegisterValues),
    ];
    for (fold, reduce) in pairs {
        let (fold, reduce) = (fold.to_operator(), reduce.to_operator());
        let mut state = fold.make();
        let empty = reduce.reduce(&*state).unwrap();
        for (code, payload, dot, context) in &acts {
            state.apply(&XaeroEvent::new(payload.clone(), *code), *dot, context);
        }
        let back = fold.restore(&state.save().unwrap()).unwrap();
        assert_ne!(reduce.reduce(&*back).unwrap(), empty);
        assert_eq!(reduce.reduce(&*back), reduce.reduce(&*state));
    }
}

#[test]
fn test_reducers_give_nothing_for_a_state_they_cannot_read() {
    let state = |fold: Fold| fold.to_operator().make();
    assert_eq!(Reduce::SetContents.to_operator().reduce(&*state(Fold::GCounter)), None);
    assert_eq!(Reduce::CounterValue.to_operator().reduce(&*state(Fold::ORSet)), None);
    assert_eq!(Reduce::RegisterValue.to_operator().reduce(&*state(Fold::MVRegister)), None);
    assert_eq!(Reduce::RegisterValues.to_operator().reduce(&*state(Fold::ORSet)), None);
}

#[test]
fn test_reducers_name_the_event_that_carries_the_state() {
    assert_eq!(Reduce::SetContents.to_operator().event_type(), CRDT_SET_STATE);
    assert_eq!(Reduce::CounterValue.to_operator().event_type(), CRDT_COUNTER_STATE);
    assert_eq!(Reduce::RegisterValue.to_operator().event_type(), CRDT_REGISTER_STATE);
    assert_eq!(Reduce::RegisterValues.to_operator().event_type(), CRDT_REGISTER_STATE);
}

#[test]
fn test_users_closures_stand_in_the_same_places() {
    let fold = FoldOp::from_fn(Vec::<u8>::new(), |longest, event| {
        if event.evt.data.len() > longest.len() {
            longest.clone_from(&event.evt.data);
        }
    });
    let reduce = ReduceOp::from_fn(99, Vec::<u8>::clone);
    let mut state = fold.make();
    for (payload, dot) in [("ab", alice(1)), ("abc", alice(2)), ("a", bob(1))] {
        assert_eq!(state.apply(&XaeroEvent::new(payload, 99), dot, &seen([])), Applied::Yes);
    }
    assert_eq!(reduce.reduce(&*state).unwrap(), b"abc");
    assert_eq!(Reduce::SetContents.to_operator().reduce(&*state), None);
}
