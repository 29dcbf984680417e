//! The batch actor: the child of a subject that folds.
//!
//! It drives those pipelines of the subject that resolve conflicts. They are read from the log, so the actor holds
//! nothing that matters: a new incarnation gets the pipelines from the supervisor, and each starts again from its
//! snapshot or from the beginning of the log, silently, and then emits the state.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, Message, WeakRecipient};

use crate::actors::{
    fault::fault_point,
    watch::{ChildDied, ChildKind, DeathWatch, Kill},
};

/// A pipeline that the batch actor drives.
pub(crate) trait Fold: Send + Sync {
    /// Works through a part of what there is to do. `true`: there is more.
    fn advance(&self) -> bool;
}

/// There is something to do for this pipeline.
pub(crate) struct Advance(pub(crate) Arc<dyn Fold>);

impl Message for Advance {
    type Result = ();
}

/// Folds the events of one subject.
pub(crate) struct BatchProcessor {
    scope: String,
    _watch: DeathWatch,
}

impl BatchProcessor {
    pub(crate) fn new(scope: String, incarnation: u64, supervisor: WeakRecipient<ChildDied>) -> Self {
        Self { scope, _watch: DeathWatch { child: ChildKind::Batch, incarnation, supervisor } }
    }
}

impl Actor for BatchProcessor {
    type Context = Context<Self>;
}

impl Handler<Advance> for BatchProcessor {
    type Result = ();

    fn handle(&mut self, Advance(pipeline): Advance, ctx: &mut Self::Context) {
        fault_point!(self.scope, "batch.received");
        if pipeline.advance() {
            // Behind what came meanwhile for other pipelines of this thread.
            ctx.notify(Advance(pipeline));
        }
    }
}

impl Handler<Kill> for BatchProcessor {
    type Result = ();

    fn handle(&mut self, _: Kill, _: &mut Self::Context) {
        Kill::strike()
    }
}
