//! The orders in which a window can be folded.
//!
//! Every order here compares a *key* that is taken from one event alone. That makes it total and the same everywhere.
//! The obvious comparator for causality, "before, after, or concurrent and so equal", is neither: concurrency is not
//! transitive, and a sort that believes it to be equality panics or depends on the order of arrival. The hybrid clock is
//! a number that is above those of all causes, so comparing it extends causality to a total order.
//!
//! Events that are in no log carry no stamp; their key is made of what they do carry. Where nothing tells two of them
//! apart they compare as equal, and a stable sort leaves them in order of arrival.

use std::{borrow::Cow, cmp::Ordering, sync::Arc};

use crate::{
    crdt::operator::{Operator, SortOp},
    wire::{clock::Clock, event::XaeroEvent, id::XaeroID},
};

/// An order of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sort {
    /// By hybrid clock, author and sequence number: causes always come before their effects. Without a stamp:
    /// `latest_ts` and author.
    VectorClock,
    /// By author and sequence number: each author's events together. Without a stamp: author and `latest_ts`.
    OperationId,
    /// By the author's own timestamp, author and sequence number. Without `latest_ts`: the clock's milliseconds, or 0.
    LamportTimestamp,
}

impl Sort {
    /// The operator for a batch pipeline.
    ///
    /// ```
    /// use xaeroflux::{Operator, Sort};
    /// let step = Operator::Sort(Sort::VectorClock.to_operator());
    /// ```
    #[must_use]
    pub fn to_operator(self) -> SortOp {
        let named = |name, compare: fn(&XaeroEvent, &XaeroEvent) -> Ordering, keeps_causes_first| SortOp {
            name: Cow::Borrowed(name),
            compare: Arc::new(compare),
            keeps_causes_first,
        };
        match self {
            Self::VectorClock => named("vector-clock", |a, b| causal_key(a).cmp(&causal_key(b)), true),
            Self::OperationId => named("operation-id", |a, b| operation_key(a).cmp(&operation_key(b)), false),
            Self::LamportTimestamp => named("lamport-timestamp", |a, b| lamport_key(a).cmp(&lamport_key(b)), false),
        }
    }
}

impl SortOp {
    /// An order of the user's own. It must be total (antisymmetric and transitive), or sorting may panic, and it must
    /// depend on nothing but the two events, or replicas differ.
    ///
    /// ```
    /// use xaeroflux::{SortOp, XaeroEvent};
    /// let by_size = SortOp::by(|a, b| a.evt.data.len().cmp(&b.evt.data.len()));
    /// let mut events = vec![XaeroEvent::new("long", 1), XaeroEvent::new("s", 1)];
    /// by_size.sort(&mut events);
    /// assert_eq!(events[0].evt.data, b"s");
    /// ```
    #[must_use]
    pub fn by(compare: impl Fn(&XaeroEvent, &XaeroEvent) -> Ordering + Send + Sync + 'static) -> Self {
        Self { name: Cow::Borrowed("custom"), compare: Arc::new(compare), keeps_causes_first: false }
    }

    /// Which of the two comes first.
    #[must_use]
    pub fn compare(&self, a: &XaeroEvent, b: &XaeroEvent) -> Ordering {
        (self.compare)(a, b)
    }

    /// Brings the events into order; those that compare as equal stay as they are.
    ///
    /// # Panics
    /// May panic where the order is a user's own and not total.
    pub fn sort(&self, events: &mut [XaeroEvent]) {
        events.sort_by(|a, b| self.compare(a, b));
    }

    /// Whether causes come before their effects among events from a log. After any other order a fold must not be
    /// promised [causal delivery](crate::crdt::CausalContext::causal_delivery), even where the source gives it.
    #[must_use]
    pub const fn keeps_causes_first(&self) -> bool {
        self.keeps_causes_first
    }
}

impl<F> From<F> for SortOp
where
    F: Fn(&XaeroEvent, &XaeroEvent) -> Ordering + Send + Sync + 'static,
{
    fn from(compare: F) -> Self {
        Self::by(compare)
    }
}

impl From<SortOp> for Operator {
    fn from(sort: SortOp) -> Self {
        Self::Sort(sort)
    }
}

impl From<Sort> for Operator {
    fn from(sort: Sort) -> Self {
        Self::Sort(sort.to_operator())
    }
}

/// The author's own timestamp, else the hybrid clock's milliseconds, else 0.
pub(super) fn timestamp(event: &XaeroEvent) -> u64 {
    event.latest_ts.or_else(|| event.evt.clock().map(Clock::millis)).unwrap_or(0)
}

fn causal_key(event: &XaeroEvent) -> (Clock, Option<XaeroID>, u64) {
    let clock = event.evt.clock().unwrap_or_else(|| Clock::from_millis(timestamp(event)));
    let (author, seq) = author_and_seq(event);
    (clock, author, seq)
}

fn operation_key(event: &XaeroEvent) -> (Option<XaeroID>, u64, u64) {
    let (author, seq) = author_and_seq(event);
    // Sequence numbers start at 1, so 0 stands for none, and only then does the timestamp decide.
    let timestamp = if seq == 0 { timestamp(event) } else { 0 };
    (author, seq, timestamp)
}

fn lamport_key(event: &XaeroEvent) -> (u64, Option<XaeroID>, u64) {
    let (author, seq) = author_and_seq(event);
    (timestamp(event), author, seq)
}

fn author_and_seq(event: &XaeroEvent) -> (Option<XaeroID>, u64) {
    event.evt.dot().map_or((event.author_id, 0), |dot| (Some(dot.author), dot.seq))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        crdt::laws::{history, stamped},
        wire::id::Dot,
    };

    const ALL: [Sort; 3] = [Sort::VectorClock, Sort::OperationId, Sort::LamportTimestamp];

    /// Events with and without stamps, timestamps and authors, from so few values that keys often collide.
    fn event() -> impl Strategy<Value = XaeroEvent> {
        let author = || (0u8..3).prop_map(|byte| XaeroID::from([byte; 32]));
        let stamp = prop::option::of((author(), 1u64..4, 0u64..4));
        (prop::option::of(author()), prop::option::of(0u64..4), stamp).prop_map(|(author, ts, stamp)| {
            let mut event = XaeroEvent::new("x", 1);
            event.author_id = author;
            event.latest_ts = ts;
            match stamp {
                Some((author, seq, ms)) => stamped(event, Dot::new(author, seq), Clock::from_millis(ms), &[]),
                None => event,
            }
        })
    }

    proptest! {
        #[test]
        fn every_order_is_total(a in event(), b in event(), c in event()) {
            for sort in ALL.map(Sort::to_operator) {
                prop_assert_eq!(sort.compare(&a, &a), Ordering::Equal);
                prop_assert_eq!(sort.compare(&a, &b), sort.compare(&b, &a).reverse());
                let ab = sort.compare(&a, &b);
                if ab == sort.compare(&b, &c) {
                    prop_assert_eq!(sort.compare(&a, &c), ab);
                }
            }
        }

        #[test]
        fn events_of_a_log_never_compare_as_equal(a in event(), b in event()) {
            for sort in ALL.map(Sort::to_operator) {
                if a.evt.dot().is_some() && b.evt.dot().is_some() && a.evt.dot() != b.evt.dot() {
                    prop_assert_ne!(sort.compare(&a, &b), Ordering::Equal);
                }
            }
        }

        #[test]
        fn by_vector_clock_causes_come_first(history in history(5, 60)) {
            let sort = Sort::VectorClock.to_operator();
            prop_assert!(sort.keeps_causes_first());
            for later in &history.events {
                for earlier in &history.events {
                    if later.context.covers(earlier.dot) {
                        prop_assert_eq!(sort.compare(&earlier.event, &later.event), Ordering::Less);
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn sorting_never_panics(events in prop::collection::vec(event(), 0..100)) {
            for sort in ALL.map(Sort::to_operator) {
                let mut sorted = events.clone();
                sort.sort(&mut sorted);
                prop_assert!(sorted.is_sorted_by(|a, b| sort.compare(a, b).is_le()));
            }
        }
    }

    #[test]
    fn a_closure_is_an_order() {
        let sort = SortOp::from(|a: &XaeroEvent, b: &XaeroEvent| b.evt.data.cmp(&a.evt.data));
        let mut events = vec![XaeroEvent::new("a", 1), XaeroEvent::new("b", 1)];
        sort.sort(&mut events);
        assert_eq!(events[0].evt.data, b"b");
        assert!(!sort.keeps_causes_first());
    }
}
