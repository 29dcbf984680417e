//! The Merkle Mountain Range of each author's log in a subject.
//!
//! The [tree](crate::wire::mmr) has the event ids as leaves. What it is made of lies in three places:
//!
//! * the leaves are in the entries of the log;
//! * the peaks, which the next leaf is added to and the root is made of, are in the subject's head: the committer keeps
//!   them with the events, so that the root of what is durable is always known;
//! * the nodes in between are a *projection* of the log, which the MMR actor makes: killed at any point, it goes on from
//!   its last row and comes to the same nodes. Only subtrees of 64 leaves and more are stored, so that a tree takes one byte
//!   an event; what is below is made again from 64 leaves when it is asked for.
//!
//! Since every 64th event of an author has a row in the sparse index, the leaves of such a subtree are found from there
//! along the author's back-links.
//!
//! * [`nodes`] reads any node, stored or not: what proofs are made of.
//! * [`projection`] finds the rows that are missing, and makes them; [`actor`] is the child that has them stored.

pub(crate) mod actor;
pub(crate) mod nodes;
pub(crate) mod projection;
