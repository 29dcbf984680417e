//! The history example's own promises: each event carries exactly the context that the file's `parents` imply, the orders
//! are what they are called, and a seed always means the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(dead_code, reason = "of the example's modules, only what is tested is called")]

#[path = "../examples/history/events.rs"]
mod events;
#[path = "../examples/history/format.rs"]
mod format;
#[path = "../examples/history/peers.rs"]
mod peers;
#[path = "../examples/history/random.rs"]
mod random;
#[path = "../examples/history/replay.rs"]
mod replay;
#[path = "../examples/history/replicas.rs"]
mod replicas;
mod support;

use std::collections::{BTreeSet, HashMap, HashSet};

use events::Made;
use format::{History, Verb};
use random::Random;
use replay::Order;
use support::{example, fixture, real_input};
use xaeroflux::{Dot, SubjectId, crdt::CausalIndex, event::EventType, wire::archive};

fn small() -> History {
    History::read(&fixture("history-small.jsonl")).unwrap()
}

fn subject() -> SubjectId {
    SubjectId::from([7; 32])
}

/// The histories that there are: the small one, and the real one where it is.
fn histories() -> Vec<History> {
    let real = real_input("actix-files.orset.jsonl.gz").map(|file| History::read(&file).unwrap());
    [small()].into_iter().chain(real).collect()
}

/// For each transaction the events that its replica had seen before: by brute force, from the parents alone.
fn seen_before(history: &History, made: &[Made]) -> Vec<BTreeSet<Dot>> {
    let mut own = made.iter().map(|event| event.dot);
    let mut before: Vec<BTreeSet<Dot>> = Vec::new();
    let mut after: Vec<BTreeSet<Dot>> = Vec::new();
    for transaction in &history.transactions {
        let seen: BTreeSet<Dot> = transaction.parents.iter().flat_map(|&parent| after[parent].clone()).collect();
        after.push(seen.iter().copied().chain(own.by_ref().take(transaction.ops.len())).collect());
        before.push(seen);
    }
    before
}

#[test]
fn every_event_has_seen_exactly_what_the_parents_imply() {
    for history in histories() {
        let made = events::make(&history, subject()).unwrap();
        assert_eq!(made.len(), history.ops());
        let before = seen_before(&history, &made);
        let mut index = CausalIndex::new();
        let mut rest = &made[..];
        for (transaction, mut seen) in history.transactions.iter().zip(before) {
            let (own, later) = rest.split_at(transaction.ops.len());
            rest = later;
            for event in own {
                index.insert(event.dot, event.deps.iter().copied());
                let vector = index.vector(event.dot);
                let total: u64 = vector.iter().map(|(_, seq)| seq).sum();
                assert!(seen.iter().all(|dot| vector.covers(*dot)), "{} has seen too little", event.dot);
                assert_eq!(total, seen.len() as u64, "{} has seen too much", event.dot);
                seen.insert(event.dot);
            }
        }
    }
}

#[test]
fn no_event_names_what_another_of_its_causes_had_seen() {
    for history in histories() {
        let made = events::make(&history, subject()).unwrap();
        let mut index = CausalIndex::new();
        for event in &made {
            let previous = (event.dot.seq > 1).then(|| Dot::new(event.dot.author, event.dot.seq - 1));
            for dep in &event.deps {
                let others = event.deps.iter().copied().chain(previous).filter(|other| other != dep);
                assert!(!others.into_iter().any(|other| index.saw(other, *dep)), "{} needs no {dep}", event.dot);
            }
            index.insert(event.dot, event.deps.iter().copied());
        }
    }
}

#[test]
fn the_frames_say_what_the_file_says_with_clocks_above_all_causes() {
    let history = small();
    let made = events::make(&history, subject()).unwrap();
    let ops: Vec<_> = history.transactions.iter().flat_map(|txn| txn.ops.iter().map(move |op| (txn, op))).collect();
    let mut clocks = HashMap::new();
    for (event, (transaction, (verb, path))) in made.iter().zip(ops) {
        let (record, length) = archive::open(&event.frame).unwrap();
        assert_eq!(length, event.frame.len());
        let code = match verb {
            Verb::Add => xaeroflux::event::CRDT_SET_ADD,
            Verb::Remove => xaeroflux::event::CRDT_SET_REMOVE,
            Verb::Touch => events::TOUCH,
        };
        assert_eq!(record.event_type(), EventType::ApplicationEvent(code));
        assert_eq!(record.payload(), path.as_bytes());
        assert_eq!(record.dot(), event.dot);
        assert_eq!(record.author(), events::writer(transaction.replica));
        assert_eq!(record.deps().collect::<Vec<_>>(), event.deps);
        assert_eq!(record.latest_ts(), transaction.time_ms);
        assert!(record.clock().millis() >= transaction.time_ms, "never behind its replica's wall");
        let previous = (event.dot.seq > 1).then(|| Dot::new(event.dot.author, event.dot.seq - 1));
        for cause in event.deps.iter().copied().chain(previous) {
            assert!(record.clock() > clocks[&cause], "{} is not after {cause}", event.dot);
        }
        clocks.insert(event.dot, record.clock());
    }
}

#[test]
fn causal_orders_put_causes_first_and_the_others_do_not() {
    let made = events::make(&small(), subject()).unwrap();
    let violations = |sequence: &[usize]| {
        let mut here = HashSet::new();
        let mut violations = 0;
        for event in sequence.iter().map(|&index| &made[index]) {
            let previous = (event.dot.seq > 1).then(|| Dot::new(event.dot.author, event.dot.seq - 1));
            violations += event.deps.iter().copied().chain(previous).filter(|cause| !here.contains(cause)).count();
            here.insert(event.dot);
        }
        assert_eq!(here.len(), made.len(), "every event is delivered");
        violations
    };
    for seed in 0..50 {
        let causal = replay::sequence(&made, true, &mut Random::new(seed));
        assert_eq!(violations(&causal), 0, "seed {seed}");
        assert!(causal.len() > made.len(), "some events come twice");
        let any = replay::sequence(&made, false, &mut Random::new(seed));
        assert!(violations(&any) > 0, "seed {seed}");
        assert_eq!(any, replay::sequence(&made, false, &mut Random::new(seed)), "a seed means one order");
        assert_ne!(any, replay::sequence(&made, false, &mut Random::new(seed + 1)));
    }
}

#[test]
fn both_kinds_of_order_end_in_the_final_set() {
    let history = small();
    for number in 0..4 {
        let order = Order::new(1, number);
        assert_eq!(order.is_causal(), number % 2 == 0);
        for outcome in replay::replay(&history, order, None).unwrap() {
            assert_eq!(outcome.emitted, history.expected, "order {number}, node {}", outcome.node);
            assert_eq!(outcome.resolved, history.expected, "order {number}, node {}", outcome.node);
        }
    }
}

#[test]
fn every_transaction_is_written_once_and_no_earlier_than_its_node_can_have_what_it_follows() {
    for history in histories() {
        for nodes in [1, 2, 3, 7] {
            let home = |replica| peers::home(replica, history.replicas, nodes);
            if nodes <= history.replicas {
                let homes: BTreeSet<usize> = (0..history.replicas).map(home).collect();
                assert!(homes.into_iter().eq(0..nodes), "a node without replicas");
            }
            // The round and the node of each transaction, by its first event.
            let mut at = HashMap::new();
            for (round, of_nodes) in peers::rounds(&history, nodes).into_iter().enumerate() {
                assert!(of_nodes.iter().any(|transactions| !transactions.is_empty()), "an idle round");
                for (node, transactions) in of_nodes.into_iter().enumerate() {
                    for (place, events) in transactions.into_iter().enumerate() {
                        assert!(at.insert(events.start, (events.len(), round, node, place)).is_none());
                    }
                }
            }
            let mut first = 0;
            let mut of: Vec<(usize, usize, usize)> = Vec::new();
            for transaction in &history.transactions {
                let (events, round, node, place) = at[&first];
                assert_eq!((events, node), (transaction.ops.len(), home(transaction.replica)));
                for (before, other, order) in transaction.parents.iter().map(|&parent| of[parent]) {
                    assert!(before < round || (before == round && other == node && order < place));
                }
                of.push((round, node, place));
                first += events;
            }
            assert_eq!(of.len(), at.len());
        }
    }
}

#[test]
fn nodes_that_write_apart_and_meet_end_in_the_final_set_with_one_root() {
    let history = small();
    for nodes in [1, 2, 5] {
        let meeting = peers::replay(&history, nodes, Order::new(3, 0), None).unwrap();
        assert!(meeting.roots_equal && meeting.outcomes.len() == nodes);
        assert_eq!(meeting.bytes_sent > 0, nodes > 1);
        for outcome in meeting.outcomes {
            assert_eq!(outcome.emitted, history.expected, "node {} of {nodes}", outcome.node);
            assert_eq!(outcome.resolved, history.expected, "node {} of {nodes}", outcome.node);
        }
    }
}

#[test]
fn the_real_history_written_on_three_nodes_ends_in_its_final_set_with_one_root() {
    let Some(file) = real_input("actix-files.orset.jsonl.gz") else { return };
    let output = example("history").arg(&file).args(["--nodes", "3", "--orders", "1"]).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (key, value) in [("txns", 1192), ("ops", 1675), ("replicas", 145), ("orders", 1)] {
        assert_eq!(summary[key], value, "{key}");
    }
    for key in ["converged", "matches_final", "roots_equal"] {
        assert_eq!(summary[key], true, "{key}: {summary} {err}");
    }
    assert!(summary["bytes_sent"].as_u64() > Some(1675 * 100), "{summary}");
}

#[test]
fn files_that_break_the_format_are_refused_with_the_rule() {
    let header = |replicas: usize, txns: usize, ops: usize| {
        format!(r#"{{"kind":"or-set-history","replicas":{replicas},"txns":{txns},"ops":{ops},"final":[]}}"#)
    };
    let touch = |parents: &str, replica: usize| {
        format!(r#"{{"parents":{parents},"replica":{replica},"time_ms":1,"ops":[["touch",""]]}}"#)
    };
    let cases = [
        (header(1, 0, 0).replace("or-set", "text"), "its kind is"),
        (format!("{}\n{}", header(1, 1, 1), touch("[0]", 0)), "line 2: a transaction comes after its parents"),
        (format!("{}\n{}", header(1, 1, 1), touch("[]", 1)), "line 2: there are 1 replicas"),
        (format!("{}\n{}", header(1, 1, 2), touch("[]", 0)), "but there are 1 with 1"),
        (format!("{}\nnonsense", header(1, 1, 1)), "line 2"),
    ];
    for (text, rule) in cases {
        let error = History::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(rule), "{error}");
    }
    // One replica's transactions that do not follow each other would be a fork.
    let forked = format!("{}\n{}\n{}", header(1, 2, 2), touch("[]", 0), touch("[]", 0));
    let error = events::make(&History::parse(forked.as_bytes()).unwrap(), subject()).unwrap_err().to_string();
    assert!(error.contains("does not follow its replica's earlier ones"), "{error}");
}
