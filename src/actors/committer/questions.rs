//! The loop's dealings with the signing thread, and with those who wait for a signature.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    submission::{Batch, Outcome},
    thread::{Loop, SIGNED_PATIENCE, answer},
};
use crate::actors::signing::thread::Done;

/// From one job to the next, unless somebody asks. A signature takes 0.2 milliseconds of a processor: one who publishes and
/// waits for the receipt, again and again, would keep one busy with signatures that are out of date at once.
pub(crate) const SIGNING_PAUSE: Duration = Duration::from_millis(5);

impl Loop {
    /// Sends the heads that have grown to be signed, unless some are on their way.
    pub(super) fn have_signed(&mut self) {
        self.have_signed_now(!self.parked.is_empty());
    }

    /// As [`have_signed`](Self::have_signed), without a pause since the last time where that `is_urgent`.
    pub(super) fn have_signed_now(&mut self, is_urgent: bool) {
        let (Some(keyring), Some(signing)) = (&self.keyring, &self.signing) else { return };
        let now = Instant::now();
        if !is_urgent && self.sign_at.is_some_and(|due| due > now) {
            return;
        }
        let Some(job) = self.writer.signing_job(keyring, self.epoch) else { return };
        self.sign_at = now.checked_add(self.signing_pause);
        if !signing.submit(job) {
            tracing::error!("the signing thread has ended: what is published now is signed after a restart");
        }
    }

    /// When heads that have grown are to be signed, if there are any.
    pub(super) fn signing_due(&self) -> Option<Instant> {
        self.sign_at.filter(|_| self.signing.is_some() && self.writer.heads.is_signing_due())
    }

    /// Takes what the signing thread brings back.
    pub(super) fn take_signed(&mut self, done: Done) {
        if done.epoch == self.epoch {
            self.writer.heads.take(done);
            if self.writer.heads.has_ready() && self.store_at.is_none() {
                self.store_at = Instant::now().checked_add(SIGNED_PATIENCE);
            }
        }
        self.have_signed();
        self.answer_questions(false);
    }

    /// Answers the questions for heads, but for those whose signature is on its way.
    pub(super) fn answer_questions(&mut self, stopping: bool) {
        if self.parked.is_empty() {
            return;
        }
        let store = Arc::clone(&self.store);
        for question in std::mem::take(&mut self.parked) {
            if let Batch::Heads = question.batch {
                let known = self.store.poisoned().map_or_else(
                    || store.env.read().and_then(|txn| self.writer.known_heads(&txn, question.log.id)),
                    Err,
                );
                answer(question.reply, known.map(Outcome::Heads));
                continue;
            }
            if let Batch::Explain(dot) = question.batch {
                let now_ms = (self.wall)();
                let explained = self.store.poisoned().map_or_else(
                    || store.env.read().and_then(|txn| self.writer.explain(&txn, question.log.id, dot, now_ms)),
                    Err,
                );
                answer(question.reply, explained.map(|explanation| Outcome::Explanation(Box::new(explanation))));
                continue;
            }
            let Batch::Head { author, length } = question.batch else { continue };
            let known = self.store.poisoned().map_or_else(
                || store.env.read().and_then(|txn| self.writer.known_head(&txn, question.log.id, author)),
                Err,
            );
            let is_coming = !stopping
                && known.as_ref().is_ok_and(|known| known.signed_length() < length)
                && self
                    .keyring
                    .as_ref()
                    .is_some_and(|keyring| self.writer.may_be_signed(keyring, question.log.id, author, length));
            if is_coming {
                self.writer.want_signed(question.log.id, author);
                self.parked.push(question);
            } else {
                answer(question.reply, known.map(|known| Outcome::Head(Box::new(known))));
            }
        }
    }
}
