//! What goes into the machine and what comes out of it.

use std::time::Duration;

use super::Offence;
use crate::wire::sync::{Bye, Events, Fork, Message, Others, Summary, SyncError, VectorEntry};

/// What has happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The stream is open. The first input, at both ends; the message that names the subject is the shell's.
    Start,
    /// A message has come. Only to be given while [`Session::wants_input`](super::Session::wants_input).
    Received(Message),
    /// A part of a message has come that is not whole yet: some [`PROGRESS_BYTES`](super::limits::PROGRESS_BYTES) more of it. Without these a
    /// slow link with large chunks would look like a peer that sends nothing.
    Receiving,
    /// The answer to [`Output::Look`]: what there is here. The shell keeps the version vector of that same moment as *the
    /// look*.
    Looked(Summary),
    /// The subject's coordinator lets this session download. `push`: whether to ask the peer to push events afterwards.
    Turn {
        /// Whether live events are wanted from this peer.
        push: bool,
    },
    /// The answer to [`Output::Read`].
    Read(ReadOutcome),
    /// The answers to [`Output::Store`] and [`Output::TakeFork`], in their order.
    Stored(StoreOutcome),
    /// The log here has grown, by whoever's doing, or what is known of forks has changed.
    Grown {
        /// Whether what is known of forks has changed.
        cuts_changed: bool,
    },
    /// The coordinator wants events pushed by this peer, or no longer does.
    SetPush(bool),
    /// What the peer is to be told of others who share the subject. Another one replaces it where it was not sent yet.
    Others(Others),
    /// The time that was asked for with [`Output::Wake`] has come.
    Time,
    /// The stream has ended, for whatever reason. Nothing more is sent; a turn is given back.
    Closed,
}

/// What a read has found.
#[derive(Debug)]
pub enum ReadOutcome {
    /// Events that the peer lacks. What the peer is known to have includes them from now on.
    Chunk(Events),
    /// The peer lacks nothing of what is here: as of this summary.
    End(Summary),
}

/// What became of a chunk, or of the evidence of a fork.
#[derive(Debug)]
pub enum StoreOutcome {
    /// It is stored. What the peer is known to have includes it from now on.
    Done {
        /// Events that were not here.
        new: u64,
        /// Events that were.
        duplicates: u64,
    },
    /// The peer sent what no honest peer sends.
    Offence(SyncError),
    /// This node cannot store it, which is not the peer's fault.
    Failed(String),
}

/// What is to be done.
///
/// Those that wait for the stream ([`waits_for_stream`](Self::waits_for_stream)) are carried out one after the other: a peer that takes
/// nothing holds up what would be sent next, and the machine asks for no more than that. All others are carried out at
/// once, in their order, whatever the stream does: were storing to wait for sending, two ends that send to each other could
/// wait for ever.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Say what there is here: [`Input::Looked`]. Waits for the stream.
    Look,
    /// Send this. Waits for the stream.
    Send(Message),
    /// Send our version vector, as one [`Message::Vector`] or several. Waits for the stream.
    SendVector {
        /// The flag of all its parts.
        push: bool,
    },
    /// Send the evidence of forks that is here, each as a [`Message::Fork`]: at most
    /// [`MAX_FORKS_SENT`](super::limits::MAX_FORKS_SENT). Waits for the stream.
    SendForks,
    /// Read the next chunk that the peer lacks: [`Input::Read`]. Waits for the stream.
    Read,
    /// What the peer has of these authors' logs.
    PeerHas {
        /// A part of its version vector.
        entries: Vec<VectorEntry>,
        /// Whether it is the first part: what was known before is out of date.
        first: bool,
    },
    /// The peer has at least what was here at the last look.
    PeerHasLook,
    /// Verify this and hand it to the log: [`Input::Stored`].
    Store(Events),
    /// Verify this and keep it: [`Input::Stored`].
    TakeFork(Box<Fork>),
    /// The peer knows of these others who share the subject, and of nobody that it told of before.
    PeerKnows(Others),
    /// Ask the coordinator for the turn to download.
    AskTurn,
    /// Give the turn back, or withdraw the question.
    ReturnTurn,
    /// Give [`Input::Time`] at this time, and no longer at any earlier one that was asked for; `None`: not at all.
    Wake(Option<Duration>),
    /// The session is over: end the stream. The last output.
    End(EndReason),
}

impl Output {
    /// Whether it is carried out only when the stream has taken all that was to be sent before.
    #[must_use]
    pub const fn waits_for_stream(&self) -> bool {
        matches!(self, Self::Look | Self::Send(_) | Self::SendVector { .. } | Self::SendForks | Self::Read)
    }
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The peer broke the protocol: cut it off.
    Offence(Offence),
    /// The peer has not sent what it was asked for, again and again. The connection is of no use for this subject; a new one may
    /// be.
    Stalled,
    /// This node cannot go on.
    Failed(String),
    /// The peer has ended the stream, and said why.
    Bye(Bye),
    /// The stream was closed.
    Closed,
}
