//! The heads of the authors' logs: which have grown, which are signed, and where the signatures are.
//!
//! A signature covers a *batch*: all heads of one author that some commits changed. Batches are rows of their own, numbered
//! in the order in which they were stored. A tree knows the batch of its newest signed head, and a batch that no tree
//! refers to any more is deleted. How many trees do is counted in memory, and written out at checkpoints together with
//! the heads; a start counts on from there with the batches stored since.
//!
//! A signature is in use as soon as the commit is over that it was made beside. It is stored a moment later, by a commit of its
//! own or with others, so that of the heads of a log that grows with every commit only some are written. A crash in between costs
//! nothing: the events are there, and are signed again.

use hashbrown::{HashMap, HashSet};

use super::{batches::ReadBatches, recover::damaged, writer::LogWriter};
use crate::{
    actors::{
        keyring::Keyring,
        signing::thread::{Done, GrownHead, Job},
        storage::{
            StorageError,
            ahead::Ahead,
            head::{AuthorHead, Signed},
            keys::{self, SubjectNumber},
            lmdb::{Reads, Table, WriteTxn},
            open::SubjectLog,
            row::{checked, unchecked},
        },
    },
    wire::{
        head::{HeadBatch, SignedHead},
        id::{SubjectId, XaeroID},
        key::PublicKey,
        mmr::Peaks,
    },
};

/// Key of the number that the next batch had at the checkpoint, in the meta table.
const BATCHES_KEY: &[u8] = b"head_batches";

/// Key of the subjects that had unsigned heads at the checkpoint, in the meta table.
const UNSIGNED_KEY: &[u8] = b"unsigned_heads";

/// With so many heads ready, they are stored with the next commit: a few megabytes.
const READY_HEADS: usize = 32_768;

/// In the place of a batch's number: the signed head came from elsewhere, and has a row of its own.
pub(crate) const PEER: u64 = u64::MAX;

/// What the writer knows of signatures.
#[derive(Default)]
pub(crate) struct Heads {
    /// Trees that have grown since they were last part of a job.
    grown: HashSet<(SubjectId, u32)>,
    /// Trees that are part of the job that is on its way, and whose they are.
    signing: HashMap<(SubjectId, u32), XaeroID>,
    /// Whether a job is on its way.
    busy: bool,
    /// Batches that are signed and not stored. What they cover is durable.
    ready: Vec<HeadBatch>,
    /// Those of them that are in the transaction that runs.
    storing: Vec<HeadBatch>,
    /// Whether what is ready waits until there is room for it.
    held: bool,
    /// Whether the next commit stores what is ready.
    due: bool,
    /// The number of the next batch.
    next: u64,
    /// Of how many trees a batch is the newest; as far as it changed since the checkpoint.
    live: HashMap<u64, u32>,
    /// Batches that were read.
    read: ReadBatches,
    /// Authors that could not be signed for in this run of the process.
    unsignable: HashSet<XaeroID>,
    /// Subjects that have trees of theirs: the next run of the process looks at them again.
    stuck: HashSet<SubjectNumber>,
}

impl Heads {
    /// Whether there is something for a job, and none is on its way.
    pub(super) fn is_signing_due(&self) -> bool {
        !self.busy && !self.grown.is_empty()
    }

    /// Whether signatures wait to be stored.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// There was no room for what is ready; or, where not `held`, the next commit stores it.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
        self.due = !held;
    }

    /// Whether the next commit stores what is ready: it is time, or there is much of it.
    fn is_due(&self) -> bool {
        let many = || self.ready.iter().map(|batch| batch.heads().len()).sum::<usize>() >= READY_HEADS;
        !self.held && !self.ready.is_empty() && (self.due || many())
    }

    /// Whether the transaction that runs stores signatures.
    pub(crate) fn is_storing(&self) -> bool {
        !self.storing.is_empty()
    }

    /// The transaction that ran is on disk.
    pub(super) fn stored(&mut self) {
        self.storing.clear();
    }

    /// What is on its way is to be signed again.
    pub(crate) fn forget_job(&mut self) {
        self.busy = false;
        self.grown.extend(self.signing.drain().map(|(tree, _)| tree));
    }

    /// Notes that a tree has grown.
    pub(super) fn grew(&mut self, subject: SubjectId, slot: u32) {
        self.grown.insert((subject, slot));
    }

    /// Whether this tree waits for its signature.
    pub(super) fn is_open(&self, subject: SubjectId, slot: u32) -> bool {
        self.grown.contains(&(subject, slot)) || self.signing.contains_key(&(subject, slot))
    }

    /// Takes the answer to a job of this epoch.
    pub(super) fn take(&mut self, done: Done) {
        self.busy = false;
        for (author, reason) in done.failed {
            tracing::error!(%author, reason, "the heads of an author cannot be signed: its events cannot be proven");
            self.unsignable.insert(author);
        }
        let signed: HashSet<(SubjectId, XaeroID)> = done
            .batches
            .iter()
            .flat_map(|batch| batch.heads().iter().map(|head| (head.subject, head.author)))
            .collect();
        // What a job did not bring back is part of the next one.
        for ((subject, slot), author) in self.signing.drain() {
            if !signed.contains(&(subject, author)) {
                self.grown.insert((subject, slot));
            }
        }
        self.ready.extend(done.batches);
    }
}

/// What is known of one author's log in a subject.
pub(crate) struct KnownHead {
    pub(crate) number: SubjectNumber,
    pub(crate) slot: u32,
    pub(crate) author: AuthorHead,
    pub(crate) peaks: Peaks,
    /// The newest head that the author signed.
    pub(crate) signed: Option<SignedHead>,
    /// Whether there are events beyond it that nothing shows to be the author's.
    pub(crate) unverified: bool,
    /// A head that is signed over more than is here, where none is signed over just that.
    pub(crate) ahead: Option<Ahead>,
}

impl KnownHead {
    /// Events that the newest signed head covers.
    pub(crate) fn signed_length(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.head().length)
    }

    /// Events that can be shown to be the author's.
    pub(crate) fn shown_length(&self) -> u64 {
        self.signed_length().max(self.ahead.as_ref().map_or(0, |ahead| ahead.proof.old))
    }

    /// Events that are the author's without doubt: covered by a signed head, published here, or the beginning of what the author
    /// had signed when they came.
    pub(crate) fn verified_length(&self) -> u64 {
        if self.unverified { self.signed_length() } else { self.peaks.len() }
    }
}

impl LogWriter {
    /// Takes over from the writer that was in use before a failure what is not on disk.
    pub(crate) fn succeed(&mut self, old: &Self) {
        self.keeps_trees = old.keeps_trees;
        self.refusals = old.refusals.clone();
        self.heads.unsignable.clone_from(&old.heads.unsignable);
        self.heads.stuck.extend(&old.heads.stuck);
        self.heads.held = old.heads.held;
        // What these cover was durable when they were signed.
        self.heads.ready = old.heads.storing.iter().chain(&old.heads.ready).cloned().collect();
        for head in self.heads.ready.iter().flat_map(HeadBatch::heads) {
            let Some(subject) = self.subjects.get(&head.subject) else { continue };
            let (slot, _) = subject.head.author(head.author);
            if subject.head.tree(slot).is_some_and(|(_, tree)| tree.peaks.len() == head.length) {
                self.heads.grown.remove(&(head.subject, slot));
            }
        }
    }

    /// Has the logs of a subject that was just loaded signed, as far as they are not: it may be that their authors' keys
    /// were away when they were written.
    pub(super) fn want_loaded_signed(&mut self, id: SubjectId) {
        let (Some(keyring), Some(subject)) = (&self.keyring, self.subjects.get(&id)) else { return };
        for (slot, author, tree) in subject.head.authors() {
            if tree.is_unsigned() && !tree.unverified && keyring.can_sign(author.author) {
                self.heads.grew(id, slot);
            }
        }
    }

    /// What is known of the author's log. A signature that is ready counts, though it may not be stored yet: the events
    /// that it covers are.
    pub(crate) fn known_head(
        &mut self,
        txn: &impl Reads,
        id: SubjectId,
        author: XaeroID,
    ) -> Result<KnownHead, StorageError> {
        self.load(txn, id)?;
        let subject = self.subjects.get(&id).ok_or_else(|| damaged("subjects", id.as_bytes()))?;
        let (slot, known) = subject.head.author(author);
        let number = subject.head.number;
        let tree = subject.head.tree(slot).map(|(_, tree)| tree.clone()).unwrap_or_default();
        let ready = self.heads.ready.iter().rev().find_map(|batch| find(batch, id, author));
        let signed = match ready {
            Some(head) if head.head().length > tree.signed.length => Some(head),
            _ if tree.signed.length == 0 => None,
            _ if tree.signed.batch == PEER => Some(peer_head(txn, number, slot)?),
            _ => {
                let batch = tree.signed.batch;
                let head = find(self.heads.read.get(txn, batch)?, id, author);
                Some(head.ok_or_else(|| damaged("signed heads", &batch.to_be_bytes()))?)
            }
        };
        let ahead = if tree.is_unsigned() && !tree.unverified { ahead_of(txn, number, slot)? } else { None };
        Ok(KnownHead { number, slot, author: known, peaks: tree.peaks, signed, unverified: tree.unverified, ahead })
    }

    /// What is known of all authors' logs, as of one moment. Since every job covers all heads that have grown, the newest
    /// signed heads of the authors who are signed for here are then those of one moment, too.
    pub(crate) fn known_heads(&mut self, txn: &impl Reads, id: SubjectId) -> Result<Vec<KnownHead>, StorageError> {
        self.load(txn, id)?;
        let Some(subject) = self.subjects.get(&id) else { return Ok(Vec::new()) };
        let authors: Vec<XaeroID> = subject.head.authors().map(|(_, author, _)| author.author).collect();
        authors.into_iter().map(|author| self.known_head(txn, id, author)).collect()
    }

    /// The heads that are to be signed now, if there are any and none are on their way.
    pub(crate) fn signing_job(&mut self, keyring: &Keyring, epoch: u64) -> Option<Job> {
        if self.heads.busy || self.heads.grown.is_empty() {
            return None;
        }
        let mut by_author: HashMap<XaeroID, Vec<GrownHead>> = HashMap::new();
        for (id, slot) in self.heads.grown.drain() {
            let Some((author, tree)) = self.subjects.get(&id).and_then(|subject| subject.head.tree(slot)) else {
                continue;
            };
            let author = author.author;
            // Nobody signs what may have been put into his mouth.
            let is_wanted = tree.is_unsigned() && !tree.unverified;
            if is_wanted && self.heads.unsignable.contains(&author) {
                self.heads.stuck.extend(self.subjects.get(&id).map(|subject| subject.head.number));
            } else if is_wanted && keyring.can_sign(author) {
                by_author.entry(author).or_default().push(GrownHead { subject: id, peaks: tree.peaks.clone() });
                self.heads.signing.insert((id, slot), author);
            }
        }
        self.heads.busy = !by_author.is_empty();
        self.heads.busy.then(|| Job { epoch, heads: by_author.into_iter().collect() })
    }

    /// Takes heads that were verified with the keys beside them, as far as the log has what they cover.
    pub(super) fn accept_heads(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        heads: &[SignedHead],
        writers: &[PublicKey],
    ) -> Result<(), StorageError> {
        for key in writers {
            txn.put(Table::Writers, key.id().as_bytes(), &checked(key.as_bytes()))?;
        }
        for signed in heads {
            let head = signed.head();
            let Some(subject) = self.subjects.get(&log.id).filter(|_| head.subject == log.id) else { continue };
            let (slot, _) = subject.head.author(head.author);
            let Some((_, tree)) = subject.head.tree(slot) else { continue };
            let number = subject.head.number;
            // A head of another length says nothing of what is here beyond what its verification has shown already.
            if head.length != tree.peaks.len() || head.root != tree.peaks.root() || !tree.is_unsigned() {
                continue;
            }
            let old = tree.signed;
            self.touch_known(log.id);
            txn.put(Table::PeerHeads, &keys::author(number, slot), &checked(&signed.encode()))?;
            if let Some(subject) = self.subjects.get_mut(&log.id) {
                subject.head.sign(slot, Signed { length: head.length, batch: PEER });
            }
            self.let_go(txn, old)?;
        }
        Ok(())
    }

    /// Keeps heads that are ahead of the logs here, as far as the logs end just where the proofs begin.
    pub(super) fn accept_ahead(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        heads: &[Ahead],
    ) -> Result<(), StorageError> {
        for ahead in heads {
            let head = ahead.head.head();
            let Some(subject) = self.subjects.get(&log.id).filter(|_| head.subject == log.id) else { continue };
            let (slot, _) = subject.head.author(head.author);
            let Some((_, tree)) = subject.head.tree(slot) else { continue };
            // Checked already where it came from; but the log may have grown by something else since.
            if ahead.continues(tree.peaks.len(), &tree.peaks.root()) {
                let key = keys::author(subject.head.number, slot);
                txn.put(Table::AheadHeads, &key, &checked(&ahead.encode()))?;
                self.touch_known(log.id);
            }
        }
        Ok(())
    }

    /// Counts one tree less for the batch of a head that has a newer one, and takes the batch out where it was the last.
    fn let_go(&mut self, txn: &mut WriteTxn<'_>, old: Signed) -> Result<(), StorageError> {
        let Some(left) = self.count_down(txn, old)? else { return Ok(()) };
        if left == 0 {
            txn.delete(Table::SignedHeads, &old.batch.to_be_bytes())?;
            txn.delete(Table::SignedHeads, &live_key(old.batch))?;
        }
        Ok(())
    }

    fn count_down(&mut self, txn: &impl Reads, old: Signed) -> Result<Option<u32>, StorageError> {
        if old.length == 0 || old.batch == PEER {
            return Ok(None);
        }
        let count = match self.heads.live.get(&old.batch) {
            Some(count) => *count,
            None => live_row(txn, old.batch)?.unwrap_or(0),
        };
        let left = count.saturating_sub(1);
        self.heads.live.insert(old.batch, left);
        Ok(Some(left))
    }

    /// Whether a signature of this author over so many events may still come.
    pub(crate) fn may_be_signed(&self, keyring: &Keyring, id: SubjectId, author: XaeroID, length: u64) -> bool {
        let Some(subject) = self.subjects.get(&id) else { return false };
        let (slot, known) = subject.head.author(author);
        let tree = subject.head.tree(slot).map(|(_, tree)| tree);
        known.seq >= length
            && tree.is_some_and(|tree| tree.signed.length < length && !tree.unverified && tree.peaks.len() >= length)
            && !self.heads.unsignable.contains(&author)
            && keyring.can_sign(author)
    }

    /// Has a log signed that [may be](Self::may_be_signed): the key of its author may have come after its events.
    pub(super) fn want_signed(&mut self, id: SubjectId, author: XaeroID) {
        if let Some(subject) = self.subjects.get(&id) {
            let (slot, _) = subject.head.author(author);
            if !self.heads.is_open(id, slot) {
                self.heads.grew(id, slot);
            }
        }
    }

    /// Puts the signatures that are ready into the transaction, and takes out those that nothing refers to any more.
    pub(crate) fn store_signed(&mut self, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        if !self.heads.is_due() {
            return Ok(());
        }
        self.heads.due = false;
        let mut dead = Vec::new();
        self.heads.storing.append(&mut self.heads.ready);
        // The newest first: of those before, mostly nothing is the newest any more, and nothing has to be stored.
        for batch in self.heads.storing.clone().into_iter().rev() {
            let number = self.heads.next;
            self.heads.next = number.saturating_add(1);
            let live = self.refer(txn, number, &batch, &mut dead)?;
            if live > 0 {
                txn.put(Table::SignedHeads, &number.to_be_bytes(), &checked(&encoded(&batch)))?;
                self.heads.live.insert(number, live);
            }
        }
        for number in dead {
            txn.delete(Table::SignedHeads, &number.to_be_bytes())?;
            txn.delete(Table::SignedHeads, &live_key(number))?;
        }
        Ok(())
    }

    /// Has the trees of a batch refer to it, as far as they have no newer one. Returns how many do.
    fn refer(
        &mut self,
        txn: &impl Reads,
        number: u64,
        batch: &HeadBatch,
        dead: &mut Vec<u64>,
    ) -> Result<u32, StorageError> {
        let mut live = 0;
        for head in batch.heads() {
            self.load(txn, head.subject)?;
            let Some(subject) = self.subjects.get_mut(&head.subject) else { continue };
            let (slot, _) = subject.head.author(head.author);
            let Some(old) = subject.head.tree(slot).map(|(_, tree)| tree.signed) else { continue };
            if head.length <= old.length {
                continue;
            }
            subject.head.sign(slot, Signed { length: head.length, batch: number });
            subject.dirty = true;
            live += 1;
            if self.count_down(txn, old)? == Some(0) {
                dead.push(old.batch);
            }
        }
        Ok(live)
    }

    /// Writes what a start has to know: with the checkpoint, in its transaction.
    pub(super) fn checkpoint_heads(&mut self, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        for (number, live) in self.heads.live.drain().filter(|(_, live)| *live > 0) {
            txn.put(Table::SignedHeads, &live_key(number), &checked(&live.to_le_bytes()))?;
        }
        txn.put(Table::Meta, BATCHES_KEY, &checked(&self.heads.next.to_le_bytes()))?;
        let open = self.heads.grown.iter().chain(self.heads.signing.keys()).map(|(id, _)| *id);
        let open = open.chain(self.heads.ready.iter().flat_map(|batch| batch.heads().iter().map(|head| head.subject)));
        let mut numbers: Vec<SubjectNumber> =
            open.filter_map(|id| self.subjects.get(&id).map(|subject| subject.head.number)).collect();
        numbers.extend(&self.heads.stuck);
        numbers.sort_unstable();
        numbers.dedup();
        let row: Vec<u8> = numbers.iter().flat_map(|number| number.key()).collect();
        txn.put(Table::Meta, UNSIGNED_KEY, &checked(&row))
    }

    /// Brings back what is known of signatures, once the log is replayed.
    pub(super) fn recover_heads(&mut self, txn: &impl Reads) -> Result<(), StorageError> {
        let damaged_meta = || damaged("meta", BATCHES_KEY);
        if let Some(row) = txn.get(Table::Meta, BATCHES_KEY)? {
            let number = unchecked(row).and_then(|row| row.try_into().ok()).ok_or_else(damaged_meta)?;
            self.heads.next = u64::from_le_bytes(number);
        }
        let mut batches = Vec::new();
        txn.scan(Table::SignedHeads, &self.heads.next.to_be_bytes(), &mut |key, row| {
            if let Ok(number) = key.try_into().map(u64::from_be_bytes) {
                let batch = unchecked(row).and_then(|row| HeadBatch::decode(row).ok());
                batches.push((number, batch.ok_or_else(|| damaged("signed heads", key))?));
            }
            Ok(true)
        })?;
        for (number, batch) in batches {
            // What is dead is deleted by the commit that made it so; that a row is left is possible, and harmless.
            let live = self.refer(txn, number, &batch, &mut Vec::new())?;
            self.heads.live.insert(number, live);
            self.heads.next = number.saturating_add(1);
        }
        if let Some(row) = txn.get(Table::Meta, UNSIGNED_KEY)? {
            let numbers = unchecked(row).ok_or_else(|| damaged("meta", UNSIGNED_KEY))?;
            for key in numbers.chunks_exact(4) {
                let id = txn.get(Table::Subjects, key)?.and_then(|row| row.first_chunk::<32>());
                self.load(txn, SubjectId::from(*id.ok_or_else(|| damaged("subjects", key))?))?;
            }
        }
        // An author may have been unknown when the subject was loaded, before the log was replayed.
        let loaded: Vec<SubjectId> = self.subjects.keys().copied().collect();
        loaded.into_iter().try_for_each(|id| self.take_peer_heads(txn, id))?;
        for (id, subject) in &self.subjects {
            for (slot, author, tree) in subject.head.authors() {
                if tree.is_unsigned() && self.keyring.as_ref().is_some_and(|keys| keys.can_sign(author.author)) {
                    self.heads.grown.insert((*id, slot));
                }
            }
        }
        Ok(())
    }

    /// Has the trees of a subject refer to heads from elsewhere that are newer than the subject's row: they are stored at
    /// once, and the row with the next checkpoint, before which the process may have ended.
    pub(super) fn take_peer_heads(&mut self, txn: &impl Reads, id: SubjectId) -> Result<(), StorageError> {
        let Some(subject) = self.subjects.get_mut(&id) else { return Ok(()) };
        let number = subject.head.number;
        let mut replaced = Vec::new();
        txn.scan(Table::PeerHeads, &number.key(), &mut |key, row| {
            let Some(slot) = keys::author_of(number, key) else { return Ok(false) };
            let head = unchecked(row).and_then(|row| SignedHead::decode(row).ok());
            let known = subject.head.tree(slot).map(|(_, tree)| tree.signed);
            if let (Some(head), Some(known)) = (head, known)
                && head.head().length > known.length
            {
                subject.head.sign(slot, Signed { length: head.head().length, batch: PEER });
                subject.dirty = true;
                replaced.push(known);
            }
            Ok(true)
        })?;
        // A batch that this leaves without trees was taken out when the head was stored.
        replaced.into_iter().try_for_each(|old| self.count_down(txn, old).map(drop))
    }
}

/// The newest signed head of an author whose key is elsewhere.
fn peer_head(txn: &impl Reads, number: SubjectNumber, slot: u32) -> Result<SignedHead, StorageError> {
    let key = keys::author(number, slot);
    let row = txn.get(Table::PeerHeads, &key)?.and_then(unchecked);
    row.and_then(|row| SignedHead::decode(row).ok()).ok_or_else(|| damaged("peer heads", &key))
}

/// The head that is ahead of an author's log. One that the log has caught up with is of no use, and not looked for.
fn ahead_of(txn: &impl Reads, number: SubjectNumber, slot: u32) -> Result<Option<Ahead>, StorageError> {
    let key = keys::author(number, slot);
    let Some(row) = txn.get(Table::AheadHeads, &key)? else { return Ok(None) };
    let ahead = unchecked(row).and_then(|row| Ahead::decode(row).ok());
    ahead.map(Some).ok_or_else(|| damaged("ahead_heads", &key))
}

fn live_row(txn: &impl Reads, number: u64) -> Result<Option<u32>, StorageError> {
    let key = live_key(number);
    let Some(row) = txn.get(Table::SignedHeads, &key)? else { return Ok(None) };
    let live = unchecked(row).and_then(|row| row.try_into().ok()).map(u32::from_le_bytes);
    live.map(Some).ok_or_else(|| damaged("signed heads", &key))
}

/// Key of the number of trees that refer to a batch: right behind the batch.
fn live_key(number: u64) -> [u8; 9] {
    keys::concat(number.to_be_bytes(), [1])
}

/// The head of this log in a batch.
fn find(batch: &HeadBatch, id: SubjectId, author: XaeroID) -> Option<SignedHead> {
    if batch.author() != author {
        return None;
    }
    batch.signed_head(batch.heads().iter().position(|head| head.subject == id)?)
}

fn encoded(batch: &HeadBatch) -> Vec<u8> {
    let mut out = Vec::new();
    batch.encode_into(&mut out);
    out
}
