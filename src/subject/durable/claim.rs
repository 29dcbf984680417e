//! Who has a durable subscription open. A directory is one node's and one process's, so a list in memory is enough.

use std::sync::{Arc, Mutex, PoisonError};

use super::error::{DurableError, MAX_DURABLE_NAME_BYTES};
use crate::subject::core::Core;

/// The names that are taken on one subject.
#[derive(Default)]
pub(crate) struct Claims(Mutex<Vec<String>>);

/// A name that is taken, until this is dropped.
pub(super) struct Claim {
    core: Arc<Core>,
    name: String,
}

impl Claim {
    /// Takes a name.
    pub(super) fn new(core: &Arc<Core>, name: &str) -> Result<Self, DurableError> {
        if name.is_empty() || name.len() > MAX_DURABLE_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(DurableError::BadName(name.to_owned()));
        }
        let mut taken = core.durables.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().any(|taken| taken == name) {
            return Err(DurableError::Open(name.to_owned()));
        }
        taken.push(name.to_owned());
        drop(taken);
        Ok(Self { core: Arc::clone(core), name: name.to_owned() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.core.durables.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|taken| *taken != self.name);
    }
}
