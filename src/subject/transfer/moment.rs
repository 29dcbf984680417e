//! One moment of a subject's log, at which the signed heads of all authors fit together.
//!
//! A bundle has all events up to each author's signed head, and with each event all that it had seen. So the heads must be
//! those of one moment of the log, while events go on arriving. The committer has the heads of all authors who grew signed
//! together, so its newest ones are of one moment; whether heads that came from elsewhere fit in is found out by counting:
//! the heads are those of a moment exactly when the last of their events has as many events before it as they cover.

use std::sync::Arc;

use super::error::ExportError;
use crate::{
    actors::{
        committer::heads::KnownHead,
        storage::{StorageError, open::SubjectLog, reader::LogReader},
    },
    subject::engine::Engine,
    wire::head::SignedHead,
};

/// How often heads are collected before an export gives up. With local authors the first time is the last; it takes events
/// from elsewhere, in the middle of it, to need another.
const ATTEMPTS: usize = 32;

/// A moment of a log.
pub(super) struct Moment {
    /// The authors who had events, in ascending order.
    pub(super) authors: Vec<Author>,
    /// How many events there were.
    pub(super) events: u64,
}

/// An author at that moment.
pub(super) struct Author {
    pub(super) known: KnownHead,
    pub(super) head: SignedHead,
}

impl Author {
    /// How many events the author had.
    pub(super) const fn length(&self) -> u64 {
        self.head.head().length
    }
}

impl Moment {
    /// A moment that is not earlier than now.
    pub(super) fn of(engine: &Engine, log: &Arc<SubjectLog>) -> Result<Self, ExportError> {
        for _ in 0..ATTEMPTS {
            for known in engine.heads(log)? {
                let (author, length) = (known.author.author, known.peaks.len());
                let signed = engine.head(log, author, length)?.signed_length();
                if signed < length {
                    return Err(ExportError::Unsigned { author, signed, length });
                }
            }
            // Whoever has no head yet has written its first event since.
            let signed = |mut known: KnownHead| known.signed.take().map(|head| Author { known, head });
            let mut authors: Vec<Author> = engine.heads(log)?.into_iter().filter_map(signed).collect();
            authors.sort_unstable_by_key(|author| author.head.head().author);
            let covered = authors.iter().map(Author::length).fold(0, u64::saturating_add);
            if covered == end(engine, log, &authors)? {
                return Ok(Self { authors, events: covered });
            }
        }
        Err(ExportError::Restless)
    }
}

/// The ordinal after the last of the events that the heads cover.
fn end(engine: &Engine, log: &SubjectLog, authors: &[Author]) -> Result<u64, StorageError> {
    let txn = engine.store.env.read()?;
    let mut reader = LogReader::new(&txn);
    let mut end = 0;
    for Author { known, head } in authors {
        let subject = (known.number, log.id);
        if let Some(last) = reader.by_seq(subject, known.slot, &known.author, head.head().length)? {
            end = end.max(last.links.ordinal.saturating_add(1));
        }
    }
    Ok(end)
}
