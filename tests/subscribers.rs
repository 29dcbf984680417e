//! Subscribers: any number, each with every event in order, and none at the mercy of another.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fault_kit::{PATIENCE, counter, in_time, log_of, notice, or_set, quiet, until, value_of};
use futures_core::Stream;
use xaeroflux::{
    Dot, EventStream, Fold, Lag, Node, Notice, Overflow, PublishError, ScanWindow, Subject, SubscribeOptions,
    XaeroEvent,
    event::{CRDT_COUNTER_INCREMENT, CRDT_SET_ADD},
};

fn event(n: u64) -> XaeroEvent {
    XaeroEvent::new(n.to_le_bytes(), 7)
}

fn number(event: &XaeroEvent) -> u64 {
    u64::from_le_bytes(event.evt.data.as_slice().try_into().unwrap())
}

/// A subscriber that passes the numbers on.
fn numbers(subject: &Subject, options: SubscribeOptions) -> (xaeroflux::Subscription, mpsc::Receiver<u64>) {
    let (tell, told) = mpsc::channel();
    let subscription = subject.subscribe_with(options, move |event| {
        // The test may have what it wants and be gone.
        let _ = tell.send(number(&event));
    });
    (subscription, told)
}

fn expect_all(told: &mpsc::Receiver<u64>, numbers: impl IntoIterator<Item = u64>) {
    for expected in numbers {
        assert_eq!(told.recv_timeout(PATIENCE), Ok(expected));
    }
}

fn next(stream: &mut EventStream) -> Option<XaeroEvent> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let next = poll_fn(|context| Pin::new(&mut *stream).poll_next(context));
    runtime.block_on(async { tokio::time::timeout(PATIENCE, next).await.expect("the stream hangs") })
}

// Any number, everything, in order.

#[test]
fn each_of_many_subscribers_gets_every_event_in_order() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let before: Vec<_> = (0..20).map(|_| numbers(&subject, SubscribeOptions::new())).collect();
    let _handle = subject.run().unwrap();
    let after: Vec<_> = (0..20).map(|_| numbers(&subject, SubscribeOptions::new())).collect();
    for n in 0..2_000 {
        subject.data.sink.tx.send(event(n)).unwrap();
    }
    for (_, told) in before.iter().chain(&after) {
        expect_all(told, 0..2_000);
    }
}

#[test]
fn subscribers_in_memory_get_every_event_in_order_and_each_publishers_order_is_kept() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let subscribers: Vec<_> = (0..5).map(|_| numbers(&subject, SubscribeOptions::new())).collect();
    thread::scope(|scope| {
        for publisher in 0..4_u64 {
            let subject = subject.clone();
            scope.spawn(move || {
                for n in 0..500 {
                    subject.data.sink.tx.send(event(publisher << 32 | n)).unwrap();
                }
            });
        }
    });
    let mut first: Option<Vec<u64>> = None;
    for (_, told) in &subscribers {
        let seen: Vec<u64> = (0..2_000).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
        for publisher in 0..4 {
            let of_one: Vec<u64> = seen.iter().filter(|n| **n >> 32 == publisher).map(|n| n & 0xffff_ffff).collect();
            assert_eq!(of_one, (0..500).collect::<Vec<_>>());
        }
        assert_eq!(first.get_or_insert_with(|| seen.clone()), &seen, "all see the same order");
    }
}

// Panics.

fn a_panic_costs_one_subscription(durable: bool) {
    quiet();
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let notices = subject.notices();
    let handle = durable.then(|| subject.run().unwrap());
    let (well, told) = numbers(&subject, SubscribeOptions::new());
    let bad = subject.subscribe(|event| assert!(number(&event) < 5, "on purpose: five"));
    for n in 0..100 {
        subject.data.sink.tx.send(event(n)).unwrap();
    }
    expect_all(&told, 0..100);
    let message = notice(&notices, "a panic", |notice| match notice {
        Notice::SubscriberPanicked { message } => Some(message.clone()),
        _ => None,
    });
    assert_eq!(message, "on purpose: five");
    assert!(bad.wait_until_ended(PATIENCE));
    assert!(!well.has_ended());
    subject.data.sink.tx.send(event(100)).unwrap();
    expect_all(&told, [100]);
    drop(handle);
}

#[test]
fn a_subscriber_that_panics_loses_its_own_subscription_and_nobody_elses() {
    a_panic_costs_one_subscription(true);
}

#[test]
fn a_subscriber_in_memory_that_panics_loses_its_own_subscription_and_nobody_elses() {
    a_panic_costs_one_subscription(false);
}

#[test]
fn a_fold_whose_subscriber_panics_leaves_other_folds_alone() {
    quiet();
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let notices = subject.notices();
    let _handle = subject.run().unwrap();
    let pipeline = subject.batch(Duration::from_millis(1), Some(1), counter(Fold::PNCounter));
    let bad = pipeline.subscribe(|_| panic!("on purpose"));
    let (tell, told) = mpsc::channel();
    let _well = pipeline.subscribe(move |state| tell.send(value_of(&state)).unwrap());
    for _ in 0..3 {
        subject.publish(XaeroEvent::new(1_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT)).wait().unwrap();
    }
    while told.recv_timeout(PATIENCE).unwrap() != 3 {}
    notice(&notices, "a panic", |notice| matches!(notice, Notice::SubscriberPanicked { .. }).then_some(()));
    assert!(bad.wait_until_ended(PATIENCE));
}

#[test]
fn a_closure_of_the_pipeline_that_panics_costs_that_subscription_only() {
    quiet();
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let notices = subject.notices();
    let _handle = subject.run().unwrap();
    let bad = subject.map(|_| panic!("on purpose")).subscribe(|_| {});
    let bad_fold = subject
        .filter(|_| panic!("on purpose"))
        .batch(Duration::from_millis(1), None, counter(Fold::PNCounter))
        .subscribe(|_| {});
    let (_well, told) = numbers(&subject, SubscribeOptions::new());
    subject.publish(event(1)).wait().unwrap();
    expect_all(&told, [1]);
    for _ in 0..2 {
        notice(&notices, "a panic", |notice| matches!(notice, Notice::SubscriberPanicked { .. }).then_some(()));
    }
    assert!(bad.wait_until_ended(PATIENCE) && bad_fold.wait_until_ended(PATIENCE));
}

// Subscribers that do not read.

#[test]
fn a_stream_that_nobody_reads_stops_nobody_lags_and_has_everything_later() {
    const EVENTS: u64 = 5_000;
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let mut unread = subject.stream_with(SubscribeOptions::new().capacity(16));
    let (_well, told) = numbers(&subject, SubscribeOptions::new());
    let _handle = subject.run().unwrap();
    let receipts = subject.publish_all((0..EVENTS).map(event));
    for receipt in receipts {
        receipt.wait_timeout(PATIENCE).expect("the subject is held up").unwrap();
    }
    expect_all(&told, 0..EVENTS);
    let mut lag = Lag::default();
    until("it lags", || {
        lag = unread.subscription().lag();
        lag.behind > EVENTS / 2
    });
    assert_eq!(lag.dropped, 0);
    for n in 0..EVENTS {
        assert_eq!(number(&next(&mut unread).unwrap()), n);
    }
    until("it has caught up", || unread.subscription().lag().behind == 0);
}

#[test]
fn a_stream_of_the_latest_drops_what_nobody_reads_and_tells_how_many() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let options = SubscribeOptions::new().capacity(10).overflow(Overflow::DropOldest);
    let mut stream = subject.stream_with(options);
    for n in 0..100 {
        subject.publish(event(n)).wait().unwrap();
    }
    until("all but ten are dropped", || stream.subscription().lag().dropped == 90);
    for n in 90..100 {
        assert_eq!(number(&next(&mut stream).unwrap()), n, "the latest are kept, in order");
    }
}

/// A subscriber in memory that stays in its first event until it is let go.
fn blocked(
    subject: &Subject,
    options: SubscribeOptions,
) -> (xaeroflux::Subscription, mpsc::Receiver<u64>, mpsc::Sender<()>) {
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let subscription = subject.subscribe_with(options, move |event| {
        let _ = tell.send(number(&event));
        // Returns at once when the test has let go.
        let _ = released.recv();
    });
    (subscription, told, release)
}

#[test]
fn in_memory_a_subscriber_that_blocks_holds_up_its_own_subject_only_and_nothing_is_lost() {
    let node = Node::ephemeral().unwrap();
    let (subject, other) = (node.subject("s"), node.subject("t"));
    let (subscription, told, release) = blocked(&subject, SubscribeOptions::new().capacity(8));
    let (_other, told_other) = numbers(&other, SubscribeOptions::new());
    subject.data.sink.tx.send(event(0)).unwrap();
    expect_all(&told, [0]);
    // It is in its first event. Once its own queue is full the bus is no longer emptied.
    let mut sent = 1;
    until("its queue is full", || {
        sent += u64::from(subject.data.sink.tx.try_send(event(sent)).is_ok());
        subscription.lag().behind >= 8
    });
    while subject.data.sink.tx.try_send(event(sent)).is_ok() {
        sent += 1;
    }
    assert!(sent >= 4_096, "{sent}");
    let refused = subject.data.sink.tx.try_send(event(sent)).unwrap_err();
    assert!(refused.is_full() && number(&refused.into_inner()) == sent);
    assert!(matches!(subject.try_publish(event(sent)).wait(), Err(PublishError::QueueFull)));
    let timed = subject.data.sink.tx.send_timeout(event(sent), Duration::from_millis(20)).unwrap_err();
    assert!(timed.is_full());
    for n in 0..5_000 {
        other.data.sink.tx.send(event(n)).unwrap();
    }
    expect_all(&told_other, 0..5_000);
    // A sender that waits goes on as soon as there is room.
    let waiting = {
        let subject = subject.clone();
        thread::spawn(move || subject.data.sink.tx.send(event(sent)))
    };
    drop(release);
    in_time("a sender that waits for room", move || waiting.join().unwrap()).unwrap();
    expect_all(&told, 1..=sent);
}

#[test]
fn in_memory_a_subscriber_of_the_latest_drops_and_tells_how_many_and_holds_nobody_up() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let notices = subject.notices();
    let options = SubscribeOptions::new().capacity(10).overflow(Overflow::DropOldest);
    let (subscription, told, release) = blocked(&subject, options);
    let (_well, told_well) = numbers(&subject, SubscribeOptions::new());
    subject.data.sink.tx.send(event(0)).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(0), "it is in its first event");
    for n in 1..=10_000 {
        subject.data.sink.tx.send(event(n)).unwrap();
    }
    expect_all(&told_well, 0..=10_000);
    let missed = notice(&notices, "lagged", |notice| match notice {
        Notice::Lagged { missed } => Some(*missed),
        _ => None,
    });
    assert!(missed > 0);
    drop(release);
    let mut seen = vec![0];
    while *seen.last().unwrap() != 10_000 {
        seen.push(told.recv_timeout(PATIENCE).unwrap());
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "what is left is in order");
    assert_eq!(subscription.lag().dropped + seen.len() as u64, 10_001, "each event is delivered or counted");
}

#[test]
fn a_subscriber_that_blocks_holds_no_durable_subject_up_and_gets_everything_later() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let (subscription, told, release) = blocked(&subject, SubscribeOptions::new());
    let (_well, told_well) = numbers(&subject, SubscribeOptions::new());
    let _handle = subject.run().unwrap();
    for receipt in subject.publish_all((0..10_000).map(event)) {
        receipt.wait_timeout(PATIENCE).expect("the subject is held up").unwrap();
    }
    expect_all(&told_well, 0..10_000);
    assert!(subscription.lag().behind > 5_000, "{:?}", subscription.lag());
    drop(release);
    expect_all(&told, 0..10_000);
    assert_eq!(subscription.lag().dropped, 0);
}

// History.

#[test]
fn a_scan_brings_history_and_then_what_is_live_with_no_gap_and_no_duplicate() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let receipts = subject.publish_all((0..7).map(event));
                    sent.fetch_add(7, Ordering::Relaxed);
                    for receipt in receipts {
                        receipt.wait().unwrap();
                    }
                }
            });
        }
        // Subscribers that come while both write.
        let mut scans = Vec::new();
        for round in 1..=8 {
            until("there is more history", || subject.count().unwrap() > round * 60);
            let (tell, told) = mpsc::channel();
            let subscription = subject.scan(ScanWindow::ALL).subscribe(move |event| {
                let _ = tell.send(event.evt.dot().unwrap());
            });
            scans.push((subscription, told));
        }
        let at_least = subject.count().unwrap() + 200;
        until("there is more after the last", || subject.count().unwrap() > at_least);
        stop.store(true, Ordering::Relaxed);
        let all = || log_of(&subject).iter().map(|event| Dot::new(event.author, event.seq)).collect::<Vec<_>>();
        until("all is stored", || subject.count().unwrap() == sent.load(Ordering::Relaxed));
        let expected = all();
        for (_, told) in &scans {
            let seen: Vec<Dot> = expected.iter().map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
            assert_eq!(seen, expected, "the whole log, in its order, once");
        }
    });
}

#[test]
fn a_scan_window_filters_history_and_what_is_live_alike() {
    let wall = Arc::new(AtomicU64::new(1_000_000));
    let read = Arc::clone(&wall);
    let node = Node::builder().clock(move || read.load(Ordering::Relaxed)).ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let publish = |range: std::ops::Range<u64>| {
        for n in range {
            wall.store(1_000_000 + n * 1_000, Ordering::Relaxed);
            subject.publish(event(n)).wait().unwrap();
        }
    };
    publish(0..10);
    let window = ScanWindow { start: 1_005_000, end: 1_015_000 };
    let (_subscription, told) = numbers(&subject.scan(window), SubscribeOptions::new());
    let (_all, told_all) = numbers(&subject.scan(ScanWindow::ALL), SubscribeOptions::new());
    publish(10..20);
    expect_all(&told_all, 0..20);
    // Start inclusive, end exclusive.
    expect_all(&told, 5..15);
    assert!(told.try_recv().is_err());
}

#[test]
fn a_subscriber_begins_with_what_is_new_unless_it_asks_for_the_start() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    // Again and again, since what matters is that the first turn of a subscription comes at any time.
    for n in 0..100 {
        let (_new, told_new) = numbers(&subject, SubscribeOptions::new());
        let (_start, told_start) = numbers(&subject, SubscribeOptions::new().from_start());
        subject.publish(event(n)).wait().unwrap();
        expect_all(&told_new, [n]);
        expect_all(&told_start, 0..=n);
    }
}

#[test]
fn a_subscriber_from_before_the_run_gets_the_first_event_after_it() {
    for n in 0..15 {
        let node = Node::ephemeral().unwrap();
        let subject = node.subject("s");
        let (_subscription, told) = numbers(&subject, SubscribeOptions::new());
        let _handle = subject.run().unwrap();
        subject.publish(event(n)).wait().unwrap();
        expect_all(&told, [n]);
    }
}

#[test]
fn a_fold_that_subscribes_late_resolves_the_whole_state_at_once() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    for receipt in subject.publish_all((0..5_000).map(|n| XaeroEvent::new(format!("{n:04}"), CRDT_SET_ADD))) {
        receipt.wait().unwrap();
    }
    let (tell, told) = mpsc::channel();
    let _subscription = subject.batch(Duration::from_millis(10), Some(3), or_set()).subscribe(move |state| {
        tell.send(xaeroflux::prelude::rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data).unwrap()).unwrap();
    });
    let first = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(first, (0..5_000).map(|n| format!("{n:04}").into_bytes()).collect::<Vec<_>>(), "nothing in between");
    subject.publish(XaeroEvent::new("one more", CRDT_SET_ADD)).wait().unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().len(), 5_001);
}

// The end of a subscription.

#[test]
fn take_ends_the_subscription_with_its_last_event() {
    for durable in [false, true] {
        let node = Node::ephemeral().unwrap();
        let subject = node.subject("s");
        let handle = durable.then(|| subject.run().unwrap());
        let (subscription, told) = numbers(&subject.take(3), SubscribeOptions::new());
        for n in 0..10 {
            subject.data.sink.tx.send(event(n)).unwrap();
        }
        assert!(subscription.wait_until_ended(PATIENCE));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(subscription.delivered(), 3);
        drop(handle);
    }
}

#[test]
fn a_stream_ends_when_its_pipeline_does_and_when_the_subject_stops() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let (mut taken, mut whole) = (subject.take(2).stream(), subject.stream());
    for n in 0..3 {
        subject.publish(event(n)).wait().unwrap();
    }
    let rest = |stream: &mut EventStream| std::iter::from_fn(|| next(stream)).map(|e| number(&e)).collect::<Vec<_>>();
    assert_eq!(rest(&mut taken), [0, 1]);
    drop(handle);
    assert_eq!(rest(&mut whole), [0, 1, 2]);
}

#[test]
fn a_subscription_that_is_dropped_gets_no_more() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let (subscription, told) = numbers(&subject, SubscribeOptions::new());
    let (_well, told_well) = numbers(&subject, SubscribeOptions::new());
    subject.publish(event(0)).wait().unwrap();
    expect_all(&told, [0]);
    drop(subscription);
    subject.publish(event(1)).wait().unwrap();
    expect_all(&told_well, [0, 1]);
    assert!(told.recv_timeout(PATIENCE).is_err(), "the closure is gone, and its end of the channel with it");
}

// Two subjects.

#[test]
fn a_merge_has_the_events_of_both_each_in_its_order() {
    for durable in [false, true] {
        let node = Node::ephemeral().unwrap();
        let (left, right) = (node.subject("left"), node.subject("right"));
        let (_subscription, told) =
            numbers(&left.filter(|e| number(e).is_multiple_of(2)).merge(&right), SubscribeOptions::new());
        let handles = durable.then(|| [left.run().unwrap(), right.run().unwrap()]);
        for n in 0..500 {
            left.data.sink.tx.send(event(n)).unwrap();
            right.data.sink.tx.send(event(1_000 + n)).unwrap();
        }
        let seen: Vec<u64> = (0..750).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
        let (of_left, of_right): (Vec<u64>, Vec<u64>) = seen.iter().partition(|n| **n < 1_000);
        assert_eq!(of_left, (0..500).step_by(2).collect::<Vec<_>>());
        assert_eq!(of_right, (1_000..1_500).collect::<Vec<_>>());
        drop(handles);
    }
}

#[test]
fn a_fold_over_a_merge_counts_both_subjects() {
    let node = Node::ephemeral().unwrap();
    let (left, right) = (node.subject("left"), node.subject("right"));
    let (tell, told) = mpsc::channel();
    let _subscription = left
        .merge(&right)
        .batch(Duration::from_millis(5), None, counter(Fold::PNCounter))
        .subscribe(move |state| tell.send(value_of(&state)).unwrap());
    let _handles = [left.run().unwrap(), right.run().unwrap()];
    for subject in [&left, &right, &left] {
        for _ in 0..10 {
            subject.publish(XaeroEvent::new(1_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT)).wait().unwrap();
        }
    }
    while told.recv_timeout(PATIENCE).unwrap() != 30 {}
}

// What a subscriber may do.

#[test]
fn a_subscriber_may_publish_subscribe_and_end_other_subscriptions() {
    let node = Node::ephemeral().unwrap();
    let (subject, echo) = (node.subject("s"), node.subject("echo"));
    let _handles = [subject.run().unwrap(), echo.run().unwrap()];
    let (_echoed, told) = numbers(&echo, SubscribeOptions::new());
    let out = echo.clone();
    let mut first = Some(echo.subscribe(|_| {}));
    let _subscription = subject.subscribe(move |event| {
        drop(first.take());
        let inner = out.subscribe(|_| {});
        out.data.sink.tx.try_send(event).unwrap();
        drop(inner);
    });
    for n in 0..50 {
        subject.data.sink.tx.send(event(n)).unwrap();
    }
    expect_all(&told, 0..50);
}
