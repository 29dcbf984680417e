//! What we fetch: the turn, the version vector, chunks, and events that are pushed.
//!
//! At most one version vector of ours is unanswered. Who holds the turn and brings nothing new for a while loses it; what it
//! sends later is welcome all the same, and gets it the turn again.

use std::{collections::VecDeque, time::Duration};

use super::{
    EndReason, Offence, Output, Session,
    compare::{Announce, Look},
    limits::{FIRST_BACKOFF, MAX_BARREN, MAX_STALLS, MAX_STORING, MAX_STORING_BYTES, PUSH_LAPSE, STALL},
};
use crate::wire::{
    mmr::Hash,
    sync::{Events, Fork, Message},
};

/// The turn to download this subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    None,
    Asked,
    Held,
}

/// What is being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storing {
    /// A chunk of so many bytes.
    Events(usize),
    Fork,
}

impl Storing {
    const fn bytes(self) -> usize {
        match self {
            Self::Events(bytes) => bytes,
            // Few come, and each is short.
            Self::Fork => 0,
        }
    }
}

/// A version vector of ours that is being answered.
#[derive(Debug, Default)]
struct Download {
    /// Events that were new.
    new: u64,
    /// The peer has sent all that it had: its root, how many events that were, and how many stores there are to wait for.
    caught_up: Option<(Hash, u64, usize)>,
}

/// What we fetch.
#[derive(Debug, Default)]
pub(super) struct Receive {
    turn: Turn,
    download: Option<Download>,
    storing: VecDeque<Storing>,
    /// Whether events are wanted as they come, and whether the peer was told so.
    want_push: bool,
    told_push: bool,
    /// Until when pushed events may come although the peer was told otherwise.
    lapse: Option<Duration>,
    /// When a turn without anything new is lost, and when at the latest, whatever is on its way.
    stall_at: Option<Duration>,
    barren_at: Duration,
    stalls: u32,
    /// When the turn is asked for again after a stall.
    retry_at: Option<Duration>,
    /// New events that this peer has sent since it was told what we have.
    from_peer: u64,
}

impl Receive {
    pub(super) fn wake(&self) -> Option<Duration> {
        [self.stall_at, self.retry_at].into_iter().flatten().min()
    }

    /// Whether as much is being stored as may be.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.storing.iter().fold(0_usize, |sum, what| sum.saturating_add(what.bytes()));
        self.storing.len() >= MAX_STORING || bytes >= MAX_STORING_BYTES
    }

    pub(super) const fn is_downloading(&self) -> bool {
        self.download.is_some()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.turn != Turn::None
    }

    pub(super) const fn sent_by_peer(&self) -> u64 {
        self.from_peer
    }

    /// The peer was told what we have.
    pub(super) const fn announced(&mut self) {
        self.from_peer = 0;
    }

    pub(super) const fn want_push(&mut self, push: bool) {
        self.want_push = push;
    }

    pub(super) fn ask_turn(&mut self, out: &mut Vec<Output>) {
        if self.turn == Turn::None {
            self.turn = Turn::Asked;
            out.push(Output::AskTurn);
        }
    }

    /// There is nothing to fetch any more.
    pub(super) fn withdraw(&mut self, out: &mut Vec<Output>) {
        if self.turn == Turn::Asked && self.download.is_none() {
            self.return_turn(out);
        }
    }

    pub(super) fn return_turn(&mut self, out: &mut Vec<Output>) {
        self.stall_at = None;
        if std::mem::take(&mut self.turn) != Turn::None {
            out.push(Output::ReturnTurn);
        }
    }

    /// Evidence is taken from whoever has it.
    pub(super) fn fork(&mut self, fork: Box<Fork>, out: &mut Vec<Output>) {
        self.storing.push_back(Storing::Fork);
        out.push(Output::TakeFork(fork));
    }

    /// Bytes of a message have come.
    pub(super) fn sign_of_life(&mut self, now: Duration) {
        if let Some(stall_at) = &mut self.stall_at {
            *stall_at = now.saturating_add(STALL).min(self.barren_at).max(*stall_at);
        }
    }

    /// Begins to wait for something new.
    fn expect_news(&mut self, now: Duration) {
        if self.turn == Turn::Held {
            self.stall_at = Some(now.saturating_add(STALL));
            self.barren_at = now.saturating_add(MAX_BARREN);
        }
    }

    fn tell(&mut self, now: Duration, push: bool) {
        if self.told_push && !push {
            self.lapse = Some(now.saturating_add(PUSH_LAPSE));
        }
        self.told_push = push;
    }

    /// Whether events may come now.
    fn has_asked(&self, now: Duration) -> bool {
        let is_answered = self.download.as_ref().is_none_or(|download| download.caught_up.is_some());
        !is_answered || self.told_push || self.lapse.is_some_and(|until| now < until)
    }
}

impl Session {
    /// The coordinator lets us download.
    pub(super) fn turn(&mut self, now: Duration, push: bool, out: &mut Vec<Output>) {
        let receive = &mut self.receive;
        match receive.turn {
            // It was given when the question had just been withdrawn.
            Turn::None => return out.push(Output::ReturnTurn),
            Turn::Held => return,
            Turn::Asked => receive.turn = Turn::Held,
        }
        receive.want_push = push;
        receive.expect_news(now);
        // After a stall the last vector is still to be answered.
        if receive.download.is_none() {
            receive.download = Some(Download::default());
            receive.tell(now, push);
            out.push(Output::SendVector { push });
        }
    }

    pub(super) fn events(&mut self, now: Duration, events: Events, out: &mut Vec<Output>) -> Result<(), Offence> {
        if !self.receive.has_asked(now) {
            return Err(Offence::UnaskedEvents);
        }
        self.receive.storing.push_back(Storing::Events(events.body().len()));
        out.push(Output::Store(events));
        Ok(())
    }

    pub(super) fn caught_up(
        &mut self,
        now: Duration,
        root: Hash,
        events: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), Offence> {
        let storing = self.receive.storing.len();
        match &mut self.receive.download {
            Some(download) if download.caught_up.is_none() => download.caught_up = Some((root, events, storing)),
            _ => return Err(Offence::UnaskedCaughtUp),
        }
        self.finish(now, out);
        Ok(())
    }

    /// The oldest of what is being stored is stored.
    pub(super) fn stored(&mut self, now: Duration, new: u64, out: &mut Vec<Output>) {
        let Some(what) = self.receive.storing.pop_front() else { return };
        if matches!(what, Storing::Events(_)) && new > 0 {
            self.sight.was_useful();
            let receive = &mut self.receive;
            receive.from_peer = receive.from_peer.saturating_add(new);
            receive.stalls = 0;
            receive.retry_at = None;
            receive.expect_news(now);
            if receive.download.is_some() {
                receive.ask_turn(out);
            }
        }
        if let Some(download) = &mut self.receive.download {
            if matches!(what, Storing::Events(_)) {
                download.new = download.new.saturating_add(new);
            }
            if let Some((_, _, left)) = &mut download.caught_up {
                *left = left.saturating_sub(1);
            }
        }
        self.finish(now, out);
    }

    /// Ends the download once all that the peer has sent is stored.
    fn finish(&mut self, now: Duration, out: &mut Vec<Output>) {
        let is_done = |download: &mut Download| matches!(download.caught_up, Some((_, _, 0)));
        let Some(Download { new, caught_up: Some((root, events, _)) }) = self.receive.download.take_if(is_done) else {
            return;
        };
        self.receive.stalls = 0;
        self.receive.retry_at = None;
        self.receive.return_turn(out);
        self.sight.fetched(root, events, new);
        self.tell_push(now, out);
        // The peer may be waiting for a turn to fetch what we no longer have alone.
        let announce = if new > 0 { Announce::Always } else { Announce::News };
        self.sight.look(Look { announce, due: false }, out);
    }

    /// Says whether events are wanted as they come, where that is another answer than the last. A version vector says it too.
    pub(super) fn tell_push(&mut self, now: Duration, out: &mut Vec<Output>) {
        let receive = &mut self.receive;
        if self.sight.has_compared() && receive.download.is_none() && receive.told_push != receive.want_push {
            receive.tell(now, receive.want_push);
            out.push(Output::Send(Message::Push(receive.want_push)));
        }
    }

    pub(super) fn receive_time(&mut self, now: Duration, out: &mut Vec<Output>) -> Result<(), EndReason> {
        let receive = &mut self.receive;
        if receive.retry_at.take_if(|at| *at <= now).is_some() && receive.download.is_some() {
            receive.ask_turn(out);
        }
        if receive.stall_at.take_if(|at| *at <= now).is_none() {
            return Ok(());
        }
        if !receive.storing.is_empty() {
            // It is we who are slow.
            receive.expect_news(now);
            return Ok(());
        }
        receive.return_turn(out);
        receive.stalls = receive.stalls.saturating_add(1);
        if receive.stalls >= MAX_STALLS {
            return Err(EndReason::Stalled);
        }
        let wait = FIRST_BACKOFF.saturating_mul(1_u32.checked_shl(receive.stalls).unwrap_or(u32::MAX));
        let wait = self.jittered(wait);
        self.receive.retry_at = Some(now.saturating_add(wait));
        Ok(())
    }
}
