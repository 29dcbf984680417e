//! What the node knows of its segments besides their list: how much of the log is due, and whose turn it is.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Length of a segment unless told otherwise: large enough that a file, its sync and its entry in the list are nothing
/// beside its contents, small enough that what waits in the log table for the next one does not count.
pub(crate) const SEGMENT_BYTES: u64 = 32 << 20;

/// With so many segments' worth in the log table one is written whatever else is going on. Fewer wait while much is being
/// published or fetched, which then has the processors and the disk for itself. The data file, which never gets smaller,
/// comes to have room for two more than that: with eight, two million events took 2.4 times their payload on the disk
/// instead of 2.2.
const MOST_WAITING: u64 = 6;

/// And one that is due is written where the log table takes up such a part of the map, which others need too.
const MOST_OF_MAP: u64 = 4;

/// How long is looked whether much is going on.
pub(super) const LULL: Duration = Duration::from_millis(100);

/// That much is going on is said where the log grows by as much meanwhile: 25,000 events of 256 bytes in a second. Whoever
/// does less than that is not held up by a segment that is written beside.
const BUSY_BYTES: u64 = 1 << 20;

/// After a failure, such as a full disk, the next attempt comes so much later; twice as much after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// And never later than this.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Whether much is going on, as of the last look.
#[derive(Debug, Default)]
struct Lull {
    looked_ms: u64,
    /// Bytes that had been appended then.
    appended: u64,
    is_busy: bool,
}

impl Lull {
    /// Looks again, if it is time. A look after a long time says as much as one in time: whoever was not looked at is busy
    /// until the next one.
    fn is_busy(&mut self, now_ms: u64, appended: u64) -> bool {
        if u128::from(now_ms.saturating_sub(self.looked_ms)) >= LULL.as_millis() {
            let is_busy = appended.saturating_sub(self.appended) >= BUSY_BYTES;
            *self = Self { looked_ms: now_ms, appended, is_busy };
        }
        self.is_busy
    }
}

/// The segments of a node.
pub(crate) struct Segments {
    /// Where their files are.
    pub(super) dir: PathBuf,
    /// Which node this is, for the fault points of tests.
    pub(super) scope: String,
    /// So many bytes of the log make a segment.
    pub(super) bytes: u64,
    /// So many wait at most.
    most_waiting: u64,
    /// Bytes of blocks that were put into the log table, since some moment.
    appended: AtomicU64,
    /// Bytes of them that are in segments.
    sealed: AtomicU64,
    claimed: AtomicBool,
    lull: Mutex<Lull>,
    failures: AtomicU64,
    /// Before when nothing is due, in milliseconds since `started`.
    not_before: AtomicU64,
    started: Instant,
    /// Held while a segment is written.
    pub(super) turn: Mutex<()>,
}

/// The right, and the duty, to bring the segments up to date: one holder at a time. Passed on with the message that asks
/// for it, so that it is free again however its holder ends.
pub(crate) struct Claim(Arc<Segments>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.claimed.store(false, Ordering::Release);
    }
}

impl Segments {
    pub(crate) fn new(data_dir: &Path, bytes: u64, map_size: u64) -> Self {
        Self {
            most_waiting: bytes.saturating_mul(MOST_WAITING).min(map_size / MOST_OF_MAP),
            dir: data_dir.join("segments"),
            scope: data_dir.to_string_lossy().into_owned(),
            bytes: bytes.max(1),
            appended: AtomicU64::new(0),
            sealed: AtomicU64::new(0),
            claimed: AtomicBool::new(false),
            lull: Mutex::default(),
            failures: AtomicU64::new(0),
            not_before: AtomicU64::new(0),
            started: Instant::now(),
            turn: Mutex::default(),
        }
    }

    /// Whether there is enough in the log table for a segment. Two loads: asked after every commit.
    pub(crate) fn is_due(&self) -> bool {
        self.unsealed() >= self.bytes && self.now_ms() >= self.not_before.load(Ordering::Relaxed)
    }

    /// The claim, where a segment is due and nobody has it.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<Claim> {
        let free = self.is_due()
            && !self.claimed.load(Ordering::Relaxed)
            && self.claimed.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        free.then(|| Claim(Arc::clone(self)))
    }

    /// Whether a segment that is due waits until less is going on.
    pub(super) fn is_put_off(&self) -> bool {
        let appended = self.appended.load(Ordering::Relaxed);
        let mut lull = self.lull.lock().unwrap_or_else(PoisonError::into_inner);
        let is_busy = lull.is_busy(self.now_ms(), appended);
        is_busy && self.unsealed() < self.most_waiting
    }

    /// For the committer: so many bytes of blocks are durable in the log table that were not before.
    pub(crate) fn grew(&self, bytes: u64) {
        self.appended.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes of blocks have been sealed.
    pub(super) fn shrank(&self, bytes: u64) {
        self.sealed.fetch_add(bytes, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
    }

    /// There are only so many bytes of blocks that are in no segment.
    pub(super) fn correct(&self, unsealed: u64) {
        self.appended.store(self.sealed.load(Ordering::Relaxed).saturating_add(unsealed), Ordering::Relaxed);
    }

    /// Puts the next attempt off, and says until when.
    pub(super) fn put_off(&self) -> Duration {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
        let after = LAST_RETRY.min(FIRST_RETRY * (1 << failures));
        let until = self.now_ms().saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self.not_before.store(until, Ordering::Relaxed);
        after
    }

    /// Bytes of blocks that are in no segment.
    pub(crate) fn unsealed(&self) -> u64 {
        self.appended.load(Ordering::Relaxed).saturating_sub(self.sealed.load(Ordering::Relaxed))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grows_fast_is_left_alone_until_it_does_no_more() {
        let mut lull = Lull::default();
        assert!(!lull.is_busy(50, 40 << 20), "it is too early to tell");
        assert!(lull.is_busy(100, 40 << 20));
        assert!(lull.is_busy(199, 40 << 20), "until the next look");
        assert!(lull.is_busy(200, 41 << 20));
        assert!(!lull.is_busy(300, (42 << 20) - 1));
        assert!(lull.is_busy(60_000, 80 << 20) && !lull.is_busy(60_100, 80 << 20));
    }

    #[test]
    fn what_waits_is_bounded_however_busy_it_is() {
        let segments = Segments::new(Path::new("nowhere"), 4 << 20, 1 << 40);
        segments.lull.lock().unwrap().looked_ms = u64::MAX;
        segments.lull.lock().unwrap().is_busy = true;
        segments.grew(5 << 20);
        assert!(segments.is_due() && segments.is_put_off());
        segments.grew(19 << 20);
        assert!(!segments.is_put_off());
        // A map that is not much larger is not filled up by what waits.
        let segments = Segments::new(Path::new("nowhere"), 4 << 20, 12 << 20);
        segments.grew(5 << 20);
        segments.lull.lock().unwrap().looked_ms = u64::MAX;
        segments.lull.lock().unwrap().is_busy = true;
        assert!(segments.is_due() && !segments.is_put_off());
    }
}
