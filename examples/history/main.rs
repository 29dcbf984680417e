//! A history of adds and removes, made elsewhere by many replicas, brought to several separate nodes in random orders.
//!
//! `cargo run --release --example history -- FILE [--orders N] [--seed S] [--nodes K] [--print] [--data-dir DIR]`
//!
//! Each operation of the file is one event; the operations of a transaction are chained. Each replica of the file is one
//! writer, and has seen exactly what the `parents` of its transactions imply. Every node gets all events through
//! [`Subject::ingest`](xaeroflux::Subject::ingest), in an order of its own and in portions of random size, some of them
//! twice; half of the orders know nothing of causality, so that events wait for their causes. Meanwhile the node resolves
//! the set in windows of random size. In the end every node must have the same set, and that of the file.
//!
//! With `--nodes K` the file's replicas are spread over K nodes, which write apart, and then meet over real connections.
//!
//! * [`format`] is the file: one header, then one transaction a line.
//! * [`events`] gives each operation its dot, its causal context and its clock.
//! * [`replay`] delivers the events and resolves the sets.
//! * [`replicas`] signs what each replica wrote, and [`peers`] has nodes write apart and meet: `--nodes`.
//! * [`random`] is a small generator, so that a seed always means the same orders.
//!
//! Prints one JSON line; `ops_per_s` counts each operation once for each node and order. Exits with 1 where the nodes
//! differ from each other or from the file. With `--nodes` it also has `roots_equal` and `bytes_sent`.

#[path = "../common/mod.rs"]
mod common;
mod events;
mod format;
mod peers;
mod random;
mod replay;
mod replicas;

use std::{
    io::{Write, stdout},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use format::History;
use replay::Order;
use serde::Serialize;

/// Replays a history of adds and removes on several nodes in random orders, and compares what they end with
#[derive(Parser)]
struct Options {
    /// The history: JSON Lines, plain or compressed with gzip
    file: PathBuf,
    /// How many times to deliver all of it, each time in other orders and on fresh nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    orders: u64,
    /// Decides the orders, the portions and the windows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Spread the replicas over so many nodes, which write apart and then meet over connections
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=64))]
    nodes: Option<u8>,
    /// Print the final set, one path a line, and no JSON
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    data: common::DataDir,
}

/// The line that is printed.
#[derive(Serialize)]
struct Summary {
    txns: usize,
    ops: usize,
    replicas: usize,
    orders: u64,
    converged: bool,
    matches_final: bool,
    ops_per_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    roots_equal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_sent: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("history: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is as it must be.
fn run(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let history = History::read(&options.file)?;
    let began = Instant::now();
    let mut converged = true;
    let mut matches_final = true;
    let (mut roots_equal, mut bytes_sent) = (true, 0);
    let mut set = None;
    for order in 0..options.orders {
        let data_dir = options.data.data_dir.as_ref().map(|dir| dir.join(format!("order-{order}")));
        let (number, order) = (order, Order::new(options.seed, order));
        let outcomes = match options.nodes {
            None => replay::replay(&history, order, data_dir.as_deref())?,
            Some(nodes) => {
                let meeting = peers::replay(&history, nodes.into(), order, data_dir.as_deref())?;
                roots_equal &= meeting.roots_equal;
                bytes_sent += meeting.bytes_sent;
                meeting.outcomes
            }
        };
        for outcome in outcomes {
            for (what, found) in [("emitted", outcome.emitted), ("resolved", outcome.resolved)] {
                matches_final &= found == history.expected;
                let first = set.get_or_insert_with(|| found.clone());
                if *first != found {
                    converged = false;
                    explain(number, outcome.node, what, first, &found);
                }
            }
        }
    }
    let set = set.unwrap_or_default();
    if !matches_final && converged {
        explain(0, 0, "all", &history.expected, &set);
    }
    let nodes = options.nodes.map_or(replay::NODES, usize::from);
    let delivered = (history.ops() * nodes) as f64 * options.orders as f64;
    let summary = Summary {
        txns: history.transactions.len(),
        ops: history.ops(),
        replicas: history.replicas,
        orders: options.orders,
        converged,
        matches_final,
        ops_per_s: (delivered / began.elapsed().as_secs_f64()) as u64,
        roots_equal: options.nodes.map(|_| roots_equal),
        bytes_sent: options.nodes.map(|_| bytes_sent),
    };
    let mut out = stdout().lock();
    if options.print {
        for path in set {
            writeln!(out, "{path}")?;
        }
    } else {
        writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    }
    Ok(converged && matches_final && roots_equal)
}

/// Says on standard error in what two sets differ.
fn explain(order: u64, node: usize, what: &str, expected: &[String], found: &[String]) {
    let list = |paths: Vec<&String>| paths.into_iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    let missing = list(expected.iter().filter(|path| !found.contains(path)).collect());
    let extra = list(found.iter().filter(|path| !expected.contains(path)).collect());
    eprintln!("history: order {order}, node {node}, {what}: missing [{missing}], too many [{extra}]");
}
