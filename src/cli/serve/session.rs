//! One client: its hello, its command, its exit code.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Parser as _;

use super::{
    clients::Slot,
    frame::{self, Kind},
    hello::{BadHello, Hello},
    link::Link,
    served::Served,
};
use crate::cli::{
    args::Cli,
    console::{Console, Streams},
    execute,
    exit::{Exit, Failure},
    output::Output,
    place::Place,
};

/// How long a client may take to say what it wants. It has known that before it connected.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// A client, from its connection to its end.
pub struct Session {
    /// The way to it.
    pub link: Arc<Link>,
    /// The node that it uses.
    pub served: Arc<Served>,
    /// Its place among the clients.
    pub slot: Slot,
}

impl Session {
    /// Does what the client asks.
    pub fn run(self) {
        let Self { link, served, slot } = self;
        match asked(link.socket()) {
            Ok(asked) => converse(&link, &served, asked),
            Err(why) => {
                tracing::debug!(why, "a client of the node was refused");
                link.send(Kind::Refused, why.as_bytes());
            }
        }
        link.hang_up();
        drop(slot);
    }
}

/// What a client asks: where it was called, and how.
fn asked(socket: &UnixStream) -> Result<(Hello, Cli), String> {
    let until = Instant::now() + HELLO_PATIENCE;
    let hello = match frame::read(Patient { socket, until }) {
        Ok(Some((Kind::Hello, bytes))) => Hello::decode(&bytes).map_err(|error| error.to_string())?,
        Ok(_) => return Err(BadHello::Unknown.to_string()),
        Err(error) => return Err(format!("the command did not say what it wants: {error}")),
    };
    socket.set_read_timeout(None).map_err(|error| error.to_string())?;
    let cli = Cli::try_parse_from(&hello.args).map_err(|error| error.to_string())?;
    if !cli.command.is_served() {
        return Err("this command does not run in another process".to_owned());
    }
    Ok((hello, cli))
}

/// Runs the command, and tells how it ended.
fn converse(link: &Arc<Link>, served: &Served, (hello, cli): (Hello, Cli)) {
    if !link.begin() {
        return link.send(Kind::Refused, b"the node that has the data directory was asked to end");
    }
    let listening = Arc::clone(link);
    let listener = thread::Builder::new().name("xaeroflux-client".to_owned()).spawn(move || listening.listen());
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return link.send(Kind::Refused, format!("a thread could not be started: {error}").as_bytes()),
    };
    link.send(Kind::Welcome, &[]);
    let Cli { global, command } = cli;
    let console = Console::Client { link: Arc::clone(link), input_is_terminal: hello.input_is_terminal };
    let output = Output::to(Box::new(link.output()), global.json, hello.output_is_terminal);
    let mut streams = Streams { output, console };
    let place = Place::Served { served, directory: &hello.directory };
    // A command that panics takes neither the node nor the other clients with it.
    let ended = catch_unwind(AssertUnwindSafe(|| execute(&global, &place, command, &mut streams)));
    let ended = ended.unwrap_or_else(|_| {
        Err(Failure::new(
            Exit::Failed,
            "the command panicked in `xaeroflux serve`, which says more: report this as a bug",
        ))
    });
    let exit = ended.unwrap_or_else(|failure| {
        streams.console.complain(&failure);
        failure.exit
    });
    link.send(Kind::Exit, &[exit as u8]);
    link.hang_up();
    // It has no reason to panic, and nothing to tell.
    let _ = listener.join();
}

/// Reads from a client until a point in time.
struct Patient<'a> {
    socket: &'a UnixStream,
    until: Instant,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        (&mut &*self.socket).read(buffer)
    }
}
