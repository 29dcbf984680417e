//! One subject's log, as sessions with peers see it: what is here, and what shows it.

use std::sync::{Arc, Weak};

use super::interests::{Interests, Scope, SharedInterests};
use crate::{
    actors::{
        committer::{
            cuts,
            heads::KnownHead,
            submission::{Batch, Outcome},
        },
        mmr::nodes::TreeNodes,
        storage::{StorageError, lmdb::ReadTxn, open::SubjectLog, reader::LogReader},
    },
    subject::engine::Engine,
    wire::{
        fork::{ForkEvidence, ForkHalf},
        head::subject_root,
        id::{Dot, EventId, XaeroID},
        mmr::{Hash, InclusionProof, Nodes, Peaks, root_at},
        sync::{Fork, Summary, VectorEntry},
    },
};

/// Domain of the hash over what is known of forks.
const CUTS_CONTEXT: &str = "xaeroflux 2026 cuts digest v1";

/// A subject's log, and the engine that has it.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) engine: Arc<Engine>,
    pub(crate) log: Arc<SubjectLog>,
    /// What the two sides of the session keep.
    pub(crate) interests: Arc<Interests>,
}

/// As a [`Replica`], of those who must not keep the directory open while they have nothing to do.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) engine: Weak<Engine>,
    pub(crate) log: Arc<SubjectLog>,
    pub(crate) interests: SharedInterests,
}

impl Source {
    /// Of no session.
    pub(crate) fn new(engine: &Arc<Engine>, log: Arc<SubjectLog>) -> Self {
        Self { engine: Arc::downgrade(engine), log, interests: SharedInterests::default() }
    }

    /// The same log, for one session.
    pub(super) fn for_session(&self) -> Self {
        Self { interests: SharedInterests::default(), ..self.clone() }
    }

    /// The replica, for one piece of work.
    pub(crate) fn open(&self) -> Result<Replica, StorageError> {
        let engine = self.engine.upgrade().ok_or(StorageError::Closed)?;
        Ok(Replica { engine, log: Arc::clone(&self.log), interests: self.interests.get() })
    }
}

/// What was here at one moment.
#[derive(Debug)]
pub(crate) struct Look {
    /// What peers are told of it.
    pub(crate) summary: Summary,
    /// How much of each author's log counts.
    pub(crate) lengths: Vec<(XaeroID, u64)>,
    /// No event after this ordinal is part of it.
    pub(crate) next: u64,
}

impl Replica {
    /// What is here now.
    pub(crate) fn look(&self) -> Result<Look, StorageError> {
        // First: what comes meanwhile is looked at once more, and found to be known.
        let next = self.log.count();
        let Outcome::Logs(mut logs) = self.engine.ask(&self.log, Batch::Kept)? else {
            return Err(StorageError::Closed);
        };
        let scope = self.scope();
        logs.retain(|(author, _, _)| scope.compares(*author));
        let root = subject_root(self.log.id, logs.iter().copied());
        let events = match scope.is_whole() {
            true => self.log.count(),
            false => logs.iter().fold(0, |sum, (_, length, _)| length.saturating_add(sum)),
        };
        let summary = Summary { root, events, cuts: self.cuts_digest(&scope) };
        Ok(Look { summary, lengths: logs.into_iter().map(|(author, length, _)| (author, length)).collect(), next })
    }

    /// What of the subject the two sides of the session look at.
    pub(super) fn scope(&self) -> Scope {
        Scope::of(Arc::clone(&self.interests), &self.log)
    }

    /// Hash over where authors' logs end.
    fn cuts_digest(&self, scope: &Scope) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key(CUTS_CONTEXT);
        for (author, last_valid) in self.log.forks().iter().filter(|(author, _)| scope.compares(*author)) {
            hasher.update(author.as_bytes()).update(&last_valid.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// What is here of each author's log, as far as it counts and was shown to be the author's: ascending by author.
    pub(crate) fn vector(&self) -> Result<Vec<VectorEntry>, StorageError> {
        let (cuts, heads) = (self.log.forks(), self.engine.heads(&self.log)?);
        let (txn, scope) = (self.engine.store.env.read()?, self.scope());
        let mut vector = Vec::with_capacity(heads.len());
        for known in heads.iter().filter(|known| scope.compares(known.author.author)) {
            let author = known.author.author;
            let length = cuts.last_valid(author).unwrap_or(u64::MAX).min(known.verified_length());
            if length > 0 {
                vector.push(VectorEntry::new(author, length, &self.root_at(&txn, known, length)?));
            }
        }
        vector.sort_unstable_by_key(|entry| entry.author);
        Ok(vector)
    }

    /// The root of an author's log at this length, which is not above what is known.
    pub(crate) fn root_at(&self, txn: &ReadTxn<'_>, known: &KnownHead, length: u64) -> Result<Hash, StorageError> {
        if length == known.peaks.len() {
            return Ok(known.peaks.root());
        }
        root_at(&mut self.tree(txn, known), length)
    }

    /// The evidence that is here against authors of whom the key is known.
    pub(crate) fn forks(&self) -> Result<Vec<Fork>, StorageError> {
        let Some(number) = self.log.published().number else { return Ok(Vec::new()) };
        let (mut forks, scope) = (Vec::new(), self.scope());
        for evidence in cuts::evidence(&self.engine.store.env.read()?, number)? {
            if scope.compares(evidence.author())
                && let Some(key) = self.engine.writer_key(evidence.author())?
            {
                forks.push(Fork { key, evidence });
            }
        }
        Ok(forks)
    }

    /// The tree over an author's log, as of what is known of it.
    pub(crate) fn tree<'t>(&self, txn: &'t ReadTxn<'t>, known: &KnownHead) -> TreeNodes<'t, ReadTxn<'t>> {
        TreeNodes::new(txn, LogReader::new(txn), known.number, known.slot, known.author)
    }

    /// The peaks of an author's log at this length, which is not above what is known.
    pub(crate) fn peaks(&self, known: &KnownHead, length: u64) -> Result<Peaks, StorageError> {
        if length == known.peaks.len() {
            return Ok(known.peaks.clone());
        }
        let txn = self.engine.store.env.read()?;
        let mut tree = self.tree(&txn, known);
        let (mut peaks, mut start): (Vec<Hash>, u64) = (Vec::new(), 0);
        for level in (0..64_u8).rev().filter(|level| length >> level & 1 == 1) {
            peaks.push(tree.node(level, start >> level)?);
            start += 1 << level;
        }
        let lost = || StorageError::DamagedTree { author: known.author.author, subject: self.log.id };
        Peaks::from_parts(length, &peaks).ok_or_else(lost)
    }

    /// The first event after the first `from` of an author's log whose id is not the one of these, as far as the log goes:
    /// its number, its id here and its id there.
    pub(crate) fn first_difference(
        &self,
        known: &KnownHead,
        from: u64,
        leaves: &[Hash],
    ) -> Result<Option<(Dot, EventId, EventId)>, StorageError> {
        let txn = self.engine.store.env.read()?;
        let mut tree = self.tree(&txn, known);
        for (index, there) in (from..known.peaks.len()).zip(leaves) {
            let here = tree.node(0, index)?;
            if here != *there {
                let dot = Dot::new(known.author.author, index.saturating_add(1));
                return Ok(Some((dot, EventId::from(here), EventId::from(*there))));
            }
        }
        Ok(None)
    }

    /// The half of the evidence that is here, of a fork at this event: that the author has signed a log with it.
    pub(crate) fn signed_here(&self, dot: Dot, id: EventId) -> Result<Option<ForkHalf>, StorageError> {
        let known = self.engine.head(&self.log, dot.author, dot.seq)?;
        let txn = self.engine.store.env.read()?;
        let mut tree = self.tree(&txn, &known);
        let Some(head) = known.signed.filter(|head| head.head().length >= dot.seq) else { return Ok(None) };
        let inclusion = InclusionProof::make(&mut tree, dot.seq.saturating_sub(1), head.head().length)?;
        Ok(Some(ForkHalf::new(id, inclusion, head)))
    }

    /// The evidence of a fork: `theirs` is what came, and the author signed both. `None` where what is here is not signed.
    pub(crate) fn evidence(
        &self,
        dot: Dot,
        here: EventId,
        theirs: ForkHalf,
    ) -> Result<Option<ForkEvidence>, StorageError> {
        let Some(ours) = self.signed_here(dot, here)? else { return Ok(None) };
        Ok(ForkEvidence::new(ours, theirs).ok())
    }
}
