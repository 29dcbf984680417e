//! Merkle Mountain Ranges: an author's log under one hash, which every prefix and every event can be proven against.
//!
//! The leaves of a log's tree are the ids of its events, in their order: leaf `index` is the event with sequence number
//! `index + 1`. Two neighbours become a node, two neighbouring nodes a node of the next level, and so on. A perfect
//! subtree never changes once it is complete, so a log that grows only adds nodes: the largest perfect subtrees of a log
//! are its *peaks* ([`Peaks`]), one for each bit that is set in its length, and they are all that appending needs.
//!
//! ```text
//! level 2          o                 length 7 = 4 + 2 + 1: three peaks
//! level 1      o       o       o
//! level 0    o   o   o   o   o   o   o
//! index      0   1   2   3   4   5   6
//! ```
//!
//! The root *bags* the peaks from the right: `node(p0, node(p1, p2))`. This gives, for every length, the very shape of the
//! Merkle tree of [RFC 9162](https://www.rfc-editor.org/rfc/rfc9162#section-2.1), so its published algorithms hold here:
//! [`InclusionProof`] is its section 2.1.3, [`ConsistencyProof`] its section 2.1.4.
//!
//! # Hashes
//!
//! A node is BLAKE3 in key derivation mode with the context `xaeroflux 2026 mmr node v1` over left and right, 64 bytes.
//! A leaf is not hashed again, since the event id has a domain of its own, and a leaf can never be shown as a node: where
//! a leaf lies follows from the length. The length is not part of the root, so it is always signed beside it. The root of
//! no leaves is the node hash of no bytes.
//!
//! # Where nodes come from
//!
//! Proofs are made from perfect subtrees, which whoever keeps them lends out through [`Nodes`]; [`Tree`] keeps all of
//! them in memory. Checking a proof needs none.

mod consistency;
mod inclusion;
mod node;
mod nodes;
mod peaks;
mod prolong;
#[cfg(test)]
mod rfc9162;
mod tree;

pub use consistency::ConsistencyProof;
pub use inclusion::InclusionProof;
pub(crate) use inclusion::{path, path_length, root_of_path};
pub(crate) use node::NodeHash;
pub use node::{Hash, empty_root};
pub use nodes::{Nodes, root_at};
pub use peaks::Peaks;
pub use tree::{NotInTree, Tree};
