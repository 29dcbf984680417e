//! The counter that goes both ways: every increment and decrement counts once.
//!
//! The sum is kept in 128 bits and clamped only when it is read. Were it clamped on the way, the order of two events
//! near a limit would decide the result.

use std::any::Any;

use crate::{
    crdt::{
        dot_set::DotSet,
        g_counter::{PAYLOAD_RULE, amount, clamp},
        operator::{Applied, CausalContext, FoldState},
        snapshot::{Kind, Reader, Writer},
    },
    wire::{
        event::{CRDT_COUNTER_DECREMENT, CRDT_COUNTER_INCREMENT, EventType, XaeroEvent},
        id::Dot,
    },
};

/// Version of the snapshot's layout.
const SNAPSHOT_VERSION: u8 = 1;

/// A counter that grows and shrinks.
///
/// Amounts are any `i64`: to increment by -2 is to decrement by 2.
///
/// ```
/// use xaeroflux::{Dot, VersionVector, XaeroID, crdt::PNCounter};
/// let (alice, bob) = (XaeroID::from([1; 32]), XaeroID::from([2; 32]));
/// let mut votes = PNCounter::new();
/// votes.increment(1, Dot::new(alice, 1), &VersionVector::new());
/// votes.decrement(3, Dot::new(bob, 1), &VersionVector::new());
/// votes.decrement(3, Dot::new(bob, 1), &VersionVector::new()); // delivered again
/// assert_eq!(votes.value(), -2);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PNCounter {
    sum: i128,
    counted: DotSet,
}

impl PNCounter {
    /// The counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `by`, unless the event with this dot is counted already.
    pub fn increment(&mut self, by: i64, dot: Dot, context: &dyn CausalContext) {
        self.count(i128::from(by), dot, context);
    }

    /// Subtracts `by`, unless the event with this dot is counted already.
    pub fn decrement(&mut self, by: i64, dot: Dot, context: &dyn CausalContext) {
        self.count(-i128::from(by), dot, context);
    }

    /// The sum, or the nearest `i64` where it is beyond.
    #[must_use]
    pub fn value(&self) -> i64 {
        clamp(self.sum)
    }

    /// The counter that [`save`](FoldState::save) wrote; `None` where the bytes are not that.
    #[must_use]
    pub fn restore(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::open(bytes, Kind::PNCounter, SNAPSHOT_VERSION)?;
        let counter = Self { sum: reader.i128()?, counted: DotSet::read(&mut reader)? };
        reader.end()?;
        Some(counter)
    }

    fn count(&mut self, change: i128, dot: Dot, context: &dyn CausalContext) {
        if context.causal_delivery() || self.counted.insert(dot) {
            // 2^64 events of the largest amount would have to be counted before this saturated.
            self.sum = self.sum.saturating_add(change);
        }
    }
}

impl FoldState for PNCounter {
    fn apply(&mut self, event: &XaeroEvent, dot: Dot, context: &dyn CausalContext) -> Applied {
        let EventType::ApplicationEvent(code @ (CRDT_COUNTER_INCREMENT | CRDT_COUNTER_DECREMENT)) =
            event.evt.event_type
        else {
            return Applied::NotMine;
        };
        let Some(by) = amount(event) else { return Applied::Skipped(PAYLOAD_RULE) };
        if code == CRDT_COUNTER_INCREMENT {
            self.increment(by, dot, context);
        } else {
            self.decrement(by, dot, context);
        }
        Applied::Yes
    }

    fn save(&self) -> Option<Vec<u8>> {
        let mut writer = Writer::new(Kind::PNCounter, SNAPSHOT_VERSION);
        writer.i128(self.sum);
        self.counted.write(&mut writer);
        Some(writer.finish())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crdt::snapshot::tests::refuses_damage,
        wire::{id::XaeroID, vector::VersionVector},
    };

    fn dot(seq: u64) -> Dot {
        Dot::new(XaeroID::from([1; 32]), seq)
    }

    #[test]
    fn a_payload_of_another_size_is_skipped_with_the_rule() {
        let mut counter = PNCounter::new();
        for code in [CRDT_COUNTER_INCREMENT, CRDT_COUNTER_DECREMENT] {
            for size in [0, 7, 9] {
                let event = XaeroEvent::new(vec![1; size], code);
                assert_eq!(counter.apply(&event, dot(1), &VersionVector::new()), Applied::Skipped(PAYLOAD_RULE));
            }
        }
        assert_eq!(counter, PNCounter::new());
    }

    #[test]
    fn the_way_beyond_a_limit_and_back_loses_nothing() {
        let mut counter = PNCounter::new();
        let nothing = VersionVector::new();
        counter.increment(i64::MAX, dot(1), &nothing);
        counter.increment(10, dot(2), &nothing);
        assert_eq!(counter.value(), i64::MAX);
        counter.decrement(11, dot(3), &nothing);
        assert_eq!(counter.value(), i64::MAX - 1);
    }

    #[test]
    fn every_amount_is_legal() {
        let mut counter = PNCounter::new();
        counter.decrement(i64::MIN, dot(1), &VersionVector::new());
        assert_eq!(counter.sum, -i128::from(i64::MIN));
        counter.increment(i64::MIN, dot(2), &VersionVector::new());
        counter.increment(-7, dot(3), &VersionVector::new());
        assert_eq!(counter.value(), -7);
    }

    #[test]
    fn a_restored_counter_still_knows_what_it_has_counted() {
        let mut counter = PNCounter::new();
        counter.decrement(5, dot(3), &VersionVector::new());
        let bytes = counter.save().unwrap();
        let mut back = PNCounter::restore(&bytes).unwrap();
        back.decrement(5, dot(3), &VersionVector::new());
        assert_eq!(back, counter);
        refuses_damage(&bytes, PNCounter::restore);
    }
}
