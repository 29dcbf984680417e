//! What the sessions of one subject share: who may download, who pushes, and what they have seen of their peers.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use hashbrown::{HashMap, HashSet};
use tokio::sync::{
    Notify,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::intake::Taken;
use crate::{
    actors::{
        net::PeerInfo,
        sync::{
            session::Status,
            swarm::Sessions,
            turns::{Turns, Wish},
        },
    },
    wire::{
        endpoint::PeerAddr,
        id::{EndpointId, XaeroID},
    },
};

/// Doubts that are remembered; beyond it all are forgotten, and somebody who lies is found out a little later.
const MOST_DOUBTS: usize = 4_096;

/// What a session is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It may download now.
    Turn { push: bool },
    /// Its peer is to push events, or no longer.
    Push(bool),
}

/// What a subject has with one peer.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) peer: PeerInfo,
    pub(crate) status: Status,
    /// Events that it brought, and how many of these were here.
    pub(crate) new: u64,
    pub(crate) known: u64,
}

/// Shared by the sessions of one subject.
#[derive(Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// A session has begun or ended.
    changed: Notify,
    /// Whether the subject is in its swarm.
    is_in_swarm: AtomicBool,
}

#[derive(Default)]
struct State {
    next: u64,
    turns: Turns,
    sessions: HashMap<u64, Entry>,
    /// Authors of whom a peer has sent what does not continue the log here. A fork, or a lie.
    doubts: HashSet<(EndpointId, XaeroID)>,
}

struct Entry {
    tell: UnboundedSender<Told>,
    standing: Standing,
}

impl Hub {
    /// A session begins: its number, and what it will be told.
    pub(super) fn join(&self, peer: PeerInfo) -> (u64, UnboundedReceiver<Told>) {
        // Bounded by what the coordinator says: a turn, or whether to push.
        let (tell, told) = unbounded_channel();
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        let standing = Standing { peer, status: Status::Opening, new: 0, known: 0 };
        state.sessions.insert(id, Entry { tell, standing });
        state.change(|turns, wishes| turns.join(id, wishes));
        self.changed.notify_one();
        (id, told)
    }

    /// It is over.
    pub(super) fn leave(&self, id: u64) {
        let mut state = self.lock();
        if state.sessions.remove(&id).is_some() {
            state.change(|turns, wishes| turns.leave(id, wishes));
            self.changed.notify_one();
        }
    }

    /// All are over.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.sessions.clear();
        state.turns = Turns::default();
        self.changed.notify_one();
    }

    pub(super) fn ask_turn(&self, id: u64) {
        let mut state = self.lock();
        // One that was ended by force may not have noticed yet, and must not get a turn that it never gives back.
        if state.sessions.contains_key(&id) {
            state.change(|turns, wishes| turns.ask(id, wishes));
        }
    }

    pub(super) fn return_turn(&self, id: u64) {
        let mut state = self.lock();
        if state.sessions.contains_key(&id) {
            state.change(|turns, wishes| turns.give_back(id, wishes));
        }
    }

    pub(super) fn note_status(&self, id: u64, status: Status) {
        if let Some(entry) = self.lock().sessions.get_mut(&id) {
            entry.standing.status = status;
        }
    }

    pub(super) fn note_taken(&self, id: u64, taken: Taken) {
        let mut state = self.lock();
        let Some(entry) = state.sessions.get_mut(&id) else { return };
        entry.standing.new += taken.new;
        entry.standing.known += taken.known;
        state.change(|turns, wishes| turns.brought(id, taken.new, taken.known, wishes));
    }

    /// Notes that what a peer sent does not continue the log of this author that is here. Whether it was so before.
    pub(super) fn doubts(&self, id: u64, author: XaeroID) -> bool {
        let mut state = self.lock();
        let Some(endpoint) = state.sessions.get(&id).map(|entry| entry.standing.peer.endpoint) else { return false };
        if state.doubts.len() >= MOST_DOUBTS {
            state.doubts.clear();
        }
        !state.doubts.insert((endpoint, author))
    }

    /// Waits until a session begins or ends. One waits at a time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Notes whether the subject is in its swarm.
    pub(super) fn note_swarm(&self, is_in: bool) {
        self.is_in_swarm.store(is_in, Ordering::Relaxed);
    }

    /// Whether the subject is in its swarm.
    pub(super) fn is_in_swarm(&self) -> bool {
        self.is_in_swarm.load(Ordering::Relaxed)
    }

    /// How many events each peer with a session has brought.
    pub(super) fn brought(&self) -> Sessions {
        let of =
            |entry: &Entry| (entry.standing.peer.endpoint, entry.standing.new.saturating_add(entry.standing.known));
        self.lock().sessions.values().map(of).collect()
    }

    /// The peers with a session, and where they are.
    pub(super) fn peers(&self) -> Vec<PeerAddr> {
        let of = |entry: &Entry| {
            let peer = &entry.standing.peer;
            PeerAddr { addrs: peer.addr.into_iter().collect(), ..PeerAddr::new(peer.endpoint) }
        };
        self.lock().sessions.values().map(of).collect()
    }

    /// What the subject has with each peer.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        self.lock().sessions.values().map(|entry| entry.standing.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Has the coordinator think again, and passes on what it wishes.
    fn change(&mut self, think: impl FnOnce(&mut Turns, &mut Vec<Wish>)) {
        let mut wishes = Vec::new();
        think(&mut self.turns, &mut wishes);
        for wish in wishes {
            let (id, told) = match wish {
                Wish::Turn { session, push } => (session, Told::Turn { push }),
                Wish::Push { session, push } => (session, Told::Push(push)),
            };
            if let Some(entry) = self.sessions.get(&id) {
                // One that has ended leaves in a moment.
                let _ = entry.tell.send(told);
            }
        }
    }
}
