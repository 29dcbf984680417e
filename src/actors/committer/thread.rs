//! The committer's loop: gather a group, commit it, answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::writer::{Batch, LogWriter, Outcome, Reply, Submission};
use crate::actors::{
    fault::fault_point,
    storage::{StorageError, Store},
};

/// Events in one group, at most. Larger groups gain little and make the first of them wait.
const GROUP_EVENTS: usize = 4096;

/// Bytes in one group, at most: what one transaction holds in memory.
const GROUP_BYTES: usize = 32 << 20;

/// How often the clock is looked at while events are held because theirs is ahead.
const HELD_POLL: Duration = Duration::from_secs(30);

/// A submission that panicked this often by itself is given up: it is what is wrong, not the moment.
const PANICS_ALONE: u32 = 3;

/// Milliseconds since the Unix epoch, as this machine's wall clock has them.
pub(crate) type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The committer of one node.
pub(crate) struct Committer {
    inbox: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Submit(Submission),
    Stop,
}

impl Committer {
    /// Reads what is durable and starts the thread.
    pub(crate) fn start(store: Arc<Store>, wall: WallClock) -> Result<Self, StorageError> {
        let writer = LogWriter::recover(Arc::clone(&store))?;
        // Bounded by the credits of the subjects: each has a limited number of events in flight.
        let (inbox, messages) = unbounded();
        let mut state = Loop { store, writer, wall, staged: None };
        let thread = std::thread::Builder::new()
            .name("xaeroflux-commit".to_owned())
            .spawn(move || state.run(&messages))
            .map_err(|source| StorageError::io("starting a thread for", "the committer", source))?;
        Ok(Self { inbox, thread: Mutex::new(Some(thread)) })
    }

    /// Hands a submission over. It is answered in any case.
    pub(crate) fn submit(&self, submission: Submission) {
        if let Err(returned) = self.inbox.send(Message::Submit(submission))
            && let Message::Submit(submission) = returned.into_inner()
        {
            (submission.reply)(Err(StorageError::Closed));
        }
    }

    /// Commits what was handed over before, writes a checkpoint, and ends the thread.
    pub(crate) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A closed inbox means that the thread has ended already.
            let _ = self.inbox.send(Message::Stop);
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
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

struct Loop {
    store: Arc<Store>,
    writer: LogWriter,
    wall: WallClock,
    /// The outcomes of the group that is being committed.
    staged: Option<Staged>,
}

/// What a transaction that is about to be committed has done.
struct Staged {
    /// Where the log ended before it.
    from: u64,
    /// Where the log ends if it is committed.
    to: u64,
    outcomes: Vec<Outcome>,
}

/// How an attempt to commit a group ended.
enum Attempt {
    Committed(Vec<Outcome>),
    Failed(StorageError),
    Panicked,
}

impl Loop {
    fn run(&mut self, messages: &Receiver<Message>) {
        let mut polled = Instant::now();
        loop {
            // Looked at whether or not there is other work: a busy node would never find the time otherwise.
            let left = HELD_POLL.saturating_sub(polled.elapsed());
            if left.is_zero() {
                polled = Instant::now();
                self.release_held();
                continue;
            }
            let first = match messages.recv_timeout(left) {
                Ok(Message::Submit(submission)) => submission,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => continue,
            };
            let (mut events, mut bytes) = first.batch.size();
            let mut group = vec![first];
            let mut stopping = false;
            while events < GROUP_EVENTS && bytes < GROUP_BYTES {
                match messages.try_recv() {
                    Ok(Message::Submit(submission)) => {
                        let size = submission.batch.size();
                        (events, bytes) = (events.saturating_add(size.0), bytes.saturating_add(size.1));
                        group.push(submission);
                    }
                    Ok(Message::Stop) => {
                        stopping = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
            self.commit(group);
            if stopping {
                break;
            }
        }
        self.close();
    }

    /// Commits the group, in parts where one part spoils the whole, and answers each submission.
    fn commit(&mut self, group: Vec<Submission>) {
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

    /// Commits each submission by itself, so that only what is wrong fails.
    fn commit_each(&mut self, group: Vec<Submission>) {
        for submission in group {
            let one = std::slice::from_ref(&submission);
            let mut attempt = self.attempt(one);
            for _ in 1..PANICS_ALONE {
                if matches!(attempt, Attempt::Panicked) {
                    attempt = self.attempt(one);
                }
            }
            let result = match attempt {
                Attempt::Committed(mut outcomes) => Ok(outcomes.pop().unwrap_or(Outcome::Done)),
                Attempt::Failed(error) => Err(error),
                Attempt::Panicked => Err(StorageError::Engine {
                    action: "committing a batch",
                    reason: "it panicked each time; the batch is set aside".to_owned(),
                }),
            };
            submission.log.publish_token(submission.token);
            answer(submission.reply, result);
        }
    }

    fn attempt(&mut self, group: &[Submission]) -> Attempt {
        if let Some(error) = self.store.poisoned() {
            return Attempt::Failed(error);
        }
        self.staged = None;
        match catch_unwind(AssertUnwindSafe(|| self.transact(group))) {
            Ok(Ok(outcomes)) => Attempt::Committed(outcomes),
            Ok(Err(error)) => {
                if let StorageError::Poisoned { reason } = &error {
                    self.store.poison(reason);
                }
                self.recover();
                Attempt::Failed(self.store.poisoned().unwrap_or(error))
            }
            Err(_) => {
                tracing::error!("the committer panicked; reading back what is durable");
                let staged = self.staged.take();
                self.recover();
                if let Some(error) = self.store.poisoned() {
                    // Nobody can say what is durable: the writer still believes what it was about to.
                    return Attempt::Failed(error);
                }
                match staged {
                    // What lengthened the log shows whether it was committed. Anything else is done once more, which
                    // does no harm: it only finds frames that wait or are known, and rows that it writes again.
                    Some(Staged { from, to, outcomes }) if from < to && to == self.writer.next => {
                        publish_tokens(group);
                        Attempt::Committed(outcomes)
                    }
                    _ => Attempt::Panicked,
                }
            }
        }
    }

    fn transact(&mut self, group: &[Submission]) -> Result<Vec<Outcome>, StorageError> {
        let store = Arc::clone(&self.store);
        let now_ms = (self.wall)();
        fault_point!(self.writer.scope, "committer.received");
        let from = self.writer.next;
        let mut txn = store.env.write()?;
        let mut outcomes = Vec::with_capacity(group.len());
        for submission in group {
            outcomes.push(self.writer.write(&mut txn, submission, now_ms)?);
        }
        self.writer.finish(&mut txn)?;
        self.staged = Some(Staged { from, to: self.writer.next, outcomes });
        fault_point!(self.writer.scope, "committer.before_commit");
        fault_point!(
            self.writer.scope,
            "committer.commit_fails" => StorageError::Poisoned { reason: "a simulated failure of fsync".to_owned() }
        );
        txn.commit()?;
        fault_point!(self.writer.scope, "committer.after_commit");
        if let Err(error) = store.extend_data_file() {
            tracing::warn!(%error, "the data file could not be brought to its full length");
        }
        for log in self.writer.publish() {
            // Who sent a batch hears of it by the answer. What an opening let in is nobody's batch.
            if group.iter().any(|submission| matches!(submission.batch, Batch::Open) && submission.log.id == log.id) {
                log.tell_grown();
            }
        }
        for submission in group {
            if matches!(submission.batch, Batch::Open) {
                self.writer.announce(&submission.log);
            }
        }
        publish_tokens(group);
        Ok(self.staged.take().map(|staged| staged.outcomes).unwrap_or_default())
    }

    /// Forgets what the writer believed and reads what is durable.
    fn recover(&mut self) {
        match catch_unwind(AssertUnwindSafe(|| LogWriter::recover(Arc::clone(&self.store)))) {
            Ok(Ok(writer)) => self.writer = writer,
            Ok(Err(error)) => self.store.poison(&error.to_string()),
            Err(_) => self.store.poison("the log could not be read back after a failure"),
        }
    }

    /// Lets the held events in whose time has come.
    fn release_held(&mut self) {
        if self.store.poisoned().is_some() {
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(|| {
            let now_ms = (self.wall)();
            if !self.writer.has_due(now_ms) {
                return Ok(());
            }
            let store = Arc::clone(&self.store);
            let mut txn = store.env.write()?;
            self.writer.release_all_held(&mut txn, now_ms)?;
            self.writer.finish(&mut txn)?;
            txn.commit()?;
            if let Err(error) = store.extend_data_file() {
                tracing::warn!(%error, "the data file could not be brought to its full length");
            }
            self.writer.publish().iter().for_each(|log| log.tell_grown());
            Ok(())
        }));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(StorageError::Poisoned { reason })) => self.store.poison(&reason),
            Ok(Err(error)) => {
                tracing::warn!(%error, "held events could not be let in; they are tried again");
                self.recover();
            }
            Err(_) => self.recover(),
        }
    }

    fn close(&mut self) {
        if self.store.poisoned().is_some() {
            return;
        }
        let result: Result<(), StorageError> = self.store.env.write().and_then(|mut txn| {
            self.writer.write_checkpoint(&mut txn)?;
            txn.commit()
        });
        if let Err(error) = self.store.extend_data_file() {
            tracing::warn!(%error, "the data file could not be brought to its full length");
        }
        // Without it the next start replays more of the log, and nothing else.
        if let Err(error) = result {
            tracing::warn!(%error, "the last checkpoint could not be written");
        }
    }
}

impl Batch {
    /// Events and bytes.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Local(batch) => (batch.chunk.entries.len(), batch.chunk.bytes),
            Self::Foreign(frames) => (frames.len(), frames.iter().map(Vec::len).sum()),
            Self::Snapshot { row, .. } => (1, row.len()),
            Self::Open => (0, 0),
        }
    }
}

/// Answers, whatever the answer wakes: a future's waker is code of others, and must not end this thread.
fn answer(reply: Reply, result: Result<Outcome, StorageError>) {
    if catch_unwind(AssertUnwindSafe(|| reply(result))).is_err() {
        tracing::error!("what waited for a commit panicked when it was woken");
    }
}

fn publish_tokens(group: &[Submission]) {
    for submission in group {
        submission.log.publish_token(submission.token);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
