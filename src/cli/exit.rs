//! How the command can end: the exit codes, and the messages that go with them.

use std::{fmt, io, process::ExitCode};

use xaeroflux::{
    Error, ExportError, ImportError, ImportFailure, KeyringError, NetError, PublishError, RightsError, StorageError,
};

use super::console::Ending;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// Some lines of the input were refused, and are named on standard error; the others were published.
    Refused = 1,
    /// The arguments make no sense, or a name in them breaks a rule. Nothing was done.
    Usage = 2,
    /// Another process has the data directory, and does not take this command for us. Nothing was done.
    Busy = 3,
    /// The data directory cannot be opened, read or written, is full, or is damaged.
    Storage = 4,
    /// There is no identity of this name, or there is one already, or its key cannot be used.
    Identity = 5,
    /// Standard input could not be read, or standard output not be written.
    Streams = 6,
    /// The engine failed, or the demo did not end in the states that it should.
    Failed = 7,
    /// What was given proves nothing: a proof, a key or an exported subject is damaged, forged, or about something else.
    Unproven = 8,
    /// The data directory was verified, and is damaged.
    Damaged = 9,
    /// The subject is owned, and who asks has no right to do that in it.
    NoRight = 10,
    /// Interrupted by a signal before it was done: 128 + 2, as shells have it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An end before all was done: the exit code, and what to tell.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
    /// Whether it is that nobody reads our output any more.
    closed_output: bool,
}

impl Failure {
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), closed_output: false }
    }

    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Standard input could not be read.
    pub fn input(error: &io::Error) -> Self {
        if Ending::is(error) {
            return Self::new(Exit::Interrupted, error);
        }
        Self::new(Exit::Streams, format_args!("standard input could not be read: {error}"))
    }

    /// Whether it is that nobody reads our output any more.
    pub const fn is_closed_output(&self) -> bool {
        self.closed_output
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// All other input and output than that of the standard streams is the library's, which has errors of its own.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            closed_output: error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::new(Exit::Streams, format_args!("standard output could not be written: {error}"))
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(of_node(&error), error)
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let exit = match &error {
            ExportError::Node(error) => of_node(error),
            ExportError::Write(_) => Exit::Streams,
            ExportError::Empty { .. } | ExportError::BeyondEnd { .. } => Exit::Usage,
            ExportError::Unsigned { .. } | ExportError::UnknownKey { .. } => Exit::Unproven,
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let exit = match &*error.failure {
            ImportFailure::Bundle(_) | ImportFailure::Fork(_) => Exit::Unproven,
            ImportFailure::Read(error) if Ending::is(error) => Exit::Interrupted,
            ImportFailure::Read(_) => Exit::Streams,
            ImportFailure::Node(error) => of_node(error),
            ImportFailure::PrefixMissing { .. } | ImportFailure::Refused(_) => Exit::Refused,
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

/// The exit code for a failure of the node or a subject.
fn of_node(error: &Error) -> Exit {
    match error {
        Error::Name(_) | Error::Share(_) | Error::Ticket(_) | Error::Network(NetError::BadRelay { .. }) => Exit::Usage,
        Error::Storage(StorageError::InUse { .. }) => Exit::Busy,
        Error::Storage(_) | Error::NoDataDir => Exit::Storage,
        Error::Keyring(error) => match **error {
            KeyringError::BadName { .. } => Exit::Usage,
            _ => Exit::Identity,
        },
        Error::Proof(_) | Error::Unsigned { .. } => Exit::Unproven,
        Error::NoSuchEvent { .. } => Exit::Usage,
        Error::Publish(error) | Error::Rights(RightsError::Publish(error)) => of_publish(error),
        Error::Rights(RightsError::NotOwned) => Exit::Usage,
        Error::Rights(_) => Exit::NoRight,
        _ => Exit::Failed,
    }
}

/// The exit code for an event that was not published. All but [`Exit::Refused`] hold for the events after it as well.
pub const fn of_publish(error: &PublishError) -> Exit {
    match error {
        PublishError::PayloadTooLarge { .. } => Exit::Refused,
        PublishError::InvalidSubject(_) => Exit::Usage,
        PublishError::NoRight { .. } => Exit::NoRight,
        PublishError::UnknownAuthor { .. } | PublishError::Identity(_) => Exit::Identity,
        PublishError::StorageFull { .. }
        | PublishError::DiskFull
        | PublishError::Poisoned { .. }
        | PublishError::Storage(_) => Exit::Storage,
        _ => Exit::Failed,
    }
}
