//! Where the demo happens: a data directory, a node on it, three people.

use std::path::Path;

use tempfile::TempDir;
use xaeroflux::{Acknowledged, Node, Subject, Subscription, XaeroEvent, XaeroID};

use std::{
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use crate::cli::{
    args::Crdt,
    exit::{Exit, Failure, of_publish},
    state::{Value, operators},
};

/// Windows of the demo's pipelines: closed so long after their first event, or with so many events.
const WINDOW: (Duration, Option<usize>) = (Duration::from_millis(20), Some(50));

/// The node and the people of the demo.
pub struct Stage<'a> {
    pub node: Node,
    pub alice: XaeroID,
    pub bob: XaeroID,
    pub carol: XaeroID,
    directory: &'a Path,
    map_size: Option<u64>,
}

/// A temporary directory for the demo.
pub fn directory() -> Result<TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("xaeroflux-demo-")
        .tempdir()
        .map_err(|error| Failure::new(Exit::Storage, format_args!("no temporary directory can be made: {error}")))
}

impl<'a> Stage<'a> {
    pub fn open(directory: &'a Path, map_size: Option<u64>) -> Result<Self, Failure> {
        let node = open(&directory.join("node"), map_size)?;
        let (alice, bob, carol) = (node.identity("alice")?, node.identity("bob")?, node.identity("carol")?);
        Ok(Self { node, alice, bob, carol, directory, map_size })
    }

    /// Another node, with a data directory of its own.
    pub fn other(&self, name: &str) -> Result<Node, Failure> {
        open(&self.directory.join(name), self.map_size)
    }
}

fn open(directory: &Path, map_size: Option<u64>) -> Result<Node, Failure> {
    let builder = Node::builder().data_dir(directory);
    Ok(match map_size {
        Some(bytes) => builder.map_size(bytes).build()?,
        None => builder.build()?,
    })
}

/// Publishes one event and waits until it is on disk.
pub fn publish(subject: &Subject, author: XaeroID, payload: &str, code: u8) -> Result<Acknowledged, Failure> {
    let receipt = subject.publish(XaeroEvent::new(payload, code).by(author));
    receipt.wait().map_err(|error| Failure::new(of_publish(&error), error))
}

/// A pipeline that resolves a subject live.
pub struct Resolved {
    crdt: Crdt,
    states: Receiver<XaeroEvent>,
    _subscription: Subscription,
}

impl Resolved {
    pub fn of(subject: &Subject, crdt: Crdt) -> Self {
        let (tell, states) = channel();
        let (duration, count) = WINDOW;
        let pipeline = subject.batch(duration, count, operators(crdt));
        let subscription = pipeline.subscribe(move |state| {
            // Nobody listens any more where the demo was interrupted.
            let _ = tell.send(state);
        });
        Self { crdt, states, _subscription: subscription }
    }

    /// How many states the pipeline has emitted, and the last of them: the subject has been stopped, and with that
    /// everything was passed on.
    ///
    /// # Errors
    /// Where it emitted none, or none that can be read.
    pub fn last(self) -> Result<(usize, Value), Failure> {
        let states: Vec<_> = self.states.try_iter().collect();
        let last = states.last().ok_or_else(|| Failure::new(Exit::Failed, "the pipeline emitted no state"))?;
        Ok((states.len(), Value::of_state(last, self.crdt)?))
    }
}
