//! Appending to the log within one transaction.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::{
    explain::Refusals,
    heads::Heads,
    ingest::{IngestOutcome, IngestRefusal},
    recover::checkpoint_row,
    rights::Rights,
    submission::{Batch, LocalBatch, Outcome, Submission},
    waiting::Waiting,
};
use crate::{
    actors::{
        bus::{Acknowledged, PublishError},
        fault::fault_point,
        keyring::Keyring,
        storage::{
            StorageError, Store,
            block::{BlockBuilder, Links},
            head::{Head, IndexRows},
            keys::{self, SubjectNumber},
            lmdb::{Table, WriteTxn},
            open::SubjectLog,
            reader::Extent,
        },
    },
    crdt::rights::Members,
    wire::{
        archive,
        clock::Clock,
        event::EventType,
        frame::{self, FrameError},
        id::{Dot, EventId, SubjectId, XaeroID},
        limits::MAX_DEPS,
        mmr::{Hash, Peaks},
        record::{Preimages, Record},
    },
};

/// Heads are written out after so many events: how much of the log a start may have to replay.
pub(crate) const CHECKPOINT_EVENTS: u64 = 65_536;

/// Heads that are kept in memory without a look whether they are still of use: a few megabytes.
pub(crate) const KEPT_SUBJECTS: usize = 4_096;

/// Key of the checkpoint in the meta table.
pub(crate) const CHECKPOINT_KEY: &[u8] = b"checkpoint";

/// Owns the heads and appends to the log.
pub(crate) struct LogWriter {
    pub(crate) store: Arc<Store>,
    /// The heads of the subjects in use.
    pub(crate) subjects: HashMap<SubjectId, Subject>,
    /// The position of the next event.
    pub(crate) next: u64,
    /// All heads are written as of this position.
    pub(crate) checkpoint: u64,
    /// The number of the next new subject.
    pub(crate) next_number: u32,
    /// With so many heads in memory, those that are of no use are forgotten.
    pub(super) evict_at: usize,
    /// The block being filled; its first entry has position `next - block.count()`.
    block: BlockBuilder,
    scratch: Vec<u8>,
    /// Of the events in the block whose ids are not hashed yet.
    preimages: Preimages,
    /// Where these events are, in their order, and the slots of their authors.
    unhashed: Vec<(u64, u32)>,
    /// The ids of the events of the submission, as far as they are hashed.
    pub(super) ids: Vec<EventId>,
    /// Subjects that this transaction touched.
    pub(super) touched: Vec<SubjectId>,
    /// The heads to be signed, and the signatures to be stored.
    pub(crate) heads: Heads,
    /// The identities that write here.
    pub(super) keyring: Option<Arc<Keyring>>,
    /// Whether trees are kept: not so in a measurement of what they cost.
    pub(crate) keeps_trees: bool,
    /// Local writers whose logs have forked and are to go on under another key.
    pub(super) to_heal: HashSet<(SubjectId, XaeroID)>,
    /// The newest of the events that were not taken.
    pub(super) refusals: Refusals,
    /// Bytes of the blocks that this transaction put into the log.
    grown: u64,
    /// Which node this is, for the fault points of tests.
    pub(crate) scope: String,
}

/// An event made elsewhere, as it is appended.
pub(crate) struct Frame<'a> {
    pub(crate) dot: Dot,
    pub(crate) clock: Clock,
    pub(crate) deps: &'a [Dot],
    pub(crate) bytes: &'a [u8],
    pub(crate) event: EventId,
    /// Whether a signed head of its author covers it.
    pub(crate) is_verified: bool,
}

/// A subject in use.
pub(crate) struct Subject {
    pub(crate) head: Head,
    /// Events that wait for their causes or their time.
    pub(crate) waiting: Waiting,
    /// Who may do what; `None` in an open subject.
    pub(crate) rights: Option<Box<Rights>>,
    /// Whether the head was changed since the checkpoint.
    pub(crate) dirty: bool,
    /// Whether the subject has its rows, or gets them with its first event.
    pub(crate) recorded: bool,
    /// Whether the running transaction changed it.
    pub(crate) touched: bool,
}

/// An event of a local author, as it is appended.
pub(super) struct LocalEvent<'a> {
    pub(super) author: XaeroID,
    /// `None`: the clock's milliseconds.
    pub(super) latest_ts: Option<u64>,
    pub(super) event_type: EventType,
    pub(super) payload: &'a [u8],
    pub(super) payload_hash: &'a [u8; 32],
}

impl Subject {
    /// Who may do what, as far as that is found out.
    pub(super) fn members(&self) -> Option<Arc<Members>> {
        self.rights.as_ref().map(|rights| Arc::clone(&rights.members))
    }
}

impl LogWriter {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self {
            scope: store.dir().to_string_lossy().into_owned(),
            store,
            subjects: HashMap::new(),
            next: 0,
            checkpoint: 0,
            next_number: 0,
            evict_at: KEPT_SUBJECTS,
            block: BlockBuilder::default(),
            scratch: Vec::new(),
            preimages: Preimages::default(),
            unhashed: Vec::new(),
            ids: Vec::new(),
            heads: Heads::default(),
            keyring: None,
            keeps_trees: true,
            touched: Vec::new(),
            to_heal: HashSet::new(),
            refusals: Refusals::default(),
            grown: 0,
        }
    }

    /// Writes one submission into the transaction.
    pub(crate) fn write(
        &mut self,
        txn: &mut WriteTxn<'_>,
        submission: &Submission,
        now_ms: u64,
    ) -> Result<Outcome, StorageError> {
        let log = &submission.log;
        self.load(txn, log.id)?;
        match &submission.batch {
            Batch::Local(batch) => self.write_local(txn, log, batch, now_ms).map(Outcome::Local),
            Batch::Foreign(foreign) => {
                for fork in &foreign.forks {
                    self.cut(txn, log, fork)?;
                }
                let mut outcomes = Vec::with_capacity(foreign.frames.len());
                let ids = foreign.ids.iter().map(|id| Some(*id)).chain(std::iter::repeat(None));
                // Verified events follow from each other: what comes after one that is not the log's own is not for this log.
                let mut parted = self.parted(log.id, &foreign.before);
                for (frame, id) in foreign.frames.iter().zip(ids) {
                    // Looked at only then: it costs as much as all the rest.
                    if foreign.is_verified && !parted.is_empty() {
                        let after = archive::open(frame).ok().map(|(record, _)| record.dot());
                        if let Some(dot) = after.filter(|dot| parted.contains(&dot.author)) {
                            outcomes.push(IngestOutcome::Retracted(dot));
                            continue;
                        }
                    }
                    let outcome = self.ingest(txn, log, (frame, id), foreign.is_verified, now_ms)?;
                    if let IngestOutcome::Refused(
                        IngestRefusal::Fork { dot, .. } | IngestRefusal::NoRight { dot, .. },
                    )
                    | IngestOutcome::Retracted(dot) = outcome
                    {
                        parted.push(dot.author);
                    }
                    outcomes.push(outcome);
                }
                if !foreign.forks.is_empty() {
                    self.sort_waiting(txn, log.id, now_ms)?;
                    self.want_healed(txn, log.id)?;
                }
                self.accept_heads(txn, log, &foreign.heads, &foreign.keys)?;
                self.accept_ahead(txn, log, &foreign.ahead)?;
                self.release_held(txn, log.id, now_ms)?;
                Ok(Outcome::Foreign(outcomes))
            }
            Batch::Snapshot { fold, row, cuts } => {
                let subject = self.subjects.get(&log.id);
                if let Some(subject) = subject.filter(|subject| subject.recorded && subject.head.cuts == *cuts) {
                    txn.put(Table::Snapshots, &keys::snapshot(subject.head.number, fold), row)?;
                }
                Ok(Outcome::Done)
            }
            // Answered after the commit.
            Batch::Head { .. } | Batch::Heads | Batch::Explain(_) => Ok(Outcome::Done),
            Batch::Heal { old, new } => self.heal(txn, log, *old, *new, now_ms).map(Outcome::Healed),
            Batch::Logs => self.logs(txn, log.id, |cuts, author| cuts.last_valid(author)).map(Outcome::Logs),
            Batch::Kept => self.logs(txn, log.id, |cuts, author| cuts.fork(author)).map(Outcome::Logs),
            Batch::Nodes(rows) => {
                for (key, row) in rows.iter() {
                    txn.put(Table::Nodes, key, row)?;
                }
                Ok(Outcome::Done)
            }
            Batch::Cursor { name, cursor } => {
                let subject = self.subjects.get(&log.id).filter(|subject| subject.recorded);
                let number = subject.map(|subject| subject.head.number);
                match (number, cursor) {
                    (Some(number), Some(cursor)) => {
                        txn.put(Table::Cursors, &keys::cursor(number, name), &cursor.encode(number))?;
                    }
                    (Some(number), None) => txn.delete(Table::Cursors, &keys::cursor(number, name))?,
                    (None, Some(_)) => {
                        let reason = "its subject has no event that it could stand behind".to_owned();
                        return Err(StorageError::Engine { action: "storing a cursor", reason });
                    }
                    (None, None) => {}
                }
                Ok(Outcome::Done)
            }
            Batch::Act { author, act } => {
                let acted = self.act(txn, log, (*author, *act), now_ms)?;
                Ok(Outcome::Acted(Box::new(acted)))
            }
            Batch::Share(row) => {
                match row {
                    Some(row) => {
                        self.check_share(txn, log.id, row)?;
                        txn.put(Table::Shares, log.id.as_bytes(), row)?;
                        self.note_share(log.id, row);
                    }
                    None => txn.delete(Table::Shares, log.id.as_bytes())?,
                }
                Ok(Outcome::Done)
            }
            Batch::Open => {
                // The time of what is held here may have come while the subject was not in use.
                self.release_held(txn, log.id, now_ms)?;
                Ok(Outcome::Done)
            }
        }
    }

    /// The authors whose logs here are as long as what was to be continued, and others.
    fn parted(&self, id: SubjectId, before: &[(XaeroID, Peaks)]) -> SmallVec<[XaeroID; 2]> {
        let Some(subject) = self.subjects.get(&id) else { return SmallVec::new() };
        let is_other = |(author, before): &&(XaeroID, Peaks)| {
            let (slot, _) = subject.head.author(*author);
            let tree = subject.head.tree(slot).map(|(_, tree)| &tree.peaks);
            tree.is_some_and(|peaks| peaks.len() == before.len() && peaks != before)
        };
        before.iter().filter(is_other).map(|(author, _)| *author).collect()
    }

    fn write_local(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        batch: &LocalBatch,
        now_ms: u64,
    ) -> Result<Vec<Result<Acknowledged, PublishError>>, StorageError> {
        let wanted = batch.chunk.receipts.is_some();
        let mut results = Vec::with_capacity(if wanted { batch.chunk.entries.len() } else { 0 });
        let mut refused = batch.refused.iter().peekable();
        self.release_held(txn, log.id, now_ms)?;
        self.touch(txn, log)?;
        // An author who goes on here before the events are in that it wrote elsewhere would fork its own log.
        let behind = self.subjects.get(&log.id).filter(|subject| !subject.waiting.is_empty());
        let behind = behind.map(|subject| subject.waiting.authors()).unwrap_or_default();
        for (index, entry) in batch.chunk.entries.iter().enumerate() {
            if let Some((_, why)) = refused.next_if(|(at, _)| *at == index) {
                results.push(Err(why.clone()));
                continue;
            }
            fault_point!(self.scope, "committer.before_put");
            let Some(payload_hash) = batch.payload_hashes.get(index) else { continue };
            let Some(subject) = self.subjects.get(&log.id) else { continue };
            let author = heir(self.keyring.as_deref(), entry.event.author_id.unwrap_or(batch.own));
            if behind.contains(&author) {
                results.push(Err(PublishError::Behind { author }));
                continue;
            }
            if let Some(last_valid) = subject.head.cuts.fork(author) {
                // It is about to go on under another key, unless that could not be made.
                self.to_heal.insert((log.id, author));
                results.push(Err(PublishError::Forked { author, last_valid }));
                continue;
            }
            if subject.rights.is_some()
                && let Err(denied) = self.admit_author(txn, log, author, now_ms)?
            {
                results.push(Err(denied));
                continue;
            }
            let event = LocalEvent {
                author,
                latest_ts: entry.event.latest_ts,
                event_type: entry.event.evt.event_type,
                payload: &entry.event.evt.data,
                payload_hash,
            };
            match self.append_local(txn, log, &event, now_ms)? {
                Ok(dot) => {
                    if wanted {
                        results.push(Ok(Acknowledged { author, seq: dot.seq, id: EventId::from([0; 32]) }));
                    }
                    self.let_in(txn, log.id, dot, now_ms)?;
                }
                Err(error) => results.push(Err(error)),
            }
        }
        fault_point!(self.scope, "committer.after_put");
        self.hash_ids(log.id);
        for (acknowledged, id) in results.iter_mut().flatten().zip(self.ids.drain(..)) {
            acknowledged.id = id;
        }
        self.ids.clear();
        Ok(results)
    }

    /// Appends an event of a local author, who may write it. Its id is hashed later, with those of others.
    pub(super) fn append_local(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        event: &LocalEvent<'_>,
        now_ms: u64,
    ) -> Result<Result<Dot, PublishError>, StorageError> {
        if self.block.is_full() {
            self.hash_ids(log.id);
            self.flush(txn)?;
        }
        let unknown =
            || StorageError::Engine { action: "appending an event", reason: "its log is not open".to_owned() };
        let subject = self.subjects.get_mut(&log.id).ok_or_else(unknown)?;
        let head = &mut subject.head;
        let author = event.author;
        let (slot, known) = head.author(author);
        // The author has seen everything in this log, so its clock is above all of it.
        let clock = head.clock.next(now_ms);
        let deps = head.frontier.deps_for(author, MAX_DEPS);
        let record = Record {
            subject: log.id,
            dot: Dot::new(author, known.seq.saturating_add(1)),
            clock,
            latest_ts: event.latest_ts.unwrap_or_else(|| clock.millis()),
            deps: &deps,
            event_type: event.event_type,
            payload: event.payload,
        };
        let position = self.next;
        let written = self.block.append(head.links(&known), |out| frame::encode_into(out, &record).map(drop));
        if let Err(error) = written {
            return Ok(Err(refusal(&error)));
        }
        self.preimages.push(&record, event.payload_hash);
        self.unhashed.push((position, slot));
        let rows = head.apply_at(slot, position, record.dot, clock, deps.iter().copied());
        let number = head.number;
        self.next = position.saturating_add(1);
        index_rows(txn, number, position, rows)?;
        Ok(Ok(record.dot))
    }

    /// Lets in what waited for an event that was just appended here.
    pub(super) fn let_in(
        &mut self,
        txn: &mut WriteTxn<'_>,
        id: SubjectId,
        dot: Dot,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        if self.subjects.get(&id).is_some_and(|subject| !subject.waiting.is_empty()) {
            // What is let in may be compared with what has just been appended.
            self.hash_ids(id);
            self.release(txn, id, dot, now_ms)?;
        }
        Ok(())
    }

    /// Hashes the ids of the events of this subject that have none yet, many at a time, completes their entries, and adds
    /// them to their authors' trees.
    pub(super) fn hash_ids(&mut self, subject: SubjectId) {
        if self.unhashed.is_empty() {
            return;
        }
        let first = self.next - self.block.count();
        let mut leaves: Vec<(u32, Hash)> = Vec::with_capacity(self.unhashed.len());
        for ((position, slot), id) in self.unhashed.drain(..).zip(self.preimages.take_ids()) {
            self.block.set_id(first, position, &id);
            self.ids.push(id);
            leaves.push((slot, *id.as_bytes()));
        }
        // Stable: the leaves of each author stay in their order.
        leaves.sort_by_key(|(slot, _)| *slot);
        let mut run = Vec::with_capacity(leaves.len());
        for of_author in leaves.chunk_by(|left, right| left.0 == right.0) {
            run.clear();
            run.extend(of_author.iter().map(|(_, leaf)| *leaf));
            if let Some((slot, _)) = of_author.first() {
                self.grow(subject, *slot, &run);
            }
        }
    }

    /// Adds leaves to the tree of the author in this slot.
    pub(super) fn grow(&mut self, id: SubjectId, slot: u32, leaves: &[Hash]) {
        if self.keeps_trees
            && let Some(subject) = self.subjects.get_mut(&id)
        {
            subject.head.grow(slot, leaves);
            let author = subject.head.tree(slot).map(|(author, _)| author.author);
            if let (Some(author), Some(keyring)) = (author, &self.keyring)
                && keyring.can_sign(author)
            {
                self.heads.grew(id, slot);
            }
        }
    }

    /// Appends a frame made elsewhere, all of whose causes are in the log.
    pub(crate) fn append_frame(
        &mut self,
        txn: &mut WriteTxn<'_>,
        id: SubjectId,
        Frame { dot, clock, deps, bytes, event, is_verified }: Frame<'_>,
    ) -> Result<(), StorageError> {
        if self.block.is_full() {
            self.flush(txn)?;
        }
        let Some(subject) = self.subjects.get_mut(&id) else { return Ok(()) };
        let position = self.next;
        let (slot, known) = subject.head.author(dot.author);
        let links = Links { unverified: !is_verified, ..subject.head.links(&known) };
        let append = self.block.append(links, |out| {
            out.extend_from_slice(bytes);
            Ok::<(), std::convert::Infallible>(())
        });
        match append {
            Ok(()) => {}
            Err(never) => match never {},
        }
        self.block.set_id(position - (self.block.count() - 1), position, &event);
        let rows = subject.head.apply_at(slot, position, dot, clock, deps.iter().copied());
        if subject.head.cuts.parts(dot) && heir(self.keyring.as_deref(), dot.author) != dot.author {
            // More of a history that goes on under another key.
            self.to_heal.insert((id, dot.author));
        }
        if !is_verified {
            subject.head.doubt(slot);
        }
        let number = subject.head.number;
        self.next = position.saturating_add(1);
        self.grow(id, slot, &[*event.as_bytes()]);
        index_rows(txn, number, position, rows)
    }

    /// The block that is being filled, and the position of its first event.
    pub(crate) fn unwritten(&self) -> (u64, &BlockBuilder) {
        (self.next - self.block.count(), &self.block)
    }

    /// Puts the block that is being filled into the log.
    pub(crate) fn flush(&mut self, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let first = self.next - self.block.count();
        let bytes = self.block.parts(first, &mut self.scratch);
        self.grown = self.grown.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        txn.put_parts(Table::Log, &keys::position(first), &[&self.scratch, self.block.entries()])?;
        self.block.clear();
        Ok(())
    }

    /// Writes what the commit needs besides the events: the last block, and now and then the heads.
    pub(crate) fn finish(&mut self, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        // Each subject once, however many control events have come.
        for id in self.with_stale_rights() {
            self.refresh_rights(txn, id)?;
        }
        self.flush(txn)?;
        self.store_signed(txn)?;
        if self.next.saturating_sub(self.checkpoint) >= CHECKPOINT_EVENTS {
            self.write_checkpoint(txn)?;
            self.store.env.release_dead_readers();
            self.evict();
        } else if self.subjects.len() >= self.evict_at {
            self.evict();
        }
        Ok(())
    }

    /// Writes all changed heads, so that a start need not replay the log before here.
    pub(crate) fn write_checkpoint(&mut self, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        for subject in self.subjects.values_mut().filter(|subject| subject.dirty) {
            txn.put(Table::Heads, &subject.head.number.key(), &subject.head.encode())?;
            subject.dirty = false;
        }
        self.checkpoint_heads(txn)?;
        txn.put(Table::Meta, CHECKPOINT_KEY, &checkpoint_row(self.next))?;
        self.checkpoint = self.next;
        Ok(())
    }

    /// After the commit: readers may see what it wrote. Returns the logs that it changed.
    pub(crate) fn publish(&mut self) -> SmallVec<[Arc<SubjectLog>; 4]> {
        self.store.segments.grew(std::mem::take(&mut self.grown));
        self.heads.stored();
        let mut changed = SmallVec::new();
        for id in self.touched.drain(..) {
            let Some(subject) = self.subjects.get_mut(&id) else { continue };
            subject.touched = false;
            subject.recorded = true;
            if let Some(log) = self.store.known_log(id) {
                log.publish(Some(subject.head.number), extent(&subject.head));
                log.publish_members(subject.members());
                if log.publish_cuts(&subject.head.cuts) {
                    log.tell_grown();
                }
                log.tell_commit();
                changed.push(log);
            }
        }
        changed
    }

    /// Whether the transaction changes a subject of which somebody waits for each event.
    pub(crate) fn touches_watched(&self) -> bool {
        self.touched.iter().any(|id| self.store.known_log(*id).is_some_and(|log| log.is_watched()))
    }

    /// Notes that the transaction changes a subject that has its rows.
    pub(crate) fn touch_known(&mut self, id: SubjectId) {
        if let Some(subject) = self.subjects.get_mut(&id).filter(|subject| !subject.touched) {
            subject.touched = true;
            subject.dirty = true;
            self.touched.push(id);
        }
    }

    /// Notes that the transaction changes the subject, and gives a new one its rows.
    pub(crate) fn touch(&mut self, txn: &mut WriteTxn<'_>, log: &SubjectLog) -> Result<(), StorageError> {
        let Some(subject) = self.subjects.get(&log.id).filter(|subject| !subject.touched) else { return Ok(()) };
        if !subject.recorded {
            let number = subject.head.number;
            let row: SmallVec<[u8; 128]> = log.id.as_bytes().iter().chain(log.name.as_bytes()).copied().collect();
            txn.put(Table::Subjects, &number.key(), &row)?;
            txn.put(Table::SubjectNumbers, log.id.as_bytes(), &number.key())?;
        }
        self.touch_known(log.id);
        Ok(())
    }
}

/// How far the log of this head reaches.
pub(crate) const fn extent(head: &Head) -> Extent {
    Extent { count: head.count, last: head.last }
}

/// Who writes for this author here.
fn heir(keyring: Option<&Keyring>, author: XaeroID) -> XaeroID {
    let keyring = keyring.filter(|keyring| keyring.any_continued());
    keyring.and_then(|keyring| keyring.writing_for(author)).unwrap_or(author)
}

fn index_rows(
    txn: &mut WriteTxn<'_>,
    number: SubjectNumber,
    position: u64,
    rows: IndexRows,
) -> Result<(), StorageError> {
    let value = keys::position(position);
    if let Some(step) = rows.subject {
        txn.put(Table::SubjectIndex, &keys::subject_index(number, step), &value)?;
    }
    if let Some((slot, step)) = rows.author {
        txn.put(Table::AuthorIndex, &keys::author_index(number, slot, step), &value)?;
    }
    Ok(())
}

fn refusal(error: &FrameError) -> PublishError {
    match error {
        FrameError::PayloadTooLarge(bytes) => PublishError::PayloadTooLarge { size: *bytes },
        other => PublishError::Storage(Arc::from(other.to_string())),
    }
}
