//! Subject pipelines together with the storage actors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::mpsc;

use xaeroflux::prelude::*;

fn or_set() -> Vec<Operator> {
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::ORSet.to_operator()),
        Operator::Reduce(Reduce::SetContents.to_operator()),
    ]
}

fn contents(event: &XaeroEvent) -> Vec<String> {
    let set = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&event.evt.data).unwrap();
    set.into_iter().map(|element| String::from_utf8(element).unwrap()).collect()
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn test_crdt_with_storage_resolves_what_is_on_disk_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        let alice = node.identity("alice").unwrap();
        let tags = node.subject("workspace/tags");
        let (tell, told) = mpsc::channel();
        let subscription = tags.batch(Duration::from_millis(10), None, or_set()).subscribe(move |state| {
            tell.send(contents(&state)).unwrap();
        });
        let handle = tags.run().unwrap();
        let receipt = tags.publish(XaeroEvent::new(format!("round {round}"), CRDT_SET_ADD).by(alice)).wait().unwrap();
        assert_eq!(receipt.seq, round + 1);
        let expected: Vec<String> = (0..=round).map(|n| format!("round {n}")).collect();
        while told.recv_timeout(PATIENCE).unwrap() != expected {}
        drop((subscription, handle));
    }
}

#[test]
fn receipts_resolve_in_order_and_events_are_in_the_log() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let receipts: Vec<_> = (0..5000_u32).map(|n| subject.publish(XaeroEvent::new(n.to_le_bytes(), 7))).collect();
    for (n, receipt) in (1..).zip(receipts) {
        assert_eq!(receipt.wait().unwrap().seq, n);
    }
    let mut seen = 0_u32;
    subject
        .for_each_archived(ScanWindow::ALL, |record| {
            assert_eq!(record.payload(), seen.to_le_bytes());
            seen += 1;
            true
        })
        .unwrap();
    assert_eq!(seen, 5000);
    drop(handle);
}

#[test]
fn test_crdt_with_storage_takes_up_a_saved_state_and_counts_nothing_twice() {
    const EVENTS: usize = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let counter = |node: &Node| {
        let subject = node.subject("votes");
        let (tell, told) = mpsc::channel();
        let operators = vec![
            Operator::Sort(Sort::VectorClock.to_operator()),
            Operator::Fold(Fold::PNCounter.to_operator()),
            Operator::Reduce(Reduce::CounterValue.to_operator()),
        ];
        let subscription = subject.batch(Duration::from_millis(5), Some(1_000), operators).subscribe(move |state| {
            // Whoever asked may have what it wanted already.
            let _ = tell.send(i64::from_le_bytes(state.evt.data.try_into().unwrap()));
        });
        (subject, subscription, told)
    };
    // More events than a state is saved after; then a restart that finds a few more than the state covers.
    let mut expected = 0;
    for events in [EVENTS, 10, 0] {
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        let (subject, subscription, told) = counter(&node);
        let handle = subject.run().unwrap();
        let votes = (0..events).map(|_| XaeroEvent::new(1_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT));
        for receipt in subject.publish_all(votes) {
            receipt.wait().unwrap();
        }
        expected += i64::try_from(events).unwrap();
        while told.recv_timeout(PATIENCE).unwrap() != expected {}
        drop((subscription, handle));
    }
}
