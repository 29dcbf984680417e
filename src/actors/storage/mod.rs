//! The node's one storage environment: an LMDB directory that every subject of the node shares.
//!
//! One environment, because one group commit then serves thousands of subjects with one fsync. Everything in it hangs on
//! the *log*: all events of all subjects in the order in which they were committed, under a node-wide increasing
//! position. LMDB is ten times faster at appending in key order than at any other.
//!
//! * [`lmdb`] is the only module that touches the library. No cursor leaves it, and reads hand out slices that live as
//!   long as their transaction.
//! * [`lock`] keeps a second process out, and names the first. [`preflight`] looks at the files before LMDB maps them,
//!   since LMDB trusts them; [`tail`] tells a file that lost something from one that only lacks free pages.
//! * [`block`] is the layout of the log: the frames of one commit, packed, each with its links.
//! * [`head`] is what is known of one subject's log: counts, last positions, clocks, the frontier.
//! * [`ahead`] are signed heads over more of a log than is here.
//! * [`cursor`] is the place of a durable subscription in a log.
//! * [`cuts`] is where the logs of authors end who signed two histories, or were revoked; [`republished`] what of the former
//!   was published again, [`control`] the rows of the events that revoke and grant.
//! * [`shares`] are the subjects that are shared with others.
//! * [`home`] notices that the directory is a copy of another.
//! * [`reader`] finds events by position, and by author and sequence number, wherever they lie; [`chain`] follows one author, `scan` reads those of a
//!   subject in their order. [`mark`] is how a position is kept in the meta table.
//! * [`frozen`] is a directory as of one commit for somebody who trusts nothing in it, and reads its [`pages`] without
//!   LMDB, and [`onlooker`] how to come to one; [`claim`] has each directory open once in a process.
//! * [`row`] is a row with its checksum.
//! * [`open`] puts these together into a [`Store`].
//!
//! # The log
//!
//! A value of the log table is a *block*: events that were committed together, under the position of the first. Each
//! entry has two back-links, to the previous event of its subject and to the previous one of its author in that
//! subject. A sparse index holds the position of every 64th event by subject and by author, so that any event is found
//! in one lookup and at most 63 steps, and no table has random keys.
//!
//! The oldest part of the log leaves the table for [segments](crate::actors::segment). Its index stays, and readers do not
//! notice: positions are the same.

pub(crate) mod ahead;
pub(crate) mod block;
pub(crate) mod chain;
pub(crate) mod claim;
pub(crate) mod control;
pub(crate) mod cursor;
pub(crate) mod cuts;
pub mod error;
pub(crate) mod frozen;
pub(crate) mod head;
pub(crate) mod home;
pub(crate) mod keys;
pub(crate) mod lmdb;
pub(crate) mod lock;
pub(crate) mod mark;
pub(crate) mod onlooker;
pub(crate) mod open;
pub(crate) mod pages;
pub(crate) mod preflight;
pub(crate) mod reader;
pub(crate) mod republished;
pub(crate) mod row;
mod scan;
pub(crate) mod shares;
mod tail;

pub use error::StorageError;
pub(crate) use open::Store;
