//! The children that follow the log on the storage thread.
//!
//! A projection holds nothing that matters: it reads the log, writes what can be made again, and a new incarnation goes on
//! from what is on disk. So all of them are started when they first have something to do, killed and started again alike;
//! what differs is said by their [`Projection`].

use std::sync::Arc;

use actix::{Actor, Addr, AsyncContext, Context, Handler, WeakRecipient};
use actix_rt::ArbiterHandle;

use super::{Child, SubjectActor};
use crate::{
    actors::{
        mmr::actor::{self as mmr, MmrActor},
        runtime::Runtime,
        segment::actor::{Advance, SegmentWriter},
        supervise::{Cause, Decision, Died},
        watch::{ChildDied, ChildKind, Kill},
    },
    subject::{
        notice::Notice,
        sync::{
            actor::{Offer, SyncActor},
            replica::Source,
        },
    },
};

/// A child that follows the log.
pub(super) trait Projection: Actor<Context = Context<Self>> + Handler<Kill> + Send {
    /// Which child it is.
    const KIND: ChildKind;

    /// What the supervisor knows of it.
    fn child(supervisor: &mut SubjectActor) -> &mut Child<Self>;

    /// A new incarnation; `None` where there can be none now.
    fn make(supervisor: &SubjectActor, incarnation: u64, died: WeakRecipient<ChildDied>) -> Option<Self>;

    /// Where it lives.
    fn arbiter(runtime: &Runtime) -> &ArbiterHandle {
        runtime.storage()
    }

    /// Asks it for what there is to do; it is started if there is something.
    fn advance(supervisor: &mut SubjectActor, ctx: &mut Context<SubjectActor>);
}

impl Projection for SegmentWriter {
    const KIND: ChildKind = ChildKind::Segment;

    fn child(supervisor: &mut SubjectActor) -> &mut Child<Self> {
        &mut supervisor.segment
    }

    fn make(supervisor: &SubjectActor, incarnation: u64, died: WeakRecipient<ChildDied>) -> Option<Self> {
        let engine = &supervisor.engine;
        Some(Self::new(&engine.store, engine.committer.clone(), incarnation, died))
    }

    fn advance(supervisor: &mut SubjectActor, ctx: &mut Context<SubjectActor>) {
        if supervisor.segment.awaited || !supervisor.engine.store.segments.is_due() {
            return;
        }
        if let Some(claim) = supervisor.engine.store.segments.claim()
            && let Some(child) = supervisor.projection::<Self>(ctx)
        {
            child.do_send(Advance(claim));
        }
    }
}

/// Events by which the log grows before the MMR actor is told. A node that is not stored yet is made from the log where
/// it is asked for, so there is no hurry; and a step over few events costs as much as one over many.
const MMR_EVENTS: u64 = 256;

impl Projection for MmrActor {
    const KIND: ChildKind = ChildKind::Mmr;

    fn child(supervisor: &mut SubjectActor) -> &mut Child<Self> {
        &mut supervisor.mmr
    }

    fn make(supervisor: &SubjectActor, incarnation: u64, died: WeakRecipient<ChildDied>) -> Option<Self> {
        let engine = &supervisor.engine;
        let log = supervisor.env.log.clone();
        Some(Self::new(&engine.store, engine.committer.clone(), log, incarnation, died))
    }

    fn advance(supervisor: &mut SubjectActor, ctx: &mut Context<SubjectActor>) {
        let count = supervisor.env.log.count();
        let is_due = count.saturating_sub(supervisor.mmr_told_at) >= MMR_EVENTS && supervisor.engine.keeps_trees;
        if supervisor.mmr.awaited || !is_due {
            return;
        }
        if let Some(claim) = mmr::Claim::take(&supervisor.mmr_told)
            && let Some(child) = supervisor.projection::<Self>(ctx)
        {
            supervisor.mmr_told_at = count;
            child.do_send(mmr::Advance(claim));
        }
    }
}

/// It follows the log only in that it begins anew from it: its sessions are woken by the subject's bells.
impl Projection for SyncActor {
    const KIND: ChildKind = ChildKind::Sync;

    fn child(supervisor: &mut SubjectActor) -> &mut Child<Self> {
        &mut supervisor.sync
    }

    fn make(supervisor: &SubjectActor, incarnation: u64, died: WeakRecipient<ChildDied>) -> Option<Self> {
        let (core, engine) = (&supervisor.core, &supervisor.engine);
        let source = Source::new(engine, Arc::clone(&supervisor.env.log));
        let net = engine.network.handle()?;
        Some(Self::new(core, source, net, Arc::clone(&supervisor.hub), incarnation, died))
    }

    fn arbiter(runtime: &Runtime) -> &ArbiterHandle {
        // It only passes streams on.
        runtime.main()
    }

    fn advance(supervisor: &mut SubjectActor, ctx: &mut Context<SubjectActor>) {
        let (engine, id) = (&supervisor.engine, supervisor.env.log.id);
        // A damaged share is told of by the child.
        let is_shared = engine.share(id).map_or(true, |share| share.is_some_and(|share| !share.secrets.is_empty()));
        if supervisor.sync.awaited {
            return;
        }
        match &supervisor.sync.address {
            Some(child) => child.do_send(Offer),
            // It offers the subject when it starts.
            None if is_shared && engine.network.handle().is_some() => drop(supervisor.projection::<Self>(ctx)),
            None => {}
        }
    }
}

impl SubjectActor {
    /// Has the projections follow the log, which has grown.
    pub(super) fn advance_projections(&mut self, ctx: &mut Context<Self>) {
        MmrActor::advance(self, ctx);
        SegmentWriter::advance(self, ctx);
    }

    /// The child, started if it is not there; `None` while it is not to be.
    pub(super) fn projection<A: Projection>(&mut self, ctx: &mut Context<Self>) -> Option<Addr<A>> {
        let child = A::child(self);
        if child.address.is_some() || child.awaited {
            return child.address.clone();
        }
        if self.lifecycle.failed().is_some() {
            return None;
        }
        let child = A::child(self);
        child.incarnation += 1;
        let incarnation = child.incarnation;
        let projection = A::make(self, incarnation, ctx.address().downgrade().recipient())?;
        let address = A::start_in_arbiter(A::arbiter(&self.engine.runtime), move |_| projection);
        A::child(self).address = Some(address.clone());
        Some(address)
    }

    /// Kills the child, as a panic in it would. One that had nothing to do yet is started for it.
    pub(super) fn kill_projection<A: Projection>(&mut self, ctx: &mut Context<Self>) {
        if let Some(child) = self.projection::<A>(ctx) {
            child.do_send(Kill);
        }
    }

    /// What to do about the death of this incarnation; `None` where it is past.
    pub(super) fn projection_died<A: Projection>(
        &mut self,
        incarnation: u64,
        cause: Cause,
        random: u64,
    ) -> Option<Decision> {
        let now = self.now();
        let child = A::child(self);
        if incarnation != child.incarnation || child.address.is_none() {
            return None;
        }
        child.address = None;
        Some(child.policy.died(Died { cause, head: None, progress: true, now }, random))
    }

    /// Starts the child again, and has it go on.
    pub(super) fn restart_projection<A: Projection>(&mut self, ctx: &mut Context<Self>) {
        A::child(self).awaited = false;
        if self.projection::<A>(ctx).is_some() {
            self.core.notices.tell(&Notice::ChildRestarted { child: A::KIND, replayed: 0 });
            A::advance(self, ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{Node, XaeroEvent, actors::mmr::projection, wire::event::CRDT_SET_ADD};

    #[test]
    fn nodes_that_an_earlier_run_left_out_are_stored_though_nobody_publishes() {
        let dir = tempfile::tempdir().unwrap();
        {
            // Leaves them all out.
            let node = Node::builder().data_dir(dir.path()).unsigned().build().unwrap();
            let tags = node.subject("tags");
            let _handle = tags.run().unwrap();
            for receipt in tags.publish_all((0..64 * 5).map(|n: u32| XaeroEvent::new(n.to_le_bytes(), CRDT_SET_ADD))) {
                receipt.wait().unwrap();
            }
        }
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        let tags = node.subject("tags");
        let _handle = tags.run().unwrap();
        let (engine, log) = tags.log().unwrap();
        let number = log.published().number.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !projection::step(&engine.store, number).unwrap().rows.is_empty() {
            assert!(Instant::now() < deadline, "the nodes are not stored");
            std::thread::yield_now();
        }
    }
}
