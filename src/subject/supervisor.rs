//! The supervisor: the actor that a durable subject is.
//!
//! It drains the bus in batches, keeps each batch until the AOF actor has acknowledged it, and starts its children again
//! when they die. What to do about a death is decided by the pure [policy](crate::actors::supervise).

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, ResponseFuture};

use super::{core::Core, engine::Engine, follower::Follower, notice::Notice};
use crate::{
    actors::{
        aof::{Acknowledged, Aof, AofEnv, Append, Durable, Ingress, Parent},
        batch::BatchProcessor,
        bus::{Chunk, Mode, Outcome, PublishError, Receipt},
        fault::fault_point,
        storage::StorageError,
        supervise::{Cause, Credits, Decision, Died, Retained, Supervisor, Token},
        watch::{ChildDied, ChildKind, Kill},
    },
    wire::event::XaeroEvent,
};

/// The actor behind a running subject. Those who speak actix reach it through [`Subject::addr`](crate::Subject::addr).
pub struct SubjectActor {
    core: Arc<Core>,
    env: AofEnv,
    started: Instant,
    retained: Retained<Arc<Ingress>>,
    /// A chunk that was taken from the bus and waits for credit.
    parked: Option<Chunk>,
    aof: Child<Aof>,
    batch: Child<BatchProcessor>,
    /// To be taken out of the queue once it is known what is durable.
    set_aside: Option<Token>,
    /// Told when all that was sent is dealt with.
    drained: Option<mpsc::Sender<()>>,
    lifecycle: Arc<Lifecycle>,
    engine: Arc<Engine>,
    // Last: when it is dropped, all of the above is.
    _gone: Gone,
}

/// What the supervisor knows of a child.
struct Child<A: Actor> {
    address: Option<Addr<A>>,
    incarnation: u64,
    policy: Supervisor,
    /// Whether it may get work: it has reported what is durable.
    ready: bool,
    /// Whether it achieved something since it last died.
    progress: bool,
    /// Whether a new incarnation is on its way.
    awaited: bool,
}

impl<A: Actor> Default for Child<A> {
    fn default() -> Self {
        Self { address: None, incarnation: 0, policy: Supervisor::new(), ready: false, progress: false, awaited: false }
    }
}

/// How a running subject ends: shared with those who wait for it.
#[derive(Default)]
pub(crate) struct Lifecycle {
    state: Mutex<LifecycleState>,
    changed: Condvar,
}

#[derive(Default, Clone)]
struct LifecycleState {
    /// Why it gave up, if it did.
    failed: Option<String>,
    /// Whether the actor is gone.
    gone: bool,
}

impl Lifecycle {
    fn change(&self, change: impl FnOnce(&mut LifecycleState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Why the subject gave up, if it did.
    pub(crate) fn failed(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failed.clone()
    }

    /// Waits until the subject has given up or is gone, and says why it gave up.
    pub(crate) fn wait_for_end(&self) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.gone && state.failed.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.clone()
    }

    /// Waits until the actor and all it held are gone. `false` where that takes longer.
    pub(crate) fn wait_until_gone(&self, timeout: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, timeout, |state| !state.gone);
        waited.unwrap_or_else(PoisonError::into_inner).0.gone
    }
}

/// What a subject was given up for.
enum End {
    /// The storage takes nothing any more, so that nothing which waits becomes durable.
    Storage(PublishError),
    /// Its actors cannot go on. What they handed to the committer may become durable all the same, and is answered there.
    Actors,
}

const SUPERVISOR_PANICKED: &str = "its supervisor panicked";

/// Notes the end of the actor, however it ends.
struct Gone(Arc<Lifecycle>);

impl Drop for Gone {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.0.change(|state| {
            state.gone = true;
            if panicked && state.failed.is_none() {
                state.failed = Some(SUPERVISOR_PANICKED.to_owned());
            }
        });
    }
}

impl SubjectActor {
    pub(crate) fn new(core: Arc<Core>, engine: Arc<Engine>, env: AofEnv, lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            core,
            started: Instant::now(),
            retained: Retained::new(Token::from(env.log.token()), Credits::default()),
            env,
            parked: None,
            aof: Child::default(),
            batch: Child::default(),
            set_aside: None,
            drained: None,
            _gone: Gone(Arc::clone(&lifecycle)),
            lifecycle,
            engine,
        }
    }

    /// Takes what is on the bus, as far as there is credit, and hands it to the AOF actor.
    ///
    /// While a batch of this subject is on its way to disk, only full chunks follow it: what else is sent gathers on the
    /// bus until the acknowledgement comes. So batches grow under load, and nothing waits where there is none.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while let Some(chunk) = self.parked.take().or_else(|| self.next_chunk()) {
            let Some(credit) = self.retained.take(chunk.entries.len(), chunk.bytes) else {
                self.parked = Some(chunk);
                break;
            };
            let ingress = Arc::new(Ingress::Local(Arc::new(chunk)));
            let token = self.retained.push(Arc::clone(&ingress), credit);
            self.append(token, ingress, ctx);
        }
        self.report_if_drained();
    }

    fn next_chunk(&self) -> Option<Chunk> {
        if self.retained.is_empty() { self.core.data.drain(false) } else { self.core.data.drain_full(false) }
    }

    fn append(&mut self, token: Token, ingress: Arc<Ingress>, ctx: &mut Context<Self>) {
        match &self.aof.address {
            Some(aof) if self.aof.ready => aof.do_send(Append { token, ingress }),
            // It is replayed as soon as the child is ready.
            Some(_) => {}
            None if self.aof.awaited => {}
            None => self.start_aof(ctx),
        }
    }

    fn start_aof(&mut self, ctx: &mut Context<Self>) {
        if self.lifecycle.failed().is_some() {
            // The subject was given up while its child's restart was due.
            return;
        }
        self.aof.awaited = false;
        self.aof.ready = false;
        self.aof.incarnation += 1;
        let parent = Parent {
            durable: ctx.address().downgrade().recipient(),
            acknowledged: ctx.address().downgrade().recipient(),
            died: ctx.address().downgrade().recipient(),
        };
        let child = Aof::new(self.env.clone(), parent, self.aof.incarnation);
        self.aof.address = Some(Aof::start_in_arbiter(self.engine.runtime.main(), move |_| child));
    }

    fn start_batch(&mut self, ctx: &mut Context<Self>) -> Addr<BatchProcessor> {
        self.batch.awaited = false;
        self.batch.incarnation += 1;
        let supervisor = ctx.address().downgrade().recipient();
        let child = BatchProcessor::new(self.core.name.clone(), self.batch.incarnation, supervisor);
        let address = BatchProcessor::start_in_arbiter(self.engine.runtime.batch(), move |_| child);
        self.batch.address = Some(address.clone());
        address
    }

    /// Starts the batch actor again, and each pipeline from what is durable.
    fn restart_batch(&mut self, ctx: &mut Context<Self>) {
        let address = self.start_batch(ctx);
        let followers = self.core.followers();
        for attached in followers.iter().filter(|attached| attached.source == 0) {
            if let Some(follower) = attached.follower.upgrade().filter(|follower| follower.is_batch()) {
                follower.host(address.clone(), true);
            }
        }
        self.core.notices.tell(&Notice::ChildRestarted { child: ChildKind::Batch, replayed: 0 });
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Gives the subject up: nothing more is taken, and whoever waits learns so.
    fn escalate(&mut self, reason: String, end: &End) {
        self.core.notices.tell(&Notice::Escalated { reason: reason.clone() });
        self.core.data.close();
        self.aof.address = None;
        self.aof.awaited = true;
        self.abandon(&reason, end);
        self.lifecycle.change(|state| {
            state.failed.get_or_insert(reason);
        });
        self.report_if_drained();
    }

    /// Lets go of everything that is not durable: receipts say so, and what has none is kept among the dead letters.
    fn abandon(&mut self, reason: &str, end: &End) {
        let durable = Token::from(self.env.log.token());
        for (_, ingress) in self.retained.after(durable) {
            let Ingress::Local(chunk) = &**ingress else { continue };
            if let (End::Storage(error), Some(receipts)) = (end, &chunk.receipts) {
                // Those that the committer answered keep its answer.
                receipts.fail(error.clone());
            }
            self.bury(chunk, reason);
        }
        let last = self.retained.after(Token::default()).last().map(|(token, _)| token);
        if let Some(last) = last {
            drop(self.retained.acknowledge(last));
        }
        while let Some(chunk) = self.parked.take().or_else(|| self.core.data.drain(false)) {
            if let Some(receipts) = &chunk.receipts {
                receipts.fail(match end {
                    End::Storage(error) => error.clone(),
                    End::Actors => PublishError::Stopped,
                });
            }
            self.bury(&chunk, reason);
        }
    }

    /// Keeps those events of a batch that nobody holds a receipt for, and tells that the batch is not stored.
    fn bury(&self, chunk: &Chunk, reason: &str) {
        let letters = chunk.entries.iter().filter(|entry| !entry.receipt).map(|entry| entry.event.clone());
        self.core.dead.keep(letters);
        self.core.notices.tell(&Notice::SetAside { events: chunk.entries.len(), reason: reason.to_owned() });
    }

    fn report_if_drained(&mut self) {
        if self.parked.is_none() && self.retained.is_empty() && self.core.data.is_empty() {
            if let Some(drained) = self.drained.take() {
                // Nobody waits any more: just as well.
                let _ = drained.send(());
            }
        }
    }
}

impl Actor for SubjectActor {
    type Context = Context<Self>;
}

impl Drop for SubjectActor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Nobody supervises the supervisor. What waits for it must not wait for ever.
            self.core.data.close();
            self.abandon(SUPERVISOR_PANICKED, &End::Actors);
            self.core.notices.tell(&Notice::Escalated { reason: SUPERVISOR_PANICKED.to_owned() });
        }
    }
}

/// There is something on the bus.
pub(crate) struct Wake;

impl Message for Wake {
    type Result = ();
}

impl Handler<Wake> for SubjectActor {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        self.pump(ctx);
    }
}

/// Events that waited for their time or their causes got into the log, by no batch of this actor's.
pub(crate) struct Grown;

impl Message for Grown {
    type Result = ();
}

impl Handler<Grown> for SubjectActor {
    type Result = ();

    fn handle(&mut self, _: Grown, _: &mut Self::Context) {
        self.core.wake_followers();
    }
}

/// Publishes an event, and answers when it is durable. For those who speak actix.
#[derive(Debug)]
pub struct Publish(pub XaeroEvent);

impl Message for Publish {
    type Result = Outcome;
}

impl Handler<Publish> for SubjectActor {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, Publish(event): Publish, _: &mut Self::Context) -> Self::Result {
        // Never wait for space here: this thread is the one that makes it.
        let receipt = match self.core.data.sender().send_with_receipt(event, Mode::Try) {
            Ok(receipt) => receipt,
            Err(error) => Receipt::known(Err(error.into())),
        };
        Box::pin(receipt)
    }
}

/// Frames or a snapshot for the log.
pub(crate) struct Ingest {
    pub(crate) ingress: Ingress,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

impl Message for Ingest {
    type Result = ();
}

impl Handler<Ingest> for SubjectActor {
    type Result = ();

    fn handle(&mut self, Ingest { ingress, events, bytes }: Ingest, ctx: &mut Self::Context) {
        if self.lifecycle.failed().is_some() {
            if let Ingress::Foreign { tell, .. } = &ingress {
                tell(Err(StorageError::Closed));
            }
            return;
        }
        let Some(credit) = self.retained.take(events, bytes) else {
            // The sender is bounded by what it waits for, so it is asked to come again.
            if let Ingress::Foreign { tell, .. } = &ingress {
                tell(Err(StorageError::Busy));
            }
            return;
        };
        let ingress = Arc::new(ingress);
        let token = self.retained.push(Arc::clone(&ingress), credit);
        self.append(token, ingress, ctx);
    }
}

/// A pipeline that folds needs the batch actor.
pub(crate) struct HostFollower(pub(crate) Arc<Follower>);

impl Message for HostFollower {
    type Result = ();
}

impl Handler<HostFollower> for SubjectActor {
    type Result = ();

    fn handle(&mut self, HostFollower(follower): HostFollower, ctx: &mut Self::Context) {
        if self.batch.awaited {
            // It is found when the child is started again.
            return;
        }
        let address = match &self.batch.address {
            Some(address) => address.clone(),
            None => self.start_batch(ctx),
        };
        follower.host(address, false);
    }
}

impl Handler<Acknowledged> for SubjectActor {
    type Result = ();

    fn handle(&mut self, Acknowledged { token, refused, failed }: Acknowledged, ctx: &mut Self::Context) {
        self.aof.progress = true;
        let settled: Vec<Arc<Ingress>> = self.retained.acknowledge(token).map(|(_, ingress)| ingress).collect();
        for (author, events, error) in refused {
            self.core.notices.tell(&Notice::Refused { author, events, error });
        }
        if let Some(error) = failed {
            for ingress in &settled {
                if let Ingress::Local(chunk) = &**ingress {
                    self.bury(chunk, &error.to_string());
                }
            }
            if let StorageError::Poisoned { .. } | StorageError::Closed = error {
                self.escalate(error.to_string(), &End::Storage(error.into()));
                return;
            }
        } else {
            for ingress in settled {
                if let Ok(Ingress::Local(chunk)) = Arc::try_unwrap(ingress) {
                    if let Ok(chunk) = Arc::try_unwrap(chunk) {
                        self.core.data.recycle(chunk.entries);
                    }
                }
            }
        }
        self.core.wake_followers();
        self.pump(ctx);
    }
}

impl Handler<Durable> for SubjectActor {
    type Result = ();

    fn handle(&mut self, Durable { incarnation, result }: Durable, ctx: &mut Self::Context) {
        if incarnation != self.aof.incarnation {
            return;
        }
        let durable = match result {
            Ok(durable) => durable,
            Err(error) => return self.escalate(error.to_string(), &End::Storage(error.into())),
        };
        fault_point!(self.core.name, "supervisor.before_replay");
        drop(self.retained.acknowledge(durable));
        if let Some(token) = self.set_aside.take() {
            if let Some(ingress) = self.retained.set_aside(token) {
                let reason = "storing it ended in a panic each time";
                match &*ingress {
                    Ingress::Local(chunk) => {
                        if let Some(receipts) = &chunk.receipts {
                            receipts.fail(PublishError::SetAside);
                        }
                        self.bury(chunk, reason);
                    }
                    Ingress::Foreign { tell, .. } => tell(Err(StorageError::Engine {
                        action: "storing events made elsewhere",
                        reason: "it ended in a panic each time: they were not stored".to_owned(),
                    })),
                    Ingress::Snapshot { .. } => {}
                }
            }
        }
        self.aof.ready = true;
        let mut replayed = 0;
        if let Some(aof) = &self.aof.address {
            for (token, ingress) in self.retained.after(durable) {
                aof.do_send(Append { token, ingress: Arc::clone(ingress) });
                replayed += 1;
            }
        }
        if incarnation > 1 {
            self.core.notices.tell(&Notice::ChildRestarted { child: ChildKind::Aof, replayed });
        }
        self.core.wake_followers();
        self.pump(ctx);
    }
}

impl Handler<ChildDied> for SubjectActor {
    type Result = ();

    fn handle(&mut self, ChildDied { child, incarnation, panicked }: ChildDied, ctx: &mut Self::Context) {
        let cause = if panicked { Cause::Panic } else { Cause::Stopped };
        let now = self.now();
        let random = getrandom::u64().unwrap_or(0);
        let decision = match child {
            ChildKind::Aof if incarnation == self.aof.incarnation && self.aof.address.is_some() => {
                self.aof.address = None;
                let head = if self.aof.ready { self.retained.head() } else { None };
                let progress = std::mem::take(&mut self.aof.progress);
                self.aof.ready = false;
                self.aof.policy.died(Died { cause, head, progress, now }, random)
            }
            ChildKind::Batch if incarnation == self.batch.incarnation && self.batch.address.is_some() => {
                self.batch.address = None;
                self.batch.policy.died(Died { cause, head: None, progress: true, now }, random)
            }
            _ => return,
        };
        let restart_after = match &decision {
            Decision::Restart { after } | Decision::RestartAll { after } | Decision::SetAside { after, .. } => {
                Some(*after)
            }
            Decision::Escalate { .. } => None,
        };
        self.core.notices.tell(&Notice::ChildDied { child, panicked, restart_after });
        match decision {
            Decision::Escalate { reason } => {
                return self.escalate(format!("the {child} was given up: {reason}"), &End::Actors);
            }
            Decision::SetAside { token, .. } => self.set_aside = Some(token),
            Decision::Restart { .. } | Decision::RestartAll { .. } => {}
        }
        let after = restart_after.unwrap_or_default();
        match child {
            ChildKind::Aof => {
                self.aof.awaited = true;
                ctx.run_later(after, |actor, ctx| actor.start_aof(ctx));
            }
            ChildKind::Batch => {
                self.batch.awaited = true;
                ctx.run_later(after, |actor, ctx| actor.restart_batch(ctx));
            }
        }
    }
}

/// Kills a child, as a panic in it would.
pub(crate) struct KillChild(pub(crate) ChildKind);

impl Message for KillChild {
    type Result = ();
}

impl Handler<KillChild> for SubjectActor {
    type Result = ();

    fn handle(&mut self, KillChild(child): KillChild, ctx: &mut Self::Context) {
        match child {
            ChildKind::Aof => {
                if self.aof.address.is_none() && !self.aof.awaited {
                    self.start_aof(ctx);
                }
                if let Some(aof) = &self.aof.address {
                    aof.do_send(Kill);
                }
            }
            ChildKind::Batch => {
                if let Some(batch) = &self.batch.address {
                    batch.do_send(Kill);
                }
            }
        }
    }
}

/// Tells when everything that was sent is dealt with.
pub(crate) struct Drain(pub(crate) mpsc::Sender<()>);

impl Message for Drain {
    type Result = ();
}

impl Handler<Drain> for SubjectActor {
    type Result = ();

    fn handle(&mut self, Drain(tell): Drain, ctx: &mut Self::Context) {
        self.drained = Some(tell);
        self.pump(ctx);
    }
}

/// Stops the children and the actor.
pub(crate) struct Terminate;

impl Message for Terminate {
    type Result = ();
}

impl Handler<Terminate> for SubjectActor {
    type Result = ();

    fn handle(&mut self, _: Terminate, ctx: &mut Self::Context) {
        // An actor whose last address is gone stops; what it says on the way is about an incarnation that is past.
        self.batch.address = None;
        self.aof.address = None;
        ctx.stop();
    }
}
