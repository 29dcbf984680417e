//! A local writer whose log has forked goes on under another key, and nothing of what it said is lost.
//!
//! Its key was used in two places: a backup was restored over the directory and published too early, or a key was imported
//! elsewhere. Once there is evidence, nothing after the point where the two histories part counts, on no node. Each directory
//! that has the key then does the same: the name gets a fresh key that the old one vouches for, and the events past the cut
//! that are here are published again under it, in their order, with their type, payload and timestamp.
//!
//! *What they had seen.* An event that is published again names what the old one had seen, and the new log up to it stands
//! for the old one. So a removal removes what it removed before, and nothing that came meanwhile. (It may remove what its own
//! author has added under the new key before the older log was cut, which happens where the evidence about several subjects
//! comes at different times.)
//!
//! *Once.* Each step is one transaction: some events and the row that says so ([`Republished`]). A step is due as long as the
//! row has a gap, at start too; so it does not matter where a process ends. Before the steps are done nothing else is
//! committed, so that what is published next comes after them.
//!
//! *Whose.* Only the directory in which the old key wrote does this: not a copy of it, which got a key of its own. What other
//! directories have of the same log is left to them.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use hashbrown::HashMap;

use super::{
    recover::damaged,
    submission::{Batch, Outcome, Submission},
    thread::Loop,
    writer::{Frame, LogWriter},
};
use crate::{
    actors::storage::{
        StorageError,
        cuts::Cuts,
        keys::{self, SubjectNumber},
        lmdb::{Reads, Table, WriteTxn},
        open::{Healed, SubjectLog},
        reader::LogReader,
        republished::{Republished, Run},
        row::{checked, unchecked},
    },
    crdt::rights::Standing,
    wire::{
        archive,
        event::EventType,
        frame,
        id::{Dot, SubjectId, XaeroID},
        limits::MAX_DEPS,
        record::Record,
    },
};

/// Events that are published again in one transaction: as many as a group of published ones.
const STEP_EVENTS: usize = 4_096;

/// Bytes of payload after which a step ends: what a transaction holds in memory.
const STEP_BYTES: usize = 8 << 20;

/// How long until it is tried again where there was no room: room is seldom made sooner.
const RETRY: Duration = Duration::from_secs(5);

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Healing {
    /// The last event of the old log that counts.
    pub(crate) last_valid: u64,
    /// How many events are published again, in all.
    pub(crate) events: u64,
    /// Whether there are more.
    pub(crate) more: bool,
}

/// An event of the old log.
struct Old {
    seq: u64,
    event_type: EventType,
    latest_ts: u64,
    deps: Vec<Dot>,
    /// `None` where it is not kept here.
    payload: Option<Vec<u8>>,
}

/// What became of the logs past their cuts.
type Done = HashMap<XaeroID, Republished>;

impl LogWriter {
    /// Notes which local writers' logs in this subject are to go on under another key.
    pub(super) fn want_healed(&mut self, txn: &impl Reads, id: SubjectId) -> Result<(), StorageError> {
        let (Some(keyring), Some(subject)) = (&self.keyring, self.subjects.get(&id)) else { return Ok(()) };
        for (author, last_valid) in
            subject.head.cuts.forks().filter(|(author, _)| keyring.writing_for(*author).is_some())
        {
            let length = subject.head.author(author).1.seq;
            // In an owned subject the key that continues needs a right of its own.
            let may_write = |heir| {
                let members = subject.members();
                members.is_none_or(|members| !matches!(members.standing(heir), Standing::Denied(_)))
            };
            let is_due = || {
                if !keyring.writing_for(author).is_some_and(may_write) {
                    return Ok(false);
                }
                let done = self.republished(txn, subject.head.number, author)?;
                Ok::<bool, StorageError>(done.gap(last_valid, length).is_some())
            };
            if keyring.contains(author) || is_due()? {
                self.to_heal.insert((id, author));
            }
        }
        Ok(())
    }

    /// Brings the subjects into memory in which the log of a local writer has forked, and notes what is left to do.
    pub(super) fn load_forked(&mut self, txn: &impl Reads) -> Result<(), StorageError> {
        let Some(keyring) = self.keyring.clone() else { return Ok(()) };
        let mut numbers: Vec<SubjectNumber> = Vec::new();
        txn.scan(Table::Cuts, &[], &mut |key, _| {
            let number = SubjectNumber::from_key(key).ok_or_else(|| damaged("cuts", key))?;
            let author = key.get(4..).and_then(|author| <[u8; 32]>::try_from(author).ok());
            let is_local = author.is_some_and(|author| keyring.writing_for(XaeroID::from(author)).is_some());
            if is_local && numbers.last() != Some(&number) {
                numbers.push(number);
            }
            Ok(true)
        })?;
        for number in numbers {
            let row = txn.get(Table::Subjects, &number.key())?.and_then(|row| row.first_chunk::<32>());
            let id = SubjectId::from(*row.ok_or_else(|| damaged("subjects", &number.key()))?);
            self.load(txn, id)?;
            self.want_healed(txn, id)?;
        }
        Ok(())
    }

    /// What of this author's log was published again.
    pub(super) fn republished(
        &self,
        txn: &impl Reads,
        number: SubjectNumber,
        author: XaeroID,
    ) -> Result<Republished, StorageError> {
        let key = keys::cut(number, author);
        let Some(row) = txn.get(Table::Republished, &key)? else { return Ok(Republished::default()) };
        unchecked(row).and_then(Republished::decode).ok_or_else(|| damaged("republished", &key))
    }

    /// Publishes the next events again that `old` wrote past its cut, as events of `new`.
    pub(super) fn heal(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        old: XaeroID,
        new: XaeroID,
        now_ms: u64,
    ) -> Result<Healing, StorageError> {
        let Some(subject) = self.subjects.get(&log.id) else { return Err(damaged("subjects", log.id.as_bytes())) };
        let (number, cuts) = (subject.head.number, subject.head.cuts.clone());
        let (_, known) = subject.head.author(old);
        // Nothing counts less than all of it where there is no cut.
        let last_valid = cuts.fork(old).unwrap_or(known.seq);
        let mut done = Done::new();
        for (author, _) in cuts.forks() {
            done.insert(author, self.republished(txn, number, author)?);
        }
        let mut ours = done.remove(&old).unwrap_or_default();
        let Some(gap) = ours.gap(last_valid, known.seq) else {
            return Ok(Healing { last_valid, events: ours.events(), more: false });
        };
        self.touch(txn, log)?;
        // In an owned subject the new key writes once the role is granted to it, too.
        if self.admit_author(txn, log, new, now_ms)?.is_err() {
            return Ok(Healing { last_valid, events: ours.events(), more: false });
        }
        for event in self.past_cut(txn, log.id, old, *gap.start(), *gap.end())? {
            // What the first of them follows. The others follow the new log.
            let previous = Dot::new(old, last_valid);
            let is_first = event.seq == last_valid.saturating_add(1);
            let deps = context(new, is_first.then_some(previous), &event.deps, &cuts, &done);
            let now = self.publish_again(txn, log.id, new, &event, &deps, now_ms)?;
            ours.note(Run { from: event.seq, to: event.seq, now });
        }
        txn.put(Table::Republished, &keys::cut(number, old), &checked(&ours.encode()))?;
        Ok(Healing { last_valid, events: ours.events(), more: ours.gap(last_valid, known.seq).is_some() })
    }

    /// The events of an author from one sequence number to another, as many as make a step, and one at least.
    fn past_cut(
        &self,
        txn: &WriteTxn<'_>,
        id: SubjectId,
        author: XaeroID,
        first: u64,
        last: u64,
    ) -> Result<Vec<Old>, StorageError> {
        let Some(subject) = self.subjects.get(&id) else { return Ok(Vec::new()) };
        let (slot, known) = subject.head.author(author);
        let (from, block) = self.unwritten();
        let mut reader = LogReader::with_unwritten(txn, from, block);
        let (mut events, mut bytes) = (Vec::new(), 0_usize);
        for seq in first..=last {
            if events.len() >= STEP_EVENTS || bytes >= STEP_BYTES {
                break;
            }
            let Some(stored) = reader.by_seq((subject.head.number, id), slot, &known, seq)? else { break };
            let record = stored.record;
            bytes = bytes.saturating_add(record.payload().len());
            events.push(Old {
                seq,
                event_type: record.event_type(),
                latest_ts: record.latest_ts(),
                deps: record.deps().collect(),
                payload: (!record.is_withheld()).then(|| record.payload().to_vec()),
            });
        }
        Ok(events)
    }

    /// Appends what an event says as the next event of `author`. `None` where it is passed over: what the engine itself says
    /// in an author's name is not for another to say.
    fn publish_again(
        &mut self,
        txn: &mut WriteTxn<'_>,
        id: SubjectId,
        author: XaeroID,
        event: &Old,
        deps: &[Dot],
        now_ms: u64,
    ) -> Result<Option<Dot>, StorageError> {
        let Some(subject) = self.subjects.get(&id).filter(|_| !event.event_type.is_reserved()) else { return Ok(None) };
        let Some(payload) = &event.payload else { return Ok(None) };
        let dot = Dot::new(author, subject.head.author(author).1.seq.saturating_add(1));
        let clock = subject.head.clock.next(now_ms);
        let record =
            Record { subject: id, dot, clock, latest_ts: event.latest_ts, deps, event_type: event.event_type, payload };
        let mut bytes = Vec::new();
        let refused = |error: frame::FrameError| StorageError::Engine {
            action: "publishing an event again",
            reason: error.to_string(),
        };
        frame::encode_into(&mut bytes, &record).map_err(refused)?;
        let event = archive::open(&bytes).map_err(refused)?.0.id();
        self.append_frame(txn, id, Frame { dot, clock, deps, bytes: &bytes, event, is_verified: true })?;
        Ok(Some(dot))
    }
}

/// What an event that `author` publishes again has seen: what the old one had, ascending. For what counts no more stands what
/// was published in its place, or else the last of its author's events that counts.
fn context(author: XaeroID, previous: Option<Dot>, deps: &[Dot], cuts: &Cuts, done: &Done) -> Vec<Dot> {
    let stands_for = |dep: Dot| {
        let again = || done.get(&dep.author).and_then(|done| done.find(dep.seq));
        if cuts.parts(dep) { again().or_else(|| cuts.clamp(dep)) } else { Some(dep) }
    };
    let previous = previous.filter(|previous| previous.seq > 0);
    let seen = previous.into_iter().chain(deps.iter().filter_map(|dep| stands_for(*dep)));
    let mut seen: Vec<Dot> = seen.filter(|dep| dep.author != author).collect();
    // Of each author the last that was seen.
    seen.sort_unstable_by(|left, right| right.cmp(left));
    seen.dedup_by_key(|dep| dep.author);
    seen.reverse();
    seen.truncate(MAX_DEPS);
    seen
}

impl Loop {
    /// Has the logs of local writers go on that have forked, before anything else is published.
    pub(super) fn heal(&mut self) {
        if self.writer.to_heal.is_empty() || self.heal_at.is_some_and(|due| due > Instant::now()) {
            return;
        }
        self.heal_at = None;
        self.healed.retain(|log| log.has_healed());
        let due: Vec<(SubjectId, XaeroID)> = self.writer.to_heal.iter().copied().collect();
        for (id, old) in due {
            if self.store.poisoned().is_some() {
                return;
            }
            if self.unhealed.contains(&(id, old)) {
                self.writer.to_heal.remove(&(id, old));
                continue;
            }
            match self.heal_log(id, old) {
                Ok(()) => {
                    self.writer.to_heal.remove(&(id, old));
                }
                Err(error) if error.is_refusal() => {
                    tracing::warn!(author = %old, %error, "a log that forked cannot go on under another key yet");
                    self.writer.to_heal.insert((id, old));
                    self.heal_at = Instant::now().checked_add(RETRY);
                    return;
                }
                Err(error) => {
                    tracing::error!(author = %old, %error, "a log that forked cannot go on under another key");
                    self.unhealed.insert((id, old));
                }
            }
        }
    }

    fn heal_log(&mut self, id: SubjectId, old: XaeroID) -> Result<(), StorageError> {
        let Some(keyring) = self.keyring.clone() else { return Ok(()) };
        let new = keyring.continue_forked(old).map_err(|error| StorageError::Engine {
            action: "giving an identity whose log forked a fresh key",
            reason: error.to_string(),
        })?;
        let log = self.log_of(id)?;
        loop {
            let (tell, told) = mpsc::channel();
            self.commit(vec![Submission {
                log: Arc::clone(&log),
                token: 0,
                batch: Batch::Heal { old, new },
                reply: Box::new(move |answer| drop(tell.send(answer))),
            }]);
            let Outcome::Healed(Healing { last_valid, events, more }) =
                told.recv().unwrap_or(Err(StorageError::Closed))?
            else {
                return Ok(());
            };
            if !more {
                tracing::warn!(subject = log.name, %old, %new, events, "a log that forked goes on under another key");
                log.publish_healed(Healed { old, new, last_valid, events });
                log.tell_grown();
                self.healed.push(log);
                return Ok(());
            }
        }
    }

    /// The shared part of a subject's log, found by the subject's identifier.
    fn log_of(&self, id: SubjectId) -> Result<Arc<SubjectLog>, StorageError> {
        if let Some(log) = self.store.known_log(id) {
            return Ok(log);
        }
        let lost = || damaged("subjects", id.as_bytes());
        let txn = self.store.env.read()?;
        let number = txn.get(Table::SubjectNumbers, id.as_bytes())?.ok_or_else(lost)?;
        let row = txn.get(Table::Subjects, number)?.and_then(|row| row.strip_prefix(id.as_bytes())).ok_or_else(lost)?;
        Ok(self.store.log(id, str::from_utf8(row).map_err(|_| lost())?))
    }
}
