//! `xaeroflux replay --follow`: the log, and then what comes, until somebody asks for the end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
};

use futures_core::Stream as _;
use xaeroflux::{
    Replay, ScanWindow, Subject, SubscribeOptions, XaeroEvent,
    wire::{clock::Clock, record::Record},
};

use super::{
    console::Streams,
    exit::{Exit, Failure},
    output::Output,
    place::Place,
    replay::{Replayed, print},
};

/// Prints the wanted events in the window, those that are there and those that come, until the process is asked to end
/// or nobody reads its output any more. What is printed is flushed before anything is waited for.
pub fn follow(
    place: &Place<'_>,
    subject: &Subject,
    window: ScanWindow,
    wanted: Replay,
    Streams { output, console }: &mut Streams,
) -> Result<Exit, Failure> {
    let here = std::thread::current();
    let waker = Waker::from(Arc::new(Unpark(here.clone())));
    let interrupt = console.catch_interrupt(move || here.unpark())?;
    let handle = place.run(subject)?;
    let filtered = subject.scan(window).filter(move |event| wanted.takes(event));
    let mut stream = filtered.stream_with(SubscribeOptions::new().from_start());
    if let Some(error) = stream.subscription().error() {
        return Err(error.clone().into());
    }
    while !interrupt.is_set() {
        match Pin::new(&mut stream).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(event)) => print_event(output, subject, &event)?,
            Poll::Ready(None) => {
                // The stream ends with its subject: because that gave up, or because the log could not be read.
                let failure = handle.failure().map(Failure::from);
                return Err(failure.unwrap_or_else(|| {
                    Failure::new(Exit::Storage, "the subject's log could not be read on: see the log above")
                }));
            }
            Poll::Pending => {
                output.flush()?;
                // A signal between the look at the flag and here has unparked us before, so that this returns at once.
                std::thread::park();
            }
        }
    }
    Ok(Exit::Done)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn print_event(output: &mut Output, subject: &Subject, event: &XaeroEvent) -> Result<(), Failure> {
    let Some(dot) = event.evt.dot() else { return Ok(()) };
    let record = Record {
        subject: subject.id(),
        dot,
        clock: event.evt.clock().unwrap_or(Clock::ZERO),
        latest_ts: event.latest_ts.unwrap_or_default(),
        deps: event.evt.deps(),
        event_type: event.evt.event_type,
        payload: &event.evt.data,
    };
    let id = record.id(&blake3::hash(record.payload));
    let Record { clock, event_type, payload, .. } = record;
    Ok(print(output, &Replayed { dot, id, clock, event_type, payload })?)
}
