//! What each side has, as far as it is known here, and when a difference is worth a download.
//!
//! Roots that differ say that one side lacks something, not which. A peer whose root is one that was ours a moment ago is
//! merely behind. Any other is suspected to have something: it is looked at again after a grace period, and then
//! asked. A download that brings nothing new makes the next suspicion wait for longer.

use std::{collections::VecDeque, time::Duration};

use super::{
    Output, Session,
    limits::{FIRST_BACKOFF, FORKS_EVERY, GRACE, MAX_BACKOFF_CHANGED, MAX_BACKOFF_UNCHANGED, RECENT_ROOTS},
};
use crate::wire::{
    mmr::Hash,
    sync::{Message, Summary},
};

/// Whether the answer to a look is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Announce {
    #[default]
    No,
    /// Where it holds more than what this peer has sent us.
    News,
    /// Where it is another than the one that was sent last.
    Always,
}

/// What a look is for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    pub announce: Announce,
    /// Whether a difference has outlived its grace period.
    pub due: bool,
}

impl Look {
    fn and(self, other: Self) -> Self {
        Self { announce: self.announce.max(other.announce), due: self.due || other.due }
    }
}

/// What each side has, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// As of the last look.
    ours: Option<Summary>,
    theirs: Option<Summary>,
    /// What the peer was told last.
    told: Option<Summary>,
    /// The roots that were ours lately, the last one last.
    recent: VecDeque<Hash>,
    /// The look that is under way.
    looking: Option<Look>,
    /// The one to follow it.
    next: Option<Look>,
    compared: bool,
    /// The root that both had.
    same: Option<Hash>,
    /// When a suspicion is looked at again.
    grace_at: Option<Duration>,
    /// Downloads in a row that brought nothing.
    barren: u32,
    /// The peer's root when it was last asked.
    asked: Option<Hash>,
    /// The digests for which evidence was sent, and when it may be sent again.
    forks_for: Option<(Hash, Hash)>,
    forks_after: Duration,
    forks_at: Option<Duration>,
}

impl Sight {
    /// Asks what there is here, once more if the question is under way.
    pub(super) fn look(&mut self, purpose: Look, out: &mut Vec<Output>) {
        if self.looking.is_some() {
            self.next = Some(self.next.unwrap_or_default().and(purpose));
        } else {
            self.looking = Some(purpose);
            out.push(Output::Look);
        }
    }

    pub(super) fn wake(&self) -> Option<Duration> {
        [self.grace_at, self.forks_at].into_iter().flatten().min()
    }

    pub(super) const fn has_compared(&self) -> bool {
        self.compared
    }

    pub(super) const fn knows_theirs(&self) -> bool {
        self.theirs.is_some()
    }

    pub(super) const fn is_suspicious(&self) -> bool {
        self.grace_at.is_some()
    }

    /// The peer has sent something that was new here.
    pub(super) const fn was_useful(&mut self) {
        self.barren = 0;
    }

    /// This root was ours.
    pub(super) fn remember(&mut self, root: Hash) {
        if self.recent.back() != Some(&root) {
            if self.recent.len() >= RECENT_ROOTS {
                self.recent.pop_front();
            }
            self.recent.push_back(root);
        }
    }

    /// The peer has been sent all of this.
    pub(super) fn told_caught_up(&mut self, summary: Summary) {
        self.remember(summary.root);
        if let Some(told) = &mut self.told {
            (told.root, told.events) = (summary.root, summary.events);
        }
    }

    /// All that the peer has is here, of which so much was new.
    pub(super) fn fetched(&mut self, root: Hash, events: u64, new: u64) {
        if let Some(theirs) = &mut self.theirs {
            (theirs.root, theirs.events) = (root, events);
        }
        self.asked = Some(root);
        // Who has nothing at all was asked only to let it know what we have.
        self.barren = if new > 0 || events == 0 { 0 } else { self.barren.saturating_add(1) };
    }

    /// How long a suspicion waits.
    fn patience(&self) -> Duration {
        let Some(doublings) = self.barren.checked_sub(1) else { return GRACE };
        let is_unchanged = self.theirs.map(|theirs| theirs.root) == self.asked;
        let longest = if is_unchanged { MAX_BACKOFF_UNCHANGED } else { MAX_BACKOFF_CHANGED };
        FIRST_BACKOFF.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(longest)
    }

    /// Whether this says more than what the peer was told and has sent us itself.
    fn is_news(&self, summary: &Summary, from_peer: u64) -> bool {
        self.told.is_none_or(|told| {
            let grown = summary.events.saturating_sub(told.events);
            told.cuts != summary.cuts || told.root != summary.root && (grown == 0 || grown > from_peer)
        })
    }
}

impl Session {
    /// The peer says what it has.
    pub(super) fn summary(&mut self, now: Duration, theirs: Summary, out: &mut Vec<Output>) {
        self.sight.theirs = Some(theirs);
        if self.sight.looking.is_some() {
            return; // compared with the answer
        }
        self.judge(now, false, out);
        self.compare_cuts(now, true, out);
    }

    /// What there is here.
    pub(super) fn looked(&mut self, now: Duration, ours: Summary, out: &mut Vec<Output>) {
        let Some(purpose) = self.sight.looking.take() else { return };
        self.sight.ours = Some(ours);
        self.sight.remember(ours.root);
        let is_news = match purpose.announce {
            Announce::No => false,
            Announce::News => self.sight.is_news(&ours, self.receive.sent_by_peer()),
            Announce::Always => self.sight.told != Some(ours),
        };
        if is_news {
            self.sight.told = Some(ours);
            self.receive.announced();
            self.sending.announced();
            out.push(Output::Send(Message::Summary(ours)));
        } else if purpose.announce == Announce::News && self.sight.told != Some(ours) {
            self.sending.announce_when_idle(now);
        }
        if let Some(others) = self.others.take() {
            out.push(Output::Send(Message::Others(others)));
        }
        self.judge(now, purpose.due, out);
        self.compare_cuts(now, false, out);
        if let Some(next) = self.sight.next.take() {
            self.sight.look(next, out);
        }
    }

    /// Compares what there was here at the last look with what the peer said last. Never while a look is under way: the shell may have
    /// taken it already, and would take the peer to have what came in between.
    fn judge(&mut self, now: Duration, is_due: bool, out: &mut Vec<Output>) {
        let (Some(ours), Some(theirs)) = (self.sight.ours, self.sight.theirs) else { return };
        let is_first = !std::mem::replace(&mut self.sight.compared, true);
        if ours.root == theirs.root {
            self.sight.grace_at = None;
            self.sight.barren = 0;
            if self.sight.same.replace(ours.root) != Some(ours.root) {
                out.push(Output::PeerHasLook);
                self.peer_is_known(out);
            }
            self.receive.withdraw(out);
            self.tell_push(now, out);
        } else if is_first {
            self.receive.ask_turn(out);
        } else if theirs.events == 0 || self.sight.recent.contains(&theirs.root) {
            self.sight.grace_at = None;
            self.tell_push(now, out);
        } else if self.receive.is_waiting() || self.receive.is_downloading() {
            self.sight.grace_at = None;
        } else if is_due {
            self.sight.grace_at = None;
            self.receive.ask_turn(out);
        } else {
            let patience = self.sight.patience();
            let at = now.saturating_add(self.jittered(patience));
            self.sight.grace_at = Some(self.sight.grace_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// Sends evidence of forks where the two know of different ones: once for each pair of digests. It is sent only with the answer to
    /// a look, which waits for the stream, so a peer that takes nothing gets no more.
    fn compare_cuts(&mut self, now: Duration, must_look: bool, out: &mut Vec<Output>) {
        let (Some(ours), Some(theirs)) = (self.sight.ours, self.sight.theirs) else { return };
        let pair = (ours.cuts, theirs.cuts);
        if ours.cuts == theirs.cuts || self.sight.forks_for == Some(pair) {
            self.sight.forks_at = None;
        } else if now < self.sight.forks_after {
            self.sight.forks_at = Some(self.sight.forks_after);
        } else if must_look {
            self.sight.look(Look::default(), out);
        } else {
            self.sight.forks_at = None;
            self.sight.forks_for = Some(pair);
            self.sight.forks_after = now.saturating_add(FORKS_EVERY);
            out.push(Output::SendForks);
        }
    }

    pub(super) fn compare_time(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.sight.grace_at.take_if(|at| *at <= now).is_some() {
            self.sight.look(Look { announce: Announce::No, due: true }, out);
        }
        if self.sight.forks_at.take_if(|at| *at <= now).is_some() {
            self.sight.look(Look::default(), out);
        }
    }
}
