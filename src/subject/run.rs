//! Running a subject: from memory to the log and back to rest.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix::Actor;

use super::{
    core::{Core, Delivered, Running, State},
    engine::Engine,
    error::Error,
    follower::LogSource,
    prover::KeptProver,
    supervisor::{Drain, Grown, KillChild, Lifecycle, SubjectActor, Terminate},
    sync::hub::Hub,
};
use crate::actors::{aof::AofEnv, watch::ChildKind};

/// How long the end of a subject waits for what was sent to become durable. A commit takes milliseconds; a disk that
/// needs longer than this for all of them has failed.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

/// How long the end of a subject waits for subscribers that are still busy.
const SUBSCRIBER_PATIENCE: Duration = Duration::from_secs(5);

/// How long the end of a subject waits for its actors to be gone.
const ACTOR_PATIENCE: Duration = Duration::from_secs(10);

/// How often a start looks whether the end of the subject's previous run is over. It rarely waits at all.
const STOPPING_POLL: Duration = Duration::from_millis(1);

/// Keeps a subject durable. When the last handle of a subject is dropped, what was sent is drained to disk and to the
/// subscribers, and its actors stop; with the node's last, its directory is closed and all threads end.
///
/// Dropped on one of the engine's own threads (in a subscriber, say, or in what a receipt wakes), it only has all that
/// begin.
#[derive(Clone)]
#[must_use = "the subject is durable only as long as the handle is held"]
pub struct Handle {
    inner: Arc<HandleInner>,
}

pub(crate) struct HandleInner {
    core: Arc<Core>,
    lifecycle: Arc<Lifecycle>,
    engine: Option<Arc<Engine>>,
}

impl Handle {
    pub(crate) fn run(core: &Arc<Core>) -> Result<Self, Error> {
        core.check()?;
        let engine = core.node.engine()?;
        let id = core.resolve(&engine)?;
        // Dropped after the state's lock: with the last reference to a pipeline go the user's closures.
        let (mut in_memory, mut followers) = (Vec::new(), Vec::new());
        let (log, mut state) = loop {
            // Asked again after each wait: the answer comes behind all that an earlier run handed to the committer, so
            // that the tokens of this run begin above those of that one.
            let log = engine.log(id, &core.name)?;
            let state = core.state();
            if let State::Durable(running) = &*state {
                if let Some(inner) = running.handle.upgrade() {
                    return Ok(Self { inner });
                }
            } else {
                break (log, state);
            }
            // The last handle is being dropped by somebody else; what it does needs this lock.
            drop(state);
            std::thread::sleep(STOPPING_POLL);
        };
        // What was sent in memory stays in memory, before everything durable.
        while let Some(chunk) = core.data.drain() {
            in_memory.push(core.deliver_memory(chunk));
        }
        let lifecycle = Arc::new(Lifecycle::default());
        let env = AofEnv {
            committer: Arc::clone(&engine.committer),
            keyring: Arc::clone(&engine.keyring),
            log: Arc::clone(&log),
        };
        let hub = Arc::new(Hub::default());
        let (lifetime, sessions) = (Arc::clone(&lifecycle), Arc::clone(&hub));
        let actor = SubjectActor::new(Arc::clone(core), Arc::clone(&engine), env, lifetime, sessions);
        let supervisor = SubjectActor::start_in_arbiter(engine.runtime.main(), move |_| actor);
        let weak = supervisor.downgrade();
        log.set_grown(Arc::new(move || {
            if let Some(supervisor) = weak.upgrade() {
                supervisor.do_send(Grown);
            }
        }));
        let source = LogSource { store: Arc::downgrade(&engine.store), log, engine: Arc::downgrade(&engine) };
        let inner = Arc::new(HandleInner { core: Arc::clone(core), lifecycle, engine: Some(engine) });
        let running = Running {
            supervisor: supervisor.clone(),
            source,
            handle: Arc::downgrade(&inner),
            lifecycle: Arc::clone(&inner.lifecycle),
            prover: KeptProver::default(),
            hub,
        };
        for attached in core.followers().iter() {
            if let Some(follower) = attached.follower.upgrade() {
                core.follow_log(&follower, attached.source, &running);
                followers.push(follower);
            }
        }
        *state = State::Durable(running);
        // Under the lock still: whoever shares this run from now on finds the bus open.
        core.data.reopen();
        core.notify_supervisor(supervisor);
        drop(state);
        in_memory.into_iter().for_each(Delivered::finish);
        Ok(Self { inner })
    }

    /// Waits until the subject has ended, and says why where it gave up.
    ///
    /// # Errors
    /// [`Error::Failed`] with the reason where the subject gave up.
    pub fn wait(&self) -> Result<(), Error> {
        match self.inner.lifecycle.wait_for_end() {
            Some(reason) => Err(Error::Failed { reason }),
            None => Ok(()),
        }
    }

    /// Why the subject gave up, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.inner.lifecycle.failed().map(|reason| Error::Failed { reason })
    }

    /// Kills a child of the subject as a panic in it would, for demonstrations and tests of one's own: it is started again
    /// and nothing is lost.
    pub fn kill_child(&self, child: ChildKind) {
        if let Some(running) = self.inner.core.running() {
            running.supervisor.do_send(KillChild(child));
        }
    }

    /// Drops the handle on a thread of its own, and resolves when that is done: for asynchronous code, which a plain drop
    /// would block.
    ///
    /// # Errors
    /// [`Error::Failed`] with the reason where the subject had given up, [`Error::Threads`] where no thread can be had.
    pub async fn shutdown(self) -> Result<(), Error> {
        let lifecycle = Arc::clone(&self.inner.lifecycle);
        let done = Arc::new(Done::default());
        let tell = Arc::clone(&done);
        std::thread::Builder::new().name("xaeroflux-stop".to_owned()).spawn(move || {
            drop(self);
            tell.complete();
        })?;
        Completed(done).await;
        match lifecycle.failed() {
            Some(reason) => Err(Error::Failed { reason }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("subject", &self.inner.core.name).finish_non_exhaustive()
    }
}

impl HandleInner {
    /// Drains and stops everything of this subject, in the reverse of the order in which it was started.
    fn stop(core: &Arc<Core>, lifecycle: &Lifecycle, engine: Arc<Engine>) {
        core.data.close();
        let Some(running) = core.running() else { return };
        if lifecycle.failed().is_none() {
            let (tell, told) = mpsc::channel();
            running.supervisor.do_send(Drain(tell));
            if told.recv_timeout(DRAIN_PATIENCE).is_err() && lifecycle.failed().is_none() {
                tracing::error!(subject = core.name, "what was sent last did not become durable in time");
            }
        }
        let now = Instant::now();
        let until = now.checked_add(SUBSCRIBER_PATIENCE).unwrap_or(now);
        let followers: Vec<_> = core.followers().iter().filter_map(|attached| attached.follower.upgrade()).collect();
        for follower in &followers {
            follower.end_when_done();
        }
        for follower in followers {
            if !follower.wait_until_ended(until) {
                tracing::warn!(subject = core.name, "a subscriber was still busy when its subject stopped");
                follower.cancel();
            }
        }
        core.data.set_notify(None);
        running.supervisor.do_send(Terminate);
        drop(running);
        if !lifecycle.wait_until_gone(ACTOR_PATIENCE) {
            tracing::error!(subject = core.name, "the subject's actors did not end in time");
        }
        // Only now may it run again: until it is gone, its actor takes from the bus whatever a message tells it to.
        *core.state() = State::Stopped;
        core.bells.ring();
        drop(engine);
    }
}

impl Drop for HandleInner {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else { return };
        let (core, lifecycle) = (Arc::clone(&self.core), Arc::clone(&self.lifecycle));
        if !engine.runtime.is_own_thread() && !engine.committer.is_own_thread() {
            Self::stop(&core, &lifecycle, engine);
            return;
        }
        // Waiting here would be waiting for oneself.
        let spawned = std::thread::Builder::new()
            .name("xaeroflux-stop".to_owned())
            .spawn(move || Self::stop(&core, &lifecycle, engine));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to stop the subject in order: it stops without draining");
            self.core.data.close();
            let state = std::mem::replace(&mut *self.core.state(), State::Stopped);
            self.core.bells.ring();
            self.core.data.set_notify(None);
            if let State::Durable(running) = state {
                running.supervisor.do_send(Terminate);
            }
        }
    }
}

#[derive(Default)]
struct Done {
    state: Mutex<(bool, Option<Waker>)>,
}

impl Done {
    fn complete(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        if let Some(waker) = state.1.take() {
            drop(state);
            waker.wake();
        }
    }
}

struct Completed(Arc<Done>);

impl Future for Completed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}
