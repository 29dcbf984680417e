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
