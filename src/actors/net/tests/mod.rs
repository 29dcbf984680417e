//! Nodes on real sockets of this machine: two that mean well, and one that meets somebody who does not.

mod hostile;
mod nodes;
mod pairs;
mod raw;
mod swarms;
