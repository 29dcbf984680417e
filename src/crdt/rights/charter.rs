//! The structure of an owned subject's control events: what may be appended.

use hashbrown::HashMap;
use thiserror::Error;

use crate::wire::{
    control::{Control, ControlError, Grant, Role},
    event::EventType,
    id::{Dot, SubjectId, XaeroID},
};

/// A control record in its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlEvent {
    /// Author and sequence number.
    pub dot: Dot,
    /// What it says.
    pub control: Control,
}

/// The rule that keeps an event out of an owned subject.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BrokenRule {
    /// The record.
    #[error("its control record is not one: {0}")]
    Record(#[from] ControlError),
    /// An author's first event is something else.
    #[error(
        "the first event of each author is a join that names the grant which admits it: have an owner grant the author a role"
    )]
    NotJoined,
    /// Genesis or join further on.
    #[error("a genesis or a join is its author's first event, and no other")]
    NotFirst,
    /// The genesis is that of another subject, or not by its creator.
    #[error("the genesis is not this subject's: its hash is the subject's id, and its author the creator")]
    OtherGenesis,
    /// What a join names is no grant for its author that lets it write.
    #[error("the event {0} that the join names is no grant that makes its author a writer or an owner")]
    NoSuchGrant(Dot),
    /// Who grants or revokes is neither creator nor owner.
    #[error("only the creator, or an owner who names the grant of its own join, grants and revokes")]
    NotAnOwner,
}

/// The control events of a log, in their order, and what they make of each other by their structure.
#[derive(Debug, Clone)]
pub struct Charter {
    subject: SubjectId,
    creator: Option<XaeroID>,
    events: Vec<ControlEvent>,
    grants: HashMap<Dot, Grant>,
    /// Author → the grant that its join names.
    joins: HashMap<XaeroID, Dot>,
}

impl Charter {
    /// The charter of a subject of which nothing has come yet.
    #[must_use]
    pub fn new(subject: SubjectId) -> Self {
        Self { subject, creator: None, events: Vec::new(), grants: HashMap::new(), joins: HashMap::new() }
    }

    /// The grant that an author's first event names: one of its causes.
    #[must_use]
    pub fn cause(seq: u64, event_type: EventType, payload: &[u8]) -> Option<Dot> {
        match event_type {
            EventType::SystemEvent(code) if seq == 1 => match Control::decode(code, payload) {
                Ok(Control::Join(join)) => Some(join.grant),
                _ => None,
            },
            _ => None,
        }
    }

    /// Judges an event all of whose causes are in the log, [the grant of a join](Self::cause) included. Returns its control
    /// record, if it has one.
    ///
    /// # Errors
    /// The rule that it breaks, on every replica.
    pub fn judge(&self, dot: Dot, event_type: EventType, payload: &[u8]) -> Result<Option<Control>, BrokenRule> {
        let EventType::SystemEvent(code) = event_type else {
            return if dot.seq == 1 { Err(BrokenRule::NotJoined) } else { Ok(None) };
        };
        let control = Control::decode(code, payload)?;
        match control {
            Control::Genesis(_) | Control::Join(_) if dot.seq != 1 => Err(BrokenRule::NotFirst),
            Control::Grant(_) | Control::Revoke(_) if dot.seq == 1 => Err(BrokenRule::NotJoined),
            Control::Genesis(genesis) if genesis.creator != dot.author || genesis.subject_id() != self.subject => {
                Err(BrokenRule::OtherGenesis)
            }
            Control::Join(join) if !self.admits(join.grant, dot.author) => Err(BrokenRule::NoSuchGrant(join.grant)),
            Control::Grant(Grant { authority, .. }) if self.authority(dot.author) != Some(authority) => {
                Err(BrokenRule::NotAnOwner)
            }
            Control::Revoke(revoke) if self.authority(dot.author) != Some(revoke.authority) => {
                Err(BrokenRule::NotAnOwner)
            }
            control => Ok(Some(control)),
        }
    }

    /// Adds a control event that was [judged](Self::judge) to be right, and appended.
    pub fn add(&mut self, event: ControlEvent) {
        let ControlEvent { dot, control } = event;
        match control {
            Control::Genesis(genesis) => self.creator = Some(genesis.creator),
            Control::Grant(grant) => drop(self.grants.insert(dot, grant)),
            Control::Join(join) => drop(self.joins.insert(dot.author, join.grant)),
            Control::Revoke(_) => {}
        }
        self.events.push(event);
    }

    /// The creator, once the genesis is here.
    #[must_use]
    pub const fn creator(&self) -> Option<XaeroID> {
        self.creator
    }

    /// The control events, in the order in which they were added.
    #[must_use]
    pub fn events(&self) -> &[ControlEvent] {
        &self.events
    }

    /// The grant, if this event is one.
    #[must_use]
    pub fn grant(&self, dot: Dot) -> Option<&Grant> {
        self.grants.get(&dot)
    }

    /// The grant that the author's join names, if it has joined.
    #[must_use]
    pub fn joined(&self, author: XaeroID) -> Option<Dot> {
        self.joins.get(&author).copied()
    }

    /// Whether the author's log is that of the creator, or of somebody who joined as an owner.
    #[must_use]
    pub fn is_owner(&self, author: XaeroID) -> bool {
        let joined_by = self.joins.get(&author).and_then(|grant| self.grants.get(grant));
        self.creator == Some(author) || joined_by.is_some_and(|grant| grant.role == Role::Owner)
    }

    /// Whether this first event of an author begins, or may come to begin, the log of [an owner](Self::is_owner): where the
    /// grant that it names is not here, nobody can tell yet.
    #[must_use]
    pub fn may_begin_owner(&self, author: XaeroID, event_type: EventType, payload: &[u8]) -> bool {
        let EventType::SystemEvent(code) = event_type else { return false };
        match Control::decode(code, payload) {
            Ok(Control::Genesis(genesis)) => genesis.creator == author,
            Ok(Control::Join(join)) => self.grants.get(&join.grant).is_none_or(|grant| grant.role == Role::Owner),
            _ => false,
        }
    }

    /// The authors whose logs are those of [owners](Self::is_owner).
    pub fn owners(&self) -> impl Iterator<Item = XaeroID> + '_ {
        self.creator.into_iter().chain(self.joins.keys().copied().filter(|author| self.is_owner(*author)))
    }

    /// What an author who may grant and revoke by the structure names as the authority: nothing as the creator, the grant
    /// of its own join as an owner. `None` for everybody else.
    #[must_use]
    pub fn authority(&self, author: XaeroID) -> Option<Option<Dot>> {
        if self.creator == Some(author) {
            return Some(None);
        }
        let grant = self.joined(author)?;
        (self.grants.get(&grant)?.role == Role::Owner).then_some(Some(grant))
    }

    /// Whether the event is a grant that lets this author write.
    fn admits(&self, grant: Dot, author: XaeroID) -> bool {
        let grant = self.grants.get(&grant);
        grant.is_some_and(|grant| grant.grantee == author && grant.role != Role::Reader)
    }
}
