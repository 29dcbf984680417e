//! The AOF actor: the child of a subject that appends to the log.
//!
//! It gets batches from its supervisor, which keeps each until it is acknowledged. It looks up who may write, hands the
//! batch to the node's [committer](crate::actors::committer), and passes the acknowledgement on. It holds nothing that
//! matters: a new incarnation first asks the committer what is durable (the question travels behind everything that the
//! old one handed over), and the supervisor sends again what is not.

mod actor;
mod messages;

pub(crate) use actor::{Aof, AofEnv};
pub(crate) use messages::{Acknowledged, Append, Durable, Ingress, Parent};
