//! What becomes of the chunks of a bundle once they are proven.
//!
//! What the log has already is compared id by id. The rest is handed over to the subject in parts of a few chunks, one part
//! at a time: the next is verified while the last is being synced.

use std::{ops::Range, sync::Arc, time::Duration};

use hashbrown::HashSet;

use super::{
    Progress,
    error::{ImportFailure, ImportFork},
    import::ImportSummary,
};
use crate::{
    actors::{
        committer::{IngestOutcome, IngestRefusal, heads::KnownHead, submission::ForeignBatch},
        mmr::nodes::TreeNodes,
        storage::{StorageError, lmdb::ReadTxn, open::SubjectLog, reader::LogReader},
        supervise::{MAX_BYTES, MAX_EVENTS},
    },
    subject::{
        engine::Engine, error::Error, handle::Subject, ingest::IngestReceipt, node::Node, run::Handle,
        shares::ShareError,
    },
    wire::{
        bundle::{
            BundleCheck, BundleLog, CheckedChunk, CheckedRange, MAX_CHUNK_EVENTS, MAX_CHUNK_FRAME_BYTES, Opening,
        },
        fork::{Cut, ForkEvidence, ForkHalf},
        head::SignedHead,
        id::{Dot, EventId},
        key::PublicKey,
        mmr::{Hash, InclusionProof, Nodes, Peaks},
    },
};

/// Chunks that are handed over together, so that they share a sync of the disk. One part has 8,192 events and 8 MiB at most,
/// half of what a subject may have on its way: the rest is for publishers.
const CHUNKS_OF_PART: usize = 2;

const _: () = assert!(CHUNKS_OF_PART * MAX_CHUNK_EVENTS <= MAX_EVENTS / 2);
const _: () = assert!(CHUNKS_OF_PART * MAX_CHUNK_FRAME_BYTES <= MAX_BYTES / 2);

/// First pause where publishers have filled up what a subject may have on its way: a commit takes about as long.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How often it is tried again: with these pauses about a minute, in which a disk that works makes room.
const TRIES: u32 = 240;

/// Authors whose heads are handed over at once where the bundle has no events of them.
const HEADS_AT_ONCE: usize = 1_024;

/// Takes the chunks of one bundle into a log.
pub(super) struct Arrival {
    subject: Subject,
    engine: Arc<Engine>,
    log: Arc<SubjectLog>,
    /// What was here of each author of the bundle when the import began.
    known: Vec<KnownHead>,
    /// What is handed over next.
    part: Part,
    /// What is on its way to the disk.
    sent: Option<Sent>,
    counts: Counts,
    /// Authors whose logs were cut by this import.
    forks: Vec<Cut>,
    /// Places of authors whose history in the bundle is not the one that is here: what is past the cut stays there.
    parted: HashSet<usize>,
    // The subject runs as long.
    _handle: Handle,
}

/// The subject of a bundle. An owned one that is not known here gets the name that it had where it was exported.
fn subject_of(node: &Node, opening: &Opening) -> Result<Subject, ImportFailure> {
    if !opening.is_owned {
        let subject = node.subject(opening.name.as_str());
        let found = subject.id();
        return if found == opening.subject {
            Ok(subject)
        } else {
            Err(Error::from(ShareError::AliasTaken { alias: opening.name.clone(), holder: found }).into())
        };
    }
    match node.engine().share(opening.subject)? {
        Some(share) => Ok(node.subject(share.name.as_str())),
        None => Ok(node.name_owned(&opening.name, opening.subject)?),
    }
}

/// How many events were dealt with.
#[derive(Default)]
struct Counts {
    total: u64,
    new: u64,
    duplicates: u64,
    retracted: u64,
    left_out: u64,
}

impl Counts {
    const fn progress(&self) -> Progress {
        Progress { done: self.new + self.duplicates + self.retracted + self.left_out, total: self.total }
    }
}

/// What was verified of a few chunks.
#[derive(Default)]
struct Part {
    batch: ForeignBatch,
    chunks: usize,
    /// What they add to each author's log, and the author's head: for the evidence, should one turn out to have forked.
    ranges: Vec<(CheckedRange, SignedHead)>,
}

/// A part that was handed over.
struct Sent {
    batch: Arc<ForeignBatch>,
    ranges: Vec<(CheckedRange, SignedHead)>,
    receipt: IngestReceipt,
}

impl Arrival {
    /// Runs the subject, and gives the check what is here of the logs that the bundle continues.
    pub(super) fn new(node: &Node, check: &mut BundleCheck) -> Result<Self, ImportFailure> {
        let subject = subject_of(node, check.opening())?;
        let handle = subject.run()?;
        let (engine, log) = subject.log()?;
        let authors: Vec<_> = check.logs().iter().map(|log| (log.author(), log.base())).collect();
        let mut known = Vec::with_capacity(authors.len());
        for (author, _) in &authors {
            known.push(engine.head(&log, *author, 0)?);
        }
        let counts = Counts { total: check.opening().events, ..Counts::default() };
        let mut arrival = Self {
            subject,
            engine,
            log,
            known,
            part: Part::default(),
            sent: None,
            counts,
            forks: Vec::new(),
            parted: HashSet::new(),
            _handle: handle,
        };
        let mut continued = Vec::new();
        for (place, (author, base)) in authors.into_iter().enumerate().filter(|(_, (_, base))| *base > 0) {
            let have = arrival.length(place);
            if have < base {
                let first = check.opening().first;
                return Err(ImportFailure::PrefixMissing { first, author, have, base });
            }
            check.continue_from(place, arrival.peaks(place, base)?)?;
            continued.push(place);
        }
        // Of these there may be no event to come with which the heads are handed over.
        let complete = continued.into_iter().filter_map(|place| check.logs().get(place));
        let complete: Vec<BundleLog> = complete.filter(|log| log.is_complete()).cloned().collect();
        for logs in complete.chunks(HEADS_AT_ONCE) {
            let heads = logs.iter().map(|log| log.head().clone()).collect();
            let keys = logs.iter().map(|log| log.key().clone()).collect();
            arrival.part.batch = ForeignBatch { heads, keys, ..ForeignBatch::default() };
            arrival.hand_over()?;
        }
        Ok(arrival)
    }

    /// Takes a chunk.
    pub(super) fn take(
        &mut self,
        check: &BundleCheck,
        chunk: CheckedChunk<'_>,
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), ImportFailure> {
        for range in &chunk.ranges {
            self.compare(check, range)?;
        }
        // Past the cut, only the history that is here is kept whole: with the head that covers it it can be shown to others.
        let cuts = self.log.cuts();
        for event in &chunk.events {
            if cuts.parts(event.dot) && self.parted.contains(&event.log) {
                self.counts.retracted += 1;
            } else if event.dot.seq <= self.length(event.log) {
                self.counts.duplicates += 1;
            } else {
                self.part.batch.frames.push(event.frame);
                self.part.batch.ids.push(event.id);
            }
        }
        for range in chunk.ranges {
            let Some(log) = check.logs().get(range.log) else { continue };
            if range.before.len() == log.base() && !self.engine.keyring.contains(log.author()) {
                self.part.batch.keys.push(log.key().clone());
            }
            if log.is_complete() {
                self.part.batch.heads.push(log.head().clone());
            }
            self.part.ranges.push((range, log.head().clone()));
        }
        self.part.chunks += 1;
        if self.part.chunks == CHUNKS_OF_PART {
            self.hand_over()?;
        }
        progress(self.counts.progress());
        Ok(())
    }

    /// Waits until all is durable, and says what has become of it.
    pub(super) fn finish(
        &mut self,
        check: &BundleCheck,
        progress: &mut impl FnMut(Progress),
    ) -> Result<ImportSummary, ImportFailure> {
        self.hand_over()?;
        self.settle()?;
        progress(self.counts.progress());
        let mut waiting = 0;
        let filter = self.engine.replica_filter(self.log.id)?.unwrap_or_default();
        for log in check.logs() {
            let here = self.engine.head(&self.log, log.author(), 0)?.author.seq;
            if here == 0 && !filter.takes_author(log.author()) {
                continue;
            }
            let counts = self.log.cuts().fork(log.author()).unwrap_or(u64::MAX);
            waiting += log.head().head().length.min(counts).saturating_sub(here);
        }
        Ok(ImportSummary {
            subject: check.opening().subject,
            name: self.subject.name().to_owned(),
            new: self.counts.new,
            duplicates: self.counts.duplicates,
            retracted: self.counts.retracted,
            left_out: self.counts.left_out,
            forks: self.forks.clone(),
            waiting,
            authors: check.logs().len(),
            bundle_root: check.root(),
            root: self.subject.root()?,
        })
    }

    /// Waits for what is on its way, after an error, and returns how many events were new and how many were not.
    pub(super) fn abandon(mut self) -> (u64, u64) {
        // The first error is the one that is told.
        let _ = self.hand_over().and_then(|()| self.settle());
        (self.counts.new, self.counts.duplicates)
    }

    /// Ends an author's log, by evidence that was verified.
    pub(super) fn cut(&mut self, evidence: ForkEvidence, cut: Cut, key: &PublicKey) -> Result<(), ImportFailure> {
        if self.log.cuts().fork(cut.author).is_some_and(|last| last <= cut.last_valid) {
            return Ok(());
        }
        self.hand_over()?;
        self.settle()?;
        let forks = vec![(evidence, cut)];
        let batch = ForeignBatch { forks, keys: vec![key.clone()], ..ForeignBatch::default() };
        self.subject.take_foreign(batch)?.wait()?;
        self.forks.retain(|known| known.author != cut.author);
        self.forks.push(cut);
        Ok(())
    }

    /// Checks that what is here of an author's log agrees with what the chunk adds to it. What is past the point where a
    /// known fork begins counts nowhere, and may differ.
    ///
    /// Where it does not, the author has signed two histories, or what is here is not signed. The first ends the author's
    /// log, and the import goes on around it.
    fn compare(&mut self, check: &BundleCheck, range: &CheckedRange) -> Result<(), ImportFailure> {
        let (before, after) = (range.before.len(), range.proof.old);
        let shared = after.min(self.length(range.log));
        let Some(log) = check.logs().get(range.log).filter(|_| before < shared) else { return Ok(()) };
        if self.parted.contains(&range.log) {
            return Ok(());
        }
        let Some((dot, here, there)) = self.first_difference(log, range, before..shared)? else { return Ok(()) };
        if !self.log.cuts().parts(dot) {
            let fork = self.fork(dot, here, there, range, log.head());
            let Ok(Some(evidence)) = fork.evidence() else { return Err(ImportFailure::Fork(Box::new(fork))) };
            let cut = evidence.verify(log.key()).map_err(Error::from)?;
            self.cut(evidence, cut, log.key())?;
        }
        self.parted.insert(range.log);
        Ok(())
    }

    /// The first place at which what is here is not what the chunk has.
    fn first_difference(
        &self,
        log: &BundleLog,
        range: &CheckedRange,
        shared: Range<u64>,
    ) -> Result<Option<(Dot, EventId, EventId)>, StorageError> {
        let txn = self.engine.store.env.read()?;
        let Some(mut tree) = self.tree(&txn, range.log) else { return Ok(None) };
        for (index, there) in shared.zip(&range.leaves) {
            let here = tree.node(0, index)?;
            if here != *there {
                let dot = Dot::new(log.author(), index.saturating_add(1));
                return Ok(Some((dot, EventId::from(here), EventId::from(*there))));
            }
        }
        Ok(None)
    }

    /// What is to be told of a fork.
    fn fork(&self, dot: Dot, here: EventId, there: EventId, range: &CheckedRange, head: &SignedHead) -> ImportFork {
        let index = dot.seq.saturating_sub(1);
        let inclusion = InclusionProof::prolonged(&range.before, &range.leaves, &range.proof, index);
        let theirs = inclusion.map(|inclusion| ForkHalf::new(there, inclusion, head.clone()));
        let ours = self.signed_here(dot, here).unwrap_or_else(|error| {
            tracing::warn!(%error, "what is here of a fork cannot be proven");
            None
        });
        ImportFork { dot, here, there, ours, theirs }
    }

    /// That the author has signed the event that is here.
    fn signed_here(&self, dot: Dot, here: EventId) -> Result<Option<ForkHalf>, StorageError> {
        let known = self.engine.head(&self.log, dot.author, dot.seq)?;
        let Some(head) = known.signed.filter(|head| head.head().length >= dot.seq) else { return Ok(None) };
        let txn = self.engine.store.env.read()?;
        let mut tree = TreeNodes::new(&txn, LogReader::new(&txn), known.number, known.slot, known.author);
        let inclusion = InclusionProof::make(&mut tree, dot.seq.saturating_sub(1), head.head().length)?;
        Ok(Some(ForkHalf::new(here, inclusion, head)))
    }

    /// Hands over what was gathered, once what was handed over before is durable.
    fn hand_over(&mut self) -> Result<(), ImportFailure> {
        self.settle()?;
        let Part { batch, ranges, .. } = std::mem::take(&mut self.part);
        if !batch.frames.is_empty() || !batch.heads.is_empty() || !batch.keys.is_empty() {
            let batch = Arc::new(ForeignBatch { is_verified: true, ..batch });
            let receipt = self.subject.take_foreign(Arc::clone(&batch))?;
            self.sent = Some(Sent { batch, ranges, receipt });
        }
        Ok(())
    }

    /// Waits for what was handed over, and counts what became of its events. Where publishers have left no room for it, it
    /// is handed over again after a pause: nobody tells when there is room.
    fn settle(&mut self) -> Result<(), ImportFailure> {
        let Some(Sent { batch, ranges, receipt }) = self.sent.take() else { return Ok(()) };
        let mut outcomes = receipt.wait();
        let mut pause = FIRST_PAUSE;
        for _ in 0..TRIES {
            if !matches!(outcomes, Err(Error::Storage(StorageError::Busy))) {
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            outcomes = self.subject.take_foreign(Arc::clone(&batch))?.wait();
        }
        self.count(&outcomes?, &ranges)
    }

    fn count(
        &mut self,
        outcomes: &[IngestOutcome],
        ranges: &[(CheckedRange, SignedHead)],
    ) -> Result<(), ImportFailure> {
        let mut failure = None;
        for outcome in outcomes {
            match outcome {
                IngestOutcome::Stored(_) | IngestOutcome::Waiting { .. } | IngestOutcome::Held { .. } => {
                    self.counts.new += 1;
                }
                IngestOutcome::Duplicate(_) | IngestOutcome::StillWaiting(_) => self.counts.duplicates += 1,
                IngestOutcome::Retracted(_) => self.counts.retracted += 1,
                IngestOutcome::LeftOut(_) => self.counts.left_out += 1,
                // The events after it miss it: the first refusal says why.
                IngestOutcome::Refused(refusal) => {
                    failure.get_or_insert(refusal);
                }
            }
        }
        match failure {
            None => Ok(()),
            Some(IngestRefusal::Fork { dot, here, there }) => {
                let (dot, here, there) = (*dot, *here, *there);
                let has_it = |(range, head): &&(CheckedRange, SignedHead)| {
                    head.head().author == dot.author && (range.before.len() + 1..=range.proof.old).contains(&dot.seq)
                };
                Err(match ranges.iter().find(has_it) {
                    Some((range, head)) => ImportFailure::Fork(Box::new(self.fork(dot, here, there, range, head))),
                    None => ImportFailure::Fork(Box::new(ImportFork { dot, here, there, ours: None, theirs: None })),
                })
            }
            Some(refusal) => Err(ImportFailure::Refused(refusal.clone())),
        }
    }

    /// How many events of this author were here when the import began.
    fn length(&self, place: usize) -> u64 {
        self.known.get(place).map_or(0, |known| known.peaks.len())
    }

    /// The peaks of what was here of an author's log, at this length.
    fn peaks(&self, place: usize, length: u64) -> Result<Peaks, StorageError> {
        let txn = self.engine.store.env.read()?;
        let mut peaks: Vec<Hash> = Vec::new();
        if let Some(mut tree) = self.tree(&txn, place) {
            let mut start = 0_u64;
            for level in (0..64_u8).rev().filter(|level| length >> level & 1 == 1) {
                peaks.push(tree.node(level, start >> level)?);
                start += 1 << level;
            }
        }
        let lost = || StorageError::DamagedRow { table: "nodes", key: "the peaks of an author's tree".to_owned() };
        Peaks::from_parts(length, &peaks).ok_or_else(lost)
    }

    fn tree<'t>(&'t self, txn: &'t ReadTxn<'t>, place: usize) -> Option<TreeNodes<'t, ReadTxn<'t>>> {
        let known = self.known.get(place)?;
        Some(TreeNodes::new(txn, LogReader::new(txn), known.number, known.slot, known.author))
    }
}
