//! Durable, conflict-free event streams for offline-first collaborative applications.
//!
//! A [`Subject`] is a named event stream that many people write at once. Operators change what a subscriber sees of it;
//! `batch` resolves concurrent edits by the rules of a CRDT ([`Fold`]). A subject that [runs](Subject::run) is durable:
//! an event is acknowledged when it is on disk, and a storage actor that fails is started again with nothing lost.
//!
//! ```
//! use xaeroflux::prelude::*;
//!
//! let node = Node::ephemeral()?; // or Subject::new(..), on the process's default node
//! let (alice, bob) = (node.identity("alice")?, node.identity("bob")?);
//! let tags = node.subject("workspace/docs/object/proposal-tags");
//!
//! let (tell, told) = std::sync::mpsc::channel();
//! let resolved = tags
//!     .batch(Duration::from_millis(20), Some(25), vec![
//!         Operator::Sort(Sort::VectorClock.to_operator()),
//!         Operator::Fold(Fold::ORSet.to_operator()),
//!         Operator::Reduce(Reduce::SetContents.to_operator()),
//!     ])
//!     .subscribe(move |state| {
//!         let tags = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data).unwrap();
//!         tell.send(tags).unwrap();
//!     });
//! let handle = tags.run()?;
//!
//! tags.publish(XaeroEvent::new("draft", CRDT_SET_ADD).by(alice)).wait()?;
//! tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD).by(bob)).wait()?;
//! tags.publish(XaeroEvent::new("draft", CRDT_SET_REMOVE).by(bob)).wait()?;
//! while told.recv()? != [b"urgent".to_vec()] {}
//! # drop((resolved, handle));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate owns its threads, so it works in a plain `main`, in a `#[test]`, under tokio, and in an application that has
//! an actix System of its own.
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::panic
    )
)]

pub mod actors;
pub mod crdt;
pub mod prelude;
pub mod subject;
pub mod wire;

/// Events, their types, and the constants of the CRDT operations.
pub mod event {
    pub use crate::wire::event::{
        CRDT_COUNTER_DECREMENT, CRDT_COUNTER_INCREMENT, CRDT_COUNTER_STATE, CRDT_REGISTER_STATE, CRDT_REGISTER_WRITE,
        CRDT_SET_ADD, CRDT_SET_REMOVE, CRDT_SET_STATE, Event, EventType, ScanWindow, XaeroEvent,
    };
    pub use crate::wire::{
        clock::Clock,
        id::{Dot, EventId, SubjectId, XaeroID},
        vector::VersionVector,
    };
}

pub use actors::{
    bus::{Acknowledged, Mode, Outcome, PublishError, Receipt, Refusal, SendError, Sender},
    committer::{Explanation, IngestOutcome, IngestRefusal, RightsError},
    keyring::{KeyringError, Succession},
    net::{NetError, NetworkConfig, PeerStatus, Swarming},
    storage::StorageError,
    sync::session::Status as SyncStatus,
    verify::{
        Finding, MAX_FINDINGS, Progress as VerifyProgress, Severity, VerifyError, VerifyOptions, VerifyReport, verify,
    },
    watch::ChildKind,
};
pub use crdt::rights::{BrokenRule, Denial, Member};
pub use crdt::{Fold, FoldOp, Operator, Reduce, ReduceOp, Sort, SortOp};
pub use event::{Dot, Event, EventId, EventType, ScanWindow, SubjectId, VersionVector, XaeroEvent, XaeroID};
pub use subject::{
    AckReceipt, ControlBus, DataBus, Delivery, DeliveryBatch, DurableError, DurableSubscription, Error, EventStream,
    Events, ExportError, ExportOptions, ExportSummary, Handle, ImportError, ImportFailure, ImportFork, ImportSummary,
    IngestReceipt, Lag, Node, NodeBuilder, Notice, Notices, Overflow, Progress, Publish, Replay, ShareError, Sink,
    Subject, SubjectActor, SubjectInfo, SubjectPeer, SubscribeOptions, Subscription, identity,
};

pub use wire::{
    endpoint::PeerAddr,
    id::EndpointId,
    interest::ReplicaFilter,
    ticket::{SubjectKind, SubjectSecret, SubjectTicket, TicketError},
};

pub use wire::control::Role;

/// The README's snippets, compiled and run by the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
