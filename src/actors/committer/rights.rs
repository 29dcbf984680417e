//! What the writer does about rights in owned subjects.
//!
//! The control events of a subject are kept in memory, and in rows of their own, so that a start need not look for them in
//! the log. Structure is asked about when an event is appended; what counts is made anew at the end of a transaction that has
//! brought a control event or a fork, however many it brought.

use std::sync::Arc;

use thiserror::Error;

use super::{
    submission::Act,
    writer::{LocalEvent, LogWriter},
};
use crate::{
    actors::{
        bus::{Acknowledged, PublishError},
        storage::{
            StorageError, control,
            cuts::Cuts,
            keys::{self, SubjectNumber},
            lmdb::{Reads, Table, WriteTxn},
            open::SubjectLog,
            shares::Share,
        },
    },
    crdt::rights::{Charter, ControlEvent, Members, Standing},
    wire::{
        control::{Control, Genesis, Grant, Join, Revoke, Role},
        id::{Dot, SubjectId, XaeroID},
        ticket::SubjectKind,
    },
};

/// Why a role was not given or taken.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum RightsError {
    /// The subject is an open one.
    #[error(
        "this subject is open to everybody who shares it, and has no members: create one with create_owned or --owned"
    )]
    NotOwned,
    /// There is a log already.
    #[error("this subject has begun already: create another one under another name")]
    Begun,
    /// Who acts is neither creator nor owner.
    #[error("{author} is no owner of this subject, and cannot give or take roles in it: act as one that is")]
    NotAnOwner {
        /// Who acts.
        author: XaeroID,
    },
    /// The target has no role.
    #[error("{target} has no role in this subject that could be taken: see its members")]
    NotAMember {
        /// The target.
        target: XaeroID,
    },
    /// The target is the creator.
    #[error("{creator} is the creator of this subject, whose role nobody gives or takes")]
    IsTheCreator {
        /// The creator.
        creator: XaeroID,
    },
    /// The target is an owner, and who acts is not the creator.
    #[error("{target} is an owner of this subject: only its creator takes that role")]
    IsAnOwner {
        /// The target.
        target: XaeroID,
    },
    /// The target was revoked.
    #[error("{target} was revoked, and a key that was revoked stays so: grant the role to a new key")]
    WasRevoked {
        /// The target.
        target: XaeroID,
    },
    /// The target has begun to write with another role.
    #[error(
        "{target} has joined as a {role}, and a key that has joined keeps its role: grant another role to a new key"
    )]
    HasJoined {
        /// The target.
        target: XaeroID,
        /// The role that it has.
        role: Role,
    },
    /// The target's log is not kept here.
    #[error(
        "this node keeps a part of the subject without the events of {target}, and cannot tell which of them are to count: give and take roles on a node that has all"
    )]
    LeftOut {
        /// The target.
        target: XaeroID,
    },
    /// The event was not stored.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Rights in an owned subject in use.
pub(crate) struct Rights {
    pub(super) charter: Charter,
    pub(super) members: Arc<Members>,
    /// Whether control events or forks have come since the members were made.
    pub(super) is_stale: bool,
}

impl Rights {
    /// Of the subject with these control events; `None` where it is an open one.
    pub(super) fn load(
        txn: &impl Reads,
        id: SubjectId,
        number: Option<SubjectNumber>,
        is_owned: impl FnOnce() -> Result<bool, StorageError>,
        cuts: &mut Cuts,
    ) -> Result<Option<Box<Self>>, StorageError> {
        let events = number.map(|number| control::load(txn, number)).transpose()?.unwrap_or_default();
        // What has a genesis is owned, whatever else may be lost.
        if events.is_empty() && !is_owned()? {
            return Ok(None);
        }
        let mut charter = Charter::new(id);
        events.into_iter().for_each(|event| charter.add(event));
        let mut rights = Self { charter, members: Arc::default(), is_stale: true };
        *cuts = rights.refresh(cuts);
        Ok(Some(Box::new(rights)))
    }

    /// Finds out again what counts, and returns where logs end by it.
    fn refresh(&mut self, cuts: &Cuts) -> Cuts {
        self.members = Arc::new(Members::of(&self.charter, |author| cuts.fork(author)));
        self.is_stale = false;
        cuts.with_rights(self.members.cuts())
    }
}

impl LogWriter {
    /// Notes a control event that is being appended with this ordinal.
    pub(super) fn note_control(
        &mut self,
        txn: &mut WriteTxn<'_>,
        id: SubjectId,
        ordinal: u64,
        event: ControlEvent,
    ) -> Result<(), StorageError> {
        let Some(subject) = self.subjects.get_mut(&id) else { return Ok(()) };
        let Some(rights) = &mut subject.rights else { return Ok(()) };
        txn.put(Table::Control, &keys::control(subject.head.number, ordinal), &control::encode(&event))?;
        rights.charter.add(event);
        rights.is_stale = true;
        Ok(())
    }

    /// Notes that a fork has come.
    pub(super) fn doubt_rights(&mut self, id: SubjectId) {
        if let Some(rights) = self.subjects.get_mut(&id).and_then(|subject| subject.rights.as_mut()) {
            rights.is_stale = true;
        }
    }

    /// Finds out what counts, where that may have changed.
    pub(super) fn refresh_rights(&mut self, txn: &mut WriteTxn<'_>, id: SubjectId) -> Result<(), StorageError> {
        let Some(subject) = self.subjects.get_mut(&id) else { return Ok(()) };
        let Some(rights) = subject.rights.as_mut().filter(|rights| rights.is_stale) else { return Ok(()) };
        let cuts = rights.refresh(&subject.head.cuts);
        if cuts != subject.head.cuts {
            subject.head.cuts = cuts;
            let number = subject.head.number;
            self.touch_known(id);
            drop_snapshots(txn, number)?;
        }
        // A local writer whose log has forked may have got the right to go on under another key.
        self.want_healed(&*txn, id)
    }

    /// Has the author admitted, where the subject is an owned one: who has a right but no event yet joins.
    pub(super) fn admit_author(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        author: XaeroID,
        now_ms: u64,
    ) -> Result<Result<(), PublishError>, StorageError> {
        self.refresh_rights(txn, log.id)?;
        let Some(rights) = self.subjects.get(&log.id).and_then(|subject| subject.rights.as_ref()) else {
            return Ok(Ok(()));
        };
        match rights.members.standing(author) {
            Standing::Writes => Ok(Ok(())),
            Standing::Denied(denial) => Ok(Err(PublishError::NoRight { author, denial })),
            Standing::MayJoin(grant) => {
                let written = self.write_control(txn, log, author, Control::Join(Join { grant }), now_ms)?;
                if written.is_ok() {
                    // Of the batch that is being written, it is no event.
                    self.ids.pop();
                }
                self.refresh_rights(txn, log.id)?;
                Ok(written.map(drop))
            }
        }
    }

    /// Appends a control record of a local author. Its id is the last of those that are hashed.
    fn write_control(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        author: XaeroID,
        control: Control,
        now_ms: u64,
    ) -> Result<Result<Dot, PublishError>, StorageError> {
        let payload = control.encode();
        let hash = blake3::hash(&payload);
        let event = LocalEvent {
            author,
            latest_ts: None,
            event_type: control.event_type(),
            payload: &payload,
            payload_hash: hash.as_bytes(),
        };
        let ordinal = self.subjects.get(&log.id).map_or(0, |subject| subject.head.count);
        let dot = match self.append_local(txn, log, &event, now_ms)? {
            Ok(dot) => dot,
            Err(error) => return Ok(Err(error)),
        };
        // Before anything is let in by it: a join may have waited for the grant.
        self.note_control(txn, log.id, ordinal, ControlEvent { dot, control })?;
        self.hash_ids(log.id);
        self.let_in(txn, log.id, dot, now_ms)?;
        Ok(Ok(dot))
    }

    /// Does what a local owner wants done about roles.
    pub(super) fn act(
        &mut self,
        txn: &mut WriteTxn<'_>,
        log: &SubjectLog,
        (author, act): (XaeroID, Act),
        now_ms: u64,
    ) -> Result<Result<Acknowledged, RightsError>, StorageError> {
        self.release_held(txn, log.id, now_ms)?;
        if let Act::Create(nonce) = act {
            self.begin(log.id, Genesis { creator: author, nonce });
        }
        self.refresh_rights(txn, log.id)?;
        let control = match self.control_of(log.id, author, act) {
            Ok(control) => control,
            Err(error) => return Ok(Err(error)),
        };
        self.touch(txn, log)?;
        if !matches!(control, Control::Genesis(_))
            && let Err(error) = self.admit_author(txn, log, author, now_ms)?
        {
            return Ok(Err(error.into()));
        }
        let dot = match self.write_control(txn, log, author, control, now_ms)? {
            Ok(dot) => dot,
            Err(error) => return Ok(Err(error.into())),
        };
        let id = self.ids.pop();
        self.ids.clear();
        self.refresh_rights(txn, log.id)?;
        let missing = || StorageError::Engine { action: "writing a control record", reason: "it got no id".to_owned() };
        Ok(Ok(Acknowledged { author, seq: dot.seq, id: id.ok_or_else(missing)? }))
    }

    /// A subject of which there is nothing yet begins with this genesis.
    fn begin(&mut self, id: SubjectId, genesis: Genesis) {
        if genesis.subject_id() == id {
            self.own(id);
        }
    }

    /// A subject gets this row in the table of those that are shared.
    pub(super) fn note_share(&mut self, id: SubjectId, row: &[u8]) {
        let Some(share) = Share::decode(id.as_bytes(), row) else { return };
        if share.kind == SubjectKind::Owned {
            self.own(id);
        }
        if let Some(subject) = self.subjects.get_mut(&id) {
            subject.head.partial = Some(share.filter).filter(|filter| !filter.is_all()).map(Arc::new);
        }
    }

    /// A subject of which there is no event is an owned one.
    fn own(&mut self, id: SubjectId) {
        if let Some(subject) = self.subjects.get_mut(&id)
            && subject.rights.is_none()
            && subject.head.count == 0
        {
            let charter = Charter::new(id);
            subject.rights = Some(Box::new(Rights { charter, members: Arc::default(), is_stale: true }));
        }
    }

    /// The subjects of which this transaction has changed who may do what.
    pub(super) fn with_stale_rights(&self) -> Vec<SubjectId> {
        let is_stale = |id: &&SubjectId| {
            let rights = self.subjects.get(*id).and_then(|subject| subject.rights.as_ref());
            rights.is_some_and(|rights| rights.is_stale)
        };
        self.touched.iter().filter(is_stale).copied().collect()
    }

    /// The record of an act, if the author may do it.
    fn control_of(&self, id: SubjectId, author: XaeroID, act: Act) -> Result<Control, RightsError> {
        let subject = self.subjects.get(&id).ok_or(RightsError::NotOwned)?;
        let rights = subject.rights.as_ref().ok_or(RightsError::NotOwned)?;
        if subject.waiting.authors().contains(&author) {
            return Err(PublishError::Behind { author }.into());
        }
        if let Some(last_valid) = subject.head.cuts.fork(author) {
            return Err(PublishError::Forked { author, last_valid }.into());
        }
        let (grantee, wanted) = match act {
            Act::Create(nonce) => {
                let genesis = Genesis { creator: author, nonce };
                let is_new = subject.head.count == 0 && genesis.subject_id() == id;
                return is_new.then_some(Control::Genesis(genesis)).ok_or(RightsError::Begun);
            }
            Act::Grant { grantee, role } => (grantee, Some(role)),
            Act::Revoke { target } => (target, None),
        };
        let not_an_owner = RightsError::NotAnOwner { author };
        let own = rights.members.get(author).filter(|own| own.role == Role::Owner && !own.is_revoked);
        let authority = own.ok_or(not_an_owner)?.grant;
        if rights.charter.creator() == Some(grantee) {
            return Err(RightsError::IsTheCreator { creator: grantee });
        }
        // What is not here of a log would be cut off with the role.
        let is_here = self.is_local(grantee) || rights.charter.is_owner(grantee);
        if !is_here && subject.head.partial.as_ref().is_some_and(|filter| !filter.takes_author(grantee)) {
            return Err(RightsError::LeftOut { target: grantee });
        }
        let known = rights.members.get(grantee);
        let is_revoked = subject.head.cuts.revoked().any(|(author, _)| author == grantee);
        let Some(role) = wanted else {
            return match known {
                None => Err(RightsError::NotAMember { target: grantee }),
                Some(known) if known.role == Role::Owner && authority.is_some() => {
                    Err(RightsError::IsAnOwner { target: grantee })
                }
                Some(_) => {
                    // What is here of the target's log stays, as far as it counts now.
                    let here = subject.head.author(grantee).1.seq;
                    let last_valid = subject.head.cuts.last_valid(grantee).map_or(here, |last| last.min(here));
                    Ok(Control::Revoke(Revoke { target: grantee, last_valid, authority }))
                }
            };
        };
        if is_revoked {
            return Err(RightsError::WasRevoked { target: grantee });
        }
        match known.filter(|known| known.role != role && rights.charter.joined(grantee).is_some()) {
            Some(known) => Err(RightsError::HasJoined { target: grantee, role: known.role }),
            None => Ok(Control::Grant(Grant { grantee, role, authority })),
        }
    }
}

/// Deletes the states of folds that are saved: they may hold what counts no more, or lack what counts again.
pub(super) fn drop_snapshots(txn: &mut WriteTxn<'_>, number: SubjectNumber) -> Result<(), StorageError> {
    let mut stale: Vec<Vec<u8>> = Vec::new();
    txn.scan(Table::Snapshots, &number.key(), &mut |key, _| {
        let is_ours = key.starts_with(&number.key());
        if is_ours {
            stale.push(key.to_vec());
        }
        Ok(is_ours)
    })?;
    stale.iter().try_for_each(|key| txn.delete(Table::Snapshots, key))
}
