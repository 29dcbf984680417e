//! The standard streams of a command, and the signals that ask for its end: this process's own, or those of a client of
//! `serve`, whose command runs here. A command asks for them here and nowhere else, and so does not know the difference.

use std::{
    fmt,
    io::{self, IsTerminal as _, Read, Write as _},
    sync::Arc,
};

use super::{exit::Failure, output::Output, serve::link::Link, signals::Interrupt};

/// What a command reads from and writes to.
pub struct Streams {
    /// Standard output.
    pub output: Output,
    /// The rest.
    pub console: Console,
}

impl Streams {
    /// Those of this process.
    pub fn own(json: bool) -> Self {
        Self { output: Output::new(json), console: Console::Own }
    }
}

/// Where a command was called: standard input, standard error, and signals.
#[derive(Clone)]
pub enum Console {
    /// Here.
    Own,
    /// In another process, which is a client of this one.
    Client {
        /// The way to it.
        link: Arc<Link>,
        /// Whether its standard input is a terminal.
        input_is_terminal: bool,
    },
}

impl Console {
    /// Whether the command was called here.
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own)
    }

    /// Standard input. Nothing of it is taken before the first read.
    pub fn input(&self) -> Box<dyn Read + Send> {
        match self {
            Self::Own => Box::new(io::stdin()),
            Self::Client { link, .. } => Box::new(link.input()),
        }
    }

    /// Whether somebody sits in front of standard input.
    pub fn is_input_terminal(&self) -> bool {
        match self {
            Self::Own => io::stdin().is_terminal(),
            Self::Client { input_is_terminal, .. } => *input_is_terminal,
        }
    }

    /// Has whoever waits for standard input go on with an error, where that can be done. `false` where it cannot.
    pub fn end_input(&self) -> bool {
        match self {
            Self::Own => false,
            Self::Client { link, .. } => {
                link.end_input();
                true
            }
        }
    }

    /// Tells an error on standard error. That nobody listens there is no reason to panic.
    pub fn complain(&self, what: &dyn fmt::Display) {
        match self {
            Self::Own => {
                let _ = writeln!(io::stderr().lock(), "error: {what}");
            }
            Self::Client { link, .. } => link.complain(&format!("error: {what}\n")),
        }
    }

    /// From now on a signal that asks for the end sets the flag and calls `wake`, instead of ending the process that has
    /// called the command; and so does the end of whoever reads its output.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn catch_interrupt(&self, wake: impl Fn() + Clone + Send + 'static) -> Result<Interrupt, Failure> {
        match self {
            Self::Own => {
                let interrupt = Interrupt::catch(wake.clone())?;
                interrupt.catch_closed_output(wake)?;
                Ok(interrupt)
            }
            Self::Client { link, .. } => {
                link.catch(Box::new(wake));
                Ok(link.interrupt())
            }
        }
    }

    /// Whether the end is asked for, for what goes on for long: of an own process the system sees to that.
    pub fn interrupt(&self) -> Interrupt {
        match self {
            Self::Own => Interrupt::default(),
            Self::Client { link, .. } => link.interrupt(),
        }
    }
}

/// Why an input ends that has not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the node that runs this command was asked to end: what has no receipt is to be published again")]
pub struct Ending;

impl Ending {
    /// As the error of a reader.
    pub fn error() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, Self)
    }

    /// Whether this is why.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}
