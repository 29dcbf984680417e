//! The rows of nodes that are missing, made from the log.
//!
//! A row belongs to every 64th leaf of an author and holds the perfect subtrees of 64 leaves and more that this leaf
//! completes, the smallest first: one node mostly, and one more for each further power of two. How far the projection has
//! come is told by its last row.

use super::nodes::{STORED_LEVEL, TreeNodes, missing};
use crate::{
    actors::storage::{
        StorageError, Store,
        block::Link,
        head::{AuthorHead, INDEX_STEP},
        keys::{self, SubjectNumber},
        lmdb::{Reads, Table},
        reader::LogReader,
        row::checked,
    },
    wire::{
        clock::Clock,
        id::XaeroID,
        mmr::{Hash, Peaks},
    },
};

/// Groups of 64 leaves that one step takes: what is read under one read transaction, a few milliseconds, and stored with
/// one commit. Under load the log grows by thousands of events while a step waits for its commit, so that one which took
/// less would never come to the end of it; and a proof beyond that end costs a hash for every event in between.
const STEP_GROUPS: u64 = 1_024;

/// Key and value of a row of nodes.
pub(crate) type Row = ([u8; 16], Vec<u8>);

/// What one step of the projection found missing.
#[derive(Default)]
pub(crate) struct Step {
    /// Key and value of each row. None: nothing is missing.
    pub(crate) rows: Vec<Row>,
}

/// The next rows that are missing in this subject, of as many authors as one step has room for: each step looks at all
/// authors before them.
pub(crate) fn step(store: &Store, number: SubjectNumber) -> Result<Step, StorageError> {
    let txn = store.env.read()?;
    let (mut step, mut room) = (Step::default(), STEP_GROUPS);
    let mut slot = 0;
    loop {
        // The next author with a row in the index.
        let mut found = None;
        txn.scan(Table::AuthorIndex, &keys::author_index(number, slot, 0), &mut |key, _| {
            found = keys::author_index_of(number, key).map(|(slot, _)| slot);
            Ok(false)
        })?;
        let Some(next) = found else { return Ok(step) };
        let groups = last_step(&txn, Table::AuthorIndex, number, next)?;
        let done = last_step(&txn, Table::Nodes, number, next)?;
        if done < groups {
            let upto = groups.min(done.saturating_add(room));
            step.rows.extend(rows(&txn, (number, next), done, upto)?);
            room = room.saturating_sub(upto.saturating_sub(done));
        }
        let Some(after) = next.checked_add(1).filter(|_| room > 0) else { return Ok(step) };
        slot = after;
    }
}

/// The rows of the groups from `done` up to `upto`.
fn rows(
    txn: &impl Reads,
    (number, slot): (SubjectNumber, u32),
    done: u64,
    upto: u64,
) -> Result<Vec<Row>, StorageError> {
    // Full groups are found by the index alone: nothing else of the head is asked for.
    let author = AuthorHead {
        author: XaeroID::from([0; 32]),
        seq: upto.saturating_mul(INDEX_STEP),
        last: Link::NONE,
        clock: Clock::ZERO,
    };
    let mut nodes = TreeNodes::new(txn, LogReader::new(txn), number, slot, author);
    let mut peaks = Vec::new();
    let mut above = 0;
    for level in (0..u64::BITS).rev().filter(|level| done >> level & 1 == 1) {
        let index = above >> level;
        let stored = nodes.stored(STORED_LEVEL + u8::try_from(level).unwrap_or(u8::MAX), index)?;
        peaks.push(stored.ok_or_else(|| missing("nodes", &keys::author_index(number, slot, done)))?);
        above += 1 << level;
    }
    let lost = || missing("nodes", &keys::author_index(number, slot, done));
    let mut tree = Peaks::from_parts(done, &peaks).ok_or_else(lost)?;
    let mut leaves = Vec::new();
    for group in done..upto {
        leaves.extend(nodes.leaves(group)?);
    }
    // The groups begin at a multiple of their length, so that a tree of their own has the same subtrees.
    let mut lowest: Vec<Hash> = Vec::new();
    Peaks::new().extend(&leaves, &mut |level, _, node| {
        if level == STORED_LEVEL {
            lowest.push(*node);
        }
    });
    let mut rows: Vec<Row> =
        (done..upto).map(|group| (keys::author_index(number, slot, group + 1), Vec::new())).collect();
    let mut put = |step: u64, node: &Hash| {
        let at = step.checked_sub(done + 1).and_then(|at| usize::try_from(at).ok());
        if let Some((_, row)) = at.and_then(|at| rows.get_mut(at)) {
            row.extend_from_slice(node);
        }
    };
    for (step, node) in (done + 1..).zip(&lowest) {
        put(step, node);
    }
    tree.extend(&lowest, &mut |level, index, node| put((index + 1) << level, node));
    for (_, row) in &mut rows {
        *row = checked(row);
    }
    Ok(rows)
}

/// The last step of the author in a table that is keyed as the author index is; 0 where there is none.
fn last_step(txn: &impl Reads, table: Table, number: SubjectNumber, slot: u32) -> Result<u64, StorageError> {
    let row = txn.at_or_before(table, &keys::author_index(number, slot, u64::MAX))?;
    let found = row.and_then(|(key, _)| keys::author_index_of(number, key));
    Ok(found.filter(|(of, _)| *of == slot).map_or(0, |(_, step)| step))
}
