//! `xaeroflux import`: what `export` has written, into another data directory.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::Serialize;
use xaeroflux::ImportSummary;

use super::{
    args::ImportArgs,
    console::{Ending, Streams},
    exit::{Exit, Failure},
    place::Place,
    progress::Bar,
    signals::Interrupt,
};

/// What was imported, as it is printed.
#[derive(Serialize)]
struct Line {
    subject: String,
    name: String,
    new: u64,
    duplicates: u64,
    retracted: u64,
    /// Events of authors whom a partial replica leaves out, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
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
pub fn run(place: &Place<'_>, args: &ImportArgs, Streams { output, console }: &mut Streams) -> Result<Exit, Failure> {
    let input: Box<dyn Read> = if args.file == Path::new("-") {
        if console.is_input_terminal() {
            return Err(Failure::usage(
                "name the file to import, or send it to standard input, as in `xaeroflux import < file`",
            ));
        }
        console.input()
    } else {
        let unreadable =
            |error| Failure::new(Exit::Streams, format_args!("{} could not be read: {error}", args.file.display()));
        let file = File::open(place.file(&args.file)).map_err(unreadable)?;
        Box::new(Interruptible { file, interrupt: console.interrupt() })
    };
    let node = place.open()?;
    let bar = Bar::new("importing", console);
    let imported = node.import(input, |progress| bar.show(progress));
    bar.end();
    let summary = imported?;
    let forks = summary.forks.iter().map(|cut| Fork { author: cut.author.to_string(), last_valid: cut.last_valid });
    let forks = forks.collect();
    let ImportSummary {
        subject, name, new, duplicates, retracted, left_out, waiting, authors, root, bundle_root, ..
    } = summary;
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let (subject, left_out) = (subject.to_string(), Some(left_out).filter(|events| *events > 0));
    let (root, imported_root) = (hex(&root), hex(&bundle_root));
    output.json(&Line {
        subject,
        name,
        new,
        duplicates,
        retracted,
        left_out,
        waiting,
        authors,
        forks,
        root,
        imported_root,
    })?;
    Ok(Exit::Done)
}

/// A file whose reading ends early when whoever asked for it is gone. Of an own process the system sees to that.
struct Interruptible {
    file: File,
    interrupt: Interrupt,
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.interrupt.is_set() { Err(Ending::error()) } else { self.file.read(buffer) }
    }
}
