//! What the end of a subject waits for.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc;

use xaeroflux::prelude::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than this a window of the pipeline is not open. Its timer used to end the subscription early.
const WINDOW: Duration = Duration::from_millis(150);

#[test]
fn the_handle_is_not_gone_before_a_slow_subscriber_of_a_fold_has_the_last_state() {
    let node = Node::ephemeral().unwrap();
    let tags = node.subject("tags");
    let (tell, told) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let operators = vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::ORSet.to_operator()),
        Operator::Reduce(Reduce::SetContents.to_operator()),
    ];
    let subscription = tags.batch(WINDOW, None, operators).subscribe(move |state| {
        tell.send(rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data).unwrap()).unwrap();
        // Once the gate is gone it is open.
        let _ = gate.recv();
    });
    let handle = tags.run().unwrap();
    tags.publish(XaeroEvent::new("a", CRDT_SET_ADD)).wait().unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), [b"a".to_vec()], "and now the subscriber is busy");
    tags.publish(XaeroEvent::new("b", CRDT_SET_ADD)).wait().unwrap();

    let (gone, is_gone) = mpsc::channel();
    std::thread::spawn(move || {
        drop(handle);
        gone.send(()).unwrap();
    });
    assert!(is_gone.recv_timeout(4 * WINDOW).is_err(), "the subscriber still has a state to take");
    drop(open);
    is_gone.recv_timeout(PATIENCE).unwrap();
    assert_eq!(told.try_recv().unwrap(), [b"a".to_vec(), b"b".to_vec()]);
    drop(subscription);
}
