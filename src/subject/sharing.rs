//! Sharing a subject: tickets, joining, and which subjects a node has.
//!
//! A subject is shared once it has a secret, which its first [ticket](Subject::ticket) makes. Whoever [joins](Node::join)
//! with the ticket has the same secret, and the two nodes recognise each other by it. Nothing here needs a network: what is
//! shared is noted down durably, and synchronised whenever the nodes meet.
//!
//! An open subject needs no ticket to have the same identifier on two nodes, only the same name; what the ticket adds is
//! the secret. Of an owned subject the ticket is the only way to its identifier, and its name is what it is called here.

use std::sync::Arc;

use hashbrown::HashSet;

use super::{
    engine::Engine,
    error::Error,
    handle::Subject,
    node::Node,
    shares::{ShareError, fresh_secret},
};
use crate::{
    actors::storage::{
        StorageError,
        lmdb::{Reads, Table},
        shares::{MAX_PEERS, MAX_SECRETS, Share, damaged},
    },
    wire::{
        endpoint::merged,
        id::SubjectId,
        interest::ReplicaFilter,
        name::open_subject_id,
        ticket::{SubjectKind, SubjectTicket},
    },
};

/// Peers in a ticket, this node among them: so that it is of use while this one is away, and stays short.
const TICKET_PEERS: usize = 3;

/// One subject of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubjectInfo {
    /// Its name here.
    pub name: String,
    /// Its identifier.
    pub id: SubjectId,
    /// Whether it is open or owned.
    pub kind: SubjectKind,
    /// Whether it has a secret, and is synchronised with others who have it.
    pub is_shared: bool,
}

impl Subject {
    /// A ticket for this subject: whoever [joins](Node::join) with it shares the subject. The first ticket makes the
    /// subject a shared one, durably.
    ///
    /// It says where this node is reached, as far as that is known now, and where a few others are.
    ///
    /// ```
    /// use xaeroflux::Node;
    /// let (here, there) = (Node::ephemeral()?, Node::ephemeral()?);
    /// let ours = here.subject("workspace/docs/object/tags");
    /// let text = ours.ticket()?.to_string();
    /// let theirs = there.join(&text.parse()?)?;
    /// assert_eq!(theirs.id(), ours.id());
    /// # Ok::<(), xaeroflux::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Ticket`] where the name is too long for a ticket, and where the data directory cannot be opened or written.
    pub fn ticket(&self) -> Result<SubjectTicket, Error> {
        let (engine, id, name) = self.identified()?;
        let share = match engine.share(id)? {
            Some(share) if !share.secrets.is_empty() => share,
            _ => {
                let first = fresh_secret()?;
                let own = engine.own_addr()?;
                engine.change_share(id, |known| {
                    let mut share = known.unwrap_or_else(|| unshared(id, &name));
                    // Somebody else may have been faster.
                    if share.secrets.is_empty() {
                        share.secrets.push(first);
                    }
                    // Before it is stored: a name without room must not leave a secret that nobody can be given.
                    ticket_for(&share, std::slice::from_ref(&own))?;
                    Ok(share)
                })?
            }
        };
        self.make_ticket(&engine, &share)
    }

    /// Replaces the subject's secret, and forgets all others: who has only an old ticket is not recognised any more. All
    /// who go on sharing need the new ticket. What was read already cannot be taken back.
    ///
    /// ```
    /// let node = xaeroflux::Node::ephemeral()?;
    /// let tags = node.subject("tags");
    /// let old = tags.ticket()?;
    /// let new = tags.rotate_secret()?;
    /// assert_ne!(old.secret(), new.secret());
    /// assert_eq!(tags.ticket()?, new);
    /// # Ok::<(), xaeroflux::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ticket`](Self::ticket).
    pub fn rotate_secret(&self) -> Result<SubjectTicket, Error> {
        let (engine, id, name) = self.identified()?;
        let fresh = fresh_secret()?;
        let own = engine.own_addr()?;
        let share = engine.change_share(id, |known| {
            let mut share = known.unwrap_or_else(|| unshared(id, &name));
            share.secrets = vec![fresh];
            ticket_for(&share, std::slice::from_ref(&own))?;
            Ok(share)
        })?;
        self.make_ticket(&engine, &share)
    }

    /// Whether the subject has a secret, so that it is synchronised with others who have it.
    ///
    /// # Errors
    /// Where the data directory cannot be opened, or its row is damaged.
    pub fn is_shared(&self) -> Result<bool, Error> {
        let (engine, id, _) = self.identified()?;
        Ok(engine.share(id)?.is_some_and(|share| !share.secrets.is_empty()))
    }

    /// What part of the subject this node keeps, where it [joined](Node::join_partial) for a part only; `None`: all.
    ///
    /// # Errors
    /// Where the data directory cannot be opened, or its row is damaged.
    pub fn replica_filter(&self) -> Result<Option<ReplicaFilter>, Error> {
        let (engine, id, _) = self.identified()?;
        Ok(engine.replica_filter(id)?)
    }

    fn make_ticket(&self, engine: &Engine, share: &Share) -> Result<SubjectTicket, Error> {
        let own = engine.own_addr()?;
        ticket_for(share, &merged(std::iter::once(&own).chain(&share.peers), TICKET_PEERS))
    }

    /// The node's engine, the subject, and its name.
    fn identified(&self) -> Result<(Arc<Engine>, SubjectId, String), Error> {
        let core = self.core().ok_or(Error::NotRunning)?;
        core.check()?;
        let engine = core.node.engine()?;
        let id = core.resolve(&engine)?;
        Ok((engine, id, core.name.clone()))
    }
}

impl Node {
    /// Joins the subject of a ticket: from now on this node shares it, also after a restart. Returns a handle on it.
    ///
    /// A subject that is here under the same open name is the same one, and both go on together. To join again with the
    /// same ticket changes nothing; with another ticket of the same subject this node knows both secrets, and hands on the
    /// newer.
    ///
    /// # Errors
    /// [`ShareError::AliasTaken`] where the name of an owned subject stands for another one here: use
    /// [`join_as`](Self::join_as). Where the data directory cannot be written.
    pub fn join(&self, ticket: &SubjectTicket) -> Result<Subject, Error> {
        // It may have been joined under another name.
        let alias = self.engine().shares.name_of(ticket.subject()).unwrap_or_else(|| ticket.name().to_owned());
        self.join_as(ticket, &alias)
    }

    /// As [`join`](Self::join), with a name of one's own for an owned subject.
    ///
    /// # Errors
    /// As [`join`](Self::join), and [`ShareError::KnownAs`] where it has another name here; [`ShareError::OpenName`] for an
    /// open subject and another name than its own.
    pub fn join_as(&self, ticket: &SubjectTicket, alias: &str) -> Result<Subject, Error> {
        self.join_for(ticket, alias, None)
    }

    /// As [`join`](Self::join), for a part of the subject only: this node is then a *partial replica*. It gets the events that
    /// the filter asks for, its peers know that it asks for no others, and what depends on others counts as having them.
    ///
    /// * An author who is not asked for is left out, but for the owners of an owned subject, who decide who may write.
    /// * Of an author who is asked for, events of other types or times are here without their payloads: they prove, and count as
    ///   causes, and no pipeline, fold or replay sees them.
    /// * What this node's own writers write is kept whole.
    ///
    /// Folds [say](crate::Event::is_partial) that they fold a part only, and [`explain`](Subject::explain) says of an event
    /// that it is not kept. The state of a fold may differ from that of a whole replica also within the part: what an
    /// author had seen only by way of an author who is left out counts as not seen. The subject's root is that of what is
    /// here. Whose log is left out cannot be granted or revoked a role from here. Name all your own writers in a filter of
    /// authors: what they wrote and this directory has lost comes back only then. A partial replica takes no part in swarms: it has sessions with the peers that it knows.
    ///
    /// A subject has one filter for good: what was left out leaves no gap that could be filled later. To join again, in
    /// whatever way, does not change it.
    ///
    /// ```
    /// use xaeroflux::{EventType, Node, ReplicaFilter, event::CRDT_SET_ADD};
    /// let (here, there) = (Node::ephemeral()?, Node::ephemeral()?);
    /// let ticket = here.subject("tags").ticket()?;
    /// let filter = ReplicaFilter::all().event_type(EventType::ApplicationEvent(CRDT_SET_ADD));
    /// let adds = there.join_partial(&ticket, filter.clone())?;
    /// assert_eq!(adds.replica_filter()?, Some(filter));
    /// # Ok::<(), xaeroflux::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`join`](Self::join), and [`ShareError::OtherFilter`] where the subject is here already with another part of it,
    /// or all of it; [`ShareError::BadFilter`].
    pub fn join_partial(&self, ticket: &SubjectTicket, filter: ReplicaFilter) -> Result<Subject, Error> {
        let alias = self.engine().shares.name_of(ticket.subject()).unwrap_or_else(|| ticket.name().to_owned());
        self.join_for(ticket, &alias, Some(filter))
    }

    /// As [`join_partial`](Self::join_partial), with a name of one's own for an owned subject.
    ///
    /// # Errors
    /// As [`join_partial`](Self::join_partial) and [`join_as`](Self::join_as).
    pub fn join_partial_as(
        &self,
        ticket: &SubjectTicket,
        alias: &str,
        filter: ReplicaFilter,
    ) -> Result<Subject, Error> {
        self.join_for(ticket, alias, Some(filter))
    }

    fn join_for(&self, ticket: &SubjectTicket, alias: &str, filter: Option<ReplicaFilter>) -> Result<Subject, Error> {
        crate::wire::name::check(alias)?;
        if filter.as_ref().is_some_and(|filter| !filter.is_sound()) {
            return Err(ShareError::BadFilter.into());
        }
        if ticket.kind() == SubjectKind::Open && alias != ticket.name() {
            return Err(ShareError::OpenName { name: ticket.name().to_owned() }.into());
        }
        let (engine, id) = (self.engine(), ticket.subject());
        let own = engine.endpoint_id()?;
        engine.change_or_mend(id, |known| {
            self.must_be_unused(alias, id)?;
            if let Some(other) = engine.shares.name_of(id).filter(|name| name != alias) {
                return Err(ShareError::KnownAs { alias: other }.into());
            }
            let mut share = match known {
                Some(share) => share,
                None => Share { kind: ticket.kind(), ..unshared(id, alias) },
            };
            let is_damaged = engine.shares.get(id).is_err();
            match filter {
                // Nothing else remembers what it was.
                Some(filter) if is_damaged => share.filter = filter,
                Some(filter) if filter != share.filter => {
                    if engine.has_foreign_events(id, alias)? {
                        return Err(ShareError::OtherFilter { filter: share.filter }.into());
                    }
                    share.filter = filter;
                }
                None if is_damaged && engine.lacks_parts(id, alias)? => return Err(ShareError::WasPartial.into()),
                _ => {}
            }
            if !share.secrets.contains(ticket.secret()) {
                share.secrets.insert(0, ticket.secret().clone());
                share.secrets.truncate(MAX_SECRETS);
            }
            let peers = ticket.peers().iter().chain(&share.peers).filter(|peer| peer.endpoint != own);
            share.peers = merged(peers, MAX_PEERS);
            Ok(share)
        })?;
        Ok(self.subject(alias))
    }

    /// The subjects that this node has: those with events, and those that are shared or were joined. By name.
    ///
    /// # Errors
    /// Where the data directory cannot be read.
    pub fn subjects(&self) -> Result<Vec<SubjectInfo>, Error> {
        let engine = self.engine();
        let mut subjects: Vec<SubjectInfo> = Vec::new();
        {
            let txn = engine.store.env.read()?;
            txn.scan(Table::Subjects, &[], &mut |key, row| {
                let broken =
                    || StorageError::DamagedRow { table: "subjects", key: data_encoding::HEXLOWER.encode(key) };
                let (id, name) = row.split_first_chunk::<32>().ok_or_else(broken)?;
                let name = str::from_utf8(name).map_err(|_| broken())?;
                let id = SubjectId::from(*id);
                let kind = kind_of(id, name);
                subjects.push(SubjectInfo { name: name.to_owned(), id, kind, is_shared: false });
                Ok(true)
            })?;
        }
        for info in &mut subjects {
            info.is_shared = engine.share(info.id)?.is_some_and(|share| !share.secrets.is_empty());
        }
        if let Some(key) = engine.shares.first_damaged() {
            return Err(damaged(&key).into());
        }
        let with_events: HashSet<SubjectId> = subjects.iter().map(|info| info.id).collect();
        for share in engine.shares.all() {
            if !with_events.contains(&share.subject) {
                let (name, id, kind) = (share.name.clone(), share.subject, share.kind);
                subjects.push(SubjectInfo { name, id, kind, is_shared: !share.secrets.is_empty() });
            }
        }
        subjects.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(subjects)
    }

    /// Gives an owned subject its name here. The subject is not shared yet.
    pub(crate) fn name_owned(&self, alias: &str, subject: SubjectId) -> Result<Subject, Error> {
        self.must_be_unused(alias, subject)?;
        self.engine().create_owned_share(alias, subject)?;
        Ok(self.subject(alias))
    }

    /// Whether the name stands for no other subject, on disk or in a handle that somebody holds.
    pub(super) fn must_be_unused(&self, alias: &str, subject: SubjectId) -> Result<(), Error> {
        match self.live_subject(alias).filter(|holder| *holder != subject) {
            Some(holder) => Err(ShareError::AliasTaken { alias: alias.to_owned(), holder }.into()),
            None => self.engine().must_be_free(alias, subject),
        }
    }
}

fn kind_of(id: SubjectId, name: &str) -> SubjectKind {
    if open_subject_id(name) == id { SubjectKind::Open } else { SubjectKind::Owned }
}

/// What is to become a share.
fn unshared(id: SubjectId, name: &str) -> Share {
    Share {
        subject: id,
        kind: kind_of(id, name),
        name: name.to_owned(),
        secrets: Vec::new(),
        peers: Vec::new(),
        filter: ReplicaFilter::all(),
    }
}

/// A ticket with the current secret.
fn ticket_for(share: &Share, peers: &[crate::wire::endpoint::PeerAddr]) -> Result<SubjectTicket, Error> {
    // Called with a share that has a secret.
    let secret = share.secrets.first().cloned().ok_or(Error::NotRunning)?;
    Ok(match share.kind {
        SubjectKind::Open => SubjectTicket::open(&share.name, secret, peers)?,
        SubjectKind::Owned => SubjectTicket::owned(share.subject, &share.name, secret, peers)?,
    })
}
