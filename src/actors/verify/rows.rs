//! The rows beside the log: each by its own checksum or by what it must say, and none that nothing explains.

use hashbrown::HashMap;

use super::{
    heads::Keys,
    report::{Finding, Findings, remedy},
    state::Subjects,
};
use crate::{
    actors::{
        committer::recover,
        storage::{
            StorageError,
            cursor::Cursor,
            frozen::View,
            head::INDEX_STEP,
            home,
            keys::{self, SubjectNumber},
            lmdb::{Reads, Row, Table},
            mark,
            open::snapshot_row,
            republished::Republished,
            row::unchecked,
            shares::Share,
        },
    },
    wire::{
        archive,
        fork::ForkEvidence,
        id::{SubjectId, XaeroID},
        key::PublicKey,
        name,
    },
};

/// What is looked at, and where it goes.
pub(super) struct Rows<'r, 'v> {
    pub(super) view: &'r View<'v>,
    pub(super) only: Option<SubjectId>,
    pub(super) subjects: &'r Subjects,
    pub(super) findings: &'r mut Findings,
}

/// Called with each row's key and value.
type Visit<'c, 'v, R> = dyn FnMut(&mut R, &'v [u8], &'v [u8]) + 'c;

impl<'v> Rows<'_, 'v> {
    /// All rows of a table that can be read. Pages that cannot are reported by the look at the pages.
    pub(super) fn all(&self, table: Table) -> Result<Vec<Row<'v>>, StorageError> {
        let mut rows = Vec::new();
        self.view.rows(
            table,
            &[],
            &mut |key, row| {
                rows.push((key, row));
                Ok(true)
            },
            &mut |_| {},
        )?;
        Ok(rows)
    }

    pub(super) fn each(&mut self, table: Table, visit: &mut Visit<'_, 'v, Self>) -> Result<(), StorageError> {
        let view = self.view;
        view.rows(
            table,
            &[],
            &mut |key, row| {
                visit(self, key, row);
                Ok(true)
            },
            &mut |_| {},
        )
    }

    pub(super) fn bad(
        &mut self,
        what: impl Into<String>,
        (table, key): (&'static str, &[u8]),
        row: &[u8],
        remedy: &'static str,
    ) {
        let name = key.first_chunk::<4>().and_then(|key| SubjectNumber::from_key(key));
        let state = name.and_then(|number| self.subjects.iter().find(|state| state.number == Some(number)));
        // The keys of the other tables begin with something else.
        let state =
            state.filter(|_| !matches!(table, "meta" | "writers" | "subject_numbers" | "signed_heads" | "shares"));
        let finding = Finding::damage(what, remedy).row(table, key).offset(self.view.offset_of(row));
        self.findings.add(Finding { subject: state.map(|state| state.name.clone()), ..finding });
    }

    /// Facts about the whole directory.
    pub(super) fn meta(&mut self, end: Option<u64>, has_heads: bool) -> Result<(), StorageError> {
        let mut found: Vec<&[u8]> = Vec::new();
        self.each(Table::Meta, &mut |rows, key, row| {
            let place = ("meta", key);
            found.push(key);
            match key {
                b"checkpoint" => match recover::checkpoint_of(row) {
                    None => rows.bad("the checkpoint is damaged: its checksum differs", place, row, remedy::RESTORE),
                    Some(position) if end.is_some_and(|end| position > end) => {
                        let what = format!("the checkpoint is at position {position}, behind the end of the log");
                        rows.bad(what, place, row, remedy::RESTORE);
                    }
                    Some(_) => {}
                },
                b"trees" | b"head_batches" | b"unsigned_heads" => {
                    if unchecked(row).is_none() {
                        rows.bad("a row is damaged: its checksum differs", place, row, remedy::RESTORE);
                    }
                }
                mark::TRIMMED => {
                    if mark::get(rows.view, key).is_err() {
                        let what = "the position up to which the log is in segments is damaged: its checksum differs";
                        rows.bad(what, place, row, remedy::RESTORE);
                    }
                }
                // Compared with the directory itself.
                home::KEY => {}
                _ => {
                    let what = "this version does not know the row: it is of a newer one, or its key is damaged";
                    let finding = Finding::warning(what, "upgrade xaeroflux, if there is a newer version");
                    rows.findings.add(finding.row("meta", key).offset(rows.view.offset_of(row)));
                }
            }
        })?;
        // What is written together with others that are there.
        let has_trees = found.contains(&b"trees".as_slice());
        for (key, is_due) in [
            (b"checkpoint".as_slice(), has_heads || has_trees),
            (b"head_batches".as_slice(), has_trees),
            (b"unsigned_heads".as_slice(), has_trees),
        ] {
            if is_due && !found.contains(&key) {
                let what = format!("the row \"{}\" is missing", String::from_utf8_lossy(key));
                self.findings.add(Finding::damage(what, remedy::RESTORE).row("meta", key));
            }
        }
        Ok(())
    }

    /// Subjects and their numbers, which name each other. Returns the number of the subject that is asked for.
    pub(super) fn subjects(&mut self) -> Result<(), StorageError> {
        self.each(Table::Subjects, &mut |rows, key, row| {
            let parts = row.split_first_chunk::<32>();
            let Some((id, text)) =
                parts.and_then(|(id, text)| Some((SubjectId::from(*id), str::from_utf8(text).ok()?)))
            else {
                return rows.bad("the name of a subject cannot be read", ("subjects", key), row, remedy::RESTORE);
            };
            if rows.only.is_some_and(|only| only != id) {
                return;
            }
            // The name of an owned subject is a local alias.
            if name::open_subject_id(text) != id && !rows.is_owned(id, text) {
                rows.bad("a subject's name does not give its identifier", ("subjects", key), row, remedy::RESTORE);
            }
            let back = rows.view.get(Table::SubjectNumbers, id.as_bytes());
            if back.is_ok_and(|back| back != Some(key)) {
                let what = "a subject's number is not the one that its identifier leads to";
                rows.bad(what, ("subjects", key), row, remedy::RESTORE);
            }
        })?;
        self.each(Table::SubjectNumbers, &mut |rows, key, row| {
            if rows.only.is_some_and(|only| only.as_bytes() != key) {
                return;
            }
            let named = rows.view.get(Table::Subjects, row);
            if row.len() != 4 || named.is_ok_and(|named| named.is_none_or(|named| !named.starts_with(key))) {
                let what = "a subject's identifier leads to the number of another subject, or of none";
                rows.bad(what, ("subject_numbers", key), row, remedy::RESTORE);
            }
        })
    }

    /// The subjects that are shared.
    pub(super) fn shares(&mut self) -> Result<(), StorageError> {
        const REMEDY: &str = "the events are there: join the subject again, with a ticket from one of its peers, and for the same part if it was one";
        let mut names: HashMap<String, SubjectId> = HashMap::new();
        self.each(Table::Shares, &mut |rows, key, row| {
            if rows.only.is_some_and(|only| only.as_bytes() != key) {
                return;
            }
            match Share::decode(key, row) {
                None => {
                    rows.bad("how a subject is shared is damaged: its checksum differs", ("shares", key), row, REMEDY)
                }
                Some(share) => {
                    if names.insert(share.name, share.subject).is_some() {
                        let what = "two subjects have one name in this directory";
                        rows.bad(what, ("shares", key), row, remedy::RESTORE);
                    }
                }
            }
        })
    }

    /// The sparse indexes and the nodes: the rows that must be there were compared on the way along the log; here are those
    /// that must not.
    pub(super) fn indexes(&mut self) -> Result<(), StorageError> {
        let numbers = self.subjects.by_number();
        self.each(Table::SubjectIndex, &mut |rows, key, row| {
            let Some(state) = rows.state_of(&numbers, key) else {
                return rows.unexplained("subject_index", key, row);
            };
            let step = key.get(4..).and_then(|step| step.try_into().ok()).map(u64::from_be_bytes);
            let is_right = step.is_some_and(|step| step.saturating_mul(INDEX_STEP) < state.1);
            if (!is_right || row.len() != 8) && !state.0 {
                rows.bad("the index has a row that no event explains", ("subject_index", key), row, remedy::REBUILD);
            }
        })?;
        for (table, name) in [(Table::AuthorIndex, "author_index"), (Table::Nodes, "nodes")] {
            let mut before: Option<(&[u8], u64)> = None;
            self.each(table, &mut |rows, key, row| {
                if name == "nodes" && unchecked(row).is_none() && rows.concerns(&numbers, key) {
                    rows.bad(
                        "a row of a tree's nodes is damaged: its checksum differs",
                        (name, key),
                        row,
                        remedy::REBUILD,
                    );
                }
                let Some((is_broken, _)) = rows.state_of(&numbers, key) else {
                    return rows.unexplained(name, key, row);
                };
                let number = key.first_chunk::<4>().and_then(|key| SubjectNumber::from_key(key));
                let parsed = number.and_then(|number| keys::author_index_of(number, key));
                let place = number.and_then(|number| numbers.get(&number));
                let state = place.and_then(|place| rows.subjects.get(*place));
                let seq = parsed.zip(state).and_then(|((slot, _), state)| Some(state.head.tree(slot)?.0.seq));
                let step = parsed.map_or(0, |(_, step)| step);
                let is_right = step > 0 && seq.is_some_and(|seq| step.saturating_mul(INDEX_STEP) <= seq);
                let log = key.get(..8).unwrap_or_default();
                let is_next = before.filter(|(of, _)| *of == log).map_or(1, |(_, step)| step.saturating_add(1)) == step;
                before = Some((log, step));
                if is_broken {
                    return;
                }
                if !is_right || (name == "author_index" && row.len() != 8) {
                    rows.bad("there is a row that no event explains", (name, key), row, remedy::REBUILD);
                } else if !is_next && name == "nodes" {
                    rows.bad("the rows before this one are missing", (name, key), row, remedy::REBUILD);
                }
            })?;
        }
        Ok(())
    }

    /// Whether the subject of a key is looked at: whether its log is broken, and how many events it has.
    fn state_of(&self, numbers: &HashMap<SubjectNumber, usize>, key: &[u8]) -> Option<(bool, u64)> {
        let number = key.first_chunk::<4>().and_then(|key| SubjectNumber::from_key(key))?;
        let state = self.subjects.get(*numbers.get(&number)?)?;
        Some((state.is_broken, state.head.count))
    }

    /// The subject whose number a key begins with, whether it has events or not.
    fn subject_of(&self, key: &[u8]) -> Option<SubjectId> {
        let named = self.view.get(Table::Subjects, key.get(..4)?).ok().flatten()?;
        named.first_chunk::<32>().map(|id| SubjectId::from(*id))
    }

    pub(super) fn concerns(&self, numbers: &HashMap<SubjectNumber, usize>, key: &[u8]) -> bool {
        self.only.is_none() || self.state_of(numbers, key).is_some()
    }

    pub(super) fn unexplained(&mut self, table: &'static str, key: &[u8], row: &[u8]) {
        if self.only.is_none() {
            self.bad("there is a row of a subject of which the log has no events", (table, key), row, remedy::REBUILD);
        }
    }

    /// Events that wait.
    pub(super) fn pending(&mut self) -> Result<(), StorageError> {
        self.each(Table::Pending, &mut |rows, key, row| {
            let place = ("pending", key);
            let number = key.first_chunk::<4>().and_then(|key| SubjectNumber::from_key(key));
            let id = rows.subject_of(key);
            if rows.only.is_some() && rows.only != id {
                return;
            }
            const REMEDY: &str = "have the event sent again: it is not in the log yet";
            match archive::open(row) {
                Err(error) => rows.bad(format!("an event that waits cannot be read: {error}"), place, row, REMEDY),
                Ok((record, length)) => {
                    let dot = number.and_then(|number| keys::pending_of(number, key));
                    if Some(record.subject()) != id || Some(record.dot()) != dot {
                        rows.bad("an event that waits is not the one that its key names", place, row, REMEDY);
                    }
                    if !matches!(row.get(length..), Some([] | [1])) {
                        rows.bad("what stands behind an event that waits makes no sense", place, row, REMEDY);
                    }
                }
            }
        })
    }

    /// States of folds.
    pub(super) fn snapshots(&mut self) -> Result<(), StorageError> {
        const REMEDY: &str = "the events are there: give the fold another name, so that it is made again";
        let numbers = self.subjects.by_number();
        self.each(Table::Snapshots, &mut |rows, key, row| {
            if !rows.concerns(&numbers, key) {
                return;
            }
            let place = ("snapshots", key);
            let parts = row.split_first_chunk().map(|(covered, rest)| (u64::from_le_bytes(*covered), rest.get(4..)));
            let state = rows.state_of(&numbers, key);
            match parts {
                // Directories of the first format have no key in it.
                Some((covered, Some(folded)))
                    if row == snapshot_row(key, covered, folded) || row == snapshot_row(&[], covered, folded) =>
                {
                    if !state.is_some_and(|(is_broken, count)| is_broken || covered <= count) || key.len() != 36 {
                        rows.bad("the state of a fold covers more events than the log has", place, row, REMEDY);
                    }
                }
                _ => rows.bad("the state of a fold is damaged: its checksum differs", place, row, REMEDY),
            }
        })
    }

    /// The places of durable subscriptions.
    pub(super) fn cursors(&mut self) -> Result<(), StorageError> {
        const REMEDY: &str = "the events are there: give the subscription another name, so that it begins again";
        let numbers = self.subjects.by_number();
        self.each(Table::Cursors, &mut |rows, key, row| {
            if !rows.concerns(&numbers, key) {
                return;
            }
            let place = ("cursors", key);
            let state = rows.state_of(&numbers, key);
            match Cursor::decode(key, row) {
                None => rows.bad("the place of a subscription is damaged: its checksum differs", place, row, REMEDY),
                Some(cursor) if state.is_some_and(|(is_broken, count)| !is_broken && cursor.covered > count) => {
                    rows.bad("a subscription is further than the log", place, row, REMEDY);
                }
                Some(_) => {}
            }
        })
    }

    /// What was published again of logs that forked.
    pub(super) fn republished(&mut self) -> Result<(), StorageError> {
        const REMEDY: &str =
            "the events are there: only where their copies are is not known any more; restore a backup";
        let numbers = self.subjects.by_number();
        self.each(Table::Republished, &mut |rows, key, row| {
            if !rows.concerns(&numbers, key) {
                return;
            }
            let place = ("republished", key);
            if unchecked(row).and_then(Republished::decode).is_none() {
                let what = "what was published again of a log is damaged: its checksum differs";
                rows.bad(what, place, row, REMEDY);
            } else if rows.view.get(Table::Cuts, key).is_ok_and(|cut| cut.is_none()) {
                // The checksum is not over the key.
                rows.bad("something was published again of a log that has not forked", place, row, REMEDY);
            }
        })
    }

    /// Where authors' logs end, and the evidence for it.
    pub(super) fn cuts(&mut self, keys: &Keys) -> Result<(), StorageError> {
        const REMEDY: &str = "have the evidence of the fork sent again by a peer";
        let numbers = self.subjects.by_number();
        self.each(Table::Cuts, &mut |rows, key, row| {
            if !rows.concerns(&numbers, key) {
                return;
            }
            let place = ("cuts", key);
            let Some((said, evidence)) = unchecked(row).and_then(|row| row.split_first_chunk::<8>()) else {
                return rows.bad("the end of an author's log is damaged: its checksum differs", place, row, REMEDY);
            };
            let evidence = match ForkEvidence::decode(evidence) {
                Ok(evidence) => evidence,
                Err(error) => {
                    return rows.bad(format!("the evidence of a fork cannot be read: {error}"), place, row, REMEDY);
                }
            };
            let author = evidence.author();
            // The checksum is not over the key. Evidence may be here before the first event of its subject is.
            let id = rows.subject_of(key);
            let is_named = key.get(4..) == Some(author.as_bytes().as_slice());
            if !is_named || id != Some(evidence.subject()) {
                return rows.bad("the evidence of a fork is about another log than its key says", place, row, REMEDY);
            }
            match keys.get(&author).map(|key| evidence.verify(key)) {
                Some(Ok(cut)) if cut.last_valid == u64::from_le_bytes(*said) => {}
                Some(Ok(_)) => {
                    rows.bad("the end of an author's log is not the one of the evidence", place, row, REMEDY)
                }
                Some(Err(error)) => {
                    rows.bad(format!("the evidence of a fork does not hold: {error}"), place, row, REMEDY);
                }
                None => {
                    let what = "the evidence of a fork cannot be checked: the key of its author is not here";
                    let remedy = "get the author's public key; the directory need not be repaired";
                    let finding = Finding::warning(what, remedy).row("cuts", key).author(author);
                    rows.findings.add(finding.offset(rows.view.offset_of(row)));
                }
            }
        })
    }

    /// The keys of authors elsewhere. Returns those that are whole.
    pub(super) fn writers(&mut self) -> Result<Vec<(XaeroID, PublicKey)>, StorageError> {
        const REMEDY: &str = "get the author's public key again";
        let mut known = Vec::new();
        self.each(Table::Writers, &mut |rows, key, row| match unchecked(row).map(PublicKey::from_bytes) {
            Some(Ok(public)) if public.id().as_bytes() == key => known.push((public.id(), public)),
            Some(Ok(_)) => rows.bad("a public key is of another author than its row", ("writers", key), row, REMEDY),
            Some(Err(error)) => {
                rows.bad(format!("a public key cannot be used: {error}"), ("writers", key), row, REMEDY)
            }
            None => rows.bad("a public key is damaged: its checksum differs", ("writers", key), row, REMEDY),
        })?;
        Ok(known)
    }

    /// How many logs use a batch of signed heads.
    pub(super) fn live_count(&mut self, key: &[u8], row: &[u8]) {
        if unchecked(row).is_none_or(|count| count.len() != 4) {
            let what = "the number of logs that use signed heads is damaged: its checksum differs";
            return self.bad(what, ("signed_heads", key), row, remedy::SIGN);
        }
        // Both go in one transaction; and the checksums are not over the keys.
        let batch = key.strip_suffix(&[1]).map(|batch| self.view.get(Table::SignedHeads, batch));
        if batch.is_none_or(|batch| batch.is_ok_and(|batch| batch.is_none())) {
            let what = "signed heads are counted as used and are not there";
            self.bad(what, ("signed_heads", key), row, remedy::SIGN);
        }
    }
}
