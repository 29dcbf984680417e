//! `xaeroflux export`: a subject as one file.

use std::io::{self, IsTerminal as _};

use xaeroflux::ExportOptions;

use super::{
    args::{self, ExportArgs, Global},
    exit::{Exit, Failure},
    progress::Bar,
};

/// Writes the subject to standard output.
pub fn run(global: &Global, args: &ExportArgs) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let out = io::stdout();
    if out.is_terminal() {
        return Err(Failure::usage(
            "an exported subject is binary: send it to a file, as in `xaeroflux export … > file`",
        ));
    }
    let node = super::open(global)?;
    let bar = Bar::new("exporting");
    let shown = bar.clone();
    let options = ExportOptions::new().from(args.from).progress(move |progress| shown.show(progress));
    let exported = node.subject(args.subject.as_str()).export(out.lock(), options);
    bar.end();
    // That nobody reads on is a failure here: what was written is of little use.
    exported?;
    Ok(Exit::Done)
}
