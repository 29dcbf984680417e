//! Several people editing at once, on real threads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Barrier, mpsc},
    thread,
};

use xaeroflux::{SubscribeOptions, prelude::*};

/// How long to wait for what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// People who edit at once.
const PEOPLE: usize = 8;

type States = mpsc::Receiver<XaeroEvent>;

fn pipeline(fold: Fold, reduce: Reduce) -> Vec<Operator> {
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(fold.to_operator()),
        Operator::Reduce(reduce.to_operator()),
    ]
}

fn resolve(subject: &Subject, fold: Fold, reduce: Reduce) -> (Subscription, States) {
    let (tell, states) = mpsc::channel();
    let subscription =
        subject.batch(Duration::from_millis(5), Some(40), pipeline(fold, reduce)).subscribe(move |state| {
            // The receiver may be gone already.
            let _ = tell.send(state);
        });
    (subscription, states)
}

fn set(state: &XaeroEvent) -> Vec<String> {
    let set = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data).unwrap();
    set.into_iter().map(|element| String::from_utf8(element).unwrap()).collect()
}

fn number(state: &XaeroEvent) -> i64 {
    i64::from_le_bytes(state.evt.data[..].try_into().unwrap())
}

/// The last state that a pipeline emitted. The subject has stopped, so there will be no other.
fn last(states: &States) -> XaeroEvent {
    states.try_iter().last().expect("the pipeline emits a state")
}

/// Everybody starts at the same moment, each on a thread and under a name of their own.
fn everybody(node: &Node, act: impl Fn(usize, XaeroID) + Sync) {
    let start = Barrier::new(PEOPLE);
    thread::scope(|scope| {
        for person in 0..PEOPLE {
            let author = node.identity(&format!("person-{person}")).unwrap();
            let (act, start) = (&act, &start);
            scope.spawn(move || {
                start.wait();
                act(person, author);
            });
        }
    });
}

#[test]
fn test_concurrent_adds_and_removes_keep_what_was_not_removed() {
    const EACH: usize = 60;
    let node = Node::ephemeral().unwrap();
    let tags = node.subject("tags");
    let (subscription, states) = resolve(&tags, Fold::ORSet, Reduce::SetContents);
    let handle = tags.run().unwrap();
    // Everybody adds elements of their own, and removes every other one again: a person has seen their own adds.
    everybody(&node, |person, author| {
        for n in 0..EACH {
            let element = format!("{person}-{n:03}");
            tags.publish(XaeroEvent::new(element.clone(), CRDT_SET_ADD).by(author));
            if n % 2 == 1 {
                tags.publish(XaeroEvent::new(element, CRDT_SET_REMOVE).by(author));
            }
        }
    });
    drop(handle);
    let expected: Vec<_> =
        (0..PEOPLE).flat_map(|person| (0..EACH).step_by(2).map(move |n| format!("{person}-{n:03}"))).collect();
    assert_eq!(set(&last(&states)), expected);
    drop(subscription);
}

#[test]
fn test_concurrent_edits_of_one_element_end_as_the_log_says() {
    let node = Node::ephemeral().unwrap();
    let tags = node.subject("tags");
    let (subscription, states) = resolve(&tags, Fold::ORSet, Reduce::SetContents);
    let handle = tags.run().unwrap();
    everybody(&node, |person, author| {
        for n in 0..50 {
            let kind = if (person + n) % 2 == 0 { CRDT_SET_ADD } else { CRDT_SET_REMOVE };
            tags.publish(XaeroEvent::new("contested", kind).by(author));
        }
    });
    drop(handle);
    // On one node everybody has seen what the log held before, so that its last word counts.
    let mut kinds = Vec::new();
    tags.for_each_archived(ScanWindow::ALL, |record| {
        kinds.push(record.event_type());
        true
    })
    .unwrap();
    assert_eq!(kinds.len(), PEOPLE * 50);
    let is_added = kinds.last() == Some(&EventType::ApplicationEvent(CRDT_SET_ADD));
    let expected = if is_added { vec!["contested".to_owned()] } else { Vec::new() };
    let resolved = tags.resolve(pipeline(Fold::ORSet, Reduce::SetContents)).unwrap().unwrap();
    assert_eq!(set(&resolved), expected);
    assert_eq!(set(&last(&states)), expected);
    drop(subscription);
}

#[test]
fn test_concurrent_pipelines_of_every_crdt_resolve_one_subject() {
    const EACH: i64 = 50;
    let node = Node::ephemeral().unwrap();
    // The five folds have no use for each other's events, except that both counters take increments.
    let subject = node.subject("everything");
    let (s1, sets) = resolve(&subject, Fold::ORSet, Reduce::SetContents);
    let (s2, ups) = resolve(&subject, Fold::GCounter, Reduce::CounterValue);
    let (s3, scores) = resolve(&subject, Fold::PNCounter, Reduce::CounterValue);
    let (s4, winners) = resolve(&subject, Fold::LWWRegister, Reduce::RegisterValue);
    let (s5, values) = resolve(&subject, Fold::MVRegister, Reduce::RegisterValues);
    let handle = subject.run().unwrap();
    everybody(&node, |person, author| {
        for n in 0..EACH {
            let one = 1_i64.to_le_bytes();
            let ts = 1_000 + n as u64 * PEOPLE as u64 + person as u64;
            subject.publish_all([
                XaeroEvent::new(format!("{person}"), CRDT_SET_ADD).by(author),
                XaeroEvent::new(one, CRDT_COUNTER_INCREMENT).by(author),
                XaeroEvent::new(one, CRDT_COUNTER_INCREMENT).by(author),
                XaeroEvent::new(one, CRDT_COUNTER_DECREMENT).by(author),
                XaeroEvent::new(format!("{person}-{n}"), CRDT_REGISTER_WRITE).by(author).at(ts),
            ]);
        }
    });
    drop(handle);
    let people = PEOPLE as i64;
    assert_eq!(set(&last(&sets)), (0..PEOPLE).map(|person| person.to_string()).collect::<Vec<_>>());
    assert_eq!(number(&last(&ups)), 2 * EACH * people);
    assert_eq!(number(&last(&scores)), EACH * people);
    let winner = format!("{}-{}", PEOPLE - 1, EACH - 1);
    assert_eq!(last(&winners).evt.data, winner.as_bytes(), "the highest timestamp wins");
    // What was written last, on one node, has seen all other writes.
    let mut written = Vec::new();
    subject
        .for_each_archived(ScanWindow::ALL, |record| {
            if record.event_type() == EventType::ApplicationEvent(CRDT_REGISTER_WRITE) {
                written = record.payload().to_vec();
            }
            true
        })
        .unwrap();
    assert_eq!(set(&last(&values)), [String::from_utf8(written).unwrap()]);
    drop((s1, s2, s3, s4, s5));
}

#[test]
fn test_concurrent_publishing_reaches_every_subscriber_whole_and_in_order() {
    const EACH: u64 = 500;
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("stream");
    let subscribe = || {
        let (tell, events) = mpsc::channel();
        let subscription = subject.subscribe(move |event| {
            let _ = tell.send(event.evt.dot().unwrap());
        });
        (subscription, events)
    };
    let handle = subject.run().unwrap();
    let subscribers: Vec<_> = (0..4).map(|_| subscribe()).collect();
    let sent = Mutex::new(BTreeMap::new());
    everybody(&node, |_, author| {
        let receipts: Vec<_> =
            (0..EACH).map(|n| subject.publish(XaeroEvent::new(n.to_le_bytes(), 1).by(author))).collect();
        let seqs: Vec<_> = receipts.into_iter().map(|receipt| receipt.wait().unwrap().seq).collect();
        sent.lock().unwrap().insert(author, seqs);
    });
    let total = PEOPLE * EACH as usize;
    let orders: Vec<Vec<Dot>> = subscribers
        .iter()
        .map(|(_, events)| (0..total).map(|_| events.recv_timeout(PATIENCE).unwrap()).collect())
        .collect();
    drop(handle);
    for (subscription, events) in subscribers {
        assert!(events.try_recv().is_err(), "no event comes twice");
        drop(subscription);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "one order for all");
    assert_eq!(orders[0].iter().collect::<BTreeSet<_>>().len(), total);
    for (author, seqs) in sent.into_inner().unwrap() {
        assert_eq!(seqs, (1..=EACH).collect::<Vec<_>>(), "receipts in the order of publishing");
        let seen: Vec<_> = orders[0].iter().filter(|dot| dot.author == author).map(|dot| dot.seq).collect();
        assert_eq!(seen, seqs, "each author's events in the order of publishing");
    }
}

#[test]
fn dropping_the_handle_waits_for_the_subscriber_that_has_the_last_state() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let (entered_tx, entered) = mpsc::channel();
    let (leave, leave_rx) = mpsc::channel::<()>();
    // A window that only the end closes, and room for one state: taking it wakes the pipeline while the closure is busy.
    let subscription = subject
        .batch(Duration::from_secs(3600), None, pipeline(Fold::ORSet, Reduce::SetContents))
        .subscribe_with(SubscribeOptions::new().capacity(1), move |state| {
            entered_tx.send(set(&state)).unwrap();
            leave_rx.recv().unwrap();
        });
    let handle = subject.run().unwrap();
    subject.publish(XaeroEvent::new("last", CRDT_SET_ADD)).wait().unwrap();
    let (stopped_tx, stopped) = mpsc::channel();
    let stopping = thread::spawn(move || {
        drop(handle);
        stopped_tx.send(()).unwrap();
    });
    assert_eq!(entered.recv_timeout(PATIENCE).unwrap(), ["last"]);
    assert!(stopped.recv_timeout(Duration::from_millis(300)).is_err(), "the subscriber is still busy");
    leave.send(()).unwrap();
    stopped.recv_timeout(PATIENCE).unwrap();
    assert!(subscription.has_ended());
    stopping.join().unwrap();
}
