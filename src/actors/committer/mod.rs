//! The committer: the one thread of a node that writes, and the group commit.
//!
//! AOF actors of all subjects hand their batches to one queue. The committer takes whatever is there, appends it in one
//! transaction, and syncs once. Under load the groups grow by themselves, and an idle node commits a single event at once.
//!
//! * [`submission`] is what is handed over, and what is answered.
//! * [`writer`] appends: sequence numbers, clocks, causal dependencies, links, index rows. It owns the heads of all
//!   subjects in use.
//! * [`ingest`] is the same door for events made elsewhere, with [`waiting`] for those whose causes are missing, and `partial`
//!   for a subject of which a part is kept.
//! * [`recover`] brings the writer back to what is durable, after a start as after a failed or interrupted commit.
//! * [`heads`] has the heads of the authors' logs signed, and stores the signatures.
//! * [`cuts`] ends the logs of authors who signed two histories; [`rights`] those of authors who were revoked, and lets in
//!   who was granted a role.
//!   Batches of them that were read are kept by `batches`.
//! * [`heal`] has a local writer whose log has forked go on under another key; [`explain`] says what became of an event.
//! * `backfill` makes the trees of logs that were written without them.
//! * `trim` takes what is in [segments](crate::actors::segment) out of the log table.
//! * [`thread`] is the loop: groups, panics, replies; `questions` its dealings with the signing thread,
//!   `upkeep` the rest.
//!
//! # Invariants
//!
//! A batch is committed whole or not at all. It is answered only after the commit returned. After any failure the writer
//! forgets all it believed and reads it again from disk, so there is one way to get to a state, not two.

mod backfill;
mod batches;
pub(crate) mod cuts;
pub(crate) mod explain;
pub(crate) mod heads;
pub(crate) mod heal;
pub(crate) mod ingest;
mod partial;
pub(crate) mod questions;
pub(crate) mod recover;
pub(crate) mod rights;
pub(crate) mod submission;
pub(crate) mod thread;
mod trim;
mod upkeep;
pub(crate) mod waiting;
pub(crate) mod writer;

pub use explain::Explanation;
pub use ingest::{IngestOutcome, IngestRefusal};
pub use rights::RightsError;
