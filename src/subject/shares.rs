//! The subjects that this node shares with others, as its engine has them in memory.
//!
//! The rows lie in the shares table (`actors/storage/shares.rs`); the committer writes them, like
//! everything else. They are read once, when the engine opens, and a change is seen here once it is on disk. So a name that
//! is an alias of an owned subject is resolved without a look at the disk.
//!
//! One change at a time: it is made from what is known, committed, and then known. Whoever wants to hear of changes (the
//! network, which has to look for the peers of a subject that was just joined) sets a listener.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use hashbrown::{HashMap, HashSet};
use thiserror::Error;

use super::{engine::Engine, error::Error};
use crate::{
    actors::{
        committer::submission::Batch,
        storage::{
            StorageError, Store,
            lmdb::{Reads, Table},
            shares::{self, MAX_PEERS, Share},
        },
    },
    wire::{
        endpoint::{PeerAddr, merged},
        id::{Dot, SubjectId, XaeroID},
        interest::{MAX_FILTER_AUTHORS, ReplicaFilter},
        name::{self, open_subject_id},
        ticket::{SubjectKind, SubjectSecret},
    },
};

/// A subject that cannot be shared or joined under its name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The name stands for another subject here.
    #[error(
        "the name {alias:?} stands for the subject {holder} here: choose another name for this one, with join_as or --as"
    )]
    AliasTaken {
        /// The name.
        alias: String,
        /// What it stands for.
        holder: SubjectId,
    },
    /// The subject has another name here.
    #[error("this subject is here under the name {alias:?}: use that name")]
    KnownAs {
        /// The name that it has.
        alias: String,
    },
    /// An open subject was to have another name than its own.
    #[error("an open subject has the name {name:?} everywhere: join it under that name")]
    OpenName {
        /// Its name.
        name: String,
    },
    /// The subject is here with another part of it.
    #[error(
        "this node keeps {filter} of the subject, and what it left out cannot be had later: join it with another data directory for another part"
    )]
    OtherFilter {
        /// What is kept here.
        filter: ReplicaFilter,
    },
    /// What part of the subject was kept is not known any more.
    #[error(
        "how this subject is shared was damaged, and its log shows that a part of it was kept only: join it again for the same part, with join_partial or --only-..."
    )]
    WasPartial,
    /// A filter that no replica can have.
    #[error("a filter names at most {MAX_FILTER_AUTHORS} authors, and a time that ends after it begins")]
    BadFilter,
    /// The system has no random numbers.
    #[error("the operating system gave no random numbers for a secret: {0}")]
    Randomness(String),
}

/// Events that are looked at under one read transaction: a long one would keep pages from being reused.
const READ_EVENTS: u64 = 4_096;

/// Told which subject's share is new or has changed. Called on the thread of whoever changed it, with no lock held: it must
/// only pass the news on.
pub(crate) type OnChange = dyn Fn(SubjectId) + Send + Sync;

/// What an engine knows of shares.
#[derive(Default)]
pub(crate) struct Shares {
    known: RwLock<Known>,
    /// Held from before a change is made up until it is known.
    changing: Mutex<()>,
    on_change: Mutex<Option<Arc<OnChange>>>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<SubjectId, Arc<Share>>,
    /// The names of owned subjects, damaged ones as far as they are known.
    aliases: HashMap<String, SubjectId>,
    /// The keys of damaged rows, and whether the subject has events, which tell its name.
    damaged: HashMap<Vec<u8>, bool>,
}

impl Shares {
    /// Reads the table. A damaged row harms its own subject only, when it is used.
    pub(crate) fn load(store: &Store) -> Result<Self, StorageError> {
        let txn = store.env.read()?;
        let mut known = Known::default();
        for share in shares::all(&txn)? {
            match share {
                Ok(share) => known.insert(Arc::new(share)),
                Err(key) => {
                    let error = shares::damaged(&key);
                    tracing::error!(%error, "how a subject is shared cannot be read");
                    let alias = name_of(&txn, &key)?;
                    if let (Some(alias), Ok(id)) = (&alias, <[u8; 32]>::try_from(key.as_slice())) {
                        let id = SubjectId::from(id);
                        if open_subject_id(alias) != id {
                            known.aliases.insert(alias.clone(), id);
                        }
                    }
                    known.damaged.insert(key, alias.is_some());
                }
            }
        }
        Ok(Self { known: RwLock::new(known), ..Self::default() })
    }

    /// How a subject is shared, if it is, or has a name here.
    ///
    /// # Errors
    /// [`StorageError::DamagedRow`].
    pub(crate) fn get(&self, id: SubjectId) -> Result<Option<Arc<Share>>, StorageError> {
        let known = self.known();
        if known.damaged.contains_key(id.as_bytes().as_slice()) {
            return Err(shares::damaged(id.as_bytes()));
        }
        Ok(known.by_id.get(&id).cloned())
    }

    /// All that are whole, in no order: those without a secret, which only have a name here, too.
    pub(crate) fn all(&self) -> Vec<Arc<Share>> {
        self.known().by_id.values().cloned().collect()
    }

    /// The name that the subject has here, also where its row is damaged and its events tell the name.
    pub(crate) fn name_of(&self, id: SubjectId) -> Option<String> {
        let known = self.known();
        let alias = || known.aliases.iter().find(|(_, holder)| **holder == id).map(|(alias, _)| alias.clone());
        known.by_id.get(&id).map(|share| share.name.clone()).or_else(alias)
    }

    /// What a name stands for, as far as the rows that are whole tell.
    fn named(&self, name: &str) -> SubjectId {
        self.known().aliases.get(name).copied().unwrap_or_else(|| open_subject_id(name))
    }

    /// The key of a row that is damaged, if one is.
    pub(crate) fn first_damaged(&self) -> Option<Vec<u8>> {
        self.known().damaged.keys().min().cloned()
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        // A panic in a change leaves what is known as it was: it is put in by one insertion, after the commit.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, share: Share) -> Arc<Share> {
        let share = Arc::new(share);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&share));
        share
    }
}

impl Known {
    fn insert(&mut self, share: Arc<Share>) {
        self.damaged.remove(share.subject.as_bytes().as_slice());
        if share.kind == SubjectKind::Owned {
            // One name for a subject: two would have two handles that know nothing of each other.
            self.aliases.retain(|_, id| *id != share.subject);
            self.aliases.insert(share.name.clone(), share.subject);
        }
        self.by_id.insert(share.subject, share);
    }
}

impl Engine {
    /// The subject that has this name here: an owned one by its alias, otherwise the open one.
    ///
    /// # Errors
    /// [`StorageError::DamagedRow`] where the name may be the alias that a damaged row held.
    pub(crate) fn subject_id(&self, name: &str) -> Result<SubjectId, StorageError> {
        let open = open_subject_id(name);
        let known = self.shares.known();
        if let Some(id) = known.aliases.get(name) {
            return Ok(*id);
        }
        let nameless = known.damaged.iter().find(|(_, has_name)| !**has_name).map(|(key, _)| key.clone());
        let Some(nameless) = nameless.filter(|_| !known.by_id.contains_key(&open)) else { return Ok(open) };
        drop(known);
        // Of an owned subject that never had an event the row was all that told its name, and this may be the name.
        if nameless == open.as_bytes() || self.has_events(open)? { Ok(open) } else { Err(shares::damaged(&nameless)) }
    }

    /// Whether the subject has an event here.
    pub(crate) fn has_events(&self, id: SubjectId) -> Result<bool, StorageError> {
        Ok(self.store.env.read()?.get(Table::SubjectNumbers, id.as_bytes())?.is_some())
    }

    /// How a subject is shared, if it is, or has a name here.
    pub(crate) fn share(&self, id: SubjectId) -> Result<Option<Arc<Share>>, StorageError> {
        self.shares.get(id)
    }

    /// What part of a subject is kept here; `None`: all.
    pub(crate) fn replica_filter(&self, id: SubjectId) -> Result<Option<ReplicaFilter>, StorageError> {
        Ok(self.share(id)?.map(|share| share.filter.clone()).filter(|filter| !filter.is_all()))
    }

    /// Whether a part of a subject is kept here only.
    pub(crate) fn is_partial(&self, id: SubjectId) -> bool {
        // Who reads a damaged row is told so elsewhere.
        self.share(id).ok().flatten().is_some_and(|share| !share.filter.is_all())
    }

    /// Whether there are events here that were made elsewhere.
    pub(crate) fn has_foreign_events(&self, id: SubjectId, name: &str) -> Result<bool, StorageError> {
        if !self.has_events(id)? {
            return Ok(false);
        }
        let heads = self.heads(&self.store.log(id, name))?;
        Ok(heads.iter().any(|known| !self.is_local(known.author.author)))
    }

    /// Whether the log shows that a part of the subject was kept only: payloads are not here, or authors on whom others depend.
    pub(crate) fn lacks_parts(&self, id: SubjectId, name: &str) -> Result<bool, StorageError> {
        if !self.has_events(id)? {
            return Ok(false);
        }
        let log = self.log(id, name)?;
        let here: HashSet<XaeroID> = self.heads(&log)?.into_iter().map(|known| known.author.author).collect();
        let (cuts, mut lacks, mut next) = (log.cuts(), false, 0);
        while !lacks && next < log.count() {
            let before = next;
            self.store.read(&log, next, READ_EVENTS, &mut |stored| {
                let is_gone = |dep: Dot| cuts.clamp(dep).is_some_and(|dep| !here.contains(&dep.author));
                lacks = stored.record.is_withheld() || stored.record.deps().any(is_gone);
                next = stored.links.ordinal.saturating_add(1);
                Ok(!lacks)
            })?;
            if next == before {
                break;
            }
        }
        Ok(lacks)
    }

    /// Makes a name for an owned subject, which is not shared before it has a secret. Where it has that name, nothing
    /// happens.
    ///
    /// Whoever calls this has made sure that no subject is in use under the name: see `Node::name_owned`.
    pub(crate) fn create_owned_share(&self, alias: &str, subject: SubjectId) -> Result<Arc<Share>, Error> {
        name::check(alias)?;
        self.change_share(subject, |known| match known {
            Some(share) if share.name == alias => Ok(share),
            Some(share) => Err(ShareError::KnownAs { alias: share.name }.into()),
            None => {
                self.must_be_free(alias, subject)?;
                let (kind, name) = (SubjectKind::Owned, alias.to_owned());
                Ok(Share { subject, kind, name, secrets: Vec::new(), peers: Vec::new(), filter: ReplicaFilter::all() })
            }
        })
    }

    /// Remembers where peers of a subject were seen, before those that were known, and before where the same were seen
    /// before. Of a subject that is not shared nothing is remembered. The network is not told: the news is its own.
    pub(crate) fn remember_peers(&self, subject: SubjectId, peers: &[PeerAddr]) -> Result<(), Error> {
        if self.share(subject)?.is_none() {
            return Ok(());
        }
        let own = self.endpoint_id()?;
        self.change_quietly(subject, |known| {
            let mut share = known?.map(|share| Share::clone(&share)).ok_or(StorageError::Closed)?;
            let before = |seen: &PeerAddr| share.peers.iter().find(|known| known.endpoint == seen.endpoint).cloned();
            let seen: Vec<PeerAddr> = peers
                .iter()
                .map(|seen| before(seen).map_or_else(|| seen.clone(), |known| known.joined(seen.clone())))
                .collect();
            let others = seen.iter().chain(&share.peers).filter(|peer| peer.endpoint != own);
            share.peers = merged(others, MAX_PEERS);
            Ok(share)
        })?;
        Ok(())
    }

    /// Whether the name stands for no other subject than this owned one.
    pub(crate) fn must_be_free(&self, alias: &str, subject: SubjectId) -> Result<(), Error> {
        let taken = |holder| Err(ShareError::AliasTaken { alias: alias.to_owned(), holder }.into());
        // That a damaged row may have held the name is no hindrance: it is mended under another one, if need be.
        let holder = self.shares.named(alias);
        if holder == subject {
            return Ok(());
        }
        let is_owned = holder != open_subject_id(alias);
        if is_owned || self.share(holder)?.is_some() || self.has_events(holder)? { taken(holder) } else { Ok(()) }
    }

    /// Changes how a subject is shared: from what is known of it, to what `change` makes of that. Returns once that is on
    /// disk. A damaged row is told to `change` as none where it may be made anew: see `change_or_mend`.
    pub(crate) fn change_share(
        &self,
        id: SubjectId,
        change: impl FnOnce(Option<Share>) -> Result<Share, Error>,
    ) -> Result<Arc<Share>, Error> {
        self.change(id, |known| change(known?.map(|share| Share::clone(&share))))
    }

    /// As [`change_share`](Self::change_share), but a damaged row counts as none, and is written anew.
    pub(crate) fn change_or_mend(
        &self,
        id: SubjectId,
        change: impl FnOnce(Option<Share>) -> Result<Share, Error>,
    ) -> Result<Arc<Share>, Error> {
        self.change(id, |known| change(known.ok().flatten().map(|share| Share::clone(&share))))
    }

    fn change(
        &self,
        id: SubjectId,
        change: impl FnOnce(Result<Option<Arc<Share>>, StorageError>) -> Result<Share, Error>,
    ) -> Result<Arc<Share>, Error> {
        let (share, has_changed) = self.change_quietly(id, change)?;
        if has_changed {
            let listener = self.shares.on_change.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(listener) = listener {
                listener(id);
            }
        }
        Ok(share)
    }

    /// Tells nobody, and whether there is something to tell.
    fn change_quietly(
        &self,
        id: SubjectId,
        change: impl FnOnce(Result<Option<Arc<Share>>, StorageError>) -> Result<Share, Error>,
    ) -> Result<(Arc<Share>, bool), Error> {
        // Before the lock, whose holder waits for the committer.
        if self.committer.is_own_thread() {
            return Err(StorageError::OwnThread.into());
        }
        let changing = self.shares.changing();
        let before = self.shares.get(id);
        let share = change(before.clone())?;
        if let Ok(Some(before)) = before
            && *before == share
        {
            return Ok((before, false));
        }
        let log = self.store.log(id, &share.name);
        self.ask(&log, Batch::Share(Some(Arc::new(share.encode()))))?;
        let share = self.shares.learn(share);
        drop(changing);
        Ok((share, true))
    }

    /// Where peers reach this node, as far as that is known: its endpoint at least.
    pub(crate) fn own_addr(&self) -> Result<PeerAddr, Error> {
        match self.network.handle().map(|net| net.addr()) {
            Some(addr) => Ok(addr),
            None => Ok(PeerAddr::new(self.endpoint_id()?)),
        }
    }

    /// From now on this is told of each share that is new or changed; in place of who was told before.
    pub(crate) fn on_share_change(&self, listener: Option<Arc<OnChange>>) {
        *self.shares.on_change.lock().unwrap_or_else(PoisonError::into_inner) = listener;
    }
}

/// A fresh secret.
pub(crate) fn fresh_secret() -> Result<SubjectSecret, ShareError> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| ShareError::Randomness(error.to_string()))?;
    Ok(SubjectSecret::from(*bytes))
}

/// The name under which a subject's events are here.
fn name_of(txn: &impl Reads, id: &[u8]) -> Result<Option<String>, StorageError> {
    let Some(number) = txn.get(Table::SubjectNumbers, id)? else { return Ok(None) };
    let Some(row) = txn.get(Table::Subjects, number)? else { return Ok(None) };
    let name = row.strip_prefix(id).and_then(|name| str::from_utf8(name).ok());
    Ok(name.map(str::to_owned))
}

#[cfg(test)]
mod tests;
