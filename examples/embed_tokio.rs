//! The engine in an application that runs on tokio: receipts are futures, a pipeline is a stream, and the end is awaited.
//!
//! `cargo run --example embed_tokio [-- --data-dir DIR]`

mod common;

use std::{future::poll_fn, pin::Pin};

use clap::Parser;
use common::{DataDir, Outcome, PATIENCE};
use futures_core::Stream;
use xaeroflux::prelude::*;

/// A guest list, kept from tokio tasks
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    data: DataDir,
}

#[tokio::main]
async fn main() -> Outcome {
    let node = Options::parse().data.open()?;
    let guests = node.subject("workspace/party/object/guests");
    let mut states = guests
        .batch(
            Duration::from_millis(20),
            Some(25),
            vec![
                Operator::Sort(Sort::VectorClock.to_operator()),
                Operator::Fold(Fold::ORSet.to_operator()),
                Operator::Reduce(Reduce::SetContents.to_operator()),
            ],
        )
        .stream();
    let handle = guests.run()?;

    // Each host invites in a task of its own, and goes on when the invitation is on disk.
    let mut hosts = Vec::new();
    for (host, guest) in [("alice", "diana"), ("bob", "erin"), ("charlie", "frank")] {
        let (author, guests) = (node.identity(host)?, guests.clone());
        hosts.push(tokio::spawn(async move {
            // `try_publish` never waits for room on the bus, so that it is at home in a task.
            guests.try_publish(XaeroEvent::new(guest, CRDT_SET_ADD).by(author)).await
        }));
    }
    for host in hosts {
        let receipt = host.await??;
        println!("event {} of {} is on disk", receipt.seq, receipt.author);
    }
    let alice = node.identity("alice")?;
    guests.try_publish(XaeroEvent::new("frank", CRDT_SET_REMOVE).by(alice)).await?;

    let invited = tokio::time::timeout(PATIENCE, async {
        while let Some(state) = next(&mut states).await {
            let invited = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data)?;
            println!(
                "invited: {}",
                invited.iter().map(|guest| String::from_utf8_lossy(guest)).collect::<Vec<_>>().join(", ")
            );
            if invited == [b"diana".as_slice(), b"erin"] {
                return Ok(true);
            }
        }
        Ok::<_, rkyv::Error>(false)
    });
    if !invited.await?? {
        return Err("the stream ended before the last state".into());
    }

    // Drains what was sent and stops the subject, without blocking the runtime.
    handle.shutdown().await?;
    Ok(())
}

/// The next event of a stream, as the extension traits of the usual crates have it.
async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}
