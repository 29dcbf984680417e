//! The grow-only counter: every increment counts once.
//!
//! A sum does not care for order; it does care for repetition. Where the source does not promise causal delivery, the
//! counter therefore remembers which events it has counted, as spans of sequence numbers.

use std::any::Any;

use crate::{
    crdt::{
        dot_set::DotSet,
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

/// The rule for the payload of a counter's event.
pub(super) const PAYLOAD_RULE: &str = "a counter's payload is 8 bytes, an i64 in little-endian order";

/// The rule for the sign of an increment.
const SIGN_RULE: &str = "a G-Counter only grows: its increments are not negative; a PN-Counter takes both signs";

/// The rule against decrements.
const DECREMENT_RULE: &str = "a G-Counter only grows: it has no decrement; a PN-Counter has";

/// A counter that only grows.
///
/// ```
/// use xaeroflux::{Dot, VersionVector, XaeroID, crdt::GCounter};
/// let alice = XaeroID::from([1; 32]);
/// let mut views = GCounter::new();
/// views.increment(2, Dot::new(alice, 1), &VersionVector::new());
/// views.increment(3, Dot::new(alice, 2), &VersionVector::new());
/// views.increment(3, Dot::new(alice, 2), &VersionVector::new()); // delivered again
/// assert_eq!(views.value(), 5);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GCounter {
    sum: i128,
    counted: DotSet,
}

impl GCounter {
    /// The counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `by`, unless the event with this dot is counted already. A negative `by` is skipped.
    pub fn increment(&mut self, by: i64, dot: Dot, context: &dyn CausalContext) -> Applied {
        if by < 0 {
            return Applied::Skipped(SIGN_RULE);
        }
        if context.causal_delivery() || self.counted.insert(dot) {
            // 2^64 events of the largest i64 would have to be counted before this saturated.
            self.sum = self.sum.saturating_add(i128::from(by));
        }
        Applied::Yes
    }

    /// The sum, or the largest `i64` where it is beyond.
    #[must_use]
    pub fn value(&self) -> i64 {
        clamp(self.sum)
    }

    /// The counter that [`save`](FoldState::save) wrote; `None` where the bytes are not that.
    #[must_use]
    pub fn restore(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::open(bytes, Kind::GCounter, SNAPSHOT_VERSION)?;
        let counter = Self { sum: reader.i128()?, counted: DotSet::read(&mut reader)? };
        reader.end()?;
        (counter.sum >= 0).then_some(counter)
    }
}

impl FoldState for GCounter {
    fn apply(&mut self, event: &XaeroEvent, dot: Dot, context: &dyn CausalContext) -> Applied {
        match event.evt.event_type {
            EventType::ApplicationEvent(CRDT_COUNTER_INCREMENT) => match amount(event) {
                Some(by) => self.increment(by, dot, context),
                None => Applied::Skipped(PAYLOAD_RULE),
            },
            EventType::ApplicationEvent(CRDT_COUNTER_DECREMENT) => Applied::Skipped(DECREMENT_RULE),
            _ => Applied::NotMine,
        }
    }

    fn save(&self) -> Option<Vec<u8>> {
        let mut writer = Writer::new(Kind::GCounter, SNAPSHOT_VERSION);
        writer.i128(self.sum);
        self.counted.write(&mut writer);
        Some(writer.finish())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The number in a counter event's payload.
pub(super) fn amount(event: &XaeroEvent) -> Option<i64> {
    event.evt.data.as_slice().try_into().map(i64::from_le_bytes).ok()
}

/// The nearest `i64`.
pub(super) fn clamp(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crdt::{laws::Causal, snapshot::tests::refuses_damage},
        wire::{id::XaeroID, vector::VersionVector},
    };

    fn dot(seq: u64) -> Dot {
        Dot::new(XaeroID::from([1; 32]), seq)
    }

    #[test]
    fn what_is_no_increment_is_skipped_with_the_rule() {
        let mut counter = GCounter::new();
        let nothing = VersionVector::new();
        let mut apply = |payload: &[u8], code| counter.apply(&XaeroEvent::new(payload, code), dot(1), &nothing);
        assert_eq!(apply(&[1; 7], CRDT_COUNTER_INCREMENT), Applied::Skipped(PAYLOAD_RULE));
        assert_eq!(apply(&[1; 9], CRDT_COUNTER_INCREMENT), Applied::Skipped(PAYLOAD_RULE));
        assert_eq!(apply(&(-1i64).to_le_bytes(), CRDT_COUNTER_INCREMENT), Applied::Skipped(SIGN_RULE));
        assert_eq!(apply(&1i64.to_le_bytes(), CRDT_COUNTER_DECREMENT), Applied::Skipped(DECREMENT_RULE));
        assert_eq!(apply(&1i64.to_le_bytes(), 99), Applied::NotMine);
        assert_eq!(counter, GCounter::new());
    }

    #[test]
    fn beyond_the_largest_number_it_stays_there() {
        let mut counter = GCounter::new();
        for seq in 1..=3 {
            counter.increment(i64::MAX, dot(seq), &VersionVector::new());
        }
        assert_eq!(counter.value(), i64::MAX);
        assert_eq!(counter.sum, 3 * i128::from(i64::MAX));
    }

    #[test]
    fn under_causal_delivery_nothing_but_the_sum_is_kept() {
        let mut counter = GCounter::new();
        for seq in 1..=100 {
            counter.increment(1, dot(seq * 2), &Causal(VersionVector::new()));
        }
        assert_eq!(counter, GCounter { sum: 100, counted: DotSet::default() });
    }

    #[test]
    fn a_restored_counter_still_knows_what_it_has_counted() {
        let mut counter = GCounter::new();
        counter.increment(5, dot(1), &VersionVector::new());
        counter.increment(5, dot(4), &VersionVector::new());
        let bytes = counter.save().unwrap();
        let mut back = GCounter::restore(&bytes).unwrap();
        back.increment(5, dot(4), &VersionVector::new());
        assert_eq!(back, counter);
        refuses_damage(&bytes, GCounter::restore);
    }
}
