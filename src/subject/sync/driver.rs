//! The shell of one session: the [machine](crate::actors::sync::Session) says what is to be done about one subject on one
//! connection, and this has it done.
//!
//! Three tasks: this one, which feeds the machine; its *lane*, for what waits for the stream; its *storing*, for what came. So
//! neither a peer that takes nothing nor a disk that is slow holds up the other direction.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    hub::{Hub, Told},
    intake::{Intake, IntakeError},
    interests,
    lane::{Done, Job, Lane},
    outlet::Outlet,
    replica::{Look, Source},
    sent::PeerSent,
    storing::{Arrived, Kept, Storing},
};
use crate::{
    actors::{
        net::{Came, ReadMessageError, SubjectStream, write_message},
        sync::{EndReason, Input, Output, ReadOutcome, Session, StoreOutcome},
    },
    subject::core::Core,
    wire::{
        id::Dot,
        interest::MAX_OWN_WRITERS,
        sync::{Bye, ByeReason, Message, SyncError, hello::FILTERS},
    },
};

/// How long a peer may take to hear why its session ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a session works with.
pub(super) struct Driver {
    pub(super) source: Source,
    pub(super) core: Weak<Core>,
    pub(super) hub: Arc<Hub>,
    /// The session's number in the hub.
    pub(super) id: u64,
    /// What the hub tells it.
    pub(super) told: UnboundedReceiver<Told>,
}

/// What runs beside the stream.
struct Links {
    jobs: UnboundedSender<Job>,
    arrived: UnboundedSender<Arrived>,
}

/// How long a peer is still served that has just been revoked in an owned subject: so that it learns of it, and why nothing
/// more comes. Many times what a round trip takes.
const REVOKED_GRACE: Duration = Duration::from_secs(2);

/// How often a peer may say so anew in one session: once for each of its writers is what there is reason for.
const MOST_INTERESTS: usize = MAX_OWN_WRITERS;

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The peer broke the protocol.
    Offence(String),
    /// This side could not go on, or the peer was of no use.
    Failed(String),
    /// The peer is not served any more: it was revoked.
    Refused,
    /// The peer does not serve this node.
    NotServed,
    /// The stream is gone, or the peer has ended it.
    Over,
}

impl Ending {
    /// What the peer is told of it.
    fn farewell(&self) -> Option<Bye> {
        let (reason, text) = match self {
            Self::Offence(what) => (ByeReason::Offence, what.clone()),
            Self::Failed(why) => (ByeReason::Failed, why.clone()),
            Self::Refused => (ByeReason::Refused, "your identity was revoked in this subject".to_owned()),
            Self::NotServed | Self::Over => return None,
        };
        Some(Bye { reason, text })
    }
}

impl From<EndReason> for Ending {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Offence(offence) => Self::Offence(offence.to_string()),
            EndReason::Failed(reason) => Self::Failed(reason),
            EndReason::Stalled => Self::Failed("the peer does not send what it was asked for".to_owned()),
            EndReason::Bye(bye) if bye.reason == ByeReason::Refused => Self::NotServed,
            EndReason::Bye(_) | EndReason::Closed => Self::Over,
        }
    }
}

/// What happened.
enum Event {
    Input(Input),
    Looked(Arc<Look>),
    Kept(Kept),
    Grown,
    Time,
    Ended(Ending),
}

impl Driver {
    /// Runs the session on this stream until it is over, and says why. Dropped, it ends the stream.
    pub(super) async fn run(mut self, stream: SubjectStream) -> Ending {
        let SubjectStream { mut reader, mut send, slot, peer, .. } = stream;
        if let Err(ending) = interests::exchange(&self.source, &mut reader, &mut send, peer.features).await {
            self.hub.leave(self.id);
            if let Some(bye) = ending.farewell() {
                reader.stop(bye.reason);
                // A peer that takes nothing does not hear it.
                let _ = timeout(FAREWELL, write_message(&mut send, &Message::Bye(bye))).await;
                let _ = send.finish();
            }
            return ending;
        }
        // The peer waits for what is published here: its heads are signed at once.
        let watching = self.source.log.watch();
        // Both end with this task, and with its senders.
        let mut tasks = JoinSet::new();
        let ((jobs, lane_jobs), (done, mut lane_done)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let ((arrived, storing_arrived), (kept, mut storing_kept)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let sent = PeerSent::default();
        let outlet = Box::new(Outlet::after(sent.clone()));
        let lane = Lane { source: self.source.clone(), send, outlet, done };
        tasks.spawn(lane.run(lane_jobs));
        let (source, core) = (self.source.clone(), Weak::clone(&self.core));
        let storing = Storing { source, core, intake: Box::<Intake>::default(), sent, kept };
        tasks.spawn(storing.run(storing_arrived));
        let links = Links { jobs, arrived };

        let begun = Instant::now();
        let mut session = Session::new(getrandom::u64().unwrap_or(self.id));
        let mut state = State { links, look: None, reconsider: Reconsider::No, wake: None, end: None };
        let mut out = Vec::new();
        let mut leave_at: Option<Duration> = None;
        let mut interests_heard = 0;
        let (mut commits, mut cuts) = (self.source.log.commits(), self.source.log.forks());
        session.handle(begun.elapsed(), Input::Start, &mut out);
        let reason = loop {
            for output in out.drain(..) {
                state.carry_out(output, &self.hub, self.id);
            }
            self.hub.note_status(self.id, session.status());
            if let Some(reason) = state.end.take() {
                break Ending::from(reason);
            }
            let due = state.wake.into_iter().chain(leave_at).min().and_then(|due| begun.checked_add(due));
            let event = tokio::select! {
                came = reader.step(), if session.wants_input() => match came {
                    Ok(Came::Message(message)) => Event::Input(Input::Received(message)),
                    Ok(Came::Part) => Event::Input(Input::Receiving),
                    Ok(Came::End) => Event::Input(Input::Closed),
                    Err(error) if error.is_offence() => Event::Ended(Ending::Offence(error.to_string())),
                    Err(error @ ReadMessageError::Outpaced) => Event::Ended(Ending::Failed(error.to_string())),
                    Err(error) if error.reason() == Some(ByeReason::Refused) => Event::Ended(Ending::NotServed),
                    Err(_) => Event::Input(Input::Closed),
                },
                Some(done) = lane_done.recv() => match done {
                    Done::Looked(look) => Event::Looked(look),
                    Done::Chunk(chunk) => Event::Input(Input::Read(ReadOutcome::Chunk(chunk))),
                    Done::End(summary) => Event::Input(Input::Read(ReadOutcome::End(summary))),
                    Done::Closed => Event::Input(Input::Closed),
                    Done::Failed(error) => Event::Ended(Ending::Failed(error.to_string())),
                },
                Some(kept) = storing_kept.recv() => Event::Kept(kept),
                Some(told) = self.told.recv() => Event::Input(match told {
                    Told::Turn { push } => Input::Turn { push },
                    Told::Push(push) => Input::SetPush(push),
                    Told::Others(others) => Input::Others(others),
                }),
                Ok(()) = commits.changed() => Event::Grown,
                () = sleep_until(due) => Event::Time,
            };
            let now = begun.elapsed();
            if leave_at.is_some_and(|at| at <= now) {
                break Ending::Refused;
            }
            let input = match event {
                Event::Input(Input::Received(Message::Interest(theirs)))
                    if peer.features & FILTERS != 0 && interests_heard < MOST_INTERESTS =>
                {
                    interests_heard += 1;
                    self.source.interests.change(|interests| interests.theirs = *theirs);
                    state.job(Job::Rescope);
                    // What is compared is another part of the log than before.
                    Input::Grown { cuts_changed: true }
                }
                Event::Input(input) => input,
                Event::Looked(look) => {
                    let summary = look.summary;
                    state.look = Some(look);
                    Input::Looked(summary)
                }
                Event::Kept(Kept::Done(taken)) => {
                    self.hub.note_taken(self.id, taken);
                    Input::Stored(StoreOutcome::Done { new: taken.new, duplicates: taken.known })
                }
                Event::Kept(Kept::Failed(IntakeError::Offence(error))) => Input::Stored(StoreOutcome::Offence(error)),
                Event::Kept(Kept::Failed(IntakeError::Doubt { dot, error })) => {
                    // The first time it may be that the author has signed two histories: what both sides have is compared
                    // anew. A peer that is honest does not come to this twice.
                    if self.hub.doubts(self.id, dot.author) {
                        let Dot { author, seq: first } = dot;
                        let offence = SyncError::NotSigned { author, first, error };
                        Input::Stored(StoreOutcome::Offence(offence))
                    } else {
                        Input::Stored(StoreOutcome::Failed(format!("event {dot} has to be compared anew: {error}")))
                    }
                }
                Event::Kept(Kept::Failed(error)) => Input::Stored(StoreOutcome::Failed(error.to_string())),
                Event::Grown => {
                    if leave_at.is_none() && !self.source.log.may_read(peer.writer) {
                        leave_at = Some(now.saturating_add(REVOKED_GRACE));
                    }
                    let now_cuts = self.source.log.forks();
                    let cuts_changed = now_cuts != cuts;
                    cuts = now_cuts;
                    state.reconsider =
                        state.reconsider.max(if cuts_changed { Reconsider::All } else { Reconsider::Blocked });
                    Input::Grown { cuts_changed }
                }
                Event::Time => {
                    state.wake = None;
                    Input::Time
                }
                Event::Ended(reason) => break reason,
            };
            session.handle(now, input, &mut out);
        };
        // A turn that it held is given back, whatever the reason.
        self.hub.leave(self.id);
        if let Some(bye) = reason.farewell() {
            reader.stop(bye.reason);
            state.job(Job::Send(Message::Bye(bye)));
            drop(state);
            // A peer that takes nothing does not hear it.
            let _ = timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} }).await;
        }
        drop((tasks, slot, watching));
        reason
    }
}

/// What the machine has asked for.
struct State {
    links: Links,
    /// What was here when it was last looked.
    look: Option<Arc<Look>>,
    /// Whether the lane is to look again at what it passed over.
    reconsider: Reconsider,
    /// When the machine wants to know the time.
    wake: Option<Duration>,
    end: Option<EndReason>,
}

/// What is to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reconsider {
    /// Nothing.
    No,
    /// What was passed over because nothing showed whose it was.
    Blocked,
    /// All: what counts has changed.
    All,
}

impl State {
    /// Tells the lane what has come up since it was last told.
    fn brief(&mut self) {
        match std::mem::replace(&mut self.reconsider, Reconsider::No) {
            Reconsider::No => {}
            which => self.job(Job::Reconsider { always: which == Reconsider::All }),
        }
    }

    fn carry_out(&mut self, output: Output, hub: &Hub, id: u64) {
        match output {
            Output::Look => self.job(Job::Look),
            Output::Send(message) => self.job(Job::Send(message)),
            Output::SendVector { push } => {
                self.job(Job::SendVector { push });
                // A task that has ended says so by itself.
                drop(self.links.arrived.send(Arrived::Asked));
            }
            Output::SendForks => self.job(Job::SendForks),
            Output::Read => {
                self.brief();
                self.job(Job::Read);
            }
            Output::PeerHas { entries, first } => self.job(Job::PeerHas { entries, first }),
            Output::PeerHasLook => {
                if let Some(look) = &self.look {
                    self.job(Job::PeerHasLook(Arc::clone(look)));
                }
            }
            // A task that has ended says so by itself.
            Output::Store(events) => drop(self.links.arrived.send(Arrived::Events(events))),
            Output::TakeFork(fork) => drop(self.links.arrived.send(Arrived::Fork(fork))),
            Output::PeerKnows(others) => hub.note_others(id, others),
            Output::AskTurn => hub.ask_turn(id),
            Output::ReturnTurn => hub.return_turn(id),
            Output::Wake(wake) => self.wake = wake,
            Output::End(reason) => self.end = Some(reason),
        }
    }

    fn job(&self, job: Job) {
        // A lane that has ended says so by itself.
        let _ = self.links.jobs.send(job);
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
