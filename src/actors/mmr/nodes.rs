//! Any node of an author's tree, from the stored ones and the log.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::{
    actors::storage::{
        StorageError,
        block::{Link, Stored},
        head::{AuthorHead, INDEX_STEP},
        keys::{self, SubjectNumber},
        lmdb::{Reads, Table},
        reader::LogReader,
        row::unchecked,
    },
    wire::{
        id::{Dot, SubjectId},
        mmr::{Hash, NodeHash, Nodes},
    },
};

/// Level of the lowest stored nodes: those over [`INDEX_STEP`] leaves.
pub(crate) const STORED_LEVEL: u8 = 6;

const _: () = assert!(1 << STORED_LEVEL == INDEX_STEP, "a stored node is over the events of one step of the index");

/// Groups of leaves whose nodes are kept in memory: a proof asks for few.
const KEPT_GROUPS: usize = 4;

/// Level of the lowest nodes that are remembered from one proof to the next: those over 2,048 leaves.
const KNOWN_LEVEL: u8 = 11;

/// Nodes that are remembered, of a megabyte at most: those of ten million leaves. Beyond it all are forgotten.
const KNOWN_NODES: usize = 16_384;

/// The upper nodes of the trees of a subject's authors, which all proofs have in common. A perfect subtree never changes,
/// so that what was read once holds for ever. By slot, level and index.
#[derive(Default)]
pub(crate) struct KnownNodes(HashMap<(u32, u8, u64), Hash>);

/// The nodes of one author's tree in a subject, within one transaction.
pub(crate) struct TreeNodes<'t, R> {
    txn: &'t R,
    reader: LogReader<'t, R>,
    number: SubjectNumber,
    slot: u32,
    author: AuthorHead,
    /// The groups of leaves that were read last, and the nodes over them, by level.
    groups: SmallVec<[(u64, Group); KEPT_GROUPS]>,
    /// Whether the stored nodes are used.
    trusts_stored: bool,
    known: KnownNodes,
}

/// Up to 64 leaves.
struct Group {
    /// Where their events are.
    links: Vec<Link>,
    /// The perfect subtrees over them, by level.
    levels: Vec<Vec<Hash>>,
}

impl<'t, R: Reads> TreeNodes<'t, R> {
    /// The tree of the author with this head, which must not be newer than the transaction.
    pub(crate) fn new(
        txn: &'t R,
        reader: LogReader<'t, R>,
        number: SubjectNumber,
        slot: u32,
        author: AuthorHead,
    ) -> Self {
        let known = KnownNodes::default();
        Self { txn, reader, number, slot, author, groups: SmallVec::new(), trusts_stored: true, known }
    }

    /// The same tree, with nodes that are known already.
    pub(crate) fn knowing(self, known: KnownNodes) -> Self {
        Self { known, ..self }
    }

    /// The nodes that are known by now.
    pub(crate) fn into_known(self) -> KnownNodes {
        self.known
    }

    /// The event with this sequence number, from 1 to the author's last. A proof reads the leaves beside it anyway, and the
    /// way from the index to them leads past it.
    pub(crate) fn event(&mut self, subject: SubjectId, seq: u64) -> Result<Stored<'t>, StorageError> {
        let index = seq.saturating_sub(1);
        let group = self.group(index / INDEX_STEP)?;
        let link = usize::try_from(index % INDEX_STEP).ok().and_then(|at| group.links.get(at)).copied();
        let link = link.ok_or_else(|| missing("log", &keys::author(self.number, self.slot)))?;
        self.reader.linked((self.number, subject), link, Dot::new(self.author.author, seq))
    }

    /// The same tree, all of whose nodes are made from the leaves.
    pub(crate) fn without_stored(self) -> Self {
        Self { trusts_stored: false, ..self }
    }

    /// The leaves of a group, as far as there are any.
    pub(super) fn leaves(&mut self, group: u64) -> Result<Vec<Hash>, StorageError> {
        self.read(group).map(|(leaves, _)| leaves)
    }

    /// The leaves of a group and where their events are.
    fn read(&mut self, group: u64) -> Result<(Vec<Hash>, Vec<Link>), StorageError> {
        let first = group.saturating_mul(INDEX_STEP);
        let full = first.saturating_add(INDEX_STEP);
        let (mut link, last) = if full <= self.author.seq {
            let key = keys::author_index(self.number, self.slot, group.saturating_add(1));
            let position = self.txn.get(Table::AuthorIndex, &key)?.and_then(keys::position_of);
            (Link::to(position.ok_or_else(|| missing("author index", &key))?), full)
        } else {
            (self.author.last, self.author.seq)
        };
        self.reader.fetch(link, INDEX_STEP);
        let (mut leaves, mut links) = (Vec::with_capacity(64), Vec::with_capacity(64));
        for _ in first..last {
            if link == Link::NONE {
                return Err(missing("log", &keys::author(self.number, self.slot)));
            }
            let (entry, id) = self.reader.leaf(link)?;
            leaves.push(*id.as_bytes());
            links.push(link);
            link = entry.author;
        }
        leaves.reverse();
        links.reverse();
        Ok((leaves, links))
    }

    /// The stored node, if the projection has come to it.
    pub(super) fn stored(&self, level: u8, index: u64) -> Result<Option<Hash>, StorageError> {
        let Some(above) = level.checked_sub(STORED_LEVEL) else { return Ok(None) };
        let step = index.saturating_add(1).checked_shl(u32::from(above)).unwrap_or(u64::MAX);
        let key = keys::author_index(self.number, self.slot, step);
        let Some(row) = self.txn.get(Table::Nodes, &key)? else { return Ok(None) };
        let nodes = unchecked(row).ok_or_else(|| missing("nodes", &key))?;
        let node = nodes.get(usize::from(above) * 32..).and_then(<[u8]>::first_chunk::<32>);
        node.map(|node| Some(*node)).ok_or_else(|| missing("nodes", &key))
    }

    fn in_group(&mut self, level: u8, index: u64) -> Result<Hash, StorageError> {
        let within = u32::from(STORED_LEVEL.saturating_sub(level));
        let (group, at) = (index >> within, index & ((1 << within) - 1));
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let node = self.group(group)?.levels.get(usize::from(level)).and_then(|nodes| nodes.get(at)).copied();
        node.ok_or_else(|| missing("log", &keys::author(self.number, self.slot)))
    }

    fn group(&mut self, group: u64) -> Result<&Group, StorageError> {
        if !self.groups.iter().any(|(known, _)| *known == group) {
            let (leaves, links) = self.read(group)?;
            if self.groups.len() >= KEPT_GROUPS {
                self.groups.remove(0);
            }
            self.groups.push((group, Group { links, levels: over(leaves) }));
        }
        let kept = self.groups.iter().find(|(known, _)| *known == group).map(|(_, group)| group);
        kept.ok_or_else(|| missing("log", &keys::author(self.number, self.slot)))
    }

    fn note(&mut self, level: u8, index: u64, node: Hash) -> Hash {
        if level >= KNOWN_LEVEL {
            if self.known.0.len() >= KNOWN_NODES {
                self.known.0.clear();
            }
            self.known.0.insert((self.slot, level, index), node);
        }
        node
    }
}

impl<R: Reads> Nodes for TreeNodes<'_, R> {
    type Error = StorageError;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, StorageError> {
        if level < STORED_LEVEL {
            return self.in_group(level, index);
        }
        if level >= KNOWN_LEVEL
            && let Some(node) = self.known.0.get(&(self.slot, level, index))
        {
            return Ok(*node);
        }
        if self.trusts_stored
            && let Some(node) = self.stored(level, index)?
        {
            return Ok(self.note(level, index, node));
        }
        // The projection has not come there yet.
        if level == STORED_LEVEL {
            return self.in_group(level, index);
        }
        let left = self.node(level - 1, index * 2)?;
        let right = self.node(level - 1, index * 2 + 1)?;
        Ok(self.note(level, index, NodeHash::log().node(&left, &right)))
    }
}

/// The perfect subtrees over these leaves, by level.
fn over(leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves];
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let above = NodeHash::log().level(None, below.as_flattened().as_chunks().0);
        levels.push(above);
    }
    levels
}

pub(super) fn missing(table: &'static str, key: &[u8]) -> StorageError {
    StorageError::DamagedRow { table, key: data_encoding::HEXLOWER.encode(key) }
}
