//! The threads that a process has for all its nodes and subjects, however many these are.
//!
//! * one thread with an actix System, on which supervisors and AOF actors live: they only pass batches on;
//! * one thread for the actors that follow the log and write files, and may therefore wait for the disk;
//! * a few threads (arbiters) for batch actors, which fold;
//! * the [pool](crate::actors::pool) for the users' closures.
//!
//! The runtime starts with the first subject that needs it and ends with the last: it is shared through a weak
//! reference. It is the crate's own, so that the engine works in a plain `main`, under tokio, and inside an application's
//! actix System alike.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{JoinHandle, ThreadId},
    time::Duration,
};

use actix_rt::{Arbiter, ArbiterHandle, System};

use crate::actors::pool::{Pool, PoolOptions};

/// Threads on which batch actors fold. More than one, so that a slow closure before a `batch` holds up half of the
/// subjects at most.
const BATCH_THREADS: usize = 2;

/// How long the end of the runtime waits for closures that are still running.
const GRACE: Duration = Duration::from_secs(5);

/// The threads of a process.
pub(crate) struct Runtime {
    pool: Arc<Pool>,
    system: System,
    main: ArbiterHandle,
    storage: ArbiterHandle,
    batch: Vec<ArbiterHandle>,
    next_batch: AtomicUsize,
    owned: Mutex<Option<Owned>>,
    threads: Vec<ThreadId>,
}

struct Owned {
    arbiters: Vec<Arbiter>,
    thread: JoinHandle<()>,
}

impl Runtime {
    /// The runtime of the process, started if it is not there.
    pub(crate) fn shared() -> std::io::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Runtime>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = shared.upgrade() {
            return Ok(runtime);
        }
        let runtime = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&runtime);
        Ok(runtime)
    }

    fn start() -> std::io::Result<Self> {
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new().name("xaeroflux-system".to_owned()).spawn(move || {
            let runner = System::new();
            // The storage thread, then those that fold.
            let arbiters: Vec<Arbiter> = (0..1 + BATCH_THREADS).map(|_| Arbiter::new()).collect();
            let identify = |arbiter: &Arbiter| {
                let (tell, told) = mpsc::channel();
                // Nobody listens any more where the start has failed.
                arbiter.spawn_fn(move || tell.send(std::thread::current().id()).unwrap_or_default());
                told.recv().ok()
            };
            let mut threads: Vec<ThreadId> = arbiters.iter().filter_map(identify).collect();
            threads.push(std::thread::current().id());
            if tell.send((System::current(), Arbiter::current(), arbiters, threads)).is_ok()
                && let Err(error) = runner.run()
            {
                tracing::error!(%error, "the actor system ended with an error");
            }
        })?;
        let (system, main, arbiters, threads) =
            told.recv().map_err(|_| std::io::Error::other("the actor system did not start: see the log"))?;
        let mut handles = arbiters.iter().map(Arbiter::handle);
        Ok(Self {
            pool: Pool::start(PoolOptions::default()),
            system,
            storage: handles.next().unwrap_or_else(|| main.clone()),
            main,
            batch: handles.collect(),
            next_batch: AtomicUsize::new(0),
            owned: Mutex::new(Some(Owned { arbiters, thread })),
            threads,
        })
    }

    /// Where supervisors and AOF actors live.
    pub(crate) const fn main(&self) -> &ArbiterHandle {
        &self.main
    }

    /// Where the actors live that follow the log and write files.
    pub(crate) const fn storage(&self) -> &ArbiterHandle {
        &self.storage
    }

    /// Where the next batch actor is to live.
    pub(crate) fn batch(&self) -> &ArbiterHandle {
        let next = self.next_batch.fetch_add(1, Ordering::Relaxed) % self.batch.len().max(1);
        self.batch.get(next).unwrap_or(&self.main)
    }

    /// Where closures run.
    pub(crate) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether the caller runs on one of these threads, and therefore must not wait for them.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.threads.contains(&std::thread::current().id()) || self.pool.is_own_thread()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let own = self.is_own_thread();
        let report = self.pool.shutdown(GRACE);
        if !report.is_clean() && !report.only_signalled {
            tracing::warn!(?report, "closures were still running when the engine stopped");
        }
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Owned { arbiters, thread }) = owned else { return };
        for arbiter in &arbiters {
            arbiter.stop();
        }
        if own {
            self.system.stop();
            return;
        }
        for arbiter in arbiters {
            // A panic of an actor is caught by its task, so a thread ends in one only if actix itself does.
            let _ended = arbiter.join();
        }
        self.system.stop();
        let _ended = thread.join();
    }
}
