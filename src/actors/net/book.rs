//! What is known of the peers: which are connected, which are to be called and when, what they did wrong.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use hashbrown::HashMap;
use iroh::endpoint::Connection;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{
    PeerStatus,
    ended::Ended,
    endpoint,
    limits::MAX_KNOWN_PEERS,
    limits::MAX_REMARK,
    streams::{PeerInfo, Slots},
};
use crate::wire::{
    endpoint::PeerAddr,
    id::{EndpointId, XaeroID},
    sync::{ByeReason, Role},
};

/// The wait before a peer that could not be reached is called again, at first.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest of these waits.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The wait before a peer is called whose connection was superseded by another one: that one should be there.
const DUPLICATE_WAIT: Duration = Duration::from_secs(1);

/// The peers of a node.
#[derive(Debug)]
pub(super) struct Book {
    me: EndpointId,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    peers: HashMap<EndpointId, Peer>,
    connections: u64,
    /// Of connections whose peers were forgotten.
    sent: u64,
}

#[derive(Debug)]
struct Peer {
    /// Where it is called, if it is to be.
    addr: Option<PeerAddr>,
    writer: Option<XaeroID>,
    live: Option<Live>,
    calling: bool,
    failures: u32,
    call_at: Instant,
    error: Option<String>,
    offences: u64,
    offence: Option<String>,
    /// Of connections that are gone.
    sent: u64,
    received: u64,
    seen: Instant,
}

#[derive(Debug)]
struct Live {
    number: u64,
    connection: Connection,
    role: Role,
    since: SystemTime,
    post_quantum: Option<bool>,
    slots: Slots,
    end: Option<oneshot::Sender<Ended>>,
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            addr: None,
            writer: None,
            live: None,
            calling: false,
            failures: 0,
            call_at: now,
            error: None,
            offences: 0,
            offence: None,
            sent: 0,
            received: 0,
            seen: now,
        }
    }

    fn end(&mut self, ended: Ended) {
        if let Some(end) = self.live.as_mut().and_then(|live| live.end.take()) {
            // It has ended already.
            let _ = end.send(ended);
        }
    }
}

/// The one connection to a peer, as long as it is held.
pub(super) struct Admission<'a> {
    book: &'a Book,
    endpoint: EndpointId,
    number: u64,
    /// Told when the connection is to end.
    pub(super) ended: oneshot::Receiver<Ended>,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.book.lock();
            let Some(peer) = state.peers.get_mut(&self.endpoint) else { return };
            peer.seen = Instant::now();
            if let Some(live) = peer.live.take_if(|live| live.number == self.number) {
                peer.count(&live.connection);
            }
        }
        self.book.tell();
    }
}

impl Peer {
    fn count(&mut self, connection: &Connection) {
        let stats = connection.stats();
        self.sent = self.sent.saturating_add(stats.udp_tx.bytes);
        self.received = self.received.saturating_add(stats.udp_rx.bytes);
    }
}

impl Book {
    pub(super) fn new(me: EndpointId) -> Self {
        Self { me, state: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// A peer to keep a connection to.
    pub(super) fn add(&self, addr: PeerAddr) {
        if addr.endpoint == self.me {
            return;
        }
        let now = Instant::now();
        {
            let mut state = self.lock();
            let peer = state.peers.entry(addr.endpoint).or_insert_with(|| Peer::new(now));
            // Of an address that is out of date and one that is not, nobody can tell which is which: both are called.
            peer.addr = Some(match peer.addr.take() {
                Some(known) => known.joined(addr),
                None => addr,
            });
            peer.call_at = now;
            peer.failures = 0;
        }
        self.tell();
    }

    /// The peers that are to be called now, and when to ask again.
    pub(super) fn due(&self, now: Instant) -> (Vec<PeerAddr>, Option<Instant>) {
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        for peer in self.lock().peers.values_mut() {
            let Some(addr) = peer.addr.as_ref().filter(|_| peer.live.is_none() && !peer.calling) else { continue };
            if peer.call_at <= now {
                due.push(addr.clone());
                peer.calling = true;
            } else {
                next = Some(next.map_or(peer.call_at, |next| next.min(peer.call_at)));
            }
        }
        (due, next)
    }

    /// A call is over, the connection that came of it too. `random` is for the jitter.
    pub(super) fn called(&self, endpoint: EndpointId, ended: &Ended, connected: bool, random: u64) {
        {
            let now = Instant::now();
            let mut state = self.lock();
            let Some(peer) = state.peers.get_mut(&endpoint) else { return };
            peer.calling = false;
            let wait = if matches!(ended, Ended::Duplicate | Ended::ByPeer(ByeReason::Duplicate, _)) {
                DUPLICATE_WAIT
            } else if connected {
                peer.failures = 0;
                FIRST_WAIT
            } else {
                peer.failures = peer.failures.saturating_add(1);
                let doubled = FIRST_WAIT.saturating_mul(1_u32.checked_shl(peer.failures).unwrap_or(u32::MAX));
                doubled.min(LONGEST_WAIT)
            };
            let half = wait / 2;
            let share = f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
            peer.call_at = now + half + half.mul_f64(share);
        }
        self.tell();
    }

    /// Nothing is being called any more: whoever did is gone.
    pub(super) fn nobody_calls(&self) {
        for peer in self.lock().peers.values_mut() {
            peer.calling = false;
        }
    }

    /// A peer has shown who it is. Of two connections between the same two nodes one stays: the newer one of two in
    /// the same direction, since whoever calls again has lost the former; of two in opposite directions the one that the
    /// smaller endpoint has made, so that both sides keep the same.
    pub(super) fn admit(
        &self,
        info: &PeerInfo,
        connection: &Connection,
        slots: &Slots,
    ) -> Result<Admission<'_>, Ended> {
        let (end, ended) = oneshot::channel();
        let endpoint = info.endpoint;
        let number = {
            let now = Instant::now();
            let mut state = self.lock();
            state.connections += 1;
            let number = state.connections;
            let peer = state.peers.entry(endpoint).or_insert_with(|| Peer::new(now));
            if let Some(live) = &peer.live {
                let dialer = |role| if role == Role::Dialer { self.me } else { endpoint };
                if live.role != info.role && dialer(live.role) < dialer(info.role) {
                    return Err(Ended::Duplicate);
                }
                peer.end(Ended::Duplicate);
                if let Some(live) = peer.live.take() {
                    peer.count(&live.connection);
                }
            }
            peer.writer = Some(info.writer);
            peer.seen = now;
            peer.error = None;
            peer.live = Some(Live {
                number,
                connection: connection.clone(),
                role: info.role,
                since: SystemTime::now(),
                post_quantum: info.post_quantum,
                slots: slots.clone(),
                end: Some(end),
            });
            state.forget_strangers();
            number
        };
        self.tell();
        Ok(Admission { book: self, endpoint, number, ended })
    }

    /// Remembers how a connection, or the attempt at one, ended.
    pub(super) fn note(&self, endpoint: EndpointId, writer: Option<XaeroID>, ended: &Ended) {
        let Some(error) = ended.error() else { return };
        {
            let now = Instant::now();
            let mut state = self.lock();
            let peer = state.peers.entry(endpoint).or_insert_with(|| Peer::new(now));
            peer.seen = now;
            peer.writer = writer.or(peer.writer);
            let remark: String = error.chars().take(MAX_REMARK).collect();
            if matches!(ended, Ended::Offence(_)) {
                peer.offences = peer.offences.saturating_add(1);
                peer.offence = Some(remark.clone());
                let writer = peer.writer.map(|writer| writer.to_string());
                tracing::warn!(%endpoint, writer, offence = %remark, "a peer broke the protocol and was cut off");
            } else {
                tracing::debug!(%endpoint, error = %remark, "a connection ended");
            }
            peer.error = Some(remark);
            state.forget_strangers();
        }
        self.tell();
    }

    /// Ends the connection to a peer.
    pub(super) fn end(&self, endpoint: EndpointId, ended: Ended) -> bool {
        let mut state = self.lock();
        let Some(peer) = state.peers.get_mut(&endpoint).filter(|peer| peer.live.is_some()) else { return false };
        peer.end(ended);
        true
    }

    /// What is known of all peers, by endpoint.
    pub(super) fn statuses(&self) -> Vec<PeerStatus> {
        let state = self.lock();
        let mut all: Vec<PeerStatus> = state.peers.iter().map(|(endpoint, peer)| peer.status(*endpoint)).collect();
        all.sort_by_key(|status| status.endpoint);
        all
    }

    /// Bytes that were sent to all peers.
    pub(super) fn sent(&self) -> u64 {
        let state = self.lock();
        let each = state
            .peers
            .values()
            .map(|peer| peer.sent + peer.live.as_ref().map_or(0, |live| live.connection.stats().udp_tx.bytes));
        each.fold(state.sent, u64::saturating_add)
    }

    /// Tells of changes.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets the stranger that was seen longest ago, where there are too many.
    fn forget_strangers(&mut self) {
        while self.peers.len() > MAX_KNOWN_PEERS {
            let strangers = self.peers.iter().filter(|(_, peer)| peer.live.is_none() && peer.addr.is_none());
            let Some(oldest) = strangers.min_by_key(|(_, peer)| peer.seen).map(|(endpoint, _)| *endpoint) else {
                return;
            };
            if let Some(peer) = self.peers.remove(&oldest) {
                self.sent = self.sent.saturating_add(peer.sent);
            }
        }
    }
}

impl Peer {
    fn status(&self, endpoint: EndpointId) -> PeerStatus {
        let live = self.live.as_ref();
        let stats = live.map(|live| live.connection.stats());
        let (sent, received) = stats.map_or((0, 0), |stats| (stats.udp_tx.bytes, stats.udp_rx.bytes));
        let paths = live.map(|live| live.connection.paths());
        let used = paths.as_ref().and_then(|paths| paths.iter().find(iroh::endpoint::Path::is_selected));
        PeerStatus {
            endpoint,
            writer: self.writer,
            addr: live.and_then(|live| endpoint::remote_addr(&live.connection)),
            connected_since: live.map(|live| live.since),
            role: live.map(|live| live.role),
            post_quantum: live.and_then(|live| live.post_quantum),
            subjects: live.map_or(0, |live| live.slots.taken()),
            bytes_sent: self.sent.saturating_add(sent),
            bytes_received: self.received.saturating_add(received),
            round_trip: used.map(|path| path.rtt()),
            last_error: self.error.clone(),
            offences: self.offences,
            last_offence: self.offence.clone(),
        }
    }
}
