//! Logs: on standard error, filtered by `--log`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::exit::Failure;

/// Unless told otherwise: what went wrong or soon will.
const DEFAULT: &str = "warn";

/// The demo kills actors and says so itself; the engine's warnings about it would only break up its story.
const DEFAULT_FOR_DEMO: &str = "error";

/// Starts logging.
///
/// # Errors
/// A usage error where the filter is not one.
pub fn start(filter: Option<&str>, demo: bool) -> Result<(), Failure> {
    let filter = filter.unwrap_or(if demo { DEFAULT_FOR_DEMO } else { DEFAULT });
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        Failure::usage(format_args!(
            "--log takes a level (error, warn, info, debug, trace, off) or filter directives: {error}"
        ))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // It would tell of a failed write by writing again, with a panic where that fails too.
        .log_internal_errors(false)
        .init();
    Ok(())
}
