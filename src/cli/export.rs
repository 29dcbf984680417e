//! `xaeroflux export`: a subject as one file.

use xaeroflux::ExportOptions;

use super::{
    args::{self, ExportArgs},
    console::Streams,
    exit::{Exit, Failure},
    place::Place,
    progress::Bar,
};

/// Writes the subject to standard output.
pub fn run(place: &Place<'_>, args: &ExportArgs, Streams { output, console }: &mut Streams) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    if output.is_terminal() {
        return Err(Failure::usage(
            "an exported subject is binary: send it to a file, as in `xaeroflux export … > file`",
        ));
    }
    let node = place.open()?;
    let bar = Bar::new("exporting", console);
    let shown = bar.clone();
    let options = ExportOptions::new().from(args.from).progress(move |progress| shown.show(progress));
    let exported = node.subject(args.subject.as_str()).export(output.bytes(), options);
    bar.end();
    // That nobody reads on is a failure here: what was written is of little use.
    exported?;
    Ok(Exit::Done)
}
