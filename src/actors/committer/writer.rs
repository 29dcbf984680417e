//! Appending to the log within one transaction.

use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{ingest::IngestOutcome, recover::checkpoint_row, waiting::Waiting};
use crate::{
    actors::{
        bus::{Acknowledged, Chunk, Entry, PublishError},
        fault::fault_point,
        storage::{
            StorageError, Store,
            block::BlockBuilder,
            cursor::Cursor,
            head::{Head, IndexRows},
            keys::{self, SubjectNumber},
            lmdb::{Table, WriteTxn},
            open::SubjectLog,
            reader::Extent,
        },
    },
    wire::{
        clock::Clock,
        frame::{self, FrameError},
        hash_many::HashMany,
        id::{Dot, EventId, SubjectId, XaeroID},
        limits::MAX_DEPS,
        record::{Preimages, Record},
    },
};

/// Heads are written out after so many events: how much of the log a start may have to replay.
pub(crate) const CHECKPOINT_EVENTS: u64 = 65_536;

/// Heads that are kept in memory without a look whether they are still of use: a few megabytes.
pub(crate) const KEPT_SUBJECTS: usize = 4_096;

/// Key of the checkpoint in the meta table.
pub(crate) const CHECKPOINT_KEY: &[u8] = b"checkpoint";

/// What one subject hands over to be committed as a whole.
pub(crate) struct Submission {
    /// The subject's log.
    pub(crate) log: Arc<SubjectLog>,
    /// The ingress token: batches of a subject have increasing ones, and one is never committed twice.
    pub(crate) token: u64,
    /// What to write.
    pub(crate) batch: Batch,
    /// Told when the submission is dealt with.
    pub(crate) reply: Reply,
}

/// Called once, on the committer's thread: it must only pass the news on.
pub(crate) type Reply = Box<dyn FnOnce(Result<Outcome, StorageError>) + Send>;

/// What a submission writes.
#[derive(Clone)]
pub(crate) enum Batch {
    /// Events published here.
    Local(Arc<LocalBatch>),
    /// Frames made elsewhere.
    Foreign(Arc<Vec<Vec<u8>>>),
    /// The state of a fold as of an ordinal.
    Snapshot {
        /// Hash of the fold's name.
        fold: [u8; 32],
        /// How many events it covers, and the state.
        row: Arc<Vec<u8>>,
    },
    /// The place of a durable subscription.
    Cursor {
        /// Hash of its name.
        name: [u8; 32],
        /// The place; `None` forgets it.
        cursor: Option<Arc<Cursor>>,
    },
    /// Nothing of its own: the answer tells that the log's extent is known, and that all before it is dealt with.
    Open,
}

/// A chunk of the bus whose authors are known.
pub(crate) struct LocalBatch {
    pub(crate) chunk: Arc<Chunk>,
    /// The node's own identity, for events without an author.
    pub(crate) own: XaeroID,
    /// Indexes of the events that are refused, ascending, and why.
    pub(crate) refused: Vec<(usize, PublishError)>,
    /// BLAKE3 of each payload, which the ids of the receipts are made of; empty where there are no receipts.
    pub(crate) payload_hashes: Vec<[u8; 32]>,
}

impl LocalBatch {
    /// Hashes the payloads, where anybody wants to know the ids.
    pub(crate) fn new(chunk: Arc<Chunk>, own: XaeroID, refused: Vec<(usize, PublishError)>) -> Self {
        static HASH: OnceLock<HashMany> = OnceLock::new();
        let payload_hashes = if chunk.receipts.is_some() {
            let payloads: Vec<&[u8]> = chunk.entries.iter().map(unhashed).collect();
            let mut hashes = HASH.get_or_init(HashMany::plain).all(&payloads);
            for (hash, entry) in hashes.iter_mut().zip(&chunk.entries) {
                *hash = entry.payload_hash.unwrap_or(*hash);
            }
            hashes
        } else {
            Vec::new()
        };
        Self { chunk, own, refused, payload_hashes }
    }
}

/// What became of a submission.
pub(crate) enum Outcome {
    /// One result for each event that wanted one; empty where nobody asked.
    Local(Vec<Result<Acknowledged, PublishError>>),
    /// One for each frame.
    Foreign(Vec<IngestOutcome>),
    /// Done.
    Done,
}

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
    /// Of the events whose ids are wanted.
    preimages: Preimages,
    /// Subjects that this transaction touched.
    touched: Vec<SubjectId>,
    /// Which node this is, for the fault points of tests.
    pub(crate) scope: String,
}

/// A subject in use.
pub(crate) struct Subject {
    pub(crate) head: Head,
    /// Events that wait for their causes or their time.
    pub(crate) waiting: Waiting,
    /// Whether the head was changed since the checkpoint.
    pub(crate) dirty: bool,
    /// Whether the subject has its rows, or gets them with its first event.
    pub(crate) recorded: bool,
    /// Whether the running transaction changed it.
    pub(crate) touched: bool,
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
            touched: Vec::new(),
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
            Batch::Foreign(frames) => {
                let mut outcomes = Vec::with_capacity(frames.len());
                for frame in frames.iter() {
                    outcomes.push(self.ingest(txn, log, frame, now_ms)?);
                }
                self.release_held(txn, log.id, now_ms)?;
                Ok(Outcome::Foreign(outcomes))
            }
            Batch::Snapshot { fold, row } => {
                if let Some(subject) = self.subjects.get(&log.id).filter(|subject| subject.recorded) {
                    txn.put(Table::Snapshots, &keys::snapshot(subject.head.number, fold), row)?;
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
            Batch::Open => {
                // The time of what is held here may have come while the subject was not in use.
                self.release_held(txn, log.id, now_ms)?;
                Ok(Outcome::Done)
            }
        }
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
        for (index, entry) in batch.chunk.entries.iter().enumerate() {
            if let Some((_, why)) = refused.next_if(|(at, _)| *at == index) {
                results.push(Err(why.clone()));
                continue;
            }
            fault_point!(self.scope, "committer.before_put");
            if self.block.is_full() {
                self.flush(txn)?;
            }
            let Some(subject) = self.subjects.get_mut(&log.id) else { continue };
            let head = &mut subject.head;
            let author = entry.event.author_id.unwrap_or(batch.own);
            let (slot, known) = head.author(author);
            // The author has seen everything in this log, so its clock is above all of it.
            let clock = head.clock.next(now_ms);
            let deps = head.frontier.deps_for(author, MAX_DEPS);
            let record = Record {
                subject: log.id,
                dot: Dot::new(author, known.seq.saturating_add(1)),
                clock,
                latest_ts: entry.event.latest_ts.unwrap_or_else(|| clock.millis()),
                deps: &deps,
                event_type: entry.event.evt.event_type,
                payload: &entry.event.evt.data,
            };
            let position = self.next;
            let written =
                self.block.append(position, head.links(&known), |out| frame::encode_into(out, &record).map(drop));
            if let Err(error) = written {
                results.push(Err(refusal(&error)));
                continue;
            }
            if let Some(hash) = batch.payload_hashes.get(index) {
                self.preimages.push(&record, hash);
                results.push(Ok(Acknowledged { author, seq: record.dot.seq, id: EventId::from([0; 32]) }));
            }
            let rows = head.apply_at(slot, position, record.dot, clock, deps.iter().copied());
            let (number, waits) = (head.number, !subject.waiting.is_empty());
            self.next = position.saturating_add(1);
            index_rows(txn, number, position, rows)?;
            if waits {
                self.release(txn, log.id, record.dot, now_ms)?;
            }
        }
        fault_point!(self.scope, "committer.after_put");
        for (acknowledged, id) in results.iter_mut().flatten().zip(self.preimages.take_ids()) {
            acknowledged.id = id;
        }
        Ok(results)
    }

    /// Appends a frame made elsewhere, all of whose causes are in the log.
    pub(crate) fn append_frame(
        &mut self,
        txn: &mut WriteTxn<'_>,
        subject: SubjectId,
        dot: Dot,
        clock: Clock,
        deps: &[Dot],
        frame: &[u8],
    ) -> Result<(), StorageError> {
        if self.block.is_full() {
            self.flush(txn)?;
        }
        let Some(subject) = self.subjects.get_mut(&subject) else { return Ok(()) };
        let position = self.next;
        let (slot, known) = subject.head.author(dot.author);
        let links = subject.head.links(&known);
        let append = self.block.append(position, links, |out| {
            out.extend_from_slice(frame);
            Ok::<(), std::convert::Infallible>(())
        });
        match append {
            Ok(()) => {}
            Err(never) => match never {},
        }
        let rows = subject.head.apply_at(slot, position, dot, clock, deps.iter().copied());
        self.next = position.saturating_add(1);
        index_rows(txn, subject.head.number, position, rows)
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
        self.block.parts(first, &mut self.scratch);
        txn.put_parts(Table::Log, &keys::position(first), &[&self.scratch, self.block.entries()])?;
        self.block.clear();
        Ok(())
    }

    /// Writes what the commit needs besides the events: the last block, and now and then the heads.
    pub(crate) fn finish(&mut self, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        self.flush(txn)?;
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
        txn.put(Table::Meta, CHECKPOINT_KEY, &checkpoint_row(self.next))?;
        self.checkpoint = self.next;
        Ok(())
    }

    /// After the commit: readers may see what it wrote. Returns the logs that it changed.
    pub(crate) fn publish(&mut self) -> SmallVec<[Arc<SubjectLog>; 4]> {
        let mut changed = SmallVec::new();
        for id in self.touched.drain(..) {
            let Some(subject) = self.subjects.get_mut(&id) else { continue };
            subject.touched = false;
            subject.recorded = true;
            if let Some(log) = self.store.known_log(id) {
                log.publish(Some(subject.head.number), extent(&subject.head));
                changed.push(log);
            }
        }
        changed
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

/// The payload, unless its sender has hashed it.
fn unhashed(entry: &Entry) -> &[u8] {
    if entry.payload_hash.is_some() { &[] } else { &entry.event.evt.data }
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
