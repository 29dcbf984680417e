//! Every example, run as a user runs it: it must reach the state that it shows, and end by itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use support::{example, fixture, real_input};

/// Runs an example. It prints nothing on standard error unless something is wrong.
fn run(name: &str, arguments: &[&str]) -> String {
    let output = example(name).args(arguments).output().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{name} {arguments:?}: {}\n{out}\n{err}", output.status);
    assert_eq!(err, "", "{name}");
    out
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn last_line(out: &str) -> &str {
    out.lines().last().unwrap_or_default()
}

#[test]
fn likes_reactions_tags_and_votes_resolve() {
    assert_eq!(last_line(&run("likes", &[])), "3 likes");
    assert!(last_line(&run("reactions", &[])).contains("👍"));
    assert!(last_line(&run("tags", &[])).ends_with("Document tags: approved, needs-review, urgent"));
    assert!(last_line(&run("votes", &[])).ends_with("Vote score: 2"));
}

#[test]
fn applications_embed_the_engine() {
    assert_eq!(last_line(&run("embed_tokio", &[])), "invited: diana, erin");
    assert!(run("embed_actix", &[]).lines().any(|line| line == "title: A proposal, second draft"));
}

#[test]
fn two_nodes_meet_and_have_one_root() {
    let out = run("two_nodes", &[]);
    assert!(out.contains("phone  has eggs\n"), "{out}");
    assert_eq!(out.matches(" has bread, butter, eggs, milk\n").count(), 2, "{out}");
    assert!(last_line(&out).starts_with("The roots are equal: "), "{out}");
}

#[test]
fn a_data_directory_is_kept_from_run_to_run() {
    let dir = tempfile::tempdir().unwrap();
    let keep = ["--data-dir", dir.path().to_str().unwrap()];
    for round in 1..=2 {
        assert_eq!(last_line(&run("likes", &keep)), format!("{} likes", 3 * round));
        assert!(last_line(&run("votes", &keep)).ends_with(&format!("Vote score: {}", 2 * round)));
        for name in ["reactions", "tags", "embed_tokio", "embed_actix", "two_nodes"] {
            run(name, &keep);
        }
    }
}

#[test]
fn an_ephemeral_node_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["likes", "reactions", "tags", "votes", "embed_tokio", "embed_actix", "two_nodes"] {
        let output = example(name).env("TMPDIR", dir.path()).env("HOME", dir.path()).output().unwrap();
        assert!(output.status.success(), "{name}: {}", texts(&output).1);
        let left: Vec<_> = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{name} left {left:?}");
    }
}

#[test]
fn a_history_converges_and_prints_one_json_line() {
    let file = fixture("history-small.jsonl");
    let summary = summary(&["--orders", "4", "--seed", "7", file.to_str().unwrap()]);
    assert_eq!(counts(&summary), (13, 20, 4, 4));
    assert_eq!((&summary["converged"], &summary["matches_final"]), (&true.into(), &true.into()));
    assert!(summary["ops_per_s"].as_u64().unwrap() > 0);
    let keys = ["txns", "ops", "replicas", "orders", "converged", "matches_final", "ops_per_s"];
    assert_eq!(summary.as_object().unwrap().len(), keys.len());
}

#[test]
fn the_real_history_ends_in_its_final_set_whatever_the_order() {
    let Some(file) = real_input("actix-files.orset.jsonl.gz") else { return };
    let summary = summary(&[file.to_str().unwrap(), "--seed", "3"]);
    assert_eq!(counts(&summary), (1192, 1675, 145, 5));
    assert_eq!((&summary["converged"], &summary["matches_final"]), (&true.into(), &true.into()));
    let set = run("history", &[file.to_str().unwrap(), "--orders", "1", "--print"]);
    assert_eq!(set.lines().count(), 116);
    assert!(set.lines().is_sorted());
}

#[test]
fn a_history_prints_its_set_and_keeps_its_nodes_where_told() {
    let dir = tempfile::tempdir().unwrap();
    let (file, keep) = (fixture("history-small.jsonl"), dir.path().to_str().unwrap());
    let arguments = [file.to_str().unwrap(), "--print", "--orders", "1", "--data-dir", keep];
    let expected = "LICENSE\nREADME.md\ndocs/guide.md\nsrc/both.rs\nsrc/kept.rs\nsrc/main.rs\nsrc/zwei.rs\n";
    for _ in 0..2 {
        assert_eq!(run("history", &arguments), expected);
    }
    assert_eq!(dir.path().join("order-0").read_dir().unwrap().count(), 3, "a directory for each node");
}

#[test]
fn a_history_that_does_not_match_its_header_fails() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("history-small.jsonl")).unwrap();
    let cases = [
        ("set.jsonl", text.replacen("\"LICENSE\",", "", 1), ""),
        ("ops.jsonl", text.replacen("\"ops\":20", "\"ops\":21", 1), "21 operations"),
        ("cut.jsonl", text.lines().next().unwrap().to_owned(), "13 transactions"),
        ("bad.jsonl", text.replacen("[\"touch\",\"\"]", "[\"tuch\",\"\"]", 1), "line 6"),
        ("empty.jsonl", String::new(), "empty"),
    ];
    for (name, text, hint) in cases {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        let output = example("history").args(["--orders", "1"]).arg(&file).output().unwrap();
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "{name}");
        assert!(err.contains(hint), "{name}: {err}");
        if hint.is_empty() {
            assert!(out.contains("\"converged\":true,\"matches_final\":false"), "{out}");
        } else {
            assert_eq!(out, "", "{name}");
        }
    }
}

fn summary(arguments: &[&str]) -> serde_json::Value {
    let out = run("history", arguments);
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

fn counts(summary: &serde_json::Value) -> (u64, u64, u64, u64) {
    let count = |key: &str| summary[key].as_u64().unwrap();
    (count("txns"), count("ops"), count("replicas"), count("orders"))
}

#[test]
fn two_people_chat_and_each_sees_what_the_other_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut alice = Chat::start("alice", dir.path(), None);
    alice.say("is anybody there?");
    let mut bob = Chat::start("bob", dir.path(), Some(&alice.ticket));
    bob.hears("alice", "is anybody there?");
    bob.say("yes");
    alice.hears("bob", "yes");
    alice.say("good \u{1b}[2J");
    bob.hears("alice", "good \u{fffd}[2J");
    bob.interrupt();
    alice.ends();
}

#[test]
fn who_was_away_sees_what_was_said_before_and_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut alice = Chat::start("alice", dir.path(), None);
    let mut bob = Chat::start("bob", dir.path(), Some(&alice.ticket));
    alice.say("one");
    bob.hears("alice", "one");
    bob.say("two");
    alice.hears("bob", "two");
    bob.ends();
    // Alone, she says something that nobody gets yet.
    alice.say("three");
    alice.ends();
    let mut bob = Chat::start("bob", dir.path(), None);
    bob.hears("alice", "one");
    bob.hears("bob", "two");
    bob.say("four");
    let alice = Chat::start("alice", dir.path(), None);
    for (who, line) in [("alice", "one"), ("bob", "two"), ("alice", "three")] {
        alice.hears(who, line);
    }
    alice.hears("bob", "four");
    bob.hears("alice", "three");
    alice.ends();
    bob.ends();
}

/// Somebody who chats, in a process of its own.
struct Chat {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    ticket: String,
}

impl Chat {
    /// Longer than anything takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn start(name: &str, dir: &Path, ticket: Option<&str>) -> Self {
        let mut command = example("chat");
        command.args(["--name", name, "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir).args(ticket);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let (tell, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut chat = Self { child, stdin, lines, ticket: String::new() };
        chat.ticket = chat.line().strip_prefix("ticket ").unwrap().to_owned();
        chat
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(Self::PATIENCE).expect("a line in time")
    }

    /// The next line that is shown is this one.
    fn hears(&self, who: &str, said: &str) {
        let line = self.line();
        let (from, text) = line.split_once(": ").unwrap();
        assert_eq!((from.split_once(" (").unwrap().0, text), (who, said), "{line}");
    }

    fn ends(mut self) {
        drop(self.stdin.take());
        self.must_end();
    }

    /// As by Ctrl-C.
    fn interrupt(mut self) {
        let status = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.must_end();
    }

    fn must_end(&mut self) {
        let until = Instant::now() + Self::PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > until => panic!("it does not end"),
                None => std::thread::yield_now(),
            }
        };
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(status.success() && err.is_empty(), "{status}: {err}");
        // What was shown meanwhile was not asked for, and nothing is.
        assert_eq!(self.lines.try_iter().next(), None);
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        // One that has ended already is none the worse.
        let _ = self.child.kill();
    }
}
