//! The sync actor: the child of a subject that has it synced with peers.
//!
//! It offers the subject to the network, takes the streams that come of it, and has a [session](super::driver) run on each, on
//! the network's own threads. It holds nothing that matters: what was received is in the log, and a new incarnation
//! offers the subject again. With it end its sessions.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use actix::{Actor, ActorContext as _, AsyncContext, Context, Handler, Message, WeakRecipient};
use hashbrown::{HashMap, HashSet};
use tokio::task::AbortHandle;

use super::{
    driver::{Driver, Ending},
    hub::Hub,
    replica::Source,
    swarming::Swarmer,
};
use crate::{
    actors::{
        net::{NetHandle, PeerInfo, SubjectStream, Swarming},
        sync::swarm::limits::HANDFUL,
        watch::{ChildDied, ChildKind, DeathWatch, Kill},
    },
    subject::{core::Core, error::Error, notice::Notice},
    wire::{
        endpoint::PeerAddr,
        id::EndpointId,
        interest::ReplicaFilter,
        sync::{AnnounceKey, ByeReason},
        ticket::SubjectSecret,
    },
};

/// The first wait before a subject whose session failed is offered again: peers are asked for a new stream.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Peers that were refused and are remembered, so that each is told of once; beyond it all are forgotten.
const MOST_REFUSED: usize = 1_024;

/// A session that lasted so long was no failure in a row with the one before.
const LASTING: Duration = Duration::from_secs(60);

/// A session that has lasted so long is with a peer that keeps the rules, and where that was seen is remembered. Long
/// enough for one that does not to show itself.
const ESTABLISHED: Duration = Duration::from_secs(2);

/// Offer the subject under the secrets that it has now.
pub(crate) struct Offer;

impl Message for Offer {
    type Result = ();
}

/// End. That nobody has its address any more does not end an actor that waits for a time to come.
pub(crate) struct Quit;

impl Message for Quit {
    type Result = ();
}

/// A stream to a peer that shares the subject.
struct Arrived(SubjectStream);

impl Message for Arrived {
    type Result = ();
}

/// A session is [`ESTABLISHED`], if it still goes on.
struct Established(u64);

impl Message for Established {
    type Result = ();
}

/// A session is over.
struct Over {
    id: u64,
    peer: PeerInfo,
    ending: Ending,
    lasted: Duration,
}

impl Message for Over {
    type Result = ();
}

/// Has one subject synced.
pub(crate) struct SyncActor {
    core: Weak<Core>,
    source: Source,
    net: NetHandle,
    hub: Arc<Hub>,
    sessions: HashMap<u64, (PeerInfo, AbortHandle)>,
    /// Peers that were not served, and of whom that was told.
    refused: HashSet<EndpointId>,
    /// The number of the offer that holds.
    offered: Option<u64>,
    /// The secrets under which the subject was offered.
    secrets: Vec<SubjectSecret>,
    /// What part of the subject was kept when it was offered.
    filter: ReplicaFilter,
    /// What it does in its swarm.
    swarmer: Option<AbortHandle>,
    /// The wait before the next offer, while sessions fail in a row.
    wait: Duration,
    /// Whether an offer is on its way.
    offering: bool,
    _watch: DeathWatch,
}

impl SyncActor {
    pub(crate) fn new(
        core: &Arc<Core>,
        source: Source,
        net: NetHandle,
        hub: Arc<Hub>,
        incarnation: u64,
        supervisor: WeakRecipient<ChildDied>,
    ) -> Self {
        let watch = DeathWatch { child: ChildKind::Sync, incarnation, supervisor };
        Self {
            core: Arc::downgrade(core),
            source,
            net,
            hub,
            sessions: HashMap::new(),
            refused: HashSet::new(),
            offered: None,
            secrets: Vec::new(),
            filter: ReplicaFilter::all(),
            swarmer: None,
            wait: FIRST_WAIT,
            offering: false,
            _watch: watch,
        }
    }

    fn offer(&mut self, ctx: &Context<Self>) {
        let Some(engine) = self.source.engine.upgrade() else { return };
        let share = match engine.share(self.source.log.id) {
            Ok(share) => share,
            Err(error) => {
                tracing::error!(%error, subject = self.source.log.name, "the subject is not synced");
                return;
            }
        };
        let secrets: Vec<SubjectSecret> = share.iter().flat_map(|share| &share.secrets).cloned().collect();
        // Who knew a secret that is no longer in use is not served any more, unless it knows another.
        if self.secrets.iter().any(|secret| !secrets.contains(secret)) {
            self.end_sessions();
        }
        // Peers are told at the beginning what is kept here.
        let filter = share.as_ref().map(|share| share.filter.clone()).unwrap_or_default();
        let is_another_part = std::mem::replace(&mut self.filter, filter.clone()) != filter;
        if is_another_part {
            self.end_sessions();
        }
        let is_another_swarm = is_another_part || self.secrets.first() != secrets.first();
        self.secrets = secrets;
        let peers: Vec<PeerAddr> = share.iter().flat_map(|share| &share.peers).cloned().collect();
        if self.secrets.is_empty() {
            self.leave_swarm();
            self.withdraw();
            return;
        }
        if is_another_swarm {
            self.swarm(peers.clone());
        }
        for peer in &peers {
            if let Err(error) = self.net.add_peer(peer.clone()) {
                tracing::warn!(%error, "a peer of a ticket cannot be called");
            }
        }
        // The network must not keep the actor alive.
        let arrived = ctx.address().downgrade();
        let sink = move |stream| {
            if let Some(actor) = arrived.upgrade() {
                actor.do_send(Arrived(stream));
            }
        };
        self.offered = Some(self.net.share(self.source.log.id, self.secrets.clone(), Box::new(sink)));
    }

    /// Offers the subject no more.
    fn withdraw(&mut self) {
        if let Some(number) = self.offered.take() {
            self.net.unshare(self.source.log.id, number);
        }
    }

    /// Is in the swarm of the current secret from now on, if it is to be in any.
    fn swarm(&mut self, peers: Vec<PeerAddr>) {
        self.leave_swarm();
        let Some(secret) = self.secrets.first() else { return };
        // A part of a subject has another root than the whole, so that all others would visit who announces it, for nothing.
        if self.net.swarming() == Swarming::Never || !self.filter.is_all() {
            return;
        }
        let swarmer = Swarmer {
            source: self.source.clone(),
            hub: Arc::clone(&self.hub),
            net: self.net.clone(),
            key: AnnounceKey::new(secret),
            peers,
        };
        self.swarmer = Some(self.net.runtime().spawn(swarmer.run()).abort_handle());
    }

    fn leave_swarm(&mut self) {
        if let Some(swarmer) = self.swarmer.take() {
            swarmer.abort();
        }
    }

    fn end_sessions(&mut self) {
        for (_, (_, session)) in self.sessions.drain() {
            session.abort();
        }
        self.hub.clear();
    }

    /// Whether this peer is served. Where it is not, that is told, once for each peer.
    fn serves(&mut self, peer: &PeerInfo) -> bool {
        if self.source.log.may_read(peer.writer) {
            return true;
        }
        if self.refused.len() >= MOST_REFUSED {
            self.refused.clear();
        }
        if self.refused.insert(peer.endpoint) {
            self.tell(&Notice::PeerRefused { endpoint: peer.endpoint, writer: peer.writer });
        }
        false
    }

    fn tell(&self, notice: &Notice) {
        if let Some(core) = self.core.upgrade() {
            core.notices.tell(notice);
        }
    }

    /// Offers the subject again, after a wait that grows while sessions fail.
    fn offer_later(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.offering, true) {
            return;
        }
        ctx.notify_later(Offer, self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }
}

impl Actor for SyncActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.offer(ctx);
    }
}

impl Drop for SyncActor {
    fn drop(&mut self) {
        self.leave_swarm();
        self.withdraw();
        self.end_sessions();
    }
}

impl Handler<Offer> for SyncActor {
    type Result = ();

    fn handle(&mut self, _: Offer, ctx: &mut Self::Context) {
        self.offering = false;
        self.offer(ctx);
    }
}

impl Handler<Arrived> for SyncActor {
    type Result = ();

    fn handle(&mut self, Arrived(stream): Arrived, ctx: &mut Self::Context) {
        let peer = stream.peer.clone();
        if !self.serves(&peer) {
            stream.reset(ByeReason::Refused);
            return;
        }
        let peer_info = peer.clone();
        let (id, told) = self.hub.join(peer.clone());
        let driver = Driver {
            source: self.source.for_session(),
            core: Weak::clone(&self.core),
            hub: Arc::clone(&self.hub),
            id,
            told,
        };
        let actor = ctx.address().downgrade();
        let begun = std::time::Instant::now();
        let session = self.net.runtime().spawn(async move {
            let ending = driver.run(stream).await;
            if let Some(actor) = actor.upgrade() {
                actor.do_send(Over { id, peer, ending, lasted: begun.elapsed() });
            }
        });
        self.sessions.insert(id, (peer_info, session.abort_handle()));
        ctx.notify_later(Established(id), ESTABLISHED);
    }
}

impl Handler<Established> for SyncActor {
    type Result = ();

    fn handle(&mut self, Established(id): Established, _: &mut Self::Context) {
        if let Some((peer, _)) = self.sessions.get(&id)
            && let Some(addr) = peer.addr
        {
            let seen = PeerAddr { addrs: vec![addr], ..PeerAddr::new(peer.endpoint) }.normalized();
            let (source, net) = (self.source.clone(), self.net.clone());
            // In a swarm most come for a visit: a handful of peers to find the others by is all that is needed.
            let most = if self.hub.is_in_swarm() { HANDFUL } else { usize::MAX };
            // It waits for the disk.
            self.net.runtime().spawn_blocking(move || remember(&source, &net, seen, most));
        }
    }
}

/// Remembers where a peer was seen, and calls it there from now on when it is gone: a ticket has taken one side to the
/// other, but it is either that may come back under another address. A peer that is not known yet only as long as fewer than
/// `most` are.
fn remember(source: &Source, net: &NetHandle, seen: PeerAddr, most: usize) {
    let Some(engine) = source.engine.upgrade() else { return };
    let remembered = engine.share(source.log.id).map_err(Error::from).and_then(|share| {
        let known: Vec<&PeerAddr> = share.iter().flat_map(|share| &share.peers).collect();
        let is_it = |known: &&&PeerAddr| known.endpoint == seen.endpoint;
        let is_enough = match known.iter().find(is_it) {
            Some(known) => seen.addrs.iter().all(|addr| known.addrs.contains(addr)),
            None => known.len() >= most,
        };
        if is_enough {
            return Ok(());
        }
        net.add_peer(seen.clone())?;
        engine.remember_peers(source.log.id, &[seen])
    });
    if let Err(error) = remembered {
        tracing::warn!(%error, subject = source.log.name, "where a peer was seen is not remembered");
    }
}

impl Handler<Over> for SyncActor {
    type Result = ();

    fn handle(&mut self, Over { id, peer, ending, lasted }: Over, ctx: &mut Self::Context) {
        self.sessions.remove(&id);
        if lasted >= LASTING {
            self.wait = FIRST_WAIT;
        }
        match ending {
            Ending::Offence(what) => {
                let (endpoint, writer) = (peer.endpoint, peer.writer);
                self.tell(&Notice::PeerCutOff { endpoint, writer, what: what.clone() });
                self.net.report_offence(peer.endpoint, what);
            }
            // The node is stopping, and nothing is wrong.
            Ending::Failed(_) if self.core.upgrade().is_none_or(|core| core.data.is_closed()) => {}
            Ending::Failed(reason) => {
                tracing::warn!(%reason, peer = %peer.endpoint, subject = self.source.log.name, "a session with a peer failed");
                self.offer_later(ctx);
            }
            Ending::NotServed => {
                if self.refused.insert(peer.endpoint) {
                    self.tell(&Notice::NotServed { endpoint: peer.endpoint, writer: peer.writer });
                }
            }
            Ending::Refused => drop(self.serves(&peer)),
            // The peer says when there is to be another one, or its connection is gone.
            Ending::Over => {}
        }
    }
}

impl Handler<Quit> for SyncActor {
    type Result = ();

    fn handle(&mut self, _: Quit, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Kill> for SyncActor {
    type Result = ();

    fn handle(&mut self, _: Kill, _: &mut Self::Context) {
        Kill::strike()
    }
}
