//! A node in the swarm of one subject: when it is there, what it says, and whom it visits.
//!
//! With a handful of peers a node has a session with each, and nothing here happens. Beyond that it need not know everybody:
//! members of the subject's swarm tell each other by gossip what they have, in [announcements](crate::wire::sync::announce), and
//! who hears of something that is not here visits the holder. A visit is a connection like any other, on which the ordinary
//! session fetches what is missing, in both directions; a while after the last thing it brought it ends. So any connected swarm
//! converges, and events only ever move by sessions.
//!
//! * It says what is here when that has grown, and to each new neighbour; not if somebody else has just said the same.
//! * Who announces what was here before is behind: it hears what is here now, and visits.
//! * Where it has hardly a neighbour it looks for more: by way of that one, of those that it was told of and heard last, and of its peers.
//! * What may be on its way by a session is waited for, so that not everybody visits the one who wrote. Where as much has come
//!   meanwhile, that is said instead: whoever still differs visits.
//! * Gossip is open to all who know of the swarm. What is too much is dropped and who delivers far too much is not heard; what no
//!   member made is an offence of who says that it is its own.
//!
//! How many peers there are is found out together, whoever has a session with whom: `company`.
//!
//! `guard` counts, `seek` says when to look for neighbours, this decides the rest; the numbers are in [`limits`]. Time and chance are
//! arguments; what is to be done is returned.

pub mod company;
mod guard;
#[cfg(test)]
mod islands;
pub mod limits;
mod seek;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

pub use company::Company;
pub use guard::Counts;
use guard::{Bucket, Guard, Judgement};
use limits::{
    ANNOUNCEMENTS, ANSWER, FEW, GATHER, GRACE, HANDFUL, LEAVE_AFTER, MAX_HOLDERS, MAX_ROOTS, MAX_VISITS, REFRESH,
    REJOIN, SAID_FOR, UNREACHABLE, VISIT_FAILED, VISIT_IDLE,
};
use seek::Seek;

use crate::{
    actors::supervise::backoff::jittered,
    wire::{
        endpoint::PeerAddr,
        id::EndpointId,
        mmr::Hash,
        sync::{AnnounceError, Announcement},
    },
};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Join the swarm.
    Join,
    /// Leave it.
    Leave,
    /// Look for neighbours.
    Seek,
    /// Say what is here: to all, or to the neighbours only.
    Announce {
        /// Whether to all.
        to_all: bool,
    },
    /// Keep a connection to this holder.
    Visit(PeerAddr),
    /// Keep it no longer.
    Part(EndpointId),
    /// Do not hear this neighbour for a while.
    Mute(EndpointId),
    /// This neighbour breaks the protocol.
    Offence(EndpointId),
}

/// With whom there are sessions, and how many events each has brought.
pub type Sessions = BTreeMap<EndpointId, u64>;

/// One subject's place in its swarm.
#[derive(Debug)]
pub struct Swarm {
    me: EndpointId,
    /// Whether it is to be there, whatever the number of peers.
    forced: Option<bool>,
    is_in: bool,
    peers: usize,
    /// Since when there are few.
    few_since: Option<Duration>,
    /// When it may be joined again, and the wait after that.
    rejoin: (Duration, Duration),
    seek: Seek,
    /// What is here: its root, and the number of events.
    head: Option<(Hash, u64)>,
    /// Roots that were here before.
    former: VecDeque<Hash>,
    /// What others have announced to all, and when.
    said: VecDeque<(Hash, Duration)>,
    due: Option<Due>,
    refresh: Option<Duration>,
    announcements: Bucket,
    wishes: BTreeMap<EndpointId, Wish>,
    visits: BTreeMap<EndpointId, Visit>,
    unreachable: BTreeMap<EndpointId, Duration>,
    guard: Guard,
}

/// An announcement that is to be made.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Duration,
    /// Not, where somebody has said the same to all since then.
    unless_since: Duration,
    to_all: bool,
}

/// Something that is not here.
#[derive(Debug)]
struct Wish {
    said: Announcement,
    at: Duration,
    /// What was here when it was first heard of.
    head: Option<Hash>,
}

#[derive(Debug)]
struct Visit {
    since: Duration,
    used: Duration,
    /// Events it has brought; none before there was a session.
    brought: Option<u64>,
}

impl Swarm {
    /// Of the node with this endpoint. `forced`: whether to be in the swarm, whatever the number of peers.
    #[must_use]
    pub const fn new(me: EndpointId, forced: Option<bool>) -> Self {
        Self {
            me,
            forced,
            is_in: false,
            peers: 0,
            few_since: None,
            rejoin: (Duration::ZERO, REJOIN.0),
            seek: Seek::new(),
            head: None,
            former: VecDeque::new(),
            said: VecDeque::new(),
            due: None,
            refresh: None,
            announcements: Bucket::new(ANNOUNCEMENTS),
            wishes: BTreeMap::new(),
            visits: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            guard: Guard::new(),
        }
    }

    /// Whether it is in the swarm.
    #[must_use]
    pub const fn is_in(&self) -> bool {
        self.is_in
    }

    /// What is here, as it was last looked: its root, and the number of events.
    #[must_use]
    pub const fn head(&self) -> Option<(Hash, u64)> {
        self.head
    }

    /// What was dropped, and why.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.guard.counts()
    }

    /// So many others share the subject, as far as is known: [`Company::count`].
    pub fn peers(&mut self, now: Duration, peers: usize, out: &mut Vec<Action>) {
        self.peers = peers;
        let is_few = self.forced.map_or(peers <= FEW, |forced| !forced);
        self.few_since = is_few.then(|| self.few_since.unwrap_or(now));
        self.join(now, out);
    }

    fn join(&mut self, now: Duration, out: &mut Vec<Action>) {
        if !self.is_in && self.wants() && self.rejoin.0 <= now {
            self.is_in = true;
            self.seek.begin(now);
            out.push(Action::Join);
        }
    }

    fn wants(&self) -> bool {
        self.forced.unwrap_or(self.peers > HANDFUL)
    }

    /// The swarm broke down, or could not be joined.
    pub fn lost(&mut self, now: Duration, random: u64) {
        self.is_in = false;
        (self.due, self.refresh) = (None, None);
        self.seek.end();
        let wait = self.rejoin.1;
        self.rejoin = (now.saturating_add(jittered(wait, random)), (wait * 2).min(REJOIN.1));
    }

    /// What is here now.
    pub fn looked(&mut self, now: Duration, root: Hash, events: u64, random: u64) {
        match self.head.replace((root, events)) {
            Some((former, _)) if former == root => return,
            Some((former, _)) => push(&mut self.former, former),
            None => {}
        }
        self.former.retain(|former| *former != root);
        self.announce(now, GATHER, now.saturating_sub(SAID_FOR), true, random);
    }

    /// It has so many neighbours now.
    pub fn neighbours(&mut self, now: Duration, neighbours: usize) {
        if self.is_in {
            self.seek.has(now, neighbours);
        }
    }

    /// There is a new neighbour: it has heard nothing of what was said before.
    pub fn neighbour_up(&mut self, now: Duration, random: u64) {
        self.rejoin.1 = REJOIN.0;
        self.announce(now, GATHER, now, false, random);
    }

    /// Announcements were lost. Who hears that something is missing here says so.
    pub fn lagged(&mut self, now: Duration, random: u64) {
        self.guard.lagged();
        self.announce(now, ANSWER, now, true, random);
    }

    fn announce(&mut self, now: Duration, within: Duration, unless_since: Duration, to_all: bool, random: u64) {
        if !self.is_in {
            return;
        }
        let at = now.saturating_add(jittered(within, random));
        self.due = Some(match self.due {
            Some(due) if due.to_all || !to_all => {
                Due { at: due.at.min(at), unless_since: due.unless_since.max(unless_since), ..due }
            }
            _ => Due { at, unless_since, to_all },
        });
    }

    /// A neighbour has delivered something. `open` reads it, and is not called where it comes too fast.
    pub fn heard(
        &mut self,
        now: Duration,
        (from, is_own): (EndpointId, bool),
        open: impl FnOnce() -> Result<Announcement, AnnounceError>,
        random: u64,
        out: &mut Vec<Action>,
    ) {
        match self.guard.delivers(now, from) {
            Judgement::Fine => {}
            Judgement::Drop => return,
            Judgement::Mute | Judgement::Offence => return out.push(Action::Mute(from)),
        }
        let said = match open() {
            Ok(said) => said,
            Err(AnnounceError::NotAuthentic | AnnounceError::TooLong(_)) => {
                match self.guard.forged(now, from, is_own) {
                    Judgement::Offence => out.push(Action::Offence(from)),
                    Judgement::Mute => out.push(Action::Mute(from)),
                    Judgement::Fine | Judgement::Drop => {}
                }
                return;
            }
            // A member's, of a later version.
            Err(_) => return,
        };
        if said.holder != self.me {
            self.take(now, said, random);
        }
    }

    fn take(&mut self, now: Duration, said: Announcement, random: u64) {
        self.said.retain(|(root, _)| *root != said.root);
        push(&mut self.said, (said.root, now));
        self.seek.heard(said.peer());
        if self.has(&said.root) {
            self.wishes.remove(&said.holder);
            if self.head.is_some_and(|(root, _)| root == said.root) {
                self.refresh = Some(now.saturating_add(jittered(REFRESH, random)));
            } else {
                self.announce(now, ANSWER, now, true, random);
            }
            return;
        }
        let is_new = !self.wishes.contains_key(&said.holder);
        if is_new && self.wishes.len() >= MAX_HOLDERS {
            return;
        }
        let head = self.head.map(|(root, _)| root);
        let wish = self.wishes.entry(said.holder).or_insert_with(|| Wish {
            said: said.clone(),
            at: now.saturating_add(jittered(GRACE, random)),
            head,
        });
        // The wait is not begun anew: otherwise nobody would ever visit a holder who writes all the time.
        wish.said = said;
    }

    /// Whether this is here, or was.
    fn has(&self, root: &Hash) -> bool {
        self.head.is_some_and(|(head, _)| head == *root) || self.former.contains(root)
    }

    /// Does what is due.
    pub fn time(&mut self, now: Duration, sessions: &Sessions, random: u64, out: &mut Vec<Action>) {
        self.join(now, out);
        if self.is_in && self.few_since.is_some_and(|since| now >= since.saturating_add(LEAVE_AFTER)) && !self.wants() {
            self.is_in = false;
            (self.due, self.refresh) = (None, None);
            self.seek.end();
            self.wishes.clear();
            out.push(Action::Leave);
        }
        if self.seek.is_due(now) {
            out.push(Action::Seek);
        }
        self.grant(now, sessions, random, out);
        self.end_visits(now, sessions, out);
        self.say(now, random, out);
    }

    /// Visits those who have what was not brought by anybody.
    fn grant(&mut self, now: Duration, sessions: &Sessions, random: u64, out: &mut Vec<Action>) {
        let later = now.saturating_add(jittered(GRACE, random));
        let due: Vec<EndpointId> =
            self.wishes.iter().filter(|(_, wish)| wish.at <= now).map(|(holder, _)| *holder).collect();
        for holder in due {
            let Some(mut wish) = self.wishes.remove(&holder) else { continue };
            let cannot = self.unreachable.get(&holder).is_some_and(|until| now < *until);
            // A session compares by itself what both sides have.
            if self.has(&wish.said.root)
                || sessions.contains_key(&holder)
                || self.visits.contains_key(&holder)
                || cannot
            {
                continue;
            }
            let head = self.head.map(|(root, _)| root);
            if self.head.is_some_and(|(_, events)| events >= wish.said.events) && head != wish.head {
                // It may well be here by now, and the holder behind. If not, the holder has not what is said here, and visits.
                self.announce(now, GATHER, now.saturating_sub(GRACE), true, random);
                continue;
            }
            if self.visits.len() >= MAX_VISITS {
                wish.at = later;
                self.wishes.insert(holder, wish);
                continue;
            }
            self.visits.insert(holder, Visit { since: now, used: now, brought: None });
            out.push(Action::Visit(wish.said.peer()));
        }
    }

    fn end_visits(&mut self, now: Duration, sessions: &Sessions, out: &mut Vec<Action>) {
        self.unreachable.retain(|_, until| now < *until);
        let (unreachable, is_in) = (&mut self.unreachable, self.is_in);
        self.visits.retain(|holder, visit| {
            if let Some(brought) = sessions.get(holder)
                && visit.brought.replace(*brought) != Some(*brought)
            {
                visit.used = now;
            }
            let stays = is_in && now < visit.ends();
            if !stays {
                if visit.brought.is_none() && unreachable.len() < MAX_HOLDERS {
                    unreachable.insert(*holder, now.saturating_add(UNREACHABLE));
                }
                out.push(Action::Part(*holder));
            }
            stays
        });
    }

    fn say(&mut self, now: Duration, random: u64, out: &mut Vec<Action>) {
        let Some((root, _)) = self.head.filter(|_| self.is_in) else { return };
        let refresh = *self.refresh.get_or_insert_with(|| now.saturating_add(jittered(REFRESH, random)));
        if refresh <= now && self.due.is_none() {
            self.due = Some(Due { at: now, unless_since: now, to_all: true });
        }
        let Some(due) = self.due.filter(|due| due.at <= now) else { return };
        let is_said = self.said.iter().any(|(said, when)| *said == root && *when >= due.unless_since);
        if due.to_all && is_said {
            self.due = None;
        } else if self.announcements.take(now) {
            self.due = None;
            out.push(Action::Announce { to_all: due.to_all });
            if due.to_all {
                self.refresh = Some(now.saturating_add(jittered(REFRESH, random)));
            }
        } else {
            self.due = Some(Due { at: self.announcements.next(now), ..due });
        }
    }

    /// When [`time`](Self::time) is to be called again.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        let rejoin = (!self.is_in && self.wants()).then_some(self.rejoin.0);
        let leave =
            self.few_since.filter(|_| self.is_in && !self.wants()).map(|since| since.saturating_add(LEAVE_AFTER));
        let said = self.due.map(|due| due.at).or(self.refresh).filter(|_| self.is_in && self.head.is_some());
        let wishes = self.wishes.values().map(|wish| wish.at);
        let visits = self.visits.values().map(Visit::ends);
        rejoin.into_iter().chain(leave).chain(self.seek.next()).chain(said).chain(wishes).chain(visits).min()
    }

    /// Members that were heard last: by their way neighbours are found where the peers are gone.
    pub fn recent(&self) -> impl Iterator<Item = &PeerAddr> {
        self.seek.recent()
    }

    /// Those who are visited.
    pub fn visited(&self) -> impl Iterator<Item = EndpointId> {
        self.visits.keys().copied()
    }
}

impl Visit {
    const fn ends(&self) -> Duration {
        match self.brought {
            Some(_) => self.used.saturating_add(VISIT_IDLE),
            None => self.since.saturating_add(VISIT_FAILED),
        }
    }
}

/// Remembers one more, and forgets the oldest where there are too many.
fn push<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() >= MAX_ROOTS {
        list.pop_front();
    }
    list.push_back(item);
}
