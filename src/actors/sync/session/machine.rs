//! The machine: an input comes in, outputs go out, and at most one timer runs.

use std::time::Duration;

use super::{
    EndReason, Input, Offence, Output, StoreOutcome,
    bucket::Bucket,
    compare::{Announce, Look, Sight},
    receive::Receive,
    send::Sending,
};
use crate::wire::sync::{Kind, Message, Others};

/// One subject on one connection, seen from one end.
///
/// Both ends of an empty subject say so, and that was all:
///
/// ```
/// use std::time::Duration;
/// use xaeroflux::{actors::sync::{Input, Output, Session}, wire::sync::{Message, Summary}};
/// let (mut session, mut out) = (Session::new(7), Vec::new());
/// session.handle(Duration::ZERO, Input::Start, &mut out);
/// assert_eq!(out, [Output::Look]);
/// let ours = Summary { root: [1; 32], events: 0, cuts: [2; 32] };
/// out.clear();
/// session.handle(Duration::ZERO, Input::Looked(ours), &mut out);
/// assert_eq!(out, [Output::Send(Message::Summary(ours))]);
/// out.clear();
/// session.handle(Duration::ZERO, Input::Received(Message::Summary(ours)), &mut out);
/// assert_eq!(out, [Output::PeerHasLook]);
/// ```
#[derive(Debug)]
pub struct Session {
    /// What each side has, as far as it is known.
    pub(super) sight: Sight,
    /// What we fetch.
    pub(super) receive: Receive,
    /// What the peer fetches.
    pub(super) sending: Sending,
    /// What the peer is still to be told of others.
    pub(super) others: Option<Others>,
    bucket: Bucket,
    /// The source of the jitter.
    random: u64,
    /// The time that was asked for last.
    wake: Option<Duration>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Running,
    Ended,
}

/// How far a session is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The two have not compared what they have.
    Opening,
    /// The peer has something that is not here, or seems to.
    Behind,
    /// It is being fetched.
    Downloading,
    /// Nothing is known to be missing.
    Current,
    /// The session is over.
    Ended,
}

impl Session {
    /// A session that has not begun. `seed` makes the jitter: another one for each session.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            sight: Sight::default(),
            receive: Receive::default(),
            sending: Sending::default(),
            others: None,
            bucket: Bucket::new(),
            random: seed,
            wake: None,
            stage: Stage::New,
        }
    }

    /// Takes an input at the time `now`, and appends what is to be done. Times never go back.
    pub fn handle(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        match (self.stage, &input) {
            (Stage::New, Input::Start) => self.stage = Stage::Running,
            (Stage::Running, Input::Start) | (Stage::Ended, _) => return,
            (Stage::New | Stage::Running, _) => {}
        }
        if let Err(reason) = self.take(now, input, out) {
            self.end(reason, out);
            return;
        }
        let wake = [self.sight.wake(), self.receive.wake(), self.sending.wake()].into_iter().flatten().min();
        if wake != self.wake {
            self.wake = wake;
            out.push(Output::Wake(wake));
        }
    }

    /// Whether the next message may be read from the stream. While it may not, the peer is held up by the stream's own flow control.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.stage != Stage::Ended && !self.receive.is_full()
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.stage {
            Stage::Ended => Status::Ended,
            _ if !self.sight.has_compared() => Status::Opening,
            _ if self.receive.is_downloading() => Status::Downloading,
            _ if self.receive.is_waiting() || self.sight.is_suspicious() => Status::Behind,
            _ => Status::Current,
        }
    }

    fn take(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) -> Result<(), EndReason> {
        match input {
            Input::Start => self.sight.look(Look { announce: Announce::Always, due: false }, out),
            Input::Received(message) => self.received(now, message, out)?,
            Input::Receiving => self.receive.sign_of_life(now),
            Input::Looked(summary) => self.looked(now, summary, out),
            Input::Turn { push } => self.turn(now, push, out),
            Input::Read(outcome) => self.read(now, outcome, out),
            Input::Stored(StoreOutcome::Done { new, .. }) => self.stored(now, new, out),
            Input::Stored(StoreOutcome::Offence(error)) => return Err(Offence::Sync(error).into()),
            Input::Stored(StoreOutcome::Failed(reason)) => return Err(EndReason::Failed(reason)),
            Input::Grown { cuts_changed } => self.grown(now, cuts_changed, out),
            Input::SetPush(push) => {
                self.receive.want_push(push);
                self.tell_push(now, out);
            }
            Input::Others(others) => {
                // It goes with the answer to a look, which waits for the stream: a peer that takes nothing gets no more.
                if self.others.replace(others).is_none() {
                    self.sight.look(Look::default(), out);
                }
            }
            Input::Time => {
                self.compare_time(now, out);
                self.send_time(now, out);
                self.receive_time(now, out)?;
            }
            Input::Closed => return Err(EndReason::Closed),
        }
        Ok(())
    }

    fn received(&mut self, now: Duration, message: Message, out: &mut Vec<Output>) -> Result<(), EndReason> {
        let kind = message.kind();
        let is_small = matches!(kind, Kind::SUMMARY | Kind::VECTOR | Kind::FORK | Kind::PUSH | Kind::OTHERS);
        if is_small && !self.bucket.take(now) {
            return Err(Offence::Flood(kind).into());
        }
        // Who the peer is compared with is what it has said that it has.
        if !matches!(kind, Kind::SUMMARY | Kind::BYE) && !self.sight.knows_theirs() {
            return Err(Offence::Misplaced(kind).into());
        }
        match message {
            Message::Summary(summary) => self.summary(now, summary, out),
            Message::Vector(vector) => self.vector(vector, out)?,
            Message::Events(events) => self.events(now, events, out)?,
            Message::CaughtUp { root, events } => self.caught_up(now, root, events, out)?,
            Message::Fork(fork) => self.receive.fork(fork, out),
            Message::Push(push) => self.peer_wants_push(now, push, out),
            Message::Others(others) => out.push(Output::PeerKnows(others)),
            Message::Bye(bye) => return Err(EndReason::Bye(bye)),
            _ => return Err(Offence::Misplaced(kind).into()),
        }
        Ok(())
    }

    fn end(&mut self, reason: EndReason, out: &mut Vec<Output>) {
        self.stage = Stage::Ended;
        self.receive.return_turn(out);
        if self.wake.take().is_some() {
            out.push(Output::Wake(None));
        }
        out.push(Output::End(reason));
    }

    /// A time of this length, and up to as much again by chance.
    pub(super) fn jittered(&mut self, wait: Duration) -> Duration {
        // splitmix64: its whole state is one number, and any seed will do.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let part = u32::try_from((bits ^ (bits >> 31)) >> 48).unwrap_or(0);
        wait.saturating_add((wait / 65_536).saturating_mul(part))
    }
}

impl From<Offence> for EndReason {
    fn from(offence: Offence) -> Self {
        Self::Offence(offence)
    }
}
