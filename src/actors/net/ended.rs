//! How a connection ends, what is said of it to the peer, and what is remembered.

use iroh::endpoint::{ConnectionError, ReadError, WriteError};

use super::error::ReadMessageError;
use crate::wire::sync::{Bye, ByeReason, SyncError};

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// This node stops.
    Stopping,
    /// It was made for one purpose, which is fulfilled.
    Parted,
    /// Another connection between the two stays.
    Duplicate,
    /// The peer speaks another major version.
    OtherMajor(String),
    /// The peer broke the protocol.
    Offence(String),
    /// The peer is not served.
    Refused(String),
    /// This side failed.
    Failed(String),
    /// The peer said farewell.
    ByPeer(ByeReason, String),
    /// It is gone.
    Lost(String),
}

impl Ended {
    /// What the peer is told, where there is something to tell and somebody to hear it.
    pub(super) fn bye(&self) -> Option<Bye> {
        let (reason, text) = match self {
            Self::Stopping => (ByeReason::Stopping, "the node stops"),
            Self::Parted => (ByeReason::Stopping, "there is nothing more to fetch"),
            Self::Duplicate => (ByeReason::Duplicate, "there is another connection"),
            Self::OtherMajor(text) => (ByeReason::OtherMajor, text.as_str()),
            Self::Offence(text) => (ByeReason::Offence, text.as_str()),
            Self::Refused(text) => (ByeReason::Refused, text.as_str()),
            Self::Failed(text) => (ByeReason::Failed, text.as_str()),
            Self::ByPeer(..) | Self::Lost(_) => return None,
        };
        Some(Bye { reason, text: text.to_owned() })
    }

    /// What to remember as the peer's last error, if it is one.
    pub(super) fn error(&self) -> Option<String> {
        Some(match self {
            Self::Stopping | Self::Parted | Self::Duplicate | Self::ByPeer(ByeReason::Duplicate, _) => return None,
            Self::OtherMajor(text)
            | Self::Offence(text)
            | Self::Refused(text)
            | Self::Failed(text)
            | Self::Lost(text) => text.clone(),
            Self::ByPeer(ByeReason::Stopping, _) => "the peer has stopped".to_owned(),
            Self::ByPeer(ByeReason::OtherMajor, text) => {
                format!("the peer refuses this node's version of the protocol: {text}")
            }
            Self::ByPeer(ByeReason::Offence, text) => {
                format!("the peer says that this node broke the protocol: {text}")
            }
            Self::ByPeer(ByeReason::Refused, text) => format!("the peer does not serve this node: {text}"),
            Self::ByPeer(_, text) => format!("the peer ended the connection: {text}"),
        })
    }
}

impl From<SyncError> for Ended {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::OtherMajor { .. } => Self::OtherMajor(error.to_string()),
            error => Self::Offence(error.to_string()),
        }
    }
}

impl From<ConnectionError> for Ended {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let code = u16::try_from(close.error_code.into_inner()).unwrap_or(u16::MAX);
                let text = String::from_utf8_lossy(&close.reason);
                Self::ByPeer(ByeReason::from_code(code), text.chars().filter(|c| !c.is_control()).collect())
            }
            ConnectionError::TimedOut => Self::Lost("the peer has given no sign of life".to_owned()),
            error => Self::Lost(error.to_string()),
        }
    }
}

impl From<ReadMessageError> for Ended {
    fn from(error: ReadMessageError) -> Self {
        match error {
            ReadMessageError::Sync(error) => error.into(),
            ReadMessageError::Lost(ReadError::ConnectionLost(error)) => error.into(),
            ReadMessageError::Lost(error) => Self::Lost(error.to_string()),
            error => Self::Offence(error.to_string()),
        }
    }
}

impl From<WriteError> for Ended {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            error => Self::Lost(error.to_string()),
        }
    }
}
