//! The command that was called, where another process runs it: its arguments go there, and from then on this one only
//! carries bytes between its standard streams and the socket.

use std::{
    io::{self, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use rustix::io::Errno;

use super::{
    frame::{self, FRAME_BYTES, Kind},
    hello::Hello,
    socket,
};
use crate::cli::{
    args::Global,
    builder,
    exit::{Exit, Failure},
    signals::Interrupt,
};

/// How long the node may take to begin with a command. It begins at once unless it is stopped or the machine is very busy.
const WELCOME_PATIENCE: Duration = Duration::from_secs(30);

/// The way to the node that serves the data directory of these options; `None` where there is none.
pub fn connect(global: &Global) -> Option<UnixStream> {
    socket::connect(&builder(global).resolved_data_dir().ok()?)
}

/// Has the node do what this process was called for.
///
/// # Errors
/// Where the node does not take the command, and where it is gone before the end of it.
pub fn run(socket: UnixStream) -> Result<ExitCode, Failure> {
    let hello = Hello::own()
        .map_err(|error| Failure::new(Exit::Failed, format_args!("the working directory cannot be found: {error}")))?;
    let hello = hello.encode().ok_or_else(|| {
        Failure::usage(format_args!(
            "the arguments are too long for `xaeroflux serve`, which takes {FRAME_BYTES} bytes"
        ))
    })?;
    let client = Client { sending: Arc::new(Sending { socket, lock: Mutex::default() }) };
    // Where the node has refused us already, it says why.
    client.sending.send(Kind::Hello, &hello);
    client.run()
}

/// What the threads of a client send through.
struct Sending {
    socket: UnixStream,
    /// Held for the length of a frame.
    lock: Mutex<()>,
}

impl Sending {
    /// Sends a frame. That nobody takes it any more shows where the answers come from.
    fn send(&self, kind: Kind, bytes: &[u8]) {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = frame::write(&self.socket, kind, bytes);
    }

    fn send_error(&self, kind: Kind, error: &io::Error) {
        self.send(kind, &error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()).to_le_bytes());
    }
}

struct Client {
    sending: Arc<Sending>,
}

impl Client {
    fn run(self) -> Result<ExitCode, Failure> {
        let mut from = BufReader::with_capacity(FRAME_BYTES, &self.sending.socket);
        self.sending.socket.set_read_timeout(Some(WELCOME_PATIENCE)).map_err(|error| lost(&error))?;
        match frame::read(&mut from) {
            Ok(Some((Kind::Welcome, _))) => {}
            Ok(Some((Kind::Refused, why))) => return Err(busy(String::from_utf8_lossy(&why))),
            Ok(_) => return Err(busy("`xaeroflux serve` was asked to end; its directory will be free in a moment")),
            Err(error) => {
                return Err(busy(format_args!("`xaeroflux serve` has the directory and does not answer: {error}")));
            }
        }
        self.sending.socket.set_read_timeout(None).map_err(|error| lost(&error))?;
        let mut output = Output { sending: &self.sending, failed: false, unsaid: 0 };
        let mut wants = None;
        loop {
            let (kind, bytes) =
                frame::read(&mut from).map_err(|error| lost(&error))?.ok_or_else(|| lost(&"it ended"))?;
            match kind {
                Kind::Output => output.write(&bytes),
                // That nobody listens there is no reason to end.
                Kind::Errors => drop(io::stderr().lock().write_all(&bytes)),
                Kind::Want => {
                    let wants = match &mut wants {
                        Some(wants) => wants,
                        none => none.insert(self.start_input()?),
                    };
                    // There is never more than one that was not answered.
                    let _ = wants.try_send(());
                }
                Kind::Catch => self.catch()?,
                Kind::Exit => return Ok(ExitCode::from(bytes.first().copied().unwrap_or(Exit::Failed as u8))),
                _ => return Err(lost(&"it sent what this command does not understand")),
            }
            // All that has come by now is told of at once.
            if from.buffer().is_empty() {
                output.say();
            }
        }
    }

    /// Starts what reads standard input, when it is wanted and no more than that: another command may be called with the
    /// rest of it.
    fn start_input(&self) -> Result<SyncSender<()>, Failure> {
        let (want, wanted) = sync_channel(1);
        let sending = Arc::clone(&self.sending);
        let started = thread::Builder::new().name("xaeroflux-stdin".to_owned()).spawn(move || input(&sending, &wanted));
        started
            .map(|_| want)
            .map_err(|error| Failure::new(Exit::Failed, format_args!("a thread could not be started: {error}")))
    }

    /// From now on the end of this process is the node's to tell, once it knows that it is wanted.
    fn catch(&self) -> Result<(), Failure> {
        let (by_signal, by_reader) = (Arc::clone(&self.sending), Arc::clone(&self.sending));
        let interrupt = Interrupt::catch(move || by_signal.send(Kind::Interrupt, &[]))?;
        interrupt.catch_closed_output(move || by_reader.send(Kind::Interrupt, &[]))
    }
}

/// Standard output.
struct Output<'a> {
    sending: &'a Sending,
    /// Whether nothing can be written any more.
    failed: bool,
    /// Bytes that were written, and of which the node does not know.
    unsaid: u32,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if self.failed {
            return;
        }
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
            self.failed = true;
            return self.sending.send_error(Kind::OutputFailed, &error);
        }
        self.unsaid = self.unsaid.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        // A node that is waited for here goes on while more is written.
        if usize::try_from(self.unsaid).is_ok_and(|unsaid| unsaid >= FRAME_BYTES) {
            self.say();
        }
    }

    fn say(&mut self) {
        if self.unsaid > 0 {
            self.sending.send(Kind::Written, &self.unsaid.to_le_bytes());
            self.unsaid = 0;
        }
    }
}

/// Reads some of standard input each time that it is wanted, to its end.
fn input(sending: &Sending, wanted: &Receiver<()>) {
    let mut buffer = vec![0; FRAME_BYTES];
    while wanted.recv().is_ok() {
        let read = loop {
            match io::stdin().read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(read) => sending.send(Kind::Input, buffer.get(..read).unwrap_or_default()),
            Err(error) => sending.send_error(Kind::InputFailed, &error),
        }
    }
}

/// The node does not take the command.
fn busy(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Busy, why)
}

/// The node is gone in the middle of the command.
fn lost(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        format_args!(
            "the connection to `xaeroflux serve` was lost ({why}): what has no receipt may or may not be stored"
        ),
    )
}
