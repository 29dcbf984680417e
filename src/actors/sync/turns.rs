//! The coordinator of one subject's sessions: who downloads, and who pushes.
//!
//! *Downloads* go one at a time, in the order of the questions: two peers that have the same would send it twice.
//!
//! *Pushes* form a tree. At first each of up to [`EAGER_PEERS`] peers is asked to push what is new, so everything comes as
//! often; whoever brings much that others have brought before becomes *lazy* and sends summaries only. Where a lazy
//! peer turns out to have had something that no pusher brought, it becomes a pusher. What remains is, at each node, the
//! fastest way to it, and the lazy links around it for the day that it breaks. This is Plumtree: Leitão, Pereira, Rodrigues,
//! "Epidemic Broadcast Trees" (2007). A pusher is never the last to go.

use std::collections::{BTreeMap, VecDeque};

/// Most peers that push a subject at once: what comes more than once is thrown away, and a fifth copy hardly ever comes first.
pub const EAGER_PEERS: usize = 4;

/// A pusher is judged after as many events: enough to tell a slow way from bad luck, few enough to prune soon.
pub const JUDGED_AFTER: u64 = 8;

/// A pusher becomes lazy where it brings more than one duplicate for as many new events. With several authors every way is the
/// first for some of their events, so "mostly duplicates" would prune too little.
pub const NEW_PER_DUPLICATE: u64 = 3;

/// What a session is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It has the turn: [`Input::Turn`](super::Input::Turn).
    Turn {
        /// The session.
        session: u64,
        /// Whether its peer is to push afterwards.
        push: bool,
    },
    /// Whether its peer is to push: [`Input::SetPush`](super::Input::SetPush).
    Push {
        /// The session.
        session: u64,
        /// Whether.
        push: bool,
    },
}

#[derive(Debug, Default)]
struct Member {
    is_eager: bool,
    /// Events that it brought since it was judged.
    new: u64,
    duplicates: u64,
}

/// The sessions of one subject, by numbers of the shell's.
///
/// ```
/// use xaeroflux::actors::sync::turns::{Turns, Wish};
/// let (mut turns, mut told, [a, b]) = (Turns::new(), Vec::new(), [1, 2]);
/// turns.join(a, &mut told);
/// turns.join(b, &mut told);
/// told.clear();
/// turns.ask(a, &mut told);
/// turns.ask(b, &mut told);
/// assert_eq!(told, [Wish::Turn { session: a, push: true }]);
/// told.clear();
/// turns.give_back(a, &mut told);
/// assert_eq!(told, [Wish::Turn { session: b, push: true }]);
/// ```
#[derive(Debug, Default)]
pub struct Turns {
    members: BTreeMap<u64, Member>,
    holder: Option<u64>,
    queue: VecDeque<u64>,
}

impl Turns {
    /// No sessions so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A session has begun.
    pub fn join(&mut self, session: u64, out: &mut Vec<Wish>) {
        self.members.entry(session).or_default();
        if self.pushers() < EAGER_PEERS {
            self.set_push(session, true, out);
        }
    }

    /// A session has ended, whatever it held.
    pub fn leave(&mut self, session: u64, out: &mut Vec<Wish>) {
        let Some(member) = self.members.remove(&session) else { return };
        if member.is_eager && self.pushers() < EAGER_PEERS {
            // The one that was of use last.
            let lazy = self.members.iter().filter(|(_, member)| !member.is_eager);
            let next = lazy.max_by_key(|(session, member)| (member.new, **session)).map(|(session, _)| *session);
            if let Some(next) = next {
                self.set_push(next, true, out);
            }
        }
        self.give_back(session, out);
    }

    /// A session wants the turn.
    pub fn ask(&mut self, session: u64, out: &mut Vec<Wish>) {
        if self.members.contains_key(&session) && self.holder != Some(session) && !self.queue.contains(&session) {
            self.queue.push_back(session);
            self.grant(out);
        }
    }

    /// A session gives the turn back, or no longer wants it.
    pub fn give_back(&mut self, session: u64, out: &mut Vec<Wish>) {
        self.queue.retain(|waiting| *waiting != session);
        self.holder.take_if(|holder| *holder == session);
        self.grant(out);
    }

    /// A session's peer has sent events: as many that were new and as many that were not.
    pub fn brought(&mut self, session: u64, new: u64, duplicates: u64, out: &mut Vec<Wish>) {
        let pushers = self.pushers();
        let Some(member) = self.members.get_mut(&session) else { return };
        member.new = member.new.saturating_add(new);
        member.duplicates = member.duplicates.saturating_add(duplicates);
        if !member.is_eager {
            if new > 0 && pushers < EAGER_PEERS {
                self.set_push(session, true, out);
            }
            return;
        }
        if member.new.saturating_add(member.duplicates) >= JUDGED_AFTER {
            let is_late = member.duplicates.saturating_mul(NEW_PER_DUPLICATE) > member.new;
            (member.new, member.duplicates) = (0, 0);
            if is_late && pushers > 1 {
                self.set_push(session, false, out);
            }
        }
    }

    /// Who has the turn.
    #[must_use]
    pub const fn holder(&self) -> Option<u64> {
        self.holder
    }

    /// How many peers are to push.
    #[must_use]
    pub fn pushers(&self) -> usize {
        self.members.values().filter(|member| member.is_eager).count()
    }

    fn set_push(&mut self, session: u64, push: bool, out: &mut Vec<Wish>) {
        if let Some(member) = self.members.get_mut(&session) {
            *member = Member { is_eager: push, ..Member::default() };
            out.push(Wish::Push { session, push });
        }
    }

    fn grant(&mut self, out: &mut Vec<Wish>) {
        if self.holder.is_none() {
            self.holder = self.queue.pop_front();
            if let Some(session) = self.holder {
                let push = self.members.get(&session).is_some_and(|member| member.is_eager);
                out.push(Wish::Turn { session, push });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(sessions: u64) -> Turns {
        let mut turns = Turns::new();
        (0..sessions).for_each(|session| turns.join(session, &mut Vec::new()));
        turns
    }

    fn told(tell: impl FnOnce(&mut Vec<Wish>)) -> Vec<Wish> {
        let mut out = Vec::new();
        tell(&mut out);
        out
    }

    fn grant(session: u64, push: bool) -> Wish {
        Wish::Turn { session, push }
    }

    fn set_push(session: u64, push: bool) -> Wish {
        Wish::Push { session, push }
    }

    #[test]
    fn turns_go_in_the_order_of_the_questions_and_come_back_from_who_leaves() {
        let mut turns = joined(3);
        assert_eq!(told(|out| turns.ask(2, out)), [grant(2, true)]);
        for session in [0, 1, 0, 2, 7] {
            assert_eq!(told(|out| turns.ask(session, out)), [], "{session} waits, holds or is not there");
        }
        assert_eq!(told(|out| turns.give_back(0, out)), [], "it only waited");
        assert_eq!(told(|out| turns.leave(2, out)), [grant(1, true)]);
        assert_eq!(told(|out| turns.give_back(1, out)), []);
        assert_eq!(turns.holder(), None);
    }

    #[test]
    fn four_peers_push_and_another_takes_the_place_of_one_that_ends() {
        let mut turns = Turns::new();
        let said = told(|out| (0..6).for_each(|session| turns.join(session, out)));
        assert_eq!(said, [0, 1, 2, 3].map(|session| set_push(session, true)));
        assert_eq!(told(|out| turns.ask(5, out)), [grant(5, false)]);
        assert_eq!(told(|out| turns.brought(4, 7, 0, out)), [], "there are four");
        assert_eq!(told(|out| turns.leave(1, out)), [set_push(4, true)], "it was of use");
    }

    #[test]
    fn who_brings_many_duplicates_becomes_lazy_but_not_the_last() {
        let mut turns = joined(2);
        assert_eq!(told(|out| turns.brought(0, 0, JUDGED_AFTER - 1, out)), []);
        assert_eq!(told(|out| turns.brought(0, 1, 0, out)), [set_push(0, false)]);
        assert_eq!(told(|out| turns.brought(1, 0, JUDGED_AFTER, out)), []);
        assert_eq!(turns.pushers(), 1);
    }

    #[test]
    fn a_lazy_peer_that_had_what_nobody_pushed_becomes_a_pusher() {
        let mut turns = joined(2);
        turns.brought(0, 0, JUDGED_AFTER, &mut Vec::new());
        assert_eq!(told(|out| turns.brought(0, 0, 5, out)), []);
        assert_eq!(told(|out| turns.brought(0, 1, 5, out)), [set_push(0, true)]);
    }
}
