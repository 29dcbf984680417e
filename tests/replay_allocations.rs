//! A replay in place allocates nothing for an event, however many it visits. In a test binary of its own, since it counts
//! what the process allocates.
#![allow(clippy::unwrap_used)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use xaeroflux::{Node, Replay, XaeroEvent};

/// The system's allocator, counting what each thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all is passed on to the system's allocator; the counter is a plain cell that needs no allocation of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const EVENTS: u64 = 40_000;

/// Allocations of a part of 4,096 events: its list of positions as it grows, and some for the call itself.
const PER_PART: u64 = 24;

fn allocations(replay: &Replay, expected: u64) -> u64 {
    let before = ALLOCATIONS.get();
    let (mut events, mut bytes) = (0, 0);
    replay
        .for_each(|record| {
            events += 1;
            bytes += record.payload().len();
            true
        })
        .unwrap();
    let after = ALLOCATIONS.get();
    assert_eq!((events, bytes), (expected, usize::try_from(expected).unwrap() * 100));
    after - before
}

#[test]
fn a_replay_allocates_for_parts_and_not_for_events() {
    let dir = tempfile::tempdir().unwrap();
    {
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        let (often, seldom) = (node.identity("often").unwrap(), node.identity("seldom").unwrap());
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        let author = |n: u64| if n.is_multiple_of(5) { seldom } else { often };
        let receipts = subject.publish_all((0..EVENTS).map(|n| XaeroEvent::new([7; 100], 1).by(author(n))));
        for receipt in receipts {
            receipt.wait().unwrap();
        }
        drop(handle);
    }
    // Closed in between, so that the author's own links are known.
    let node = Node::builder().data_dir(dir.path()).build().unwrap();
    let subject = node.subject("s");
    let seldom = node.find_identity("seldom").unwrap();
    let parts = EVENTS / 4_096 + 1;
    for (replay, expected) in [(subject.replay(), EVENTS), (subject.replay().author(seldom), EVENTS / 5)] {
        let allocated = allocations(&replay, expected);
        assert!(allocated <= parts * PER_PART, "{allocated} allocations for {expected} events");
    }
}
