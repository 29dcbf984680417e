//! The actors of a subject, and what stands under them: threads, storage, queues, supervision.
//!
//! * `bus` is what publishers write to. `pool` runs the users' closures. `runtime` is the process's threads.
//! * `storage` is the node's one LMDB environment, `committer` the one thread that writes it, `keyring` its
//!   identities, `signing` the thread that signs for them.
//! * [`segment`] is where the log goes when it gets old.
//! * `aof`, `mmr`, `segment` and `batch` have the children of a subject's supervisor; `watch` tells it of their deaths, and
//!   [`supervise`] decides what to do then.
//! * [`sync`] is what peers of a subject say to each other, and when.
//! * [`net`] has the connections to other nodes.
//! * `verify` looks at a whole data directory without a change.
//! * [`fault`] is where tests make things fail.
//!
//! Protocol and policy are pure: [`supervise`], [`sync`], the bus's queue and the committer's writer know neither actix nor
//! a clock.

pub(crate) mod aof;
pub(crate) mod batch;
pub(crate) mod bus;
pub(crate) mod committer;
pub mod fault;
pub(crate) mod keyring;
pub(crate) mod mmr;
pub mod net;
pub(crate) mod pool;
pub(crate) mod runtime;
pub mod segment;
pub(crate) mod signing;
pub(crate) mod storage;
pub mod supervise;
pub mod sync;
pub(crate) mod verify;
pub(crate) mod watch;
