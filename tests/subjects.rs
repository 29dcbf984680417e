//! Promises at the seams of a subject: between memory and the log, between two runs, between a pipeline's last event and
//! the subscriber's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    pin::pin,
    sync::{Condvar, mpsc},
    task::{Context, Poll, Waker},
};

use xaeroflux::{Overflow, SubscribeOptions, prelude::*};

const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps closures waiting until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap());
    }
}

fn counter() -> Vec<Operator> {
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::GCounter.to_operator()),
        Operator::Reduce(Reduce::CounterValue.to_operator()),
    ]
}

fn increment(by: i64) -> XaeroEvent {
    XaeroEvent::new(by.to_le_bytes(), CRDT_COUNTER_INCREMENT)
}

fn value(event: &XaeroEvent) -> i64 {
    i64::from_le_bytes(event.evt.data[..8].try_into().unwrap())
}

#[test]
fn a_subscriber_of_a_running_subject_gets_every_event_published_after_it_subscribed() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    for n in 0..300_u32 {
        let (tell, told) = mpsc::channel();
        let subscription = subject.subscribe(move |event| tell.send(event.evt.data).unwrap());
        subject.publish(XaeroEvent::new(n.to_le_bytes(), 7)).wait().unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), n.to_le_bytes(), "round {n}");
        drop(subscription);
    }
    drop(handle);
}

#[test]
fn what_waits_in_memory_for_a_slow_subscriber_reaches_it_after_the_subject_runs() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let (gate, (tell, told)) = (Gate::default(), mpsc::channel());
    let subscription = subject.subscribe({
        let gate = gate.clone();
        move |event| {
            gate.pass();
            tell.send(event.evt.data).unwrap();
        }
    });
    // Several chunks, each queued for the subscriber by itself.
    let sent: Vec<[u8; 4]> = (0..1_500_u32).map(u32::to_le_bytes).collect();
    for data in &sent {
        subject.data.sink.tx.send(XaeroEvent::new(*data, 7)).unwrap();
    }
    let handle = subject.run().unwrap();
    let last = 1_500_u32.to_le_bytes();
    subject.publish(XaeroEvent::new(last, 7)).wait().unwrap();
    gate.open();
    let got: Vec<Vec<u8>> = (0..=sent.len()).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(got[..sent.len()], sent);
    assert_eq!(got[sent.len()], last);
    drop((subscription, handle));
}

#[test]
fn in_memory_a_receipt_says_so_even_if_nobody_listens() {
    let node = Node::ephemeral().unwrap();
    let receipt = node.subject("s").publish(XaeroEvent::new("x", 7));
    assert!(matches!(receipt.wait_timeout(PATIENCE), Some(Err(PublishError::NotRunning))));
}

#[test]
fn what_is_published_while_the_subject_starts_is_not_thrown_away() {
    let node = Node::ephemeral().unwrap();
    for n in 0..50 {
        let subject = node.subject(format!("s{n}"));
        let publisher = std::thread::spawn({
            let subject = subject.clone();
            move || {
                let receipts: Vec<_> = (0..200).map(|_| subject.publish(XaeroEvent::new("x", 7))).collect();
                receipts.into_iter().map(Receipt::wait).collect::<Vec<_>>()
            }
        });
        let handle = subject.run().unwrap();
        for outcome in publisher.join().unwrap() {
            assert!(matches!(outcome, Ok(_) | Err(PublishError::NotRunning)), "{outcome:?}");
        }
        drop(handle);
    }
}

#[test]
fn a_subscription_that_took_its_last_event_has_ended_only_when_the_closure_had_it() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let (gate, seen) = (Gate::default(), Arc::new(Mutex::new(0)));
    let subscription = subject.batch(Duration::from_millis(1), None, counter()).take(1).subscribe({
        let (gate, seen) = (gate.clone(), Arc::clone(&seen));
        move |state| {
            gate.pass();
            *seen.lock().unwrap() = value(&state);
        }
    });
    subject.publish(increment(5)).wait().unwrap();
    while subscription.delivered() == 0 {
        std::thread::yield_now();
    }
    // One more, so that the pipeline is looked at once more while the closure is still at work.
    subject.publish(increment(6)).wait().unwrap();
    assert!(!subscription.wait_until_ended(Duration::from_millis(100)), "its closure is still at work");
    gate.open();
    assert!(subscription.wait_until_ended(PATIENCE));
    assert_eq!(*seen.lock().unwrap(), 5);
    drop(handle);
}

#[test]
fn a_stream_whose_reader_was_slow_ends_with_its_subject() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let mut stream = pin!(subject.stream_with(SubscribeOptions::new().capacity(1)));
    for receipt in subject.publish_all((0..5_000_u32).map(|n| XaeroEvent::new(n.to_le_bytes(), 7))) {
        receipt.wait().unwrap();
    }
    drop(handle);
    let mut context = Context::from_waker(Waker::noop());
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        match futures_core::Stream::poll_next(stream.as_mut(), &mut context) {
            Poll::Ready(None) => break,
            Poll::Ready(Some(_)) => {}
            Poll::Pending => assert!(std::time::Instant::now() < until, "it waits for ever"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_merged_fold_keeps_the_state_of_one_subject_when_the_other_starts() {
    let node = Node::ephemeral().unwrap();
    let (a, b) = (node.subject("a"), node.subject("b"));
    let (tell, told) = mpsc::channel();
    let subscription = a.merge(&b).batch(Duration::from_millis(1), None, counter()).subscribe(move |state| {
        tell.send(value(&state)).unwrap();
    });
    let first = a.run().unwrap();
    a.publish(increment(3)).wait().unwrap();
    while told.recv_timeout(PATIENCE).unwrap() != 3 {}
    let second = b.run().unwrap();
    b.publish(increment(4)).wait().unwrap();
    while told.recv_timeout(PATIENCE).unwrap() != 7 {}
    drop((subscription, first, second));
}

#[test]
fn a_scan_that_drops_what_is_too_much_has_all_of_the_history() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    for receipt in subject.publish_all((0..500_u32).map(|n| XaeroEvent::new(n.to_le_bytes(), 7))) {
        receipt.wait().unwrap();
    }
    let (tell, told) = mpsc::channel();
    let options = SubscribeOptions::new().capacity(10).overflow(Overflow::DropOldest);
    let subscription = subject.scan(ScanWindow::ALL).subscribe_with(options, move |event| {
        tell.send(event.evt.data).unwrap();
    });
    for n in 0..500_u32 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), n.to_le_bytes());
    }
    drop((subscription, handle));
}

#[test]
fn in_memory_the_last_writer_wins_without_timestamps() {
    let node = Node::ephemeral().unwrap();
    let register = node.subject("r");
    let (tell, told) = mpsc::channel();
    let subscription = register.batch(
        Duration::from_millis(1),
        Some(2),
        vec![Operator::Fold(Fold::LWWRegister.to_operator()), Operator::Reduce(Reduce::RegisterValue.to_operator())],
    );
    let subscription = subscription.subscribe(move |state| tell.send(state).unwrap());
    let write = |text: &str| register.data.sink.tx.send(XaeroEvent::new(text, CRDT_REGISTER_WRITE)).unwrap();
    write("old");
    write("new");
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    loop {
        let state = told.recv_timeout(PATIENCE).unwrap();
        if state.evt.data == b"new" {
            assert!(u128::from(state.latest_ts.unwrap()) + 60_000 > before, "stamped with the wall clock");
            break;
        }
    }
    drop(subscription);
}

#[test]
fn a_subject_runs_again_while_its_last_handle_is_being_dropped() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    for round in 1..=20 {
        let handle = subject.run().unwrap();
        let dropper = std::thread::spawn(move || drop(handle));
        let again = subject.run().unwrap();
        assert_eq!(subject.publish(XaeroEvent::new("x", 7)).wait().unwrap().seq, round);
        dropper.join().unwrap();
        drop(again);
    }
}

#[test]
fn a_directory_that_one_thread_closes_another_opens() {
    let dir = tempfile::tempdir().unwrap();
    // Its handles open the directory for each call, and the last call that is under way closes it.
    let subject = Node::builder().data_dir(dir.path()).build().unwrap().subject("s");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(subject.count().unwrap(), 0)));
        }
    });
}

#[test]
fn two_handles_on_one_directory_are_one_node() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Node::builder().data_dir(dir.path()).build().unwrap();
    let (first, second) = (open(), open());
    let (here, there) = (first.subject("s"), second.subject("s"));
    let runs = (here.run().unwrap(), there.run().unwrap());
    // Two subjects would each number their batches from the beginning, and take the other's for their own.
    for seq in [1, 3, 5] {
        assert_eq!(here.publish(XaeroEvent::new("x", 7)).wait().unwrap().seq, seq);
        assert_eq!(there.publish(XaeroEvent::new("x", 7)).wait().unwrap().seq, seq + 1);
    }
    drop((runs, first));
    assert_eq!(second.subject("s").count().unwrap(), 6);
}

#[test]
fn a_folding_subscriber_with_room_for_one_state_gets_the_last_one() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    for _ in 0..50 {
        subject.publish(increment(1)).wait().unwrap();
    }
    for _ in 0..20 {
        let (tell, told) = mpsc::channel();
        // A window for each event, so that states come faster than they are taken.
        let subscription = subject
            .batch(Duration::from_millis(1), Some(1), counter())
            .subscribe_with(SubscribeOptions::new().capacity(1), move |state| tell.send(value(&state)).unwrap());
        let last = subject.count().unwrap() + 30;
        for receipt in subject.publish_all((0..30).map(|_| increment(1))) {
            receipt.wait().unwrap();
        }
        while u64::try_from(told.recv_timeout(PATIENCE).unwrap()).unwrap() != last {}
        drop(subscription);
    }
    drop(handle);
}

#[test]
fn what_a_pipeline_holds_is_free_when_its_subscription_is_gone_though_a_window_is_open() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let held = Arc::new(());
    let subscription = subject
        .map({
            let held = Arc::clone(&held);
            move |event| {
                let _ = &held;
                event
            }
        })
        .buffer(Some(Duration::from_secs(3600)), None)
        .subscribe(|_| ());
    subject.data.sink.tx.send(XaeroEvent::new("x", 7)).unwrap();
    while !subject.data.sink.tx.is_empty() || subscription.lag().behind > 0 {
        std::thread::yield_now();
    }
    drop(subscription);
    let until = std::time::Instant::now() + PATIENCE;
    while Arc::strong_count(&held) > 1 {
        assert!(std::time::Instant::now() < until, "a timer keeps it");
        std::thread::yield_now();
    }
}
