//! What the sessions of one subject share: who may download, who pushes, and what they have seen of their peers.

use std::sync::{Mutex, MutexGuard, PoisonError};

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
            swarm::{Company, Sessions},
            turns::{Turns, Wish},
        },
    },
    wire::{
        endpoint::PeerAddr,
        id::{EndpointId, XaeroID},
        sync::Others,
    },
};

/// Doubts that are remembered; beyond it all are forgotten, and somebody who lies is found out a little later.
const MOST_DOUBTS: usize = 4_096;

/// What a session is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It may download now.
    Turn { push: bool },
    /// Its peer is to push events, or no longer.
    Push(bool),
    /// Its peer is to be told of these others.
    Others(Others),
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

impl Standing {
    /// Where the peer is.
    fn addr(&self) -> PeerAddr {
        PeerAddr { addrs: self.peer.addr.into_iter().collect(), ..PeerAddr::new(self.peer.endpoint) }
    }
}

/// Shared by the sessions of one subject.
#[derive(Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// A session has begun or ended, or its peer knows of others.
    changed: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    turns: Turns,
    sessions: HashMap<u64, Entry>,
    /// Authors of whom a peer has sent what does not continue the log here. A fork, or a lie.
    doubts: HashSet<(EndpointId, XaeroID)>,
    /// How many neighbours there are in the subject's swarm, while the subject is there.
    neighbours: Option<usize>,
}

struct Entry {
    tell: UnboundedSender<Told>,
    standing: Standing,
    /// Who else shares the subject: as the peer says, and as it was told.
    heard: Others,
    told: Others,
}

impl Hub {
    /// A session begins: its number, and what it will be told.
    pub(super) fn join(&self, peer: PeerInfo) -> (u64, UnboundedReceiver<Told>) {
        // Bounded by what is said: a turn, or whether to push, or who else there is.
        let (tell, told) = unbounded_channel();
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        let standing = Standing { peer, status: Status::Opening, new: 0, known: 0 };
        state.sessions.insert(id, Entry { tell, standing, heard: Others::default(), told: Others::default() });
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

    /// A peer has said who else shares the subject.
    pub(super) fn note_others(&self, id: u64, others: Others) {
        if let Some(entry) = self.lock().sessions.get_mut(&id) {
            entry.heard = others;
            self.changed.notify_one();
        }
    }

    /// Who shares the subject: the peers with a session, whom they know of, and these neighbours in its swarm. `me`: this node.
    pub(super) fn company(&self, me: EndpointId, neighbours: &[EndpointId]) -> Company {
        let (state, none) = (self.lock(), Others::default());
        let peers = state.sessions.values().map(|entry| (entry.standing.addr(), &entry.heard));
        Company::new(me, peers.chain(neighbours.iter().map(|neighbour| (PeerAddr::new(*neighbour), &none))))
    }

    /// Has each peer told of others what it was not told yet.
    pub(super) fn tell_others(&self, company: &Company) {
        let mut state = self.lock();
        let is_in_swarm = state.neighbours.is_some();
        for entry in state.sessions.values_mut() {
            let others = company.tells(entry.standing.peer.endpoint, is_in_swarm);
            if others != entry.told {
                entry.told = others.clone();
                // One that has ended leaves in a moment.
                let _ = entry.tell.send(Told::Others(others));
            }
        }
    }

    /// Waits until a session begins or ends, or a peer knows of others. One waits at a time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Notes how many neighbours there are in the subject's swarm, `None` while it is not there; and returns what was noted before.
    pub(super) fn note_swarm(&self, neighbours: Option<usize>) -> Option<usize> {
        std::mem::replace(&mut self.lock().neighbours, neighbours)
    }

    /// Whether the subject is in its swarm.
    pub(super) fn is_in_swarm(&self) -> bool {
        self.neighbours().is_some()
    }

    /// How many neighbours there are in the subject's swarm, while it is there.
    pub(crate) fn neighbours(&self) -> Option<usize> {
        self.lock().neighbours
    }

    /// How many events each peer with a session has brought.
    pub(super) fn brought(&self) -> Sessions {
        let of =
            |entry: &Entry| (entry.standing.peer.endpoint, entry.standing.new.saturating_add(entry.standing.known));
        self.lock().sessions.values().map(of).collect()
    }

    /// The peers with a session, and where they are.
    pub(super) fn peers(&self) -> Vec<PeerAddr> {
        self.lock().sessions.values().map(|entry| entry.standing.addr()).collect()
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
