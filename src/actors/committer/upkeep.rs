//! What the loop does besides committing: held events whose time has come, the log table that segments relieve, the end.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use super::{
    thread::{HELD_POLL, Loop},
    trim,
};
use crate::actors::{signing::thread::sign, storage::StorageError};

impl Loop {
    /// Lets the held events in whose time has come, and finds out when to look again.
    pub(super) fn release_held(&mut self) {
        self.release_due();
        let again = self.store.poisoned().is_none() && self.writer.holds_any();
        self.look_at = if again { Instant::now().checked_add(HELD_POLL) } else { None };
    }

    fn release_due(&mut self) {
        if self.store.poisoned().is_some() {
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(|| {
            let now_ms = (self.wall)();
            if !self.writer.has_due(now_ms) {
                return Ok(());
            }
            let store = Arc::clone(&self.store);
            let mut txn = store.env.write()?;
            self.writer.release_all_held(&mut txn, now_ms)?;
            self.writer.finish(&mut txn)?;
            store.commit(txn)?;
            if let Err(error) = store.extend_data_file() {
                tracing::warn!(%error, "the data file could not be brought to its full length");
            }
            // No batch is acknowledged for these events, so their subjects' pipelines are woken from here.
            for log in self.writer.publish() {
                log.tell_grown();
            }
            Ok::<(), StorageError>(())
        }));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "events whose time has come could not be stored yet");
                if let StorageError::Poisoned { reason } = &error {
                    self.store.poison(reason);
                }
                self.recover();
            }
            Err(_) => self.recover(),
        }
    }

    /// Takes some of what is in segments out of the log table, and finds out when to go on.
    pub(super) fn trim(&mut self) {
        self.trim_at = None;
        if self.store.poisoned().is_some() {
            return;
        }
        let more = catch_unwind(AssertUnwindSafe(|| trim::step(&mut self.writer)));
        match more {
            Ok(Ok(true)) => self.trim_at = Some(Instant::now()),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "what is in segments could not be taken out of the log table yet");
                if let StorageError::Poisoned { reason } = &error {
                    self.store.poison(reason);
                }
                self.recover();
                self.trim_at = Instant::now().checked_add(trim::RETRY);
            }
            Err(_) => {
                tracing::error!("the committer panicked; reading back what is durable");
                self.recover();
                self.trim_at = Instant::now().checked_add(trim::RETRY);
            }
        }
    }

    pub(super) fn close(&mut self) {
        if let Some(keyring) = self.keyring.clone().filter(|_| self.store.poisoned().is_none()) {
            // A job that is on its way would come back to nobody: its heads are signed here.
            self.writer.heads.forget_job();
            if let Some(job) = self.writer.signing_job(&keyring, self.epoch) {
                self.writer.heads.take(sign(&keyring, job));
            }
        }
        self.answer_questions(true);
        if self.store.poisoned().is_some() {
            return;
        }
        self.writer.heads.hold(false);
        let result: Result<(), StorageError> = self.store.env.write().and_then(|mut txn| {
            self.writer.store_signed(&mut txn)?;
            self.writer.write_checkpoint(&mut txn)?;
            self.store.commit(txn)
        });
        if let Err(error) = self.store.extend_data_file() {
            tracing::warn!(%error, "the data file could not be brought to its full length");
        }
        // Without it the next start replays more of the log, and nothing else.
        if let Err(error) = result {
            tracing::warn!(%error, "the last checkpoint could not be written");
        }
    }
}
