//! What is not to be seen from outside: how acknowledgements share commits, and a place that no subscriber could have.

use std::{sync::mpsc, time::Duration};

use super::*;
use crate::{
    actors::fault::{Action, arm},
    subject::node::Node,
    wire::event::XaeroEvent,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn subject_of(node: &Node, events: u64) -> (Subject, crate::Handle) {
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let receipts = subject.publish_all((0..events).map(|n| XaeroEvent::new(n.to_string(), 1)));
    receipts.into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
    (subject, handle)
}

#[test]
fn acknowledgements_that_come_during_a_commit_share_the_next_one() {
    let node = Node::ephemeral().unwrap();
    let (subject, _handle) = subject_of(&node, 100);
    let mut subscription = subject.durable("a").unwrap();
    let deliveries: Vec<_> = (0..100).map(|_| subscription.next().unwrap().unwrap()).collect();
    let scope = node.data_dir().to_string_lossy().into_owned();
    let guard = arm(Some(&scope), "committer.before_commit", Action::Block, 1, 1);
    let first = deliveries[0].ack();
    assert!(guard.wait_fired(1, PATIENCE));
    let rest: Vec<AckReceipt> = deliveries[1..].iter().map(Delivery::ack).collect();
    assert!(first.try_get().is_none() && rest.iter().all(|receipt| receipt.try_get().is_none()));
    let same = rest.iter().filter(|receipt| receipt.shares_with(&rest[0])).count();
    assert_eq!(same, 99, "one commit for all of them");
    assert!(!rest[0].shares_with(&first));
    guard.release();
    first.wait().unwrap();
    rest.into_iter().for_each(|receipt| receipt.wait().unwrap());
    assert_eq!(subscription.lag(), 0);
    // Nothing new: nothing is committed again.
    let (again, once_more) = (deliveries[99].ack(), deliveries[5].ack());
    assert!(again.try_get().is_some() && again.shares_with(&once_more));
}

#[test]
fn a_place_beyond_the_end_of_the_log_is_an_error() {
    let node = Node::ephemeral().unwrap();
    let (subject, _handle) = subject_of(&node, 3);
    let core = subject.core().unwrap();
    let engine = core.node.engine().unwrap();
    let log = engine.log(core.id(), &core.name).unwrap();
    let place = |covered| {
        let (tell, told) = mpsc::channel();
        let cursor = Cursor { name: "a".to_owned(), covered, state: None };
        engine.committer.submit(Submission {
            log: Arc::clone(&log),
            token: 0,
            batch: Batch::Cursor { name: Cursor::name_key("a"), cursor: Some(Arc::new(cursor)) },
            reply: Box::new(move |answer| tell.send(answer.map(drop)).unwrap()),
        });
        told.recv_timeout(PATIENCE).unwrap().unwrap();
    };
    place(3);
    assert_eq!(subject.durable("a").unwrap().lag(), 0);
    place(4);
    let error = subject.durable("a").map(drop).unwrap_err();
    let expected = DurableError::BeyondEnd { name: "a".to_owned(), acknowledged: 4, count: 3 };
    assert!(matches!(&error, Error::Durable(error) if *error == expected), "{error}");
    assert!(subject.remove_durable("a").unwrap());
    assert_eq!(subject.durable("a").unwrap().lag(), 3);
}
