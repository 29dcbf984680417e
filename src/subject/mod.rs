//! Subjects: the handle that applications hold, and everything between it and the actors.
//!
//! * [`node`] is a data directory with its identities and subjects; `engine` its durable half, opened when needed.
//! * [`handle`] is [`Subject`]: operators, publishing, subscribing. `core` is what all handles on one subject share.
//! * [`pipeline`] is the pure chain of stages; [`follower`] drives one for each subscription, from the bus or the log.
//! * [`durable`] are the subscriptions whose place is on disk; `bell` wakes those who wait for the log.
//! * [`run`] makes a subject durable; `supervisor` is the actor that it then is.
//! * [`replay`] visits events of the log in place, [`read`] resolves it, and neither needs the subject to run.
//! * [`trust`] is what a log can show to others, [`forks`] what is done about authors who sign two histories, [`explain`] what became of one event. [`ingest`] is
//!   the door for events made elsewhere, and [`transfer`] carries a subject from node to node in one file.
//! * [`rights`] are the roles in owned subjects.
//! * `shares` are the subjects that others share, with their secrets and peers; [`sharing`] how one gets there, by tickets.
//! * [`notice`] is what is told on the control bus; [`dead`] the events that could not be stored.

pub(crate) mod bell;
pub(crate) mod core;
pub mod dead;
pub mod durable;
pub(crate) mod engine;
pub mod error;
pub mod explain;
pub mod follower;
pub mod forks;
pub mod handle;
pub mod ingest;
pub mod node;
pub mod notice;
pub mod pipeline;
pub(crate) mod prover;
pub mod read;
pub mod replay;
pub mod rights;
pub mod run;
pub mod shares;
pub mod sharing;
pub mod subscription;
pub(crate) mod supervisor;
pub(crate) mod sync;
pub mod transfer;
pub mod trust;

pub use durable::{AckReceipt, Delivery, DeliveryBatch, DurableError, DurableSubscription};
pub use error::Error;
pub use follower::{Lag, Overflow, SubscribeOptions};
pub use handle::{ControlBus, DataBus, Sink, Subject};
pub use ingest::IngestReceipt;
pub use node::{Node, NodeBuilder, identity};
pub use notice::{Notice, Notices};
pub use replay::{Events, Replay};
pub use run::Handle;
pub use shares::ShareError;
pub use sharing::SubjectInfo;
pub use subscription::{EventStream, Subscription};
pub use supervisor::{Publish, SubjectActor};
pub use sync::peers::SubjectPeer;
pub use transfer::{
    ExportError, ExportOptions, ExportSummary, ImportError, ImportFailure, ImportFork, ImportSummary, Progress,
};
