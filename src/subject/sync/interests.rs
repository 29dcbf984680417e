//! What the two sides of a session keep of the subject, and so what they compare and send.
//!
//! Both compare what *both* keep: only of that can the two come to the same root. Either sends what the *other* keeps, as
//! far as it has it: a replica that lacks a payload which the other wants sends nothing of that author from there on, and
//! leaves that to who has it.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use iroh::endpoint::SendStream;
use tokio::time::timeout;

use super::{
    driver::Ending,
    replica::{Replica, Source},
};
use crate::{
    actors::{
        net::{Came, MessageReader, write_message},
        storage::{StorageError, open::SubjectLog},
        sync::EndReason,
    },
    crdt::rights::Members,
    subject::engine::Engine,
    wire::{
        id::XaeroID,
        interest::{Interest, MAX_OWN_WRITERS},
        record::RecordView,
        sync::{ByeReason, Message, hello::FILTERS},
    },
};

/// How long a peer may take to say which part of the subject it keeps: as long as any other message may come to nothing.
const INTEREST_PATIENCE: Duration = Duration::from_secs(10);

/// What is kept at both ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interests {
    pub(crate) ours: Interest,
    pub(crate) theirs: Interest,
}

/// The same, shared by what works for one session.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedInterests(Arc<RwLock<Arc<Interests>>>);

impl SharedInterests {
    pub(crate) fn get(&self) -> Arc<Interests> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Interests)) {
        let mut shared = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut interests = Interests::clone(&shared);
        change(&mut interests);
        *shared = Arc::new(interests);
    }
}

/// What of a subject is looked at, as of one moment.
pub(crate) struct Scope {
    interests: Arc<Interests>,
    members: Option<Arc<Members>>,
    /// Whether both sides keep everything: asked for each event.
    is_whole: bool,
    sends_whole: bool,
}

impl Scope {
    pub(super) fn of(interests: Arc<Interests>, log: &SubjectLog) -> Self {
        let sends_whole = interests.theirs.is_whole();
        let is_whole = sends_whole && interests.ours.is_whole();
        Self { members: if is_whole { None } else { log.members() }, interests, is_whole, sends_whole }
    }

    /// Whether both sides keep everything.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether both sides keep the author's log, so that it is compared.
    pub(super) fn compares(&self, author: XaeroID) -> bool {
        self.is_whole || {
            let is_owner = self.is_owner(author);
            self.interests.ours.keeps_author(author, is_owner) && self.interests.theirs.keeps_author(author, is_owner)
        }
    }

    /// Whether the peer keeps everything.
    pub(super) const fn sends_all(&self) -> bool {
        self.sends_whole
    }

    /// Whether the peer keeps the author's log.
    pub(super) fn sends(&self, author: XaeroID) -> bool {
        self.sends_whole || self.interests.theirs.keeps_author(author, self.is_owner(author))
    }

    /// Whether the peer keeps the event with its payload.
    pub(super) fn sends_payload(&self, record: &RecordView<'_>) -> bool {
        self.sends_whole || self.interests.theirs.keeps_payload(record)
    }

    fn is_owner(&self, author: XaeroID) -> bool {
        self.members.as_ref().is_some_and(|members| members.is_owner(author))
    }
}

/// What this node keeps of the subject, with its own writers in it.
pub(super) fn ours(replica: &Replica) -> Result<Interest, StorageError> {
    let Replica { engine, log, .. } = replica;
    let Some(filter) = engine.replica_filter(log.id)? else { return Ok(Interest::default()) };
    let is_own = |author: &XaeroID| engine.is_local(*author);
    let mut own: Vec<XaeroID> =
        engine.heads(log)?.into_iter().map(|known| known.author.author).filter(is_own).collect();
    // The one that writes unless another is named: what it wrote may be gone here, and be there.
    own.extend(engine.keyring.own().ok());
    own.sort_unstable();
    own.dedup();
    own.truncate(MAX_OWN_WRITERS);
    Ok(Interest { filter, own })
}

/// Both sides say what they keep of the subject, before they say anything of what they have.
pub(super) async fn exchange(
    source: &Source,
    reader: &mut MessageReader,
    send: &mut SendStream,
    features: u32,
) -> Result<(), Ending> {
    let own = source.clone();
    let ours = tokio::task::spawn_blocking(move || own.open().and_then(|replica| self::ours(&replica)));
    let ours = match ours.await {
        Ok(ours) => ours.map_err(|error| Ending::Failed(error.to_string()))?,
        Err(error) => return Err(Ending::Failed(error.to_string())),
    };
    if features & FILTERS == 0 {
        // It has all, and wants all.
        let why = "the peer is of a version that knows no partial replicas: upgrade xaeroflux there";
        return if ours.is_whole() { Ok(()) } else { Err(Ending::Failed(why.to_owned())) };
    }
    let message = Message::Interest(Box::new(ours.clone()));
    write_message(send, &message).await.map_err(|_| Ending::Over)?;
    let theirs = async {
        loop {
            match reader.step().await {
                Ok(Came::Message(Message::Interest(theirs))) => return Ok(*theirs),
                Ok(Came::Message(Message::Bye(bye))) => return Err(Ending::from(EndReason::Bye(bye))),
                Ok(Came::Message(other)) => {
                    return Err(Ending::Offence(format!("a session began with {} instead of interest", other.kind())));
                }
                Ok(Came::Part) => {}
                Ok(Came::End) => return Err(Ending::Over),
                Err(error) if error.is_offence() => return Err(Ending::Offence(error.to_string())),
                Err(error) if error.reason() == Some(ByeReason::Refused) => return Err(Ending::NotServed),
                Err(_) => return Err(Ending::Over),
            }
        }
    };
    let patience = "the peer does not say which part of the subject it keeps";
    let theirs = timeout(INTEREST_PATIENCE, theirs).await.map_err(|_| Ending::Failed(patience.to_owned()))??;
    source.interests.change(|interests| (interests.ours, interests.theirs) = (ours, theirs));
    Ok(())
}

impl Engine {
    /// Whether the author writes, or wrote, on this node.
    pub(crate) fn is_local(&self, author: XaeroID) -> bool {
        self.keyring.contains(author) || self.keyring.writing_for(author).is_some()
    }
}
