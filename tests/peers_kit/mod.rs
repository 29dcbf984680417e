//! Nodes as processes: machines with a data directory each, `serve` on them, and the lines between them.
//!
//! Commands and `serve` write what they have to complain about to a file of the machine; a test that fails shows it.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

#[path = "../support/backup.rs"]
pub mod backup;
pub mod bad_line;
pub mod namespace;

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what tells nobody when it changes: a look costs a process.
const PAUSE: Duration = Duration::from_millis(20);

/// A machine: a data directory, and what its processes say.
pub struct Machine {
    root: TempDir,
    /// What a command is to be run by, such as one that enters a network namespace.
    within: Vec<OsString>,
}

impl Machine {
    pub fn new() -> Self {
        Self::within([])
    }

    /// One whose commands are run by this one.
    pub fn within<const N: usize>(words: [&str; N]) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("tmp")).unwrap();
        Self { root, within: words.into_iter().map(OsString::from).collect() }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Next to the data directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Whether a process has logged this.
    pub fn has_logged(&self, words: &str) -> bool {
        std::fs::read_to_string(self.complaints()).unwrap_or_default().contains(words)
    }

    fn complaints(&self) -> PathBuf {
        self.root.path().join("stderr")
    }

    fn command(&self, args: &str) -> Command {
        let binary = OsString::from(env!("CARGO_BIN_EXE_xaeroflux"));
        let mut words = self.within.iter().chain([&binary]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(args.split_whitespace())
            .env("XAEROFLUX_DATA_DIR", self.data_dir())
            .env("HOME", self.root.path())
            .env("TMPDIR", self.root.path().join("tmp"))
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(OpenOptions::new().create(true).append(true).open(self.complaints()).unwrap());
        command
    }

    /// Runs a command on this input, which must succeed, and returns what it printed.
    pub fn ok(&self, args: &str, input: &str) -> Vec<Value> {
        let mut child = self.command(args).spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
        // On a thread of its own: the command may not read before it has written. It need not read at all.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success(), "{args}: {}", output.status);
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Publishes these payloads, and waits until they are on disk.
    pub fn publish<S: AsRef<str>>(&self, subject: &str, payloads: &[S]) {
        let lines: String = payloads.iter().map(|payload| format!("{}\n", payload.as_ref())).collect();
        assert_eq!(self.ok(&format!("publish {subject}"), &lines).len(), payloads.len());
    }

    pub fn ticket(&self, subject: &str) -> String {
        self.ok(&format!("ticket {subject}"), "")[0]["ticket"].as_str().unwrap().to_owned()
    }

    pub fn join(&self, ticket: &str) {
        self.ok(&format!("join {ticket}"), "");
    }

    /// The root of a subject, and how many events it is over.
    pub fn root(&self, subject: &str) -> (String, u64) {
        let line = &self.ok(&format!("root {subject}"), "")[0];
        (line["root"].as_str().unwrap().to_owned(), line["events"].as_u64().unwrap())
    }

    pub fn count(&self, subject: &str) -> u64 {
        self.root(subject).1
    }

    /// The elements of the subject's set.
    pub fn set(&self, subject: &str) -> Value {
        self.ok(&format!("state {subject} --crdt or-set"), "")[0]["value"].clone()
    }

    /// The payloads in the log, sorted.
    pub fn payloads(&self, subject: &str) -> Vec<String> {
        let events = self.ok(&format!("replay {subject}"), "");
        let mut payloads: Vec<String> =
            events.iter().map(|event| event["payload"].as_str().unwrap().to_owned()).collect();
        payloads.sort_unstable();
        payloads
    }

    /// What is known of this peer, if anything is.
    pub fn peer(&self, endpoint: &str) -> Option<Value> {
        self.ok("peers", "").into_iter().find(|peer| peer["endpoint"] == endpoint)
    }

    pub fn is_connected(&self, endpoint: &str) -> bool {
        self.peer(endpoint).is_some_and(|peer| peer["connected"] == true)
    }

    /// The identity of this name, as `id` lists it.
    pub fn identity(&self, name: &str) -> Value {
        self.ok("id", "").into_iter().find(|line| line["name"] == name).unwrap()
    }

    /// Serves the directory, on any port of the loopback.
    pub fn serve(&self) -> Serve {
        self.serve_with("--listen 127.0.0.1:0")
    }

    /// As [`serve`](Self::serve), where it was before.
    pub fn serve_at(&self, addr: SocketAddr) -> Serve {
        self.serve_with(&format!("--listen {addr}"))
    }

    /// Serves the directory, and waits until it is ready.
    pub fn serve_with(&self, options: &str) -> Serve {
        let mut child = self.command(&format!("serve {options}")).spawn().unwrap();
        let lines = lines(&mut child);
        let mut serve = Serve { child, endpoint: String::new(), addrs: Vec::new() };
        let ready = lines.recv_timeout(PATIENCE).expect("serve is ready in time");
        assert_eq!(ready["ready"], true);
        serve.endpoint = ready["endpoint"].as_str().unwrap().to_owned();
        let listen = ready["listen"].as_array().unwrap();
        serve.addrs = listen.iter().map(|addr| addr.as_str().unwrap().parse().unwrap()).collect();
        serve
    }

    /// Follows a subject.
    pub fn follow(&self, subject: &str) -> Follow {
        let mut child = self.command(&format!("replay {subject} --follow")).spawn().unwrap();
        let lines = lines(&mut child);
        Follow { child, lines }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let complaints = std::fs::read_to_string(self.complaints()).unwrap_or_default();
        let is_well = ["panicked", " ERROR "].iter().all(|sign| !complaints.contains(sign));
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{complaints}---", self.root.path().display());
        } else {
            assert!(is_well, "{complaints}");
        }
    }
}

/// The lines that a process prints.
fn lines(child: &mut Child) -> Receiver<Value> {
    let (tell, told) = channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in stdout.lines() {
            // A process that is killed may end in the middle of a line.
            let Ok(Ok(line)) = line.map(|line| serde_json::from_str(&line)) else { break };
            if tell.send(line).is_err() {
                break;
            }
        }
    });
    told
}

/// A `serve` that runs.
pub struct Serve {
    child: Child,
    pub endpoint: String,
    pub addrs: Vec<SocketAddr>,
}

impl Serve {
    /// Its only address.
    pub fn addr(&self) -> SocketAddr {
        assert_eq!(self.addrs.len(), 1, "{:?}", self.addrs);
        self.addrs[0]
    }

    /// Asks it to end, which it must do in order.
    pub fn end(mut self) {
        let asked = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "serve ended with {status}");
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A test that fails leaves no process behind.
impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `replay --follow` that runs.
pub struct Follow {
    child: Child,
    lines: Receiver<Value>,
}

impl Follow {
    /// The next event; `None` where its node is gone before.
    pub fn next(&self) -> Option<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no event in time"),
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds that nobody tells of.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Waits until all have so many events of the subject, and the same.
pub fn until_same(machines: &[&Machine], subject: &str, events: u64) {
    let mut roots = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        roots.clear();
        roots.extend(machines.iter().map(|machine| machine.root(subject)));
        if roots.iter().all(|root| *root == roots[0] && root.1 == events) {
            return;
        }
        assert!(Instant::now() < deadline, "the nodes do not come to the same {events} events: {roots:?}");
        std::thread::park_timeout(PAUSE);
    }
}

/// So many texts, all different.
pub fn texts(prefix: &str, count: u64) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}, {number}")).collect()
}
