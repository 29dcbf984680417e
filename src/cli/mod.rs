//! The command: arguments in, JSON Lines out, errors and logs beside them.
//!
//! Data goes to standard output, for people where that is a terminal and as JSON Lines where it is not (or with
//! `--json`); errors and logs go to standard error; how it went is the [exit code](exit::Exit). Nothing here panics when
//! the other end of a pipe is gone.
//!
//! * [`args`] is what can be asked; [`kind`] are the names of the event types.
//! * [`exit`] is how it can end.
//! * [`place`] is where a command runs: in this process, or in that of [`serve`], through which every command uses the
//!   node while that has the data directory. [`console`] are the streams that it has in either.
//! * [`output`] is standard output, [`text`] how payloads are shown on it, [`log`] and [`signals`] the rest of the outside
//!   world.
//! * [`id`], [`publish`] (with [`input`], its lines), [`replay`] (with [`follow`]), [`state`], [`root`], [`prove`], [`explain`],
//!   [`export`], [`import`] (with [`progress`], their bar), [`members`] (four of them), [`verify`], [`share`], [`peers`], [`serve`] (with [`peer`]) and [`demo`] are
//!   the subcommands.

mod args;
mod console;
mod demo;
mod exit;
mod explain;
mod export;
mod follow;
mod id;
mod import;
mod input;
mod kind;
mod log;
mod members;
mod output;
mod peer;
mod peers;
mod place;
mod progress;
mod prove;
mod publish;
mod replay;
mod root;
mod serve;
mod share;
mod signals;
mod state;
mod text;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;
use xaeroflux::{Node, NodeBuilder};

use self::{
    args::{Cli, Command, Global},
    console::{Console, Streams},
    exit::{Exit, Failure},
    place::Place,
    serve::client,
};

/// Does what the arguments ask.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) => {
            // Help and version are answers, and take this way too; that nobody reads them is no error of ours.
            let _ = asked.print();
            return if asked.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    run(cli).unwrap_or_else(|failure| {
        Console::Own.complain(&failure);
        failure.exit.into()
    })
}

fn run(Cli { global, command }: Cli) -> Result<ExitCode, Failure> {
    log::start(global.log.as_deref(), matches!(command, Command::Demo))?;
    let is_served = command.is_served();
    if is_served && let Some(node) = client::connect(&global) {
        return client::run(node);
    }
    match execute(&global, &Place::Own(&global), command, &mut Streams::own(global.json)) {
        // Whoever has the directory may have begun to serve it only now. Nothing was done so far.
        Err(failure) if is_served && failure.exit == Exit::Busy => match client::connect(&global) {
            Some(node) => client::run(node),
            None => Err(failure),
        },
        ended => ended.map(ExitCode::from),
    }
}

/// Does what a command asks, in this place and with these streams.
fn execute(global: &Global, place: &Place<'_>, command: Command, streams: &mut Streams) -> Result<Exit, Failure> {
    let ended = match command {
        Command::Demo => demo::run(global, &mut streams.output),
        Command::Serve(args) => serve::run(global, &args, streams),
        Command::Id(args) => id::run(&place.open()?, &args, &mut streams.output),
        Command::Publish(args) => publish::run(place, args, streams),
        Command::Replay(args) => replay::run(place, &args, streams),
        Command::State(args) => state::run(place, &args, &mut streams.output),
        Command::Root(args) => root::run(place, &args, &mut streams.output),
        Command::Prove(args) => prove::prove(place, &args, &mut streams.output),
        Command::Explain(args) => explain::run(place, &args, &mut streams.output),
        Command::Ticket(args) => share::ticket(place, &args, &mut streams.output),
        Command::Join(args) => share::join(place, &args, &mut streams.output),
        Command::Peers => peers::run(place, &mut streams.output),
        Command::CheckProof(args) => prove::check(&args, &mut streams.output),
        Command::Export(args) => export::run(place, &args, streams),
        Command::Import(args) => import::run(place, &args, streams),
        Command::Create(args) => members::create(place, &args, &mut streams.output),
        Command::Grant(args) => members::grant(place, &args, &mut streams.output),
        Command::Revoke(args) => members::revoke(place, &args, &mut streams.output),
        Command::Members(args) => members::members(place, &args, &mut streams.output),
        Command::Verify(args) => verify::run(global, &args, &mut streams.output),
    };
    // What there is to be seen comes before the reason why there is no more of it.
    match (ended, streams.output.flush().map_err(Failure::from)) {
        // Whoever read our output may have had enough of it, as `head` has: that is no failure of ours.
        (Err(failure), _) if failure.is_closed_output() => Ok(Exit::Done),
        (Ok(_), Err(failure)) if !failure.is_closed_output() => Err(failure),
        (ended, _) => ended,
    }
}

/// What opens the node of the global options.
fn builder(global: &Global) -> NodeBuilder {
    let mut builder = Node::builder();
    if let Some(dir) = &global.data_dir {
        builder = builder.data_dir(dir);
    }
    if let Some(bytes) = global.map_size {
        builder = builder.map_size(bytes);
    }
    builder
}
