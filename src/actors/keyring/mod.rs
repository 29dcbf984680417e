//! The keyring: the named identities of one data directory.
//!
//! Several people can write on one machine, each under a key of their own. Their keys lie in `<data directory>/keys/`,
//! one file a name (`alice.key`, in the format of [`key_file`](crate::wire::key_file)), readable by their owner only.
//!
//! - [`Keyring`] finds, makes, imports and exports identities, and hands out signers.
//! - A name is checked by [`check`]: it is a file name on every system.
//! - [`Succession`] is what keeps a copied directory from writing under the same keys as its original.
//! - `endpoint` is the key of the node on the network, which is no identity.
//! - `file` is where the disk is touched: permissions, and a write that is whole or not there at all.
//!
//! # What holds
//!
//! - *A key is never overwritten.* A file that cannot be read blocks its name until someone moves it away.
//! - *A damaged key harms its own name only.* The keyring opens without it, and tells about it.
//! - *A key is on disk before its identifier is handed out*, so no event is ever written by a key that a crash loses.
//! - *A key is tried before its first signature, not at start*: with thousands of keys that would take seconds.
//!
//! One process at a time uses a data directory, which its lock ensures; threads of one process are kept apart here.

pub(crate) mod endpoint;
mod error;
mod file;
pub(crate) mod inspect;
mod name;
mod ring;
mod succession;

pub use error::KeyringError;
pub use name::check;
pub use ring::Keyring;
pub use succession::Succession;
