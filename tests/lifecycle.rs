//! How a subject starts and stops: in memory, durable, at rest, and durable again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use fault_kit::{PATIENCE, child, counter, in_time, notice, or_set, payloads_of, until, value_of};
use xaeroflux::{
    Error, Fold, Node, Notice, Overflow, PublishError, Subject, SubscribeOptions, XaeroEvent,
    event::{CRDT_COUNTER_INCREMENT, CRDT_SET_ADD},
};

fn event(n: u32) -> XaeroEvent {
    XaeroEvent::new(n.to_le_bytes(), 7)
}

#[test]
fn everything_that_was_sent_before_the_drop_is_on_disk_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Node::builder().data_dir(dir.path()).build().unwrap();
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for round in 0..5_u32 {
        let node = open();
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        for n in 0..2_000 {
            subject.data.sink.tx.send(event(round * 2_000 + n)).unwrap();
            expected.push((round * 2_000 + n).to_le_bytes().to_vec());
        }
        // No receipt is waited for.
        drop(handle);
        assert_eq!(payloads_of(&subject), expected, "round {round}");
        assert!(subject.data.sink.tx.send(event(0)).unwrap_err().is_closed());
        assert!(matches!(subject.publish(event(0)).wait(), Err(PublishError::Stopped)));
    }
    assert_eq!(payloads_of(&open().subject("s")), expected);
}

#[test]
fn subscribers_get_everything_that_was_sent_before_the_drop() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let (tell, told) = mpsc::channel();
    let subscription = subject.subscribe(move |event| tell.send(event.evt.data).unwrap());
    let handle = subject.run().unwrap();
    for n in 0..5_000 {
        subject.data.sink.tx.send(event(n)).unwrap();
    }
    drop(handle);
    assert!(subscription.has_ended());
    let seen: Vec<_> = told.try_iter().collect();
    assert_eq!(seen, (0..5_000_u32).map(|n| n.to_le_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn a_handle_that_is_dropped_in_a_subscriber_stops_the_subject_and_hangs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().data_dir(dir.path()).build().unwrap();
    let subject = node.subject("s");
    let held: Arc<Mutex<Option<xaeroflux::Handle>>> = Arc::default();
    let slot = Arc::clone(&held);
    let subscription = subject.subscribe(move |_| drop(slot.lock().unwrap().take()));
    *held.lock().unwrap() = Some(subject.run().unwrap());
    subject.publish(event(1)).wait().unwrap();
    assert!(subscription.wait_until_ended(PATIENCE), "the subject stops");
    assert!(held.lock().unwrap().is_none());
    until("the subject takes nothing any more", || subject.try_publish(event(2)).try_get().is_some_and(|r| r.is_err()));
    assert_eq!(payloads_of(&subject)[0], 1_u32.to_le_bytes());
}

#[test]
fn a_handle_that_is_dropped_in_a_fold_stops_the_subject_and_hangs_nobody() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let held: Arc<Mutex<Option<xaeroflux::Handle>>> = Arc::default();
    let slot = Arc::clone(&held);
    // The closure before the batch runs on the batch actor's own thread.
    let subscription = subject
        .map(move |event| {
            drop(slot.lock().unwrap().take());
            event
        })
        .batch(Duration::from_millis(1), None, counter(Fold::PNCounter))
        .subscribe(|_| {});
    *held.lock().unwrap() = Some(subject.run().unwrap());
    subject.publish(XaeroEvent::new(1_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT)).wait().unwrap();
    assert!(subscription.wait_until_ended(PATIENCE), "the subject stops");
}

/// What an executor may do where a task is cancelled as it is woken: it drops all that the task holds.
struct DropOnWake {
    held: Mutex<Option<(Node, xaeroflux::Handle)>>,
    woken_on: mpsc::Sender<Option<String>>,
}

impl Wake for DropOnWake {
    fn wake(self: Arc<Self>) {
        drop(self.held.lock().unwrap().take());
        self.woken_on.send(thread::current().name().map(str::to_owned)).unwrap();
    }
}

#[test]
fn a_handle_that_is_dropped_when_a_receipt_wakes_its_task_stops_the_subject_and_hangs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().data_dir(dir.path()).build().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let (woken_on, told) = mpsc::channel();
    let waker = Waker::from(Arc::new(DropOnWake { held: Mutex::new(Some((node, handle))), woken_on }));
    // It takes a sync of the disk, and is known only rarely before it is asked for.
    let receipt = loop {
        let mut receipt = subject.publish(event(1));
        if Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending() {
            break receipt;
        }
    };
    let woken_on = told.recv_timeout(PATIENCE).expect("the drop hangs");
    assert_eq!(woken_on.as_deref(), Some("xaeroflux-commit"), "this test is about that thread");
    receipt.wait().unwrap();
    until("the subject takes nothing any more", || subject.try_publish(event(2)).try_get().is_some_and(|r| r.is_err()));
    drop(subject);
    let mut again = None;
    until("the directory is free again", || {
        again = Node::builder().data_dir(dir.path()).build().ok();
        again.is_some()
    });
    assert_eq!(payloads_of(&again.unwrap().subject("s"))[0], 1_u32.to_le_bytes());
}

#[test]
fn the_last_of_everything_can_be_dropped_in_a_subscriber() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().data_dir(dir.path()).build().unwrap();
    let subject = node.subject("s");
    let (tell, told) = mpsc::channel();
    let all: Arc<Mutex<Option<(Node, xaeroflux::Handle)>>> = Arc::default();
    let slot = Arc::clone(&all);
    let subscription = subject.subscribe(move |_| {
        drop(slot.lock().unwrap().take());
        tell.send(()).unwrap();
    });
    let handle = subject.run().unwrap();
    *all.lock().unwrap() = Some((node, handle));
    subject.data.sink.tx.send(event(1)).unwrap();
    told.recv_timeout(PATIENCE).unwrap();
    drop((subscription, subject));
    // It is another thread that stops it all, so it takes a moment.
    let mut again = None;
    until("the directory is free again", || {
        again = Node::builder().data_dir(dir.path()).build().ok();
        again.is_some()
    });
    assert_eq!(again.unwrap().subject("s").count().unwrap(), 1);
}

#[test]
fn shutdown_waits_for_the_disk_without_blocking_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let node = Node::ephemeral().unwrap();
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        let receipt = subject.publish(event(0)).await.unwrap();
        assert_eq!(receipt.seq, 1);
        for n in 1..1_000 {
            subject.data.sink.tx.send(event(n)).unwrap();
        }
        // The runtime has one thread: it can do something else only if the shutdown does not hold it.
        let something_else = tokio::spawn(async { 7 });
        tokio::time::timeout(PATIENCE, handle.shutdown()).await.expect("it hangs").unwrap();
        assert_eq!(something_else.await.unwrap(), 7);
        assert_eq!(subject.count().unwrap(), 1_000);
    });
}

#[test]
fn running_twice_shares_one_run_and_the_last_handle_stops_it() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let first = subject.run().unwrap();
    let second = node.subject("s").run().unwrap();
    subject.publish(event(1)).wait().unwrap();
    drop(first);
    assert_eq!(subject.publish(event(2)).wait().unwrap().seq, 2, "the other handle keeps it");
    drop(second);
    assert!(matches!(subject.publish(event(3)).wait(), Err(PublishError::Stopped)));
}

#[test]
fn many_threads_that_run_and_stop_one_subject_do_not_disturb_each_other() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let stored = in_time("run and stop", move || {
        let rounds = |subject: Subject| {
            thread::spawn(move || {
                let mut stored = 0;
                for n in 0..20 {
                    let handle = subject.run().unwrap();
                    // While the handle is held the subject runs, whatever the others do.
                    subject.publish(event(n)).wait().unwrap();
                    stored += 1;
                    drop(handle);
                }
                stored
            })
        };
        let threads = [(); 3].map(|()| rounds(subject.clone()));
        let stored: u64 = threads.map(|thread| thread.join().unwrap()).iter().sum();
        (stored, subject.count().unwrap())
    });
    assert_eq!(stored, (60, 60));
}

#[test]
fn a_subject_that_was_stopped_runs_again_and_goes_on_where_it_was() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    for n in 1..=5 {
        let (tell, told) = mpsc::channel();
        let _subscription = subject.subscribe_with(SubscribeOptions::new().from_start(), move |event| {
            tell.send(event.evt.data).unwrap();
        });
        let handle = subject.run().unwrap();
        assert_eq!(subject.publish(event(n)).wait().unwrap().seq, u64::from(n));
        for expected in 1..=n {
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), expected.to_le_bytes());
        }
        drop(handle);
    }
}

#[test]
fn in_memory_pipelines_see_events_receipts_say_so_and_nothing_is_stored() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    assert!(matches!(subject.publish(event(0)).wait_timeout(PATIENCE), Some(Err(PublishError::NotRunning))));
    let (tell, told) = mpsc::channel();
    let _subscription = subject.subscribe(move |event| tell.send(event.evt.data).unwrap());
    assert!(matches!(subject.publish(event(1)).wait_timeout(PATIENCE), Some(Err(PublishError::NotRunning))));
    subject.data.sink.tx.send(event(2)).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 1_u32.to_le_bytes());
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 2_u32.to_le_bytes());
    assert!(matches!(subject.ingest(Vec::new()), Err(Error::NotRunning)));
    assert!(matches!(subject.addr(), Err(Error::NotRunning)));
    assert_eq!(subject.count().unwrap(), 0);
}

#[test]
fn in_memory_a_fold_resolves_what_is_sent() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let (tell, told) = mpsc::channel();
    let _subscription = subject
        .batch(Duration::from_millis(5), Some(3), counter(Fold::PNCounter))
        .subscribe(move |state| tell.send(value_of(&state)).unwrap());
    for _ in 0..3 {
        subject.data.sink.tx.send(XaeroEvent::new(2_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT)).unwrap();
    }
    while told.recv_timeout(PATIENCE).unwrap() != 6 {}
}

#[test]
fn what_was_sent_in_memory_is_not_in_the_log_and_comes_before_what_is() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let _subscription = subject.subscribe(move |event| {
        tell.send(event.evt.data).unwrap();
        // It is held up in its first event, so that the others wait in memory when the subject becomes durable.
        let _ = released.recv();
    });
    for n in 0..3_000 {
        subject.data.sink.tx.send(event(n)).unwrap();
    }
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 0_u32.to_le_bytes());
    let _handle = subject.run().unwrap();
    for n in 3_000..3_100 {
        subject.data.sink.tx.send(event(n)).unwrap();
    }
    let receipt = subject.publish(event(3_100)).wait().unwrap();
    assert_eq!(receipt.seq, 101, "what was sent before is not in the log");
    drop(release);
    for n in 1..=3_100_u32 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), n.to_le_bytes(), "in order, none lost, none twice");
    }
}

#[test]
fn a_fold_begins_anew_from_the_log_when_the_subject_becomes_durable() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let (tell, told) = mpsc::channel();
    let _subscription = subject.batch(Duration::from_millis(1), None, or_set()).subscribe(move |state| {
        tell.send(xaeroflux::prelude::rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data).unwrap()).unwrap();
    });
    subject.data.sink.tx.send(XaeroEvent::new("memory", CRDT_SET_ADD)).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), [b"memory"]);
    let _handle = subject.run().unwrap();
    subject.publish(XaeroEvent::new("durable", CRDT_SET_ADD)).wait().unwrap();
    while told.recv_timeout(PATIENCE).unwrap() != [b"durable"] {}
}

/// In a child process, since the default node is one for each process, and its directory comes from the environment.
#[test]
fn a_subject_of_the_default_node_opens_nothing_before_it_runs() {
    const DIR: &str = "XAEROFLUX_DATA_DIR";
    const CHILD: &str = "XAEROFLUX_TEST_DEFAULT_NODE";
    if std::env::var_os(CHILD).is_some() {
        let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
        let subject = Subject::new("s".into());
        let (tell, told) = mpsc::channel();
        let _subscription = subject.subscribe(move |event| tell.send(event).unwrap());
        subject.data.sink.tx.send(event(1)).unwrap();
        told.recv_timeout(PATIENCE).unwrap();
        assert!(!dir.exists(), "in memory nothing touches the disk");
        let handle = subject.run().unwrap();
        subject.publish(event(2)).wait().unwrap();
        assert!(dir.join("data.mdb").exists());
        drop(handle);
        println!("the child came to its end");
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let output = child("a_subject_of_the_default_node_opens_nothing_before_it_runs")
        .env(CHILD, "1")
        .env(DIR, parent.path().join("data"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("the child came to its end"), "{output:?}");
}

#[test]
fn a_subscriber_that_never_returns_does_not_keep_a_subject_from_stopping() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let notices = subject.notices();
    let subscription = subject.subscribe(move |_| {
        tell.send(()).unwrap();
        // Until the test is over.
        let _ = released.recv();
        panic!("on purpose: its subscription is gone by now");
    });
    let handle = subject.run().unwrap();
    subject.publish(event(1)).wait().unwrap();
    told.recv_timeout(PATIENCE).unwrap();
    in_time("drop with a subscriber that blocks", move || drop(handle));
    assert!(subscription.has_ended());
    assert_eq!(subject.count().unwrap(), 1);
    fault_kit::quiet();
    drop(release);
    notice(&notices, "panicked", |notice| matches!(notice, Notice::SubscriberPanicked { .. }).then_some(()));
}

#[test]
fn a_stream_that_nobody_reads_does_not_keep_a_subject_from_stopping() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let stream = subject.stream_with(SubscribeOptions::new().capacity(4).overflow(Overflow::Block));
    let handle = subject.run().unwrap();
    for n in 0..100 {
        subject.publish(event(n)).wait().unwrap();
    }
    in_time("drop with a stream that nobody reads", move || drop(handle));
    assert_eq!(subject.count().unwrap(), 100);
    drop(stream);
}

#[test]
fn a_node_writes_under_the_identity_and_within_the_limits_that_it_was_given() {
    let node = Node::builder().identity("laptop").bus_limits(2, 1 << 20).ephemeral().unwrap();
    let subject = node.subject("s");
    assert_eq!(subject.data.sink.tx.capacity(), 2);
    let handle = subject.run().unwrap();
    let author = subject.publish(XaeroEvent::new("x", 7)).wait().unwrap().author;
    assert_eq!(node.find_identity("laptop"), Some(author));
    assert_eq!(node.own_identity().unwrap(), author);
    drop(handle);
    let bad = Node::builder().identity("no/name").ephemeral();
    assert!(matches!(bad, Err(Error::Keyring(_))), "{bad:?}");
}

/// What a task may do as it is woken, in an executor that runs it there and then: it reads the subject's log.
struct CountOnWake {
    subject: xaeroflux::Subject,
    counted: mpsc::Sender<Result<u64, Error>>,
}

impl Wake for CountOnWake {
    fn wake(self: Arc<Self>) {
        self.counted.send(self.subject.count()).unwrap();
    }
}

#[test]
fn a_log_that_is_read_by_what_a_receipt_wakes_hangs_nobody() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("s");
    let _handle = subject.run().unwrap();
    let (counted, told) = mpsc::channel();
    let waker = Waker::from(Arc::new(CountOnWake { subject: subject.clone(), counted }));
    // It takes a sync of the disk, and is known only rarely before it is asked for.
    let _receipt = loop {
        let mut receipt = subject.publish(event(1));
        if Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending() {
            break receipt;
        }
    };
    let counted = told.recv_timeout(PATIENCE).expect("the count hangs");
    assert!(matches!(counted, Ok(1..) | Err(Error::Storage(xaeroflux::StorageError::OwnThread))), "{counted:?}");
    assert!(subject.count().unwrap() > 0);
}
