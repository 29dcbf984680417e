//! What leaves for one peer: the events that it lacks, in the order of the log here, with what shows whose they are.
//!
//! An outlet is a place in the log and how much of each author the peer is known to have. History, what is live, and what
//! was missed by a peer that was slow leave by the same way: from the place on, everything that the peer lacks. Order in the
//! log is causal, so a peer has the causes of what it gets.
//!
//! What no signed head covers does not leave. The heads of local authors are asked for, and come within a moment; an author
//! elsewhere whose head is missing is passed over until there is one.

use std::ops::Range;

use hashbrown::HashMap;

use super::{
    interests::Scope,
    replica::{Look, Replica},
    sent::PeerSent,
};
use crate::{
    actors::{
        committer::heads::KnownHead,
        mmr::nodes::KnownNodes,
        storage::{StorageError, block::Stored, reader::LogReader},
    },
    wire::{
        archive,
        head::SignedHead,
        id::{Dot, XaeroID},
        mmr::{ConsistencyProof, Hash, Nodes},
        sync::{Events, EventsBuilder, LogProof, VectorEntry},
    },
};

/// Authors in one chunk, at most: with the longest proofs, and a key each, they take less than a chunk has room for.
const CHUNK_AUTHORS: usize = 256;

/// Events that are looked at under one read transaction: a long one would keep pages from being reused.
const LOOK_EVENTS: u64 = 16_384;

/// Bytes of events that are looked at for one chunk for a peer that keeps a part of the subject only.
const LOOK_BYTES: usize = 32 << 20;

/// Authors whose heads are asked for one by one; more are asked for together, which costs one answer for all of them.
const FEW_AUTHORS: usize = 4;

/// Attempts to go back to an event that was passed over before. Each finds one at least, or the log contradicts itself.
const MOST_REWINDS: usize = 4_096;

/// What is known of one peer, and where in the log it has come.
#[derive(Default)]
pub(crate) struct Outlet {
    /// How much of each author's log the peer has.
    has: HashMap<XaeroID, u64>,
    /// What the peer has sent meanwhile: it must not go back there.
    sent: PeerSent,
    /// The ordinal that is looked at next; `None` where it has to be found out.
    next: Option<u64>,
    /// Authors whose events past these are passed over: no head covers them.
    blocked: HashMap<XaeroID, u64>,
    /// Authors whose events past these cannot be sent: the peer wants the payload of the next, which is not here.
    withheld: HashMap<XaeroID, u64>,
    /// The heads that were used last.
    heads: HashMap<XaeroID, KnownHead>,
    /// Bytes of frames of the last chunk: the next one is mostly as large.
    usual: usize,
    /// The upper nodes of trees, which all proofs have in common.
    nodes: KnownNodes,
}

/// What an author has in the chunk that is being gathered.
#[derive(Clone, Copy)]
struct Gathered {
    /// What the peer had before.
    before: u64,
    last: u64,
}

impl Outlet {
    /// For a peer whose own events are noted there before they are in the log.
    pub(super) fn after(sent: PeerSent) -> Self {
        Self { sent, ..Self::default() }
    }

    /// The peer says what it has, from the beginning: what was known of it is out of date.
    pub(crate) fn restart(&mut self) {
        self.has.clear();
        self.withheld.clear();
        self.next = None;
    }

    /// The peer has this much.
    ///
    /// Where its log of an author is another one than the log here, it gets the log here from the beginning, and finds out
    /// where the two part. Which of the two sides has the longer log, and therefore sees it, does not matter.
    pub(crate) fn has(&mut self, replica: &Replica, entries: &[VectorEntry]) -> Result<(), StorageError> {
        let heads = replica.engine.heads(&replica.log)?;
        let heads: HashMap<XaeroID, &KnownHead> = heads.iter().map(|known| (known.author.author, known)).collect();
        let (cuts, txn) = (replica.log.forks(), replica.engine.store.env.read()?);
        for entry in entries {
            let known = heads.get(&entry.author).filter(|known| entry.length <= known.peaks.len());
            // Past a cut every history is as good as any other.
            let known = known.filter(|_| cuts.last_valid(entry.author).is_none_or(|last| entry.length <= last));
            let is_other = match known {
                Some(known) => !entry.has_root(&replica.root_at(&txn, known, entry.length)?),
                None => false,
            };
            self.has.insert(entry.author, if is_other { 0 } else { entry.length });
        }
        self.next = None;
        Ok(())
    }

    /// The peer has all that was here then.
    pub(crate) fn has_look(&mut self, look: &Look) {
        for (author, length) in &look.lengths {
            self.raise(*author, *length);
        }
        self.next = Some(look.next);
    }

    /// The peer has this much of an author's log at least.
    pub(crate) fn raise(&mut self, author: XaeroID, length: u64) {
        let has = self.has.entry(author).or_insert(0);
        *has = length.max(*has);
        // It has got from elsewhere what could not be sent.
        if self.withheld.get(&author).is_some_and(|end| *end < length) {
            self.withheld.remove(&author);
        }
    }

    /// What the two sides keep has changed.
    pub(crate) fn rescope(&mut self) {
        self.withheld.clear();
        self.reconsider();
    }

    /// What counts, or what is signed, may have changed: what was passed over is looked at again.
    pub(crate) fn reconsider(&mut self) {
        self.blocked.clear();
        self.next = None;
    }

    /// Whether something was passed over that may be signed by now.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// The next events that the peer lacks; `None` where there are none.
    pub(crate) fn read(&mut self, replica: &Replica) -> Result<Option<Events>, StorageError> {
        for _ in 0..MOST_REWINDS {
            // In this order: what the peer has sent is noted before it is in the log.
            let end = replica.log.count();
            self.sent.take().into_iter().for_each(|(author, length)| self.raise(author, length));
            let next = match self.next {
                Some(next) => next,
                None => self.plan(replica, end)?,
            };
            let mut gathering = Gathering {
                outlet: self,
                scope: replica.scope(),
                builder: EventsBuilder::with_capacity(self.usual),
                authors: HashMap::new(),
                withheld: HashMap::new(),
            };
            let reached = gathering.gather(replica, next..end)?;
            let Gathering { builder, authors, withheld, .. } = gathering;
            self.withheld.extend(withheld);
            self.usual = builder.frames().len();
            match reached {
                Reached::PassedOver => {
                    // Something the peer lacks lies further back: what is gathered so far does not depend on it.
                    self.next = None;
                    if builder.events() == 0 {
                        continue;
                    }
                }
                Reached::Ordinal(ordinal) => self.next = Some(ordinal),
            }
            if builder.events() == 0 {
                return Ok(None);
            }
            if let Some(chunk) = self.prove(replica, builder, &authors)? {
                return Ok(Some(chunk));
            }
        }
        Err(StorageError::DamagedRow {
            table: "log",
            key: format!("the order of events of subject {}", replica.log.id),
        })
    }

    /// Where the first event is that the peer lacks; `end` where it lacks none.
    fn plan(&mut self, replica: &Replica, end: u64) -> Result<u64, StorageError> {
        let heads = replica.engine.heads(&replica.log)?;
        let (cuts, txn) = (replica.log.forks(), replica.engine.store.env.read()?);
        let (mut reader, mut next, scope) = (LogReader::new(&txn), end, replica.scope());
        for known in heads.into_iter().filter(|known| scope.sends(known.author.author)) {
            let author = known.author.author;
            let counts = known.author.seq.min(cuts.last_valid(author).unwrap_or(u64::MAX));
            let first = self.has.get(&author).copied().unwrap_or(0).saturating_add(1);
            let is_past = |end: Option<&u64>| end.is_some_and(|end| *end < first);
            let blocked = is_past(self.blocked.get(&author)) || is_past(self.withheld.get(&author));
            if first > counts || blocked {
                continue;
            }
            let subject = (known.number, replica.log.id);
            if let Some(stored) = reader.by_seq(subject, known.slot, &known.author, first)? {
                next = next.min(stored.links.ordinal);
            }
        }
        self.next = Some(next);
        Ok(next)
    }

    /// Adds what shows whose the events are. Leaves out those that nothing shows; `None` where none is left.
    fn prove(
        &mut self,
        replica: &Replica,
        builder: EventsBuilder,
        authors: &HashMap<XaeroID, Gathered>,
    ) -> Result<Option<Events>, StorageError> {
        self.ask_heads(replica, authors)?;
        let mut allowed: Vec<(XaeroID, Gathered)> = Vec::with_capacity(authors.len());
        let mut is_whole = true;
        for (author, gathered) in authors {
            let known = self.heads.get(author);
            // Nobody can check a head whose key has never come.
            let has_key = gathered.before > 0 || replica.engine.writer_key(*author)?.is_some();
            let signed = known.filter(|_| has_key).map_or(0, KnownHead::shown_length);
            let last = gathered.last.min(signed);
            if last < gathered.last {
                is_whole = false;
                self.blocked.insert(*author, signed);
            }
            if last > gathered.before {
                allowed.push((*author, Gathered { last, ..*gathered }));
            }
        }
        allowed.sort_unstable_by_key(|(author, _)| *author);
        let mut builder = if is_whole { builder } else { only(&builder, &allowed) };
        if builder.events() == 0 {
            return Ok(None);
        }
        let txn = replica.engine.store.env.read()?;
        for (author, gathered) in allowed {
            let Some(known) = self.heads.get(&author) else { continue };
            let mut nodes = replica.tree(&txn, known).knowing(std::mem::take(&mut self.nodes));
            let shown = shown(known, &mut nodes, gathered.last)?;
            self.nodes = nodes.into_known();
            let Some((head, path)) = shown else { return Err(contradiction("a head does not cover what it should")) };
            let key = if gathered.before == 0 { replica.engine.writer_key(author)? } else { None };
            if !builder.prove(&LogProof { key, head, length: gathered.last, path }) {
                return Err(contradiction("the proofs of a chunk take more room than they can"));
            }
            self.raise(author, gathered.last);
        }
        builder.finish().map(Some).map_err(|_| contradiction("a chunk that was gathered is not one"))
    }

    /// Has heads at hand that cover what was gathered, as far as there are any.
    fn ask_heads(&mut self, replica: &Replica, authors: &HashMap<XaeroID, Gathered>) -> Result<(), StorageError> {
        let covers = |known: Option<&KnownHead>, last| known.is_some_and(|known| known.shown_length() >= last);
        let mut missing: Vec<(XaeroID, u64)> = Vec::new();
        for (author, gathered) in authors {
            if !covers(self.heads.get(author), gathered.last) {
                missing.push((*author, gathered.last));
            }
        }
        if missing.len() > FEW_AUTHORS {
            self.heads =
                replica.engine.heads(&replica.log)?.into_iter().map(|known| (known.author.author, known)).collect();
            missing.retain(|(author, last)| !covers(self.heads.get(author), *last));
        }
        if self.heads.len() > CHUNK_AUTHORS.saturating_mul(4) {
            self.heads.retain(|author, _| authors.contains_key(author));
        }
        for (author, last) in missing {
            // Of an author elsewhere this is what is known; of a local one it waits for the signature.
            self.heads.insert(author, replica.engine.head(&replica.log, author, last)?);
        }
        Ok(())
    }
}

/// Where the gathering of a chunk has come.
enum Reached {
    /// The next event to look at.
    Ordinal(u64),
    /// An event whose author's previous ones the peer lacks.
    PassedOver,
}

struct Gathering<'o> {
    outlet: &'o Outlet,
    scope: Scope,
    builder: EventsBuilder,
    authors: HashMap<XaeroID, Gathered>,
    /// What was found that cannot be sent: see [`Outlet::withheld`].
    withheld: HashMap<XaeroID, u64>,
}

impl Gathering<'_> {
    /// Goes through this part of the log until the chunk is full.
    fn gather(&mut self, replica: &Replica, part: Range<u64>) -> Result<Reached, StorageError> {
        let (Range { start: mut next, end }, cuts) = (part, replica.log.forks());
        let (mut is_full, mut passed_over) = (false, false);
        while next < end && !is_full && !passed_over {
            let (before, mut looked_at) = (next, 0_usize);
            replica.engine.store.read(&replica.log, next, LOOK_EVENTS.min(end - next), &mut |stored| {
                let dot = stored.record.dot();
                match self.wants(dot, cuts.retracts(dot)) {
                    Want::No => {}
                    Want::Earlier => passed_over = true,
                    Want::Yes => is_full = !self.take(&stored),
                }
                if !is_full && !passed_over {
                    next = stored.links.ordinal.saturating_add(1);
                }
                looked_at = looked_at.saturating_add(stored.frame.len());
                Ok(!is_full && !passed_over && (self.scope.sends_all() || looked_at < LOOK_BYTES))
            })?;
            if !self.scope.sends_all() && !is_full && !passed_over && next > before {
                // Of a part there may be little, far apart, and the peer waits: what there is goes now, and where there is nothing
                // the index leads on to the next.
                if self.builder.events() > 0 {
                    break;
                }
                passed_over = true;
            }
            if next == before && !is_full && !passed_over {
                // The log is shorter than it says: whoever reads next is told why.
                break;
            }
        }
        Ok(if passed_over { Reached::PassedOver } else { Reached::Ordinal(next) })
    }

    fn wants(&self, dot: Dot, is_retracted: bool) -> Want {
        let is_past = |end: Option<&u64>| end.is_some_and(|end| dot.seq > *end);
        if is_retracted
            || is_past(self.outlet.blocked.get(&dot.author))
            || is_past(self.outlet.withheld.get(&dot.author))
            || is_past(self.withheld.get(&dot.author))
            || !self.scope.sends(dot.author)
        {
            return Want::No;
        }
        let has = match self.authors.get(&dot.author) {
            Some(gathered) => gathered.last,
            None => self.outlet.has.get(&dot.author).copied().unwrap_or(0),
        };
        match dot.seq.checked_sub(has) {
            None | Some(0) => Want::No,
            Some(1) => Want::Yes,
            Some(_) => Want::Earlier,
        }
    }

    /// Adds an event as the peer keeps it. `false`: there is no more room.
    fn take(&mut self, stored: &Stored<'_>) -> bool {
        let record = &stored.record;
        match (self.scope.sends_payload(record), record.is_withheld()) {
            (true, true) => {
                self.withheld.insert(record.author(), record.seq().saturating_sub(1));
                true
            }
            (false, false) => match record.withheld_frame() {
                Some(frame) => self.push(record.dot(), &frame),
                None => self.push(record.dot(), stored.frame),
            },
            (true, false) | (false, true) => self.push(record.dot(), stored.frame),
        }
    }

    fn push(&mut self, dot: Dot, frame: &[u8]) -> bool {
        let is_new = !self.authors.contains_key(&dot.author);
        if (is_new && self.authors.len() >= CHUNK_AUTHORS) || !self.builder.push(frame) {
            return false;
        }
        let before = dot.seq.saturating_sub(1);
        self.authors.entry(dot.author).or_insert(Gathered { before, last: 0 }).last = dot.seq;
        true
    }
}

/// Whether an event is to be sent.
enum Want {
    Yes,
    No,
    /// After one of its author's that was passed over.
    Earlier,
}

/// A head that covers the author's first `last` events, and the path to it from the log at that length.
fn shown<N: Nodes<Error = StorageError>>(
    known: &KnownHead,
    nodes: &mut N,
    last: u64,
) -> Result<Option<(SignedHead, Vec<Hash>)>, StorageError> {
    if let Some(head) = known.signed.as_ref().filter(|head| head.head().length >= last) {
        let proof = ConsistencyProof::make(nodes, last, head.head().length)?;
        return Ok(Some((head.clone(), proof.path)));
    }
    // The rest of what the author has signed has not come: what is here can be shown all the same.
    let Some(ahead) = &known.ahead else { return Ok(None) };
    let proof = ahead.proof.shortened(nodes, last)?;
    Ok(proof.map(|proof| (ahead.head.clone(), proof.path)))
}

/// The events of the chunk that heads cover.
fn only(builder: &EventsBuilder, allowed: &[(XaeroID, Gathered)]) -> EventsBuilder {
    let mut left = EventsBuilder::new();
    let mut rest = builder.frames();
    while let Ok((record, length)) = archive::open(rest) {
        let (frame, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = after;
        let dot = record.dot();
        let at = allowed.binary_search_by_key(&dot.author, |(author, _)| *author);
        let is_covered = at.ok().and_then(|at| allowed.get(at)).is_some_and(|(_, gathered)| dot.seq <= gathered.last);
        if is_covered && !left.push(frame) {
            break;
        }
        if rest.is_empty() {
            break;
        }
    }
    left
}

fn contradiction(reason: &str) -> StorageError {
    StorageError::Engine { action: "gathering events for a peer", reason: reason.to_owned() }
}

const _: () = assert!(CHUNK_AUTHORS <= crate::wire::sync::MAX_CHUNK_AUTHORS);
