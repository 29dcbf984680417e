//! The rows of control events, which are what a start knows the members of owned subjects by: each is what the log has at
//! its place, and none is missing.

use hashbrown::HashSet;

use super::{
    report::{Finding, remedy},
    rows::Rows,
};
use crate::{
    actors::{
        committer::cuts,
        storage::{
            StorageError, control,
            keys::{self, SubjectNumber},
            lmdb::{Reads as _, Table},
            shares::Share,
        },
    },
    crdt::rights::ControlEvent,
    wire::{control::Control, id::SubjectId, ticket::SubjectKind},
};

impl Rows<'_, '_> {
    /// Whether the subject is one of which the name says nothing.
    pub(super) fn is_owned(&self, id: SubjectId, alias: &str) -> bool {
        let row = self.view.get(Table::Shares, id.as_bytes()).ok().flatten();
        if let Some(share) = row.and_then(|row| Share::decode(id.as_bytes(), row)) {
            return share.kind == SubjectKind::Owned && share.name == alias;
        }
        // Its genesis shows it as well, where nobody shares it.
        let number = self.view.get(Table::SubjectNumbers, id.as_bytes()).ok().flatten();
        let events = number.and_then(SubjectNumber::from_key).and_then(|number| control::load(self.view, number).ok());
        events.is_some_and(|events| events.iter().any(|event| begins(event, id)))
    }

    /// The control events of owned subjects, which are in the log too.
    pub(super) fn control(&mut self) -> Result<(), StorageError> {
        let numbers = self.subjects.by_number();
        let mut found: HashSet<(SubjectId, u64)> = HashSet::new();
        self.each(Table::Control, &mut |rows, key, row| {
            if !rows.concerns(&numbers, key) {
                return;
            }
            let place = ("control", key);
            let number = key.first_chunk::<4>().and_then(|key| SubjectNumber::from_key(key));
            let place_of = number.and_then(|number| numbers.get(&number));
            let Some(state) = place_of.and_then(|place| rows.subjects.get(*place)) else {
                return rows.unexplained("control", key, row);
            };
            let ordinal = key.get(4..).and_then(|ordinal| ordinal.try_into().ok()).map(u64::from_be_bytes);
            found.extend(ordinal.map(|ordinal| (state.id, ordinal)));
            let Some(event) = control::decode(row) else {
                return rows.bad("a control event is damaged: its checksum differs", place, row, remedy::RESTORE);
            };
            if !state.is_broken && ordinal.and_then(|ordinal| state.control_at(ordinal)) != Some(&event) {
                rows.bad("a control event is not the one that the log has", place, row, remedy::RESTORE);
            }
            if matches!(event.control, Control::Genesis(_)) && !begins(&event, state.id) {
                rows.bad("a genesis is that of another subject", place, row, remedy::RESTORE);
            }
        })?;
        for state in self.subjects.iter().filter(|state| !state.is_broken) {
            let Some(number) = state.number.filter(|_| state.control.iter().any(|(_, event)| begins(event, state.id)))
            else {
                continue;
            };
            // What lies past a fork has no row: it counts nowhere.
            if !cuts::load(self.view, number).is_ok_and(|cuts| cuts.forks().next().is_none()) {
                continue;
            }
            for (ordinal, event) in state.control.iter().filter(|(ordinal, _)| !found.contains(&(state.id, *ordinal))) {
                let what = "the row of a control event is not there: the members are not those of the log";
                let finding = Finding::damage(what, remedy::RESTORE).row("control", &keys::control(number, *ordinal));
                let finding = finding.subject(&state.name).author(event.dot.author);
                self.findings.add(finding.seqs(event.dot.seq, event.dot.seq));
            }
        }
        Ok(())
    }
}

/// Whether the event is the genesis of this subject.
fn begins(event: &ControlEvent, id: SubjectId) -> bool {
    matches!(event.control, Control::Genesis(genesis) if genesis.subject_id() == id && genesis.creator == event.dot.author)
}
