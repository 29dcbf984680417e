//! What happens to events when a subject gives up, or cannot write some of them: nobody waits for ever, and what was sent
//! without a receipt is found among the dead letters.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use xaeroflux::{
    IngestRefusal, StorageError,
    actors::{
        fault::{Action, arm},
        supervise::MAX_EVENTS,
    },
    prelude::*,
    subject::dead::DEAD_LETTERS,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn event(n: u32) -> XaeroEvent {
    XaeroEvent::new(n.to_le_bytes(), 7)
}

#[test]
fn when_the_supervisor_panics_nobody_waits_for_ever_and_nothing_is_lost() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("the supervisor panics");
    let _fault = arm(Some("the supervisor panics"), "supervisor.before_replay", Action::Panic, 1, 1);
    let handle = subject.run().unwrap();
    // More than the bus holds, so that the sender waits for room.
    let sender = std::thread::spawn({
        let subject = subject.clone();
        move || (0..20_000).take_while(|n| subject.data.sink.tx.send(event(*n)).is_ok()).count()
    });
    assert!(matches!(handle.wait(), Err(Error::Failed { .. })));
    let sent = sender.join().unwrap();
    assert!(matches!(subject.publish(event(0)).wait(), Err(PublishError::Stopped)));
    assert!(matches!(subject.ingest(vec![vec![0]]).unwrap().wait_timeout(PATIENCE), Some(Err(_))));
    drop(handle);
    // The supervisor has as much in its hands as the bus holds, or nothing yet; the oldest go where that is too much to keep.
    let letters = subject.dead_letters();
    assert_eq!(letters.len(), sent.min(DEAD_LETTERS));
    let first = u32::try_from(sent - letters.len()).unwrap();
    assert!((first..).zip(letters).all(|(n, letter)| letter == event(n)));
}

#[test]
fn of_a_subject_that_gives_up_the_events_without_a_receipt_are_kept() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("every batch kills");
    let fault = arm(Some("every batch kills"), "aof.received", Action::Panic, 1, 10_000);
    let handle = subject.run().unwrap();
    let mut receipts = Vec::new();
    for n in 0..100 {
        if n % 2 == 0 {
            subject.data.sink.tx.send(event(n)).unwrap();
        } else {
            receipts.push(subject.publish(event(n)));
        }
    }
    for receipt in receipts {
        assert!(receipt.wait_timeout(PATIENCE).expect("it is answered").is_err());
    }
    let mut letters = Vec::new();
    let until = std::time::Instant::now() + PATIENCE;
    while letters.len() < 50 && std::time::Instant::now() < until {
        letters.extend(subject.dead_letters());
        std::thread::yield_now();
    }
    assert!((0..100).step_by(2).eq(letters.iter().map(|it| u32::from_le_bytes(it.evt.data[..].try_into().unwrap()))));
    drop((fault, handle));
}

#[test]
fn what_is_handed_over_to_a_subject_that_gave_up_is_answered() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("gave up");
    let scope = node.data_dir().to_string_lossy().into_owned();
    let handle = subject.run().unwrap();
    let _fault = arm(Some(&scope), "committer.commit_fails", Action::Fail, 1, 1);
    assert!(subject.publish(event(1)).wait().is_err());
    assert!(matches!(handle.wait(), Err(Error::Failed { .. })));
    let answer = subject.ingest(vec![vec![0]]).unwrap().wait_timeout(PATIENCE);
    assert!(matches!(answer, Some(Err(Error::Storage(StorageError::GaveUp { .. })))), "{answer:?}");
    drop(handle);
}

#[test]
fn more_frames_than_one_call_can_take_are_refused_with_the_limit() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let answer = subject.ingest(vec![vec![0]; MAX_EVENTS + 1]).unwrap().wait();
    assert!(matches!(answer, Err(Error::Storage(StorageError::TooMuchAtOnce { .. }))), "{answer:?}");
    let outcomes = subject.ingest(vec![vec![0]; MAX_EVENTS]).unwrap().wait().unwrap();
    assert_eq!(outcomes.len(), MAX_EVENTS);
    assert!(matches!(outcomes[0], xaeroflux::IngestOutcome::Refused(IngestRefusal::Frame(_))));
    drop(handle);
}

#[test]
fn without_an_identity_of_its_own_the_node_still_writes_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Node::builder().data_dir(dir.path()).build().unwrap();
    let alice = open().identity("alice").unwrap();
    let own = dir.path().join("keys/self.key");
    std::fs::write(&own, "not a key").unwrap();
    std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let node = open();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let outcomes: Vec<_> = subject
        .publish_all([event(1), event(2).by(alice), event(3)])
        .into_iter()
        .map(|receipt| receipt.wait_timeout(PATIENCE).unwrap())
        .collect();
    assert!(
        matches!(&outcomes[..], [Err(PublishError::Identity(_)), Ok(_), Err(PublishError::Identity(_))]),
        "{outcomes:?}"
    );
    drop(handle);
}
