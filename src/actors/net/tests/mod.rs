//! Two or more nodes on real sockets of this machine.

mod nodes;
mod pairs;
