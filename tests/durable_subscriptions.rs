//! Durable subscriptions: what was acknowledged is never delivered again, what was not comes again, whatever happens to
//! the process or to the actors in between.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{path::Path, thread, time::Duration};

use fault_kit::{PATIENCE, counter, in_time, log_of, payloads_of};
use xaeroflux::{
    ChildKind, Dot, DurableError, DurableSubscription, Error, Fold, Node, ScanWindow, Subject, XaeroEvent,
    subject::durable::{MAX_DURABLE_NAME_BYTES, MAX_DURABLE_STATE_BYTES},
};

fn publish(subject: &Subject, numbers: impl IntoIterator<Item = u64>) {
    let events = numbers.into_iter().map(|n| XaeroEvent::new(n.to_string(), u8::try_from(n % 2).unwrap()));
    for receipt in subject.publish_all(events) {
        receipt.wait().unwrap();
    }
}

fn number(event: &XaeroEvent) -> u64 {
    std::str::from_utf8(&event.evt.data).unwrap().parse().unwrap()
}

/// The next numbers, none of them acknowledged.
fn peek(subscription: &mut DurableSubscription, count: usize) -> Vec<u64> {
    (0..count).map(|_| number(&subscription.next_timeout(PATIENCE).unwrap().expect("an event").event)).collect()
}

/// Takes the next number and acknowledges it, on disk.
fn take(subscription: &mut DurableSubscription) -> u64 {
    let delivery = subscription.next_timeout(PATIENCE).unwrap().expect("an event");
    delivery.ack().wait().unwrap();
    number(&delivery.event)
}

fn open(dir: &Path) -> Node {
    Node::builder().data_dir(dir).build().unwrap()
}

fn refusal(subject: &Subject, name: &str) -> DurableError {
    match subject.durable(name) {
        Err(Error::Durable(error)) => error,
        other => panic!("{other:?}"),
    }
}

// The place.

#[test]
fn what_was_acknowledged_is_not_delivered_again_after_a_restart_and_what_was_not_is() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let node = open(dir.path());
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        if round == 0 {
            publish(&subject, 0..20);
        }
        let mut subscription = subject.durable("indexer").unwrap();
        assert_eq!(subscription.lag(), 20 - 4 * round);
        for n in 4 * round..4 * round + 4 {
            assert_eq!(take(&mut subscription), n);
        }
        // These come again in the next round.
        assert_eq!(peek(&mut subscription, 3), [4 * round + 4, 4 * round + 5, 4 * round + 6][..].to_vec());
        drop((subscription, handle));
    }
}

#[test]
fn an_acknowledgement_covers_all_before_it_and_is_taken_though_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    {
        let node = open(dir.path());
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        publish(&subject, 0..100);
        let mut subscription = subject.durable("indexer").unwrap();
        let deliveries: Vec<_> = (0..60).map(|_| subscription.next().unwrap().unwrap()).collect();
        for at in [3, 50, 20, 50] {
            drop(deliveries[at].ack());
        }
        assert_eq!(subscription.lag(), 49);
    }
    let node = open(dir.path());
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    assert_eq!(take(&mut subject.durable("indexer").unwrap()), 51);
}

#[test]
fn two_names_know_nothing_of_each_other_and_one_that_is_removed_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let node = open(dir.path());
        let (subject, other) = (node.subject("s"), node.subject("other"));
        let _handles = (subject.run().unwrap(), other.run().unwrap());
        publish(&subject, 0..10);
        publish(&other, 0..10);
        let (mut a, mut b) = (subject.durable("a").unwrap(), subject.durable("b").unwrap());
        let mut elsewhere = other.durable("a").unwrap();
        assert_eq!([0; 3].map(|_| take(&mut a)), [0, 1, 2]);
        assert_eq!(take(&mut b), 0);
        assert_eq!([0; 5].map(|_| take(&mut elsewhere)), [0, 1, 2, 3, 4]);
    }
    let node = open(dir.path());
    let (subject, other) = (node.subject("s"), node.subject("other"));
    // To ask for names, or to give one up, nothing needs to run.
    assert_eq!(subject.durable_names().unwrap(), ["a", "b"]);
    assert_eq!(other.durable_names().unwrap(), ["a"]);
    assert!(node.subject("never heard of").durable_names().unwrap().is_empty());
    assert!(!subject.remove_durable("c").unwrap());
    assert!(subject.remove_durable("a").unwrap());
    assert_eq!(subject.durable_names().unwrap(), ["b"]);
    let _handles = (subject.run().unwrap(), other.run().unwrap());
    assert_eq!(take(&mut subject.durable("a").unwrap()), 0);
    assert_eq!(take(&mut subject.durable("b").unwrap()), 1);
    assert_eq!(take(&mut other.durable("a").unwrap()), 5);
}

#[test]
fn a_name_is_open_once_and_free_again_when_it_is_dropped() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    assert!(matches!(subject.durable("a"), Err(Error::NotRunning)));
    let _handle = subject.run().unwrap();
    publish(&subject, 0..3);
    let mut first = subject.durable("a").unwrap();
    // Another handle on the same subject, too.
    assert_eq!(refusal(&node.subject("s"), "a"), DurableError::Open("a".to_owned()));
    assert!(matches!(subject.remove_durable("a"), Err(Error::Durable(DurableError::Open(_)))));
    assert_eq!(take(&mut first), 0);
    let delivery = first.next().unwrap().unwrap();
    drop(first);
    let mut second = subject.durable("a").unwrap();
    assert!(matches!(delivery.ack().wait(), Err(Error::Durable(DurableError::Closed))), "it is not the owner any more");
    assert_eq!(take(&mut second), 1);
    for bad in [String::new(), "a\nb".to_owned(), "x".repeat(MAX_DURABLE_NAME_BYTES + 1)] {
        assert_eq!(refusal(&subject, &bad), DurableError::BadName(bad));
    }
    drop(subject.durable(&"x".repeat(MAX_DURABLE_NAME_BYTES)).unwrap());
}

#[test]
fn a_damaged_place_is_an_error_that_names_it_and_not_a_new_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let name = "the name of this test's subscription";
    {
        let node = open(dir.path());
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        publish(&subject, 0..10);
        take(&mut subject.durable(name).unwrap());
        take(&mut subject.durable("unharmed").unwrap());
    }
    let file = dir.path().join("data.mdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let places: Vec<usize> =
        bytes.windows(name.len()).enumerate().filter(|(_, window)| *window == name.as_bytes()).map(|it| it.0).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(&file, bytes).unwrap();
    let node = open(dir.path());
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let error = refusal(&subject, name);
    assert_eq!(error, DurableError::Damaged(name.to_owned()));
    assert!(error.to_string().contains(name) && error.to_string().contains("remove_durable"), "{error}");
    assert!(matches!(subject.durable_names(), Err(Error::Storage(_))));
    assert_eq!(take(&mut subject.durable("unharmed").unwrap()), 1);
    // The way out that the message names.
    assert!(subject.remove_durable(name).unwrap());
    assert_eq!(take(&mut subject.durable(name).unwrap()), 0);
}

// The way of the events.

#[test]
fn history_and_what_several_publishers_send_meanwhile_come_with_no_gap_and_no_duplicate() {
    const EACH: u64 = 1_500;
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    publish(&subject, 0..500);
    let authors = ["a", "b", "c"].map(|name| node.identity(name).unwrap());
    let total = 500 + 3 * usize::try_from(EACH).unwrap();
    let seen: Vec<Dot> = thread::scope(|scope| {
        for author in authors {
            let subject = &subject;
            scope.spawn(move || {
                for n in (0..EACH).step_by(5) {
                    let receipts =
                        subject.publish_all((n..n + 5).map(|n| XaeroEvent::new(n.to_string(), 1).by(author)));
                    receipts.into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
                }
            });
        }
        let mut seen = Vec::new();
        // The child that stores is killed meanwhile: now and then, since too often is a reason to give up.
        let mut kills = 3;
        while seen.len() < total {
            if kills > 0 {
                handle.kill_child(ChildKind::Aof);
                kills -= 1;
            }
            // Opened again and again too: each goes on where the one before acknowledged.
            let mut subscription = subject.durable("reader").unwrap();
            for _ in 0..40 {
                let Some(batch) = subscription.next_batch(37).unwrap() else { panic!("it ended") };
                assert!((1..=37).contains(&batch.events.len()));
                seen.extend(batch.events.iter().map(|event| event.evt.dot().unwrap()));
                drop(batch.ack());
                if seen.len() >= total {
                    break;
                }
            }
        }
        seen
    });
    let expected: Vec<Dot> = log_of(&subject).iter().map(|event| Dot::new(event.author, event.seq)).collect();
    assert_eq!(expected.len(), total);
    assert_eq!(seen, expected, "the whole log, in its order, once");
}

#[test]
fn it_waits_for_what_comes_and_ends_when_the_subject_stops_with_all_of_it_delivered() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let mut subscription = subject.durable("a").unwrap();
    assert!(subscription.try_next().unwrap().is_none());
    assert!(subscription.next_timeout(Duration::from_millis(1)).unwrap().is_none());
    let publisher = subject.clone();
    let reader = thread::spawn(move || {
        let mut seen = Vec::new();
        while let Some(delivery) = subscription.next().unwrap() {
            seen.push(number(&delivery.event));
            drop(delivery.ack());
        }
        (subscription, seen)
    });
    for n in 0..50 {
        publisher.data.sink.tx.send(XaeroEvent::new(n.to_string(), 1)).unwrap();
    }
    drop(handle);
    let (mut subscription, seen) = in_time("the subscription ends with its subject", move || reader.join().unwrap());
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
    // It still has its place, and goes on where the subject runs again.
    let _handle = subject.run().unwrap();
    publish(&subject, 50..51);
    assert_eq!(take(&mut subscription), 50);
}

#[test]
fn asynchronous_code_waits_for_events_and_acknowledgements_too() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut subscription = subject.durable("a").unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, async {
            for n in 0..20 {
                // The event comes while the reader waits.
                let next = subscription.next_async();
                let receipt = subject.publish(XaeroEvent::new(n.to_string(), 1));
                let delivery = next.await.unwrap().unwrap();
                receipt.await.unwrap();
                assert_eq!(number(&delivery.event), n);
                delivery.ack().await.unwrap();
            }
        })
        .await
        .expect("it hangs");
    });
    assert_eq!(subscription.lag(), 0);
}

// What stands before it.

#[test]
fn operators_without_a_memory_apply_and_what_they_refuse_is_done_with() {
    let dir = tempfile::tempdir().unwrap();
    let doubled = |subject: &Subject| {
        subject.scan(ScanWindow::ALL).filter(|event| number(event).is_multiple_of(10)).map(|mut event| {
            event.evt.data = (2 * number(&event)).to_string().into_bytes();
            event
        })
    };
    {
        let node = open(dir.path());
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        publish(&subject, 0..95);
        let mut subscription = doubled(&subject).durable("a").unwrap();
        assert_eq!([0; 10].map(|_| take(&mut subscription)), [0, 20, 40, 60, 80, 100, 120, 140, 160, 180]);
        assert!(subscription.try_next().unwrap().is_none());
        assert_eq!(subscription.lag(), 0);
    }
    let node = open(dir.path());
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let mut subscription = doubled(&subject).durable("a").unwrap();
    assert_eq!(subscription.lag(), 0, "what was refused after the last is not read again");
    publish(&subject, 95..101);
    assert_eq!(take(&mut subscription), 200);
}

#[test]
fn a_filter_that_refuses_everything_does_not_keep_the_place_back_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    {
        let node = open(dir.path());
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        publish(&subject, 0..70_000);
        let nothing = subject.filter(|_| false);
        let mut subscription = nothing.durable("a").unwrap();
        assert!(subscription.try_next().unwrap().is_none());
        assert_eq!(subscription.lag(), 0);
    }
    let node = open(dir.path());
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    assert!(subject.durable("a").unwrap().lag() < 10_000);
}

#[test]
fn operators_with_a_memory_are_refused_by_name() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let second = Some(Duration::from_secs(1));
    let refused = [
        (subject.batch(Duration::from_secs(1), None, counter(Fold::GCounter)), "batch"),
        (subject.take(3), "take"),
        (subject.filter(|_| true).distinct(), "distinct"),
        (subject.debounce(Duration::from_secs(1)), "debounce"),
        (subject.throttle(Duration::from_secs(1)), "throttle"),
        (subject.buffer(second, None), "buffer"),
        (subject.window(second, None).map(|event| event), "window"),
    ];
    for (handle, operator) in refused {
        let error = refusal(&handle, "a");
        assert_eq!(error, DurableError::Stateful(operator));
        assert!(error.to_string().contains("ack_with_state"), "{error}");
    }
    assert_eq!(refusal(&subject.merge(&node.subject("other")), "a"), DurableError::Merged);
    assert!(matches!(subject.window(None, None).durable("a"), Err(Error::Pipeline(_))));
    // None of them has taken the name.
    drop(subject.durable("a").unwrap());
}

// The state.

#[test]
fn a_state_is_kept_with_the_place_that_it_was_acknowledged_with() {
    let dir = tempfile::tempdir().unwrap();
    let with = |check: &dyn Fn(&mut DurableSubscription)| {
        let node = open(dir.path());
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        if subject.count().unwrap() == 0 {
            publish(&subject, 0..10);
        }
        check(&mut subject.durable("sum").unwrap());
    };
    with(&|sum| {
        assert_eq!(sum.state(), None);
        let deliveries: Vec<_> = (0..4).map(|_| sum.next().unwrap().unwrap()).collect();
        deliveries[1].ack_with_state(b"of two").wait().unwrap();
        let behind = deliveries[0].ack_with_state(b"of one").wait();
        assert!(matches!(behind, Err(Error::Durable(DurableError::StateBehind))), "{behind:?}");
        deliveries[0].ack().wait().unwrap();
        let large = deliveries[2].ack_with_state(&vec![0; MAX_DURABLE_STATE_BYTES + 1]).wait();
        assert!(matches!(large, Err(Error::Durable(DurableError::StateTooLarge(_)))), "{large:?}");
    });
    with(&|sum| {
        assert_eq!((sum.state(), sum.lag()), (Some(&b"of two"[..]), 8));
        // An acknowledgement without a state leaves it as it is; an empty state is one.
        assert_eq!(take(sum), 2);
    });
    with(&|sum| {
        assert_eq!((sum.state(), sum.lag()), (Some(&b"of two"[..]), 7));
        sum.next().unwrap().unwrap().ack_with_state(&[]).wait().unwrap();
    });
    let large = vec![7; MAX_DURABLE_STATE_BYTES];
    with(&|sum| {
        assert_eq!((sum.state(), sum.lag()), (Some(&[][..]), 6));
        sum.next_batch(2).unwrap().unwrap().ack_with_state(&large).wait().unwrap();
    });
    with(&|sum| assert_eq!((sum.state(), sum.lag()), (Some(large.as_slice()), 4)));
}

#[test]
fn the_log_is_untouched_by_subscriptions() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    publish(&subject, 0..10);
    let mut subscription = subject.durable("a").unwrap();
    while let Some(delivery) = subscription.try_next().unwrap() {
        delivery.ack_with_state(b"x").wait().unwrap();
    }
    assert_eq!(payloads_of(&subject).len(), 10);
}
