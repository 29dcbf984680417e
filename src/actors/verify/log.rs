//! The log, event by event: what each must be after those before it.
//!
//! Each entry is read as any reader would, with every checksum compared; its id is hashed again, and its place is
//! compared with the one that the committer would give it: ordinal, links, sequence number, clock, causes. On the way the
//! rows of the sparse indexes and of the trees' nodes are compared that belong to the event.
//!
//! What follows a loss is not reported event by event: where entries could not be read, the next event of each subject
//! says where its log goes on, and the gap is one finding.

use std::sync::Arc;

use super::{
    compare,
    report::{Finding, Findings, remedy},
    state::{SubjectState, Subjects},
};
use crate::{
    actors::{
        committer::cuts,
        mmr::nodes::STORED_LEVEL,
        storage::{
            block::{BlockView, Entry, Links, Stored},
            frozen::View,
            head::Head,
            keys::{self, SubjectNumber},
            lmdb::{Reads, Table},
            reader::LogReader,
            shares::Share,
        },
    },
    crdt::rights::ControlEvent,
    wire::{
        clock::Clock,
        control::Control,
        event::EventType,
        frame::FrameError,
        id::{Dot, EventId, SubjectId},
        mmr::Hash,
        record::{RecordView, ids_of},
    },
};

/// Events whose ids are hashed together.
const PART_EVENTS: usize = 1_024;

/// Where blocks come from.
pub(super) struct Source<'v> {
    /// The name of the file in the data directory.
    pub(super) file: String,
    /// All of its bytes that are mapped, from its beginning.
    pub(super) bytes: &'v [u8],
    /// The table, where it has tables.
    pub(super) table: Option<&'static str>,
}

/// Reads a block all of whose events are in a segment as well, which the walk goes through instead.
pub(super) fn double(view: &View<'_>, first: u64, value: &[u8], findings: &mut Findings) {
    let source = Source { file: "data.mdb".to_owned(), bytes: view.bytes(), table: Some("log") };
    let read = BlockView::open(first, value)
        .and_then(|block| (first..block.end()).try_for_each(|position| block.stored(position).map(drop)));
    if let Err(error) = read {
        let what = format!("a block of the log cannot be read, and its events are in a segment as well: {error}");
        findings.add(source.at(Finding::damage(what, remedy::RESTORE).positions(first, first), first, value));
    }
}

impl Source<'_> {
    fn offset_of(&self, slice: &[u8]) -> Option<u64> {
        let offset = slice.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr())?;
        (offset <= self.bytes.len()).then(|| u64::try_from(offset).unwrap_or(u64::MAX))
    }

    fn at(&self, finding: Finding, first: u64, slice: &[u8]) -> Finding {
        let finding = finding.file(&self.file).offset(self.offset_of(slice));
        match self.table {
            Some(table) => finding.row(table, &keys::position(first)),
            None => finding,
        }
    }
}

/// The walk along the log.
pub(super) struct LogWalk {
    /// The only subject that is looked at.
    only: Option<SubjectId>,
    pub(super) subjects: Subjects,
    /// The position that comes next, where that is known.
    next: Option<u64>,
    /// Entries and blocks that could not be read.
    lost: u64,
    /// The block whose end is not known.
    open: Option<Finding>,
    /// Events of the subjects that are looked at.
    pub(super) events: u64,
    /// Leaves that are not in their trees yet: place of the subject, slot.
    leaves: Vec<(usize, u32, Hash)>,
}

/// An event that was read, and not compared yet.
struct Read<'v> {
    stored: Stored<'v>,
    first: u64,
}

impl LogWalk {
    pub(super) fn new(only: Option<SubjectId>) -> Self {
        Self { only, subjects: Subjects::default(), next: Some(0), lost: 0, open: None, events: 0, leaves: Vec::new() }
    }

    /// The position that comes next.
    pub(super) const fn next(&self) -> Option<u64> {
        self.next
    }

    /// Notes that rows could not be read, which is reported already.
    pub(super) fn lose(&mut self) {
        self.lost += 1;
        self.next = None;
    }

    /// The log goes on here, whatever could be read before.
    pub(super) const fn resume(&mut self, next: u64) {
        self.next = Some(next);
    }

    /// A range that cannot be read at all.
    pub(super) fn lost(&mut self, finding: Finding, end: u64, findings: &mut Findings) {
        self.end(findings);
        findings.add(finding);
        self.lost += 1;
        self.next = Some(end);
    }

    /// Looks at a block.
    pub(super) fn block<'v>(
        &mut self,
        view: &View<'v>,
        source: &Source<'v>,
        (first, value): (u64, &'v [u8]),
        findings: &mut Findings,
    ) {
        if let Some(open) = self.open.take() {
            let from = open.positions.map_or(0, |(from, _)| from);
            findings.add(open.positions(from, first.saturating_sub(1).max(from)));
        }
        match self.next {
            Some(next) if first > next => {
                self.lost += 1;
                let what = "the log lacks these positions";
                let finding = Finding::damage(what, remedy::RESTORE).positions(next, first - 1);
                findings.add(source.at(finding, first, value));
            }
            Some(next) if first < next => {
                let what = format!("a block begins at position {first}, where the block before it has events already");
                findings.add(source.at(
                    Finding::damage(what, remedy::RESTORE).positions(first, next - 1),
                    first,
                    value,
                ));
            }
            _ => {}
        }
        let block = match BlockView::open(first, value) {
            Ok(block) => block,
            Err(error) => {
                self.lost += 1;
                self.next = None;
                let what = format!("a block of the log cannot be read: {error}");
                self.open =
                    Some(source.at(Finding::damage(what, remedy::RESTORE).positions(first, first), first, value));
                return;
            }
        };
        self.next = Some(block.end());
        // A length that is damaged shows in nothing else: no reader asks for what is behind the last entry.
        if block.length_up_to(block.end().saturating_sub(1)).is_ok_and(|length| length != value.len()) {
            let what = "a block of the log is longer than its entries";
            let finding = Finding::damage(what, remedy::RESTORE).positions(first, block.end().saturating_sub(1));
            findings.add(source.at(finding, first, value));
        }
        let mut part: Vec<Read<'v>> = Vec::with_capacity(PART_EVENTS);
        for position in first..block.end() {
            let entry = block.entry(position);
            let stored = entry.clone().and_then(|entry| Stored::open(position, entry));
            match (entry, stored) {
                (_, Ok(stored)) => {
                    if self.only.is_none_or(|only| only == stored.record.subject()) {
                        part.push(Read { stored, first });
                    }
                    if part.len() == PART_EVENTS {
                        self.part(view, source, &mut part, findings);
                    }
                }
                (entry, Err(error)) => {
                    self.part(view, source, &mut part, findings);
                    let bytes = block.bytes_of(position).unwrap_or(value);
                    self.damaged(view, source, (first, position, bytes), entry.ok(), &error, findings);
                }
            }
        }
        self.part(view, source, &mut part, findings);
    }

    /// The end of a block whose own table does not tell it.
    pub(super) fn close(&mut self, end: u64, findings: &mut Findings) {
        if let Some(open) = self.open.take() {
            let from = open.positions.map_or(0, |(from, _)| from);
            findings.add(open.positions(from, end.saturating_sub(1)));
        }
    }

    /// The end of the log.
    pub(super) fn end(&mut self, findings: &mut Findings) {
        if let Some(open) = self.open.take() {
            findings.add(open);
        }
    }

    fn part<'v>(&mut self, view: &View<'v>, source: &Source<'v>, part: &mut Vec<Read<'v>>, findings: &mut Findings) {
        let records: Vec<RecordView<'v>> = part.iter().map(|read| read.stored.record).collect();
        for (read, id) in part.drain(..).zip(ids_of(&records)) {
            self.event(view, source, &read, id, findings);
        }
        self.grow(view, findings);
    }

    /// Compares one event with what comes before it.
    fn event<'v>(
        &mut self,
        view: &View<'v>,
        source: &Source<'v>,
        Read { stored, first }: &Read<'v>,
        id: EventId,
        findings: &mut Findings,
    ) {
        self.events += 1;
        let (record, position, links) = (stored.record, stored.position, stored.links);
        let dot = record.dot();
        let lost = self.lost;
        let place = self.place(view, record.subject(), findings);
        let Some(state) = self.subjects.get_mut(place) else { return };
        let finding = |name: &str, what: String| {
            let finding =
                Finding::damage(what, remedy::RESTORE).subject(name).author(dot.author).seqs(dot.seq, dot.seq);
            source.at(finding.positions(position, position), *first, stored.frame)
        };
        if let Some(kept) = stored.id.filter(|kept| *kept != id) {
            findings.add(finding(&state.name, format!("the event's id is {id}, and the log says {kept}")));
        }
        if record.is_withheld() && state.head.partial.as_ref().is_none_or(|filter| filter.takes(&record)) {
            findings.add(finding(&state.name, "its payload is not here, and should be".to_owned()));
        }
        let (slot, known) = state.head.author(dot.author);
        let expected = state.head.links(&known);
        let is_next = Links { unverified: expected.unverified, ..links } == expected && dot.seq == known.seq + 1;
        if !is_next {
            let author_lost = std::mem::replace(&mut state.tree(slot).lost, lost) < lost;
            if state.lost < lost || author_lost {
                if let Some(gap) = gap(state, links, dot, known.seq) {
                    findings.add(gap.positions(position, position));
                }
            } else {
                findings.add(finding(&state.name, misplaced(expected, links, dot, known.seq)));
            }
            state.is_broken = true;
            state.tree(slot).is_broken |= dot.seq != known.seq + 1;
            state.head.count = links.ordinal;
        }
        state.lost = lost;
        state.tree(slot).lost = lost;
        let causes_known = !state.is_broken && !state.is_blurred;
        for dep in record.deps().filter(|_| causes_known) {
            let is_here = state.head.has(dep) || state.head.leaves_out(dep.author);
            if !is_here && !is_retracted(view, state, dep) {
                findings.add(finding(&state.name, format!("it depends on {dep}, which is not in the log before it")));
            }
        }
        if record.clock() <= state.head.clock && causes_known {
            let own = (known.seq > 0).then(|| Dot::new(dot.author, known.seq));
            for cause in own.into_iter().chain(record.deps()) {
                if clock_of(view, state, cause).is_some_and(|clock| clock >= record.clock()) {
                    findings.add(finding(&state.name, format!("its clock is not above that of its cause {cause}")));
                }
            }
        }
        if let EventType::SystemEvent(code) = record.event_type()
            && let Ok(control) = Control::decode(code, record.payload())
        {
            state.control.push((links.ordinal, ControlEvent { dot, control }));
        }
        let rows = state.head.apply_at(slot, position, dot, record.clock(), record.deps());
        compare::index_rows(view, state, rows, position, dot, findings);
        self.leaf(view, place, slot, id, findings);
    }

    /// An entry that cannot be read: tells whose it is, where what is before it says so.
    fn damaged<'v>(
        &mut self,
        view: &View<'v>,
        source: &Source<'v>,
        (first, position, bytes): (u64, u64, &'v [u8]),
        entry: Option<Entry<'v>>,
        error: &FrameError,
        findings: &mut Findings,
    ) {
        let what = format!("an event cannot be read: {error}");
        let finding = Finding::damage(what, remedy::RESTORE).positions(position, position);
        let finding = source.at(finding, first, bytes);
        let mut reader = LogReader::new(view);
        let mut before = |link: crate::actors::storage::block::Link| reader.stored(link.position()?).ok();
        let links = entry.map(|entry| entry.links);
        let subject = links.and_then(|links| before(links.subject)).map(|stored| stored.record.subject());
        let author = links.and_then(|links| before(links.author)).map(|stored| stored.record.dot());
        let place = subject.and_then(|subject| self.subjects.place(subject));
        let state = place.and_then(|place| self.subjects.get_mut(place));
        let (Some(place), Some(state), Some(links), Some(previous), Some(id)) =
            (place, state, links, author, entry.and_then(|entry| entry.id))
        else {
            self.lost += 1;
            findings.add(finding);
            return;
        };
        let (slot, known) = state.head.author(previous.author);
        let dot = Dot::new(previous.author, previous.seq + 1);
        findings.add(finding.subject(&state.name).author(dot.author).seqs(dot.seq, dot.seq));
        if state.is_broken || known.seq != previous.seq || links.ordinal != state.head.count {
            self.lost += 1;
            return;
        }
        state.is_blurred = true;
        self.events += 1;
        let clock = state.head.clock;
        let rows = state.head.apply_at(slot, position, dot, clock, []);
        compare::index_rows(view, state, rows, position, dot, findings);
        self.leaf(view, place, slot, id, findings);
    }

    /// Adds a leaf, and compares the head where the log has come to its row.
    fn leaf(&mut self, view: &View<'_>, place: usize, slot: u32, id: EventId, findings: &mut Findings) {
        self.leaves.push((place, slot, *id.as_bytes()));
        let due = |state: &SubjectState| state.row.as_ref().is_some_and(|row| row.count == state.head.count);
        if self.subjects.get(place).is_some_and(due) {
            self.grow(view, findings);
            if let Some(state) = self.subjects.get_mut(place)
                && let Some(row) = state.row.take()
            {
                state.compared = Some(row.count);
                compare::head(view, state, &row, findings);
            }
        }
    }

    /// Adds the leaves to their trees, and compares the rows of the nodes that they complete.
    fn grow(&mut self, view: &View<'_>, findings: &mut Findings) {
        let mut leaves = std::mem::take(&mut self.leaves);
        // Stable: the leaves of each author stay in their order.
        leaves.sort_by_key(|(place, slot, _)| (*place, *slot));
        let mut run: Vec<Hash> = Vec::new();
        for of_author in leaves.chunk_by(|left, right| (left.0, left.1) == (right.0, right.1)) {
            let Some((place, slot, _)) = of_author.first().copied() else { continue };
            let Some(state) = self.subjects.get_mut(place) else { continue };
            if state.tree(slot).is_broken {
                continue;
            }
            run.clear();
            run.extend(of_author.iter().map(|(_, _, leaf)| *leaf));
            let mut completed: Vec<(u8, u64, Hash)> = Vec::new();
            state.tree(slot).peaks.extend(&run, &mut |level, index, node| {
                if level >= STORED_LEVEL {
                    completed.push((level, index, *node));
                }
            });
            for node in completed {
                compare::node(view, state, slot, node, findings);
            }
        }
        leaves.clear();
        self.leaves = leaves;
    }

    /// The place of a subject, which is looked up when the log first shows it.
    fn place(&mut self, view: &View<'_>, id: SubjectId, findings: &mut Findings) -> usize {
        if let Some(place) = self.subjects.place(id) {
            return place;
        }
        let row = view.get(Table::SubjectNumbers, id.as_bytes()).ok().flatten();
        let number = row.and_then(SubjectNumber::from_key);
        let named = number.and_then(|number| view.get(Table::Subjects, &number.key()).ok().flatten());
        let name = named.filter(|row| row.starts_with(id.as_bytes())).and_then(|row| row.get(32..));
        let name = name.and_then(|name| str::from_utf8(name).ok()).map_or_else(|| id.to_string(), ToOwned::to_owned);
        if number.is_none() {
            let what = "the log has events of a subject that has no number";
            let finding = Finding::damage(what, remedy::RESTORE).subject(&name);
            findings.add(finding.row("subject_numbers", id.as_bytes()));
        }
        let row = number.and_then(|number| view.get(Table::Heads, &number.key()).ok().flatten());
        let mut head = Head::new(number.unwrap_or(SubjectNumber(u32::MAX)));
        let share = view.get(Table::Shares, id.as_bytes()).ok().flatten();
        let share = share.and_then(|row| Share::decode(id.as_bytes(), row));
        head.partial = share.map(|share| share.filter).filter(|filter| !filter.is_all()).map(Arc::new);
        let decoded = number.zip(row).and_then(|(number, row)| Head::decode(number, row));
        self.subjects.add(SubjectState {
            id,
            name,
            number,
            head,
            row: decoded.map(Box::new),
            compared: None,
            trees: Vec::new(),
            control: Vec::new(),
            lost: self.lost,
            is_broken: self.lost > 0,
            is_blurred: false,
        })
    }
}

/// Whether a cause is beyond the end of its author's log, which is why it need not be here.
fn is_retracted(view: &View<'_>, state: &mut SubjectState, dep: Dot) -> bool {
    // Looked up when it is needed: a node beside may have learnt of it meanwhile.
    if let Some(cuts) = state.number.and_then(|number| cuts::load(view, number).ok()) {
        state.head.cuts = cuts;
    }
    state.head.cuts.retracts(dep)
}

/// Where a log goes on behind what is lost.
fn gap(state: &SubjectState, links: Links, dot: Dot, seq: u64) -> Option<Finding> {
    if dot.seq > seq + 1 {
        let what = "these events of an author are lost with the part of the log that cannot be read";
        let finding = Finding::damage(what, remedy::RESTORE).subject(&state.name);
        return Some(finding.author(dot.author).seqs(seq + 1, dot.seq - 1));
    }
    (links.ordinal > state.head.count).then(|| {
        let lost = links.ordinal - state.head.count;
        let what = format!("{lost} events of the subject are lost with the part of the log that cannot be read");
        Finding::damage(what, remedy::RESTORE).subject(&state.name)
    })
}

fn misplaced(expected: Links, links: Links, dot: Dot, seq: u64) -> String {
    if links.ordinal != expected.ordinal {
        format!("its ordinal in the subject is {}, and should be {}", links.ordinal, expected.ordinal)
    } else if dot.seq != seq + 1 {
        format!("its sequence number is {}, and should be {}", dot.seq, seq + 1)
    } else if links.subject != expected.subject {
        "its link does not lead to the event before it in its subject".to_owned()
    } else {
        "its link does not lead to the event before it by its author".to_owned()
    }
}

/// The clock of an event in the log.
fn clock_of(view: &View<'_>, state: &SubjectState, dot: Dot) -> Option<Clock> {
    let (slot, author) = state.head.author(dot.author);
    if author.seq == dot.seq {
        return Some(author.clock);
    }
    let found = LogReader::new(view).by_seq((state.number?, state.id), slot, &author, dot.seq);
    found.ok().flatten().map(|stored| stored.record.clock())
}
