//! One subject on one connection: two machines of this kind, one at each end, bring both ends to the same events.
//!
//! The two directions are independent, and each side does the same:
//!
//! 1. It looks at what it has and says so, in one hash: a *summary*. Equal roots mean equal events, and that was all.
//! 2. Who sees another root asks the subject's coordinator for the *turn*: a subject downloads from one peer at a time.
//!    With the turn it sends its *version vector*, which means "send me all beyond this". Chunks of events come, each one
//!    verified by itself, and a *caught-up* when there are no more.
//! 3. From then on the sender knows what the receiver has. Events that come later are *pushed* to who asked for that; the
//!    others get a summary (they are *lazy*) and fetch what they still lack after a grace period, in which it may come
//!    from elsewhere. This is Plumtree: Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees" (2007), with roots in the place
//!    of message ids.
//!
//! A link can break at any message: what was stored stays, and a new session says what there is.
//!
//! [`Session`] holds no event and no vector. It takes an [`Input`], and answers with [`Output`]s for a shell to carry out,
//! which has the log, the stream and the timer:
//!
//! - `receive`: what we fetch. Turn, vector, chunks, pushes, stalls.
//! - `send`: what the peer fetches from us.
//! - `compare`: whose summary is what, and when a difference is worth a download.
//! - [`limits`]: every number, with its reason.
//! - [`offence`]: what a peer is cut off for.

mod bucket;
mod compare;
mod io;
pub mod limits;
mod machine;
pub mod offence;
mod receive;
mod send;

#[cfg(test)]
mod tests;

pub use io::{EndReason, Input, Output, ReadOutcome, StoreOutcome};
pub use machine::{Session, Status};
pub use offence::Offence;
