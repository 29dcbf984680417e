//! Verification: every byte of a data directory that matters, looked at without a change.
//!
//! Whoever verifies does so because something may be wrong, so nothing is believed: LMDB does not read a page here, since
//! it trusts them all (see [`frozen`](crate::actors::storage::frozen)). The lock of the directory is not taken, so that a
//! node may run beside; what it writes meanwhile is looked at as far as it is there, and never reported for being newer.
//!
//! * `report` is what is said: findings with their places, and the ways out.
//! * `file` are the pages of the data file.
//! * `log` is the walk along the log, first through its `segments`, then its table; `state` is what it has come to, and
//!   `compare` holds that against the rows that say the same.
//! * `rows` are the rows beside the log, `heads` those that are signed, `control` those that give the members.
//!
//! What is wrong is reported once, where it lies. What cannot be compared because of it is left out.

mod compare;
mod control;
mod file;
mod heads;
mod log;
mod report;
mod rows;
mod segments;
mod state;

use std::{
    cell::Cell,
    fs,
    io::ErrorKind,
    path::Path,
    time::{Duration, Instant},
};

pub use report::{Finding, MAX_FINDINGS, Progress, Severity, VerifyError, VerifyOptions, VerifyReport};

use self::{
    heads::{Heads, Keys},
    log::{LogWalk, Source},
    report::{Findings, remedy},
    rows::Rows,
    segments::SegmentWalk,
};
use crate::{
    actors::{
        keyring::inspect,
        storage::{
            StorageError,
            frozen::View,
            home, keys,
            lmdb::{Reads, Table},
            lock,
            onlooker::Watch,
            preflight,
            shares::Share,
        },
    },
    wire::{
        id::SubjectId,
        name::{check, open_subject_id},
    },
};

/// How long one commit is read before a newer one is: a node cannot reuse the pages that were freed after it.
const LONGEST_VIEW: Duration = Duration::from_secs(2);

/// How often a verification without a place among the readers begins again because somebody wrote meanwhile.
const ATTEMPTS: usize = 3;

/// Looks so often at a data file whose length and meta pages do not fit before it is called damaged: a node beside may be
/// in the middle of a commit.
const LOOKS: usize = 20;

/// Verifies a data directory. Reads only, and works beside a node that runs, in this process or another, and on a directory
/// that no node can open any more. `progress` is told now and then how far it is.
///
/// Within a process, no node can be opened on the directory until this returns, unless one is open already.
///
/// ```
/// use xaeroflux::{Node, VerifyOptions, XaeroEvent, event::CRDT_SET_ADD};
/// let dir = tempfile::tempdir()?;
/// let node = Node::builder().data_dir(dir.path()).build()?;
/// let tags = node.subject("tags");
/// let handle = tags.run()?;
/// tags.publish(XaeroEvent::new("draft", CRDT_SET_ADD)).wait()?;
/// let report = xaeroflux::verify(dir.path(), &VerifyOptions::default(), &mut |_| {})?;
/// assert!(report.is_whole(), "{:?}", report.findings);
/// assert_eq!(report.events, 1);
/// # drop(handle);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Where the directory cannot be read at all, or has no subject of the name that is asked for. That it is damaged is no
/// error but a [finding](VerifyReport::findings).
pub fn verify(
    dir: impl AsRef<Path>,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, VerifyError> {
    let dir = dir.as_ref();
    if let Some(name) = &options.subject {
        check(name)?;
    }
    for _ in 0..ATTEMPTS {
        let verification = Verification {
            dir,
            options,
            only: options.subject.as_deref().map(open_subject_id),
            findings: Findings::new(options.max_findings),
            report: VerifyReport::default(),
            keys: Keys::new(),
            segments: SegmentWalk::default(),
            progress,
        };
        if let Some(report) = verification.run()? {
            return Ok(report);
        }
    }
    let holder = lock::holder_of(dir).unwrap_or_else(|| "another process".to_owned());
    Err(StorageError::InUse { path: dir.to_owned(), holder }.into())
}

/// One look at a directory.
struct Verification<'v> {
    dir: &'v Path,
    options: &'v VerifyOptions,
    only: Option<SubjectId>,
    findings: Findings,
    report: VerifyReport,
    keys: Keys,
    segments: SegmentWalk,
    progress: &'v mut dyn FnMut(Progress),
}

impl Verification<'_> {
    /// The report; `None` where somebody wrote in a way that may have changed what was read.
    fn run(mut self) -> Result<Option<VerifyReport>, VerifyError> {
        fs::read_dir(self.dir).map_err(|source| StorageError::io("reading", self.dir, source))?;
        let has_data = self.format()?;
        self.report.holder = lock::holder_of(self.dir);
        self.key_files();
        if !has_data {
            return Ok(Some(self.done()));
        }
        let mut watch = Watch::open(self.dir)?;
        if let Err(error) = self.data_file(&mut watch) {
            return match error {
                // There is nothing more that could be read.
                VerifyError::Storage(StorageError::Truncated { .. } | StorageError::DamagedFile { .. }) => {
                    if self.findings.damaged() == 0 {
                        self.findings.add(Finding::damage(error.to_string(), remedy::RESTORE));
                    }
                    Ok(Some(self.done()))
                }
                other => Err(other),
            };
        }
        Ok(watch.is_undisturbed()?.then(|| self.done()))
    }

    fn done(mut self) -> VerifyReport {
        self.findings.into_report(&mut self.report);
        self.report
    }

    /// The mark of the format. Returns whether there is a data file.
    fn format(&mut self) -> Result<bool, VerifyError> {
        let data = self.dir.join("data.mdb");
        let length = match fs::metadata(&data) {
            Ok(metadata) => Some(metadata.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(StorageError::io("looking at", data, source).into()),
        };
        self.report.bytes += length.unwrap_or(0);
        match preflight::has_format(self.dir) {
            Ok(false) if length.is_none() => {
                // Not a data directory at all.
                return Err(StorageError::io("opening", data, ErrorKind::NotFound.into()).into());
            }
            Ok(_) => {}
            Err(error @ StorageError::DamagedFile { .. }) => {
                let remedy = "if the other files are xaeroflux's, write the line \"xaeroflux data 2\" into it";
                self.findings.add(Finding::damage(error.to_string(), remedy).file("FORMAT"));
            }
            Err(error) => return Err(error.into()),
        }
        if length.unwrap_or(0) == 0 && preflight::is_begun(self.dir) {
            let what = "the data file is missing or empty, and the directory once had one";
            self.findings.add(Finding::damage(what, remedy::RESTORE).offset(Some(0)));
        }
        Ok(length.is_some_and(|length| length > 0))
    }

    fn key_files(&mut self) {
        let found = inspect::inspect(&self.dir.join("keys"));
        for (file, what) in found.faults {
            self.findings.add(Finding::damage(what, remedy::KEY).file(Path::new("keys").join(file)));
        }
        self.keys.extend(found.keys.into_iter().map(|key| (key.id(), key)));
    }

    fn data_file(&mut self, watch: &mut Watch) -> Result<(), VerifyError> {
        let mut inspected = preflight::inspect(self.dir);
        for _ in 0..LOOKS {
            if inspected.is_ok() {
                break;
            }
            inspected = preflight::inspect(self.dir);
        }
        let metas = watch.meta_faults()?;
        for (page, what) in &metas {
            let what = format!("meta page {page} is damaged: {what}");
            self.findings.add(Finding::damage(what, remedy::RESTORE).offset(Some(page * 4096)));
        }
        match inspected {
            Err(error @ StorageError::Truncated { have, .. }) => {
                self.findings.add(Finding::damage(error.to_string(), remedy::RESTORE).offset(Some(have)));
            }
            Err(error @ StorageError::DamagedFile { .. }) if metas.is_empty() => {
                self.findings.add(Finding::damage(error.to_string(), remedy::RESTORE));
            }
            Err(StorageError::DamagedFile { .. }) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        {
            let frozen = watch.freeze()?;
            let view = frozen.view();
            self.know(&view)?;
            file::check(&view, &mut self.findings);
        }
        let mut walk = LogWalk::new(self.only);
        let mut from = 0;
        loop {
            let frozen = watch.freeze()?;
            let view = frozen.view();
            if self.part(&view, &mut walk, &mut from)? {
                walk.end(&mut self.findings);
                self.rest(&view, walk)?;
                drop(frozen);
                std::mem::take(&mut self.segments).rest(watch.segments(), &mut self.report, &mut self.findings);
                return Ok(());
            }
        }
    }

    /// Whether there is the subject that is asked for.
    fn know(&mut self, view: &View<'_>) -> Result<(), VerifyError> {
        let Some(open) = self.only else { return Ok(()) };
        // The name may be what an owned subject is called here.
        let mut owned = None;
        view.rows(
            Table::Shares,
            &[],
            &mut |key, row| {
                let share = Share::decode(key, row).filter(|share| self.options.subject.as_ref() == Some(&share.name));
                owned = owned.or(share.map(|share| share.subject));
                Ok(owned.is_none())
            },
            &mut |_| {},
        )?;
        let id = owned.unwrap_or(open);
        self.only = Some(id);
        let mut is_known = view.get(Table::SubjectNumbers, id.as_bytes()).is_ok_and(|row| row.is_some());
        view.rows(
            Table::Subjects,
            &[],
            &mut |_, row| {
                is_known |= row.starts_with(id.as_bytes());
                Ok(!is_known)
            },
            &mut |_| {},
        )?;
        let name = self.options.subject.clone().unwrap_or_default();
        if is_known { Ok(()) } else { Err(VerifyError::UnknownSubject(name)) }
    }

    /// A part of the log, as of one commit. Returns whether it was the last one.
    fn part(&mut self, view: &View<'_>, walk: &mut LogWalk, from: &mut u64) -> Result<bool, VerifyError> {
        let begun = Instant::now();
        let last = view.last(Table::Log).ok().flatten().and_then(|(key, _)| keys::position_of(key));
        let total = last.unwrap_or(0).max(view.trimmed());
        if *from < view.trimmed() {
            while *from < view.trimmed() {
                self.segments.part(view, walk, from, &mut self.findings)?;
                (self.progress)(Progress { what: "log", done: (*from).min(total), total });
                if begun.elapsed() >= LONGEST_VIEW {
                    return Ok(false);
                }
            }
            self.doubles(view, *from)?;
        }
        let source = Source { file: "data.mdb".to_owned(), bytes: view.bytes(), table: Some("log") };
        let is_damaged = Cell::new(false);
        let mut is_last = true;
        view.rows(
            Table::Log,
            &keys::position(*from),
            &mut |key, value| {
                if is_damaged.take() {
                    walk.lose();
                }
                let Some(first) = keys::position_of(key) else {
                    let finding = Finding::damage("the key of a block is no position", remedy::RESTORE);
                    self.findings.add(finding.row("log", key).offset(view.offset_of(key)));
                    return Ok(true);
                };
                walk.block(view, &source, (first, value), &mut self.findings);
                *from = first.saturating_add(1);
                (self.progress)(Progress { what: "log", done: first.min(total), total });
                is_last = begun.elapsed() < LONGEST_VIEW;
                Ok(is_last)
            },
            &mut |_| is_damaged.set(true),
        )?;
        if is_damaged.take() {
            walk.lose();
        }
        Ok(is_last)
    }

    /// Blocks that are in segments and have not left the table yet.
    fn doubles(&mut self, view: &View<'_>, end: u64) -> Result<(), VerifyError> {
        view.rows(
            Table::Log,
            &[],
            &mut |key, value| {
                let first = keys::position_of(key).filter(|first| *first < end);
                if let Some(first) = first {
                    log::double(view, first, value, &mut self.findings);
                }
                Ok(first.is_some())
            },
            &mut |_| {},
        )?;
        Ok(())
    }

    /// What stands beside the log, as of the commit in which its end was reached.
    fn rest(&mut self, view: &View<'_>, mut walk: LogWalk) -> Result<(), VerifyError> {
        let steps: u64 = 3;
        (self.progress)(Progress { what: "rows", done: 0, total: steps });
        let end = walk.next();
        let mut rows = Rows { view, only: self.only, subjects: &walk.subjects, findings: &mut self.findings };
        rows.subjects()?;
        rows.indexes()?;
        rows.pending()?;
        rows.snapshots()?;
        rows.cursors()?;
        rows.control()?;
        rows.shares()?;
        rows.republished()?;
        self.keys.extend(rows.writers()?);
        rows.cuts(&self.keys)?;
        let head_rows = rows.all(Table::Heads)?;
        if self.only.is_none() {
            rows.meta(end, !head_rows.is_empty())?;
        }
        (self.progress)(Progress { what: "rows", done: 1, total: steps });
        let (mut batches, mut counts) = (Vec::new(), Vec::new());
        for (key, row) in rows.all(Table::SignedHeads)? {
            if key.len() == 8 { batches.push((key, row)) } else { counts.push((key, row)) }
        }
        if self.only.is_none() {
            counts.iter().for_each(|(key, row)| rows.live_count(key, row));
        }
        let peers = rows.all(Table::PeerHeads)?;
        let ahead = rows.all(Table::AheadHeads)?;
        self.home(view);
        let mut heads = Heads {
            view,
            only: self.only,
            subjects: &mut walk.subjects,
            keys: &self.keys,
            report: &mut self.report,
            findings: &mut self.findings,
        };
        let referred = heads.rows(head_rows);
        let all = u64::try_from(batches.len() + peers.len()).unwrap_or(u64::MAX);
        for (done, (key, row)) in (0_u64..).zip(batches) {
            heads.batch(key, row);
            (self.progress)(Progress { what: "signatures", done, total: all });
        }
        peers.iter().for_each(|(key, row)| heads.peer(key, row));
        ahead.iter().for_each(|(key, row)| heads.ahead(key, row));
        heads.references(referred);
        heads.unsigned();
        self.report.events = walk.events;
        for state in walk.subjects.iter() {
            self.report.subjects += 1;
            self.report.authors += u64::try_from(state.head.authors().count()).unwrap_or(u64::MAX);
        }
        (self.progress)(Progress { what: "rows", done: steps, total: steps });
        Ok(())
    }

    /// Whether the directory is a copy.
    fn home(&mut self, view: &View<'_>) {
        let here = fs::metadata(self.dir.join("data.mdb")).map(|metadata| home::fingerprint(&metadata));
        let kept = view.get(Table::Meta, home::KEY).ok().flatten();
        if let (Ok(here), Some(kept)) = (here, kept)
            && here != kept
        {
            let what = "the data was written in another directory: this is a copy, or was restored from one";
            let remedy = "nothing has to be done: identities get fresh keys when a node first opens it";
            self.findings.add(Finding::warning(what, remedy).row("meta", home::KEY).offset(view.offset_of(kept)));
        }
    }
}

#[cfg(test)]
mod tests;
