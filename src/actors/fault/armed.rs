//! What is armed, and what happens on a hit. Debug builds only.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{ENVIRONMENT, is_point};

/// What happens at a fault point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The thread panics.
    Panic,
    /// The enclosing function returns the error that stands at the point.
    Fail,
    /// The process ends at once, with no destructor run, as by `kill -9`.
    Abort,
    /// The thread stops until the guard is dropped or [released](FaultGuard::release).
    Block,
}

/// Keeps a fault point armed; dropping it disarms the point and lets go of whoever is blocked there.
#[derive(Debug)]
#[must_use = "the point is disarmed as soon as the guard is dropped"]
pub struct FaultGuard(Arc<Arm>);

/// One armed point.
#[derive(Debug)]
struct Arm {
    point: String,
    /// Which scope's hits count; `None`: all of them.
    scope: Option<String>,
    action: Action,
    /// The first hit, counted from 1, at which the action happens.
    at_hit: u64,
    /// At how many hits in a row it happens.
    times: u64,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    hits: u64,
    fired: u64,
    released: bool,
}

/// Armed points plus, until the first hit, one for the environment that was not read yet: 0 means that there is nothing
/// to look up.
static ARMED: AtomicUsize = AtomicUsize::new(1);

static ARMS: Mutex<Vec<Arc<Arm>>> = Mutex::new(Vec::new());

/// Arms a fault point: at hit number `at_hit` (from 1) in this scope, and `times` hits in all, `action` happens.
///
/// Without a scope the hits of all scopes count, and those of points that have none.
///
/// # Panics
/// Where no point has this name, or where `at_hit` or `times` is 0, which would arm nothing.
pub fn arm(scope: Option<&str>, point: &str, action: Action, at_hit: u64, times: u64) -> FaultGuard {
    assert!(is_point(point), "there is no fault point {point:?}: see fault::POINTS");
    assert!(at_hit > 0 && times > 0, "hits are counted from 1, and a fault happens at least once");
    let arm = Arc::new(Arm {
        point: point.to_owned(),
        scope: scope.map(str::to_owned),
        action,
        at_hit,
        times,
        progress: Mutex::default(),
        changed: Condvar::new(),
    });
    arms().push(Arc::clone(&arm));
    ARMED.fetch_add(1, Ordering::Relaxed);
    FaultGuard(arm)
}

/// Whether a hit has to be looked up at all.
#[inline]
pub(crate) fn is_anything_armed() -> bool {
    // Relaxed: a test arms a point before it sends what will hit it, and that sending orders the two.
    ARMED.load(Ordering::Relaxed) > 0
}

/// A thread is at a fault point. Panics, ends the process or blocks where that is armed; returns whether the enclosing
/// function is to fail.
#[cold]
#[track_caller]
#[expect(clippy::panic, reason = "a panic is what was asked for")]
pub(crate) fn hit(scope: Option<&str>, point: &str) -> bool {
    arm_from_environment();
    let fired = arms().iter().filter(|arm| arm.matches(scope, point) && arm.count_hit()).cloned().collect::<Vec<_>>();
    // The registry is unlocked by now: a panic or a block here disturbs no other test.
    let mut fails = false;
    for arm in fired {
        match arm.action {
            Action::Panic => panic!("fault point {point}"),
            Action::Fail => fails = true,
            Action::Abort => std::process::abort(),
            Action::Block => drop(arm.changed.wait_while(arm.progress(), |progress| !progress.released)),
        }
    }
    fails
}

impl FaultGuard {
    /// How often the action has happened.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.0.progress().fired
    }

    /// Waits until the action has happened `times` times; `false` if it has not by the end of `patience`.
    #[must_use]
    pub fn wait_fired(&self, times: u64, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut progress = self.0.progress();
        while progress.fired < times {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            progress = self.0.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lets go of the threads that are blocked at the point, now and from now on.
    pub fn release(&self) {
        self.0.progress().released = true;
        self.0.changed.notify_all();
    }
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        arms().retain(|arm| !Arc::ptr_eq(arm, &self.0));
        ARMED.fetch_sub(1, Ordering::Relaxed);
        self.release();
    }
}

impl Arm {
    fn matches(&self, scope: Option<&str>, point: &str) -> bool {
        self.point == point && (self.scope.is_none() || self.scope.as_deref() == scope)
    }

    /// Counts a hit; whether the action is due.
    fn count_hit(&self) -> bool {
        let mut progress = self.progress();
        progress.hits += 1;
        let due = progress.hits >= self.at_hit && progress.fired < self.times;
        if due {
            progress.fired += 1;
            self.changed.notify_all();
        }
        due
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn arms() -> MutexGuard<'static, Vec<Arc<Arm>>> {
    ARMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the environment once per process, at the first hit.
fn arm_from_environment() {
    static READ: OnceLock<()> = OnceLock::new();
    READ.get_or_init(|| {
        if let Some(text) = std::env::var_os(ENVIRONMENT) {
            match parse(&text.to_string_lossy()) {
                // Armed for the life of the process: nobody drops these.
                Ok(faults) => faults
                    .into_iter()
                    .for_each(|(point, action, hit)| std::mem::forget(arm(None, &point, action, hit, 1))),
                // A test whose fault never happens would pass for the wrong reason.
                Err(part) => {
                    eprintln!("{ENVIRONMENT}: {part:?} is not `name=panic|fail|abort|block@hit` with a known name");
                    std::process::abort();
                }
            }
        }
        ARMED.fetch_sub(1, Ordering::Relaxed);
    });
}

/// The faults of an environment variable; on an error the part that is wrong.
fn parse(text: &str) -> Result<Vec<(String, Action, u64)>, String> {
    let part_of = |part: &str| {
        let (point, rest) = part.split_once('=')?;
        let (action, hit) = rest.split_once('@')?;
        let action = match action {
            "panic" => Action::Panic,
            "fail" => Action::Fail,
            "abort" => Action::Abort,
            "block" => Action::Block,
            _ => return None,
        };
        let hit = hit.parse().ok().filter(|hit| *hit > 0)?;
        is_point(point).then(|| (point.to_owned(), action, hit))
    };
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part_of(part).ok_or_else(|| part.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::mpsc,
        thread,
    };

    use super::*;
    use crate::actors::fault::fault_point;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn passes(scope: &str) -> bool {
        catch_unwind(AssertUnwindSafe(|| fault_point!(scope, "batch.fold"))).is_ok()
    }

    fn commit(scope: &str) -> Result<(), i32> {
        fault_point!(scope, "committer.commit_fails" => 5);
        Ok(())
    }

    #[test]
    fn a_fault_happens_at_its_hit_as_often_as_asked() {
        let guard = arm(Some("nth hit"), "batch.fold", Action::Panic, 3, 2);
        assert_eq!([(); 6].map(|()| passes("nth hit")), [true, true, false, false, true, true]);
        assert_eq!(guard.fired(), 2);
    }

    #[test]
    fn a_dropped_guard_disarms() {
        let guard = arm(Some("dropped"), "batch.fold", Action::Panic, 1, u64::MAX);
        assert!(!passes("dropped"));
        drop(guard);
        assert!(passes("dropped"));
    }

    #[test]
    fn scopes_do_not_disturb_each_other() {
        let guard = arm(Some("mine"), "batch.fold", Action::Panic, 1, u64::MAX);
        assert!(passes("another's"));
        fault_point!("batch.fold");
        assert_eq!(guard.fired(), 0, "a hit without a scope is not this scope's");
        assert!(!passes("mine"));
    }

    #[test]
    fn an_armed_error_makes_the_function_return_it() {
        let guard = arm(Some("error"), "committer.commit_fails", Action::Fail, 2, 1);
        assert_eq!([commit("error"), commit("error"), commit("error")], [Ok(()), Err(5), Ok(())]);
        drop(guard);
        let guard = arm(Some("no error form"), "batch.fold", Action::Fail, 1, 1);
        assert!(!passes("no error form"), "a mistake in the test is loud");
        drop(guard);
    }

    #[test]
    fn a_blocked_thread_goes_on_when_released() {
        let guard = arm(Some("blocked"), "batch.fold", Action::Block, 1, 1);
        let (done, is_done) = mpsc::channel();
        let thread = thread::spawn(move || {
            fault_point!("blocked", "batch.fold");
            done.send(()).unwrap();
        });
        assert!(guard.wait_fired(1, PATIENCE));
        assert!(is_done.try_recv().is_err(), "it waits at the point");
        guard.release();
        assert_eq!(is_done.recv_timeout(PATIENCE), Ok(()));
        thread.join().unwrap();
    }

    #[test]
    fn the_environment_is_read_strictly() {
        let faults = parse("aof.received=abort@3; batch.fold=panic@1;").unwrap();
        assert_eq!(
            faults,
            [("aof.received".to_owned(), Action::Abort, 3), ("batch.fold".to_owned(), Action::Panic, 1)]
        );
        for bad in ["aof.recieved=abort@3", "aof.received=abort", "aof.received=stop@1", "aof.received=abort@0", "x"] {
            assert_eq!(parse(bad), Err(bad.to_owned()));
        }
    }

    /// The test runs itself again in a child process, which dies at the third hit.
    #[test]
    fn a_child_process_is_armed_by_its_environment() {
        const MARK: &str = "passed the fault point";
        if std::env::var_os(ENVIRONMENT).is_some() {
            for _ in 0..5 {
                fault_point!("any scope", "aof.received");
                println!("{MARK}");
            }
            return;
        }
        let test = "actors::fault::armed::tests::a_child_process_is_armed_by_its_environment";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(ENVIRONMENT, "aof.received=abort@3")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert_eq!(child.status.code(), None, "ended by a signal, not by an exit: {output}");
        assert_eq!(output.matches(MARK).count(), 2, "{output}");
    }

    #[test]
    fn names_are_known_and_unique() {
        let points = crate::actors::fault::POINTS;
        assert!(points.iter().all(|point| is_point(point)));
        assert!(!is_point("aof") && !is_point("aof.received.") && !is_point(""));
        assert_eq!(points.iter().collect::<std::collections::HashSet<_>>().len(), points.len());
    }
}
