//! The way from a command that runs here to the client that called it.
//!
//! One thread [listens](Link::listen) to the client and is never kept waiting by the command, so that an interrupt, and
//! the end of the client, are heard whatever the command does. That holds because the client sends nothing unasked:
//! of standard input, one frame for each that is [wanted](Kind::Want), and of standard output, how much of it was
//! written. So no more is ever on its way than [`OUTPUT_WINDOW`] bytes and one frame: a client whose output nobody reads
//! stops the command, as a full pipe would.

use std::{
    io::{self, BufReader, Read, Write},
    mem,
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::frame::{self, FRAME_BYTES, Kind};
use crate::cli::{console::Ending, signals::Interrupt};

/// Most bytes of standard output that are on their way to the client and not written there: enough that neither end waits
/// for the other while both are busy.
const OUTPUT_WINDOW: usize = 4 * FRAME_BYTES;

/// Called when the end is asked for.
type Wake = Box<dyn Fn() + Send>;

/// The end of the conversation at which the command runs.
pub struct Link {
    socket: UnixStream,
    /// Held for the length of a frame.
    sending: Mutex<()>,
    state: Mutex<State>,
    /// The state has changed.
    changed: Condvar,
    interrupt: Interrupt,
}

#[derive(Default)]
struct State {
    /// Whether the command has begun.
    begun: bool,
    /// Whether the node was asked to end.
    ending: bool,
    /// Whether the client is gone.
    gone: bool,
    /// Bytes of standard output that the client has not written yet.
    unwritten: usize,
    /// Why it cannot write any more.
    output_failed: Option<i32>,
    input: Input,
    /// Whether the command wants no more input.
    input_over: bool,
    wake: Option<Wake>,
}

/// What is known of the next bytes of standard input.
#[derive(Default)]
enum Input {
    /// Nobody wants them.
    #[default]
    Idle,
    /// The client was asked for them.
    Wanted,
    /// They are here.
    Here(Vec<u8>),
    /// There are none.
    Ended,
    /// They cannot be read.
    Failed(i32),
}

impl Link {
    /// To the client at the other end of this socket.
    pub fn new(socket: UnixStream) -> Self {
        let (sending, state, changed) = (Mutex::default(), Mutex::default(), Condvar::new());
        Self { socket, sending, state, changed, interrupt: Interrupt::default() }
    }

    /// The socket, for what comes before the command.
    pub const fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Sends a frame. Whether it arrives shows elsewhere.
    pub fn send(&self, kind: Kind, bytes: &[u8]) {
        let sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = frame::write(&self.socket, kind, bytes);
        drop(sending);
        if sent.is_err() {
            self.lose();
        }
    }

    /// The command begins; `false` where it must not, since the node was asked to end.
    pub fn begin(&self) -> bool {
        let mut state = self.state();
        state.begun = !state.ending;
        state.begun
    }

    /// Takes what the client sends, until it is gone.
    pub fn listen(&self) {
        let mut from = BufReader::new(&self.socket);
        while let Ok(Some((kind, bytes))) = frame::read(&mut from) {
            if !self.take(kind, bytes) {
                tracing::debug!(?kind, "a client of the node sent what it was not asked for");
                break;
            }
        }
        self.lose();
    }

    /// Takes a frame; `false` where it makes no sense.
    fn take(&self, kind: Kind, bytes: Vec<u8>) -> bool {
        let number = || bytes.first_chunk::<4>().map(|bytes| i32::from_le_bytes(*bytes));
        let mut state = self.state();
        let is_wanted = matches!(state.input, Input::Wanted);
        match (kind, number()) {
            (Kind::Input, _) if is_wanted && bytes.is_empty() => state.input = Input::Ended,
            (Kind::Input, _) if is_wanted => state.input = Input::Here(bytes),
            (Kind::InputFailed, Some(error)) if is_wanted => state.input = Input::Failed(error),
            (Kind::OutputFailed, Some(error)) => state.output_failed = Some(error),
            (Kind::Written, Some(more)) => {
                let Some(left) = usize::try_from(more).ok().and_then(|more| state.unwritten.checked_sub(more)) else {
                    return false;
                };
                state.unwritten = left;
            }
            (Kind::Interrupt, _) => {
                drop(state);
                self.ask_to_end();
                return true;
            }
            _ => return false,
        }
        drop(state);
        self.changed.notify_all();
        true
    }

    /// The node was asked to end, and so is the command.
    pub fn end(&self) {
        let mut state = self.state();
        state.ending = true;
        let begun = state.begun;
        drop(state);
        if begun {
            self.ask_to_end();
        } else {
            self.hang_up();
        }
    }

    /// Nothing is sent or taken any more.
    pub fn hang_up(&self) {
        // Where the client is gone already, there is nothing to shut.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// The client is gone.
    fn lose(&self) {
        self.state().gone = true;
        self.ask_to_end();
    }

    fn ask_to_end(&self) {
        self.interrupt.set();
        if let Some(wake) = &self.state().wake {
            wake();
        }
        self.changed.notify_all();
    }

    /// Set once the command is to end.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// Has the client tell of signals instead of being ended by them, and calls `wake` when the command is to end.
    pub fn catch(&self, wake: Wake) {
        self.state().wake = Some(wake);
        self.send(Kind::Catch, &[]);
        // It may have been asked before.
        if self.interrupt.is_set() {
            self.ask_to_end();
        }
    }

    /// Writes to the client's standard error, as far as anybody is there.
    pub fn complain(&self, text: &str) {
        self.send(Kind::Errors, text.as_bytes());
    }

    /// Standard input.
    pub fn input(self: &Arc<Self>) -> LinkInput {
        LinkInput { link: Arc::clone(self), part: Vec::new(), at: 0 }
    }

    /// Whoever waits for input waits no longer.
    pub fn end_input(&self) {
        self.state().input_over = true;
        self.changed.notify_all();
    }

    /// The next bytes of standard input; none at its end.
    fn next_input(&self) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        loop {
            if state.gone || state.input_over {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "whoever called the command is gone"));
            }
            match mem::take(&mut state.input) {
                Input::Here(bytes) => return Ok(bytes),
                Input::Ended => {
                    state.input = Input::Ended;
                    return Ok(Vec::new());
                }
                Input::Failed(error) => {
                    state.input = Input::Failed(error);
                    return Err(io::Error::from_raw_os_error(error));
                }
                _ if state.ending => return Err(Ending::error()),
                Input::Idle => {
                    state.input = Input::Wanted;
                    drop(state);
                    self.send(Kind::Want, &[]);
                    state = self.state();
                }
                Input::Wanted => {
                    state.input = Input::Wanted;
                    state = self.wait(state);
                }
            }
        }
    }

    /// Standard output.
    pub fn output(self: &Arc<Self>) -> LinkOutput {
        LinkOutput(Arc::clone(self))
    }

    /// Waits until no more than so many bytes of standard output are on their way, and counts more of them.
    fn reserve(&self, most: usize, more: usize) -> io::Result<()> {
        let mut state = self.state();
        loop {
            if let Some(error) = state.output_failed {
                return Err(io::Error::from_raw_os_error(error));
            }
            if state.gone {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if state.unwritten <= most {
                state.unwritten += more;
                return Ok(());
            }
            state = self.wait(state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client's standard input.
pub struct LinkInput {
    link: Arc<Link>,
    part: Vec<u8>,
    /// How much of the part has been read.
    at: usize,
}

impl Read for LinkInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.at >= self.part.len() {
            (self.part, self.at) = (self.link.next_input()?, 0);
        }
        let read = self.part.get(self.at..).unwrap_or_default().read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// The client's standard output. Flushed, all of it has been written there.
pub struct LinkOutput(Arc<Link>);

impl Write for LinkOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (part, _) = bytes.split_at(bytes.len().min(FRAME_BYTES));
        if !part.is_empty() {
            self.0.reserve(OUTPUT_WINDOW - part.len(), part.len())?;
            self.0.send(Kind::Output, part);
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.reserve(0, 0)
    }
}
