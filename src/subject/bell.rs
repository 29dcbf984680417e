//! Bells: how those who wait for a subject's log are woken.
//!
//! A bell says only that it is worth another look. Whoever waits notes how often it has rung, looks, and waits only if it
//! has not rung since: a ring between the look and the wait is not lost.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
    time::Instant,
};

/// The bells of one subject.
#[derive(Default)]
pub(crate) struct Bells(Mutex<Vec<Weak<Bell>>>);

/// The bell of one who waits.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    rings: u64,
    waker: Option<Waker>,
}

impl Bells {
    /// Makes a bell, which is rung for as long as it is held.
    pub(crate) fn add(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(&bell));
        bell
    }

    pub(crate) fn ring(&self) {
        // Wakers are code of others: they are called without the lock.
        let bells: Vec<Arc<Bell>> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        for bell in bells {
            bell.ring();
        }
    }
}

impl Bell {
    /// How often it has rung.
    pub(crate) fn rings(&self) -> u64 {
        self.lock().rings
    }

    /// Waits until it has rung more often than that, at most until then. `false` where it has not.
    pub(crate) fn wait(&self, heard: u64, until: Option<Instant>) -> bool {
        let mut state = self.lock();
        while state.rings == heard {
            state = match until {
                None => self.rung.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.rung.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }

    /// Wakes this task when it rings next.
    pub(crate) fn listen(&self, waker: &Waker) {
        self.lock().waker = Some(waker.clone());
    }

    fn ring(&self) {
        let mut state = self.lock();
        state.rings = state.rings.wrapping_add(1);
        let waker = state.waker.take();
        drop(state);
        self.rung.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
