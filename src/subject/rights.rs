//! Owned subjects: who creates them, gives roles in them, and takes them.
//!
//! What roles mean, and how replicas come to agree about them, is in [`crdt::rights`](crate::crdt::rights).

use super::{error::Error, handle::Subject, node::Node};
use crate::{
    actors::{
        bus::{Acknowledged, PublishError},
        committer::{
            RightsError,
            submission::{Act, Batch, Outcome},
        },
        storage::StorageError,
    },
    crdt::rights::Member,
    wire::{
        control::{Genesis, Role},
        id::XaeroID,
        name,
    },
};

impl Node {
    /// Creates an owned subject under this local name, by the node's own identity: only those write in it to whom it, or an
    /// owner whom it makes, has granted that. The name is this node's alone; what the subject is called elsewhere is up to
    /// those who join it.
    ///
    /// ```
    /// use xaeroflux::{Node, Role, XaeroEvent, event::CRDT_SET_ADD};
    /// let node = Node::ephemeral()?;
    /// let bob = node.identity("bob")?;
    /// let board = node.create_owned("board")?;
    /// let handle = board.run()?;
    /// let refused = board.publish(XaeroEvent::new("hello", CRDT_SET_ADD).by(bob)).wait();
    /// assert!(refused.is_err());
    /// board.grant(bob, Role::Writer)?;
    /// let receipt = board.publish(XaeroEvent::new("hello", CRDT_SET_ADD).by(bob)).wait()?;
    /// assert_eq!(receipt.seq, 2, "his first event is that he has joined");
    /// # drop(handle);
    /// # Ok::<(), xaeroflux::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the name is none, or stands for another subject here; where the data directory cannot be written.
    pub fn create_owned(&self, name: &str) -> Result<Subject, Error> {
        self.create_owned_by(name, self.own_identity()?)
    }

    /// As [`create_owned`](Self::create_owned), by this identity of the node.
    ///
    /// # Errors
    /// As [`create_owned`](Self::create_owned), and [`PublishError::UnknownAuthor`] where the key is not here.
    pub fn create_owned_by(&self, name: &str, creator: XaeroID) -> Result<Subject, Error> {
        name::check(name)?;
        let engine = self.engine();
        let creator = engine.keyring.writing_for(creator).ok_or(PublishError::UnknownAuthor { id: creator })?;
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| {
            let reason = format!("the operating system gave no random numbers: {error}");
            StorageError::Engine { action: "creating a subject", reason }
        })?;
        let id = Genesis { creator, nonce }.subject_id();
        self.must_be_unused(name, id)?;
        // The genesis first: a name without one would stand for a subject that can never begin.
        let log = engine.log(id, name)?;
        match engine.ask(&log, Batch::Act { author: creator, act: Act::Create(nonce) })? {
            Outcome::Acted(acted) => drop((*acted)?),
            _ => return Err(StorageError::Closed.into()),
        }
        self.name_owned(name, id)
    }
}

impl Subject {
    /// Whether only those write here who were granted that. An open subject is everybody's who shares it.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.core().is_some_and(|core| core.id() != name::open_subject_id(&core.name))
    }

    /// Who has a role in the subject, as far as is known here: by key, those included who were revoked.
    ///
    /// # Errors
    /// [`RightsError::NotOwned`] of an open subject; where the data directory cannot be opened.
    pub fn members(&self) -> Result<Vec<Member>, Error> {
        let (_, log) = self.log()?;
        let members = log.members().ok_or(RightsError::NotOwned)?;
        Ok(members.iter().copied().collect())
    }

    /// The role that this key has now: none where it was granted none, or was revoked.
    ///
    /// # Errors
    /// As [`members`](Self::members).
    pub fn role_of(&self, id: XaeroID) -> Result<Option<Role>, Error> {
        let (_, log) = self.log()?;
        let members = log.members().ok_or(RightsError::NotOwned)?;
        Ok(members.get(id).filter(|member| !member.is_revoked).map(|member| member.role))
    }

    /// Grants a role to a key, by the node's own identity, which must be the creator or an owner. It holds wherever this
    /// subject goes; the key need not be known here.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Rights`] says which rule forbids it.
    pub fn grant(&self, who: XaeroID, role: Role) -> Result<Acknowledged, Error> {
        self.grant_as(self.own()?, who, role)
    }

    /// As [`grant`](Self::grant), by this identity of the node.
    ///
    /// # Errors
    /// As [`grant`](Self::grant), and [`PublishError::UnknownAuthor`] where the key is not here.
    pub fn grant_as(&self, author: XaeroID, who: XaeroID, role: Role) -> Result<Acknowledged, Error> {
        self.act(author, Act::Grant { grantee: who, role })
    }

    /// Takes the role of a key for ever, by the node's own identity. Of what the key has written, that counts which is here
    /// now; what comes later from elsewhere is kept, and counts for nothing. A partial replica that leaves out the key's log
    /// cannot tell, and refuses.
    ///
    /// Only the creator takes an owner's role. Where the creator revokes an owner, all grants and revocations of the owner's
    /// that are not here yet are undone.
    ///
    /// # Errors
    /// As [`grant`](Self::grant).
    pub fn revoke(&self, who: XaeroID) -> Result<Acknowledged, Error> {
        self.revoke_as(self.own()?, who)
    }

    /// As [`revoke`](Self::revoke), by this identity of the node.
    ///
    /// # Errors
    /// As [`grant_as`](Self::grant_as).
    pub fn revoke_as(&self, author: XaeroID, who: XaeroID) -> Result<Acknowledged, Error> {
        self.act(author, Act::Revoke { target: who })
    }

    fn own(&self) -> Result<XaeroID, Error> {
        let core = self.core().ok_or(Error::NotRunning)?;
        Ok(core.node.engine()?.keyring.own()?)
    }

    fn act(&self, author: XaeroID, act: Act) -> Result<Acknowledged, Error> {
        if self.core().and_then(|core| core.running()).is_none() {
            return Err(Error::NotRunning);
        }
        let (engine, log) = self.log()?;
        let author = engine.keyring.writing_for(author).ok_or(PublishError::UnknownAuthor { id: author })?;
        match engine.ask(&log, Batch::Act { author, act })? {
            Outcome::Acted(acted) => Ok((*acted)?),
            _ => Err(StorageError::Closed.into()),
        }
    }
}
