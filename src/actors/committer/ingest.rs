//! The door for events made elsewhere.
//!
//! What comes in is a frame with a given author, sequence number and causal context. It ends in one of these ways, and
//! every whole replica judges alike except where the outcome is "later":
//!
//! * *stored*: all its causes are in the log, and it is appended after them;
//! * *duplicate*: the very same event is here already;
//! * *waiting*: a cause is missing; the frame is kept on disk, and appended as soon as its causes are in;
//! * *held*: its clock is too far ahead of this machine's wall; kept likewise until the wall gets there;
//! * *left out*: a part of the subject is kept here, and its author is not of it;
//! * *refused*: it breaks a rule of the protocol, and would on every replica; or there is no room to let it wait.

use smallvec::SmallVec;
use thiserror::Error;

use super::{
    partial::Part,
    waiting::Awaits,
    writer::{Frame, LogWriter},
};
use crate::{
    actors::storage::{
        StorageError,
        head::Head,
        keys,
        lmdb::{Reads, Table, WriteTxn},
        open::SubjectLog,
        reader::LogReader,
    },
    crdt::rights::{BrokenRule, Charter, ControlEvent},
    wire::{
        archive,
        clock::Clock,
        control::Control,
        frame::FrameError,
        id::{Dot, EventId, SubjectId},
        record::RecordView,
    },
};

/// An event whose clock is further ahead of the wall than this is held until the wall gets nearer: 24 hours, more than
/// any mistaken time zone.
pub const MAX_CLOCK_AHEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IngestOutcome {
    /// It is in the log, and durable.
    Stored(Dot),
    /// It was in the log already.
    Duplicate(Dot),
    /// It is durable, and enters the log when this cause has.
    Waiting {
        /// The event.
        dot: Dot,
        /// The first of its causes that is missing.
        missing: Dot,
    },
    /// It is durable, and enters the log when this machine's clock gets near its own.
    Held {
        /// The event.
        dot: Dot,
        /// When, in milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// It was on disk already, and waits still for its cause or its time.
    StillWaiting(Dot),
    /// Only a part of the subject is kept here, and its author is not of it.
    LeftOut(Dot),
    /// Its author has signed two histories, and it is past the point where these part: it counts for nothing, and was not
    /// stored.
    Retracted(Dot),
    /// It was not taken.
    Refused(IngestRefusal),
}

/// Why a frame was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IngestRefusal {
    /// The bytes are not a valid frame.
    #[error("the event cannot be read: {0}")]
    Frame(#[from] FrameError),
    /// It came without its payload, which is wanted here.
    #[error(
        "event {dot} came without its payload, from a replica that keeps a part of the subject only: get it from one that has all"
    )]
    Withheld {
        /// The event.
        dot: Dot,
    },
    /// It belongs elsewhere.
    #[error("the event is of subject {found}, not of {expected}: send it to the subject that it was made for")]
    OtherSubject {
        /// The subject that it was sent to.
        expected: SubjectId,
        /// The subject that it names.
        found: SubjectId,
    },
    /// Another event has its author and sequence number.
    #[error("event {dot} is here with another content: its author's log has forked; keep both as evidence")]
    Fork {
        /// The contested place.
        dot: Dot,
        /// The event that is here.
        here: EventId,
        /// The event that came.
        there: EventId,
    },
    /// It is to be of an author whose key is here, and did not write it here.
    #[error(
        "event {dot} is in the name of a writer of this node, which did not publish it: it is taken only with the writer's signed head"
    )]
    OwnAuthor {
        /// The event.
        dot: Dot,
    },
    /// Its clock contradicts its causes.
    #[error(
        "event {dot} has a clock that is not above that of {cause}, which it follows: no engine makes such an event"
    )]
    ClockBelowCause {
        /// The event.
        dot: Dot,
        /// The cause whose clock is as high or higher.
        cause: Dot,
    },
    /// The subject is owned, and the event is not one that may be in it.
    #[error("event {dot} may not be in this owned subject: {rule}")]
    NoRight {
        /// The event.
        dot: Dot,
        /// The rule that it breaks.
        rule: BrokenRule,
    },
    /// Too much waits already.
    #[error(
        "event {dot} misses its cause {missing}, and no more events of this subject may wait: send the causes first, then this again"
    )]
    NoRoomToWait {
        /// The event.
        dot: Dot,
        /// The first of its causes that is missing.
        missing: Dot,
    },
}

/// The fields of a frame that decide what becomes of it, out of the frame's borrow.
pub(super) struct Arrival {
    dot: Dot,
    pub(super) clock: Clock,
    deps: SmallVec<[Dot; 4]>,
    /// In an owned subject, the grant that admits the author, where this is its first event.
    grant: Option<Dot>,
}

impl Arrival {
    pub(super) fn of(record: &RecordView<'_>, is_owned: bool) -> Self {
        let grant = is_owned.then(|| Charter::cause(record.seq(), record.event_type(), record.payload())).flatten();
        Self { dot: record.dot(), clock: record.clock(), deps: record.deps().collect(), grant }
    }

    /// The author's event before this one.
    fn previous(&self) -> Option<Dot> {
        let seq = self.dot.seq.checked_sub(1).filter(|seq| *seq > 0)?;
        Some(Dot::new(self.dot.author, seq))
    }

    /// All events that must be in the log before this one.
    fn causes(&self) -> impl Iterator<Item = Dot> + '_ {
        self.previous().into_iter().chain(self.deps.iter().copied()).chain(self.grant)
    }

    /// What it must wait for, if anything.
    pub(super) fn awaits(&self, head: &Head, now_ms: u64) -> Option<Awaits> {
        // An author's log has no gaps, not even where it counts no more: its tree and its index go by the numbers.
        let previous = self.previous().filter(|previous| !head.has(*previous));
        // A grant past its author's fork is another event here, if any, and never comes.
        let grant = || self.grant.filter(|grant| !head.has(*grant) && !head.cuts.parts(*grant));
        let dep = || self.deps.iter().find_map(|dep| head.missing(*dep));
        if let Some(missing) = previous.or_else(dep).or_else(grant) {
            return Some(Awaits::Cause(missing));
        }
        let enters = self.clock.millis().saturating_sub(MAX_CLOCK_AHEAD_MS);
        (enters > now_ms).then_some(Awaits::Time(enters))
    }
}

/// Whether an event may be in a log.
enum Judgement {
    /// It may; with its control record, if it has one.
    Right(Option<Control>),
    /// It counts for nothing on any replica, whatever is here in the place of what admits it.
    Void,
    /// It may not.
    Broken(BrokenRule),
}

impl LogWriter {
    /// Takes one frame, and remembers why where it is not taken.
    pub(crate) fn ingest(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        (frame, known_id): (&[u8], Option<EventId>),
        is_verified: bool,
        now_ms: u64,
    ) -> Result<IngestOutcome, StorageError> {
        let outcome = self.take_in(txn, log, (frame, known_id), is_verified, now_ms)?;
        if let IngestOutcome::Refused(why) = &outcome
            && let Ok((record, _)) = archive::open(frame)
        {
            self.refusals.note(log.id, record.dot(), why);
        }
        Ok(outcome)
    }

    fn take_in(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        (frame, known_id): (&[u8], Option<EventId>),
        is_verified: bool,
        now_ms: u64,
    ) -> Result<IngestOutcome, StorageError> {
        let refused = |why| Ok(IngestOutcome::Refused(why));
        // What is verified was read a moment ago, checksum and all, out of the same memory.
        let opened = if is_verified { archive::open_verified(frame) } else { archive::open(frame) };
        let (record, length) = match opened {
            Ok(opened) => opened,
            Err(error) => return refused(error.into()),
        };
        let Some(frame) = frame.get(..length) else { return refused(FrameError::NotAFrame.into()) };
        if record.subject() != log.id {
            return refused(IngestRefusal::OtherSubject { expected: log.id, found: record.subject() });
        }
        self.sort_waiting(txn, log.id, now_ms)?;
        let Some(subject) = self.subjects.get(&log.id) else { return refused(FrameError::NotAFrame.into()) };
        let arrival = Arrival::of(&record, subject.rights.is_some());
        let record_id = known_id.unwrap_or_else(|| record.id());
        let dot = arrival.dot;
        let short;
        let frame = match self.part_of(log.id, &record) {
            Part::Whole if record.is_withheld() => return refused(IngestRefusal::Withheld { dot }),
            Part::Header if !record.is_withheld() => {
                short = record.withheld_frame();
                short.as_deref().unwrap_or(frame)
            }
            Part::Whole | Part::AsItComes | Part::Header => frame,
            Part::Nothing => return Ok(IngestOutcome::LeftOut(dot)),
        };
        let is_retracted = subject.head.cuts.parts(dot);
        if subject.head.has(dot) {
            let here = match self.find(txn, log.id, dot) {
                // It is here, and cannot be compared: what comes with it is not to be held up.
                Err(StorageError::DamagedSegment { .. }) => None,
                found => found?.map(|found| found.0),
            };
            let there = record_id;
            return match here {
                Some(here) if here != there && is_retracted => Ok(IngestOutcome::Retracted(dot)),
                Some(here) if here != there => refused(IngestRefusal::Fork { dot, here, there }),
                _ => Ok(IngestOutcome::Duplicate(dot)),
            };
        }
        // What is signed is kept with the head that covers it, though it counts for nothing.
        if is_retracted && !is_verified {
            return Ok(IngestOutcome::Retracted(dot));
        }
        // What a local writer has not published here, only its own signature shows to be its own.
        if !is_verified && self.is_own(dot) {
            return refused(IngestRefusal::OwnAuthor { dot });
        }
        if let Some(awaits) = arrival.awaits(&subject.head, now_ms) {
            let is_new = !subject.waiting.contains(dot);
            let mut is_better = false;
            if !is_new {
                let here = txn.get(Table::Pending, &keys::pending(subject.head.number, dot))?;
                if let Some((row, (here, length))) = here.and_then(|row| Some((row, archive::open(row).ok()?))) {
                    // What is signed takes the place of what only its sender says, or anybody could keep it out.
                    is_better = is_verified && row.get(length..) != Some(&[1]);
                    let (here, there) = (here.id(), record_id);
                    if here != there && !is_better {
                        return refused(IngestRefusal::Fork { dot, here, there });
                    }
                }
            } else if !subject.waiting.has_room(frame.len()) {
                let missing = match awaits {
                    Awaits::Cause(missing) => missing,
                    Awaits::Time(_) => dot,
                };
                return refused(IngestRefusal::NoRoomToWait { dot, missing });
            }
            if is_new || is_better {
                self.touch(txn, log)?;
                if let Some(subject) = self.subjects.get_mut(&log.id) {
                    let key = keys::pending(subject.head.number, dot);
                    // Behind the frame, which knows its length.
                    let verified: &[u8] = if is_verified { &[1] } else { &[] };
                    txn.put_parts(Table::Pending, &key, &[frame, verified])?;
                    subject.waiting.insert(dot, frame.len() + verified.len(), awaits);
                }
            }
            if !is_new && !is_better {
                return Ok(IngestOutcome::StillWaiting(dot));
            }
            return Ok(match awaits {
                Awaits::Cause(missing) => IngestOutcome::Waiting { dot, missing },
                Awaits::Time(until_ms) => IngestOutcome::Held { dot, until_ms },
            });
        }
        if let Some(cause) = self.cause_above(txn, log.id, &arrival)? {
            return refused(IngestRefusal::ClockBelowCause { dot, cause });
        }
        let control = match self.judge(log.id, &record) {
            Judgement::Right(control) => control,
            Judgement::Void => return Ok(IngestOutcome::Retracted(dot)),
            Judgement::Broken(rule) => return refused(IngestRefusal::NoRight { dot, rule }),
        };
        self.touch(txn, log)?;
        self.note_arrived(txn, log.id, dot, control)?;
        let Arrival { clock, deps, .. } = &arrival;
        let (clock, event) = (*clock, record_id);
        self.append_frame(txn, log.id, Frame { dot, clock, deps, bytes: frame, event, is_verified })?;
        self.release(txn, log.id, dot, now_ms)?;
        Ok(IngestOutcome::Stored(dot))
    }

    /// Appends what waited for this event, what waited for that, and so on.
    pub(crate) fn release(
        &mut self,
        txn: &mut WriteTxn<'_>,
        id: SubjectId,
        appended: Dot,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        let mut ready = match self.subjects.get_mut(&id) {
            Some(subject) if !subject.waiting.is_empty() => subject.waiting.take_for_cause(appended).into_vec(),
            _ => return Ok(()),
        };
        while let Some(dot) = ready.pop() {
            if self.admit(txn, id, dot, now_ms)?
                && let Some(subject) = self.subjects.get_mut(&id)
            {
                ready.extend(subject.waiting.take_for_cause(dot));
            }
        }
        Ok(())
    }

    /// Appends the held events whose time has come.
    pub(crate) fn release_held(
        &mut self,
        txn: &mut WriteTxn<'_>,
        id: SubjectId,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        if self.subjects.get(&id).is_none_or(|subject| subject.waiting.is_empty()) {
            return Ok(());
        }
        self.sort_waiting(txn, id, now_ms)?;
        let due = self.subjects.get_mut(&id).map(|subject| subject.waiting.take_due(now_ms)).unwrap_or_default();
        for dot in due {
            if self.admit(txn, id, dot, now_ms)? {
                self.release(txn, id, dot, now_ms)?;
            }
        }
        Ok(())
    }

    /// Whether an event is held whose time has come.
    pub(crate) fn has_due(&self, now_ms: u64) -> bool {
        self.subjects.values().any(|subject| subject.waiting.may_be_due(now_ms))
    }

    /// Whether any event waits for its time, or for what is not known yet.
    pub(crate) fn holds_any(&self) -> bool {
        self.subjects.values().any(|subject| subject.waiting.may_be_due(u64::MAX))
    }

    /// Appends the held events of all subjects whose time has come.
    pub(crate) fn release_all_held(&mut self, txn: &mut WriteTxn<'_>, now_ms: u64) -> Result<(), StorageError> {
        let ids: Vec<SubjectId> = self.subjects.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.release_held(txn, id, now_ms))
    }

    /// Looks again at an event that waits: appends it, or notes what it waits for now. `true` where it was appended.
    fn admit(&mut self, txn: &mut WriteTxn<'_>, id: SubjectId, dot: Dot, now_ms: u64) -> Result<bool, StorageError> {
        let Some(subject) = self.subjects.get(&id) else { return Ok(false) };
        let key = keys::pending(subject.head.number, dot);
        let Some(frame) = txn.get(Table::Pending, &key)?.map(<[u8]>::to_vec) else { return Ok(false) };
        let (arrival, event, (length, judgement), (part, short)) = match archive::open(&frame) {
            Ok((record, length)) => {
                let is_owned = subject.rights.is_some();
                let part = match self.part_of(id, &record) {
                    // What is kept may have become known, or another, since it came.
                    Part::Whole if record.is_withheld() => Part::Nothing,
                    part => part,
                };
                let short = matches!(part, Part::Header).then(|| record.withheld_frame()).flatten();
                let judged = (length, self.judge(id, &record));
                (Arrival::of(&record, is_owned), record.id(), judged, (part, short))
            }
            Err(error) => {
                tracing::error!(%dot, %error, "an event that waited for its causes is damaged and stays aside");
                return Ok(false);
            }
        };
        let is_verified = frame.get(length..) == Some(&[1]);
        // Unless a signed head covers it, what counts for nothing is not stored, nor what a local writer has not published:
        // here as where it comes.
        let is_unwanted = subject.head.cuts.parts(dot) || self.is_own(dot);
        let is_left_out = matches!(part, Part::Nothing);
        let is_over = subject.head.has(dot) || (is_unwanted && !is_verified) || is_left_out;
        let awaits = arrival.awaits(&subject.head, now_ms).filter(|_| !is_over);
        if let Some(awaits) = awaits {
            if let Some(subject) = self.subjects.get_mut(&id) {
                subject.waiting.insert(dot, frame.len(), awaits);
            }
            return Ok(false);
        }
        let wrong_clock = if is_over { None } else { self.cause_above(txn, id, &arrival)? };
        txn.delete(Table::Pending, &key)?;
        if let Some(subject) = self.subjects.get_mut(&id) {
            subject.waiting.remove(dot);
        }
        if is_over {
            return Ok(false);
        }
        if let Some(cause) = wrong_clock {
            tracing::warn!(%dot, %cause, "refused an event that waited: its clock is not above that of its cause");
            self.refusals.note(id, dot, &IngestRefusal::ClockBelowCause { dot, cause });
            return Ok(false);
        }
        let control = match judgement {
            Judgement::Right(control) => control,
            Judgement::Void => return Ok(false),
            Judgement::Broken(rule) => {
                tracing::warn!(%dot, %rule, "refused an event that waited: it may not be in this owned subject");
                self.refusals.note(id, dot, &IngestRefusal::NoRight { dot, rule });
                return Ok(false);
            }
        };
        self.touch_known(id);
        self.note_arrived(txn, id, dot, control)?;
        let bytes = short.as_deref().unwrap_or_else(|| frame.get(..length).unwrap_or(&frame));
        let Arrival { clock, deps, .. } = &arrival;
        self.append_frame(txn, id, Frame { dot, clock: *clock, deps, bytes, event, is_verified })?;
        Ok(true)
    }

    /// Whether an event all of whose causes are here may be in the log.
    fn judge(&self, id: SubjectId, record: &RecordView<'_>) -> Judgement {
        let subject = self.subjects.get(&id);
        let Some((subject, rights)) = subject.and_then(|subject| Some((subject, subject.rights.as_ref()?))) else {
            return Judgement::Right(None);
        };
        match rights.charter.judge(record.dot(), record.event_type(), record.payload()) {
            Ok(control) => Judgement::Right(control),
            // Past the fork of its author, the grant is here another event than elsewhere. It counts on neither side.
            Err(BrokenRule::NoSuchGrant(grant)) if subject.head.cuts.parts(grant) => Judgement::Void,
            Err(rule) => Judgement::Broken(rule),
        }
    }

    /// Notes the control record of an event that is about to be appended, if it has one.
    fn note_arrived(
        &mut self,
        txn: &mut WriteTxn<'_>,
        id: SubjectId,
        dot: Dot,
        control: Option<Control>,
    ) -> Result<(), StorageError> {
        let Some(control) = control else { return Ok(()) };
        let ordinal = self.subjects.get(&id).map_or(0, |subject| subject.head.count);
        self.note_control(txn, id, ordinal, ControlEvent { dot, control })
    }

    /// Whether the event is to be of an author whose key is here.
    fn is_own(&self, dot: Dot) -> bool {
        self.keyring.as_ref().is_some_and(|keyring| keyring.contains(dot.author))
    }

    /// Finds out what the events read from disk wait for.
    pub(super) fn sort_waiting(
        &mut self,
        txn: &mut WriteTxn<'_>,
        id: SubjectId,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        let Some(subject) = self.subjects.get_mut(&id) else { return Ok(()) };
        for dot in subject.waiting.take_unsorted() {
            if self.admit(txn, id, dot, now_ms)? {
                self.release(txn, id, dot, now_ms)?;
            }
        }
        Ok(())
    }

    /// The first cause whose clock is not below that of the event.
    fn cause_above(&self, txn: &WriteTxn<'_>, id: SubjectId, arrival: &Arrival) -> Result<Option<Dot>, StorageError> {
        let Some(subject) = self.subjects.get(&id) else { return Ok(None) };
        if arrival.clock > subject.head.clock {
            return Ok(None);
        }
        // Of a retracted event another replica may hold another version: its clock must not decide here.
        let causes: SmallVec<[Dot; 5]> = arrival.causes().filter(|cause| !subject.head.cuts.parts(*cause)).collect();
        for cause in causes {
            let clock = match self.subjects.get(&id).map(|subject| subject.head.author(cause.author).1) {
                Some(author) if author.seq == cause.seq => Some(author.clock),
                _ => self.find(txn, id, cause)?.map(|found| found.1),
            };
            if clock.is_some_and(|clock| clock >= arrival.clock) {
                return Ok(Some(cause));
            }
        }
        Ok(None)
    }

    /// Id and clock of an event in the log.
    fn find(&self, txn: &WriteTxn<'_>, id: SubjectId, dot: Dot) -> Result<Option<(EventId, Clock)>, StorageError> {
        let Some(subject) = self.subjects.get(&id) else { return Ok(None) };
        let (slot, author) = subject.head.author(dot.author);
        // The last events that this transaction appended are not in the table yet. To put them there for each look would
        // end in blocks of single events.
        let (first, block) = self.unwritten();
        let found =
            LogReader::with_unwritten(txn, first, block).by_seq((subject.head.number, id), slot, &author, dot.seq)?;
        Ok(found.map(|stored| (stored.id(), stored.record.clock())))
    }
}
