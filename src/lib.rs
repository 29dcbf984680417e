//! Durable, conflict-free event streams for offline-first collaborative applications.
#![warn(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::panic
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

pub mod actors;
pub mod crdt;
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

pub use crdt::{Fold, FoldOp, Operator, Reduce, ReduceOp, Sort, SortOp};
pub use event::{Dot, Event, EventId, EventType, ScanWindow, SubjectId, VersionVector, XaeroEvent, XaeroID};
