//! How far a durable subscription has got: what its subscriber has acknowledged, on its way to the disk.
//!
//! One commit of the place is under way at a time. What is acknowledged meanwhile waits for it and goes with the next one,
//! all together: an acknowledgement covers all before it, so only the last counts, and a subscriber that acknowledges
//! every event costs no more commits than the disk has time for.
//!
//! # Invariants
//!
//! Place and state on disk are of one moment. The place never goes back. A receipt resolves well only after a commit that
//! covers it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{
    delivery::AckReceipt,
    error::{DurableError, MAX_DURABLE_STATE_BYTES},
    slot::Slot,
};
use crate::actors::{
    committer::{
        submission::{Batch, Submission},
        thread::Committer,
    },
    storage::{StorageError, cursor::Cursor, open::SubjectLog},
};

/// Shared by a subscription, its deliveries, and the commits under way.
pub(super) struct Progress {
    name: String,
    name_key: [u8; 32],
    log: Arc<SubjectLog>,
    // Not the engine: a commit that is under way must not keep the directory open.
    committer: Weak<Committer>,
    state: Mutex<State>,
}

struct State {
    /// Events that the subscriber has acknowledged.
    acknowledged: u64,
    /// What it keeps with that place.
    kept: Option<Arc<[u8]>>,
    /// The commit under way, or the last one.
    last: Arc<Slot>,
    is_under_way: bool,
    /// Whether anything was acknowledged since that commit was handed over.
    is_changed: bool,
    /// Those who wait for the commit after it.
    next: Option<Arc<Slot>>,
    /// Whether the subscription is gone.
    is_closed: bool,
}

impl Progress {
    /// As it is on disk.
    pub(super) fn new(
        name: &str,
        log: Arc<SubjectLog>,
        committer: &Arc<Committer>,
        cursor: Option<&Cursor>,
    ) -> Arc<Self> {
        let last = Arc::new(Slot::new(Arc::downgrade(committer)));
        last.settle(Ok(()));
        Arc::new(Self {
            name: name.to_owned(),
            name_key: Cursor::name_key(name),
            log,
            committer: Arc::downgrade(committer),
            state: Mutex::new(State {
                acknowledged: cursor.map_or(0, |cursor| cursor.covered),
                kept: cursor.and_then(|cursor| cursor.state.clone()),
                last,
                is_under_way: false,
                is_changed: false,
                next: None,
                is_closed: false,
            }),
        })
    }

    /// Events that the subscriber has acknowledged, on disk or on their way.
    pub(super) fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    /// Acknowledges the events before ordinal `upto`, with what is to be kept with that place from now on.
    pub(super) fn acknowledge(self: &Arc<Self>, upto: u64, kept: Option<&[u8]>) -> AckReceipt {
        let mut state = self.lock();
        match state.note(upto, kept) {
            Ok(()) => {}
            Err(error) => return AckReceipt::refused(error),
        }
        let (slot, returned) = self.covering(&mut state);
        drop(state);
        drop(returned);
        AckReceipt::waiting(slot)
    }

    /// The commit that covers all that was acknowledged: the last, or the next, which is started where nothing is under way.
    fn covering(self: &Arc<Self>, state: &mut State) -> (Arc<Slot>, Option<Submission>) {
        if let Some(next) = &state.next {
            return (Arc::clone(next), None);
        }
        if !state.is_changed && (state.is_under_way || state.last.has_succeeded()) {
            return (Arc::clone(&state.last), None);
        }
        let slot = Arc::new(Slot::new(Weak::clone(&self.committer)));
        if state.is_under_way {
            state.next = Some(Arc::clone(&slot));
            return (slot, None);
        }
        let returned = self.commit(state, Arc::clone(&slot));
        (slot, returned)
    }

    /// Hands over all that was acknowledged so far: under the lock, so that whoever closes the subscription or opens it again
    /// comes behind it. A submission that comes back is to be dropped without the lock, which answers it.
    #[must_use]
    fn commit(self: &Arc<Self>, state: &mut State, slot: Arc<Slot>) -> Option<Submission> {
        state.last = Arc::clone(&slot);
        (state.is_under_way, state.is_changed) = (true, false);
        let cursor = Cursor { name: self.name.clone(), covered: state.acknowledged, state: state.kept.clone() };
        let flight = Flight { progress: Arc::clone(self), slot: Some(slot) };
        let submission = Submission {
            log: Arc::clone(&self.log),
            token: 0,
            batch: Batch::Cursor { name: self.name_key, cursor: Some(Arc::new(cursor)) },
            reply: Box::new(move |answer| flight.land(answer.map(drop))),
        };
        match self.committer.upgrade() {
            Some(committer) => committer.try_submit(submission),
            None => Some(submission),
        }
    }

    /// The subscription is gone: what it acknowledged is handed over now, so that it lies before whatever a subscription of
    /// the same name asks next.
    pub(super) fn close(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_closed = true;
        let waiting = state.next.take();
        let returned = waiting.and_then(|slot| self.commit(&mut state, slot));
        drop(state);
        drop(returned);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes what was acknowledged.
    fn note(&mut self, upto: u64, kept: Option<&[u8]>) -> Result<(), DurableError> {
        if let Some(kept) = kept.filter(|kept| kept.len() > MAX_DURABLE_STATE_BYTES) {
            return Err(DurableError::StateTooLarge(kept.len()));
        }
        if self.is_closed {
            return Err(DurableError::Closed);
        }
        if kept.is_some() && upto < self.acknowledged {
            return Err(DurableError::StateBehind);
        }
        self.is_changed |= kept.is_some() || upto > self.acknowledged;
        self.acknowledged = self.acknowledged.max(upto);
        if let Some(kept) = kept {
            self.kept = Some(Arc::from(kept));
        }
        Ok(())
    }
}

/// A commit under way. Dropped without an answer it says that there will be none.
struct Flight {
    progress: Arc<Progress>,
    slot: Option<Arc<Slot>>,
}

impl Flight {
    fn land(mut self, result: Result<(), StorageError>) {
        self.arrive(result);
    }

    fn arrive(&mut self, result: Result<(), StorageError>) {
        let Some(slot) = self.slot.take() else { return };
        let mut state = self.progress.lock();
        // At the end of a subscription two commits may be under way: this may be the first of them.
        if Arc::ptr_eq(&state.last, &slot) {
            state.is_under_way = false;
        }
        let next = if state.is_under_way { None } else { state.next.take() };
        let returned = next.and_then(|next| self.progress.commit(&mut state, next));
        drop(state);
        drop(returned);
        // Last: it wakes code of others.
        slot.settle(result);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.arrive(Err(StorageError::Closed));
    }
}
