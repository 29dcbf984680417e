//! Judging what a bundle says: keys, signatures, places, proofs.

use hashbrown::HashMap;

use super::{AuthorEntry, BundleError, Chunk, ForkEntry, Opening, Trailer, section::Kind};
use crate::wire::{
    archive,
    fork::Cut,
    head::{HeadCheck, SignedHead, subject_root},
    id::{Dot, EventId, XaeroID},
    key::PublicKey,
    mmr::{ConsistencyProof, Hash, Peaks, empty_root},
    proof::ProofError,
    record::{RecordView, ids_of},
};

/// The check of one bundle, while its parts arrive.
#[derive(Debug)]
pub struct BundleCheck {
    opening: Opening,
    logs: Vec<BundleLog>,
    places: HashMap<XaeroID, usize>,
    heads: HeadCheck,
    /// The last event that counts of authors who signed two histories.
    cuts: HashMap<XaeroID, u64>,
    /// Events of the bundle that have passed.
    events: u64,
}

/// One author's log in a bundle.
#[derive(Debug, Clone)]
pub struct BundleLog {
    entry: AuthorEntry,
    /// Of all that has passed, and of what came before the bundle.
    peaks: Peaks,
}

impl BundleLog {
    /// Whose log it is.
    #[must_use]
    pub const fn author(&self) -> XaeroID {
        self.entry.author()
    }

    /// The author's key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.entry.key
    }

    /// The author's head, whose signature has passed.
    #[must_use]
    pub const fn head(&self) -> &SignedHead {
        &self.entry.head
    }

    /// How many of the author's events came before those of the bundle.
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.entry.base
    }

    /// The peaks of the log as far as it has passed.
    #[must_use]
    pub const fn peaks(&self) -> &Peaks {
        &self.peaks
    }

    /// Whether all of the signed log has passed.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.peaks.len() == self.entry.head.head().length
    }
}

/// A chunk that has passed: all of its events are their authors', in their places, and none is missing between them.
#[derive(Debug)]
pub struct CheckedChunk<'a> {
    /// The events, in the order of the bundle, which is causal.
    pub events: Vec<CheckedEvent<'a>>,
    /// What the chunk adds to the authors' logs, by author.
    pub ranges: Vec<CheckedRange>,
}

/// An event that has passed.
#[derive(Debug, Clone, Copy)]
pub struct CheckedEvent<'a> {
    /// Its frame.
    pub frame: &'a [u8],
    /// Author and sequence number.
    pub dot: Dot,
    /// The event id.
    pub id: EventId,
    /// The author's place among those of the bundle.
    pub log: usize,
}

/// What a chunk adds to one author's log.
#[derive(Debug, Clone)]
pub struct CheckedRange {
    /// The author's place among those of the bundle.
    pub log: usize,
    /// The log before it.
    pub before: Peaks,
    /// The ids of its events.
    pub leaves: Vec<Hash>,
    /// Leads from the log after it to the signed head.
    pub proof: ConsistencyProof,
}

impl BundleCheck {
    /// For the bundle that begins like this.
    #[must_use]
    pub fn new(opening: Opening) -> Self {
        Self {
            opening,
            logs: Vec::new(),
            places: HashMap::new(),
            heads: HeadCheck::new(),
            cuts: HashMap::new(),
            events: 0,
        }
    }

    /// What the bundle is about.
    #[must_use]
    pub const fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The authors so far, in ascending order.
    #[must_use]
    pub fn logs(&self) -> &[BundleLog] {
        &self.logs
    }

    /// How many events of the bundle have passed.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Takes evidence of a fork, whose section begins at byte `at`, and says what follows from it.
    ///
    /// # Errors
    /// [`BundleError::Malformed`] where the evidence does not hold, or is about another subject.
    pub fn fork(&mut self, at: u64, entry: &ForkEntry) -> Result<Cut, BundleError> {
        let malformed = |error| BundleError::Malformed { at, kind: Kind::FORK, error };
        let cut = entry.evidence.verify(&entry.key).map_err(malformed)?;
        let (expected, found) = (self.opening.subject, cut.subject);
        if found != expected {
            return Err(malformed(ProofError::OtherSubject { expected, found }));
        }
        let last = self.cuts.entry(cut.author).or_insert(cut.last_valid);
        *last = cut.last_valid.min(*last);
        Ok(cut)
    }

    /// Takes the next author, whose section begins at byte `at`.
    ///
    /// # Errors
    /// [`BundleError::Head`] where the head is not the key owner's head of this subject, [`BundleError::Contradiction`]
    /// where the entry does not fit the others.
    pub fn author(&mut self, at: u64, entry: AuthorEntry) -> Result<(), BundleError> {
        let contradiction = |field| BundleError::Contradiction { at, kind: Kind::AUTHOR, field };
        let author = entry.key.id();
        let head = entry.head.head();
        let bad_head = |error| BundleError::Head { author, error };
        head.check_log(self.opening.subject, author).map_err(bad_head)?;
        self.heads.verify(&entry.head, &entry.key).map_err(bad_head)?;
        if self.logs.last().is_some_and(|last| last.author() >= author) {
            return Err(contradiction("order of authors"));
        }
        if entry.base > head.length || (entry.base == head.length && entry.base_root != head.root) {
            return Err(contradiction("number of events before"));
        }
        if entry.base == 0 && entry.base_root != empty_root() {
            return Err(contradiction("root of the events before"));
        }
        self.places.insert(author, self.logs.len());
        self.logs.push(BundleLog { entry, peaks: Peaks::new() });
        if usize::try_from(self.opening.authors).is_ok_and(|authors| authors == self.logs.len()) {
            self.check_counts(at)?;
        }
        Ok(())
    }

    /// Takes what is here already of an author's log, up to the event with which the bundle goes on: for each author with a
    /// [base](BundleLog::base) above 0, before the first chunk.
    ///
    /// # Errors
    /// [`BundleError::OtherBase`] where it is not what the bundle continues.
    pub fn continue_from(&mut self, log: usize, before: Peaks) -> Result<(), BundleError> {
        let Some(log) = self.logs.get_mut(log) else { return Ok(()) };
        if before.len() != log.entry.base || before.root() != log.entry.base_root {
            return Err(BundleError::OtherBase { author: log.author() });
        }
        log.peaks = before;
        Ok(())
    }

    /// Takes a chunk: all of it, or on an error nothing.
    ///
    /// # Errors
    /// Says which event is not readable, of this subject, of an author of the bundle, the author's next, or after its
    /// causes; or whose events are not the signed ones.
    pub fn events_of<'a>(&mut self, chunk: &Chunk<'a>) -> Result<CheckedChunk<'a>, BundleError> {
        let at = chunk.at;
        let contradiction = |field| BundleError::Contradiction { at, kind: Kind::EVENTS, field };
        let (records, mut events) = self.open(chunk)?;
        let mut ranges: Vec<CheckedRange> = Vec::with_capacity(chunk.proofs.len());
        // The range of each author of the bundle, where the chunk has one.
        let mut of_log: HashMap<usize, usize> = HashMap::with_capacity(chunk.proofs.len());
        for proof in &chunk.proofs {
            let place = usize::try_from(proof.author).unwrap_or(usize::MAX);
            let Some(log) = self.logs.get(place) else { return Err(contradiction("proof's author")) };
            if ranges.last().is_some_and(|last| last.log >= place) {
                return Err(contradiction("order of proofs"));
            }
            of_log.insert(place, ranges.len());
            let new = log.head().head().length;
            let proof = ConsistencyProof { old: proof.length, new, path: proof.path.clone() };
            ranges.push(CheckedRange { log: place, before: log.peaks.clone(), leaves: Vec::new(), proof });
        }
        for ((event, record), id) in events.iter_mut().zip(&records).zip(ids_of(&records)) {
            event.id = id;
            let Some(range) = of_log.get(&event.log).and_then(|range| ranges.get_mut(*range)) else {
                return Err(contradiction("number of proofs"));
            };
            let expected = next(range);
            if event.dot.seq != expected {
                return Err(BundleError::OtherSeq { at, dot: event.dot, expected });
            }
            for missing in record.deps() {
                let place = self.places.get(&missing.author);
                let so_far = place.and_then(|place| match of_log.get(place) {
                    Some(range) => ranges.get(*range).map(next),
                    None => self.logs.get(*place).map(|log| log.peaks.len().saturating_add(1)),
                });
                // Whoever saw an event past a cut may have seen one of another history than the bundle's.
                let is_cut = self.cuts.get(&missing.author).is_some_and(|last| missing.seq > *last);
                if so_far.is_none_or(|next| missing.seq >= next) && !is_cut {
                    return Err(BundleError::CauseMissing { at, dot: event.dot, missing });
                }
            }
            if let Some(range) = of_log.get(&event.log).and_then(|range| ranges.get_mut(*range)) {
                range.leaves.push(*id.as_bytes());
            }
        }
        let mut after = Vec::with_capacity(ranges.len());
        for range in &ranges {
            let Some(log) = self.logs.get(range.log).filter(|_| !range.leaves.is_empty()) else {
                return Err(contradiction("number of proofs"));
            };
            let mut peaks = range.before.clone();
            peaks.extend(&range.leaves, &mut |_, _, _| {});
            let author = log.author();
            let not_signed = |error| BundleError::NotSigned { at, author, length: peaks.len(), error };
            if range.proof.old != peaks.len() {
                let error = ProofError::OtherLength { expected: peaks.len(), found: range.proof.old };
                return Err(not_signed(error));
            }
            range.proof.check(&peaks.root(), &log.head().head().root).map_err(not_signed)?;
            after.push((range.log, peaks));
        }
        for (log, peaks) in after {
            if let Some(log) = self.logs.get_mut(log) {
                log.peaks = peaks;
            }
        }
        self.events = self.events.saturating_add(u64::try_from(events.len()).unwrap_or(u64::MAX));
        Ok(CheckedChunk { events, ranges })
    }

    /// Takes the end: all that was announced has passed.
    ///
    /// # Errors
    /// [`BundleError::Incomplete`] where events of an author are missing, [`BundleError::Contradiction`] where the numbers
    /// or the root differ.
    pub fn end(&self, trailer: &Trailer) -> Result<(), BundleError> {
        let contradiction = |field| BundleError::Contradiction { at: trailer.at, kind: Kind::DONE, field };
        if let Some(log) = self.logs.iter().find(|log| !log.is_complete()) {
            let (author, have, need) = (log.author(), log.peaks.len(), log.head().head().length);
            return Err(BundleError::Incomplete { author, have, need });
        }
        if trailer.events != self.opening.events || self.events != self.opening.events {
            return Err(contradiction("number of events"));
        }
        if trailer.root != self.root() {
            return Err(contradiction("root"));
        }
        Ok(())
    }

    /// The root over the heads of all authors: that of the subject whose log is just what the bundle, and what came before
    /// it, say.
    #[must_use]
    pub fn root(&self) -> Hash {
        let heads = self.logs.iter().map(|log| *log.head().head());
        subject_root(self.opening.subject, heads.map(|head| (head.author, head.length, head.root)))
    }

    /// The records of a chunk, and its events, whose ids are not known yet.
    fn open<'a>(&self, chunk: &Chunk<'a>) -> Result<(Vec<RecordView<'a>>, Vec<CheckedEvent<'a>>), BundleError> {
        let at = chunk.at;
        let (mut records, mut events) = (Vec::with_capacity(chunk.events), Vec::with_capacity(chunk.events));
        let mut rest = chunk.frames;
        for place in 0..chunk.events {
            let (record, length) = archive::open(rest).map_err(|error| BundleError::Frame { at, place, error })?;
            let (frame, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            let dot = record.dot();
            if record.subject() != self.opening.subject {
                return Err(BundleError::OtherSubject { at, dot, found: record.subject() });
            }
            let log = *self.places.get(&dot.author).ok_or(BundleError::UnknownAuthor { at, dot })?;
            records.push(record);
            events.push(CheckedEvent { frame, dot, id: EventId::from([0; 32]), log });
        }
        if rest.is_empty() {
            Ok((records, events))
        } else {
            Err(BundleError::Contradiction { at, kind: Kind::EVENTS, field: "number of events" })
        }
    }

    /// Checks that the authors have just the events that the opening announces.
    fn check_counts(&self, at: u64) -> Result<(), BundleError> {
        let sum = |of: fn(&BundleLog) -> u64| self.logs.iter().map(of).try_fold(0_u64, u64::checked_add);
        let (base, all) = (sum(BundleLog::base), sum(|log| log.head().head().length));
        let is_right = base == Some(self.opening.first) && all == self.opening.first.checked_add(self.opening.events);
        let kind = Kind::AUTHOR;
        if is_right { Ok(()) } else { Err(BundleError::Contradiction { at, kind, field: "number of events" }) }
    }
}

/// The sequence number of the event that comes next in this range.
fn next(range: &CheckedRange) -> u64 {
    let so_far = u64::try_from(range.leaves.len()).unwrap_or(u64::MAX);
    range.before.len().saturating_add(so_far).saturating_add(1)
}
