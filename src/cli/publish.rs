//! `xaeroflux publish`: a line in, an event on disk, a receipt out.
//!
//! One thread reads lines and publishes them without waiting; this one waits for the receipts in the same order and
//! prints them. So the events of one stream share commits. The way from one to the other is bounded: an output that
//! nobody reads stops the input.
//!
//! A receipt is printed only when its event is durable, and is on its way before this thread waits for anything: for the
//! next receipt, or for the next line of somebody who waits for this one.

use std::{
    io::{self, BufRead, BufReader},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    time::Duration,
};

use serde::Serialize;
use xaeroflux::{Acknowledged, Handle, Node, Receipt, Subject, XaeroEvent, XaeroID};

use super::{
    args::{self, PublishArgs},
    console::{Console, Streams},
    exit::{Exit, Failure, of_publish},
    id,
    input::{Bad, Lines},
    kind::Kind,
    output::Output,
    place::Place,
    text::short,
};

/// Lines that may be on their way from the reader to the printer. More than the bus takes, so that it is the disk that
/// sets the pace and not this.
const IN_FLIGHT: usize = 8_192;

/// How long a reader that was told to stop may take to hand over the line in its hand. Only one that waits for input takes
/// longer, and that one publishes nothing any more.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// A receipt as it is printed.
#[derive(Serialize)]
struct Line {
    author: String,
    seq: u64,
    id: String,
}

/// What the reader made of a line.
enum Read {
    /// It was published.
    Sent { line: u64, receipt: Receipt },
    /// It cannot be.
    Bad { line: u64, why: Bad },
    /// There are no more lines, for this reason.
    Failed(Failure),
}

/// Publishes the lines of standard input.
pub fn run(place: &Place<'_>, args: PublishArgs, Streams { output, console }: &mut Streams) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    let author = args.author.as_deref().map(|name| id::existing(&node, name)).transpose()?;
    let subject = node.subject(args.subject);
    let handle = place.run(&subject)?;
    let (tell, told) = sync_channel(IN_FLIGHT);
    let stop = Arc::new(AtomicBool::new(false));
    let reader = Reader {
        node,
        subject: subject.clone(),
        author,
        kind: args.kind,
        timestamp: args.timestamp,
        input: console.input(),
        tell,
        stop: Arc::clone(&stop),
    };
    let reader = std::thread::Builder::new().name("xaeroflux-stdin".to_owned()).spawn(move || reader.run());
    let reader = reader.map_err(|error| {
        Failure::new(Exit::Failed, format_args!("the reader's thread could not be started: {error}"))
    })?;
    let ended = Printer { output, console, told, stop, closed: false, exit: Exit::Done, failed: None }.run();
    // The reader may still wait for a line that never comes. In a process of our own it ends with that.
    if console.end_input() {
        // A panic of it has been told, as any other.
        let _ = reader.join();
    }
    ended.map_err(|failure| match failure.exit {
        Exit::Failed => reason(&subject, &handle).unwrap_or(failure),
        _ => failure,
    })
}

/// Why a subject takes no more events: a receipt may say only that it does not.
fn reason(subject: &Subject, handle: &Handle) -> Option<Failure> {
    subject.count().err().or_else(|| handle.failure()).map(Failure::from)
}

/// Reads lines and publishes them.
struct Reader {
    node: Node,
    subject: Subject,
    author: Option<XaeroID>,
    kind: Kind,
    timestamp: Option<u64>,
    input: Box<dyn io::Read + Send>,
    tell: SyncSender<Read>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self) {
        let input = std::mem::replace(&mut self.input, Box::new(io::empty()));
        if let Err(failure) = self.publish_lines(Lines::new(BufReader::new(input))) {
            // Where nobody is told any more, the printer has given up before.
            let _ = self.tell.send(Read::Failed(failure));
        }
    }

    fn publish_lines(&mut self, mut lines: Lines<impl BufRead>) -> Result<(), Failure> {
        while let Some(read) = lines.next(self.kind).map_err(|error| Failure::input(&error))? {
            // The printer may have given up while this thread waited.
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let line = lines.number();
            let read = match read {
                Ok(payload) => Read::Sent { line, receipt: self.publish(payload)? },
                Err(why) => Read::Bad { line, why },
            };
            if self.tell.send(read).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn publish(&mut self, payload: Vec<u8>) -> Result<Receipt, Failure> {
        // The node's own identity is made with the first line that needs it, and an error of it is told once.
        let author = match self.author {
            Some(author) => author,
            None => *self.author.insert(self.node.own_identity()?),
        };
        let mut event = XaeroEvent::new(payload, self.kind.code()).by(author);
        event.latest_ts = self.timestamp;
        Ok(self.subject.publish(event))
    }
}

/// Waits for receipts and prints them.
struct Printer<'a> {
    output: &'a mut Output,
    console: &'a Console,
    told: Receiver<Read>,
    /// Tells the reader to stop.
    stop: Arc<AtomicBool>,
    /// Whether nothing can be printed any more.
    closed: bool,
    exit: Exit,
    /// What went wrong beside single lines; the first such thing.
    failed: Option<Failure>,
}

impl Printer<'_> {
    fn run(mut self) -> Result<Exit, Failure> {
        while let Some(read) = self.next() {
            match read {
                Read::Sent { line, receipt } => self.receipt(line, receipt),
                Read::Bad { line, why } => {
                    self.console.complain(&format_args!("line {line} was not published: {why}"));
                    self.exit = Exit::Refused;
                }
                Read::Failed(failure) => self.fail(failure),
            }
        }
        self.flush();
        match self.failed {
            Some(failure) => Err(failure),
            None => Ok(self.exit),
        }
    }

    /// The next line, waited for only when all receipts so far are on their way.
    fn next(&mut self) -> Option<Read> {
        match self.told.try_recv() {
            Ok(read) => Some(read),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) if self.stop.load(Ordering::Relaxed) => self.told.recv_timeout(STOP_PATIENCE).ok(),
            Err(TryRecvError::Empty) => {
                self.flush();
                self.told.recv().ok()
            }
        }
    }

    fn receipt(&mut self, line: u64, receipt: Receipt) {
        let outcome = match receipt.try_get() {
            Some(outcome) => outcome,
            None => {
                self.flush();
                receipt.wait()
            }
        };
        let error = match outcome {
            Ok(stored) => return self.print(&stored),
            Err(error) => error,
        };
        let exit = of_publish(&error);
        if exit == Exit::Refused {
            self.console.complain(&format_args!("line {line} was not published: {error}"));
            self.exit = Exit::Refused;
            return;
        }
        // Whether it was published is not always known.
        self.console.complain(&format_args!("line {line} has no receipt: {error}"));
        self.stop.store(true, Ordering::Relaxed);
        self.fail(Failure::new(exit, "no more lines are read, since they would not be published either"));
    }

    fn print(&mut self, stored: &Acknowledged) {
        if !self.closed {
            let line = Line { author: stored.author.to_string(), seq: stored.seq, id: stored.id.to_string() };
            let text = format!("{} {:>6}  {}", short(&line.author), line.seq, line.id);
            let written = self.output.line(&line, text);
            self.check(written);
        }
    }

    fn flush(&mut self) {
        if !self.closed {
            let written = self.output.flush();
            self.check(written);
        }
    }

    /// An output that takes nothing any more is no reason to lose events: the lines are published all the same. That
    /// nobody reads it is for the reader to decide, any other reason is told at the end.
    fn check(&mut self, written: io::Result<()>) {
        let Err(error) = written else { return };
        self.closed = true;
        tracing::warn!(%error, "the receipts cannot be printed any more; the lines are published all the same");
        let failure = Failure::from(error);
        if !failure.is_closed_output() {
            self.fail(failure);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failed.get_or_insert(failure);
    }
}
