//! `xaeroflux verify`: whether everything in the data directory is as it was written.

use std::fmt;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use xaeroflux::{Finding, Severity, VerifyError, VerifyOptions, VerifyProgress, VerifyReport};

use super::{
    args::{self, Global, VerifyArgs},
    exit::{Exit, Failure},
    output::Output,
    text::Bytes,
};

/// Verifies, and prints the findings and what they come to.
pub fn run(global: &Global, args: &VerifyArgs, output: &mut Output) -> Result<Exit, Failure> {
    let mut options = VerifyOptions::default();
    if let Some(subject) = &args.subject {
        options = options.subject(args::checked(subject)?);
    }
    let dir = super::builder(global).resolved_data_dir()?;
    let bar = Bar::new();
    let verified = xaeroflux::verify(&dir, &options, &mut |progress| bar.show(progress));
    bar.0.finish_and_clear();
    let report = verified?;
    for finding in &report.findings {
        output.line(&Line::of(finding), Told(finding))?;
    }
    output.line(&Summary::of(&report), Sum(&report))?;
    Ok(if report.is_whole() { Exit::Done } else { Exit::Damaged })
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Storage(error) => xaeroflux::Error::Storage(error).into(),
            error @ (VerifyError::Name(_) | VerifyError::UnknownSubject(_)) => Self::usage(error),
            error => Self::new(Exit::Failed, error),
        }
    }
}

/// The progress bar, on standard error where that is a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        // A template of ours: it has no mistake.
        if let Ok(style) = ProgressStyle::with_template("{msg:<10} [{bar:40}] {percent:>3}%  {eta}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    fn show(&self, VerifyProgress { what, done, total, .. }: VerifyProgress) {
        self.0.set_message(what);
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

/// A finding for programs.
#[derive(Serialize)]
struct Line<'a> {
    finding: &'static str,
    what: &'a str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seqs: Option<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    positions: Option<(u64, u64)>,
    remedy: &'static str,
}

impl<'a> Line<'a> {
    fn of(finding: &'a Finding) -> Self {
        Self {
            finding: severity(finding),
            what: &finding.what,
            file: finding.file.display().to_string(),
            offset: finding.offset,
            table: finding.table,
            key: finding.key.as_deref(),
            subject: finding.subject.as_deref(),
            author: finding.author.map(|author| author.to_string()),
            seqs: finding.seqs,
            positions: finding.positions,
            remedy: finding.remedy,
        }
    }
}

/// What the findings come to, for programs.
#[derive(Serialize)]
struct Summary<'a> {
    subjects: u64,
    events: u64,
    bytes: u64,
    authors: u64,
    heads: u64,
    signatures: u64,
    segments: u64,
    findings: u64,
    warnings: u64,
    unsigned: u64,
    unknown_keys: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_bad: Option<Line<'a>>,
}

impl<'a> Summary<'a> {
    fn of(report: &'a VerifyReport) -> Self {
        Self {
            subjects: report.subjects,
            events: report.events,
            bytes: report.bytes,
            authors: report.authors,
            heads: report.heads,
            signatures: report.signatures,
            segments: report.segments,
            findings: report.damaged,
            warnings: report.warnings,
            unsigned: report.unsigned,
            unknown_keys: report.unknown_keys,
            holder: report.holder.as_deref(),
            first_bad: report.first_bad().map(Line::of),
        }
    }
}

/// A finding for people.
struct Told<'a>(&'a Finding);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finding = self.0;
        write!(f, "{}: {}", severity(finding), Bytes::new(finding.what.as_bytes()))?;
        write!(f, "\n  in {}", finding.file.display())?;
        if let Some(offset) = finding.offset {
            write!(f, " at byte {offset}")?;
        }
        if let (Some(table), Some(key)) = (finding.table, &finding.key) {
            write!(f, ", table {table}, key {key}")?;
        }
        if let Some(subject) = &finding.subject {
            write!(f, "\n  subject {}", Bytes::new(subject.as_bytes()))?;
        }
        if let Some(author) = finding.author {
            write!(f, "\n  author {author}")?;
        }
        if let Some((first, last)) = finding.seqs {
            write!(f, "\n  the author's events {first} to {last}")?;
        }
        if let Some((first, last)) = finding.positions {
            write!(f, "\n  positions {first} to {last} of the log")?;
        }
        write!(f, "\n  {}", finding.remedy)
    }
}

/// What the findings come to, for people.
struct Sum<'a>(&'a VerifyReport);

impl fmt::Display for Sum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        if let Some(holder) = &report.holder {
            writeln!(f, "beside {}", Bytes::new(holder.as_bytes()))?;
        }
        writeln!(
            f,
            "{} events of {} authors' logs in {} subjects, {} bytes; {} signed heads, {} signatures, {} segments",
            report.events,
            report.authors,
            report.subjects,
            report.bytes,
            report.heads,
            report.signatures,
            report.segments
        )?;
        match (report.is_whole(), report.damaged) {
            (true, _) if report.warnings == 0 => f.write_str("everything is whole"),
            (true, _) => write!(f, "everything is whole, with {} warnings", report.warnings),
            (false, 1) => f.write_str("1 thing is damaged"),
            (false, damaged) => write!(f, "{damaged} things are damaged"),
        }
    }
}

fn severity(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Damage => "damage",
        _ => "warning",
    }
}
