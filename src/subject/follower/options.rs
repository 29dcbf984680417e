//! What a subscriber may choose, and what it may ask.

/// Events that a subscriber may have before it, unless it chooses otherwise.
pub const SUBSCRIBER_EVENTS: usize = 1_024;

/// What happens to a subscriber that is slower than its subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Nothing is lost. On a durable subject the subscriber lags and reads on from its place; in memory the bus fills
    /// up, and publishers wait.
    #[default]
    Block,
    /// The subscriber loses the oldest events beyond its capacity, and is told how many. A pipeline that folds loses
    /// nothing: it could not resolve its state.
    DropOldest,
}

/// How a subscriber wants its events.
///
/// ```
/// use xaeroflux::{Overflow, SubscribeOptions};
/// let options = SubscribeOptions::new().capacity(64).overflow(Overflow::DropOldest);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeOptions {
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    pub(crate) from_start: bool,
    pub(crate) proofs: bool,
}

impl SubscribeOptions {
    /// Nothing is lost, and `SUBSCRIBER_EVENTS` may wait.
    #[must_use]
    pub const fn new() -> Self {
        Self { capacity: SUBSCRIBER_EVENTS, overflow: Overflow::Block, from_start: false, proofs: false }
    }

    /// How many events may wait for the subscriber; at least one.
    #[must_use]
    pub const fn capacity(mut self, events: usize) -> Self {
        self.capacity = if events == 0 { 1 } else { events };
        self
    }

    /// What happens beyond the capacity.
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Has each event of a durable subject carry the proof that it is in its author's signed log, as far as there is one:
    /// see [`EventProof`](crate::wire::proof::EventProof). To keep only those with one is
    /// [`filter_merkle_proofs`](crate::Subject::filter_merkle_proofs).
    #[must_use]
    pub const fn with_proofs(mut self) -> Self {
        self.proofs = true;
        self
    }

    /// Begins with the first event of the subject's log, and goes on live. Means nothing in memory.
    #[must_use]
    pub const fn from_start(mut self) -> Self {
        self.from_start = true;
        self
    }
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a subscriber is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Events that are there and have not been passed to its pipeline.
    pub behind: u64,
    /// Events that it lost, over all.
    pub dropped: u64,
}
