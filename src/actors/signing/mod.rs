//! Signing: the thread that signs for a node's writers, beside the committer.
//!
//! A Falcon signature takes 0.2 milliseconds, as long as hundreds of events take to be stored. So nothing is signed by
//! itself: after each commit the heads of all logs that it changed are signed together, one signature for each author,
//! while the disk syncs. At most one job is on its way; what commits meanwhile is part of the next.
//!
//! * [`thread`] is the thread, a queue of jobs before it and a callback behind it.

pub(crate) mod thread;
