//! What can go wrong with named identities.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::name::MAX_NAME_CHARS;
use crate::wire::{id::XaeroID, key::KeyError, key_file::KeyFileError};

/// An identity that cannot be found, made, read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The name breaks a rule.
    #[error(
        "{name:?} cannot name an identity, {rule}: use 1 to {MAX_NAME_CHARS} of a-z A-Z 0-9 . _ - and no dot at the start"
    )]
    BadName {
        /// The name.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// There is an identity of this name already.
    #[error("there is already an identity {0:?}: use it, or choose another name")]
    Exists(String),
    /// The same key is here under another name.
    #[error("this key is already here, as {0:?}: use that name")]
    AlreadyHere(String),
    /// There is no identity of this name.
    #[error("there is no identity {0:?} here: make it first, or use one of those that exist")]
    UnknownName(String),
    /// There is no key for this writer.
    #[error(
        "there is no key for the writer {0} here: publish as an identity of this data directory, or import its key"
    )]
    UnknownWriter(XaeroID),
    /// A key file that others than its owner can read or write.
    #[error(
        "the key file {path} is open to other users (mode {mode:03o}): run `chmod 600` on it, and make a new identity if someone may have read it"
    )]
    FilePermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory of keys that others than its owner can enter.
    #[error("the key directory {path} is open to other users (mode {mode:03o}): run `chmod 700` on it")]
    DirectoryPermissions {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file that holds no usable key.
    #[error("the key file {path} cannot be used: {source}")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyFileError,
    },
    /// A key file whose key is another than when the keyring was opened.
    #[error("the key file {0} was replaced while the program ran: put the old one back, or restart")]
    Replaced(PathBuf),
    /// A new key does not work.
    #[error("a new key could not be made: {0}")]
    Generate(#[source] KeyError),
    /// The file of the endpoint's key holds no usable key.
    #[error(
        "the endpoint key {path} cannot be used ({what}): restore it from a backup, or move it away for a new endpoint, and make new tickets"
    )]
    BadEndpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The system has no random numbers.
    #[error("the operating system gave no random numbers for a key: {0}")]
    Randomness(String),
    /// The operating system refused.
    #[error("could not {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}
