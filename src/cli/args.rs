//! What can be asked on the command line.

use std::{ffi::OsString, net::SocketAddr, ops::Bound, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::TypedValueParser as _};
use serde::Serialize;
use xaeroflux::wire::name;

use super::{
    exit::Failure,
    kind::Kind,
    members::{CreateArgs, GrantArgs, MembersArgs, RevokeArgs},
    peer::{Peer, listen_address, relay_url},
};

/// Durable, conflict-free event streams for offline-first collaborative applications.
#[derive(Debug, Parser)]
#[command(name = "xaeroflux", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done, 1 some input was refused, 2 usage, 3 the data directory is in use and no `serve` takes the command, \
4 storage, 5 identity, 6 standard input or output, 7 failed, 8 a proof or an import does not hold, \
9 verified and damaged, 10 no right to do that in an owned subject, 130 interrupted.";

/// Options that every subcommand takes, before its name or after it.
#[derive(Debug, Args)]
pub struct Global {
    /// Data directory, created if absent [default: $XAEROFLUX_DATA_DIR, else the platform's data directory]
    #[arg(long, global = true, value_name = "DIR",
        value_parser = clap::builder::OsStringValueParser::new().try_map(directory))]
    pub data_dir: Option<PathBuf>,

    /// Most that the data file can grow to, in bytes or with a suffix K, M, G or T (of 1024); beside a running `serve` its
    /// own counts [default: 64G]
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
    /// Run a node until a signal ends it: every subject of the data directory, for peers and for all other commands, which
    /// use it through a socket in the directory instead of opening that
    Serve(ServeArgs),
    /// List the identities of the data directory, make one, or print a public key
    Id(IdArgs),
    /// Publish one event for each line of standard input, and print a receipt for each once it is on disk
    Publish(PublishArgs),
    /// Print the events of a subject, one a line
    Replay(ReplayArgs),
    /// Print the state of a subject, resolved by the rules of a CRDT
    State(StateArgs),
    /// Print one hash over all that counts of a subject: where two nodes print the same, they have the same
    Root(RootArgs),
    /// Write the proof that an event is in its author's signed log to standard output
    Prove(ProveArgs),
    /// Say what became of an event: in the log, waiting and for what, refused and why, or superseded
    Explain(ExplainArgs),
    /// Print a ticket: whoever has it may read the subject, and write to it where it is open
    Ticket(TicketArgs),
    /// Take a ticket: from now on the subject is synced with its peers whenever this directory is served
    Join(JoinArgs),
    /// List the peers of the node that serves this directory
    Peers,
    /// Check a proof with nothing but its author's public key, and print what it proves
    CheckProof(CheckProofArgs),
    /// Write a subject, with all that shows whose events they are, to standard output
    Export(ExportArgs),
    /// Take what `export` has written into the data directory, once it is verified
    Import(ImportArgs),
    /// Create a subject in which only those write who were granted that
    Create(CreateArgs),
    /// Grant a role in an owned subject to an identity
    Grant(GrantArgs),
    /// Take the role of an identity in an owned subject, for ever
    Revoke(RevokeArgs),
    /// List who has a role in an owned subject
    Members(MembersArgs),
    /// Look at every byte of the data directory that matters, beside a running node too, and change nothing
    Verify(VerifyArgs),
}

impl Command {
    /// Whether a node that serves the data directory does it, where there is one. The others need no node of their own, or
    /// are one.
    pub const fn is_served(&self) -> bool {
        match self {
            Self::Demo | Self::Serve(_) | Self::CheckProof(_) | Self::Verify(_) => false,
            Self::Id(_)
            | Self::Publish(_)
            | Self::Replay(_)
            | Self::State(_)
            | Self::Root(_)
            | Self::Prove(_)
            | Self::Explain(_)
            | Self::Ticket(_)
            | Self::Join(_)
            | Self::Peers
            | Self::Export(_)
            | Self::Import(_)
            | Self::Create(_)
            | Self::Grant(_)
            | Self::Revoke(_)
            | Self::Members(_) => true,
        }
    }
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// An address to listen on for peers; may be given several times
    #[arg(long, value_name = "IP:PORT", value_parser = listen_address)]
    pub listen: Vec<SocketAddr>,

    /// A peer to connect to, by its endpoint id and where it may be reached; may be given several times
    #[arg(long, value_name = "ENDPOINT_ID[@IP:PORT]")]
    pub peer: Vec<Peer>,

    /// Find peers on the local network, and be found there: tells it this node's key and addresses
    #[arg(long)]
    pub mdns: bool,

    /// A relay for peers that cannot be reached directly; may be given several times
    #[arg(long, value_name = "URL", value_parser = relay_url)]
    pub relay: Vec<String>,

    /// When to join the swarm of a subject: there nodes hear by gossip who has something new, without a session with everybody
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub swarm: Swarm,
}

/// When a node joins swarms: the library's `Swarming`, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Swarm {
    /// Where more than a handful of others share the subject
    #[default]
    Auto,
    /// However few share it
    Always,
    /// Never: the node talks to those only whom it was told of
    Never,
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

/// Arguments of `ticket`.
#[derive(Debug, Args)]
pub struct TicketArgs {
    /// The subject's name
    pub subject: String,

    /// Give the subject a new secret first: tickets from before are worth nothing from then on
    #[arg(long)]
    pub rotate: bool,
}

/// Arguments of `join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// What `ticket` has printed elsewhere
    pub ticket: String,

    /// The name that the subject is to have here, where it is an owned one
    #[arg(long = "as", value_name = "NAME")]
    pub alias: Option<String>,

    /// Keep the events of this author only, by its hexadecimal id or the name of a local identity; may be given several times. Like the other options that begin with "only", it makes
    /// this directory a partial replica of the subject, for good
    #[arg(long, value_name = "AUTHOR")]
    pub only_author: Vec<String>,

    /// Keep the events of this type only; may be given several times: add, remove, increment, decrement, write, or app:N. Of
    /// others everything but their payloads is kept, since an author's log proves as a whole
    #[arg(long, value_name = "TYPE")]
    pub only_type: Vec<Kind>,

    /// Keep events only from this millisecond on, by their clocks, since the Unix epoch
    #[arg(long, value_name = "MS")]
    pub only_from: Option<u64>,

    /// The first millisecond of which none are kept any more
    #[arg(long, value_name = "MS")]
    pub only_to: Option<u64>,
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

    /// Only events of this author: the hexadecimal id of receipts, or the name of a local identity
    #[arg(long, value_name = "AUTHOR")]
    pub author: Option<String>,

    /// Only events of this type: add, remove, increment, decrement, write, or app:N
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<Kind>,

    /// Only events with these sequence numbers in their author's log: N, or A..B from A to before B, either of which may be
    /// left out
    #[arg(long, value_name = "A..B", value_parser = seqs)]
    pub seq: Option<Seqs>,

    /// Go on with the events that come later, until interrupted
    #[arg(long)]
    pub follow: bool,
}

/// Arguments of `prove`.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The subject's name
    pub subject: String,

    /// The event's author: the identifier in hexadecimal, as receipts have it, or the name of a local identity
    pub author: String,

    /// The event's sequence number, as receipts have it
    pub seq: u64,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The subject's name
    pub subject: String,

    /// The event's author: the identifier in hexadecimal, as receipts have it, or the name of a local identity
    pub author: String,

    /// The event's sequence number, as receipts have it
    pub seq: u64,
}

/// Arguments of `check-proof`.
#[derive(Debug, Args)]
pub struct CheckProofArgs {
    /// The proof, a file that `prove` has written
    pub proof: PathBuf,

    /// The author's public key, a file of what `id --export-public` prints
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,

    /// The subject that the proof must be about, by its name
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,

    /// The sequence number that the event must have
    #[arg(long, value_name = "N")]
    pub seq: Option<u64>,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The subject's name
    pub subject: String,

    /// Leave out the first N events of the subject here, for one who has these already
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub from: u64,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A file that `export` has written, or - for standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
}

/// Arguments of `state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The subject's name
    pub subject: String,

    /// The rules by which to resolve
    #[arg(long)]
    pub crdt: Crdt,

    /// The state as it was: from the events before this millisecond since the Unix epoch, by their clocks
    #[arg(long, value_name = "MS")]
    pub at: Option<u64>,
}

/// Arguments of `root`.
#[derive(Debug, Args)]
pub struct RootArgs {
    /// The subject's name
    pub subject: String,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only the events, indexes, heads and signatures of the subject of this name [default: everything]
    pub subject: Option<String>,
}

/// A range of sequence numbers.
pub type Seqs = (Bound<u64>, Bound<u64>);

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

fn seqs(text: &str) -> Result<Seqs, &'static str> {
    const RULE: &str = "sequence numbers are N, A.., ..B or A..B, from 1, and A is below B";
    let number = |text: &str| text.parse::<u64>().map_err(|_| RULE);
    let (start, end) = match text.split_once("..") {
        None => {
            let only = number(text)?;
            return Ok((Bound::Included(only), Bound::Included(only)));
        }
        Some((start, end)) => (start, end),
    };
    let optional = |text: &str| if text.is_empty() { Ok(None) } else { number(text).map(Some) };
    match (optional(start)?, optional(end)?) {
        (None, None) => Err(RULE),
        (Some(start), Some(end)) if start >= end => Err(RULE),
        (start, end) => {
            Ok((start.map_or(Bound::Unbounded, Bound::Included), end.map_or(Bound::Unbounded, Bound::Excluded)))
        }
    }
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

    #[test]
    fn sequence_numbers_are_one_or_a_range_with_a_beginning_or_an_end() {
        let (inc, exc, unb) = (Bound::Included, Bound::Excluded, Bound::Unbounded);
        assert_eq!(seqs("7"), Ok((inc(7), inc(7))));
        assert_eq!(seqs("7..9"), Ok((inc(7), exc(9))));
        assert_eq!(seqs("7.."), Ok((inc(7), unb)));
        assert_eq!(seqs("..9"), Ok((unb, exc(9))));
        for bad in ["", "..", "9..7", "7..7", "7..=9", "-1", "a..b", "7..9..11"] {
            assert!(seqs(bad).is_err(), "{bad:?}");
        }
    }
}
