//! Events as an application sees them, and the codes that say what an event means.

use std::sync::Arc;

use crate::wire::{
    clock::Clock,
    id::{Dot, SubjectId, XaeroID},
};

/// OR-Set: add the payload as an element.
pub const CRDT_SET_ADD: u8 = 30;
/// OR-Set: remove the element that equals the payload, as far as the author had seen it added.
pub const CRDT_SET_REMOVE: u8 = 31;
/// OR-Set: the resolved set, a sorted `Vec<Vec<u8>>` in rkyv.
pub const CRDT_SET_STATE: u8 = 32;
/// Counters: add the payload, 8 bytes of `i64` in little-endian order.
pub const CRDT_COUNTER_INCREMENT: u8 = 33;
/// PN-Counter: subtract the payload, 8 bytes of `i64` in little-endian order.
pub const CRDT_COUNTER_DECREMENT: u8 = 34;
/// Counters: the resolved value, 8 bytes of `i64` in little-endian order.
pub const CRDT_COUNTER_STATE: u8 = 35;
/// Registers: write the payload.
pub const CRDT_REGISTER_WRITE: u8 = 43;
/// Registers: the resolved value or values.
pub const CRDT_REGISTER_STATE: u8 = 44;

/// What kind of event this is. Applications send [`EventType::ApplicationEvent`]; the others are the engine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// An event of the application; the whole `u8` is its to use. 30 to 44 are the CRDT operations.
    ApplicationEvent(u8),
    /// A replicated record of the engine: grants, revocations.
    SystemEvent(u8),
    /// Something that happened on the network.
    NetworkEvent(u8),
    /// Something that happened to the storage.
    StorageEvent(u8),
    /// About the subject itself.
    MetaEvent(u8),
}

impl EventType {
    /// The two bytes that stand for this type in a record: the variant and its code.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::ApplicationEvent(code) => [0, code],
            Self::SystemEvent(code) => [1, code],
            Self::NetworkEvent(code) => [2, code],
            Self::StorageEvent(code) => [3, code],
            Self::MetaEvent(code) => [4, code],
        }
    }

    /// The type that two bytes of a record stand for; `None` where the variant is one that this version does not know.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        let [variant, code] = bytes;
        Some(match variant {
            0 => Self::ApplicationEvent(code),
            1 => Self::SystemEvent(code),
            2 => Self::NetworkEvent(code),
            3 => Self::StorageEvent(code),
            4 => Self::MetaEvent(code),
            _ => return None,
        })
    }

    /// Whether only the engine may send events of this type.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        !matches!(self, Self::ApplicationEvent(_))
    }
}

/// A payload and its type, and what the engine stamped on it when it became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<T> {
    /// The payload.
    pub data: T,
    /// What the payload means.
    pub event_type: EventType,
    stamp: Option<Arc<Stamp>>,
    /// Whether it is the state of a part of a subject only.
    is_partial: bool,
}

/// What the engine knows of an event that is in a log. Kept behind a pointer: most events in memory have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The subject whose log holds the event.
    pub subject: SubjectId,
    /// Author and sequence number.
    pub dot: Dot,
    /// The hybrid logical clock.
    pub clock: Clock,
    /// The undominated dots that the author had seen, its own previous event left out.
    pub deps: Vec<Dot>,
    /// Whether the payload is not here, since a part of the subject is kept only and the event is not of it.
    pub is_withheld: bool,
}

impl<T> Event<T> {
    /// An application event with this payload and code.
    ///
    /// ```
    /// use xaeroflux::event::{CRDT_SET_ADD, Event, EventType};
    /// let event = Event::new(b"urgent".to_vec(), CRDT_SET_ADD);
    /// assert_eq!(event.event_type, EventType::ApplicationEvent(CRDT_SET_ADD));
    /// ```
    #[must_use]
    pub const fn new(data: T, event_type: u8) -> Self {
        Self { data, event_type: EventType::ApplicationEvent(event_type), stamp: None, is_partial: false }
    }

    /// An event of the engine's own, or one read back from a log.
    pub(crate) const fn stamped(data: T, event_type: EventType, stamp: Option<Arc<Stamp>>) -> Self {
        Self { data, event_type, stamp, is_partial: false }
    }

    /// The state that a fold has made; `is_partial`: of a replica that keeps a part of its subject only.
    pub(crate) const fn state(data: T, event_type: u8, is_partial: bool) -> Self {
        Self { data, event_type: EventType::ApplicationEvent(event_type), stamp: None, is_partial }
    }

    /// Whether this is a fold's state, made of a replica that keeps [a part of its subject](crate::ReplicaFilter) only: then it
    /// lacks what the others have written, and what an author had seen only by way of an author who is left out.
    ///
    /// What operators behind the fold make of the state has to be told again, if it matters.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Author and sequence number, once the event is in a log.
    #[must_use]
    pub fn dot(&self) -> Option<Dot> {
        self.stamp.as_ref().map(|stamp| stamp.dot)
    }

    /// The hybrid logical clock that the event got when it entered its author's log.
    #[must_use]
    pub fn clock(&self) -> Option<Clock> {
        self.stamp.as_ref().map(|stamp| stamp.clock)
    }

    /// The undominated events that the author had seen, apart from the author's own previous one.
    #[must_use]
    pub fn deps(&self) -> &[Dot] {
        self.stamp.as_ref().map_or(&[], |stamp| &stamp.deps)
    }

    pub(crate) const fn stamp(&self) -> Option<&Arc<Stamp>> {
        self.stamp.as_ref()
    }

    pub(crate) fn set_stamp(&mut self, stamp: Option<Arc<Stamp>>) {
        self.stamp = stamp;
    }
}

/// An event on a bus, with what is known about it.
///
/// ```
/// use xaeroflux::{Event, XaeroEvent, event::CRDT_SET_ADD};
/// let event = XaeroEvent {
///     evt: Event::new(b"urgent".to_vec(), CRDT_SET_ADD),
///     merkle_proof: None,
///     author_id: None, // the node's own identity
///     latest_ts: None, // the clock's milliseconds
/// };
/// assert!(event.evt.dot().is_none(), "it is not in a log yet");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XaeroEvent {
    /// The payload and its type.
    pub evt: Event<Vec<u8>>,
    /// A proof that the event is in its author's signed log.
    pub merkle_proof: Option<Vec<u8>>,
    /// Who wrote it. `None` on the way in means the node's own identity.
    pub author_id: Option<XaeroID>,
    /// The author's own timestamp: what the LWW-Register compares, and nothing else. `None` on the way in means the
    /// hybrid clock's milliseconds.
    pub latest_ts: Option<u64>,
}

impl XaeroEvent {
    /// An event by the node's own identity, with the clock's timestamp.
    ///
    /// ```
    /// use xaeroflux::{XaeroEvent, event::CRDT_SET_ADD};
    /// let event = XaeroEvent::new("urgent", CRDT_SET_ADD);
    /// assert_eq!(event.evt.data, b"urgent");
    /// ```
    #[must_use]
    pub fn new(payload: impl Into<Vec<u8>>, event_type: u8) -> Self {
        Self { evt: Event::new(payload.into(), event_type), merkle_proof: None, author_id: None, latest_ts: None }
    }

    /// The same event, written by `author`. Where the author's log has forked and its identity goes on under a fresh key, the
    /// event is written under that one; the receipt says so.
    #[must_use]
    pub const fn by(mut self, author: XaeroID) -> Self {
        self.author_id = Some(author);
        self
    }

    /// The same event, with the author's own timestamp.
    #[must_use]
    pub const fn at(mut self, latest_ts: u64) -> Self {
        self.latest_ts = Some(latest_ts);
        self
    }
}

/// A span of time to replay: milliseconds since the Unix epoch by the events' hybrid clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScanWindow {
    /// The first millisecond of the window.
    pub start: u64,
    /// The first millisecond after the window.
    pub end: u64,
}

impl ScanWindow {
    /// Everything, with no end.
    pub const ALL: Self = Self { start: 0, end: u64::MAX };

    /// Whether an event with this clock lies in the window.
    #[must_use]
    pub const fn contains(&self, clock: Clock) -> bool {
        self.start <= clock.millis() && clock.millis() < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_type_survives_a_round_trip() {
        for variant in 0..=u8::MAX {
            for code in 0..=u8::MAX {
                match EventType::from_bytes([variant, code]) {
                    Some(kind) => assert_eq!(kind.to_bytes(), [variant, code]),
                    None => assert!(variant > 4),
                }
            }
        }
    }
}
