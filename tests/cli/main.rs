//! The `xaeroflux` command, as a user runs it: the real binary, each test in a directory of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod carry;
mod demo;
mod explain;
mod follow;
mod id;
mod members;
mod options;
mod prove;
mod publish;
mod receipts;
mod replay;
mod serve;
mod serve_clients;
mod state;
mod support;
mod verify;
