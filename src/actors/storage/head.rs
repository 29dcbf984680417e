//! The head of a subject: what must be known to append its next event.
//!
//! Heads live in the committer's memory. Writing one with every commit would cost a put for each subject touched, so
//! they are written at checkpoints only, and the log after the checkpoint is replayed at start.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    block::{Link, Links},
    cuts::Cuts,
    keys::SubjectNumber,
};
use crate::{
    crdt::frontier::Frontier,
    wire::{
        clock::Clock,
        id::{Dot, XaeroID},
        interest::ReplicaFilter,
        mmr::{Hash, Peaks},
    },
};

/// Up to this many authors are found by looking through them; beyond it a map pays for itself.
const LINEAR_AUTHORS: usize = 12;

/// One entry of each sparse index for so many events: the longest walk along back-links.
pub(crate) const INDEX_STEP: u64 = 64;

/// The first version has no trees.
const OLD_VERSION: u8 = 1;
const VERSION: u8 = 2;

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

/// The tree over one author's log in a subject: its leaves are the event ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    /// What the next leaf is added to, and the root is made of.
    pub(crate) peaks: Peaks,
    /// The newest head that the author has signed.
    pub(crate) signed: Signed,
    /// Whether there are events beyond it that nothing shows to be the author's: see
    /// [`Links::unverified`](super::block::Links::unverified).
    pub(crate) unverified: bool,
}

/// Which head of an author is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signed {
    /// Events that it covers; 0 where none is signed.
    pub(crate) length: u64,
    /// The number of the batch of heads whose signature covers it.
    pub(crate) batch: u64,
}

impl Tree {
    /// Whether there are events that no signature covers.
    pub(crate) fn is_unsigned(&self) -> bool {
        self.signed.length < self.peaks.len()
    }
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
    /// Where authors' logs end. They have rows of their own.
    pub(crate) cuts: Cuts,
    /// What part of the subject is kept here; `None` where it is all.
    pub(crate) partial: Option<Arc<ReplicaFilter>>,
    /// In the order of their first event here: an author's place in it is its slot.
    authors: Vec<AuthorHead>,
    /// By slot.
    trees: Vec<Tree>,
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
            cuts: Cuts::default(),
            partial: None,
            authors: Vec::new(),
            trees: Vec::new(),
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

    /// What is missing of an event that another depends on: it, or where it counts no more, the last of its author's that
    /// does. So the contexts of folds are made of what is there, on every node. Of an author who is not kept here nothing is
    /// missing.
    pub(crate) fn missing(&self, dep: Dot) -> Option<Dot> {
        self.cuts.clamp(dep).filter(|dep| !self.has(*dep) && !self.leaves_out(dep.author))
    }

    /// Whether nothing of this author is kept here: it is not asked for, and nothing else has made it be kept.
    pub(crate) fn leaves_out(&self, author: XaeroID) -> bool {
        let is_asked_for = self.partial.as_ref().is_none_or(|filter| filter.takes_author(author));
        !is_asked_for && self.author(author).1.seq == 0
    }

    /// Whether the event is in the log.
    pub(crate) fn has(&self, dot: Dot) -> bool {
        self.author(dot.author).1.seq >= dot.seq
    }

    /// The links of the next event, if `author` writes it.
    pub(crate) fn links(&self, author: &AuthorHead) -> Links {
        Links { ordinal: self.count, subject: self.last, author: author.last, unverified: false }
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

    /// The authors, by slot, with their trees.
    pub(crate) fn authors(&self) -> impl Iterator<Item = (u32, &AuthorHead, &Tree)> {
        (0..).zip(self.authors.iter().zip(&self.trees)).map(|(slot, (author, tree))| (slot, author, tree))
    }

    /// The author in this slot.
    pub(crate) fn tree(&self, slot: u32) -> Option<(&AuthorHead, &Tree)> {
        let slot = usize::try_from(slot).ok()?;
        self.authors.get(slot).zip(self.trees.get(slot))
    }

    /// Adds leaves to the tree of the author in this slot.
    pub(crate) fn grow(&mut self, slot: u32, leaves: &[Hash]) {
        if let Some(tree) = self.tree_mut(slot) {
            match leaves {
                [leaf] => tree.peaks.push(leaf),
                leaves => tree.peaks.extend(leaves, &mut |_, _, _| {}),
            }
        }
    }

    /// Notes which head of the author is signed.
    pub(crate) fn sign(&mut self, slot: u32, signed: Signed) {
        if let Some(tree) = self.tree_mut(slot) {
            tree.signed = signed;
            tree.unverified &= tree.is_unsigned();
        }
    }

    /// Notes that nothing shows the author's last event to be the author's, unless a signed head covers it: when the log
    /// is replayed, that may be known before.
    pub(crate) fn doubt(&mut self, slot: u32) {
        let seq = self.tree(slot).map_or(0, |(author, _)| author.seq);
        if let Some(tree) = self.tree_mut(slot) {
            tree.unverified |= tree.signed.length < seq;
        }
    }

    /// Whether every tree has all events of its author as leaves.
    pub(crate) fn has_whole_trees(&self) -> bool {
        self.authors.iter().zip(&self.trees).all(|(author, tree)| author.seq == tree.peaks.len())
    }

    fn tree_mut(&mut self, slot: u32) -> Option<&mut Tree> {
        usize::try_from(slot).ok().and_then(|slot| self.trees.get_mut(slot))
    }

    fn add_author(&mut self, head: AuthorHead) {
        self.authors.push(head);
        self.trees.push(Tree::default());
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
        for (author, tree) in self.authors.iter().zip(&self.trees) {
            out.extend_from_slice(author.author.as_bytes());
            let Signed { length, batch } = tree.signed;
            let numbers = [author.seq, author.last.to_bits(), author.clock.to_bits(), tree.peaks.len(), length, batch];
            for number in numbers {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.push(u8::from(tree.unverified));
            for peak in tree.peaks.peaks() {
                out.extend_from_slice(peak);
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
        if *version != VERSION && *version != OLD_VERSION {
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
            if *version == VERSION {
                let (leaves, length, batch) = (fields.number()?, fields.number()?, fields.number()?);
                let unverified = fields.byte()? != 0;
                let peaks = (0..leaves.count_ones()).map(|_| fields.hash()).collect::<Option<Vec<_>>>()?;
                let signed = Signed { length, batch };
                let tree = Tree { peaks: Peaks::from_parts(leaves, &peaks)?, signed, unverified };
                *head.trees.last_mut()? = tree;
            }
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
        self.hash().map(XaeroID::from)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn hash(&mut self) -> Option<[u8; 32]> {
        let (bytes, rest) = self.0.split_first_chunk::<32>()?;
        self.0 = rest;
        Some(*bytes)
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
            let (slot, _) = head.author(dot.author);
            head.grow(slot, &[[n; 32]]);
            head.sign(slot, Signed { length: 1, batch: u64::from(n) });
        }
        let row = head.encode();
        let read = Head::decode(head.number, &row).unwrap();
        assert_eq!((read.count, read.last, read.clock), (head.count, head.last, head.clock));
        assert_eq!(read.authors, head.authors);
        for (slot, _, tree) in head.authors() {
            let read = read.tree(slot).unwrap().1;
            assert_eq!((read.peaks.len(), read.peaks.root(), read.signed), (2, tree.peaks.root(), tree.signed));
        }
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
