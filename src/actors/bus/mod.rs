//! The bus of a subject: what publishers write to, and what one consumer takes in chunks.
//!
//! A subject has two, one for data and one for control events. Any number of threads send through a [`Sender`]; the
//! engine's consumer takes whole [`Chunk`]s. Everything is bounded: a full bus makes its senders wait or refuses.
//!
//! Why not a channel: a process has thousands of subjects, most of them idle, and a channel keeps its slots while it is
//! empty. This one keeps a vector of events behind a lock; an idle bus holds no buffer at all. Under load, one
//! uncontended lock and one push is what an event costs, and the consumer swaps the vector out for a thousand at once.
//!
//! Invariants:
//!
//! - The events of one sending thread stay in their order.
//! - The consumer is notified once when the bus gets its first event, and not again until it has found the bus empty:
//!   both are decided under the lock, so no notice is lost. One that says that it is busy is notified when a chunk is
//!   full, and otherwise left alone, while events gather.
//! - Space is given back when a chunk is drained, or, where the consumer *holds* it, when the consumer releases it. So a
//!   durable subject's bound covers the events that are not yet on disk as well.
//! - Every [`Receipt`] resolves: with what the consumer says of its event, or with [`PublishError::Abandoned`] once
//!   nobody is left who could say anything.

#[expect(clippy::module_inception, reason = "the bus itself, beside its parts")]
mod bus;
mod chunk;
mod error;
mod limits;
mod queue;
mod receipt;
mod sender;
#[cfg(test)]
mod tests;

pub use bus::{Bus, Mode, Notify};
pub use chunk::{Chunk, Entry};
pub use error::{PublishError, Refusal, SendError};
pub use limits::BusLimits;
pub use receipt::{Acknowledged, Outcome, Receipt, ReceiptGroup};
pub use sender::Sender;
