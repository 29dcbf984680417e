//! The storing of one session: chunks and evidence that came, verified and handed to the log in their order.
//!
//! Some are committed together while the next is verified. Each is answered when it is durable, in the order in which they came. What
//! a chunk builds upon may still be underway: the committer compares each author's log with it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender},
    oneshot,
};

use super::{
    intake::{self, FIRST_PAUSE, Intake, IntakeError, LONGEST_PAUSE, TRIES, Taken, Verdict, Verified},
    replica::{Replica, Source},
    sent::PeerSent,
};
use crate::{
    actors::{
        committer::{IngestOutcome, submission::ForeignBatch},
        storage::StorageError,
    },
    subject::core::Core,
    wire::sync::{Events, Fork},
};

/// Forks that one chunk may show, each of which has it verified once more: one for each of its authors.
const MOST_FORKS: usize = crate::wire::sync::MAX_CHUNK_AUTHORS;

/// What came.
pub(super) enum Arrived {
    Events(Events),
    Fork(Box<Fork>),
    /// Not from the peer: it is sent a version vector now.
    Asked,
}

/// What became of it.
pub(super) enum Kept {
    Done(Taken),
    Failed(IntakeError),
}

/// Takes what one peer sends.
pub(super) struct Storing {
    pub(super) source: Source,
    pub(super) core: Weak<Core>,
    pub(super) intake: Box<Intake>,
    /// What the peer has, by its own word.
    pub(super) sent: PeerSent,
    pub(super) kept: UnboundedSender<Kept>,
}

/// A chunk on its way to the disk.
struct Underway {
    chunk: Events,
    verified: Verified,
    outcomes: oneshot::Receiver<Result<Vec<IngestOutcome>, StorageError>>,
}

/// What is to be done next.
enum Next {
    Arrived(Arrived),
    /// The oldest of what is underway is dealt with.
    Stored(Underway, Result<Vec<IngestOutcome>, StorageError>),
    /// The session is over, and all is dealt with.
    Nothing,
}

impl Storing {
    /// Until nothing more comes, or something was not taken. What waits is bounded by what the session lets come.
    pub(super) async fn run(mut self, mut arrived: UnboundedReceiver<Arrived>) {
        let mut underway: VecDeque<Underway> = VecDeque::new();
        loop {
            let result = match self.next(&mut arrived, &mut underway).await {
                Next::Stored(underway, outcomes) => self.settle(underway, outcomes).await,
                Next::Arrived(arrived) => self.take(arrived, &mut underway).await,
                Next::Nothing => return,
            };
            if let Err(error) = result {
                // Nobody listens where the session has ended.
                let _ = self.kept.send(Kept::Failed(error));
                return;
            }
        }
    }

    /// What has arrived is verified first, while others are committed: the more of them are, the fewer syncs they take.
    async fn next(&self, arrived: &mut UnboundedReceiver<Arrived>, underway: &mut VecDeque<Underway>) -> Next {
        let Some(first) = underway.front_mut() else {
            return arrived.recv().await.map_or(Next::Nothing, Next::Arrived);
        };
        let outcomes = tokio::select! {
            biased;
            Some(arrived) = arrived.recv() => return Next::Arrived(arrived),
            outcomes = &mut first.outcomes => outcomes.unwrap_or(Err(StorageError::Closed)),
        };
        underway.pop_front().map_or(Next::Nothing, |first| Next::Stored(first, outcomes))
    }

    async fn take(&mut self, arrived: Arrived, underway: &mut VecDeque<Underway>) -> Result<(), IntakeError> {
        match arrived {
            Arrived::Events(chunk) => {
                let (chunk, verdict) = self.receive(chunk).await?;
                if matches!(verdict, Verdict::Forked(_)) {
                    self.settle_all(underway).await?;
                }
                let next = self.go_on(chunk, verdict).await?;
                underway.push_back(next);
            }
            Arrived::Asked => self.intake.asked(),
            Arrived::Fork(fork) => {
                self.settle_all(underway).await?;
                self.take_fork(*fork).await?;
            }
        }
        Ok(())
    }

    async fn settle_all(&mut self, underway: &mut VecDeque<Underway>) -> Result<(), IntakeError> {
        while let Some(mut first) = underway.pop_front() {
            let outcomes = (&mut first.outcomes).await.unwrap_or(Err(StorageError::Closed));
            self.settle(first, outcomes).await?;
        }
        Ok(())
    }

    async fn receive(&mut self, chunk: Events) -> Result<(Events, Verdict), IntakeError> {
        self.blocking(move |replica, intake| {
            let verdict = intake.receive(replica, &chunk)?;
            Ok((chunk, verdict))
        })
        .await
    }

    async fn verify(&mut self, chunk: Events) -> Result<(Events, Verdict), IntakeError> {
        self.blocking(move |replica, intake| {
            let verdict = intake.verify(replica, &chunk)?;
            Ok((chunk, verdict))
        })
        .await
    }

    /// Hands a chunk over; where it shows that an author signed two histories, that is handed over first.
    async fn go_on(&mut self, mut chunk: Events, mut verdict: Verdict) -> Result<Underway, IntakeError> {
        for _ in 0..=MOST_FORKS {
            match verdict {
                Verdict::Take(verified) => {
                    verified.authors.iter().for_each(|author| self.sent.note(author.author, author.after.len()));
                    let outcomes = self.hand_over(&verified.batch)?;
                    return Ok(Underway { chunk, verified, outcomes });
                }
                Verdict::Forked(evidence) => {
                    self.submit(&evidence).await?;
                    (chunk, verdict) = self.verify(chunk).await?;
                }
            }
        }
        let reason = "a chunk shows more forks than it has authors".to_owned();
        Err(StorageError::Engine { action: "storing events of a peer", reason }.into())
    }

    /// Says what became of a chunk that was handed over, and waits until it is durable where there was no room for it.
    async fn settle(
        &mut self,
        Underway { chunk, verified, .. }: Underway,
        mut outcomes: Result<Vec<IngestOutcome>, StorageError>,
    ) -> Result<(), IntakeError> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..TRIES {
            if !matches!(outcomes, Err(StorageError::Busy)) {
                break;
            }
            // Publishers have filled up what a subject may have on its way; nobody tells when there is room.
            tokio::time::sleep(pause).await;
            pause = next_pause(pause);
            outcomes = self.hand_over(&verified.batch)?.await.unwrap_or(Err(StorageError::Closed));
        }
        let outcomes = outcomes.inspect_err(|_| self.intake.forget())?;
        let settle = move |replica: &Replica, intake: &mut Intake| intake.settle(replica, &chunk, &verified, &outcomes);
        let (taken, evidence) = self.blocking(settle).await?;
        if let Some(evidence) = evidence {
            self.submit(&evidence).await?;
        }
        // Nobody listens where the session has ended.
        let _ = self.kept.send(Kept::Done(taken));
        Ok(())
    }

    async fn take_fork(&mut self, fork: Fork) -> Result<(), IntakeError> {
        if let Some(batch) = self.blocking(move |replica, _| intake::take_fork(replica, fork)).await? {
            self.submit(&batch).await?;
            self.intake.forget();
        }
        let _ = self.kept.send(Kept::Done(Taken::default()));
        Ok(())
    }

    /// Hands over, and waits until it is durable.
    async fn submit(&self, batch: &Arc<ForeignBatch>) -> Result<(), IntakeError> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..TRIES {
            match self.hand_over(batch)?.await.unwrap_or(Err(StorageError::Closed)) {
                Err(StorageError::Busy) => {}
                other => return Ok(other.map(drop)?),
            }
            tokio::time::sleep(pause).await;
            pause = next_pause(pause);
        }
        Err(StorageError::Busy.into())
    }

    fn hand_over(
        &self,
        batch: &Arc<ForeignBatch>,
    ) -> Result<oneshot::Receiver<Result<Vec<IngestOutcome>, StorageError>>, StorageError> {
        let (tell, told) = oneshot::channel();
        let tell = Mutex::new(Some(tell));
        let core = self.core.upgrade().ok_or(StorageError::Closed)?;
        let handed = core.take_foreign(Arc::clone(batch), move |outcomes| {
            if let Some(tell) = tell.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // Whoever gave up waiting does not want to know.
                let _ = tell.send(outcomes);
            }
        });
        handed.map_err(|_| StorageError::Closed)?;
        Ok(told)
    }

    /// Has this done on a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Replica, &mut Intake) -> Result<T, IntakeError> + Send + 'static,
    ) -> Result<T, IntakeError> {
        let source = self.source.clone();
        let mut intake = std::mem::take(&mut self.intake);
        let worked = tokio::task::spawn_blocking(move || {
            let result = source.open().map_err(IntakeError::from).and_then(|replica| work(&replica, &mut intake));
            (intake, result)
        });
        match worked.await {
            Ok((intake, result)) => {
                self.intake = intake;
                result
            }
            Err(error) => {
                let reason = format!("the work for a peer ended in a panic, or was given up: {error}");
                Err(StorageError::Engine { action: "storing events of a peer", reason }.into())
            }
        }
    }
}

fn next_pause(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}
