//! `xaeroflux import`: what `export` has written, into another data directory.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::Path,
};

use serde::Serialize;
use xaeroflux::ImportSummary;

use super::{
    args::{Global, ImportArgs},
    exit::{Exit, Failure},
    output::Output,
    progress::Bar,
};

/// What was imported, as it is printed.
#[derive(Serialize)]
struct Line {
    subject: String,
    name: String,
    new: u64,
    duplicates: u64,
    retracted: u64,
    waiting: u64,
    authors: usize,
    /// Authors whose logs end from now on, since they signed two histories.
    forks: Vec<Fork>,
    /// Of the subject here now.
    root: String,
    /// Of what was imported: the same, unless there is more here.
    imported_root: String,
}

/// An author who signed two histories.
#[derive(Serialize)]
struct Fork {
    author: String,
    /// The sequence number of the last event that counts.
    last_valid: u64,
}

/// Imports a file, or standard input.
pub fn run(global: &Global, args: &ImportArgs, output: &mut Output) -> Result<Exit, Failure> {
    let input: Box<dyn Read> = if args.file == Path::new("-") {
        let input = io::stdin();
        if input.is_terminal() {
            return Err(Failure::usage(
                "name the file to import, or send it to standard input, as in `xaeroflux import < file`",
            ));
        }
        Box::new(input.lock())
    } else {
        let unreadable =
            |error| Failure::new(Exit::Streams, format_args!("{} could not be read: {error}", args.file.display()));
        Box::new(File::open(&args.file).map_err(unreadable)?)
    };
    let node = super::open(global)?;
    let bar = Bar::new("importing");
    let imported = node.import(input, |progress| bar.show(progress));
    bar.end();
    let summary = imported?;
    let forks = summary.forks.iter().map(|cut| Fork { author: cut.author.to_string(), last_valid: cut.last_valid });
    let forks = forks.collect();
    let ImportSummary { subject, name, new, duplicates, retracted, waiting, authors, root, bundle_root, .. } = summary;
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let subject = subject.to_string();
    let (root, imported_root) = (hex(&root), hex(&bundle_root));
    output.json(&Line { subject, name, new, duplicates, retracted, waiting, authors, forks, root, imported_root })?;
    Ok(Exit::Done)
}
