//! Rows that repeat what the log says, compared with it: heads, sparse indexes, nodes of trees.

use super::{
    report::{Finding, Findings, remedy},
    state::SubjectState,
};
use crate::{
    actors::{
        mmr::nodes::STORED_LEVEL,
        storage::{
            frozen::View,
            head::{Head, INDEX_STEP, IndexRows},
            keys,
            lmdb::{Reads, Table},
            row::unchecked,
        },
    },
    wire::{id::Dot, mmr::Hash},
};

/// Compares a row of the heads with what the log gives at its length.
pub(super) fn head(view: &View<'_>, state: &mut SubjectState, row: &Head, findings: &mut Findings) {
    if state.is_broken {
        return;
    }
    let offset = view.get(Table::Heads, &row.number.key()).ok().flatten().and_then(|row| view.offset_of(row));
    let wrong = |what: String| {
        let finding = Finding::damage(what, remedy::RESTORE).row("heads", &row.number.key());
        finding.subject(&state.name).offset(offset)
    };
    let count = row.count;
    if row.last != state.head.last {
        findings.add(wrong(format!("the head after {count} events leads to another last event than the log")));
    }
    if !state.is_blurred {
        if row.clock != state.head.clock {
            findings.add(wrong(format!("the head after {count} events has another clock than the log")));
        }
        let sorted = |head: &Head| {
            let mut dots: Vec<Dot> = head.frontier.iter().collect();
            dots.sort_unstable();
            dots
        };
        if sorted(row) != sorted(&state.head) {
            findings.add(wrong(format!("the head after {count} events has another frontier than the log")));
        }
    }
    if row.authors().count() != state.head.authors().count() {
        findings.add(wrong(format!("the head after {count} events has another number of authors than the log")));
    }
    for ((slot, kept, tree), (_, found, _)) in row.authors().zip(state.head.authors()) {
        let is_same = (kept.author, kept.seq, kept.last) == (found.author, found.seq, found.last)
            && (kept.clock == found.clock || state.is_blurred);
        if !is_same {
            findings
                .add(wrong("the head of an author's log is not what the log gives".to_owned()).author(found.author));
        }
        let grown = usize::try_from(slot).ok().and_then(|slot| state.trees.get(slot)).filter(|grown| !grown.is_broken);
        if let Some(grown) = grown
            && tree.peaks.len() == grown.peaks.len()
            && tree.peaks != grown.peaks
        {
            let finding = wrong("the tree of an author's log is not what the log gives".to_owned());
            findings.add(finding.author(found.author).seqs(1, found.seq));
        }
    }
}

/// Compares the rows of the sparse indexes that an event has.
pub(super) fn index_rows(
    view: &View<'_>,
    state: &SubjectState,
    rows: IndexRows,
    position: u64,
    dot: Dot,
    findings: &mut Findings,
) {
    let Some(number) = state.number else { return };
    let mut check = |table, name, key: &[u8]| {
        let Ok(row) = view.get(table, key) else { return };
        let what = match row {
            Some(row) if row == keys::position(position) => return,
            Some(_) => format!("a row of the index leads to another event than that at position {position}"),
            None => format!("the index has no row for the event at position {position}"),
        };
        let finding = Finding::damage(what, remedy::REBUILD).row(name, key).subject(&state.name);
        let finding = finding.author(dot.author).seqs(dot.seq, dot.seq).positions(position, position);
        findings.add(finding.offset(row.and_then(|row| view.offset_of(row))));
    };
    if let Some(step) = rows.subject {
        check(Table::SubjectIndex, "subject_index", &keys::subject_index(number, step));
    }
    // Behind a loss the slots may be others.
    if let Some((slot, step)) = rows.author.filter(|_| !state.is_broken) {
        check(Table::AuthorIndex, "author_index", &keys::author_index(number, slot, step));
    }
}

/// Compares a node of an author's tree with its row, if the projection has come there.
pub(super) fn node(
    view: &View<'_>,
    state: &mut SubjectState,
    slot: u32,
    (level, index, node): (u8, u64, Hash),
    findings: &mut Findings,
) {
    let Some(number) = state.number.filter(|_| !state.is_broken) else { return };
    let above = level - STORED_LEVEL;
    let step = (index + 1) << above;
    let key = keys::author_index(number, slot, step);
    let Ok(row) = view.get(Table::Nodes, &key) else { return };
    let author = state.author(slot);
    let finding = |state: &SubjectState, what: &str| {
        let last = step.saturating_mul(INDEX_STEP);
        let first = last.saturating_sub(INDEX_STEP << above) + 1;
        let finding = Finding::damage(what, remedy::REBUILD).row("nodes", &key).subject(&state.name);
        Finding { author, ..finding }.seqs(first, last).offset(row.and_then(|row| view.offset_of(row)))
    };
    // The projection may not have come there yet. A row whose checksum differs is found by the look at all rows.
    let Some(bytes) = row else { return };
    let Some(nodes) = unchecked(bytes) else {
        state.tree(slot).bad_nodes = true;
        return;
    };
    let at = usize::from(above) * 32;
    let expected = (usize::try_from(step.trailing_zeros()).unwrap_or(usize::MAX) + 1) * 32;
    if nodes.len() != expected || nodes.get(at..at + 32) != Some(&node) {
        findings.add(finding(state, "a node of an author's tree is not what the log gives"));
        state.tree(slot).bad_nodes = true;
    }
}
