//! The promises of the pool. Closures block on channels, so that no test depends on how long something takes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use super::{state::State, *};

/// Far longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Job<F> {
    scheduled: Scheduled,
    body: F,
}

impl<F: Fn(&Worker<'_>) + Send + Sync> Task for Job<F> {
    fn scheduled(&self) -> &Scheduled {
        &self.scheduled
    }

    fn run(self: Arc<Self>, worker: &Worker<'_>) {
        (self.body)(worker);
    }
}

fn job<F: Fn(&Worker<'_>) + Send + Sync + 'static>(body: F) -> Arc<dyn Task> {
    Arc::new(Job { scheduled: Scheduled::new(), body })
}

fn small() -> PoolOptions {
    PoolOptions { base_workers: 2, max_workers: 8, stall: Duration::from_millis(1), ..PoolOptions::default() }
}

/// A task that says when it has begun and then blocks until `release` is closed, be it by a test that fails.
fn blocker(begun: &Sender<()>, release: &Receiver<()>) -> Arc<dyn Task> {
    let (begun, release) = (begun.clone(), release.clone());
    job(move |_| {
        begun.send(()).unwrap();
        let _closed = release.recv();
    })
}

#[test]
fn a_task_is_never_run_by_two_workers_and_no_wake_up_is_lost() {
    const WAKERS: usize = 4;
    const WAKE_UPS: u64 = 20_000;
    let pool = Pool::start(small());
    let (wanted, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (done, all_seen) = bounded(1);
    let busy = AtomicBool::new(false);
    let task = job({
        let wanted = Arc::clone(&wanted);
        move |_| {
            assert!(!busy.swap(true, Ordering::SeqCst), "two workers at once");
            let now = wanted.load(Ordering::Relaxed);
            seen.store(now, Ordering::Relaxed);
            busy.store(false, Ordering::SeqCst);
            if now == WAKERS as u64 * WAKE_UPS {
                let _already_told = done.try_send(());
            }
        }
    });
    thread::scope(|scope| {
        for _ in 0..WAKERS {
            scope.spawn(|| {
                for _ in 0..WAKE_UPS {
                    wanted.fetch_add(1, Ordering::Relaxed);
                    assert!(pool.schedule(Arc::clone(&task)));
                }
            });
        }
    });
    all_seen.recv_timeout(PATIENCE).expect("the run after the last wake-up sees everything");
    let report = pool.shutdown(PATIENCE);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.panics, 0);
}

#[test]
fn closures_that_block_do_not_stop_the_others() {
    let pool = Pool::start(small());
    let (begun_tx, begun) = unbounded();
    let (release, blocked) = bounded(0);
    // All are queued before any blocks, and nothing is scheduled afterwards: only the timer thread can find the stall.
    for _ in 0..7 {
        pool.schedule(blocker(&begun_tx, &blocked));
    }
    let (ran_tx, ran) = bounded(1);
    pool.schedule(job(move |_| ran_tx.send(()).unwrap()));
    for _ in 0..7 {
        begun.recv_timeout(PATIENCE).expect("each blocking closure gets a thread");
    }
    ran.recv_timeout(PATIENCE).expect("and so does the one that does not block");
    drop(release);
    assert!(pool.shutdown(Duration::MAX).is_clean());
}

#[test]
fn tasks_that_were_announced_to_the_same_sleeping_worker_all_run() {
    let pool = Pool::start(PoolOptions { stall: PATIENCE, ..small() });
    pool.schedule(job(|_| ()));
    assert!(pool.wait_until_state(PATIENCE, |state| state.parked == 1));
    let (begun_tx, begun) = unbounded();
    let (release, blocked) = bounded(0);
    let tasks = [blocker(&begun_tx, &blocked), blocker(&begun_tx, &blocked)];
    let mut state = pool.shared().lock();
    for task in tasks {
        // Under one lock, so that the worker cannot wake up in between.
        assert!(task.scheduled().wake());
        pool.shared().push(&mut state, task);
    }
    drop(state);
    for _ in 0..2 {
        begun.recv_timeout(PATIENCE).expect("the worker that takes the first finds one for the second");
    }
    drop(release);
    assert!(pool.shutdown(PATIENCE).is_clean());
}

#[test]
fn threads_are_bounded_and_those_beyond_the_base_end_when_idle() {
    let pool = Pool::start(PoolOptions { max_workers: 4, keep_alive: Duration::from_millis(1), ..small() });
    let (begun_tx, begun) = unbounded();
    let (release, blocked) = bounded(0);
    for _ in 0..6 {
        pool.schedule(blocker(&begun_tx, &blocked));
    }
    for _ in 0..4 {
        begun.recv_timeout(PATIENCE).unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.threads, stats.running, stats.queued), (4, 4, 2));
    drop(release);
    assert!(pool.wait_until(PATIENCE, |stats| stats.threads == 2 && stats.queued == 0), "{:?}", pool.stats());
    assert!(pool.shutdown(PATIENCE).is_clean());
}

#[test]
fn a_panic_ends_one_run_and_neither_the_worker_nor_the_task() {
    let pool = Pool::start(PoolOptions { base_workers: 1, max_workers: 1, ..small() });
    let runs = AtomicUsize::new(0);
    let (ran_tx, ran) = unbounded();
    let task = job(move |_| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        ran_tx.send(thread::current().id()).unwrap();
        assert!(run > 0, "the first run panics");
    });
    pool.schedule(Arc::clone(&task));
    let first = ran.recv_timeout(PATIENCE).unwrap();
    pool.schedule(task);
    assert_eq!(ran.recv_timeout(PATIENCE).unwrap(), first, "the same thread");
    let report = pool.shutdown(PATIENCE);
    assert_eq!((report.panics, report.is_clean()), (1, true));
}

#[test]
fn deadlines_come_in_order_and_not_before_their_time() {
    let pool = Pool::start(PoolOptions { base_workers: 1, max_workers: 1, ..small() });
    let (ran_tx, ran) = unbounded();
    let start = Instant::now();
    for millis in [20, 5, 10] {
        let ran_tx = ran_tx.clone();
        let task = job(move |_| ran_tx.send((millis, Instant::now())).unwrap());
        assert!(pool.at(start + Duration::from_millis(millis), task));
    }
    for expected in [5, 10, 20] {
        let (millis, at) = ran.recv_timeout(PATIENCE).unwrap();
        assert_eq!(millis, expected);
        assert!(at >= start + Duration::from_millis(millis));
    }
    assert!(pool.shutdown(PATIENCE).is_clean());
}

#[test]
fn a_shutdown_runs_what_is_queued_and_what_that_wakes_and_forgets_deadlines() {
    let pool = Pool::start(PoolOptions { base_workers: 1, max_workers: 1, ..small() });
    let (begun_tx, begun) = unbounded();
    let (release, blocked) = bounded(0);
    pool.schedule(blocker(&begun_tx, &blocked));
    begun.recv_timeout(PATIENCE).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (second, second_order) = (Arc::new(Mutex::new(None)), Arc::clone(&order));
    *second.lock().unwrap() = Some(job(move |_| second_order.lock().unwrap().push("woken during the drain")));
    let first_order = Arc::clone(&order);
    pool.schedule(job(move |worker| {
        first_order.lock().unwrap().push("queued");
        assert!(worker.schedule(second.lock().unwrap().take().unwrap()));
    }));
    pool.at(Instant::now() + PATIENCE, job(|_| unreachable!("forgotten")));
    let report = thread::scope(|scope| {
        let shutdown = scope.spawn(|| pool.shutdown(PATIENCE));
        assert!(pool.wait_until_stopping(PATIENCE));
        drop(release);
        shutdown.join().unwrap()
    });
    assert_eq!((report.is_clean(), report.dropped_deadlines, report.panics), (true, 1, 0), "{report:?}");
    assert_eq!(*order.lock().unwrap(), ["queued", "woken during the drain"]);
    assert!(!pool.schedule(job(|_| ())), "a stopped pool takes nothing");
    assert_eq!(pool.stats().threads, 0);
}

#[test]
fn a_stuck_closure_is_reported_and_does_not_hang_the_shutdown() {
    let pool = Pool::start(PoolOptions { base_workers: 1, max_workers: 1, ..small() });
    let (begun_tx, begun) = unbounded();
    let (release, blocked) = bounded(0);
    pool.schedule(blocker(&begun_tx, &blocked));
    begun.recv_timeout(PATIENCE).unwrap();
    let never = job(|_| unreachable!("queued behind a stuck one"));
    pool.schedule(Arc::clone(&never));
    let report = pool.shutdown(Duration::from_millis(5));
    assert_eq!((report.stuck_threads, report.abandoned_tasks, report.is_clean()), (1, 1, false));
    assert_eq!(Arc::strong_count(&never), 1, "the pool has let go of it");
    drop(release);
    assert!(pool.shutdown(PATIENCE).stuck_threads == 0, "it ended as soon as its closure returned");
}

#[test]
fn a_shutdown_from_a_task_only_signals() {
    let pool = Pool::start(small());
    let (report_tx, report) = bounded(1);
    let own = Arc::clone(&pool);
    pool.schedule(job(move |_| report_tx.send((own.is_own_thread(), own.shutdown(PATIENCE))).unwrap()));
    let (own_thread, report) = report.recv_timeout(PATIENCE).expect("it does not wait for itself");
    assert!(own_thread && report.only_signalled);
    assert!(pool.wait_until(PATIENCE, |stats| stats.threads == 0));
    assert!(!pool.is_own_thread());
    assert!(pool.shutdown(PATIENCE).is_clean());
}

#[test]
fn dropping_the_pool_ends_its_threads() {
    let pool = Pool::start(small());
    let alive = Arc::new(());
    let (ran_tx, ran) = bounded(1);
    let held = Arc::clone(&alive);
    pool.schedule(job(move |_| ran_tx.send(Arc::strong_count(&held)).unwrap()));
    ran.recv_timeout(PATIENCE).unwrap();
    let shared = Arc::downgrade(pool.shared());
    drop(pool);
    let until = Instant::now() + PATIENCE;
    while shared.strong_count() > 0 {
        assert!(Instant::now() < until, "the threads hold what they share until they end");
        thread::yield_now();
    }
}

#[test]
fn a_stall_is_a_queue_that_has_not_moved_between_two_looks() {
    let (start, stall) = (Instant::now(), Duration::from_millis(10));
    let mut state = State::default();
    let mut queued = vec![job(|_| ()), job(|_| ()), job(|_| ())];
    state.queue.extend(queued.drain(..));
    assert!(state.start_watch(start + stall));
    assert!(!state.start_watch(start), "one watch at a time");
    assert!(!state.has_stalled(start, stall), "not due");
    assert!(state.take().is_some());
    assert!(!state.has_stalled(start + stall, stall), "it moved");
    assert!(state.has_stalled(start + 2 * stall, stall));
    assert!(state.log_exhaustion());
    assert!(state.has_stalled(start + 3 * stall, stall));
    assert!(!state.log_exhaustion(), "once until it moves");
    while state.take().is_some() {}
    assert!(!state.has_stalled(start + 4 * stall, stall));
    assert!(state.next_action().is_none(), "an empty queue needs no watch");
    assert!(state.start_watch(start + 5 * stall));
    assert!(state.log_exhaustion());
}

#[test]
fn an_unused_pool_has_no_threads() {
    let pool = Pool::start(PoolOptions::default());
    assert_eq!(pool.stats().threads, 0);
    let report = pool.shutdown(Duration::ZERO);
    assert!(report.is_clean());
}
