//! A subject in its swarm: the shell of [`Swarm`], which decides.
//!
//! One task a subject, on the network's threads. Each peer is told who else shares the subject, as far as this node knows; where
//! there are no more than a handful, nothing else is done. In the swarm it looks at the log when that has grown, says what is here, and hears what others have. What
//! is visited enters the book of peers like any other peer; the session on that connection is an ordinary one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    hub::Hub,
    replica::{Look, Source},
};
use crate::{
    actors::{
        net::{Heard, NetHandle, SwarmLink, Swarming},
        storage::StorageError,
        sync::swarm::{Action, Swarm},
    },
    wire::{
        endpoint::{PeerAddr, merged},
        id::EndpointId,
        sync::{AnnounceKey, Announcement},
    },
};

/// Between two looks at a log that keeps growing.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Between two reckonings of who shares the subject. What changes is told on from peer to peer, six times at most, and nobody waits
/// for it.
const COMPANY_PAUSE: Duration = Duration::from_secs(1);

/// Members by whose way a swarm is joined.
const MOST_MEMBERS: usize = 16;

/// What the task works with.
pub(super) struct Swarmer {
    pub(super) source: Source,
    pub(super) hub: Arc<Hub>,
    pub(super) net: NetHandle,
    /// Of the subject's current secret.
    pub(super) key: AnnounceKey,
    /// The peers of tickets.
    pub(super) peers: Vec<PeerAddr>,
}

/// Ends the visits, however the task ends.
struct Visits {
    hub: Arc<Hub>,
    net: NetHandle,
    visited: BTreeSet<EndpointId>,
}

impl Drop for Visits {
    fn drop(&mut self) {
        let _ = self.hub.note_swarm(None);
        for endpoint in &self.visited {
            self.net.part(*endpoint);
        }
    }
}

/// What happened.
enum Event {
    Heard(Option<Heard>),
    Peers,
    Grown,
    Time,
}

impl Swarmer {
    /// Runs for as long as the subject is shared under that secret; it is ended by force.
    pub(super) async fn run(self) {
        let forced = match self.net.swarming() {
            Swarming::Auto => None,
            Swarming::Always => Some(true),
            Swarming::Never => return,
        };
        let (begun, mut out) = (Instant::now(), Vec::new());
        let mut swarm = Swarm::new(self.net.endpoint_id(), forced);
        let mut visits = Visits { hub: Arc::clone(&self.hub), net: self.net.clone(), visited: BTreeSet::new() };
        let mut link: Option<SwarmLink> = None;
        let (mut commits, mut look_at) = (self.source.log.commits(), None);
        let (mut company_at, mut company_after) = (Some(begun), begun);
        // Members that peers have told of.
        let mut told: Vec<PeerAddr> = Vec::new();
        loop {
            for action in std::mem::take(&mut out) {
                match action {
                    Action::Join => match self.net.swarm(*self.key.topic(), &self.members(&told)).await {
                        Ok(joined) => {
                            link = Some(joined);
                            look_at = Some(Instant::now());
                        }
                        Err(error) => {
                            tracing::debug!(%error, subject = self.source.log.name, "the swarm could not be joined");
                            swarm.lost(begun.elapsed(), random());
                        }
                    },
                    Action::Leave => link = None,
                    Action::Seek => self.seek(&swarm, link.as_ref(), &told).await,
                    Action::Announce { to_all } => self.announce(&swarm, link.as_ref(), to_all).await,
                    Action::Visit(peer) => {
                        let endpoint = peer.endpoint;
                        match self.net.visit(peer) {
                            Ok(()) => drop(visits.visited.insert(endpoint)),
                            Err(error) => tracing::debug!(%error, "a member of a swarm cannot be visited"),
                        }
                    }
                    Action::Part(endpoint) => {
                        if visits.visited.remove(&endpoint) {
                            self.net.part(endpoint);
                        }
                    }
                    Action::Mute(endpoint) => {
                        tracing::warn!(%endpoint, counts = ?swarm.counts(), "a neighbour in a swarm says too much and is not heard");
                        self.net.mute(endpoint);
                    }
                    Action::Offence(endpoint) => {
                        self.net.report_offence(endpoint, "it told a swarm what no member of it has made");
                    }
                }
            }
            let count = link.as_ref().map(|link| link.neighbours().len());
            let former = self.hub.note_swarm(count);
            if former.is_some() != count.is_some() {
                company_at = Some(company_after);
            }
            if former != count {
                swarm.neighbours(begun.elapsed(), count.unwrap_or(0));
                tracing::debug!(subject = self.source.log.name, neighbours = count, "in a swarm");
            }
            let next = swarm.next().and_then(|next| begun.checked_add(next));
            let next = next.into_iter().chain(company_at).chain(look_at).min();
            let event = tokio::select! {
                said = hear(&mut link) => Event::Heard(said),
                () = self.hub.changed() => Event::Peers,
                Ok(()) = commits.changed(), if link.is_some() && look_at.is_none() => Event::Grown,
                () = sleep_until(next) => Event::Time,
            };
            let now = begun.elapsed();
            match event {
                Event::Heard(Some(Heard::Message { bytes, from, is_own })) => {
                    swarm.heard(now, (from, is_own), || Announcement::open(&bytes, &self.key), random(), &mut out);
                }
                Event::Heard(Some(Heard::Up)) => {
                    swarm.neighbour_up(now, random());
                    company_at = Some(company_after);
                }
                Event::Heard(Some(Heard::Down)) | Event::Peers => company_at = Some(company_after),
                Event::Heard(Some(Heard::Lagged)) => swarm.lagged(now, random()),
                Event::Heard(None) => {
                    link = None;
                    swarm.lost(now, random());
                }
                Event::Grown => {
                    look_at = Instant::now().checked_add(LOOK_PAUSE);
                }
                Event::Time => {}
            }
            if company_at.is_some_and(|at| at <= Instant::now()) {
                company_at = None;
                company_after = Instant::now().checked_add(COMPANY_PAUSE).unwrap_or(begun);
                let neighbours = link.as_ref().map(SwarmLink::neighbours).unwrap_or_default();
                let company = self.hub.company(self.net.endpoint_id(), &neighbours);
                self.hub.tell_others(&company);
                told = company.told();
                swarm.peers(begun.elapsed(), company.count(self.peers.iter().map(|peer| &peer.endpoint)), &mut out);
            }
            if look_at.is_some_and(|at| at <= Instant::now()) {
                look_at = None;
                commits.mark_unchanged();
                match self.look().await {
                    Ok(look) => swarm.looked(begun.elapsed(), look.summary.root, look.summary.events, random()),
                    // The log closes, or the next growth has another look.
                    Err(error) => tracing::debug!(%error, "a log could not be looked at for its swarm"),
                }
            }
            let now = begun.elapsed();
            if swarm.next().is_some_and(|next| next <= now) {
                swarm.time(now, &self.hub.brought(), random(), &mut out);
            }
        }
    }

    /// Members by whose way the swarm is joined: peers with a session, those of whom these have told, and those of tickets.
    fn members(&self, told: &[PeerAddr]) -> Vec<PeerAddr> {
        let connected = self.hub.peers();
        merged(connected.iter().chain(told).chain(&self.peers), MOST_MEMBERS)
    }

    /// Asks for neighbours: members that are known, and a neighbour, which passes that on to somebody else.
    async fn seek(&self, swarm: &Swarm, link: Option<&SwarmLink>, told: &[PeerAddr]) {
        let Some(link) = link else { return };
        let neighbours: Vec<PeerAddr> = link.neighbours().into_iter().map(PeerAddr::new).collect();
        // Of the peers nobody knows whether they are in the swarm: they are called only where there is nobody else.
        let peers = if neighbours.is_empty() { self.members(&[]) } else { Vec::new() };
        let members = neighbours.iter().chain(told).chain(swarm.recent()).chain(&peers);
        link.invite(&merged(members, MOST_MEMBERS)).await;
    }

    async fn announce(&self, swarm: &Swarm, link: Option<&SwarmLink>, to_all: bool) {
        let (Some((root, events)), Some(link)) = (swarm.head(), link) else { return };
        let said = Announcement::new(random().to_le_bytes(), root, events, &self.net.addr());
        if let Err(error) = link.say(said.seal(&self.key), to_all).await {
            tracing::debug!(%error, subject = self.source.log.name, "the swarm was told nothing");
        }
    }

    async fn look(&self) -> Result<Look, StorageError> {
        let source = self.source.clone();
        let looked = tokio::task::spawn_blocking(move || source.open()?.look()).await;
        looked.unwrap_or_else(|error| {
            let reason = format!("the look ended in a panic, or was given up: {error}");
            Err(StorageError::Engine { action: "looking at the log for its swarm", reason })
        })
    }
}

/// 64 random bits. Without any it is as if all nodes threw the same dice, and no announcement is like another by its root.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}

async fn hear(link: &mut Option<SwarmLink>) -> Option<Heard> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
