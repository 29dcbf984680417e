//! What peers say to each other: the bytes of the sync protocol.
//!
//! Two nodes share one connection. On its *control stream* each side says who it is ([`hello`]) and which subjects it
//! shares, in a way that tells only those who share them too ([`tag`]). Each subject that both have then gets a stream of
//! its own, on which both sides say what they have ([`Summary`], [`Vector`]) and send what the other lacks, in
//! [chunks](chunk) that are verified one by one ([`check`]) before anything of them enters a log.
//!
//! Every message is a *frame* ([`frame`]): one byte of kind, four of length, and a body whose length is compared with the
//! limit of its kind before a byte of it is read. A kind from 128 up may be skipped by who does not know it; any other ends
//! the connection. `docs/protocol.md` is the specification, with the states and the rules that bind them.
//!
//! Who else shares a subject gets about too ([`others`]), so that where there are more than a handful all of them join its swarm.
//! Beside the connections, members of a swarm tell each other by gossip what they have ([`announce`]); events never go that way.
//!
//! Nothing here does input or output. What holds of a message once it is [decoded](Message::decode) is its form; whether
//! it is true is for [`check`], [`hello`] and those who receive it.

pub mod announce;
pub mod check;
pub mod chunk;
pub mod error;
pub mod frame;
pub mod hello;
pub mod message;
pub mod others;
pub mod tag;

pub use announce::{AnnounceError, AnnounceKey, Announcement};
pub use check::{CheckedAuthor, CheckedEvents, ChunkAuthor, check_events};
pub use chunk::{Events, EventsBuilder, LogProof, MAX_CHUNK_AUTHORS, MAX_CHUNK_EVENTS, MAX_CHUNK_FRAME_BYTES};
pub use error::SyncError;
pub use frame::{HEADER_BYTES, Header, Kind};
pub use hello::{Hello, Role, Versions};
pub use message::{Bye, ByeReason, Fork, Message, Summary, Vector, VectorEntry};
pub use others::{Other, Others};
pub use tag::{Tag, TagKey};

/// The protocol's major version: peers of different ones refuse each other.
pub const MAJOR: u8 = 1;

/// The protocol's minor version: peers of different ones talk, as the older one understands it.
pub const MINOR: u8 = 1;
