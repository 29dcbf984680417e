//! The network of a node: connections to peers, who they are, which subjects both share, and a stream for each of these.
//!
//! One QUIC connection for each pair of nodes. Its two ends say who they are in a way that holds for this connection only
//! (`greeting`), find the subjects that both share without naming them to anybody else (`tags`), and open a stream for
//! each (`streams`). What flows on such a stream is no business of this module: it hands the stream over.
//!
//! * `config` is what applications decide, `limits` what they do not: every bound, with its reason.
//! * `endpoint` has the sockets and the cryptography, `former` where they were last. iroh's types stay in this module.
//! * `mdns` finds the addresses of peers on the local network, where that is wanted.
//! * `service` accepts and makes connections, and is started again when it dies; `connection` is the life of one.
//! * `framed` reads and writes messages; a message costs memory as it comes, not as it is announced.
//! * `gossip` has what goes through swarms, beside the connections.
//! * `book` knows the peers; `shares` the subjects; `handle` is the face to the layer above.
//!
//! The network has threads of its own: actors may block theirs. It never touches the log.

mod book;
mod config;
mod connection;
mod ended;
mod endpoint;
mod error;
pub(crate) mod former;
mod framed;
mod gossip;
mod greeting;
mod handle;
mod limits;
#[cfg(feature = "mdns")]
mod mdns;
mod service;
mod shares;
mod streams;
mod tags;
#[cfg(test)]
mod tests;

pub use config::{NetworkConfig, Swarming};
pub use error::NetError;
pub(crate) use error::ReadMessageError;
pub(crate) use framed::{Came, MessageReader, write_events, write_message};
pub(crate) use gossip::{Heard, SwarmLink};
pub(crate) use handle::NetHandle;
pub use handle::PeerStatus;
pub(crate) use streams::{PeerInfo, SubjectStream};
