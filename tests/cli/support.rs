//! Running the command.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A user's machine: a home, a directory for temporary files, and a data directory that is not there yet.
pub struct Machine {
    root: TempDir,
}

impl Machine {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("tmp")).unwrap();
        Self { root }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub fn home(&self) -> PathBuf {
        self.root.path().to_owned()
    }

    pub fn tmp(&self) -> PathBuf {
        self.root.path().join("tmp")
    }

    /// The command with these arguments, for the data directory of the environment variable.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xaeroflux"));
        command
            .args(args)
            .env("XAEROFLUX_DATA_DIR", self.data_dir())
            .env("HOME", self.home())
            .env("TMPDIR", self.tmp())
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the command on this input to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: impl AsRef<[u8]>) -> Done {
        run(&mut self.command(args), input)
    }

    /// Runs the command, which must succeed, and returns its output.
    pub fn ok(&self, args: &str, input: impl AsRef<[u8]>) -> Vec<Value> {
        let done = self.run(args.split_whitespace(), input);
        assert_eq!(done.code, 0, "{args}: {}", done.stderr);
        done.json()
    }

    /// The value that `state` prints.
    pub fn state(&self, subject: &str, crdt: &str) -> Value {
        let lines = self.ok(&format!("state {subject} --crdt {crdt}"), "");
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["crdt"], crdt);
        lines[0]["value"].clone()
    }

    /// The payloads that `replay` prints.
    pub fn payloads(&self, subject: &str) -> Vec<Value> {
        self.ok(&format!("replay {subject}"), "").into_iter().map(|event| event["payload"].clone()).collect()
    }

    /// Starts `serve`, and waits until it is ready.
    pub fn serve(&self) -> Running {
        let serve = Running::start(&mut self.command(["serve"]));
        assert_eq!(serve.line()["ready"], true);
        serve
    }

    /// The names that `id` lists.
    pub fn identities(&self) -> Vec<String> {
        self.ok("id", "").iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// Runs a command on this input to its end.
pub fn run(command: &mut Command, input: impl AsRef<[u8]>) -> Done {
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.as_ref().to_vec());
    // On a thread of its own: the command may not read before it has written. It need not read at all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let done = Done::of(child.wait_with_output().unwrap());
    writer.join().unwrap();
    done
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    /// -1 where a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let done = Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
        done
    }

    /// Standard output as JSON Lines.
    pub fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"))).collect()
    }
}

/// A command that runs, with a conversation through its pipes.
pub struct Running {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let (tell, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if tell.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, stdin, lines }
    }

    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// The next line of its output.
    pub fn line(&self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(PATIENCE).expect("a line in time")).unwrap()
    }

    /// What is left of its output, once it has closed it.
    pub fn rest(&self) -> Vec<Value> {
        self.lines.iter().map(|line| serde_json::from_str(&line).unwrap()).collect()
    }

    /// Its threads of this name, of which the system keeps 15 bytes.
    pub fn threads(&self, name: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|comm| Some(comm.trim_end()) == name.get(..15)).count()
    }

    /// Sends a signal, as a shell does.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Closes its input and waits for its end.
    pub fn end(mut self) -> Done {
        drop(self.stdin.take());
        let mut stderr = String::new();
        let rest = self.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut stderr));
        if let Some(read) = rest {
            read.unwrap();
        }
        let status = self.child.wait().unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Done { code: status.code().unwrap_or(-1), stdout: String::new(), stderr }
    }
}

/// A test that fails leaves no process behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds that nobody tells of.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in time: {what}");
        std::thread::yield_now();
    }
}
