//! Fault points: named places in the actors where a test makes something fail.
//!
//! A crash test is only worth something if it can crash *there*: after the put and before the commit, after the commit
//! and before the acknowledgement. `fault_point!` marks such a place and [`arm`] says what happens when it is
//! reached: a panic, an error, the end of the process, or a stop until the test lets go.
//!
//! ```text
//! fault_point!("batch.fold");                                        // anywhere
//! fault_point!(self.scope, "committer.before_commit");               // armed for one data directory only
//! fault_point!(self.scope, "committer.commit_fails" => Error::Io(5)); // `return Err(..)` where armed to fail
//! ```
//!
//! - *Scopes.* Tests run in parallel in one process. A test arms a point for one scope, any text that the code at the
//!   point knows too, such as its data directory or subject name; the same point elsewhere is not disturbed. Armed
//!   without a scope it counts every hit of the process.
//! - *Child processes* are armed by the environment variable [`ENVIRONMENT`], as `name=action@hit` parts between
//!   semicolons, `committer.after_commit=abort@3;batch.fold=panic@1`: each happens once, at that hit.
//! - *Cost.* In release builds and benches a point is nothing at all. In debug builds it is one relaxed atomic load as
//!   long as nothing is armed.
//! - *Names.* Every point is in [`POINTS`], checked at compile time, so that a test can go through all of them and a
//!   misspelt one does not build.

#[cfg(debug_assertions)]
mod armed;

#[cfg(debug_assertions)]
pub use armed::{Action, FaultGuard, arm};
#[cfg(debug_assertions)]
pub(crate) use armed::{hit, is_anything_armed};

/// The environment variable that arms fault points in a child process.
pub const ENVIRONMENT: &str = "XAEROFLUX_FAULTS";

/// All fault points, in the order in which an event batch passes them. What is before the dot is the actor or thread that
/// fails.
pub const POINTS: &[&str] = &[
    // The AOF actor.
    "aof.received",
    "aof.resolved",
    "aof.submitted",
    "aof.acknowledged",
    // The thread that owns the write transactions.
    "committer.received",
    "committer.before_put",
    "committer.after_put",
    "committer.before_commit",
    // The only one with an error form: a simulated EIO.
    "committer.commit_fails",
    "committer.after_commit",
    // The thread that signs the heads.
    "signing.job",
    // The segment writer: the file has its room, its blocks, its footer, its name; it was read back.
    "segment.allocated",
    "segment.written",
    "segment.synced",
    "segment.renamed",
    "segment.verified",
    // The thread that owns the write transactions again, about to take events out of the log table, and when it has.
    "segment.before_trim",
    "segment.after_trim",
    // The MMR actor.
    "mmr.received",
    "mmr.submitted",
    // The batch processor.
    "batch.received",
    "batch.fold",
    "batch.emit",
    // The supervisor, when a child is up again and its queue is about to be replayed.
    "supervisor.before_replay",
];

/// Whether there is a fault point of this name. Usable at compile time.
#[must_use]
pub const fn is_point(name: &str) -> bool {
    let mut points = POINTS;
    while let Some((point, rest)) = points.split_first() {
        if equal(point.as_bytes(), name.as_bytes()) {
            return true;
        }
        points = rest;
    }
    false
}

/// Equality of bytes at compile time, which `==` does not offer.
const fn equal(mut left: &[u8], mut right: &[u8]) -> bool {
    loop {
        match (left.split_first(), right.split_first()) {
            (None, None) => return true,
            (Some((a, left_rest)), Some((b, right_rest))) if *a == *b => (left, right) = (left_rest, right_rest),
            _ => return false,
        }
    }
}

/// Marks a place where a test can make something fail: see the [module](crate::actors::fault).
///
/// `fault_point!("name")`, with a scope `fault_point!(scope, "name")` (anything that is `AsRef<str>`), and with an error
/// `fault_point!("name" => error)`, which makes the enclosing function return `Err(error)` where the point is armed to
/// fail. The name is a literal in [`POINTS`].
macro_rules! fault_point {
    (@hit $scope:expr, $name:literal) => {{
        const { assert!($crate::actors::fault::is_point($name), "add the name to fault::POINTS") };
        #[cfg(debug_assertions)]
        let fails = $crate::actors::fault::is_anything_armed() && $crate::actors::fault::hit($scope, $name);
        #[cfg(not(debug_assertions))]
        let fails = {
            let _: Option<&str> = $scope;
            false
        };
        fails
    }};
    (@scope $scope:expr) => {{
        // In release builds the scope is looked at by the compiler only, so that it never counts as unused.
        #[cfg(debug_assertions)]
        let scope: Option<&str> = Some($scope.as_ref());
        #[cfg(not(debug_assertions))]
        let scope: Option<&str> = if false { Some($scope.as_ref()) } else { None };
        scope
    }};
    ($name:literal) => {
        $crate::actors::fault::must_not_fail($name, $crate::actors::fault::fault_point!(@hit None, $name))
    };
    ($name:literal => $error:expr) => {
        if $crate::actors::fault::fault_point!(@hit None, $name) {
            return Err($error);
        }
    };
    ($scope:expr, $name:literal) => {
        $crate::actors::fault::must_not_fail(
            $name,
            $crate::actors::fault::fault_point!(@hit $crate::actors::fault::fault_point!(@scope $scope), $name),
        )
    };
    ($scope:expr, $name:literal => $error:expr) => {
        if $crate::actors::fault::fault_point!(@hit $crate::actors::fault::fault_point!(@scope $scope), $name) {
            return Err($error);
        }
    };
}
pub(crate) use fault_point;

/// A point without an error form cannot fail: a test that armed it so has a mistake, and should hear of it.
#[inline]
pub(crate) fn must_not_fail(point: &str, fails: bool) {
    assert!(!fails, "the fault point {point} has no error form: arm it to panic, abort or block");
}

#[cfg(all(test, not(debug_assertions)))]
mod tests {
    #[test]
    fn release_builds_have_no_fault_points() {
        fn passes(scope: &str) -> Result<(), u8> {
            fault_point!("batch.fold");
            fault_point!(scope, "batch.fold");
            fault_point!("committer.commit_fails" => 5);
            fault_point!(scope, "committer.commit_fails" => 5);
            Ok(())
        }
        assert_eq!(passes("any"), Ok(()));
    }
}
