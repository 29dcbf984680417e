//! Any node of an author's tree, from the stored ones and the log.

use smallvec::SmallVec;

use crate::{
    actors::{
        committer::heads::unchecked,
        storage::{
            StorageError,
            block::Link,
            head::{AuthorHead, INDEX_STEP},
            keys::{self, SubjectNumber},
            lmdb::{Reads, Table},
            reader::LogReader,
        },
    },
    wire::mmr::{Hash, NodeHash, Nodes},
};

/// Level of the lowest stored nodes: those over [`INDEX_STEP`] leaves.
pub(crate) const STORED_LEVEL: u8 = 6;

const _: () = assert!(1 << STORED_LEVEL == INDEX_STEP, "a stored node is over the events of one step of the index");

/// Groups of leaves whose nodes are kept in memory: a proof asks for few.
const KEPT_GROUPS: usize = 4;

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
}

/// Up to 64 leaves, and the perfect subtrees over them, by level.
type Group = Vec<Vec<Hash>>;

impl<'t, R: Reads> TreeNodes<'t, R> {
    /// The tree of the author with this head, which must not be newer than the transaction.
    pub(crate) fn new(
        txn: &'t R,
        reader: LogReader<'t, R>,
        number: SubjectNumber,
        slot: u32,
        author: AuthorHead,
    ) -> Self {
        Self { txn, reader, number, slot, author, groups: SmallVec::new(), trusts_stored: true }
    }

    /// The same tree, all of whose nodes are made from the leaves.
    pub(crate) fn without_stored(self) -> Self {
        Self { trusts_stored: false, ..self }
    }

    /// The leaves of a group, as far as there are any.
    pub(super) fn leaves(&mut self, group: u64) -> Result<Vec<Hash>, StorageError> {
        let first = group.saturating_mul(INDEX_STEP);
        let full = first.saturating_add(INDEX_STEP);
        let (mut link, last) = if full <= self.author.seq {
            let key = keys::author_index(self.number, self.slot, group.saturating_add(1));
            let position = self.txn.get(Table::AuthorIndex, &key)?.and_then(keys::position_of);
            (Link::to(position.ok_or_else(|| missing("author index", &key))?), full)
        } else {
            (self.author.last, self.author.seq)
        };
        let mut leaves = Vec::with_capacity(64);
        for _ in first..last {
            if link == Link::NONE {
                return Err(missing("log", &keys::author(self.number, self.slot)));
            }
            let (links, id) = self.reader.leaf(link)?;
            leaves.push(*id.as_bytes());
            link = links.author;
        }
        leaves.reverse();
        Ok(leaves)
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
        if !self.groups.iter().any(|(known, _)| *known == group) {
            let nodes = over(self.leaves(group)?);
            if self.groups.len() >= KEPT_GROUPS {
                self.groups.remove(0);
            }
            self.groups.push((group, nodes));
        }
        let nodes = self.groups.iter().find(|(known, _)| *known == group).map(|(_, nodes)| nodes);
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let node = nodes.and_then(|nodes| nodes.get(usize::from(level))).and_then(|nodes| nodes.get(at));
        node.copied().ok_or_else(|| missing("log", &keys::author(self.number, self.slot)))
    }
}

impl<R: Reads> Nodes for TreeNodes<'_, R> {
    type Error = StorageError;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, StorageError> {
        if level < STORED_LEVEL {
            return self.in_group(level, index);
        }
        if self.trusts_stored
            && let Some(node) = self.stored(level, index)?
        {
            return Ok(node);
        }
        // The projection has not come there yet.
        if level == STORED_LEVEL {
            return self.in_group(level, index);
        }
        let left = self.node(level - 1, index * 2)?;
        let right = self.node(level - 1, index * 2 + 1)?;
        Ok(NodeHash::log().node(&left, &right))
    }
}

/// The perfect subtrees over these leaves, by level.
fn over(leaves: Vec<Hash>) -> Group {
    let mut levels = vec![leaves];
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let pairs: Vec<[u8; 64]> =
            below.as_chunks::<2>().0.iter().map(|[left, right]| keys::concat(*left, *right)).collect();
        let above = NodeHash::log().level(None, &pairs);
        levels.push(above);
    }
    levels
}

pub(super) fn missing(table: &'static str, key: &[u8]) -> StorageError {
    StorageError::DamagedRow { table, key: data_encoding::HEXLOWER.encode(key) }
}
