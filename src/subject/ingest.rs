//! The door for events made elsewhere, from the outside.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use super::{core::Core, error::Error, handle::Subject, supervisor::Ingest};
use crate::actors::{
    aof::Ingress,
    committer::{IngestOutcome, submission::ForeignBatch},
    storage::StorageError,
};

/// What became of the frames of one [`Subject::ingest`], once it is durable.
#[must_use = "what was refused is only told here"]
#[derive(Debug)]
pub struct IngestReceipt {
    told: mpsc::Receiver<Result<Vec<IngestOutcome>, StorageError>>,
}

impl IngestReceipt {
    /// Waits for the outcomes, one for each frame, in their order.
    ///
    /// # Errors
    /// Where nothing of the call was stored: see [`StorageError`].
    pub fn wait(self) -> Result<Vec<IngestOutcome>, Error> {
        Ok(self.told.recv().unwrap_or(Err(StorageError::Closed))?)
    }

    /// As [`wait`](Self::wait), at most so long; `None` where that was too short.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<Vec<IngestOutcome>, Error>> {
        match self.told.recv_timeout(timeout) {
            Ok(outcomes) => Some(outcomes.map_err(Error::from)),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(StorageError::Closed.into())),
        }
    }
}

impl Subject {
    /// Takes events that were made elsewhere, as [frames](crate::wire::frame) with given authors and causal contexts.
    ///
    /// One call takes at most [`MAX_EVENTS`](crate::actors::supervise::MAX_EVENTS) frames and
    /// [`MAX_BYTES`](crate::actors::supervise::MAX_BYTES) bytes; and while so much is on its way to the disk already, the
    /// receipt says [`StorageError::Busy`].
    ///
    /// Those whose causes are missing wait, durably, until these have come; those that are here already are told so. The
    /// frames of one call are committed together. This is the door that peers use.
    ///
    /// ```
    /// use xaeroflux::{
    ///     Dot, EventType, IngestOutcome, Node, XaeroID,
    ///     wire::{clock::Clock, frame, record::Record},
    /// };
    /// let node = Node::ephemeral()?;
    /// let tags = node.subject("tags");
    /// let handle = tags.run()?;
    /// let mut bytes = Vec::new();
    /// frame::encode_into(&mut bytes, &Record {
    ///     subject: tags.id(),
    ///     dot: Dot::new(XaeroID::from([7; 32]), 1),
    ///     clock: Clock::from_millis(1_700_000_000_000),
    ///     latest_ts: 1_700_000_000_000,
    ///     deps: &[],
    ///     event_type: EventType::ApplicationEvent(30),
    ///     payload: b"urgent",
    /// })?;
    /// let outcomes = tags.ingest(vec![bytes.clone(), bytes])?.wait()?;
    /// assert!(matches!(outcomes[..], [IngestOutcome::Stored(_), IngestOutcome::Duplicate(_)]));
    /// # drop(handle);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotRunning`] before the subject runs.
    pub fn ingest(&self, frames: Vec<Vec<u8>>) -> Result<IngestReceipt, Error> {
        self.take_foreign(ForeignBatch { frames: frames.into(), ..ForeignBatch::default() })
    }

    /// Hands over events made elsewhere, with what shows whose they are.
    pub(crate) fn take_foreign(&self, batch: impl Into<Arc<ForeignBatch>>) -> Result<IngestReceipt, Error> {
        let (tell, told) = mpsc::channel();
        // The closure is called from another thread, once for each time the batch is dealt with.
        let tell = Mutex::new(tell);
        let core = self.core().ok_or(Error::NotRunning)?;
        core.take_foreign(batch.into(), move |outcomes| {
            // Whoever dropped the receipt does not want to know.
            let _ = tell.lock().unwrap_or_else(PoisonError::into_inner).send(outcomes);
        })?;
        Ok(IngestReceipt { told })
    }
}

impl Core {
    /// Hands over events made elsewhere; `tell` is called on another thread when they are dealt with, and must only pass
    /// the news on.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub(crate) fn take_foreign(
        &self,
        batch: Arc<ForeignBatch>,
        tell: impl Fn(Result<Vec<IngestOutcome>, StorageError>) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let running = self.running().ok_or(Error::NotRunning)?;
        let (events, bytes) = (batch.frames.len(), batch.frames.bytes());
        let ingress = Ingress::Foreign { batch, tell: Box::new(tell) };
        running.supervisor.do_send(Ingest { ingress, events, bytes });
        Ok(())
    }
}
