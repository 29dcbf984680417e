//! Heads and signatures: what the log gives at their lengths, and whether their authors signed that.

use hashbrown::HashMap;

use super::{
    compare,
    report::{Finding, Findings, VerifyReport, remedy},
    state::{SubjectState, Subjects},
};
use crate::{
    actors::{
        committer::heads::PEER,
        mmr::nodes::TreeNodes,
        storage::{
            ahead::Ahead,
            frozen::View,
            head::Head,
            keys::{self, SubjectNumber},
            lmdb::{Reads, Row, Table},
            reader::LogReader,
            row::unchecked,
        },
    },
    wire::{
        head::{HeadBatch, LogHead, SignedHead},
        id::{SubjectId, XaeroID},
        key::PublicKey,
        mmr::{Hash, root_at},
    },
};

/// The keys that are known here.
pub(super) type Keys = HashMap<XaeroID, PublicKey>;

/// By the number of a batch, the logs whose newest head it has: subject, author, length.
pub(super) type Referred = HashMap<u64, Vec<(SubjectId, XaeroID, u64)>>;

/// What is looked at, and where it goes.
pub(super) struct Heads<'h, 'v> {
    pub(super) view: &'h View<'v>,
    pub(super) only: Option<SubjectId>,
    pub(super) subjects: &'h mut Subjects,
    pub(super) keys: &'h Keys,
    pub(super) report: &'h mut VerifyReport,
    pub(super) findings: &'h mut Findings,
}

impl<'v> Heads<'_, 'v> {
    /// The rows of the heads table, as far as the walk along the log has not compared them. Returns of how many trees each
    /// batch is the newest.
    pub(super) fn rows(&mut self, rows: Vec<Row<'v>>) -> Referred {
        let numbers = self.subjects.by_number();
        let mut referred: Referred = HashMap::new();
        for (key, row) in rows {
            let number = SubjectNumber::from_key(key).filter(|_| key.len() == 4);
            let place = number.and_then(|number| numbers.get(&number).copied());
            if self.only.is_some() && place.is_none() {
                continue;
            }
            let damage =
                |what: &str| Finding::damage(what, remedy::RESTORE).row("heads", key).offset(self.view.offset_of(row));
            let named = place.and_then(|place| self.subjects.get(place)).map(|state| state.name.clone());
            let named = |finding: Finding| Finding { subject: named, ..finding };
            let Some(head) = number.and_then(|number| Head::decode(number, row)) else {
                self.findings
                    .add(named(damage("the head of a subject cannot be read: its checksum or its form is wrong")));
                continue;
            };
            let Some(state) = place.and_then(|place| self.subjects.get_mut(place)) else {
                self.findings.add(damage("a head is of a subject of which the log has no events"));
                continue;
            };
            if head.count > state.head.count && !state.is_broken {
                let what = format!("the head says {} events, and the log has {}", head.count, state.head.count);
                self.findings.add(named(damage(&what)));
            } else if state.compared != Some(head.count) && head.count == state.head.count {
                compare::head(self.view, state, &head, self.findings);
            }
            let id = state.id;
            for (_, author, tree) in head.authors() {
                if tree.signed.length > 0 && tree.signed.batch != PEER {
                    referred.entry(tree.signed.batch).or_default().push((id, author.author, tree.signed.length));
                }
                let short = tree.peaks.len() < head.author(author.author).1.seq;
                // The tree of a head that the log passed in the middle, or that was not whole then.
                if let Some(root) = self.root(id, author.author, tree.peaks.len()).filter(|_| short)
                    && root != tree.peaks.root()
                {
                    let finding = damage("the tree of an author's log is not what the log gives").author(author.author);
                    self.findings.add(finding.seqs(1, tree.peaks.len()));
                }
            }
        }
        referred
    }

    /// A batch that one signature covers.
    pub(super) fn batch(&mut self, key: &[u8], row: &[u8]) {
        let offset = self.view.offset_of(row);
        let damage = |what: String| Finding::damage(what, remedy::SIGN).row("signed_heads", key).offset(offset);
        let batch = match unchecked(row).map(HeadBatch::decode) {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => return self.findings.add(damage(format!("signed heads cannot be read: {error}"))),
            None => return self.findings.add(damage("signed heads are damaged: their checksum differs".to_owned())),
        };
        if self.only.is_some_and(|only| batch.heads().iter().all(|head| head.subject != only)) {
            return;
        }
        let verified = self.keys.get(&batch.author()).map(|key| batch.verify(key));
        let holds = self.judge(verified, batch.author(), damage);
        for head in batch.heads() {
            self.head(head, holds, &damage);
        }
    }

    /// A head that came from elsewhere.
    pub(super) fn peer(&mut self, key: &[u8], row: &[u8]) {
        let damage = elsewhere(self.view.offset_of(row), "peer_heads", key);
        let Some(signed) = self.of_log(key, row, SignedHead::decode, |signed| signed, &damage) else { return };
        let head = *signed.head();
        let verified = self.keys.get(&head.author).map(|key| signed.verify(key));
        let holds = self.judge(verified, head.author, &damage);
        self.head(&head, holds, &damage);
    }

    /// A head over more of a log than is here.
    pub(super) fn ahead(&mut self, key: &[u8], row: &[u8]) {
        let damage = elsewhere(self.view.offset_of(row), "ahead_heads", key);
        let Some(ahead) = self.of_log(key, row, Ahead::decode, |ahead| &ahead.head, &damage) else { return };
        let head = *ahead.head.head();
        let verified = self.keys.get(&head.author).map(|key| ahead.head.verify(key));
        self.judge(verified, head.author, &damage);
        let root = self.root(head.subject, head.author, ahead.proof.old);
        if root.is_some_and(|root| !ahead.continues(ahead.proof.old, &root)) {
            self.findings
                .add(damage("the log is not a beginning of what its author signed".to_owned()).author(head.author));
        }
    }

    /// Reads a row with a head of one log, whose key has the number of the subject and the author's slot; `None` where the
    /// row is not looked at, or what is wrong with it has been told.
    fn of_log<T, E: std::fmt::Display>(
        &mut self,
        key: &[u8],
        row: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
        signed: impl FnOnce(&T) -> &SignedHead,
        damage: &impl Fn(String) -> Finding,
    ) -> Option<T> {
        let numbers = self.subjects.by_number();
        let number = key.first_chunk::<4>().and_then(|key| SubjectNumber::from_key(key));
        let place = number.and_then(|number| numbers.get(&number).copied());
        if self.only.is_some() && place.is_none() {
            return None;
        }
        let read = match unchecked(row).map(decode) {
            Some(Ok(read)) => read,
            Some(Err(error)) => {
                self.findings.add(damage(format!("a signed head cannot be read: {error}")));
                return None;
            }
            None => {
                self.findings.add(damage("a signed head is damaged: its checksum differs".to_owned()));
                return None;
            }
        };
        let head = signed(&read).head();
        let slot = key.get(4..).and_then(|slot| slot.try_into().ok()).map(u32::from_be_bytes);
        let state = place.and_then(|place| self.subjects.get(place));
        let is_broken = state.is_some_and(|state| state.is_broken);
        let of = state.zip(slot).and_then(|(state, slot)| Some((state.id, state.author(slot)?)));
        if of != Some((head.subject, head.author)) && !is_broken {
            self.findings.add(damage("a signed head is of another log than its key says".to_owned()));
            return None;
        }
        Some(read)
    }

    /// Whether a signature holds, or may hold.
    fn judge(
        &mut self,
        verified: Option<Result<(), crate::wire::proof::ProofError>>,
        author: XaeroID,
        damage: impl Fn(String) -> Finding,
    ) -> bool {
        match verified {
            Some(Ok(())) => {
                self.report.signatures += 1;
                true
            }
            Some(Err(error)) => {
                self.findings.add(damage(format!("a signature over heads does not hold: {error}")).author(author));
                false
            }
            None => {
                self.report.unknown_keys += 1;
                let finding = damage("a signature cannot be checked: the key of its author is not here".to_owned());
                let remedy = "get the author's public key; the directory need not be repaired";
                let severity = super::Severity::Warning;
                self.findings.add(Finding { severity, remedy, ..finding }.author(author));
                true
            }
        }
    }

    /// Compares a signed head with the log.
    fn head(&mut self, head: &LogHead, holds: bool, damage: &dyn Fn(String) -> Finding) {
        if self.only.is_some_and(|only| only != head.subject) {
            return;
        }
        let known = self.subjects.of(head.subject).map(|state| (state.name.clone(), state.is_broken));
        let name = known.as_ref().map_or_else(|| head.subject.to_string(), |(name, _)| name.clone());
        let finding = |what: &str| damage(what.to_owned()).subject(&name).author(head.author).seqs(1, head.length);
        let is_broken = known.is_some_and(|(_, is_broken)| is_broken);
        let Some((slot, root)) = self.slot_and_root(head) else {
            if !is_broken {
                self.findings.add(finding("a head is signed over more events than the log has"));
            }
            return;
        };
        let Some(root) = root else { return };
        self.report.heads += 1;
        if root != head.root {
            self.findings.add(finding("a signed head has another root than the log gives at its length"));
        } else if holds && let Some(state) = self.subjects.of_mut(head.subject) {
            let tree = state.tree(slot);
            tree.signed = tree.signed.max(head.length);
        }
    }

    /// The author's slot, where the log is as long as the head; and the root, where it can be made.
    fn slot_and_root(&self, head: &LogHead) -> Option<(u32, Option<Hash>)> {
        let state = self.subjects.of(head.subject)?;
        let slot = state.slot(head.author)?;
        (state.head.author(head.author).1.seq >= head.length)
            .then(|| (slot, self.root(head.subject, head.author, head.length)))
    }

    /// The root of an author's log at a length; `None` where it cannot be made because of what is reported already.
    fn root(&self, subject: SubjectId, author: XaeroID, length: u64) -> Option<Hash> {
        let state = self.subjects.of(subject)?;
        let slot = state.slot(author)?;
        let tree = state.trees.get(usize::try_from(slot).ok()?)?;
        if tree.peaks.len() == length && !tree.is_broken {
            return Some(tree.peaks.root());
        }
        let (_, known) = state.head.author(author);
        let nodes = TreeNodes::new(self.view, LogReader::new(self.view), state.number?, slot, known);
        let mut nodes = if tree.bad_nodes || state.is_broken { nodes.without_stored() } else { nodes };
        root_at(&mut nodes, length).ok()
    }

    /// Each tree of the checkpoint whose signature is gone, and batches that count too few trees.
    pub(super) fn references(&mut self, referred: Referred) {
        let mut referred: Vec<_> = referred.into_iter().collect();
        referred.sort_unstable_by_key(|(batch, _)| *batch);
        for (batch, trees) in referred {
            let key = batch.to_be_bytes();
            let live_key: [u8; 9] = keys::concat(key, [1]);
            let is_here = self.view.get(Table::SignedHeads, &key).is_ok_and(|row| row.is_some());
            let row = self.view.get(Table::SignedHeads, &live_key).ok().flatten();
            let live = row.and_then(unchecked).and_then(|row| row.try_into().ok()).map_or(0, u32::from_le_bytes);
            if is_here && self.only.is_none() && usize::try_from(live).is_ok_and(|live| live < trees.len()) {
                let what = format!("signed heads are counted as used by {live} logs, and {} use them", trees.len());
                let finding = Finding::damage(what, remedy::SIGN).row("signed_heads", &live_key);
                self.findings.add(finding.offset(row.and_then(|row| self.view.offset_of(row))));
            }
            for (subject, author, length) in trees {
                let Some(state) = self.subjects.of_mut(subject) else { continue };
                let Some(slot) = state.slot(author) else { continue };
                // A newer batch may have taken its place since the checkpoint.
                if state.tree(slot).signed < length && !is_here && !state.is_broken {
                    let what = "the signed head of an author's log is not there any more";
                    let finding = Finding::damage(what, remedy::SIGN).row("signed_heads", &key);
                    self.findings.add(finding.subject(&state.name).author(author).seqs(1, length));
                }
            }
        }
    }

    /// Counts the events that no signature covers.
    pub(super) fn unsigned(&mut self) {
        let mut logs = 0_u64;
        for state in self.subjects.iter_mut() {
            let open: Vec<(XaeroID, u64, u64)> = unsigned_of(state).collect();
            for (_, seq, signed) in open {
                self.report.unsigned += seq.saturating_sub(signed);
                logs += 1;
            }
        }
        if logs > 0 {
            let what = format!(
                "{} events of {logs} logs are not signed: not yet, or they were received without a signed head",
                self.report.unsigned
            );
            let remedy =
                "start a node on the directory, which signs what its own authors wrote; ask peers for other heads";
            self.findings.add(Finding::warning(what, remedy));
        }
    }
}

/// What is wrong with a signed head of somebody elsewhere.
fn elsewhere(offset: Option<u64>, table: &'static str, key: &[u8]) -> impl Fn(String) -> Finding {
    move |what| {
        let remedy = "the events are there: fetch the author's signed head from a peer again";
        Finding::damage(what, remedy).row(table, key).offset(offset)
    }
}

fn unsigned_of(state: &SubjectState) -> impl Iterator<Item = (XaeroID, u64, u64)> + '_ {
    state.head.authors().filter_map(|(slot, author, _)| {
        let tree = usize::try_from(slot).ok().and_then(|slot| state.trees.get(slot));
        let signed = tree.map_or(0, |tree| tree.signed);
        (signed < author.seq).then_some((author.author, author.seq, signed))
    })
}
