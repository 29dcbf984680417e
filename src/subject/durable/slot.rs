//! The outcome of one commit of a place, for all who wait for it.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
    time::Instant,
};

use crate::actors::{committer::thread::Committer, storage::StorageError};

/// Set once.
pub(super) struct Slot {
    committer: Weak<Committer>,
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<Result<(), StorageError>>,
    wakers: Vec<Waker>,
}

impl Slot {
    pub(super) fn new(committer: Weak<Committer>) -> Self {
        Self { committer, state: Mutex::default(), settled: Condvar::new() }
    }

    /// Tells all who wait.
    pub(super) fn settle(&self, result: Result<(), StorageError>) {
        let mut state = self.lock();
        state.result.get_or_insert(result);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.settled.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn get(&self) -> Option<Result<(), StorageError>> {
        self.lock().result.clone()
    }

    pub(super) fn has_succeeded(&self) -> bool {
        matches!(self.lock().result, Some(Ok(())))
    }

    /// Waits at most until then; `None` where that was too short.
    pub(super) fn wait(&self, until: Option<Instant>) -> Option<Result<(), StorageError>> {
        let mut state = self.lock();
        loop {
            if let Some(result) = &state.result {
                return Some(result.clone());
            }
            // The committer wakes those who wait for other receipts: one of them would wait for itself here.
            if self.committer.upgrade().is_some_and(|committer| committer.is_own_thread()) {
                return Some(Err(StorageError::OwnThread));
            }
            state = match until {
                None => self.settled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The result, or a promise to wake. `place` is where the waker of this receipt is, once it has one.
    pub(super) fn poll(&self, place: &mut Option<usize>, waker: &Waker) -> Option<Result<(), StorageError>> {
        let mut state = self.lock();
        if let Some(result) = &state.result {
            return Some(result.clone());
        }
        match place.and_then(|place| state.wakers.get_mut(place)) {
            Some(known) => known.clone_from(waker),
            None => {
                *place = Some(state.wakers.len());
                state.wakers.push(waker.clone());
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
