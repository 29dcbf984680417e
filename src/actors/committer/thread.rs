//! The committer's loop: gather a group, commit it, answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{JoinHandle, ThreadId},
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use hashbrown::HashSet;

use super::{
    questions::SIGNING_PAUSE,
    submission::{Batch, Outcome, Reply, Submission},
    writer::LogWriter,
};
use crate::actors::{
    fault::fault_point,
    keyring::Keyring,
    signing::thread::{Done, Signing},
    storage::{StorageError, Store, open::SubjectLog},
};
use crate::wire::id::{SubjectId, XaeroID};

/// Events in one group, at most. Larger groups gain little and make the first of them wait.
const GROUP_EVENTS: usize = 4096;

/// Bytes in one group, at most: what one transaction holds in memory.
const GROUP_BYTES: usize = 32 << 20;

/// How often the clock is looked at while events are held because theirs is ahead. They waited for hours: a second more
/// is nothing, and a look costs nothing either.
pub(super) const HELD_POLL: Duration = Duration::from_secs(1);

/// How long signatures wait before they are stored, by a commit of their own. A log that grows with every commit has a new head
/// each time, and only the last of these is written.
pub(super) const SIGNED_PATIENCE: Duration = Duration::from_millis(100);

/// How long signatures wait that there was no room for: each attempt costs a replay, as that of a submission does, and room
/// is seldom made sooner.
const SIGNED_RETRY: Duration = Duration::from_secs(5);

/// A submission that panicked this often by itself is given up: it is what is wrong, not the moment.
const PANICS_ALONE: u32 = 3;

/// So many submissions of a group are refused one after the other, for want of room, before the others are refused
/// untried. Each refusal costs a replay of up to [`CHECKPOINT_EVENTS`](super::writer::CHECKPOINT_EVENTS) events, which a
/// thousand subjects would have the whole node wait for; and a few that are refused may only have been large ones.
const REFUSALS_IN_A_ROW: usize = 8;

/// Milliseconds since the Unix epoch, as this machine's wall clock has them.
pub(crate) type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The committer of one node.
pub(crate) struct Committer {
    inbox: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: ThreadId,
}

enum Message {
    Submit(Submission),
    Signed(Done),
    /// A segment was sealed: what it holds may leave the log table.
    Trim,
    Stop,
}

/// Who signs the heads of what is committed.
pub(crate) enum Trust {
    /// The node's own identities, with this pause from one job to the next, unless somebody asks.
    Keys(Arc<Keyring>, Duration),
    /// Nobody, but the trees are kept.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests of the committer have no keys"))]
    Unsigned,
    /// Nobody, and there are no trees: to measure what they cost.
    Off,
}

impl Committer {
    /// Reads what is durable and starts the thread.
    pub(crate) fn start(store: Arc<Store>, wall: WallClock, trust: Trust) -> Result<Self, StorageError> {
        let keyring = match &trust {
            Trust::Keys(keyring, _) => Some(Arc::clone(keyring)),
            Trust::Unsigned | Trust::Off => None,
        };
        let mut writer = LogWriter::recover(Arc::clone(&store), keyring.clone())?;
        writer.keeps_trees = !matches!(trust, Trust::Off);
        if writer.keeps_trees {
            writer.complete_trees()?;
        } else {
            writer.abandon_trees()?;
        }
        // Bounded by the credits of the subjects: each has a limited number of events in flight.
        let (inbox, messages) = unbounded();
        let signing = match &keyring {
            Some(keyring) => {
                let inbox = inbox.clone();
                // A closed inbox means that the committer has ended, having signed what was left by itself.
                let tell = Box::new(move |done| drop(inbox.send(Message::Signed(done))));
                Some(Signing::start(Arc::clone(keyring), writer.scope.clone(), tell)?)
            }
            None => None,
        };
        let mut state = Loop {
            store,
            writer,
            wall,
            keyring,
            signing,
            epoch: 0,
            parked: Vec::new(),
            store_at: None,
            sign_at: None,
            signing_pause: match trust {
                Trust::Keys(_, pause) => pause,
                Trust::Unsigned | Trust::Off => SIGNING_PAUSE,
            },
            staged: Vec::new(),
            committed: false,
            // What was held when the node stopped may be due by now.
            look_at: Some(Instant::now()),
            trim_at: Some(Instant::now()),
            heal_at: None,
            unhealed: HashSet::new(),
            healed: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("xaeroflux-commit".to_owned())
            .spawn(move || state.run(&messages))
            .map_err(|source| StorageError::io("starting a thread for", "the committer", source))?;
        let thread_id = thread.thread().id();
        Ok(Self { inbox, thread: Mutex::new(Some(thread)), thread_id })
    }

    /// Hands a submission over. It is answered in any case.
    pub(crate) fn submit(&self, submission: Submission) {
        if let Some(submission) = self.try_submit(submission) {
            (submission.reply)(Err(StorageError::Closed));
        }
    }

    /// Tells that the segments reach further than they did.
    pub(crate) fn trim(&self) {
        // Whoever starts next finds out by itself.
        let _ = self.inbox.send(Message::Trim);
    }

    /// As [`submit`](Self::submit), but where the committer has ended the submission comes back, and is not answered: for
    /// those who hold a lock that the answer needs.
    pub(crate) fn try_submit(&self, submission: Submission) -> Option<Submission> {
        match self.inbox.send(Message::Submit(submission)).err()?.into_inner() {
            Message::Submit(submission) => Some(submission),
            _ => None,
        }
    }

    /// Whether the caller runs on the committer's thread, and therefore must not wait for it. What a receipt wakes does.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.thread_id == std::thread::current().id()
    }

    /// Commits what was handed over before, writes a checkpoint, and ends the thread.
    pub(crate) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A closed inbox means that the thread has ended already.
            let _ = self.inbox.send(Message::Stop);
            if !self.is_own_thread() && thread.join().is_err() {
                tracing::error!("the committer ended in a panic");
            }
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) struct Loop {
    pub(super) store: Arc<Store>,
    pub(super) writer: LogWriter,
    pub(super) wall: WallClock,
    pub(super) keyring: Option<Arc<Keyring>>,
    pub(super) signing: Option<Signing>,
    /// How often the writer was made anew: what was signed for an earlier one may never have been stored.
    pub(super) epoch: u64,
    /// Questions for a head whose signature is on its way.
    pub(super) parked: Vec<Submission>,
    /// When signatures that wait for a commit get one of their own.
    pub(super) store_at: Option<Instant>,
    /// Before this moment no further job is sent, unless somebody asks.
    pub(super) sign_at: Option<Instant>,
    pub(super) signing_pause: Duration,
    /// The outcomes of the group that is being committed.
    staged: Vec<Outcome>,
    /// Whether that group is on disk.
    committed: bool,
    /// When to look whether a held event's time has come; `None` while nothing is held.
    pub(super) look_at: Option<Instant>,
    /// When to take out of the log table what is in segments; `None` while there is nothing of the kind.
    pub(super) trim_at: Option<Instant>,
    /// When to try again to have forked logs go on; `None` while nothing keeps from it.
    pub(super) heal_at: Option<Instant>,
    /// Those with which that did not succeed: the next run of the process tries again.
    pub(super) unhealed: HashSet<(SubjectId, XaeroID)>,
    /// Logs of which something is to be told, kept until it was.
    pub(super) healed: Vec<Arc<SubjectLog>>,
}

/// How an attempt to commit a group ended.
enum Attempt {
    Committed(Vec<Outcome>),
    Failed(StorageError),
    Panicked,
}

impl Loop {
    fn run(&mut self, messages: &Receiver<Message>) {
        loop {
            if self.store.poisoned().is_none() {
                // What was not signed when the node stopped, or before the writer was made anew, or is asked for.
                self.have_signed();
            } else {
                self.answer_questions(true);
            }
            // Looked at here, so that a node whose queue is never empty comes to it as well.
            if self.look_at.is_some_and(|due| due <= Instant::now()) {
                self.release_held();
            }
            if self.store_at.is_some_and(|due| due <= Instant::now()) {
                self.store_at = None;
                self.writer.heads.hold(false);
                if self.writer.heads.has_ready() {
                    self.commit(Vec::new());
                }
            }
            if self.trim_at.is_some_and(|due| due <= Instant::now()) {
                self.trim();
            }
            self.heal();
            let due = [self.look_at, self.store_at, self.trim_at, self.heal_at, self.signing_due()];
            let received = match due.into_iter().flatten().min() {
                Some(due) => messages.recv_deadline(due),
                None => messages.recv().map_err(RecvTimeoutError::from),
            };
            let first = match received {
                Ok(Message::Submit(submission)) => submission,
                Ok(Message::Signed(done)) => {
                    self.take_signed(done);
                    continue;
                }
                Ok(Message::Trim) => {
                    self.trim_at = Some(Instant::now());
                    continue;
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => continue,
            };
            let (mut events, mut bytes) = first.batch.size();
            // What is published behind the end of a local writer's log is for the one that goes on in its place.
            let mut ends = first.batch.may_cut();
            let mut group = vec![first];
            let mut stopping = false;
            while events < GROUP_EVENTS && bytes < GROUP_BYTES && !ends {
                match messages.try_recv() {
                    Ok(Message::Submit(submission)) => {
                        let size = submission.batch.size();
                        (events, bytes) = (events.saturating_add(size.0), bytes.saturating_add(size.1));
                        ends = submission.batch.may_cut();
                        group.push(submission);
                    }
                    Ok(Message::Signed(done)) => self.take_signed(done),
                    Ok(Message::Trim) => self.trim_at = Some(Instant::now()),
                    Ok(Message::Stop) => {
                        stopping = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
            let (questions, group): (Vec<_>, Vec<_>) =
                group.into_iter().partition(|submission| submission.batch.is_question());
            let may_hold = group.iter().any(|submission| matches!(submission.batch, Batch::Foreign(_) | Batch::Open));
            if !group.is_empty() {
                self.commit(group);
                self.heal();
            }
            self.parked.extend(questions);
            self.answer_questions(false);
            if may_hold && self.look_at.is_none() && self.writer.holds_any() {
                self.look_at = Instant::now().checked_add(HELD_POLL);
            }
            if stopping {
                break;
            }
        }
        self.close();
    }

    /// Commits the group, in parts where one part spoils the whole, and answers each submission.
    pub(super) fn commit(&mut self, group: Vec<Submission>) {
        match self.attempt(&group) {
            Attempt::Committed(outcomes) => {
                for (submission, outcome) in group.into_iter().zip(outcomes) {
                    answer(submission.reply, Ok(outcome));
                }
            }
            Attempt::Failed(error) if group.len() > 1 && self.store.poisoned().is_none() => {
                tracing::debug!(%error, "a group failed; trying its parts");
                self.commit_each(group);
            }
            Attempt::Failed(error) => {
                for submission in group {
                    submission.log.publish_token(submission.token);
                    answer(submission.reply, Err(error.clone()));
                }
            }
            Attempt::Panicked => self.commit_each(group),
        }
    }

    /// Commits each submission by itself, so that only what is wrong fails. Where there is no room for one after the other,
    /// the rest is not tried.
    fn commit_each(&mut self, group: Vec<Submission>) {
        let mut refusals = 0;
        let mut no_room: Option<StorageError> = None;
        for submission in group {
            // An opening takes no room: to read is possible on a full disk too, and that it succeeds says nothing of one.
            let takes_room = !matches!(submission.batch, Batch::Open | Batch::Logs | Batch::Kept);
            let result = match &no_room {
                Some(error) if takes_room => Err(error.clone()),
                _ => self.commit_one(&submission),
            };
            match &result {
                Ok(_) if takes_room => refusals = 0,
                Err(error) if error.is_refusal() => {
                    refusals += 1;
                    if refusals == REFUSALS_IN_A_ROW {
                        tracing::debug!(%error, "refusing the rest of the group untried");
                        no_room = Some(error.clone());
                    }
                }
                _ => {}
            }
            submission.log.publish_token(submission.token);
            answer(submission.reply, result);
        }
    }

    fn commit_one(&mut self, submission: &Submission) -> Result<Outcome, StorageError> {
        let one = std::slice::from_ref(submission);
        let mut attempt = self.attempt(one);
        for _ in 1..PANICS_ALONE {
            if matches!(attempt, Attempt::Panicked) {
                attempt = self.attempt(one);
            }
        }
        match attempt {
            Attempt::Committed(mut outcomes) => Ok(outcomes.pop().unwrap_or(Outcome::Done)),
            Attempt::Failed(error) => Err(error),
            Attempt::Panicked => Err(StorageError::Engine {
                action: "committing a batch",
                reason: "it panicked each time; the batch is set aside".to_owned(),
            }),
        }
    }

    fn attempt(&mut self, group: &[Submission]) -> Attempt {
        if let Some(error) = self.store.poisoned() {
            return Attempt::Failed(error);
        }
        self.staged.clear();
        self.committed = false;
        match catch_unwind(AssertUnwindSafe(|| self.transact(group))) {
            Ok(Ok(outcomes)) => Attempt::Committed(outcomes),
            Ok(Err(error)) => {
                if let StorageError::Poisoned { reason } = &error {
                    self.store.poison(reason);
                }
                let stored_signatures = self.writer.heads.is_storing();
                self.recover();
                if stored_signatures && error.is_refusal() && self.store.poisoned().is_none() {
                    // They take room too. Whoever needs none, to read or to ask, must not be refused for them.
                    self.writer.heads.hold(true);
                    self.store_at = Instant::now().checked_add(SIGNED_RETRY);
                    return if group.is_empty() { Attempt::Failed(error) } else { self.attempt(group) };
                }
                Attempt::Failed(self.store.poisoned().unwrap_or(error))
            }
            Err(_) => {
                tracing::error!("the committer panicked; reading back what is durable");
                self.recover();
                // A panic after the commit takes nothing back. Before it, nothing of the group is there.
                if !self.committed {
                    return Attempt::Panicked;
                }
                if !self.reannounce(group) {
                    self.store.poison("the log could not be read back after a failure");
                }
                publish_tokens(group);
                Attempt::Committed(std::mem::take(&mut self.staged))
            }
        }
    }

    fn transact(&mut self, group: &[Submission]) -> Result<Vec<Outcome>, StorageError> {
        let store = Arc::clone(&self.store);
        let now_ms = (self.wall)();
        fault_point!(self.writer.scope, "committer.received");
        let mut txn = store.env.write()?;
        for submission in group {
            let outcome = self.writer.write(&mut txn, submission, now_ms)?;
            self.staged.push(outcome);
        }
        self.writer.finish(&mut txn)?;
        // Signed while the disk syncs. What comes back is looked at only after this commit. Where peers are connected they
        // wait for it.
        self.have_signed_now(!self.parked.is_empty() || self.writer.touches_watched());
        fault_point!(self.writer.scope, "committer.before_commit");
        fault_point!(
            self.writer.scope,
            "committer.commit_fails" => StorageError::Poisoned { reason: "a simulated failure of fsync".to_owned() }
        );
        store.commit(txn)?;
        self.committed = true;
        fault_point!(self.writer.scope, "committer.after_commit");
        if let Err(error) = store.extend_data_file() {
            tracing::warn!(%error, "the data file could not be brought to its full length");
        }
        let changed = self.writer.publish();
        let is_nobodys = |it: &&Submission| matches!(it.batch, Batch::Open | Batch::Act { .. } | Batch::Heal { .. });
        for submission in group.iter().filter(is_nobodys) {
            // Who sent a batch hears of it by the answer. What an opening or an act let in is nobody's batch.
            if changed.iter().any(|log| log.id == submission.log.id) {
                submission.log.tell_grown();
            }
            self.writer.announce(&submission.log);
        }
        publish_tokens(group);
        Ok(std::mem::take(&mut self.staged))
    }

    /// Tells those who opened a log how far it reaches, after what the writer believed was read back. `false` where that
    /// cannot be read.
    fn reannounce(&mut self, group: &[Submission]) -> bool {
        let store = Arc::clone(&self.store);
        let Ok(txn) = store.env.read() else { return false };
        group.iter().filter(|submission| matches!(submission.batch, Batch::Open)).all(|submission| {
            let loaded = self.writer.load(&txn, submission.log.id).is_ok();
            self.writer.announce(&submission.log);
            loaded
        })
    }

    /// Forgets what the writer believed and reads what is durable.
    pub(super) fn recover(&mut self) {
        let keyring = self.keyring.clone();
        match catch_unwind(AssertUnwindSafe(|| LogWriter::recover(Arc::clone(&self.store), keyring))) {
            Ok(Ok(mut writer)) => {
                writer.succeed(&self.writer);
                self.writer = writer;
                if self.writer.heads.has_ready() && self.store_at.is_none() {
                    self.store_at = Instant::now().checked_add(SIGNED_PATIENCE);
                }
                self.epoch += 1;
            }
            Ok(Err(error)) => self.store.poison(&error.to_string()),
            Err(_) => self.store.poison("the log could not be read back after a failure"),
        }
    }
}

/// Answers, whatever the answer wakes: a future's waker is code of others, and must not end this thread.
pub(super) fn answer(reply: Reply, result: Result<Outcome, StorageError>) {
    if catch_unwind(AssertUnwindSafe(|| reply(result))).is_err() {
        tracing::error!("what waited for a commit panicked when it was woken");
    }
}

fn publish_tokens(group: &[Submission]) {
    for submission in group {
        submission.log.publish_token(submission.token);
    }
}

// They arm fault points, which release builds do not have.
#[cfg(all(test, debug_assertions))]
#[path = "tests.rs"]
mod tests;

#[cfg(all(test, debug_assertions))]
#[path = "signing_tests.rs"]
mod signing_tests;
