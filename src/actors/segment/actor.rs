//! The segment writer: the child of a subject that moves what is old out of the log table.
//!
//! The log is the node's, and so are its segments: whichever subject sees first that one is due has its child write it,
//! and the others leave it alone. The child holds nothing that matters. A new incarnation begins from what is on disk.

use std::sync::{Arc, Weak};

use actix::{Actor, AsyncContext, Context, Handler, Message, WeakRecipient};

use super::{
    pager::Progress,
    store::{Claim, LULL, Segments},
};
use crate::actors::{
    committer::thread::Committer,
    storage::Store,
    watch::{ChildDied, ChildKind, DeathWatch, Kill},
};

/// A segment is due, and it is this child's turn to write it.
pub(crate) struct Advance(pub(crate) Claim);

impl Message for Advance {
    type Result = ();
}

/// Writes segments.
pub(crate) struct SegmentWriter {
    segments: Arc<Segments>,
    /// Only while it writes it keeps the directory from being closed.
    store: Weak<Store>,
    committer: Arc<Committer>,
    _watch: DeathWatch,
}

impl SegmentWriter {
    pub(crate) fn new(
        store: &Arc<Store>,
        committer: Arc<Committer>,
        incarnation: u64,
        supervisor: WeakRecipient<ChildDied>,
    ) -> Self {
        let watch = DeathWatch { child: ChildKind::Segment, incarnation, supervisor };
        Self { segments: Arc::clone(&store.segments), store: Arc::downgrade(store), committer, _watch: watch }
    }
}

impl Actor for SegmentWriter {
    type Context = Context<Self>;
}

impl Handler<Advance> for SegmentWriter {
    type Result = ();

    fn handle(&mut self, Advance(claim): Advance, ctx: &mut Self::Context) {
        let Some(store) = self.store.upgrade() else { return };
        if self.segments.is_put_off() {
            ctx.notify_later(Advance(claim), LULL);
            return;
        }
        match self.segments.advance(&store, &self.committer) {
            // Behind what came meanwhile for other children of this thread.
            Ok(Progress::Sealed) if self.segments.is_due() => ctx.notify(Advance(claim)),
            Ok(_) => {}
            Err(error) if store.poisoned().is_some() => {
                tracing::debug!(%error, "no more segments are written");
            }
            Err(error) => {
                let after = self.segments.put_off();
                tracing::warn!(%error, ?after, "a segment could not be written; nothing is lost, it is tried again later");
                ctx.notify_later(Advance(claim), after);
            }
        }
    }
}

impl Handler<Kill> for SegmentWriter {
    type Result = ();

    fn handle(&mut self, _: Kill, _: &mut Self::Context) {
        Kill::strike()
    }
}
