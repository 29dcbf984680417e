//! What can be asked on the command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::TypedValueParser as _};
use serde::Serialize;
use xaeroflux::wire::name;

use super::{exit::Failure, kind::Kind};

/// Durable, conflict-free event streams for offline-first collaborative applications.
#[derive(Debug, Parser)]
#[command(name = "xaeroflux", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done, 1 some input was refused, 2 usage, 3 the data directory is in use, \
4 storage, 5 identity, 6 standard input or output, 7 failed, 9 verified and damaged, 130 interrupted.";

/// Options that every subcommand takes, before its name or after it.
#[derive(Debug, Args)]
pub struct Global {
    /// Data directory, created if absent [default: $XAEROFLUX_DATA_DIR, else the platform's data directory]
    #[arg(long, global = true, value_name = "DIR",
        value_parser = clap::builder::OsStringValueParser::new().try_map(directory))]
    pub data_dir: Option<PathBuf>,

    /// Most that the data file can grow to, in bytes or with a suffix K, M, G or T (of 1024) [default: 64G]
    #[arg(long, global = true, value_name = "BYTES", value_parser = bytes)]
    pub map_size: Option<u64>,

    /// What to log on standard error: a level, or tracing's filter directives such as `warn,xaeroflux=debug`
    /// [default: warn]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,

    /// JSON Lines on standard output even where it is a terminal
    #[arg(long, global = true)]
    pub json: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the main job: three people, concurrent edits, crashes in the middle, one resolved state
    Demo,
    /// List the identities of the data directory, make one, or print a public key
    Id(IdArgs),
    /// Publish one event for each line of standard input, and print a receipt for each once it is on disk
    Publish(PublishArgs),
    /// Print the events of a subject, one a line
    Replay(ReplayArgs),
    /// Print the state of a subject, resolved by the rules of a CRDT
    State(StateArgs),
    /// Look at every byte of the data directory that matters, beside a running node too, and change nothing
    Verify(VerifyArgs),
}

/// Arguments of `id`.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// Make an identity of this name; an error where there is one
    #[arg(long, value_name = "NAME")]
    pub new: Option<String>,

    /// Print the public key of the identity of this name as one line of text
    #[arg(long, value_name = "NAME")]
    pub export_public: Option<String>,
}

/// Arguments of `publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The subject's name
    pub subject: String,

    /// Publish as the identity of this name, which must exist [default: the node's own, made on first use]
    #[arg(long = "as", value_name = "NAME")]
    pub author: Option<String>,

    /// What the lines mean: add, remove, increment, decrement, write, or app:N for an application's own code N (0 to 255)
    #[arg(long = "type", value_name = "TYPE", default_value = "add")]
    pub kind: Kind,

    /// The author's own timestamp, in milliseconds since the Unix epoch: what the last-writer-wins register compares
    /// [default: the clock's]
    #[arg(long, value_name = "MS")]
    pub timestamp: Option<u64>,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The subject's name
    pub subject: String,

    /// The first millisecond to print, by the events' clocks, since the Unix epoch
    #[arg(long, value_name = "MS", default_value_t = 0, hide_default_value = true)]
    pub from: u64,

    /// The first millisecond not to print any more
    #[arg(long, value_name = "MS", default_value_t = u64::MAX, hide_default_value = true)]
    pub to: u64,

    /// Go on with the events that come later, until interrupted
    #[arg(long)]
    pub follow: bool,
}

/// Arguments of `state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The subject's name
    pub subject: String,

    /// The rules by which to resolve
    #[arg(long)]
    pub crdt: Crdt,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only the events, indexes, heads and signatures of the subject of this name [default: everything]
    pub subject: Option<String>,
}

/// The CRDTs that a subject can be resolved by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crdt {
    /// Observed-remove set: a concurrent add wins over a remove
    OrSet,
    /// Counter that only grows
    GCounter,
    /// Counter that grows and shrinks
    PnCounter,
    /// Last-writer-wins register
    Lww,
    /// Multi-value register: all concurrent values
    Mv,
}

/// The subject's name, checked before anything is opened.
///
/// # Errors
/// A usage error that names the rule. Not by way of the parser, which would print the bad name to the terminal as it is.
pub fn checked(subject: &str) -> Result<&str, Failure> {
    match name::check(subject) {
        Ok(()) => Ok(subject),
        Err(error) => Err(Failure::usage(error)),
    }
}

fn directory(text: OsString) -> Result<PathBuf, &'static str> {
    if text.is_empty() { Err("a data directory needs a path") } else { Ok(PathBuf::from(text)) }
}

fn bytes(text: &str) -> Result<u64, &'static str> {
    const RULE: &str = "a size is a number of bytes, or one with a suffix K, M, G or T, and more than 0";
    let (digits, shift) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (text.get(..at), 10),
        Some((at, 'm' | 'M')) => (text.get(..at), 20),
        Some((at, 'g' | 'G')) => (text.get(..at), 30),
        Some((at, 't' | 'T')) => (text.get(..at), 40),
        _ => (Some(text), 0),
    };
    let number: u64 = digits.and_then(|digits| digits.parse().ok()).filter(|number| *number > 0).ok_or(RULE)?;
    number.checked_mul(1 << shift).ok_or("this is more than any machine can address")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_bytes_or_have_a_suffix() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("3M"), Ok(3 << 20));
        assert_eq!(bytes("64g"), Ok(64 << 30));
        for bad in ["", "G", "0", "-1", "1.5G", "99999999999T", "1ü"] {
            assert!(bytes(bad).is_err(), "{bad:?}");
        }
    }
}
