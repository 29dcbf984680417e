//! The ways into a supervisor: what was published, what was made elsewhere, pipelines that fold.

use std::sync::Arc;

use actix::{Handler, Message, ResponseFuture};

use super::{SubjectActor, projections::Projection as _, refuse};
use crate::{
    actors::{
        aof::Ingress,
        bus::{Mode, Outcome, Receipt},
        storage::StorageError,
        supervise::{MAX_BYTES, MAX_EVENTS},
    },
    subject::{follower::Follower, sync::actor::SyncActor},
    wire::event::XaeroEvent,
};

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

    fn handle(&mut self, _: Grown, ctx: &mut Self::Context) {
        self.announce_cuts();
        self.core.wake_followers();
        self.advance_projections(ctx);
    }
}

/// How the subject is shared has changed, or there is a network now.
pub(crate) struct ShareChanged;

impl Message for ShareChanged {
    type Result = ();
}

impl Handler<ShareChanged> for SubjectActor {
    type Result = ();

    fn handle(&mut self, _: ShareChanged, ctx: &mut Self::Context) {
        SyncActor::advance(self, ctx);
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
        if let Some(reason) = self.lifecycle.failed() {
            return refuse(&ingress, StorageError::GaveUp { reason });
        }
        if events > MAX_EVENTS || bytes > MAX_BYTES {
            return refuse(&ingress, StorageError::TooMuchAtOnce { events, bytes });
        }
        let Some(credit) = self.retained.take(events, bytes) else {
            // The sender is bounded by what it waits for, so it is asked to come again.
            return refuse(&ingress, StorageError::Busy);
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
