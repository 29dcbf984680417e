//! What the examples share: where their events go, and how they wait for the state that they expect.
#![allow(dead_code, reason = "each example uses a part of this")]

use std::{
    fmt::Debug,
    path::PathBuf,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use xaeroflux::{Error, Node};

/// How long an example waits for the state that it expects. It takes a fraction of a second unless the machine is
/// overloaded.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What `main` returns: an error is printed, and the program exits with 1.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Where the events of an example go.
#[derive(Debug, Clone, clap::Args)]
pub struct DataDir {
    /// Keep the events in this directory, created if absent; otherwise they go to a temporary one, deleted at the end
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl DataDir {
    /// The example's node.
    pub fn open(&self) -> Result<Node, Error> {
        match &self.data_dir {
            Some(dir) => Node::builder().data_dir(dir).build(),
            None => Node::ephemeral(),
        }
    }

    /// The example's node, as the one that `Subject::new` and `identity` use while it is held.
    pub fn open_default(&self) -> Result<Node, Error> {
        let node = self.open()?;
        node.make_default()?;
        Ok(node)
    }
}

/// Waits until a state is the expected one.
pub fn wait_for<T: PartialEq + Debug>(states: &Receiver<T>, expected: &T) -> Outcome {
    let until = Instant::now() + PATIENCE;
    let mut last = None;
    loop {
        match states.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(state) if state == *expected => return Ok(()),
            Ok(state) => last = Some(state),
            Err(_) => return Err(format!("expected {expected:?}; the last state was {last:?}").into()),
        }
    }
}
