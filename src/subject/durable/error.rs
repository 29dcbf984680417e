//! What can go wrong with a durable subscription.

use thiserror::Error;

/// Longest name of a durable subscription, in bytes of UTF-8: as much as a subject's.
pub const MAX_DURABLE_NAME_BYTES: usize = 400;

/// Largest state that is kept with a place, in bytes (1 MiB). It is written whole with each acknowledgement.
pub const MAX_DURABLE_STATE_BYTES: usize = 1 << 20;

/// A durable subscription that cannot be opened, or an acknowledgement that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The name is not one.
    #[error(
        "the name of a durable subscription has 1 to {MAX_DURABLE_NAME_BYTES} bytes and no control characters, which {0:?} does not keep: choose another"
    )]
    BadName(String),
    /// It is open in this process.
    #[error(
        "the durable subscription {0:?} is open already, and one place has one subscriber: drop the other, or choose another name"
    )]
    Open(String),
    /// An operator before it has a memory.
    #[error(
        "`{0}` remembers or holds back events, which would be lost with the process, so it cannot stand before a durable subscription: open that on the handle before it, do its work on what is delivered, and keep what must be remembered with `ack_with_state`"
    )]
    Stateful(&'static str),
    /// It would read several logs.
    #[error(
        "a durable subscription has one place in one log, but this handle merges several: open one on each subject"
    )]
    Merged,
    /// Its place is damaged on disk.
    #[error(
        "the place of the durable subscription {0:?} is damaged on disk: restore the data directory from a backup, or give the place up with `remove_durable`, and it begins again at the first event"
    )]
    Damaged(String),
    /// Its place is not in the log.
    #[error(
        "the durable subscription {name:?} has acknowledged {acknowledged} events of a log that has {count}: the log is not the one that it read; restore the data directory from a backup, or give the place up with `remove_durable`"
    )]
    BeyondEnd {
        /// The subscription.
        name: String,
        /// Events that it has acknowledged.
        acknowledged: u64,
        /// Events that are there.
        count: u64,
    },
    /// The state is too large.
    #[error(
        "a state kept with a place has at most {MAX_DURABLE_STATE_BYTES} bytes, this one has {0}: keep a summary, or keep it elsewhere together with the event's author and sequence number"
    )]
    StateTooLarge(usize),
    /// A later event was acknowledged already.
    #[error(
        "a later event was acknowledged already, and this state does not cover it: acknowledge in the order of delivery"
    )]
    StateBehind,
    /// The subscription is gone.
    #[error(
        "the durable subscription was dropped before this acknowledgement: open it again, and the event is delivered again"
    )]
    Closed,
}
