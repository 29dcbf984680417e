//! Subscriptions: what a subscriber holds.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_core::Stream;

use super::{
    error::Error,
    follower::{ClosureSink, Follower, Lag, Outbox, OutboxSink, Sink, SubscribeOptions},
    handle::Subject,
};
use crate::{actors::runtime::Runtime, wire::event::XaeroEvent};

/// A running subscription. It ends when this is dropped; a call of the closure that is under way then is finished.
#[must_use = "a subscription ends when it is dropped: bind it to a name"]
pub struct Subscription {
    follower: Option<Arc<Follower>>,
    outbox: Option<Arc<Outbox>>,
    error: Option<Error>,
    // The threads that it works on.
    _runtime: Option<Arc<Runtime>>,
}

impl Subscription {
    pub(crate) fn closure(
        subject: &Subject,
        options: SubscribeOptions,
        take: impl FnMut(XaeroEvent) + Send + 'static,
    ) -> Self {
        let begin = |runtime: &Arc<Runtime>| -> Result<(Arc<Follower>, Option<Arc<Outbox>>), Error> {
            // A pipeline that folds lives with the batch actor, where a closure must not block.
            if subject.spec().has_batch() {
                let core = subject.core().ok_or(Error::NotRunning)?;
                let outbox = Outbox::new(&options, runtime.pool(), core, Some(Box::new(take)));
                Ok((start(subject, options, runtime, Box::new(OutboxSink(Arc::clone(&outbox)))), Some(outbox)))
            } else {
                Ok((start(subject, options, runtime, Box::new(ClosureSink(take))), None))
            }
        };
        match prepare(subject).and_then(|runtime| Ok((begin(&runtime)?, runtime))) {
            Ok(((follower, outbox), runtime)) => {
                if let Some(outbox) = &outbox {
                    outbox.set_follower(&follower);
                }
                follower.wake();
                Self { follower: Some(follower), outbox, error: None, _runtime: Some(runtime) }
            }
            Err(error) => Self { follower: None, outbox: None, error: Some(error), _runtime: None },
        }
    }

    /// How far the subscriber is behind, and what it lost.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let mut lag = self.follower.as_ref().map(|follower| follower.lag()).unwrap_or_default();
        if let Some(outbox) = &self.outbox {
            lag.dropped = lag.dropped.saturating_add(outbox.dropped());
        }
        lag
    }

    /// Events that came out of the pipeline so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.follower.as_ref().map_or(0, |follower| follower.delivered())
    }

    /// Whether it has ended: because the pipeline took its last event, the closure panicked, or the subject stopped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.follower.as_ref().is_none_or(|follower| follower.has_ended())
    }

    /// Why it never started, if so.
    #[must_use]
    pub const fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Waits until it has ended, at most so long. `false` where it has not.
    #[must_use]
    pub fn wait_until_ended(&self, timeout: Duration) -> bool {
        let now = Instant::now();
        let until = now.checked_add(timeout).unwrap_or(now);
        self.follower.as_ref().is_none_or(|follower| follower.wait_until_ended(until))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(outbox) = &self.outbox {
            outbox.close();
        }
        if let Some(follower) = &self.follower {
            follower.cancel();
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("delivered", &self.delivered())
            .field("lag", &self.lag())
            .field("ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}

/// The events of a pipeline, as a stream. Ends when the pipeline does, or the subject stops.
#[must_use = "a stream does nothing unless it is read"]
pub struct EventStream {
    outbox: Option<Arc<Outbox>>,
    subscription: Subscription,
}

impl EventStream {
    pub(crate) fn new(subject: &Subject, options: SubscribeOptions) -> Self {
        let started = prepare(subject).and_then(|runtime| {
            let core = subject.core().ok_or(Error::NotRunning)?;
            let outbox = Outbox::new(&options, runtime.pool(), core, None);
            let follower = start(subject, options, &runtime, Box::new(OutboxSink(Arc::clone(&outbox))));
            outbox.set_follower(&follower);
            // What made room before it was known whom to wake woke nobody.
            follower.wake();
            Ok((outbox, follower, runtime))
        });
        match started {
            Ok((outbox, follower, runtime)) => Self {
                outbox: Some(Arc::clone(&outbox)),
                subscription: Subscription {
                    follower: Some(follower),
                    outbox: Some(outbox),
                    error: None,
                    _runtime: Some(runtime),
                },
            },
            Err(error) => Self {
                outbox: None,
                subscription: Subscription { follower: None, outbox: None, error: Some(error), _runtime: None },
            },
        }
    }

    /// The subscription behind the stream: its lag, and why it ended.
    pub const fn subscription(&self) -> &Subscription {
        &self.subscription
    }
}

impl Stream for EventStream {
    type Item = XaeroEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<XaeroEvent>> {
        let Some(outbox) = &self.outbox else { return Poll::Ready(None) };
        match outbox.take(Some(context.waker())) {
            Ok(event) => Poll::Ready(Some(event)),
            Err(true) => Poll::Pending,
            Err(false) => Poll::Ready(None),
        }
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EventStream").field(&self.subscription).finish()
    }
}

/// What every subscription needs: a pipeline that makes sense, and threads.
fn prepare(subject: &Subject) -> Result<Arc<Runtime>, Error> {
    if let Some(error) = subject.error() {
        return Err(Error::Pipeline(Arc::clone(error)));
    }
    subject.core().ok_or(Error::NotRunning)?.check()?;
    Ok(Runtime::shared()?)
}

fn start(subject: &Subject, options: SubscribeOptions, runtime: &Arc<Runtime>, sink: Box<dyn Sink>) -> Arc<Follower> {
    Follower::start(subject.spec().clone(), subject.cores(), options, runtime, sink)
}
