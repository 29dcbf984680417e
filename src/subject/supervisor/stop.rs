//! The ends: of a child that is to be killed, of what was sent, of the actor.

use std::sync::mpsc;

use actix::{ActorContext, Handler, Message};

use super::SubjectActor;
use crate::{
    actors::{
        mmr::actor::MmrActor,
        segment::actor::SegmentWriter,
        watch::{ChildKind, Kill},
    },
    subject::sync::actor::{Quit, SyncActor},
};

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
            ChildKind::Mmr => self.kill_projection::<MmrActor>(ctx),
            ChildKind::Segment => self.kill_projection::<SegmentWriter>(ctx),
            ChildKind::Sync => self.kill_projection::<SyncActor>(ctx),
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
        if let Some(sync) = self.sync.address.take() {
            sync.do_send(Quit);
        }
        self.batch.address = None;
        self.segment.address = None;
        self.mmr.address = None;
        self.aof.address = None;
        self.terminated = true;
        ctx.stop();
    }
}
