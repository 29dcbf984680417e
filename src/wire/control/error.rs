//! What is wrong with a control record.

use thiserror::Error;

/// A payload that is not the control record that its event's code announces.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The code.
    #[error("system event {0} is none that this version knows: upgrade xaeroflux")]
    UnknownCode(u8),
    /// The version.
    #[error("control record version {0} is none that this version knows: upgrade xaeroflux")]
    UnknownVersion(u8),
    /// The length.
    #[error("a {what} record has {need} bytes, this one has {have}")]
    Length {
        /// Which record it should be.
        what: &'static str,
        /// Bytes that are there.
        have: usize,
        /// Bytes that such a record has.
        need: usize,
    },
    /// The options of a genesis.
    #[error("the options of a genesis are {0:#010x}, of which this version knows none: upgrade xaeroflux")]
    UnknownOptions(u32),
    /// The role.
    #[error("role {0} is none that this version knows: a role is 1 (reader), 2 (writer) or 3 (owner)")]
    UnknownRole(u8),
    /// The name of a grant.
    #[error("a grant is named by its author and its sequence number from 1 on, or by zeros only where there is none")]
    BadDot,
}
