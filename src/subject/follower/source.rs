//! Where a pipeline's events come from.

use std::sync::{Arc, Weak};

use hashbrown::HashSet;

use crate::{
    actors::storage::{StorageError, Store, block::Stored, cuts::Cuts, open::SubjectLog},
    subject::{engine::Engine, error::Error, prover::Prover},
    wire::{
        event::{Event, EventType, Stamp, XaeroEvent},
        id::{Dot, XaeroID},
        record::RecordView,
    },
};

/// Events that are read from the log at once, under one read transaction.
const READ_EVENTS: u64 = 512;

/// Bytes of payload that are read at once.
const READ_BYTES: usize = 1 << 20;

/// A subject's log, for as long as the subject runs.
#[derive(Clone)]
pub(crate) struct LogSource {
    pub(crate) store: Weak<Store>,
    pub(crate) log: Arc<SubjectLog>,
    pub(crate) engine: Weak<Engine>,
}

/// How a source gets its events now.
pub(super) enum Feed {
    /// From its queue in memory.
    Memory {
        /// How many events it had: their place on the bus, as this pipeline sees it.
        seen: u64,
    },
    /// From the log.
    Log {
        source: LogSource,
        /// The ordinal of the next event.
        next: u64,
        /// Up to here it is history: a fold says nothing until it has all of it, and nothing of it is dropped.
        history: u64,
        /// Up to here events only tell what their authors had seen: a snapshot has them already.
        covered: u64,
        /// Where authors' logs ended when the source was last read.
        cuts: Cuts,
        /// Makes the proofs of the events, where the pipeline asks for them.
        prover: Option<Box<Prover>>,
    },
}

impl LogSource {
    /// Whether a part of the subject is kept here only.
    pub(crate) fn is_partial(&self) -> bool {
        self.engine.upgrade().is_some_and(|engine| engine.is_partial(self.log.id))
    }

    /// The next events from ordinal `next` on: those before a damaged one, where there are any, and then the error.
    pub(crate) fn read(&self, next: u64) -> Result<Vec<XaeroEvent>, StorageError> {
        let Some(store) = self.store.upgrade() else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        let mut bytes = 0;
        // The user's closures run after the transaction: one that blocks would keep its pages from being reused.
        let read = store.read(&self.log, next, READ_EVENTS, &mut |stored: Stored<'_>| {
            bytes += stored.record.payload().len();
            events.push(event_of(&stored.record));
            Ok(bytes < READ_BYTES)
        });
        match read {
            Err(error) if events.is_empty() => Err(error),
            _ => Ok(events),
        }
    }
}

/// Fills in the proofs of events from a log. One that no signed head covers gets none.
pub(crate) fn fill_proofs(prover: &mut Prover, events: &mut [XaeroEvent]) -> Result<(), StorageError> {
    // A head covers all events before its last, so of such an author nothing that comes later is covered either.
    let mut unsigned: HashSet<XaeroID> = HashSet::new();
    for event in events {
        let Some(dot) = event.evt.dot().filter(|dot| !unsigned.contains(&dot.author)) else { continue };
        match prover.prove(dot) {
            Ok(proof) => event.merkle_proof = Some(proof.encode()),
            Err(Error::Storage(error)) => return Err(error),
            Err(error) => {
                tracing::debug!(%dot, %error, "an event without a proof");
                if matches!(error, Error::Unsigned { .. }) {
                    unsigned.insert(dot.author);
                }
            }
        }
    }
    Ok(())
}

/// The event of a record, as the user's closures see it.
pub(crate) fn event_of(record: &RecordView<'_>) -> XaeroEvent {
    let stamp = Stamp {
        subject: record.subject(),
        dot: record.dot(),
        clock: record.clock(),
        deps: record.deps().collect(),
        is_withheld: record.is_withheld(),
    };
    XaeroEvent {
        evt: Event::stamped(record.payload().to_vec(), record.event_type(), Some(Arc::new(stamp))),
        merkle_proof: None,
        author_id: Some(record.author()),
        latest_ts: Some(record.latest_ts()),
    }
}

/// Whether pipelines leave the event out: it is about the rights in the subject, and none of the application's, or its
/// payload is not here. Both tell what their authors had seen all the same.
pub(crate) fn is_passed_over(event: &Event<Vec<u8>>) -> bool {
    matches!(event.event_type, EventType::SystemEvent(_)) || event.stamp().is_some_and(|stamp| stamp.is_withheld)
}

/// The dot of an event from a log.
pub(super) fn dot_of(event: &XaeroEvent) -> Option<Dot> {
    event.evt.dot()
}
