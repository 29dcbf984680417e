//! What the examples share: where their events go, and how they wait for the state that they expect.
#![allow(dead_code, reason = "each example uses a part of this")]

use std::{
    fmt::Debug,
    path::PathBuf,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use xaeroflux::{Error, NetworkConfig, Node};

/// How long an example waits for the state that it expects. It takes a fraction of a second unless the machine is
/// overloaded.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often an example looks whether what it waits for has come.
const POLL: Duration = Duration::from_millis(2);

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

    /// One of several nodes of an example, each with a directory of its own.
    pub fn open_as(&self, name: &str) -> Result<Node, Error> {
        Self { data_dir: self.data_dir.as_ref().map(|dir| dir.join(name)) }.open()
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

/// Waits until something holds of one or more nodes.
pub fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Error>) -> Outcome {
    let until = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() >= until {
            return Err(format!("in {PATIENCE:?} it did not come about that {what}").into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// A network that reaches no further than this machine, at any free port.
pub fn loopback() -> NetworkConfig {
    NetworkConfig::new().listen(([127, 0, 0, 1], 0).into())
}
