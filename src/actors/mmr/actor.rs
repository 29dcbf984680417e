//! The MMR actor: the child of a subject that stores the nodes of its authors' trees.
//!
//! It holds nothing that matters. A step looks for what is missing, and has the committer store it; then comes the next
//! step, until nothing is missing.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, Handler, Message, WeakRecipient};

use super::projection::{self, Step};
use crate::actors::{
    committer::{
        submission::{Batch, Submission},
        thread::Committer,
    },
    fault::fault_point,
    storage::{StorageError, Store, open::SubjectLog},
    watch::{ChildDied, ChildKind, DeathWatch, Kill},
};

/// How long after a step that could not be stored the next one comes: a full disk does not get room sooner.
const RETRY: Duration = Duration::from_secs(5);

/// The log has grown.
pub(crate) struct Advance(pub(crate) Claim);

impl Message for Advance {
    type Result = ();
}

/// Says, until it is dropped, that the actor has been told: one message is enough however often the log grows meanwhile.
pub(crate) struct Claim(Arc<AtomicBool>);

impl Claim {
    /// `None` where the actor has been told already.
    pub(crate) fn take(told: &Arc<AtomicBool>) -> Option<Self> {
        (!told.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(told)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The committer's answer to a step.
struct Stored(Claim, Result<(), StorageError>);

impl Message for Stored {
    type Result = ();
}

/// Stores the nodes of the trees over one subject's logs.
pub(crate) struct MmrActor {
    /// Only during a step it keeps the directory from being closed.
    store: Weak<Store>,
    committer: Arc<Committer>,
    log: Arc<SubjectLog>,
    _watch: DeathWatch,
}

impl MmrActor {
    pub(crate) fn new(
        store: &Arc<Store>,
        committer: Arc<Committer>,
        log: Arc<SubjectLog>,
        incarnation: u64,
        supervisor: WeakRecipient<ChildDied>,
    ) -> Self {
        let watch = DeathWatch { child: ChildKind::Mmr, incarnation, supervisor };
        Self { store: Arc::downgrade(store), committer, log, _watch: watch }
    }

    fn step(&self) -> Result<Step, StorageError> {
        fault_point!(self.log.name, "mmr.received");
        match self.store.upgrade().zip(self.log.published().number) {
            Some((store, number)) => projection::step(&store, number),
            None => Ok(Step::default()),
        }
    }

    fn put_off(&self, claim: Claim, error: &StorageError, ctx: &mut Context<Self>) {
        if self.store.upgrade().is_some_and(|store| store.poisoned().is_none()) {
            tracing::warn!(%error, "nodes could not be stored; nothing is lost, it is tried again later");
            ctx.notify_later(Advance(claim), RETRY);
        }
    }
}

impl Actor for MmrActor {
    type Context = Context<Self>;
}

impl Handler<Advance> for MmrActor {
    type Result = ();

    fn handle(&mut self, Advance(claim): Advance, ctx: &mut Self::Context) {
        let step = match self.step() {
            Ok(step) => step,
            Err(error) => return self.put_off(claim, &error, ctx),
        };
        if step.rows.is_empty() {
            return;
        }
        let address = ctx.address();
        self.committer.submit(Submission {
            log: Arc::clone(&self.log),
            token: 0,
            batch: Batch::Nodes(Arc::new(step.rows)),
            reply: Box::new(move |answer| address.do_send(Stored(claim, answer.map(drop)))),
        });
        fault_point!(self.log.name, "mmr.submitted");
    }
}

impl Handler<Stored> for MmrActor {
    type Result = ();

    fn handle(&mut self, Stored(claim, result): Stored, ctx: &mut Self::Context) {
        match result {
            Ok(()) => ctx.notify(Advance(claim)),
            Err(error) => self.put_off(claim, &error, ctx),
        }
    }
}

impl Handler<Kill> for MmrActor {
    type Result = ();

    fn handle(&mut self, _: Kill, _: &mut Self::Context) {
        Kill::strike()
    }
}
