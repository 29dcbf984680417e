//! The builder of a node.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    Node,
    shared::{NodeShared, Options},
};
use crate::{
    actors::{
        bus::BusLimits,
        committer::{questions::SIGNING_PAUSE, thread::WallClock},
        net::NetworkConfig,
        segment::store::SEGMENT_BYTES,
        storage::open::StoreOptions,
    },
    subject::{engine::system_clock, error::Error},
};

/// Size of the storage map unless told otherwise: 64 GiB of address space, of which only what is written takes disk.
pub const DEFAULT_MAP_SIZE: u64 = 64 << 30;

/// How a node is to be.
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct NodeBuilder {
    dir: Option<PathBuf>,
    map_size: u64,
    segment_bytes: u64,
    wall: WallClock,
    own_name: Option<String>,
    bus: BusLimits,
    signing: Option<Duration>,
    network: Option<NetworkConfig>,
}

impl NodeBuilder {
    pub(super) fn new() -> Self {
        Self {
            dir: None,
            map_size: DEFAULT_MAP_SIZE,
            segment_bytes: SEGMENT_BYTES,
            wall: system_clock(),
            own_name: None,
            bus: BusLimits::default(),
            signing: Some(SIGNING_PAUSE),
            network: None,
        }
    }

    /// The data directory, created if absent. Without it: what `XAEROFLUX_DATA_DIR` says, else one for each executable
    /// among the platform's application data. For the [default node](Node::set_default) the variable comes first.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The data directory that the node would have. Opens and makes nothing.
    ///
    /// # Errors
    /// Where none is named, and the platform has none for this program.
    pub fn resolved_data_dir(&self) -> Result<PathBuf, Error> {
        NodeShared::new(self.clone().options(), None).dir()
    }

    /// Size of the storage map in bytes: the most that the data file can grow to. [`DEFAULT_MAP_SIZE`] unless set.
    pub fn map_size(mut self, bytes: u64) -> Self {
        self.map_size = bytes;
        self
    }

    /// How many bytes of the log make a segment, which is the file that the oldest part of the log moves to: 32 MiB unless
    /// set. Of less than this the history stays in the data file, whatever it is. A segment holds one commit at least,
    /// however large that is.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The local name of the node's own identity, which writes events without an author: `self` unless set. It is made on
    /// first use, like any other.
    pub fn identity(mut self, name: impl Into<String>) -> Self {
        self.own_name = Some(name.into());
        self
    }

    /// How many events, and how many bytes of payload, may wait on the bus of a subject before [`send`] waits and
    /// [`try_send`] refuses: 4,096 events and 32 MiB unless set. A bus takes one event at least.
    ///
    /// [`send`]: crate::Sender::send
    /// [`try_send`]: crate::Sender::try_send
    pub fn bus_limits(mut self, events: usize, bytes: usize) -> Self {
        self.bus = BusLimits { events, bytes, ..self.bus };
        self
    }

    /// Switches the network on: shared subjects are synced with peers while they run. Without it a node talks to nobody.
    ///
    /// ```
    /// use xaeroflux::{NetworkConfig, Node, XaeroEvent, event::CRDT_SET_ADD};
    /// let network = || NetworkConfig::new().listen(([127, 0, 0, 1], 0).into());
    /// let here = Node::builder().network(network()).ephemeral()?;
    /// let tags = here.subject("tags");
    /// let run = tags.run()?;
    /// tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD)).wait()?;
    /// let ticket = tags.ticket()?.to_string(); // to be sent to somebody
    ///
    /// let there = Node::builder().network(network()).ephemeral()?;
    /// let joined = there.join(&ticket.parse()?)?;
    /// let event = joined.stream();
    /// let other_run = joined.run()?;
    /// # drop(event);
    /// while joined.count()? == 0 {
    ///     std::thread::yield_now(); // or subscribe
    /// }
    /// assert_eq!(joined.root()?, tags.root()?);
    /// # drop((run, other_run));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn network(mut self, config: NetworkConfig) -> Self {
        self.network = Some(config);
        self
    }

    /// A node that keeps no trees and signs no heads: to measure what these cost. What it writes cannot be proven until
    /// the directory is opened by a node that signs, which then makes up for it.
    #[doc(hidden)]
    pub fn unsigned(mut self) -> Self {
        self.signing = None;
        self
    }

    /// How long from one job of the signing thread to the next, unless somebody asks. For tests, which need the next at once.
    #[doc(hidden)]
    pub fn signing_pause(mut self, pause: Duration) -> Self {
        self.signing = Some(pause);
        self
    }

    /// The wall clock, in milliseconds since the Unix epoch. Tests pass one of their own.
    pub fn clock(mut self, millis: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.wall = Arc::new(millis);
        self
    }

    /// Opens the node. Where this process has a node on the directory already, this is a handle on that one, and its map
    /// size and clock stay as they are.
    ///
    /// # Errors
    /// Where the directory cannot be made, opened or locked; the message says which and what to do.
    pub fn build(self) -> Result<Node, Error> {
        Node::open(NodeShared::new(self.options(), None))
    }

    /// Opens the node in a temporary directory, which is deleted when the node is gone.
    ///
    /// # Errors
    /// Where no temporary directory can be made or opened.
    pub fn ephemeral(self) -> Result<Node, Error> {
        let temporary = tempfile::Builder::new().prefix("xaeroflux-").tempdir()?;
        let builder = self.data_dir(temporary.path());
        Node::open(NodeShared::new(builder.options(), Some(temporary)))
    }

    pub(super) fn options(self) -> Options {
        // LMDB takes whole pages; a map of less than this cannot hold its own tables.
        const SMALLEST: u64 = 256 << 10;
        const PAGE: u64 = 4096;
        let map_size = self.map_size.max(SMALLEST).div_ceil(PAGE).saturating_mul(PAGE);
        Options {
            dir: self.dir,
            store: StoreOptions {
                map_size: usize::try_from(map_size).unwrap_or(usize::MAX),
                segment_bytes: self.segment_bytes,
            },
            wall: self.wall,
            own_name: self.own_name,
            bus: self.bus,
            signing: self.signing,
            network: self.network,
        }
    }
}

impl std::fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeBuilder").field("dir", &self.dir).field("map_size", &self.map_size).finish_non_exhaustive()
    }
}
