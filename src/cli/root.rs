//! `xaeroflux root`: one hash that tells whether two nodes have the same of a subject.

use data_encoding::HEXLOWER;
use serde::Serialize;

use super::{
    args::{self, RootArgs},
    exit::{Exit, Failure},
    output::Output,
    place::Place,
};

/// A root as it is printed.
#[derive(Serialize)]
struct Line {
    root: String,
    /// Events under it: all that count, in all authors' logs.
    events: u64,
    /// What is kept here, where that is a part of the subject: then it is the root of that part.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<String>,
}

/// Prints the root of the subject as it is now.
pub fn run(place: &Place<'_>, args: &RootArgs, output: &mut Output) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    let subject = node.subject(args.subject.as_str());
    // One look at the log for both: asked for one after the other, they could be of two moments.
    let logs = subject.authors()?;
    let events = logs.iter().map(|(_, length, _)| length).sum();
    let root = HEXLOWER.encode(&xaeroflux::wire::head::subject_root(subject.id(), logs));
    let partial = subject.replica_filter()?.map(|filter| filter.to_string());
    let part = partial.as_ref().map(|partial| format!("  partial: {partial}")).unwrap_or_default();
    let text = format!("{root}  {events} events{part}");
    output.line(&Line { root, events, partial }, text)?;
    Ok(Exit::Done)
}
