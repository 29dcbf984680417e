//! Receipts: how a publisher learns what became of its event.
//!
//! The events of one chunk share one [`ReceiptGroup`]. Its results appear at once, with one store and one wake-up for all
//! who wait, so an event costs no lock of its own. A [`Receipt`] is a pointer to the group and an index into it; to drop
//! it costs nothing, to wait for it works from a thread as well as from a future.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::PublishError;
use crate::wire::id::{EventId, XaeroID};

/// What became of one event.
pub type Outcome = Result<Acknowledged, PublishError>;

/// An event is on disk, under this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acknowledged {
    /// Who wrote it.
    pub author: XaeroID,
    /// Its place in that author's log of the subject; the first is 1.
    pub seq: u64,
    /// The hash of its record.
    pub id: EventId,
}

/// The dot and the id: `<author>:<seq> <id>`.
impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.author, self.seq, self.id)
    }
}

/// The publisher's side: resolves once it is known what became of the event.
///
/// Wait for it with [`Receipt::wait`], or with `.await`. It may be dropped at any time; the event takes its way.
#[derive(Debug)]
pub struct Receipt(State);

#[derive(Debug)]
enum State {
    /// Known from the start. Boxed, so that the usual receipt is small.
    Known(Box<Outcome>),
    Pending {
        shared: Arc<Shared>,
        /// The place of the event in its chunk.
        index: usize,
        /// The place of this receipt's waker in the group's list, once it has been polled.
        waker: Option<usize>,
    },
}

impl Receipt {
    /// A receipt for an event whose outcome is known already.
    pub fn known(outcome: Outcome) -> Self {
        Self(State::Known(Box::new(outcome)))
    }

    /// What became of the event, if that is known by now.
    #[must_use]
    pub fn try_get(&self) -> Option<Outcome> {
        match &self.0 {
            State::Known(outcome) => Some((**outcome).clone()),
            State::Pending { shared, index, .. } => shared.get(*index),
        }
    }

    /// Waits until it is known what became of the event. In asynchronous code, use `.await` instead; in a subscriber's
    /// closure, use neither: there, it may wait for the thread that it blocks.
    ///
    /// # Errors
    /// Says why the event did not become durable.
    pub fn wait(self) -> Outcome {
        match self.0 {
            State::Known(outcome) => *outcome,
            State::Pending { shared, index, .. } => {
                if let Some(outcome) = shared.get(index) {
                    return outcome;
                }
                let mut waiters = shared.lock();
                loop {
                    if let Some(outcome) = shared.get(index) {
                        return outcome;
                    }
                    waiters.threads += 1;
                    waiters = shared.done.wait(waiters).unwrap_or_else(PoisonError::into_inner);
                    waiters.threads -= 1;
                }
            }
        }
    }

    /// Waits for at most `timeout`; `None` where the outcome is not known by then. It may be asked again.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Outcome> {
        let State::Pending { shared, index, .. } = &self.0 else { return self.try_get() };
        if let Some(outcome) = shared.get(*index) {
            return Some(outcome);
        }
        let start = Instant::now();
        let mut waiters = shared.lock();
        loop {
            if let Some(outcome) = shared.get(*index) {
                return Some(outcome);
            }
            let left = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero())?;
            waiters.threads += 1;
            waiters = shared.done.wait_timeout(waiters, left).unwrap_or_else(PoisonError::into_inner).0;
            waiters.threads -= 1;
        }
    }
}

impl Future for Receipt {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            State::Known(outcome) => Poll::Ready((**outcome).clone()),
            State::Pending { shared, index, waker } => shared.poll(*index, waker, context.waker()),
        }
    }
}

/// The engine's side: the receipts of the events of one chunk.
///
/// Where the last handle goes and nothing was said, the receipts resolve to [`PublishError::Abandoned`].
#[derive(Debug, Default)]
pub struct ReceiptGroup {
    shared: Arc<Shared>,
}

impl ReceiptGroup {
    /// The receipt of entry number `index`.
    pub(super) fn receipt(&self, index: usize) -> Receipt {
        Receipt(State::Pending { shared: Arc::clone(&self.shared), index, waker: None })
    }

    /// Resolves all receipts: result number *n* is that of entry number *n*; an entry beyond the results is abandoned.
    ///
    /// Returns `false` where the group is complete already. What was said first stays.
    pub fn complete(&self, results: impl Into<Box<[Outcome]>>) -> bool {
        self.shared.complete(Results::Each(results.into()))
    }

    /// Resolves all receipts with one error. Returns `false` where the group is complete already.
    pub fn fail(&self, error: PublishError) -> bool {
        self.shared.complete(Results::All(error))
    }

    /// Whether the receipts have been resolved.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.shared.results.get().is_some()
    }
}

impl Drop for ReceiptGroup {
    fn drop(&mut self) {
        if !self.is_complete() {
            self.fail(PublishError::Abandoned);
        }
    }
}

#[derive(Debug)]
enum Results {
    Each(Box<[Outcome]>),
    All(PublishError),
}

/// What the receipts and their group have in common.
#[derive(Debug, Default)]
struct Shared {
    results: OnceLock<Results>,
    /// Those who wait. The lock also orders "look, then wait" against "store, then wake".
    waiters: Mutex<Waiters>,
    /// Where threads wait.
    done: Condvar,
}

/// Those who wait for the results of a group.
#[derive(Debug, Default)]
struct Waiters {
    /// How many threads: where there are none, completion need not ask the system to wake any.
    threads: usize,
    /// Those who wait in futures.
    wakers: Vec<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, index: usize) -> Option<Outcome> {
        Some(match self.results.get()? {
            Results::Each(results) => results.get(index).cloned().unwrap_or(Err(PublishError::Abandoned)),
            Results::All(error) => Err(error.clone()),
        })
    }

    fn poll(&self, index: usize, slot: &mut Option<usize>, waker: &Waker) -> Poll<Outcome> {
        if let Some(outcome) = self.get(index) {
            return Poll::Ready(outcome);
        }
        // A waker is code of others: it is cloned before the lock, and the one it replaces dropped after it.
        let mut waker = waker.clone();
        let mut waiters = self.lock();
        if let Some(outcome) = self.get(index) {
            return Poll::Ready(outcome);
        }
        match slot.and_then(|slot| waiters.wakers.get_mut(slot)) {
            Some(old) => std::mem::swap(old, &mut waker),
            None => {
                *slot = Some(waiters.wakers.len());
                waiters.wakers.push(waker);
                return Poll::Pending;
            }
        }
        drop(waiters);
        drop(waker);
        Poll::Pending
    }

    fn complete(&self, results: Results) -> bool {
        if self.results.set(results).is_err() {
            return false;
        }
        // Whoever looked before the results were there holds the lock until it waits or has registered.
        let Waiters { threads, wakers } = {
            let mut waiters = self.lock();
            Waiters { threads: waiters.threads, wakers: std::mem::take(&mut waiters.wakers) }
        };
        if threads > 0 {
            self.done.notify_all();
        }
        for waker in wakers {
            waker.wake();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
        thread,
    };

    use crossbeam::channel::unbounded;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn acknowledged(seq: u64) -> Acknowledged {
        Acknowledged { author: XaeroID::from([1; 32]), seq, id: EventId::from([2; 32]) }
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn each_receipt_gets_its_own_result() {
        let group = ReceiptGroup::default();
        let receipts: Vec<_> = (0..3).map(|index| group.receipt(index)).collect();
        assert!(receipts.iter().all(|receipt| receipt.try_get().is_none()));
        assert!(receipts[0].wait_timeout(Duration::ZERO).is_none());
        assert!(group.complete([Ok(acknowledged(1)), Err(PublishError::DiskFull)]));
        assert!(!group.fail(PublishError::SetAside), "what was said first stays");
        let [first, second, beyond] = receipts.try_into().unwrap();
        assert_eq!(first.wait().unwrap(), acknowledged(1));
        assert!(matches!(second.wait_timeout(PATIENCE), Some(Err(PublishError::DiskFull))));
        assert!(matches!(beyond.wait(), Err(PublishError::Abandoned)), "a result that is missing");
    }

    #[test]
    fn a_group_that_is_dropped_resolves_its_receipts_as_abandoned() {
        let group = Arc::new(ReceiptGroup::default());
        let receipt = group.receipt(0);
        let other = Arc::clone(&group);
        drop(group);
        assert!(receipt.try_get().is_none(), "somebody can still complete it");
        drop(other);
        assert!(matches!(receipt.wait(), Err(PublishError::Abandoned)));
    }

    #[test]
    fn waiting_threads_are_woken() {
        let group = ReceiptGroup::default();
        let (outcome_tx, outcomes) = unbounded();
        for index in 0..2 {
            let (receipt, outcome_tx) = (group.receipt(index), outcome_tx.clone());
            thread::spawn(move || {
                outcome_tx.send(if index == 0 { Some(receipt.wait()) } else { receipt.wait_timeout(Duration::MAX) })
            });
        }
        while group.shared.lock().threads < 2 {
            thread::yield_now();
        }
        group.complete([Ok(acknowledged(1)), Ok(acknowledged(2))]);
        let mut numbers: Vec<_> =
            (0..2).map(|_| outcomes.recv_timeout(PATIENCE).unwrap().unwrap().unwrap().seq).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
    }

    #[test]
    fn a_future_wakes_the_last_waker_that_polled_it_and_only_that() {
        let group = ReceiptGroup::default();
        let mut receipt = group.receipt(0);
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        for count in [&first, &second, &second] {
            let waker = Waker::from(Arc::clone(count));
            assert!(Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        group.complete([Ok(acknowledged(1))]);
        assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
        let waker = Waker::from(first);
        let Poll::Ready(outcome) = Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)) else {
            panic!("it is complete")
        };
        assert_eq!(outcome.unwrap().seq, 1);
    }

    #[test]
    fn a_known_receipt_needs_no_engine() {
        let receipt = Receipt::known(Err(PublishError::QueueFull));
        assert!(matches!(receipt.try_get(), Some(Err(PublishError::QueueFull))));
        assert!(matches!(receipt.wait(), Err(PublishError::QueueFull)));
        assert!(size_of::<Receipt>() <= 32);
    }
}
