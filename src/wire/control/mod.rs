//! Control records: who may write in an owned subject.
//!
//! In an *owned* subject the right to write is given and taken by events of the subject's own log. They are events like any
//! other, of type [`SystemEvent`](EventType::SystemEvent), so they are signed, proven, replicated and kept as long as what
//! they decide about:
//!
//! | code | record | who writes it | what it says |
//! |---|---|---|---|
//! | [`GENESIS`] | [`Genesis`] | the creator, as its first event | this is the subject: its hash is the subject's id |
//! | [`GRANT`] | [`Grant`] | the creator or an owner | this key has this role |
//! | [`JOIN`] | [`Join`] | a member, as its first event | this grant admits me |
//! | [`REVOKE`] | [`Revoke`] | the creator or an owner | of this key nothing counts past this event |
//!
//! Here are only the bytes ([`codec`](self)): every field has a fixed width, so one record has one encoding, and what is not
//! exactly that is refused. What the records mean together is the business of `crdt::rights`. `docs/format.md` has the layouts
//! in a section of its own.

mod codec;
mod error;

use crate::wire::{
    event::EventType,
    id::{Dot, SubjectId, XaeroID},
    name::owned_subject_id,
};

pub use error::ControlError;

/// Code of the event that begins an owned subject.
pub const GENESIS: u8 = 1;
/// Code of the event that gives a role to a key.
pub const GRANT: u8 = 2;
/// Code of the event with which a member begins to write.
pub const JOIN: u8 = 3;
/// Code of the event that takes a role from a key.
pub const REVOKE: u8 = 4;

/// The version that stands at the beginning of every control record.
pub const CONTROL_VERSION: u8 = 1;

/// Length of the longest control record, in bytes.
pub const MAX_CONTROL_BYTES: usize = 81;

/// What a key may do in an owned subject, besides what its creator may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// May read: hold the subject's secret and be served.
    Reader,
    /// May write as well.
    Writer,
    /// May give and take roles as well. Only the creator takes this one.
    Owner,
}

impl Role {
    /// Its name, as commands and their output have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Owner => "owner",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The beginning of an owned subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Genesis {
    /// Who owns the subject above all others: the author of the event.
    pub creator: XaeroID,
    /// Random bytes: so that one creator can have many subjects.
    pub nonce: [u8; 16],
}

impl Genesis {
    /// The identifier of the subject that begins like this: nobody can begin it otherwise.
    ///
    /// ```
    /// use xaeroflux::{XaeroID, wire::control::Genesis};
    /// let creator = XaeroID::from([7; 32]);
    /// let [one, other] = [1, 2].map(|nonce| Genesis { creator, nonce: [nonce; 16] }.subject_id());
    /// assert_ne!(one, other);
    /// ```
    #[must_use]
    pub fn subject_id(&self) -> SubjectId {
        owned_subject_id(&Control::Genesis(*self).encode())
    }
}

/// A role for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Whose role it is.
    pub grantee: XaeroID,
    /// Which.
    pub role: Role,
    /// The grant that makes the author of this one an owner; `None` where the author is the creator.
    pub authority: Option<Dot>,
}

/// A member's first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Join {
    /// The grant that admits it.
    pub grant: Dot,
}

/// The end of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revoke {
    /// Whose role it was.
    pub target: XaeroID,
    /// The sequence number of its last event that counts; 0 where none does.
    pub last_valid: u64,
    /// The grant that makes the author of this event an owner; `None` where the author is the creator.
    pub authority: Option<Dot>,
}

/// A control record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Control {
    /// The subject begins.
    Genesis(Genesis),
    /// A key gets a role.
    Grant(Grant),
    /// A member begins to write.
    Join(Join),
    /// A key loses its role.
    Revoke(Revoke),
}

impl Control {
    /// The code of its event.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Genesis(_) => GENESIS,
            Self::Grant(_) => GRANT,
            Self::Join(_) => JOIN,
            Self::Revoke(_) => REVOKE,
        }
    }

    /// The type of its event.
    #[must_use]
    pub const fn event_type(&self) -> EventType {
        EventType::SystemEvent(self.code())
    }

    /// The payload of its event.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The record in the payload of an event with this code.
    ///
    /// # Errors
    /// Where the code is none of ours, or the payload is not as [`encode`](Self::encode) writes it.
    pub fn decode(code: u8, payload: &[u8]) -> Result<Self, ControlError> {
        codec::decode(code, payload)
    }
}

#[cfg(test)]
mod tests;
