//! Durable subscriptions: named, with a place in the log that survives the process.
//!
//! A plain [subscription](crate::Subscription) begins with what is new, or with the start of the log, each time it is made. A durable
//! one has a name, and goes on where its subscriber has *acknowledged*: after a restart, a crash, or a year. Its place
//! is a row of the data directory, committed by the same group commit as events are.
//!
//! * **At least once.** An event is delivered until it is acknowledged, across restarts. While a subscription is open each
//!   event is handed out once; what was not acknowledged comes again when it is opened the next time. An acknowledgement
//!   covers all events before it, and is on disk when its [receipt](AckReceipt) resolves.
//! * **Effectively once.** [`ack_with_state`](Delivery::ack_with_state) keeps bytes of the subscriber's own with the place, in one
//!   transaction, and [`state`](DurableSubscription::state) gives them back: a sum, a fold, the outcome of a job. A crash finds
//!   both as they were before an event or both as they were after it.
//! * **No gap, no duplicate.** History and what is live come by the same way, the log, in its order.
//! * **One subscriber.** A name is open once at a time; two names of one subject know nothing of each other. A new name
//!   begins with the first event of the log.
//!
//! `filter`, `map`, `scan` and `filter_merkle_proofs` before it apply. Operators with a memory (`batch`, `buffer`, `window`,
//! `debounce`, `throttle`, `distinct`, `take`) are refused: what they hold would be lost with the process while the place
//! is already behind it. A [`batch`](crate::Subject::batch) that folds needs no cursor of one's own: its state is a function of the log,
//! and where the fold has a name and a version, the state is kept as a snapshot together with the number of events that it
//! covers, in one row, so that it is never counted twice either.
//!
//! ```
//! use xaeroflux::prelude::*;
//! let node = Node::ephemeral()?;
//! let orders = node.subject("orders");
//! let handle = orders.run()?;
//! for n in 1..=3 {
//!     orders.publish(XaeroEvent::new(n.to_string(), 1)).wait()?;
//! }
//! {
//!     let mut billing = orders.durable("billing")?;
//!     let first = billing.next()?.expect("three are there");
//!     assert_eq!(first.event.evt.data, b"1");
//!     first.ack().wait()?; // on disk: never again
//!     let _second = billing.next()?; // not acknowledged
//! }
//! let mut billing = orders.durable("billing")?; // after a crash it would be the same
//! assert_eq!(billing.lag(), 2);
//! assert_eq!(billing.next()?.expect("it comes again").event.evt.data, b"2");
//! # drop((billing, handle));
//! # Ok::<(), xaeroflux::Error>(())
//! ```
//!
//! * `subscription` reads and hands out; `delivery` is what it hands out, and the receipt.
//! * `progress` brings acknowledgements to the disk, one commit at a time; `slot` is the outcome of one.
//! * `claim` is who has which name. The row itself is `actors/storage/cursor.rs`.

mod claim;
mod delivery;
mod error;
mod progress;
mod slot;
mod subscription;
// They arm fault points, which release builds do not have.
#[cfg(all(test, debug_assertions))]
mod tests;

use std::sync::{Arc, mpsc};

pub(crate) use claim::Claims;
pub use delivery::{AckReceipt, Delivery, DeliveryBatch};
pub use error::{DurableError, MAX_DURABLE_NAME_BYTES, MAX_DURABLE_STATE_BYTES};
pub use subscription::DurableSubscription;

use self::claim::Claim;
use super::{error::Error, handle::Subject};
use crate::actors::{
    committer::submission::{Batch, Submission},
    storage::{StorageError, cursor::Cursor},
};

impl Subject {
    /// Opens the durable subscription of this name, which goes on after the last event that was acknowledged under it; a new
    /// one begins with the first event of the log. See [`durable`](crate::subject::durable).
    ///
    /// The data directory stays open for as long as it is held.
    ///
    /// # Errors
    /// [`Error::NotRunning`] before the subject runs; [`DurableError`] where the name is bad or open already, an operator of
    /// this handle has a memory, or the place is damaged or beyond the end of the log.
    pub fn durable(&self, name: &str) -> Result<DurableSubscription, Error> {
        DurableSubscription::open(self, name)
    }

    /// The names under which anything was acknowledged on this subject, sorted. Works on a subject that does not run, too.
    ///
    /// # Errors
    /// Where the data directory cannot be opened, or one of the places is damaged.
    pub fn durable_names(&self) -> Result<Vec<String>, Error> {
        let core = self.core().ok_or(Error::NotRunning)?;
        let (engine, log) = core.log()?;
        Ok(engine.store.cursor_names(&log)?)
    }

    /// Forgets the place of a durable subscription, damaged or not, and the state that was kept with it: the next of this
    /// name begins with the first event. Returns whether there was one, once that is on disk.
    ///
    /// # Errors
    /// [`DurableError::Open`] while it is open, and where the data directory cannot be opened or written.
    pub fn remove_durable(&self, name: &str) -> Result<bool, Error> {
        let core = self.core().ok_or(Error::NotRunning)?;
        core.check()?;
        let _claim = Claim::new(core, name)?;
        let (engine, log) = core.log()?;
        let was_there = !matches!(engine.store.cursor(&log, name), Ok(None));
        let (tell, told) = mpsc::channel();
        engine.committer.submit(Submission {
            log: Arc::clone(&log),
            token: 0,
            batch: Batch::Cursor { name: Cursor::name_key(name), cursor: None },
            // Whoever waits for it is right here.
            reply: Box::new(move |answer| drop(tell.send(answer.map(drop)))),
        });
        told.recv().unwrap_or(Err(StorageError::Closed))?;
        Ok(was_there)
    }
}
