//! What the control events of an owned subject come to: members, and cuts.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use thiserror::Error;

use super::charter::{Charter, ControlEvent};
use crate::wire::{
    control::{Control, Grant, Revoke, Role},
    id::{Dot, XaeroID},
};

/// A key with a role in an owned subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The key.
    pub id: XaeroID,
    /// Its role. The creator is an owner whom nobody granted it.
    pub role: Role,
    /// Who granted it; `None` for the creator.
    pub granted_by: Option<XaeroID>,
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// The sequence number of its last event that counts, where it was revoked or its log has forked; 0 where none does.
    pub last_valid: Option<u64>,
    /// The grant that gave the role; `None` for the creator.
    pub(crate) grant: Option<Dot>,
}

/// What an author may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Write: it has begun to.
    Writes,
    /// Write, once it has joined by this grant.
    MayJoin(Dot),
    /// Not write.
    Denied(Denial),
}

/// Why an author may not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Denial {
    /// Nobody has granted it a role that counts.
    #[error("nobody has granted it a role; have the creator or an owner grant it that of a writer")]
    NotAMember,
    /// It may only read.
    #[error("it is a reader; have the creator or an owner grant it the role of a writer")]
    Reader,
    /// It was revoked: nothing past this event counts.
    #[error(
        "it was revoked, and nothing after its event {0} counts; make a new identity, and have the role granted to that"
    )]
    Revoked(u64),
}

/// Members and cuts of an owned subject: a function of the set of its control events and forks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    members: BTreeMap<XaeroID, Member>,
    /// The sequence number of the last event that counts, by the rights alone.
    cuts: BTreeMap<XaeroID, u64>,
    /// Those who have joined.
    joined: HashSet<XaeroID>,
    /// The authors whose logs are those of owners, whatever became of them: see [`Charter::is_owner`].
    owners: HashSet<XaeroID>,
}

impl Members {
    /// What the events come to, with `fork` telling the last event before an author's fork, where its log has forked.
    /// Takes two looks at each event.
    #[must_use]
    pub fn of(charter: &Charter, fork: impl Fn(XaeroID) -> Option<u64>) -> Self {
        let Some(creator) = charter.creator() else { return Self::default() };
        let fork = |author| fork(author).unwrap_or(u64::MAX);
        // What lies past its author's fork is another event on another replica, and says nothing.
        let events: Vec<&ControlEvent> =
            charter.events().iter().filter(|event| event.dot.seq <= fork(event.dot.author)).collect();
        let mut look = Look::new(charter, creator, &fork);
        look.revocations_of_the_creator(&events);
        look.grants_and_joins(&events);
        look.revocations_of_owners(&events);
        Self { owners: charter.owners().collect(), ..look.finish() }
    }

    /// Whether the author's log is that of the creator, or of somebody who joined as an owner, revoked or not.
    #[must_use]
    pub fn is_owner(&self, author: XaeroID) -> bool {
        self.owners.contains(&author)
    }

    /// The members, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// What is known of this key, where it was granted a role that counts.
    #[must_use]
    pub fn get(&self, id: XaeroID) -> Option<&Member> {
        self.members.get(&id)
    }

    /// By author, ascending: the last event that counts, of those whom the rights cut. Forks are not in it.
    pub fn cuts(&self) -> impl Iterator<Item = (XaeroID, u64)> + '_ {
        self.cuts.iter().map(|(author, last)| (*author, *last))
    }

    /// What this author may do next.
    #[must_use]
    pub fn standing(&self, id: XaeroID) -> Standing {
        if let Some(last_valid) = self.cuts.get(&id) {
            return Standing::Denied(Denial::Revoked(*last_valid));
        }
        match self.members.get(&id) {
            None => Standing::Denied(Denial::NotAMember),
            Some(_) if self.joined.contains(&id) => Standing::Writes,
            Some(Member { role: Role::Reader, .. }) => Standing::Denied(Denial::Reader),
            Some(Member { grant: Some(grant), .. }) => Standing::MayJoin(*grant),
            // The creator's first event is the genesis.
            Some(Member { grant: None, .. }) => Standing::Writes,
        }
    }

    /// Whether this key's holder is served what is in the subject, where it holds the subject's secret: everybody but who was
    /// revoked. Who has just been handed the secret learns only so that a role was granted.
    #[must_use]
    pub fn may_read(&self, id: XaeroID) -> bool {
        !self.cuts.contains_key(&id)
    }
}

/// One look at a set of events.
struct Look<'a> {
    charter: &'a Charter,
    creator: XaeroID,
    fork: &'a dyn Fn(XaeroID) -> u64,
    /// Cuts by the creator's revocations.
    by_creator: HashMap<XaeroID, u64>,
    /// Cuts by owners' revocations.
    by_owners: HashMap<XaeroID, u64>,
    /// Grants that count, by grantee: the best one, and with it the role as long as the grantee has not joined.
    granted: HashMap<XaeroID, (Role, Dot)>,
    counting: HashSet<Dot>,
    /// Those who have joined by a grant that counts, and those by one that does not.
    joined: HashMap<XaeroID, (Role, Dot)>,
    void: HashSet<XaeroID>,
}

impl<'a> Look<'a> {
    fn new(charter: &'a Charter, creator: XaeroID, fork: &'a dyn Fn(XaeroID) -> u64) -> Self {
        Self {
            charter,
            creator,
            fork,
            by_creator: HashMap::new(),
            by_owners: HashMap::new(),
            granted: HashMap::new(),
            counting: HashSet::new(),
            joined: HashMap::new(),
            void: HashSet::new(),
        }
    }

    fn revocations_of_the_creator(&mut self, events: &[&ControlEvent]) {
        for event in events.iter().filter(|event| event.dot.author == self.creator) {
            if let Control::Revoke(Revoke { target, last_valid, .. }) = event.control
                && target != self.creator
            {
                lower(&mut self.by_creator, target, last_valid);
            }
        }
    }

    /// Where the acts of an owner end, or of the creator.
    fn reach(&self, author: XaeroID) -> u64 {
        let revoked = self.by_creator.get(&author).copied().unwrap_or(u64::MAX);
        revoked.min((self.fork)(author))
    }

    /// Whether an act of this author, of which one is looked at, counts. An author who is an owner has joined before.
    fn acts(&self, dot: Dot) -> bool {
        let is_owner = matches!(self.joined.get(&dot.author), Some((Role::Owner, _)));
        (dot.author == self.creator || is_owner) && dot.seq <= self.reach(dot.author)
    }

    /// In the order of the log each grant comes before the joins by it, and each owner's join before the owner's acts.
    fn grants_and_joins(&mut self, events: &[&ControlEvent]) {
        for event in events {
            match event.control {
                Control::Grant(Grant { grantee, role, .. }) if self.acts(event.dot) => {
                    self.counting.insert(event.dot);
                    let best = self.granted.entry(grantee).or_insert((role, event.dot));
                    // The same of two like ones everywhere, whichever came first.
                    if role > best.0 || (role == best.0 && event.dot < best.1) {
                        *best = (role, event.dot);
                    }
                }
                Control::Join(join) => {
                    let author = event.dot.author;
                    match self.charter.grant(join.grant).filter(|_| self.counting.contains(&join.grant)) {
                        Some(grant) => drop(self.joined.insert(author, (grant.role, join.grant))),
                        None => drop(self.void.insert(author)),
                    }
                }
                _ => {}
            }
        }
    }

    /// The role of a key: by its join, or before that by the best of its grants.
    fn role(&self, id: XaeroID) -> Option<(Role, Dot)> {
        self.joined.get(&id).or_else(|| self.granted.get(&id)).copied()
    }

    fn revocations_of_owners(&mut self, events: &[&ControlEvent]) {
        for event in events {
            let Control::Revoke(Revoke { target, last_valid, .. }) = event.control else { continue };
            if event.dot.author == self.creator || !self.acts(event.dot) {
                continue;
            }
            // Only the creator takes an owner's role, and nobody the creator's.
            let is_owner = matches!(self.role(target), Some((Role::Owner, _)));
            if target != self.creator && !is_owner {
                lower(&mut self.by_owners, target, last_valid);
            }
        }
    }

    fn finish(self) -> Members {
        let mut cuts: BTreeMap<XaeroID, u64> = self.by_creator.iter().map(|(author, last)| (*author, *last)).collect();
        for (author, last) in &self.by_owners {
            let cut = cuts.entry(*author).or_insert(*last);
            *cut = (*cut).min(*last);
        }
        cuts.extend(self.void.iter().map(|author| (*author, 0)));
        let mut members = BTreeMap::new();
        for id in self.granted.keys().chain(self.joined.keys()).chain([&self.creator]).copied() {
            let (role, grant) = match self.role(id).filter(|_| id != self.creator) {
                Some((role, grant)) => (role, Some(grant)),
                None => (Role::Owner, None),
            };
            let fork = Some((self.fork)(id)).filter(|last| *last != u64::MAX);
            let member = Member {
                id,
                role,
                granted_by: grant.map(|grant| grant.author),
                is_revoked: cuts.contains_key(&id),
                last_valid: cuts.get(&id).copied().into_iter().chain(fork).min(),
                grant,
            };
            members.insert(id, member);
        }
        Members { members, cuts, joined: self.joined.into_keys().collect(), owners: HashSet::new() }
    }
}

fn lower(cuts: &mut HashMap<XaeroID, u64>, author: XaeroID, last: u64) {
    let cut = cuts.entry(author).or_insert(last);
    *cut = last.min(*cut);
}
