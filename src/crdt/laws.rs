//! The laws: every delivery order, duplication and window split of the same operations ends in the same state.
//!
//! Histories are made by simulated replicas that write and now and then take in an event of another, with all that
//! it had seen. So every causal context is one that could have come about. Each type is also compared with a
//! specification that knows the whole history at once and shares no code with it.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use crate::{
    crdt::{
        CausalIndex, Fold, Reduce, Sort,
        operator::{CausalContext, FoldOp, FoldState, ReduceOp},
    },
    wire::{
        clock::Clock,
        event::{
            CRDT_COUNTER_DECREMENT, CRDT_COUNTER_INCREMENT, CRDT_REGISTER_WRITE, CRDT_SET_ADD, CRDT_SET_REMOVE,
            EventType, Stamp, XaeroEvent,
        },
        id::{Dot, SubjectId, XaeroID},
        vector::VersionVector,
    },
};

/// A context from a source that promises causal delivery.
#[derive(Debug, Clone)]
pub(super) struct Causal(pub(super) VersionVector);

impl CausalContext for Causal {
    fn covers(&self, dot: Dot) -> bool {
        self.0.covers(dot)
    }

    fn to_vector(&self) -> VersionVector {
        self.0.clone()
    }

    fn causal_delivery(&self) -> bool {
        true
    }
}

/// The event as if it came from a log.
pub(super) fn stamped(mut event: XaeroEvent, dot: Dot, clock: Clock, deps: &[Dot]) -> XaeroEvent {
    let stamp = Stamp { subject: SubjectId::from([0; 32]), dot, clock, deps: deps.to_vec(), is_withheld: false };
    event.author_id = Some(dot.author);
    event.evt.set_stamp(Some(Arc::new(stamp)));
    event
}

/// What happened at all replicas, in an order in which it can have happened.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) events: Vec<Recorded>,
}

/// An event and what its author had seen.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) event: XaeroEvent,
    pub(super) dot: Dot,
    /// The undominated dots of others that the author had seen.
    pub(super) deps: Vec<Dot>,
    /// All dots that the author had seen.
    pub(super) context: VersionVector,
}

impl History {
    /// The author who writes at this replica.
    pub(super) fn author(replica: u8) -> XaeroID {
        XaeroID::from([replica + 1; 32])
    }

    fn of(&self, code: u8) -> impl Iterator<Item = &Recorded> + Clone {
        self.events.iter().filter(move |recorded| recorded.event.evt.event_type == EventType::ApplicationEvent(code))
    }
}

/// What one replica does next.
#[derive(Debug, Clone)]
enum Step {
    Write {
        replica: u8,
        code: u8,
        value: u8,
        timestamp: Option<u64>,
        wall: u64,
    },
    /// Takes in an event, chosen by number, and all that it had seen.
    Sync {
        replica: u8,
        event: usize,
    },
}

/// What replicas write; adds twice, so that removes find something.
const CODES: &[u8] =
    &[CRDT_SET_ADD, CRDT_SET_ADD, CRDT_SET_REMOVE, CRDT_COUNTER_INCREMENT, CRDT_COUNTER_DECREMENT, CRDT_REGISTER_WRITE];

/// Histories of up to `steps` writes and syncs at this many replicas.
pub(super) fn history(replicas: u8, steps: usize) -> impl Strategy<Value = History> {
    let write = (0..replicas, prop::sample::select(CODES), 0u8..4, prop::option::of(0u64..5), 0u64..50)
        .prop_map(|(replica, code, value, timestamp, wall)| Step::Write { replica, code, value, timestamp, wall });
    let sync = (0..replicas, any::<usize>()).prop_map(|(replica, event)| Step::Sync { replica, event });
    let script = prop::collection::vec(prop_oneof![3 => write, 2 => sync], 0..=steps);
    script.prop_map(move |script| play(usize::from(replicas), &script))
}

fn play(replicas: usize, script: &[Step]) -> History {
    let mut events: Vec<Recorded> = Vec::new();
    let mut seen = vec![(VersionVector::new(), Clock::ZERO); replicas];
    for step in script {
        match *step {
            Step::Sync { replica, event } if !events.is_empty() => {
                // Mostly something recent, as people do who work together; now and then something old.
                let reach = if event % 4 == 0 { events.len() } else { events.len().min(8) };
                let recorded = &events[events.len() - 1 - event / 4 % reach];
                let (vector, clock) = &mut seen[usize::from(replica)];
                vector.join(&recorded.context);
                vector.observe(recorded.dot);
                *clock = recorded.event.evt.clock().unwrap().max(*clock);
            }
            Step::Sync { .. } => {}
            Step::Write { replica, code, value, timestamp, wall } => {
                let (vector, clock) = &mut seen[usize::from(replica)];
                let author = History::author(replica);
                let dot = Dot::new(author, vector.get(author) + 1);
                let latest: Vec<_> = vector.iter().map(|(author, seq)| Dot::new(author, seq)).collect();
                let known = |dot: &Dot| events.iter().find(|recorded| recorded.dot == *dot).unwrap();
                let dominated = |dot: &Dot| latest.iter().any(|other| known(other).context.covers(*dot));
                let others = latest.iter().filter(|dot| dot.author != author);
                let deps: Vec<_> = others.filter(|dot| !dominated(dot)).copied().collect();
                let payload = match code {
                    CRDT_COUNTER_INCREMENT | CRDT_COUNTER_DECREMENT => (i64::from(value) - 1).to_le_bytes().to_vec(),
                    _ => vec![value],
                };
                *clock = clock.next(wall);
                let mut event = XaeroEvent::new(payload, code);
                event.latest_ts = timestamp;
                let event = stamped(event, dot, *clock, &deps);
                events.push(Recorded { event, dot, deps, context: vector.clone() });
                vector.observe(dot);
            }
        }
    }
    History { events }
}

/// Numbers that look random, from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Every event at least once, some more often, in any order.
fn any_delivery<'a>(history: &'a History, random: &mut Random) -> Vec<&'a Recorded> {
    let mut delivery: Vec<_> = history.events.iter().collect();
    for _ in 0..history.events.len() / 2 {
        delivery.push(&history.events[random.below(history.events.len())]);
    }
    random.shuffle(&mut delivery);
    delivery
}

/// Every event once, after its causes, otherwise in any order.
fn causal_delivery<'a>(history: &'a History, random: &mut Random) -> Vec<&'a Recorded> {
    let mut waiting: Vec<_> = history.events.iter().collect();
    let mut delivered = VersionVector::new();
    let mut delivery = Vec::new();
    while !waiting.is_empty() {
        let ready: Vec<_> = (0..waiting.len()).filter(|at| delivered.dominates(&waiting[*at].context)).collect();
        let next = waiting.swap_remove(ready[random.below(ready.len())]);
        delivered.observe(next.dot);
        delivery.push(next);
    }
    delivery
}

/// Folds a delivery in windows of random size, each sorted, with a restart from a snapshot now and then. A causal one
/// gets its contexts from a [`CausalIndex`], as a pipeline over a log does.
fn fold_in_windows(
    fold: &FoldOp,
    sorts: &[Option<Sort>],
    delivery: &[&Recorded],
    random: &mut Random,
    causal: bool,
) -> Box<dyn FoldState> {
    let mut state = fold.make();
    let mut index = CausalIndex::new();
    let mut rest = delivery;
    while !rest.is_empty() {
        let (window, after) = rest.split_at(1 + random.below(rest.len()));
        rest = after;
        let mut window = window.to_vec();
        for recorded in window.iter().filter(|_| causal) {
            index.insert(recorded.dot, recorded.deps.iter().copied());
        }
        if let Some(sort) = sorts[random.below(sorts.len())] {
            let sort = sort.to_operator();
            window.sort_by(|a, b| sort.compare(&a.event, &b.event));
        }
        for recorded in window {
            if causal {
                state.apply(&recorded.event, recorded.dot, &index.context(recorded.dot));
            } else {
                state.apply(&recorded.event, recorded.dot, &recorded.context);
            }
        }
        if random.below(3) == 0 {
            state = fold.restore(&state.save().unwrap()).unwrap();
        }
    }
    state
}

const ANY_SORT: [Option<Sort>; 4] =
    [None, Some(Sort::VectorClock), Some(Sort::OperationId), Some(Sort::LamportTimestamp)];

/// Only these leave a causal delivery causal.
const CAUSAL_SORT: [Option<Sort>; 2] = [None, Some(Sort::VectorClock)];

/// All deliveries of the history end in `expected`, as this fold and reducer see it.
fn check(history: &History, seed: u64, fold: Fold, reduce: Reduce, expected: &[u8]) -> Result<(), TestCaseError> {
    let (fold, reduce): (FoldOp, ReduceOp) = (fold.to_operator(), reduce.to_operator());
    let mut random = Random(seed);
    let mut first_save = None;
    for _ in 0..4 {
        let delivery = any_delivery(history, &mut random);
        let state = fold_in_windows(&fold, &ANY_SORT, &delivery, &mut random, false);
        prop_assert_eq!(reduce.reduce(&*state).unwrap(), expected, "any order, repeated");
        let save = state.save();
        prop_assert_eq!(first_save.get_or_insert_with(|| save.clone()), &save, "one state, one snapshot");

        let delivery = causal_delivery(history, &mut random);
        let state = fold_in_windows(&fold, &CAUSAL_SORT, &delivery, &mut random, true);
        prop_assert_eq!(reduce.reduce(&*state).unwrap(), expected, "causes first");
    }
    Ok(())
}

fn list(items: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    let items: Vec<Vec<u8>> = items.iter().cloned().collect();
    rkyv::to_bytes::<rkyv::rancor::Failure>(&items).unwrap().into_vec()
}

fn amount(recorded: &Recorded) -> i128 {
    i128::from(i64::from_le_bytes(recorded.event.evt.data.as_slice().try_into().unwrap()))
}

/// The highest (timestamp, author, sequence number) among the writes.
fn last_writer(history: &History) -> Option<Vec<u8>> {
    let key = |w: &&Recorded| (w.event.latest_ts.unwrap_or(w.event.evt.clock().unwrap().millis()), w.dot);
    history.of(CRDT_REGISTER_WRITE).max_by_key(key).map(|write| write.event.evt.data.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_element_is_in_the_or_set_iff_no_remove_has_seen_some_add_of_it(history in history(4, 60), seed: u64) {
        let present = history.of(CRDT_SET_ADD).filter(|add| {
            !history.of(CRDT_SET_REMOVE).any(|remove| {
                remove.event.evt.data == add.event.evt.data && remove.context.covers(add.dot)
            })
        });
        let expected = present.map(|add| add.event.evt.data.clone()).collect();
        check(&history, seed, Fold::ORSet, Reduce::SetContents, &list(&expected))?;
    }

    #[test]
    fn the_g_counter_is_the_sum_of_the_increments(history in history(4, 60), seed: u64) {
        let sum: i128 = history.of(CRDT_COUNTER_INCREMENT).map(amount).filter(|amount| *amount >= 0).sum();
        let expected = i64::try_from(sum).unwrap().to_le_bytes();
        check(&history, seed, Fold::GCounter, Reduce::CounterValue, &expected)?;
    }

    #[test]
    fn the_pn_counter_is_the_increments_less_the_decrements(history in history(4, 60), seed: u64) {
        let plus: i128 = history.of(CRDT_COUNTER_INCREMENT).map(amount).sum();
        let minus: i128 = history.of(CRDT_COUNTER_DECREMENT).map(amount).sum();
        let expected = i64::try_from(plus - minus).unwrap().to_le_bytes();
        check(&history, seed, Fold::PNCounter, Reduce::CounterValue, &expected)?;
    }

    #[test]
    fn the_lww_register_is_the_write_with_the_highest_key(history in history(4, 60), seed: u64) {
        let winner = last_writer(&history);
        check(&history, seed, Fold::LWWRegister, Reduce::RegisterValue, winner.as_deref().unwrap_or_default())?;
        let values = list(&winner.into_iter().collect());
        check(&history, seed, Fold::LWWRegister, Reduce::RegisterValues, &values)?;
    }

    #[test]
    fn the_mv_register_is_the_writes_that_no_other_write_has_seen(history in history(4, 60), seed: u64) {
        let writes = history.of(CRDT_REGISTER_WRITE);
        let undominated = writes.clone().filter(|write| !writes.clone().any(|other| other.context.covers(write.dot)));
        let expected = undominated.map(|write| write.event.evt.data.clone()).collect();
        check(&history, seed, Fold::MVRegister, Reduce::RegisterValues, &list(&expected))?;
    }
}
