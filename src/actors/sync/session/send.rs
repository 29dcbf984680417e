//! What the peer fetches from us: the answer to its version vector, then events as they come, or summaries.
//!
//! What the peer has is known once it has sent a version vector or has had the same root. From then on everything it
//! lacks can be read out of the log, one chunk at a time, each when the stream has taken the one before.

use std::time::Duration;

use super::{
    Offence, Output, ReadOutcome, Session,
    compare::{Announce, Look},
    limits::{IDLE_SUMMARY, LAZY_DELAY, MAX_AUTHORS},
};
use crate::wire::{
    id::XaeroID,
    sync::{Message, Vector},
};

/// The peer's version vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Asked {
    /// There is none to answer.
    #[default]
    No,
    /// A part of it has come.
    Partly { last: XaeroID, authors: usize },
    /// It is being answered.
    Whole,
}

/// What the peer fetches from us.
#[derive(Debug, Default)]
pub(super) struct Sending {
    asked: Asked,
    /// Whether it is known what the peer has.
    is_known: bool,
    /// Whether the peer wants events as they come.
    push: bool,
    /// Whether a chunk is being read, and whether the log has grown meanwhile.
    reading: bool,
    grown: bool,
    /// When a lazy peer hears of what is new.
    lazy_at: Option<Duration>,
    /// When the peer hears what we have, because nothing has happened since.
    idle_at: Option<Duration>,
}

impl Sending {
    pub(super) fn wake(&self) -> Option<Duration> {
        [self.lazy_at, self.idle_at].into_iter().flatten().min()
    }

    /// The peer was told what we have.
    pub(super) const fn announced(&mut self) {
        self.idle_at = None;
    }

    /// What there is to say can wait.
    pub(super) fn announce_when_idle(&mut self, now: Duration) {
        self.idle_at.get_or_insert(now.saturating_add(IDLE_SUMMARY));
    }

    const fn is_pushing(&self) -> bool {
        self.push && self.is_known
    }

    fn read(&mut self, out: &mut Vec<Output>) {
        if self.reading {
            self.grown = true;
        } else {
            self.reading = true;
            out.push(Output::Read);
        }
    }

    fn announce_soon(&mut self, now: Duration) {
        self.lazy_at.get_or_insert(now.saturating_add(LAZY_DELAY));
    }
}

impl Session {
    /// A part of the peer's version vector.
    pub(super) fn vector(&mut self, vector: Vector, out: &mut Vec<Output>) -> Result<(), Offence> {
        let Vector { entries, more, push } = vector;
        let (last, authors) = match self.sending.asked {
            Asked::Whole => return Err(Offence::SecondVector),
            Asked::No => (None, 0),
            Asked::Partly { last, authors } => (Some(last), authors),
        };
        let authors = authors.saturating_add(entries.len());
        if authors > MAX_AUTHORS {
            return Err(Offence::VectorTooLong { limit: MAX_AUTHORS });
        }
        let bounds = entries.first().zip(entries.last()).map(|(first, last)| (first.author, last.author));
        if last.zip(bounds).is_some_and(|(last, (first, _))| first <= last) {
            return Err(Offence::VectorOrder);
        }
        // An empty part that another follows would be one of endlessly many.
        let partly = bounds.map(|(_, last)| Asked::Partly { last, authors });
        let asked = if more { partly.ok_or(Offence::VectorOrder)? } else { Asked::Whole };
        out.push(Output::PeerHas { entries, first: last.is_none() });
        self.sending.asked = asked;
        // Between the parts what the peer has is known in part only: what is read then would be sent again.
        self.sending.is_known = !more;
        if !more {
            self.sending.push = push;
            self.sending.read(out);
        }
        Ok(())
    }

    /// The peer has what we have.
    pub(super) fn peer_is_known(&mut self, out: &mut Vec<Output>) {
        let was_known = std::mem::replace(&mut self.sending.is_known, true);
        if !was_known && self.sending.push {
            self.sending.read(out);
        }
    }

    /// The peer wants events as they come, or no longer does.
    pub(super) fn peer_wants_push(&mut self, now: Duration, push: bool, out: &mut Vec<Output>) {
        self.sending.push = push;
        if self.sending.is_pushing() {
            self.sending.read(out);
        } else {
            self.sending.announce_soon(now);
        }
    }

    /// What a read has found.
    pub(super) fn read(&mut self, now: Duration, outcome: ReadOutcome, out: &mut Vec<Output>) {
        let sending = &mut self.sending;
        if !std::mem::take(&mut sending.reading) {
            return;
        }
        match outcome {
            ReadOutcome::Chunk(events) => {
                // Also where the peer wants no more: it counts as having these.
                out.push(Output::Send(Message::Events(events)));
                sending.grown = true;
            }
            ReadOutcome::End(summary) => {
                if sending.asked == Asked::Whole {
                    sending.asked = Asked::No;
                    let (root, events) = (summary.root, summary.events);
                    out.push(Output::Send(Message::CaughtUp { root, events }));
                    self.sight.told_caught_up(summary);
                    self.receive.announced();
                } else {
                    self.sight.remember(summary.root);
                }
            }
        }
        let sending = &mut self.sending;
        if std::mem::take(&mut sending.grown) {
            if sending.asked == Asked::Whole || sending.is_pushing() {
                sending.read(out);
            } else {
                sending.announce_soon(now);
            }
        }
    }

    /// The log here has grown.
    pub(super) fn grown(&mut self, now: Duration, cuts_changed: bool, out: &mut Vec<Output>) {
        let sending = &mut self.sending;
        if sending.is_pushing() || sending.asked == Asked::Whole {
            sending.idle_at = Some(now.saturating_add(IDLE_SUMMARY));
            sending.read(out);
        } else {
            sending.announce_soon(now);
        }
        if cuts_changed {
            sending.announce_soon(now);
        }
    }

    pub(super) fn send_time(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.sending.lazy_at.take_if(|at| *at <= now).is_some() {
            self.sight.look(Look { announce: Announce::News, due: false }, out);
        }
        if self.sending.idle_at.take_if(|at| *at <= now).is_some() {
            self.sight.look(Look { announce: Announce::Always, due: false }, out);
        }
    }
}
