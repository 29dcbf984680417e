//! Every limit of the network, with its reason.
//!
//! What a peer can make this node hold is the sum of what is here: so many connections, on each so many bytes that were not
//! read yet, so many tags, so many streams that have not said what they are about, and so many large messages at a time.

use std::time::Duration;

use crate::wire::sync::{Tag, tag::MAX_TAGS};

/// The one protocol that is spoken: its major version is part of the name.
pub(crate) const ALPN: &[u8] = b"xaeroflux/1";

/// The protocol of the swarms: iroh-gossip's, among ourselves.
pub(crate) const GOSSIP_ALPN: &[u8] = b"xaeroflux-swarm/1";

/// Longest message to a swarm. iroh-gossip breaks a link at 4,096 bytes, its own framing included; nobody needs a quarter of it.
pub(crate) const MAX_GOSSIP_BYTES: usize = 512;

/// Swarms that a node is in at a time. Each costs a few kilobytes of memory, and of traffic every ten minutes; who shares
/// more large subjects than that has sessions.
pub(crate) const MAX_SWARMS: usize = 64;

/// Messages of one swarm that wait to be heard. Beyond it they are lost, which costs time only.
pub(crate) const SWARM_QUEUE: usize = 256;

/// Connections of the gossip: a swarm has about five neighbours, and swarms share their connections.
pub(crate) const MAX_GOSSIP_LINKS: usize = 128;

/// Streams that the other side of a connection of the gossip may have open: one for each swarm that both are in, and
/// some that are just being replaced.
pub(crate) const MAX_GOSSIP_STREAMS: u32 = 128;

/// How long a neighbour is not heard that sent more than a swarm has to say.
pub(crate) const MUTE: Duration = Duration::from_secs(60);

/// Neighbours that are not heard, at a time. That many do not come in a minute.
pub(crate) const MAX_MUTED: usize = 1_024;

/// Threads of the network. Two keep a slow task from stopping all connections; what takes long is done elsewhere.
pub(crate) const WORKERS: usize = 2;

/// Connections at a time, those included whose peer has not said who it is. A node talks to a handful of peers; a few
/// hundred leave room for one that everybody knows.
pub(crate) const MAX_CONNECTIONS: usize = 256;

/// Bytes of a connection that may be on their way before its peer has said who it is: a hello several times over.
pub(crate) const STRANGER_WINDOW: u32 = 64 << 10;

/// Bytes that may be on their way on one stream: what a round trip of 20 ms needs at 800 Mbit/s.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;

/// Bytes that may be on their way on one connection: eight streams at full rate. It is also what a peer can make us keep
/// of what is not read yet.
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;

/// Bytes that we keep until the peer has acknowledged them.
pub(crate) const SEND_WINDOW: u64 = 16 << 20;

/// Streams that the side which made the connection may have open: one for each subject that both share.
pub(crate) const MAX_STREAMS: u32 = 16_384;

/// Streams that have been opened and have not said yet what they are about, of one connection: more wait their turn.
pub(crate) const MAX_OPENING: usize = 256;

/// Streams about subjects that were never offered, after which the peer is cut off. One or two can be a mistake.
pub(crate) const MAX_UNKNOWN_STREAMS: usize = 16;

/// Tags that are remembered of one connection: a node that shares more subjects does not exist yet, and a million bytes
/// are what a peer may make us keep. We announce no more either.
pub(crate) const MAX_REMEMBERED_TAGS: usize = 65_536;

/// A message longer than this needs a permit while it is assembled: no message of the control stream, which strangers send too.
pub(crate) const LARGE_MESSAGE: usize = (64 << 10) + 512;

const _: () = assert!(LARGE_MESSAGE >= 4 + MAX_TAGS * Tag::BYTES);

/// How long a permit may be held by a message that comes slowly, while others wait for one.
pub(crate) const CONTENDED_AFTER: Duration = Duration::from_secs(5);

/// How many bytes a second a message must have brought by then to keep its permit: what a slow link gives. Who is slower is
/// heard when there is less to do.
pub(crate) const CONTENDED_RATE: usize = 64 << 10;

/// Large messages that are assembled at a time, on all connections: each has at most about six MiB.
pub(crate) const LARGE_MESSAGES: usize = 16;

/// Most bytes that are read at once.
pub(crate) const READ_CHUNK: usize = 64 << 10;

/// Bytes of a message for which its buffer is made before any of them has come.
pub(crate) const FIRST_RESERVE: usize = 4 << 10;

/// Peers that are remembered, those included that have only ever called. Beyond it the strangers that called longest ago
/// are forgotten.
pub(crate) const MAX_KNOWN_PEERS: usize = 4_096;

/// Most characters of the text that is kept of an error or an offence.
pub(crate) const MAX_REMARK: usize = 256;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Until a peer that is called has answered. The idle time-out usually ends it before.
    pub(crate) connect: Duration,
    /// From the connection to the end of the hellos. A peer far away on a bad line needs two or three seconds.
    pub(crate) hello: Duration,
    /// From the opening of a stream to its first message.
    pub(crate) open: Duration,
    /// Until the peer has taken a message of the control stream.
    pub(crate) write: Duration,
    /// Without a sign of life, after which a connection counts as dead. Four keep-alives must have been lost by then, and
    /// whoever waits for the news has them within five seconds.
    pub(crate) idle: Duration,
    /// Between two signs of life on a quiet connection.
    pub(crate) keep_alive: Duration,
    /// For the farewells, when the node stops.
    pub(crate) stop: Duration,
    /// For the sockets to close after them. Whoever was being called and has not answered is given up after three probe
    /// time-outs of a second; sockets that are dropped before are an error in iroh's log.
    pub(crate) close: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            hello: Duration::from_secs(10),
            open: Duration::from_secs(10),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(4),
            keep_alive: Duration::from_millis(900),
            stop: Duration::from_secs(2),
            close: Duration::from_secs(4),
        }
    }
}
