//! What is known of the peers: which are connected, which are to be called and when, what they did wrong.
//!
//! Whom to call, which of two connections stays and who is banned is decided by [`Peers`]; here are the connections
//! themselves, and what users are told.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
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
    limits::{MAX_KNOWN_PEERS, MAX_REMARK},
    streams::{PeerInfo, Slots},
};
use crate::{
    actors::sync::peers::{ConnectionId, Peers, Verdict},
    wire::{
        endpoint::PeerAddr,
        id::{EndpointId, XaeroID},
        sync::Role,
    },
};

/// The peers of a node.
#[derive(Debug)]
pub(super) struct Book {
    me: EndpointId,
    /// What the policy's times count from.
    start: Instant,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    policy: Peers<EndpointId>,
    peers: HashMap<EndpointId, Peer>,
    connections: u64,
    /// Bytes that were sent to peers which have been forgotten.
    sent: u64,
}

#[derive(Debug)]
struct Peer {
    /// Where it is called, if it is to be.
    addr: Option<PeerAddr>,
    /// Whether it is to be called as long as this node runs.
    is_kept: bool,
    /// For how many purposes it is called until they are fulfilled.
    visits: usize,
    writer: Option<XaeroID>,
    live: Option<Live>,
    error: Option<String>,
    offences: u64,
    offence: Option<String>,
    /// Of connections that are gone.
    sent: u64,
    received: u64,
    seen: Instant,
}

/// The connection to a peer.
#[derive(Debug)]
struct Live {
    id: ConnectionId,
    connection: Connection,
    role: Role,
    since: SystemTime,
    post_quantum: Option<bool>,
    slots: Slots,
    end: Option<oneshot::Sender<Ended>>,
}

/// The one connection to a peer, as long as this is held.
pub(super) struct Admission<'a> {
    book: &'a Book,
    endpoint: EndpointId,
    id: ConnectionId,
    /// Told when the connection is to end.
    pub(super) ended: oneshot::Receiver<Ended>,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.book.closed(self.endpoint, self.id);
    }
}

/// A call: if it led to nothing, its drop says so.
pub(super) struct Call<'a> {
    book: &'a Book,
    pub(super) peer: PeerAddr,
    /// Whether it led to a connection that was judged.
    pub(super) has_led_to_one: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.has_led_to_one {
            let random = getrandom::u64().unwrap_or(0);
            self.book.lock().policy.failed(self.book.start.elapsed(), self.peer.endpoint, random);
            self.book.tell();
        }
    }
}

impl Book {
    pub(super) fn new(me: EndpointId) -> Self {
        let state = State { policy: Peers::new(me), peers: HashMap::new(), connections: 0, sent: 0 };
        Self { me, start: Instant::now(), state: Mutex::new(state), changed: watch::Sender::new(0) }
    }

    /// A peer to keep a connection to. Said again, it is called at once.
    pub(super) fn add(&self, addr: PeerAddr) {
        self.want(addr, |peer, addr| {
            peer.is_kept = true;
            // Of an address that is out of date and one that is not, nobody can tell which is which: both are called.
            peer.addr = Some(match peer.addr.take() {
                Some(known) => known.joined(addr),
                None => addr,
            });
        });
    }

    /// A peer to keep a connection to until [`part`](Self::part).
    pub(super) fn visit(&self, addr: PeerAddr) {
        self.want(addr, |peer, addr| {
            peer.visits += 1;
            // It was announced by somebody who need not be that peer: what was known before comes first.
            peer.addr = Some(match peer.addr.take() {
                Some(known) => addr.joined(known),
                None => addr,
            });
        });
    }

    /// A visit is over. With the last one it is not called any more, and the connection ends if this node has made it and no
    /// other subject uses it.
    pub(super) fn part(&self, endpoint: EndpointId) {
        {
            let mut state = self.lock();
            let Some(peer) = state.peers.get_mut(&endpoint) else { return };
            peer.visits = peer.visits.saturating_sub(1);
            if peer.visits > 0 || peer.is_kept {
                return;
            }
            peer.addr = None;
            let is_ours = |live: &Live| live.role == Role::Dialer && live.slots.taken() <= 1;
            if peer.live.as_ref().is_some_and(is_ours) {
                peer.end(Ended::Parted);
            }
            state.policy.forget(endpoint);
        }
        self.tell();
    }

    fn want(&self, addr: PeerAddr, note: impl FnOnce(&mut Peer, PeerAddr)) {
        {
            let mut state = self.lock();
            let endpoint = addr.endpoint;
            if !state.policy.want(endpoint) {
                tracing::debug!(%endpoint, "not called: it is this node, or there are too many peers");
                return;
            }
            state.policy.hint(endpoint);
            note(state.peer(endpoint), addr);
        }
        self.tell();
    }

    /// The peers that are to be called now, and when to ask again.
    pub(super) fn due(&self) -> (Vec<PeerAddr>, Option<Instant>) {
        let mut state = self.lock();
        let due = state.policy.dial(self.start.elapsed());
        let due = due.iter().filter_map(|endpoint| state.peers.get(endpoint)?.addr.clone()).collect();
        (due, state.policy.next_dial().map(|next| self.start + next))
    }

    /// A peer is being called.
    pub(super) const fn calling(&self, peer: PeerAddr) -> Call<'_> {
        Call { book: self, peer, has_led_to_one: false }
    }

    /// Whether a peer is talked to at present.
    pub(super) fn check(&self, endpoint: EndpointId) -> Result<(), Ended> {
        let is_banned = self.lock().policy.is_banned(self.start.elapsed(), endpoint);
        if is_banned { Err(banned()) } else { Ok(()) }
    }

    /// A peer has shown who it is: it has the connection, or is told why not.
    pub(super) fn admit(
        &self,
        info: &PeerInfo,
        connection: &Connection,
        slots: &Slots,
    ) -> Result<Admission<'_>, Ended> {
        let (end, ended) = oneshot::channel();
        let endpoint = info.endpoint;
        let id = {
            let mut state = self.lock();
            state.connections += 1;
            let id = ConnectionId(state.connections);
            let dialer = if info.role == Role::Dialer { self.me } else { endpoint };
            match state.policy.connected(self.start.elapsed(), endpoint, dialer, id) {
                Verdict::Keep | Verdict::Replace(_) => {}
                Verdict::Duplicate => return Err(Ended::Duplicate),
                Verdict::Banned => return Err(banned()),
                Verdict::Full => return Err(Ended::Refused("there are too many peers here".to_owned())),
            }
            let peer = state.peer(endpoint);
            peer.end(Ended::Duplicate);
            peer.count();
            peer.writer = Some(info.writer);
            peer.error = None;
            peer.live = Some(Live {
                id,
                connection: connection.clone(),
                role: info.role,
                since: SystemTime::now(),
                post_quantum: info.post_quantum,
                slots: slots.clone(),
                end: Some(end),
            });
            id
        };
        self.tell();
        Ok(Admission { book: self, endpoint, id, ended })
    }

    fn closed(&self, endpoint: EndpointId, id: ConnectionId) {
        let random = getrandom::u64().unwrap_or(0);
        {
            let mut state = self.lock();
            state.policy.closed(self.start.elapsed(), endpoint, id, random);
            let peer = state.peer(endpoint);
            if peer.live.as_ref().is_some_and(|live| live.id == id) {
                peer.count();
            }
        }
        self.tell();
    }

    /// Remembers how a connection, or the attempt at one, ended.
    pub(super) fn note(&self, endpoint: EndpointId, writer: Option<XaeroID>, ended: &Ended) {
        let Some(error) = ended.error() else { return };
        {
            let mut state = self.lock();
            let peer = state.peer(endpoint);
            peer.writer = writer.or(peer.writer);
            let remark: String = error.chars().take(MAX_REMARK).collect();
            peer.error = Some(remark.clone());
            if matches!(ended, Ended::Offence(_)) {
                peer.offences = peer.offences.saturating_add(1);
                peer.offence = Some(remark.clone());
                let writer = peer.writer.map(|writer| writer.to_string());
                tracing::warn!(%endpoint, writer, offence = %remark, "a peer broke the protocol and is not talked to");
                state.policy.offended(self.start.elapsed(), endpoint, &remark);
            } else {
                tracing::debug!(%endpoint, error = %remark, "a connection ended");
            }
        }
        self.tell();
    }

    /// Ends the connection to a peer; `false` where there is none.
    pub(super) fn end(&self, endpoint: EndpointId, ended: Ended) -> bool {
        let mut state = self.lock();
        state.peers.get_mut(&endpoint).is_some_and(|peer| peer.end(ended))
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
        let of = |peer: &Peer| peer.sent.saturating_add(peer.traffic().0);
        state.peers.values().map(of).fold(state.sent, u64::saturating_add)
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

fn banned() -> Ended {
    Ended::Refused("the other side has broken the protocol before: it may try again later".to_owned())
}

impl State {
    /// What is known of a peer, which has been seen just now.
    fn peer(&mut self, endpoint: EndpointId) -> &mut Peer {
        if !self.peers.contains_key(&endpoint) {
            self.make_room();
        }
        let now = Instant::now();
        let peer = self.peers.entry(endpoint).or_insert_with(|| Peer::new(now));
        peer.seen = now;
        peer
    }

    /// Forgets the stranger that was seen longest ago, where there are too many.
    fn make_room(&mut self) {
        if self.peers.len() < MAX_KNOWN_PEERS {
            return;
        }
        let strangers = self.peers.iter().filter(|(_, peer)| peer.live.is_none() && peer.addr.is_none());
        let oldest = strangers.min_by_key(|(_, peer)| peer.seen).map(|(endpoint, _)| *endpoint);
        if let Some(peer) = oldest.and_then(|oldest| self.peers.remove(&oldest)) {
            self.sent = self.sent.saturating_add(peer.sent);
        }
    }
}

impl Peer {
    const fn new(now: Instant) -> Self {
        Self {
            addr: None,
            is_kept: false,
            visits: 0,
            writer: None,
            live: None,
            error: None,
            offences: 0,
            offence: None,
            sent: 0,
            received: 0,
            seen: now,
        }
    }

    /// Ends the connection, if there is one.
    fn end(&mut self, ended: Ended) -> bool {
        let end = self.live.as_mut().and_then(|live| live.end.take());
        end.is_some_and(|end| end.send(ended).is_ok())
    }

    /// The connection is gone: what it has carried stays.
    fn count(&mut self) {
        let (sent, received) = self.traffic();
        self.sent = self.sent.saturating_add(sent);
        self.received = self.received.saturating_add(received);
        self.live = None;
    }

    /// Bytes that the connection has sent and received.
    fn traffic(&self) -> (u64, u64) {
        let stats = self.live.as_ref().map(|live| live.connection.stats());
        stats.map_or((0, 0), |stats| (stats.udp_tx.bytes, stats.udp_rx.bytes))
    }

    fn status(&self, endpoint: EndpointId) -> PeerStatus {
        let live = self.live.as_ref();
        let (sent, received) = self.traffic();
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
