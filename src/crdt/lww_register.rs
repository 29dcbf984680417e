//! The last-writer-wins register: one value, the write with the highest key wins.
//!
//! The key is (timestamp, author, sequence number): the author's own timestamp, and where two are the same the ids
//! decide, so that all replicas agree. Whoever's clock is ahead wins against those who saw the write and answered it;
//! where that hurts, [`MVRegister`](crate::crdt::MVRegister) asks for causality instead.

use std::any::Any;

use crate::{
    crdt::{
        operator::{Applied, CausalContext, FoldState},
        snapshot::{Kind, Reader, Writer},
        sort::timestamp,
    },
    wire::{
        event::{CRDT_REGISTER_WRITE, EventType, XaeroEvent},
        id::Dot,
    },
};

/// Version of the snapshot's layout.
const SNAPSHOT_VERSION: u8 = 1;

/// A value that the write with the highest (timestamp, author, sequence number) decides.
///
/// ```
/// use xaeroflux::{Dot, XaeroID, crdt::LWWRegister};
/// let (alice, bob) = (XaeroID::from([1; 32]), XaeroID::from([2; 32]));
/// let mut status = LWWRegister::new();
/// status.write(b"away", 2_000, Dot::new(alice, 1));
/// status.write(b"here", 1_000, Dot::new(bob, 1)); // older, though it arrives later
/// assert_eq!(status.value(), Some(&b"away"[..]));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LWWRegister {
    winner: Option<Write>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Write {
    timestamp: u64,
    dot: Dot,
    value: Vec<u8>,
}

impl LWWRegister {
    /// The register that was never written.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `value` at `timestamp`, the author's own number, by the event with this dot.
    pub fn write(&mut self, value: &[u8], timestamp: u64, dot: Dot) {
        match &mut self.winner {
            Some(winner) if (winner.timestamp, winner.dot) >= (timestamp, dot) => {}
            Some(winner) => {
                winner.timestamp = timestamp;
                winner.dot = dot;
                winner.value.clear();
                winner.value.extend_from_slice(value);
            }
            None => self.winner = Some(Write { timestamp, dot, value: value.to_vec() }),
        }
    }

    /// The winner's value; `None` where nothing was written yet.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.winner.as_ref().map(|winner| winner.value.as_slice())
    }

    /// The winner's timestamp and dot; `None` where nothing was written yet.
    #[must_use]
    pub fn winner(&self) -> Option<(u64, Dot)> {
        self.winner.as_ref().map(|winner| (winner.timestamp, winner.dot))
    }

    /// The register that [`save`](FoldState::save) wrote; `None` where the bytes are not that.
    #[must_use]
    pub fn restore(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::open(bytes, Kind::LWWRegister, SNAPSHOT_VERSION)?;
        let winner = match reader.u32()? {
            0 => None,
            1 => Some(Write { timestamp: reader.u64()?, dot: reader.dot()?, value: reader.bytes()?.to_vec() }),
            _ => return None,
        };
        reader.end()?;
        Some(Self { winner })
    }
}

impl FoldState for LWWRegister {
    fn apply(&mut self, event: &XaeroEvent, dot: Dot, _: &dyn CausalContext) -> Applied {
        if event.evt.event_type != EventType::ApplicationEvent(CRDT_REGISTER_WRITE) {
            return Applied::NotMine;
        }
        self.write(&event.evt.data, timestamp(event), dot);
        Applied::Yes
    }

    fn save(&self) -> Option<Vec<u8>> {
        let mut writer = Writer::new(Kind::LWWRegister, SNAPSHOT_VERSION);
        writer.u32(u32::from(self.winner.is_some()));
        if let Some(winner) = &self.winner {
            writer.u64(winner.timestamp);
            writer.dot(winner.dot);
            writer.bytes(&winner.value);
        }
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
        crdt::{laws::stamped, snapshot::tests::refuses_damage},
        wire::{clock::Clock, id::XaeroID, vector::VersionVector},
    };

    fn dot(author: u8, seq: u64) -> Dot {
        Dot::new(XaeroID::from([author; 32]), seq)
    }

    #[test]
    fn at_the_same_timestamp_the_author_and_then_the_sequence_number_decide() {
        let writes: [(&[u8], Dot); 3] = [(b"a", dot(1, 9)), (b"b", dot(2, 1)), (b"c", dot(2, 2))];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut register = LWWRegister::new();
            for index in order {
                register.write(writes[index].0, 7, writes[index].1);
            }
            assert_eq!(register.value(), Some(&b"c"[..]));
        }
    }

    #[test]
    fn without_a_timestamp_the_clock_counts_and_without_a_clock_zero() {
        let mut register = LWWRegister::new();
        let apply = |register: &mut LWWRegister, event: &XaeroEvent, dot| {
            assert_eq!(register.apply(event, dot, &VersionVector::new()), Applied::Yes);
        };
        apply(&mut register, &XaeroEvent::new("bare", CRDT_REGISTER_WRITE), dot(9, 9));
        assert_eq!(register.winner(), Some((0, dot(9, 9))));
        let event = XaeroEvent::new("stamped", CRDT_REGISTER_WRITE);
        apply(&mut register, &stamped(event, dot(1, 1), Clock::from_millis(50), &[]), dot(1, 1));
        assert_eq!(register.winner(), Some((50, dot(1, 1))));
        let event = XaeroEvent::new("own", CRDT_REGISTER_WRITE).at(51);
        apply(&mut register, &stamped(event, dot(1, 2), Clock::from_millis(40), &[]), dot(1, 2));
        assert_eq!(register.value(), Some(&b"own"[..]));
    }

    #[test]
    fn a_snapshot_brings_it_back_and_damage_is_refused() {
        let mut register = LWWRegister::new();
        assert_eq!(LWWRegister::restore(&register.save().unwrap()), Some(register.clone()));
        register.write(b"value", 5, dot(1, 1));
        let bytes = register.save().unwrap();
        assert_eq!(LWWRegister::restore(&bytes), Some(register));
        refuses_damage(&bytes, LWWRegister::restore);
    }
}
