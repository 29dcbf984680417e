//! What a verification says.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{
    actors::storage::StorageError,
    wire::{id::XaeroID, name::NameError},
};

/// Findings that a report names, each with its place. All are counted: a disk that goes wrong can break millions of events,
/// and a hundred tell what is to be done.
pub const MAX_FINDINGS: usize = 100;

/// What is to be verified, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Only the events, indexes, heads and signatures of the subject with this name. The log is shared by all subjects, so
    /// that damage in it is reported all the same: it may be the subject's.
    pub subject: Option<String>,
    /// Most findings that the report names: [`MAX_FINDINGS`] unless set.
    pub max_findings: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { subject: None, max_findings: MAX_FINDINGS }
    }
}

impl VerifyOptions {
    /// One subject only.
    #[must_use]
    pub fn subject(mut self, name: impl Into<String>) -> Self {
        self.subject = Some(name.into());
        self
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Severity {
    /// Something is not as it was written.
    Damage,
    /// Nothing is known to be wrong, but something could not be checked, or the owner should know of it.
    Warning,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// The file, in the data directory.
    pub file: PathBuf,
    /// The byte in it at which what is wrong begins, where that is known.
    pub offset: Option<u64>,
    /// The table of the data file.
    pub table: Option<&'static str>,
    /// The row's key, in hexadecimal digits.
    pub key: Option<String>,
    /// The name of the subject that is affected, or its identifier where the name is not known.
    pub subject: Option<String>,
    /// The author whose log is affected.
    pub author: Option<XaeroID>,
    /// The first and the last sequence number of the author that is affected.
    pub seqs: Option<(u64, u64)>,
    /// The first and the last position in the node's log that is affected.
    pub positions: Option<(u64, u64)>,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Finding {
    pub(super) fn damage(what: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            severity: Severity::Damage,
            what: what.into(),
            file: PathBuf::from("data.mdb"),
            offset: None,
            table: None,
            key: None,
            subject: None,
            author: None,
            seqs: None,
            positions: None,
            remedy,
        }
    }

    pub(super) fn warning(what: impl Into<String>, remedy: &'static str) -> Self {
        Self { severity: Severity::Warning, ..Self::damage(what, remedy) }
    }

    pub(super) fn file(mut self, file: impl AsRef<Path>) -> Self {
        self.file = file.as_ref().to_owned();
        self
    }

    pub(super) fn row(mut self, table: &'static str, key: &[u8]) -> Self {
        self.table = Some(table);
        self.key = Some(data_encoding::HEXLOWER.encode(key));
        self
    }

    pub(super) const fn offset(mut self, offset: Option<u64>) -> Self {
        self.offset = offset;
        self
    }

    pub(super) fn subject(mut self, name: impl Into<String>) -> Self {
        self.subject = Some(name.into());
        self
    }

    pub(super) const fn author(mut self, author: XaeroID) -> Self {
        self.author = Some(author);
        self
    }

    pub(super) const fn seqs(mut self, first: u64, last: u64) -> Self {
        self.seqs = Some((first, last));
        self
    }

    pub(super) const fn positions(mut self, first: u64, last: u64) -> Self {
        self.positions = Some((first, last));
        self
    }
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Subjects that have events, or the one that was asked for.
    pub subjects: u64,
    /// Events in their logs.
    pub events: u64,
    /// Bytes of the files that were read.
    pub bytes: u64,
    /// Logs of one author in one subject.
    pub authors: u64,
    /// Signed heads whose root was compared with the one that the log gives.
    pub heads: u64,
    /// Signatures that hold.
    pub signatures: u64,
    /// Sealed segments.
    pub segments: u64,
    /// Events that no signature covers: not signed yet, or made elsewhere and received without a signed head.
    pub unsigned: u64,
    /// Signatures that could not be checked because the key of their author is not here.
    pub unknown_keys: u64,
    /// Who has the directory, where somebody has.
    pub holder: Option<String>,
    /// How many things are damaged.
    pub damaged: u64,
    /// How many warnings there are.
    pub warnings: u64,
    /// The first of both, damage before warnings, at most [`max_findings`](VerifyOptions::max_findings) of each.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.damaged == 0
    }

    /// The first thing that is damaged.
    #[must_use]
    pub fn first_bad(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.severity == Severity::Damage)
    }
}

/// How far a verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being looked at.
    pub what: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is: the log of a node that runs grows meanwhile.
    pub total: u64,
}

/// Why nothing could be verified.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The directory cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The name is none that a subject can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no such subject here.
    #[error("there is no subject {0:?} in this data directory: look at its spelling")]
    UnknownSubject(String),
}

/// Gathers findings.
#[derive(Default)]
pub(super) struct Findings {
    max: usize,
    damage: Vec<Finding>,
    warnings: Vec<Finding>,
    damaged: u64,
    warned: u64,
}

impl Findings {
    pub(super) fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        let (kept, count) = match finding.severity {
            Severity::Damage => (&mut self.damage, &mut self.damaged),
            Severity::Warning => (&mut self.warnings, &mut self.warned),
        };
        *count += 1;
        if kept.len() < self.max {
            kept.push(finding);
        }
    }

    /// How many things are damaged so far.
    pub(super) const fn damaged(&self) -> u64 {
        self.damaged
    }

    pub(super) fn into_report(self, report: &mut VerifyReport) {
        report.damaged = self.damaged;
        report.warnings = self.warned;
        report.findings = self.damage;
        report.findings.extend(self.warnings);
    }
}

/// Ways out.
pub(super) mod remedy {
    /// For what nothing else can make again.
    pub(in crate::actors::verify) const RESTORE: &str =
        "restore the data directory from a backup, or start a new one and fetch the events from a peer";
    /// For what the log makes again.
    pub(in crate::actors::verify) const REBUILD: &str =
        "the events are there: export the subject, or restore the data directory from a backup";
    /// For keys.
    pub(in crate::actors::verify) const KEY: &str = "restore the key file from a backup";
    /// For signatures.
    pub(in crate::actors::verify) const SIGN: &str = "the events are there: publish in the author's name on the node that has its key, so that its log is signed again";
}
