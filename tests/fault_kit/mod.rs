//! What the tests of bad input and faults share: reading a log back, waiting for something to happen, child processes.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

pub mod trust;

use std::{
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

use xaeroflux::{
    Acknowledged, Dot, EventId, EventType, Fold, Notice, Operator, Reduce, ScanWindow, Sort, Subject, XaeroEvent,
    XaeroID,
    subject::notice::Notices,
    wire::{clock::Clock, frame, record::Record},
};

/// How long a test waits for what must happen. Long enough for a machine that does much else at the same time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An event of a log, as far as tests compare it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Logged {
    pub author: XaeroID,
    pub seq: u64,
    pub id: EventId,
    pub clock: Clock,
    pub payload: Vec<u8>,
}

/// The whole log of a subject, in its order.
pub fn log_of(subject: &Subject) -> Vec<Logged> {
    let mut log = Vec::new();
    subject
        .for_each_archived(ScanWindow::ALL, |record| {
            log.push(Logged {
                author: record.author(),
                seq: record.seq(),
                id: record.id(),
                clock: record.clock(),
                payload: record.payload().to_vec(),
            });
            true
        })
        .unwrap();
    log
}

/// The payloads of a subject's log, in its order.
pub fn payloads_of(subject: &Subject) -> Vec<Vec<u8>> {
    log_of(subject).into_iter().map(|event| event.payload).collect()
}

/// Whether the log has this event, with this payload.
pub fn holds(log: &[Logged], receipt: &Acknowledged, payload: &[u8]) -> bool {
    let found: Vec<_> = log.iter().filter(|e| (e.author, e.seq) == (receipt.author, receipt.seq)).collect();
    matches!(found[..], [event] if event.id == receipt.id && event.payload == payload)
}

/// The first notice that `wanted` takes.
pub fn notice<T>(notices: &Notices, what: &str, mut wanted: impl FnMut(&Notice) -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Some(notice) = notices.next_timeout(left) else { panic!("no notice: {what}") };
        if let Some(found) = wanted(&notice) {
            return found;
        }
    }
}

/// Waits until `done` says so, for what tells nobody when it happens.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "it never came true: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Runs something that might hang, and fails loudly if it does.
pub fn in_time<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || drop(tell.send(act())));
    match told.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("nothing came back: {what}"),
        },
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs: {what}"),
    }
}

pub fn or_set() -> Vec<Operator> {
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::ORSet.to_operator()),
        Operator::Reduce(Reduce::SetContents.to_operator()),
    ]
}

pub fn counter(fold: Fold) -> Vec<Operator> {
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(fold.to_operator()),
        Operator::Reduce(Reduce::CounterValue.to_operator()),
    ]
}

pub fn value_of(state: &XaeroEvent) -> i64 {
    i64::from_le_bytes(state.evt.data.as_slice().try_into().unwrap())
}

/// An event made elsewhere.
pub fn frame_of(subject: &Subject, dot: Dot, clock: Clock, deps: &[Dot], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let record = Record {
        subject: subject.id(),
        dot,
        clock,
        latest_ts: clock.millis(),
        deps,
        event_type: EventType::ApplicationEvent(30),
        payload,
    };
    frame::encode_into(&mut bytes, &record).unwrap();
    bytes
}

/// This test binary once more, to run one test of it in a child process whose environment says that it is the child.
pub fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// Keeps the panics that a test asked for out of its output.
pub fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("");
            if !message.starts_with("fault point") && !message.starts_with("on purpose") {
                usual(info);
            }
        }));
    });
}
