//! What became of an event.

use super::{error::Error, handle::Subject};
use crate::{
    actors::{
        committer::{
            Explanation,
            submission::{Batch, Outcome},
        },
        storage::StorageError,
    },
    wire::id::{Dot, XaeroID},
};

impl Subject {
    /// What became of an event, as of one moment: whether it is in the log, waits and for what, is held and until when, was
    /// refused and why, or counts for nothing since its author's log forked. Its text is one sentence.
    ///
    /// It is asked for by author and sequence number. An event id alone is no key: it is a hash, and the log has no table of
    /// hashes, which would cost more than the events themselves. Refusals are remembered in memory only, the newest
    /// 1,024 of the node.
    ///
    /// ```
    /// use xaeroflux::{Explanation, Node, XaeroEvent, event::CRDT_SET_ADD};
    /// let node = Node::ephemeral()?;
    /// let tags = node.subject("tags");
    /// let handle = tags.run()?;
    /// let receipt = tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD)).wait()?;
    /// let explanation = tags.explain(receipt.author, receipt.seq)?;
    /// assert!(matches!(explanation, Explanation::Accepted { ordinal: 0, .. }), "{explanation}");
    /// assert!(matches!(tags.explain(receipt.author, 2)?, Explanation::Unknown { .. }));
    /// # drop(handle);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where the data directory cannot be opened or read.
    pub fn explain(&self, author: XaeroID, seq: u64) -> Result<Explanation, Error> {
        let (engine, log) = self.log()?;
        match engine.ask(&log, Batch::Explain(Dot::new(author, seq)))? {
            Outcome::Explanation(explanation) => Ok(*explanation),
            _ => Err(StorageError::Closed.into()),
        }
    }
}
