//! The supervisor: the actor that a durable subject is.
//!
//! It drains the bus in batches, keeps each batch until the AOF actor has acknowledged it, and starts its children again
//! when they die. What to do about a death is decided by the pure [policy](crate::actors::supervise).
//!
//! Here is what it does with batches and deaths; `projections` are the children that follow the log, `doors` the ways in, `stop` the ends, `lifecycle` what others learn of
//! its end, `refusals` how often it is told that somebody may not write.

mod doors;
mod lifecycle;
mod projections;
mod refusals;
mod stop;

use std::{
    sync::{Arc, atomic::AtomicBool, mpsc},
    time::{Duration, Instant},
};

use actix::{Actor, Addr, AsyncContext, Context, Handler};

pub use doors::Publish;
pub(crate) use doors::{Grown, HostFollower, Ingest, ShareChanged, Wake};
use lifecycle::Gone;
pub(crate) use lifecycle::Lifecycle;
use projections::Projection as _;
use refusals::{Refusals, Refused};
pub(crate) use stop::{Drain, KillChild, Terminate};

use super::{
    core::Core,
    engine::Engine,
    notice::Notice,
    sync::{actor::SyncActor, hub::Hub},
};
use crate::actors::{
    aof::{Acknowledged, Aof, AofEnv, Append, Durable, Ingress, Parent},
    batch::BatchProcessor,
    bus::{Chunk, PublishError},
    fault::fault_point,
    mmr::actor::MmrActor,
    segment::actor::SegmentWriter,
    storage::{StorageError, cuts::Cuts, open::Healed},
    supervise::{Cause, Credits, Decision, Died, Retained, Supervisor, Token},
    watch::{ChildDied, ChildKind},
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
    mmr: Child<MmrActor>,
    /// Whether the MMR actor has been told that the log has grown.
    mmr_told: Arc<AtomicBool>,
    /// How many events there were when it was.
    mmr_told_at: u64,
    segment: Child<SegmentWriter>,
    batch: Child<BatchProcessor>,
    sync: Child<SyncActor>,
    /// What the sessions with peers share.
    hub: Arc<Hub>,
    /// To be taken out of the queue once it is known what is durable.
    set_aside: Option<Token>,
    /// Told when all that was sent is dealt with.
    drained: Option<mpsc::Sender<()>>,
    /// Where authors' logs end, as far as that was told.
    cuts: Cuts,
    /// What was refused for want of a right, and is not told yet.
    refusals: Refusals,
    /// Whether it was asked to stop.
    terminated: bool,
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

/// What a subject was given up for.
enum End {
    /// The storage takes nothing any more, so that nothing which waits becomes durable.
    Storage(PublishError),
    /// Its actors cannot go on. What they handed to the committer may become durable all the same, and is answered there.
    Actors,
}

impl SubjectActor {
    pub(crate) fn new(
        core: Arc<Core>,
        engine: Arc<Engine>,
        env: AofEnv,
        lifecycle: Arc<Lifecycle>,
        hub: Arc<Hub>,
    ) -> Self {
        Self {
            _gone: Gone { lifecycle: Arc::clone(&lifecycle), core: Arc::clone(&core) },
            core,
            started: Instant::now(),
            retained: Retained::new(Token::from(env.log.token()), Credits::default()),
            cuts: env.log.cuts(),
            env,
            parked: None,
            aof: Child::default(),
            mmr: Child::default(),
            mmr_told: Arc::default(),
            mmr_told_at: 0,
            segment: Child::default(),
            batch: Child::default(),
            sync: Child::default(),
            hub,
            set_aside: None,
            drained: None,
            refusals: Refusals::default(),
            terminated: false,
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
        if self.retained.is_empty() { self.core.data.drain() } else { self.core.data.drain_full() }
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
        if self.lifecycle.failed().is_some() {
            return;
        }
        let address = self.start_batch(ctx);
        let followers = self.core.followers();
        for attached in followers.iter().filter(|attached| attached.source == 0) {
            if let Some(follower) = attached.follower.upgrade().filter(|follower| follower.is_batch()) {
                follower.host(address.clone(), true);
            }
        }
        self.core.notices.tell(&Notice::ChildRestarted { child: ChildKind::Batch, replayed: 0 });
    }

    /// Tells of authors whose logs end since the last look, and of those of this node who go on under another key.
    fn announce_cuts(&mut self) {
        let cuts = self.env.log.cuts();
        for (author, last_valid) in cuts.forks() {
            if self.cuts.fork(author) != Some(last_valid) {
                tracing::warn!(subject = self.core.name, %author, last_valid, "an author has signed two histories");
                self.core.notices.tell(&Notice::Forked { author, last_valid });
            }
        }
        for (author, last_valid) in cuts.revoked() {
            if !self.cuts.revoked().any(|known| known == (author, last_valid)) {
                self.core.notices.tell(&Notice::Revoked { author, last_valid });
            }
        }
        for (author, _) in self.cuts.revoked() {
            if !cuts.revoked().any(|(known, _)| known == author) {
                self.core.notices.tell(&Notice::Restored { author });
            }
        }
        self.cuts = cuts;
        for Healed { old, new, last_valid, events } in self.env.log.take_healed() {
            self.core.notices.tell(&Notice::Healed { old, new, last_valid, events });
        }
    }

    /// Tells that events were refused. Who has no right to write is told of now and then only.
    fn tell_refused(&mut self, refused: Refused, ctx: &mut Context<Self>) {
        let told = if matches!(refused.2, PublishError::NoRight { .. }) {
            let (now, is_first) = (self.now(), self.refusals.pause(self.now()).is_none());
            if is_first {
                ctx.run_later(refusals::PAUSE, Self::tell_due_refusals);
            }
            self.refusals.note(now, refused)
        } else {
            Some(refused)
        };
        if let Some((author, events, error)) = told {
            self.core.notices.tell(&Notice::Refused { author, events, error });
        }
    }

    fn tell_due_refusals(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        for (author, events, error) in self.refusals.due(now) {
            self.core.notices.tell(&Notice::Refused { author, events, error });
        }
        if let Some(pause) = self.refusals.pause(now) {
            ctx.run_later(pause, Self::tell_due_refusals);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Gives the subject up: nothing more is taken, and whoever waits learns so.
    fn escalate(&mut self, reason: String, end: &End) {
        self.core.notices.tell(&Notice::Escalated { reason: reason.clone() });
        self.aof.address = None;
        self.aof.awaited = true;
        self.let_go(&reason, end);
        self.lifecycle.change(|state| {
            state.failed.get_or_insert(reason);
        });
        self.core.bells.ring();
        self.report_if_drained();
    }

    /// Lets go what is not known to be durable: receipts say so, and what was sent without one is buried. Takes no more.
    fn let_go(&mut self, reason: &str, end: &End) {
        self.core.data.close();
        let durable = Token::from(self.env.log.token());
        drop(self.retained.acknowledge(durable));
        let unknown: Vec<_> =
            self.retained.after(durable).map(|(token, ingress)| (token, Arc::clone(ingress))).collect();
        for (_, ingress) in &unknown {
            refuse(ingress, StorageError::GaveUp { reason: reason.to_owned() });
            if let (End::Storage(error), Ingress::Local(chunk)) = (end, &**ingress)
                && let Some(receipts) = &chunk.receipts
            {
                // Those that the committer answered keep its answer.
                receipts.fail(error.clone());
            }
            self.bury(ingress, reason);
        }
        if let Some((last, _)) = unknown.last() {
            drop(self.retained.acknowledge(*last));
        }
        while let Some(chunk) = self.parked.take().or_else(|| self.core.data.drain()) {
            if let Some(receipts) = &chunk.receipts {
                receipts.fail(match end {
                    End::Storage(error) => error.clone(),
                    End::Actors => PublishError::Stopped,
                });
            }
            self.bury(&Ingress::Local(Arc::new(chunk)), reason);
        }
    }

    /// Keeps the events of a batch that nobody holds a receipt for.
    fn bury(&self, ingress: &Ingress, reason: &str) {
        let Ingress::Local(chunk) = ingress else { return };
        let alone = chunk.entries.iter().filter(|entry| !entry.has_receipt);
        self.core.dead.keep(alone.map(|entry| entry.event.clone()));
        self.core.notices.tell(&Notice::SetAside { events: chunk.entries.len(), reason: reason.to_owned() });
    }

    fn report_if_drained(&mut self) {
        if self.parked.is_none()
            && self.retained.is_empty()
            && self.core.data.is_empty()
            && let Some(drained) = self.drained.take()
        {
            // Nobody waits any more: just as well.
            let _ = drained.send(());
        }
    }
}

impl Actor for SubjectActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A log may have been healed before the subject ran.
        self.announce_cuts();
        // What they had not come to when the log was last in use: nobody may publish, and a proof be asked for all the same.
        self.advance_projections(ctx);
        self.engine.network.runs(self.env.log.id, &ctx.address());
        SyncActor::advance(self, ctx);
    }
}

impl Drop for SubjectActor {
    fn drop(&mut self) {
        // After an orderly end the bus may be that of the next run already. Otherwise nobody takes from it any more, and a
        // publisher that waits for room would wait for ever.
        if !self.terminated {
            let reason = "its supervisor ended without having been asked to: see the log for the cause";
            self.core.notices.tell(&Notice::Escalated { reason: reason.to_owned() });
            self.let_go(reason, &End::Actors);
        }
    }
}

/// Tells whoever handed over events made elsewhere that they were not stored.
fn refuse(ingress: &Ingress, error: StorageError) {
    if let Ingress::Foreign { tell, .. } = ingress {
        tell(Err(error));
    }
}

impl Handler<Acknowledged> for SubjectActor {
    type Result = ();

    fn handle(&mut self, Acknowledged { token, refused, failed }: Acknowledged, ctx: &mut Self::Context) {
        self.aof.progress = true;
        let settled: Vec<Arc<Ingress>> = self.retained.acknowledge(token).map(|(_, ingress)| ingress).collect();
        for refused in refused {
            self.tell_refused(refused, ctx);
        }
        if let Some(error) = failed {
            for ingress in &settled {
                self.bury(ingress, &error.to_string());
            }
            if let StorageError::Poisoned { .. } | StorageError::Closed = error {
                self.escalate(error.to_string(), &End::Storage(error.into()));
                return;
            }
        } else {
            for ingress in settled {
                if let Ok(Ingress::Local(chunk)) = Arc::try_unwrap(ingress)
                    && let Ok(chunk) = Arc::try_unwrap(chunk)
                {
                    self.core.data.recycle(chunk.entries);
                }
            }
        }
        self.core.wake_followers();
        self.advance_projections(ctx);
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
        if let Some(token) = self.set_aside.take()
            && let Some(ingress) = self.retained.set_aside(token)
        {
            let reason = "storing it ended in a panic each time";
            refuse(
                &ingress,
                StorageError::Engine { action: "storing events made elsewhere", reason: reason.to_owned() },
            );
            if let Ingress::Local(chunk) = &*ingress
                && let Some(receipts) = &chunk.receipts
            {
                receipts.fail(crate::actors::bus::PublishError::SetAside);
            }
            self.bury(&ingress, reason);
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
        self.advance_projections(ctx);
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
            ChildKind::Mmr => {
                // What it had been told went with it.
                self.mmr_told_at = 0;
                match self.projection_died::<MmrActor>(incarnation, cause, random) {
                    Some(decision) => decision,
                    None => return,
                }
            }
            ChildKind::Segment => match self.projection_died::<SegmentWriter>(incarnation, cause, random) {
                Some(decision) => decision,
                None => return,
            },
            ChildKind::Sync => match self.projection_died::<SyncActor>(incarnation, cause, random) {
                Some(decision) => decision,
                None => return,
            },
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
            ChildKind::Mmr => {
                self.mmr.awaited = true;
                ctx.run_later(after, |actor, ctx| actor.restart_projection::<MmrActor>(ctx));
            }
            ChildKind::Segment => {
                self.segment.awaited = true;
                ctx.run_later(after, |actor, ctx| actor.restart_projection::<SegmentWriter>(ctx));
            }
            ChildKind::Sync => {
                self.sync.awaited = true;
                ctx.run_later(after, |actor, ctx| actor.restart_projection::<SyncActor>(ctx));
            }
            ChildKind::Batch => {
                self.batch.awaited = true;
                ctx.run_later(after, |actor, ctx| actor.restart_batch(ctx));
            }
        }
    }
}
