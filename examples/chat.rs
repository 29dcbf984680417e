//! A chat between people on many machines, with no server: what was said is a subject, and everybody has all of it.
//!
//! ```text
//! cargo run --example chat -- --name alice            # prints a ticket
//! cargo run --example chat -- --name bob TICKET       # in another terminal, or on another machine
//! ```
//!
//! Each line that is typed is published; each line of the others is shown with who wrote it. At the start comes what was
//! said before. Whoever is alone writes all the same, and catches up with the others when it meets them. Ctrl-D ends it.
//!
//! A person has a data directory by name, under `--data-dir` or the platform's place for application data. So a second
//! `--name bob` needs no ticket any more.

use std::{
    collections::BTreeMap,
    io::{Write, stdin, stdout},
    net::SocketAddr,
    path::PathBuf,
    sync::mpsc::{Sender, channel},
    thread,
};

use clap::Parser;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use xaeroflux::{NetError, NetworkConfig, SubjectTicket, prelude::*};

/// The type of an event that gives its author's name from then on.
const NAME: u8 = 1;

/// The type of an event that is something said.
const LINE: u8 = 2;

/// Most bytes of a line: far more than anybody reads at once, and a fraction of what an event may have.
const MAX_LINE_BYTES: usize = 16 << 10;

/// Most characters that are shown of somebody's name: anybody may publish a longer one.
const SHOWN_NAME_CHARS: usize = 24;

/// The file in the data directory that has the port of the last time: whoever knows it from an old ticket calls there.
const PORT_FILE: &str = "chat-port";

/// Talks to people on other machines, with no server between
#[derive(Parser)]
struct Options {
    /// What the others call you; letters, digits, dots, underscores and hyphens
    #[arg(long, value_parser = name)]
    name: String,
    /// The ticket that somebody else's chat printed; without it, a ticket is printed for others to join with
    ticket: Option<SubjectTicket>,
    /// What is talked about, where no ticket says it
    #[arg(long, default_value = "lobby")]
    room: String,
    /// Keep what was said in this directory, in a folder for each name
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Listen here; port 0 is the one of the last time, if it is free, or else any
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:0")]
    listen: SocketAddr,
}

/// What the program waits for.
enum Next {
    Typed(String),
    End,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let node = open(&options)?;
    let me = node.own_identity()?;
    let room = match &options.ticket {
        Some(ticket) => node.join(ticket)?,
        None => node.subject(format!("chat/{}", options.room)),
    };
    // Makes the room a shared one; says where this node is now, and where others were seen.
    println!("ticket {}", room.ticket()?);

    // What I said before is history; what I say from now on stands on the terminal already.
    let mut said_before = 0;
    room.replay().author(me).for_each(|record| {
        said_before = said_before.max(record.dot().seq);
        true
    })?;
    let mut names = Names::default();
    let shown = room.scan(ScanWindow::ALL).subscribe(move |event| {
        let Some(dot) = event.evt.dot() else { return };
        if let Some(line) = names.take(&event)
            && (dot.author != me || dot.seq <= said_before)
        {
            // Whoever closed our output is not interested any more.
            let _ = writeln!(stdout(), "{line}");
        }
    });
    let handle = room.run()?;
    if said_before == 0 {
        room.publish(XaeroEvent::new(options.name.as_str(), NAME)).wait()?;
    }

    let (tell, told) = channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let interrupted = tell.clone();
    thread::spawn(move || signals.forever().take(1).try_for_each(|_| interrupted.send(Next::End)));
    // A thread of its own, which may wait for a line for ever: the process does not wait for it.
    thread::spawn(move || read(&tell));
    while let Ok(Next::Typed(line)) = told.recv() {
        // Acknowledged when it is on disk, whether or not anybody else is there.
        room.publish(XaeroEvent::new(line, LINE)).wait()?;
    }
    // Everything is on disk; the others are told that this node leaves.
    drop((handle, shown));
    Ok(())
}

/// Passes on what is typed, line by line, and that it ends.
fn read(tell: &Sender<Next>) {
    for line in stdin().lines() {
        let line = match line {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) if line.len() > MAX_LINE_BYTES => {
                eprintln!("chat: that was too long to be said at once: {} bytes", line.len());
                continue;
            }
            Ok(line) => line,
            Err(error) => {
                eprintln!("chat: {error}");
                break;
            }
        };
        if tell.send(Next::Typed(line)).is_err() {
            return;
        }
    }
    // Where a signal was faster, nobody listens.
    let _ = tell.send(Next::End);
}

/// The node of the person with this name, on the network.
fn open(options: &Options) -> Result<Node, Box<dyn std::error::Error>> {
    let builder = Node::builder().identity(options.name.as_str());
    let folder = match &options.data_dir {
        Some(dir) => dir.clone(),
        None => builder.resolved_data_dir()?,
    };
    let node = builder.data_dir(folder.join(&options.name)).build()?;
    let port_file = node.data_dir().join(PORT_FILE);
    let mut listen = options.listen;
    if listen.port() == 0 {
        let last = std::fs::read_to_string(&port_file).ok().and_then(|port| port.trim().parse().ok());
        listen.set_port(last.unwrap_or(0));
    }
    match node.start_network(NetworkConfig::new().listen(listen)) {
        Err(Error::Network(NetError::Bind { .. })) if options.listen.port() == 0 => {
            node.start_network(NetworkConfig::new().listen(options.listen))?;
        }
        started => started?,
    }
    if let Some(addr) = node.listen_addrs().first() {
        std::fs::write(port_file, addr.port().to_string())?;
    }
    Ok(node)
}

/// A name that a folder can have, too.
fn name(text: &str) -> Result<String, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=SHOWN_NAME_CHARS).contains(&text.len()) && !text.starts_with('.') && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 24 letters, digits, dots, underscores and hyphens, and does not start with a dot")
    }
}

/// Who is who: a name is an event like any other, and comes before what its author says.
#[derive(Default)]
struct Names(BTreeMap<XaeroID, String>);

impl Names {
    /// What to show of an event, if anything.
    fn take(&mut self, event: &XaeroEvent) -> Option<String> {
        let author = event.author_id?;
        let text = String::from_utf8_lossy(&event.evt.data);
        match event.evt.event_type {
            EventType::ApplicationEvent(NAME) => {
                self.0.insert(author, shown(&text).chars().take(SHOWN_NAME_CHARS).collect());
                None
            }
            EventType::ApplicationEvent(LINE) => {
                // Two people may have one name; nobody has another's id.
                let short: String = author.to_string().chars().take(6).collect();
                let name = self.0.get(&author).map_or("?", String::as_str);
                Some(format!("{name} ({short}): {}", shown(&text)))
            }
            _ => None,
        }
    }
}

/// What others wrote, without the characters that a terminal takes for commands.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
