//! `scan` from the past into the future: whatever moment of the window a subscriber comes at, and whatever publishers do
//! meanwhile, it gets the events of the window in the log's order, no gap and no duplicate, and none from outside.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod fault_kit;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use fault_kit::{PATIENCE, log_of, until};
use xaeroflux::{ChildKind, Dot, Node, ScanWindow, Subject, SubscribeOptions, Subscription, XaeroEvent};

/// A subscriber that passes the dots on.
fn dots(subject: &Subject, window: ScanWindow, options: SubscribeOptions) -> (Subscription, mpsc::Receiver<Dot>) {
    let (tell, told) = mpsc::channel();
    let subscription = subject.scan(window).subscribe_with(options, move |event| {
        // The test may have what it wants and be gone.
        let _ = tell.send(event.evt.dot().unwrap());
    });
    (subscription, told)
}

#[test]
fn windows_that_begin_in_the_past_and_end_in_the_future_have_no_gap_and_no_duplicate() {
    // Every look at the clock is a millisecond later, so that each commit has a time of its own.
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let ticking = Arc::clone(&clock);
    let node = Node::builder().clock(move || ticking.fetch_add(1, Ordering::Relaxed)).ephemeral().unwrap();
    let subject = node.subject("s");
    let handle = subject.run().unwrap();
    let authors = ["a", "b", "c"].map(|name| node.identity(name).unwrap());
    let publish = |author, count: u64| {
        let events = (0..count).map(|n| XaeroEvent::new(n.to_string(), 1).by(author));
        for receipt in subject.publish_all(events) {
            receipt.wait().unwrap();
        }
    };
    for n in 0..300 {
        publish(authors[n % 3], 3);
    }
    let history = log_of(&subject);
    let (first, now) = (history[0].clock.millis(), history.last().unwrap().clock.millis());
    assert!(now > first + 100);
    let windows = [
        ScanWindow { start: first + (now - first) / 2, end: now + 200 },
        ScanWindow { start: now + 100, end: now + 250 },
        ScanWindow { start: first, end: now + 1 },
        ScanWindow { start: 0, end: u64::MAX },
    ];
    let stop = AtomicBool::new(false);
    let last = || clock.load(Ordering::Relaxed);
    let scans = thread::scope(|scope| {
        // Set when this ends in a panic, too: the publishers would go on for ever.
        let _stop = SetOnDrop(&stop);
        for author in authors {
            let (publish, stop) = (&publish, &stop);
            scope.spawn(move || {
                for burst in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    publish(author, burst * 5 % 13 + 1);
                }
            });
        }
        // Subscribers come before the windows' ends, around them, and after them.
        let mut scans = Vec::new();
        for time in [0, 60, 120, 180, 240, 300] {
            until("time goes on", || last() > now + time);
            for window in windows {
                scans.push((window, dots(&subject, window, SubscribeOptions::new())));
                scans.push((window, dots(&subject, window, SubscribeOptions::new().capacity(1).from_start())));
            }
            if time == 120 {
                handle.kill_child(ChildKind::Aof);
            }
        }
        until("all windows but the last have ended", || last() > now + 400);
        scans
    });
    let log = log_of(&subject);
    let inside = |window: ScanWindow| -> Vec<Dot> {
        let events = log.iter().filter(|event| window.contains(event.clock));
        events.map(|event| Dot::new(event.author, event.seq)).collect()
    };
    for (window, (subscription, told)) in &scans {
        let expected = inside(*window);
        let seen: Vec<Dot> = expected.iter().map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(seen, expected, "{window:?}");
        until("the subscriber has read the log", || subscription.lag().behind == 0);
    }
    // Drained: whatever was on its way to a subscriber has arrived.
    drop(handle);
    assert!(scans.iter().all(|(_, (_, told))| told.try_recv().is_err()), "there is more than there should be");
    assert!(inside(windows[1]).len() > 10, "there is something in the future's window");
    assert!(inside(windows[0]).len() > inside(windows[1]).len());
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
