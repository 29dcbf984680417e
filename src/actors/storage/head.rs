//! The head of a subject: what must be known to append its next event.
//!
//! Heads live in the committer's memory. Writing one with every commit would cost a put for each subject touched, so
//! they are written at checkpoints only, and the log after the checkpoint is replayed at start.

use hashbrown::HashMap;

use super::{
    block::{Link, Links},
    keys::SubjectNumber,
};
use crate::{
    crdt::frontier::Frontier,
    wire::{
        clock::Clock,
        id::{Dot, XaeroID},
    },
};

/// Up to this many authors are found by looking through them; beyond it a map pays for itself.
const LINEAR_AUTHORS: usize = 12;

/// One entry of each sparse index for so many events: the longest walk along back-links.
pub(crate) const INDEX_STEP: u64 = 64;

const VERSION: u8 = 1;

/// What is known of one author's log in a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthorHead {
    pub(crate) author: XaeroID,
    /// Sequence number of its last event; 0 before the first.
    pub(crate) seq: u64,
    /// Where that event is.
    pub(crate) last: Link,
    /// Its clock.
    pub(crate) clock: Clock,
}

/// What is known of one subject's log.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) number: SubjectNumber,
    /// Events in the log.
    pub(crate) count: u64,
    /// The last of them.
    pub(crate) last: Link,
    /// The highest clock of all of them.
    pub(crate) clock: Clock,
    /// The events that no other has seen.
    pub(crate) frontier: Frontier,
    /// In the order of their first event here: an author's place in it is its slot.
    authors: Vec<AuthorHead>,
    slots: HashMap<XaeroID, u32>,
}

/// Which rows of the sparse indexes an appended event adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexRows {
    /// The step of the subject's index.
    pub(crate) subject: Option<u64>,
    /// The slot and step of the author's index.
    pub(crate) author: Option<(u32, u64)>,
}

impl Head {
    pub(crate) fn new(number: SubjectNumber) -> Self {
        Self {
            number,
            count: 0,
            last: Link::NONE,
            clock: Clock::ZERO,
            frontier: Frontier::default(),
            authors: Vec::new(),
            slots: HashMap::new(),
        }
    }

    /// What is known of `author`, and its slot; an author without an event has the next free slot.
    pub(crate) fn author(&self, author: XaeroID) -> (u32, AuthorHead) {
        let slot = if self.authors.len() > LINEAR_AUTHORS {
            self.slots.get(&author).copied()
        } else {
            self.authors.iter().position(|known| known.author == author).and_then(|slot| u32::try_from(slot).ok())
        };
        let known = slot.and_then(|slot| Some((slot, *self.authors.get(usize::try_from(slot).ok()?)?)));
        known.unwrap_or_else(|| {
            let next = u32::try_from(self.authors.len()).unwrap_or(u32::MAX);
            (next, AuthorHead { author, seq: 0, last: Link::NONE, clock: Clock::ZERO })
        })
    }

    /// How many events of the dot's author are in the log.
    pub(crate) fn has(&self, dot: Dot) -> bool {
        self.author(dot.author).1.seq >= dot.seq
    }

    /// The links of the next event, if `author` writes it.
    pub(crate) fn links(&self, author: &AuthorHead) -> Links {
        Links { ordinal: self.count, subject: self.last, author: author.last }
    }

    /// Notes that an event was appended at `position`.
    pub(crate) fn apply(
        &mut self,
        position: u64,
        dot: Dot,
        clock: Clock,
        deps: impl IntoIterator<Item = Dot>,
    ) -> IndexRows {
        let (slot, _) = self.author(dot.author);
        self.apply_at(slot, position, dot, clock, deps)
    }

    /// As [`apply`](Self::apply), with the author's slot known.
    pub(crate) fn apply_at(
        &mut self,
        slot: u32,
        position: u64,
        dot: Dot,
        clock: Clock,
        deps: impl IntoIterator<Item = Dot>,
    ) -> IndexRows {
        let head = AuthorHead { author: dot.author, seq: dot.seq, last: Link::to(position), clock };
        match usize::try_from(slot).ok().and_then(|slot| self.authors.get_mut(slot)) {
            Some(known) => *known = head,
            None => self.add_author(head),
        }
        let ordinal = self.count;
        self.count = ordinal.saturating_add(1);
        self.last = Link::to(position);
        self.clock = self.clock.max(clock);
        self.frontier.insert(dot, deps);
        IndexRows {
            subject: ordinal.is_multiple_of(INDEX_STEP).then_some(ordinal / INDEX_STEP),
            author: dot.seq.is_multiple_of(INDEX_STEP).then_some((slot, dot.seq / INDEX_STEP)),
        }
    }

    fn add_author(&mut self, head: AuthorHead) {
        self.authors.push(head);
        if self.authors.len() > LINEAR_AUTHORS {
            let known = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
            for (slot, head) in (0..).zip(&self.authors).skip(usize::try_from(known).unwrap_or(usize::MAX)) {
                self.slots.insert(head.author, slot);
            }
        }
    }

    /// The row of the heads table.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let mut put = |number: u64| out.extend_from_slice(&number.to_le_bytes());
        put(self.count);
        put(self.last.to_bits());
        put(self.clock.to_bits());
        put(u64::try_from(self.authors.len()).unwrap_or(u64::MAX));
        for author in &self.authors {
            out.extend_from_slice(author.author.as_bytes());
            for number in [author.seq, author.last.to_bits(), author.clock.to_bits()] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        for dot in self.frontier.iter() {
            out.extend_from_slice(dot.author.as_bytes());
            out.extend_from_slice(&dot.seq.to_le_bytes());
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.number.key()), &out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The head from its row; `None` where the row is damaged.
    pub(crate) fn decode(number: SubjectNumber, row: &[u8]) -> Option<Self> {
        let (body, crc) = row.split_last_chunk::<4>()?;
        if crc32c::crc32c_append(crc32c::crc32c(&number.key()), body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (version, body) = body.split_first()?;
        if *version != VERSION {
            return None;
        }
        let mut fields = Fields(body);
        let mut head = Self::new(number);
        head.count = fields.number()?;
        head.last = Link::from_bits(fields.number()?);
        head.clock = Clock::from_bits(fields.number()?);
        for _ in 0..fields.number()? {
            head.add_author(AuthorHead {
                author: fields.id()?,
                seq: fields.number()?,
                last: Link::from_bits(fields.number()?),
                clock: Clock::from_bits(fields.number()?),
            });
        }
        while !fields.0.is_empty() {
            let dot = Dot::new(fields.id()?, fields.number()?);
            head.frontier.insert(dot, []);
        }
        Some(head)
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    fn id(&mut self) -> Option<XaeroID> {
        let (bytes, rest) = self.0.split_first_chunk::<32>()?;
        self.0 = rest;
        Some(XaeroID::from(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_its_row_and_a_damaged_row_does_not_pass() {
        let mut head = Head::new(SubjectNumber(3));
        for n in 0..40_u8 {
            let dot = Dot::new(XaeroID::from([n % 20; 32]), u64::from(n / 20) + 1);
            head.apply(u64::from(n) * 3, dot, Clock::from_millis(u64::from(n)), []);
        }
        let row = head.encode();
        let read = Head::decode(head.number, &row).unwrap();
        assert_eq!((read.count, read.last, read.clock), (head.count, head.last, head.clock));
        assert_eq!(read.authors, head.authors);
        assert_eq!(read.author(XaeroID::from([19; 32])), head.author(XaeroID::from([19; 32])));
        assert_eq!(read.frontier.iter().collect::<Vec<_>>(), head.frontier.iter().collect::<Vec<_>>());
        assert!(Head::decode(SubjectNumber(4), &row).is_none());
        for at in 0..row.len() {
            let mut bad = row.clone();
            bad[at] ^= 1;
            assert!(Head::decode(head.number, &bad).is_none());
        }
    }
}
