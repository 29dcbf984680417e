//! What comes in from one peer: verified, compared with what is here, handed over to the log.
//!
//! A chunk is verified as a whole before anything of it is used ([`check_events`]). What is here already is compared, id by
//! id: where the two differ, the author has signed two histories, which ends its log for everybody. The rest goes to the
//! subject by the door of events made elsewhere, and this waits until it is durable.

use std::{sync::Arc, time::Duration};

use hashbrown::HashMap;
use thiserror::Error;

use super::{repeats::Repeats, replica::Replica};
use crate::{
    actors::{
        committer::{IngestOutcome, IngestRefusal, heads::KnownHead, submission::ForeignBatch},
        storage::{StorageError, ahead::Ahead},
    },
    wire::{
        fork::{Cut, ForkEvidence, ForkHalf},
        frames::Frames,
        head::HeadCheck,
        id::{Dot, EventId, XaeroID},
        key::PublicKey,
        mmr::{InclusionProof, Peaks},
        proof::ProofError,
        sync::{CheckedAuthor, CheckedEvents, ChunkAuthor, Events, Fork, SyncError, check_events},
    },
};

/// Authors whose logs are remembered from one chunk to the next; beyond it all are forgotten and asked for again.
const KNOWN_AUTHORS: usize = 1_024;

/// First pause where publishers have filled up what a subject may have on its way: a commit takes about as long.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// Longest such pause.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How often it is tried again: with these pauses about a minute, in which a disk that works makes room.
pub(crate) const TRIES: u32 = 240;

/// Why what a peer sent was not taken.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub(crate) enum IntakeError {
    /// It breaks the protocol: whoever sends it is cut off.
    #[error("{0}")]
    Offence(#[from] SyncError),
    /// The events continue another log of the author than the one that is here: the author has signed two histories, or the
    /// peer lies. Which of these it is shows when the two sides compare what they have once more.
    #[error("event {dot} does not continue the log of its author that is here: {error}")]
    Doubt {
        /// The first event of the author in the chunk.
        dot: Dot,
        /// What is wrong.
        error: ProofError,
    },
    /// There is no room for what waits for its causes.
    #[error("{0}")]
    NoRoom(IngestRefusal),
    /// What is here of an author's log contradicts what the author signed, and is not signed itself.
    #[error(
        "event {dot} is here with another content than its author signed, and nothing shows that the author wrote what is here"
    )]
    Contradicted {
        /// The event.
        dot: Dot,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Events that were not here.
    pub(crate) new: u64,
    /// Events that were, or that count for nothing.
    pub(crate) known: u64,
}

/// What comes in from one peer.
#[derive(Default)]
pub(crate) struct Intake {
    heads: HeadCheck,
    /// The authors' logs with what was verified last.
    after: HashMap<XaeroID, Peaks>,
    /// Keys that were looked up, or came.
    keys: HashMap<XaeroID, PublicKey>,
    repeats: Repeats,
}

/// What is to be done with a chunk.
pub(crate) enum Verdict {
    /// It is to be handed to the log.
    Take(Verified),
    /// Its author has signed another history than the one that is here: this evidence comes first, then the chunk once more.
    Forked(Arc<ForeignBatch>),
}

/// A chunk that was verified, ready for the log.
pub(crate) struct Verified {
    pub(crate) batch: Arc<ForeignBatch>,
    /// What it adds to the authors' logs, and the places of their proofs in the chunk.
    pub(crate) authors: Vec<CheckedAuthor>,
    /// Events that are not handed over.
    pub(crate) known: u64,
}

impl Intake {
    /// The peer is sent a version vector.
    pub(crate) fn asked(&mut self) {
        self.repeats.forget();
    }

    /// Takes up a chunk that has come.
    pub(crate) fn receive(&mut self, replica: &Replica, chunk: &Events) -> Result<Verdict, IntakeError> {
        let (checked, asked) = self.check(replica, chunk)?;
        for CheckedAuthor { author, before, after, .. } in &checked.authors {
            let noted = self.repeats.note(*author, before.len().saturating_add(1), after.len());
            noted.map_err(|dot| SyncError::Again { dot })?;
        }
        self.compare(replica, chunk, checked, &asked)
    }

    /// Verifies a chunk once more, after something has changed.
    pub(crate) fn verify(&mut self, replica: &Replica, chunk: &Events) -> Result<Verdict, IntakeError> {
        let (checked, asked) = self.check(replica, chunk)?;
        self.compare(replica, chunk, checked, &asked)
    }

    /// Verifies a chunk, with what is known of its authors.
    fn check<'c>(
        &mut self,
        replica: &Replica,
        chunk: &'c Events,
    ) -> Result<(CheckedEvents<'c>, HashMap<XaeroID, KnownHead>), IntakeError> {
        let (after, keys) = (&self.after, &self.keys);
        let (mut asked, mut failed) = (HashMap::<XaeroID, KnownHead>::new(), None);
        let mut known = |author: XaeroID, first: u64| {
            let key = match keys.get(&author) {
                Some(key) => Some(key.clone()),
                None => replica.engine.writer_key(author).unwrap_or_else(|error| {
                    failed = Some(error);
                    None
                }),
            };
            let length = first.checked_sub(1)?;
            if let Some(before) = after.get(&author).filter(|peaks| peaks.len() == length) {
                return Some(ChunkAuthor { before: before.clone(), key });
            }
            let head = replica.engine.head(&replica.log, author, 0).map_err(|error| failed = Some(error)).ok()?;
            let before = (length <= head.peaks.len()).then(|| replica.peaks(&head, length))?;
            asked.insert(author, head);
            Some(ChunkAuthor { before: before.map_err(|error| failed = Some(error)).ok()?, key })
        };
        let checked = check_events(replica.log.id, chunk, &mut self.heads, &mut known);
        if let Some(error) = failed {
            return Err(error.into());
        }
        let checked = match checked {
            // Only this can be: the head is the author's, and of another log than the one that begins here.
            Err(SyncError::NotSigned { author, first, error: error @ ProofError::NotAnExtension { .. } })
                if first > 1 =>
            {
                return Err(IntakeError::Doubt { dot: Dot::new(author, first), error });
            }
            checked => checked?,
        };
        Ok((checked, asked))
    }

    /// Compares a chunk with what is here, and prepares what is new for the log.
    fn compare(
        &mut self,
        replica: &Replica,
        chunk: &Events,
        checked: CheckedEvents<'_>,
        asked: &HashMap<XaeroID, KnownHead>,
    ) -> Result<Verdict, IntakeError> {
        for author in &checked.authors {
            let Some(head) = asked.get(&author.author).filter(|head| head.peaks.len() > author.before.len()) else {
                continue;
            };
            let difference = replica.first_difference(head, author.before.len(), &author.leaves)?;
            let Some((dot, here, there)) = difference else { continue };
            if !replica.log.forks().retracts(dot) {
                return forked(replica, chunk, author, (dot, here, there)).map(Verdict::Forked);
            }
        }
        Ok(Verdict::Take(self.prepare(replica, chunk, checked, asked)))
    }

    fn prepare(
        &mut self,
        replica: &Replica,
        chunk: &Events,
        checked: CheckedEvents<'_>,
        asked: &HashMap<XaeroID, KnownHead>,
    ) -> Verified {
        let cuts = replica.log.forks();
        let (buffer, within) = chunk.shared();
        let frames = Frames::within(buffer, checked.events.len());
        let mut batch = ForeignBatch { frames, is_verified: true, ..ForeignBatch::default() };
        let (mut known, mut start) = (0, within.start);
        batch.ids.reserve_exact(checked.events.len());
        for event in &checked.events {
            // They lie one right after the other.
            let place = start..start.saturating_add(event.frame.len());
            start = place.end;
            let is_here = asked.get(&event.dot.author).is_some_and(|head| event.dot.seq <= head.peaks.len());
            // What counts for nothing may be of another history than the one that is here, and is not mixed with it.
            if is_here || cuts.retracts(event.dot) {
                known += 1;
            } else {
                batch.frames.keep(place);
                batch.ids.push(event.id);
            }
        }
        for author in &checked.authors {
            batch.before.push((author.author, author.before.clone()));
            let proof = chunk.proofs().get(author.place);
            match proof.map(|proof| proof.head.clone()) {
                Some(head) if head.head().length == author.after.len() => batch.heads.push(head),
                // Until the rest comes it is what shows to others whose these events are.
                Some(head) => batch.ahead.push(Ahead { head, proof: author.proof.clone() }),
                None => {}
            }
            if !self.keys.contains_key(&author.author) && !replica.engine.keyring.contains(author.author) {
                batch.keys.push(author.key.clone());
            }
            if cuts.last_valid(author.author).is_none() {
                self.remember(author);
            }
        }
        Verified { batch: Arc::new(batch), authors: checked.authors, known }
    }

    fn remember(&mut self, author: &CheckedAuthor) {
        if self.after.len() >= KNOWN_AUTHORS || self.keys.len() >= KNOWN_AUTHORS {
            self.after.clear();
            self.keys.clear();
        }
        self.after.insert(author.author, author.after.clone());
        self.keys.insert(author.author, author.key.clone());
    }

    /// What was verified last did not reach the log: nothing is built upon it.
    pub(crate) fn forget(&mut self) {
        self.after.clear();
    }

    /// What became of the events of a chunk that were handed over. Where one of them contradicts the log, which had grown
    /// meanwhile, the evidence of that is to be handed over now.
    pub(crate) fn settle(
        &mut self,
        replica: &Replica,
        chunk: &Events,
        verified: &Verified,
        outcomes: &[IngestOutcome],
    ) -> Result<(Taken, Option<Arc<ForeignBatch>>), IntakeError> {
        let mut taken = Taken { new: 0, known: verified.known };
        let mut evidence = None;
        for outcome in outcomes {
            match outcome {
                IngestOutcome::Stored(_) | IngestOutcome::Waiting { .. } | IngestOutcome::Held { .. } => taken.new += 1,
                // What waits still is no news: whoever sends it again and again brings nothing.
                IngestOutcome::Duplicate(_)
                | IngestOutcome::StillWaiting(_)
                | IngestOutcome::Retracted(_)
                | IngestOutcome::LeftOut(_) => taken.known += 1,
                IngestOutcome::Refused(IngestRefusal::Fork { dot, here, there }) => {
                    self.forget();
                    let has_it = |author: &&CheckedAuthor| author.author == dot.author;
                    let Some(author) = verified.authors.iter().find(has_it) else { continue };
                    evidence = Some(forked(replica, chunk, author, (*dot, *here, *there))?);
                }
                IngestOutcome::Refused(refusal @ IngestRefusal::NoRoomToWait { .. }) => {
                    self.forget();
                    return Err(IntakeError::NoRoom(refusal.clone()));
                }
                // Who does not keep the cause could not know.
                IngestOutcome::Refused(IngestRefusal::ClockBelowCause { cause, .. })
                    if !replica.scope().sends(cause.author) =>
                {
                    taken.known += 1;
                    self.forget();
                }
                IngestOutcome::Refused(refusal) => {
                    return Err(SyncError::Refused { reason: refusal.to_string() }.into());
                }
            }
        }
        Ok((taken, evidence))
    }
}

/// Evidence that came from a peer, verified, ready for the log; `None` where it says nothing new.
pub(crate) fn take_fork(replica: &Replica, fork: Fork) -> Result<Option<Arc<ForeignBatch>>, IntakeError> {
    let Fork { key, evidence } = fork;
    let bad = |error| SyncError::BadEvidence { error };
    let cut = evidence.verify(&key).map_err(bad)?;
    if cut.subject != replica.log.id {
        let (expected, found) = (replica.log.id, cut.subject);
        return Err(bad(ProofError::OtherSubject { expected, found }).into());
    }
    if replica.log.forks().last_valid(cut.author).is_some_and(|last| last <= cut.last_valid) {
        return Ok(None);
    }
    Ok(Some(of_evidence(evidence, cut, key)))
}

/// The evidence that an author has signed both what is here and what the chunk has.
fn forked(
    replica: &Replica,
    chunk: &Events,
    author: &CheckedAuthor,
    (dot, here, there): (Dot, EventId, EventId),
) -> Result<Arc<ForeignBatch>, IntakeError> {
    let contradicted = IntakeError::Contradicted { dot };
    let head = chunk.proofs().get(author.place).map(|proof| proof.head.clone());
    let index = dot.seq.saturating_sub(1);
    let inclusion = InclusionProof::prolonged(&author.before, &author.leaves, &author.proof, index);
    let Some((head, inclusion)) = head.zip(inclusion) else { return Err(contradicted) };
    let theirs = ForkHalf::new(there, inclusion, head);
    let Some(evidence) = replica.evidence(dot, here, theirs)? else { return Err(contradicted) };
    let cut = evidence.verify(&author.key).map_err(|_| contradicted)?;
    Ok(of_evidence(evidence, cut, author.key.clone()))
}

fn of_evidence(evidence: ForkEvidence, cut: Cut, key: PublicKey) -> Arc<ForeignBatch> {
    Arc::new(ForeignBatch { forks: vec![(evidence, cut)], keys: vec![key], ..ForeignBatch::default() })
}
