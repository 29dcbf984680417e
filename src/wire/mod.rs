//! Everything that has bytes: identifiers, events, clocks, records, frames and keys.
//!
//! An application makes an [`Event`](event::Event). Once a subject is durable, the engine turns it into a *record*
//! ([`record`]): the event together with who wrote it, where it stands in that author's log, when, and what the author
//! had seen. A record is archived with rkyv and put into a *frame* ([`frame`]): a little-endian header with a checksum,
//! which is what lies on disk and travels between peers.
//!
//! A writer is a key pair: its public half ([`key`]) gives the writer's identifier, its secret half signs ([`sign`]), and
//! both lie together in a key file ([`key_file`]).
//!
//! Trust is a hash over each author's log ([`mmr`]) that the author signs together with the log's length ([`head`]). From
//! it follow proofs of single events ([`proof`]), the check of a whole range with one signature ([`range`]), and
//! evidence against an author who signs two histories ([`fork`]). A whole subject in one file, proven on the way in, is a
//! bundle ([`bundle`]). Whoever is to share a subject gets a ticket ([`ticket`]), which says where its peers are
//! ([`endpoint`]); what peers say to each other is in [`sync`]. `docs/format.md` gives the layouts byte by byte.
//!
//! This module depends on nothing else of the crate, reads no clock, and does no input or output. Bytes from outside
//! become an archived record in one place only ([`archive`]), by checked access, after the checksum was compared.

pub mod archive;
pub mod bundle;
pub(crate) mod bytes;
pub mod clock;
pub mod control;
pub mod endpoint;
pub mod event;
pub mod fork;
pub mod frame;
pub(crate) mod frames;
pub(crate) mod hash_many;
pub mod head;
pub mod id;
pub mod interest;
pub mod key;
pub mod key_file;
pub mod limits;
pub mod mmr;
pub mod name;
pub(crate) mod preimage;
pub mod proof;
pub mod range;
pub mod record;
pub mod sign;
pub mod sync;
#[cfg(test)]
pub(crate) mod test_log;
pub mod ticket;
pub mod vector;
