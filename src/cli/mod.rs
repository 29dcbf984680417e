//! The command: arguments in, JSON Lines out, errors and logs beside them.
//!
//! Data goes to standard output, for people where that is a terminal and as JSON Lines where it is not (or with
//! `--json`); errors and logs go to standard error; how it went is the [exit code](exit::Exit). Nothing here panics when
//! the other end of a pipe is gone.
//!
//! * [`args`] is what can be asked; [`kind`] are the names of the event types.
//! * [`exit`] is how it can end.
//! * [`output`] is standard output, [`text`] how payloads are shown on it, [`log`] and [`signals`] the rest of the outside
//!   world.
//! * [`id`], [`publish`] (with [`input`], its lines), [`replay`] (with [`follow`]), [`state`], [`prove`], [`explain`],
//!   [`export`], [`import`] (with [`progress`], their bar), [`verify`] and [`demo`] are the subcommands.

mod args;
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
mod output;
mod progress;
mod prove;
mod publish;
mod replay;
mod signals;
mod state;
mod text;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;
use xaeroflux::{Node, NodeBuilder};

use self::{
    args::{Cli, Command, Global},
    exit::{Exit, Failure},
    output::Output,
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
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            exit::complain(&failure);
            failure.exit.into()
        }
    }
}

fn run(Cli { global, command }: Cli) -> Result<Exit, Failure> {
    log::start(global.log.as_deref(), matches!(command, Command::Demo))?;
    let mut output = Output::new(global.json);
    let ended = match command {
        Command::Demo => demo::run(&global, &mut output),
        Command::Id(args) => id::run(&open(&global)?, &args, &mut output),
        Command::Publish(args) => publish::run(&global, args, &mut output),
        Command::Replay(args) => replay::run(&global, &args, &mut output),
        Command::State(args) => state::run(&global, &args, &mut output),
        Command::Prove(args) => prove::prove(&global, &args),
        Command::Explain(args) => explain::run(&global, &args, &mut output),
        Command::CheckProof(args) => prove::check(&args, &mut output),
        Command::Export(args) => export::run(&global, &args),
        Command::Import(args) => import::run(&global, &args, &mut output),
        Command::Verify(args) => verify::run(&global, &args, &mut output),
    };
    // What there is to be seen comes before the reason why there is no more of it.
    match (ended, output.flush().map_err(Failure::from)) {
        // Whoever read our output may have had enough of it, as `head` has: that is no failure of ours.
        (Err(failure), _) if failure.is_closed_output() => Ok(Exit::Done),
        (Ok(_), Err(failure)) if !failure.is_closed_output() => Err(failure),
        (ended, _) => ended,
    }
}

/// Opens the node of the global options.
fn open(global: &Global) -> Result<Node, Failure> {
    Ok(builder(global).build()?)
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
