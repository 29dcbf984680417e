//! The lane of one session: what waits for the stream, one after the other.
//!
//! A peer that takes nothing holds up what would be sent next, and nothing else: looking, reading and sending are done by
//! a task of their own, so that what comes from the peer is stored meanwhile. Whatever touches the log runs on threads that
//! may block.

use std::sync::Arc;

use iroh::endpoint::SendStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::{
    interests,
    outlet::Outlet,
    replica::{Look, Source},
};
use crate::{
    actors::{
        net::{write_events, write_message},
        storage::StorageError,
        sync::session::limits::MAX_FORKS_SENT,
    },
    wire::sync::{Events, Message, Summary, Vector, VectorEntry, message::MAX_VECTOR_ENTRIES},
};

/// What the lane is to do.
pub(super) enum Job {
    Look,
    Send(Message),
    SendVector {
        push: bool,
    },
    SendForks,
    Read,
    /// The peer says what it has: from the beginning where `first`.
    PeerHas {
        entries: Vec<VectorEntry>,
        first: bool,
    },
    /// The peer has what was here then.
    PeerHasLook(Arc<Look>),
    /// What counts, or what is signed, may have changed.
    Reconsider {
        always: bool,
    },
    /// What the two sides keep has changed.
    Rescope,
}

/// What the lane has done.
pub(super) enum Done {
    Looked(Arc<Look>),
    Chunk(Events),
    End(Summary),
    /// The stream is gone.
    Closed,
    Failed(StorageError),
}

/// What ends a lane.
enum Stop {
    Closed,
    Failed(StorageError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Failed(error)
    }
}

/// Carries out the jobs of one session.
pub(super) struct Lane {
    pub(super) source: Source,
    pub(super) send: SendStream,
    pub(super) outlet: Box<Outlet>,
    pub(super) done: UnboundedSender<Done>,
}

impl Lane {
    /// Until there are no more jobs, or the stream is gone. The jobs are bounded by what the session asks for.
    pub(super) async fn run(mut self, mut jobs: UnboundedReceiver<Job>) {
        while let Some(job) = jobs.recv().await {
            let done = match self.carry_out(job).await {
                Ok(None) => continue,
                Ok(Some(done)) => done,
                Err(Stop::Closed) => Done::Closed,
                Err(Stop::Failed(error)) => Done::Failed(error),
            };
            let is_over = matches!(done, Done::Closed | Done::Failed(_));
            if self.done.send(done).is_err() || is_over {
                break;
            }
        }
        // What was sent last is to arrive; a stream that is gone cannot be finished, and need not.
        let _ = self.send.finish();
    }

    async fn carry_out(&mut self, job: Job) -> Result<Option<Done>, Stop> {
        match job {
            Job::Look => {
                self.tell_interest().await?;
                let look = self.blocking(|replica, _| replica.look()).await?;
                return Ok(Some(Done::Looked(Arc::new(look))));
            }
            Job::Send(Message::Events(events)) => {
                write_events(&mut self.send, events).await.map_err(|_| Stop::Closed)?;
            }
            Job::Send(message) => self.write(&message).await?,
            Job::SendVector { push } => {
                let entries = self.blocking(|replica, _| replica.vector()).await?;
                let mut parts = entries.chunks(MAX_VECTOR_ENTRIES).peekable();
                if parts.peek().is_none() {
                    self.write(&Message::Vector(Vector { entries: Vec::new(), more: false, push })).await?;
                }
                while let Some(part) = parts.next() {
                    let more = parts.peek().is_some();
                    self.write(&Message::Vector(Vector { entries: part.to_vec(), more, push })).await?;
                }
            }
            Job::SendForks => {
                let forks = self.blocking(|replica, _| replica.forks()).await?;
                for fork in forks.into_iter().take(MAX_FORKS_SENT) {
                    self.write(&Message::Fork(Box::new(fork))).await?;
                }
            }
            Job::Read => {
                let read = self.blocking(|replica, outlet| match outlet.read(replica)? {
                    Some(chunk) => Ok(Done::Chunk(chunk)),
                    None => Ok(Done::End(replica.look()?.summary)),
                });
                return Ok(Some(read.await?));
            }
            Job::PeerHas { entries, first } => {
                if first {
                    self.outlet.restart();
                }
                self.blocking(move |replica, outlet| outlet.has(replica, &entries)).await?;
            }
            Job::PeerHasLook(look) => self.outlet.has_look(&look),
            Job::Rescope => self.outlet.rescope(),
            Job::Reconsider { always } => {
                if always || self.outlet.is_blocked() {
                    self.outlet.reconsider();
                }
            }
        }
        Ok(None)
    }

    /// Tells the peer what is kept here, where that has changed: a local writer's first event has come.
    async fn tell_interest(&mut self) -> Result<(), Stop> {
        if self.source.interests.get().ours.is_whole() {
            return Ok(());
        }
        let fresh = self.blocking(|replica, _| interests::ours(replica)).await?;
        let known = self.source.interests.get();
        let ours = known.ours.with_own(&fresh.own);
        if ours != known.ours {
            self.source.interests.change(|interests| interests.ours = ours.clone());
            self.outlet.rescope();
            self.write(&Message::Interest(Box::new(ours))).await?;
        }
        Ok(())
    }

    /// Has this done on a thread that may wait for the disk and for signatures.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&super::replica::Replica, &mut Outlet) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let source = self.source.clone();
        let mut outlet = std::mem::take(&mut self.outlet);
        let worked = tokio::task::spawn_blocking(move || {
            let result = source.open().and_then(|replica| work(&replica, &mut outlet));
            (outlet, result)
        });
        match worked.await {
            Ok((outlet, result)) => {
                self.outlet = outlet;
                result
            }
            Err(error) => {
                let reason = format!("the work for a peer ended in a panic, or was given up: {error}");
                Err(StorageError::Engine { action: "reading the log for a peer", reason })
            }
        }
    }

    async fn write(&mut self, message: &Message) -> Result<(), Stop> {
        write_message(&mut self.send, message).await.map_err(|_| Stop::Closed)
    }
}
