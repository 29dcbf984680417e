//! The state of a fold, saved now and then, and taken up again.

use std::{sync::Arc, time::Duration};

use super::{Failure, Inner};
use crate::{
    actors::{
        aof::Ingress,
        storage::{keys, open::snapshot_row},
    },
    subject::{
        follower::{Feed, Follower, tick},
        supervisor::Ingest,
    },
};

/// A fold's state is saved after so many events: what a start may have to fold again.
const SNAPSHOT_EVENTS: u64 = 50_000;

/// It is saved after this pause as well, if at least [`SNAPSHOT_FEW`] events came meanwhile.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(30);

/// Fewer events are folded again sooner than a snapshot of them is read.
const SNAPSHOT_FEW: u64 = 1_000;

impl Follower {
    /// A fold takes up its snapshot, and is silent until it has read the history.
    pub(super) fn begin_history(&self, inner: &mut Inner) -> Result<(), Failure> {
        if let (Some(name), Some(Feed::Log { source, covered, history, .. })) =
            (self.spec.snapshot_name(), inner.feeds.first_mut())
        {
            let stored = source.store.upgrade().and_then(|store| {
                store.snapshot(&source.log, &fold_key(&name)).unwrap_or_else(|error| {
                    tracing::warn!(%error, "a fold's snapshot could not be read; folding from the beginning");
                    None
                })
            });
            if let Some((events, state)) = stored.filter(|(events, _)| events <= history)
                && inner.pipeline.restore(&state)
            {
                *covered = events;
                inner.saved = events;
            }
        }
        let unread = |feed: &Feed| matches!(feed, Feed::Log { next, history, .. } if next < history);
        inner.catching_up = inner.feeds.iter().any(unread);
        let yes = inner.catching_up;
        self.drive(inner, |pipeline, contexts, sink, now| pipeline.set_catching_up(yes, now, contexts, sink))
    }

    /// Saves the fold's state now and then.
    pub(super) fn save(&self, inner: &mut Inner) {
        let Some(Feed::Log { source, next, cuts, .. }) = inner.feeds.first() else { return };
        let (unsaved, now) = (next.saturating_sub(inner.saved), tick());
        let is_due = unsaved >= SNAPSHOT_EVENTS
            || (unsaved >= SNAPSHOT_FEW && now.saturating_sub(inner.saved_at) >= SNAPSHOT_PAUSE);
        if !is_due {
            return;
        }
        let Some(name) = self.spec.snapshot_name() else { return };
        let Some(state) = inner.pipeline.snapshot() else { return };
        let Some(number) = source.log.published().number else { return };
        let fold = fold_key(&name);
        let row = snapshot_row(&keys::snapshot(number, &fold), *next, &state);
        (inner.saved, inner.saved_at) = (*next, now);
        if let Some(running) = self.cores.first().and_then(|core| core.running()) {
            let bytes = row.len();
            let ingress = Ingress::Snapshot { fold, row: Arc::new(row), cuts: cuts.clone() };
            running.supervisor.do_send(Ingest { ingress, events: 1, bytes });
        }
    }
}

/// The key under which a fold's snapshots are kept.
pub(crate) fn fold_key(name: &str) -> [u8; 32] {
    blake3::derive_key("xaeroflux 2026 fold snapshot v1", name.as_bytes())
}
