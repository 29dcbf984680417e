//! How a running subject ends, and who is told.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use crate::subject::core::Core;

/// How a running subject ends: shared with those who wait for it.
#[derive(Default)]
pub(crate) struct Lifecycle {
    state: Mutex<LifecycleState>,
    changed: Condvar,
}

#[derive(Default, Clone)]
pub(super) struct LifecycleState {
    /// Why it gave up, if it did.
    pub(super) failed: Option<String>,
    /// Whether the actor is gone.
    gone: bool,
}

impl Lifecycle {
    pub(super) fn change(&self, change: impl FnOnce(&mut LifecycleState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Why the subject gave up, if it did.
    pub(crate) fn failed(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failed.clone()
    }

    /// Whether the actor is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).gone
    }

    /// Waits until the subject has given up or is gone, and says why it gave up.
    pub(crate) fn wait_for_end(&self) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.gone && state.failed.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.clone()
    }

    /// Waits until the actor and all it held are gone. `false` where that takes longer.
    pub(crate) fn wait_until_gone(&self, timeout: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, timeout, |state| !state.gone);
        waited.unwrap_or_else(PoisonError::into_inner).0.gone
    }
}

const SUPERVISOR_PANICKED: &str = "its supervisor panicked";

/// Notes the end of the actor, however it ends.
pub(super) struct Gone {
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) core: Arc<Core>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.lifecycle.change(|state| {
            state.gone = true;
            if panicked && state.failed.is_none() {
                state.failed = Some(SUPERVISOR_PANICKED.to_owned());
            }
        });
        // Those who wait for the log learn that there will be no more of it.
        self.core.bells.ring();
    }
}
