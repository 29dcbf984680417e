//! `kill -9` while several authors publish to several subjects whose log moves to segments: after each restart every
//! acknowledged event is there, all is signed, and the signatures, roots and proofs are those that the events alone give.
//!
//! The test runs itself again as a child process that prints its receipts, and kills it at a moment that a seed decides.
//! `XAEROFLUX_KILL_ROUNDS` sets how often.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
    time::Instant,
};

use fault_kit::{
    PATIENCE, child, log_of,
    trust::{Seen, assert_proven, assert_signed, assert_whole, leaves_of},
};
use xaeroflux::{Node, XaeroEvent, wire::head::subject_root, wire::mmr::Peaks};

const DIR: &str = "XAEROFLUX_TEST_SIGNED_KILL_DIR";
const ROUND: &str = "XAEROFLUX_TEST_SIGNED_KILL_ROUND";
const ROUNDS: &str = "XAEROFLUX_KILL_ROUNDS";

const SUBJECTS: [&str; 3] = ["first", "second", "third"];
const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Small enough for several segments in each round.
const SEGMENT_BYTES: u64 = 32 << 10;

fn open(dir: &Path) -> Node {
    Node::builder().data_dir(dir).segment_bytes(SEGMENT_BYTES).build().unwrap()
}

/// A directory with the keys of all authors: the first child may die before it has made them.
fn with_keys() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path());
    NAMES.iter().for_each(|name| assert!(node.identity(name).is_ok()));
    dir
}

/// Publishes from a thread for each author and prints receipts, until it is killed.
fn publish_until_killed(dir: &Path) {
    let round = std::env::var(ROUND).unwrap();
    let node = open(dir);
    let subjects = SUBJECTS.map(|name| node.subject(name));
    let _handles = subjects.each_ref().map(|subject| subject.run().unwrap());
    let end = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        for (publisher, name) in NAMES.into_iter().enumerate() {
            let author = node.identity(name).unwrap();
            let (subjects, round) = (&subjects, &round);
            scope.spawn(move || {
                for burst in 0_usize.. {
                    if Instant::now() > end {
                        // Nobody killed it: the parent is gone, or its test has failed.
                        return;
                    }
                    let at = (burst + publisher) % SUBJECTS.len();
                    let payloads: Vec<String> = (0..1 + burst * 7 % 23)
                        .map(|n| format!("{round}/{publisher}/{burst:06}/{n:02}/{:-<60}", ""))
                        .collect();
                    let events = payloads.iter().map(|payload| XaeroEvent::new(payload.as_str(), 7).by(author));
                    for (receipt, payload) in subjects[at].publish_all(events).into_iter().zip(&payloads) {
                        let ack = receipt.wait().unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "ack {} {} {} {} {payload}", SUBJECTS[at], ack.author, ack.seq, ack.id).unwrap();
                        out.flush().unwrap();
                    }
                    // Some are in the middle of a proof.
                    if burst % 5 == publisher {
                        let signed = subjects[at].signed_head(author).unwrap().unwrap();
                        subjects[at].prove(author, signed.head().length).unwrap();
                    }
                }
            });
        }
    });
}

/// What was acknowledged: by subject, author and sequence number, the id and the payload.
type Acks = HashMap<(String, String, u64), (String, String)>;

/// Runs a child until it has printed so many receipts, and kills it.
fn run_and_kill(test: &str, dir: &Path, round: u64, receipts: usize, fault: Option<&str>, acks: &mut Acks) {
    let mut command = child(test);
    command.env(DIR, dir).env(ROUND, round.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(fault) = fault {
        command.env(xaeroflux::actors::fault::ENVIRONMENT, fault);
    }
    let mut process = command.spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let (mut line, mut printed) = (Vec::new(), 0);
    while output.read_until(b'\n', &mut line).unwrap() > 0 {
        // A line that was cut short by the kill promises nothing.
        if line.pop() == Some(b'\n')
            && let Some(ack) = std::str::from_utf8(&line).unwrap().strip_prefix("ack ")
        {
            let [subject, author, seq, id, payload] = ack.split(' ').collect::<Vec<_>>()[..] else { panic!("{ack:?}") };
            let key = (subject.to_owned(), author.to_owned(), seq.parse().unwrap());
            let before = acks.insert(key, (id.to_owned(), payload.to_owned()));
            assert!(before.is_none(), "a number was acknowledged twice: {ack}");
            printed += 1;
        }
        line.clear();
        if printed == receipts {
            // SIGKILL: the child gets no chance to tidy up. What is in the pipe already is read to its end.
            process.kill().unwrap();
        }
    }
    let status = process.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended by itself: {status}");
}

fn assert_kept(dir: &Path, acks: &Acks, seen: &mut Seen, seed: &mut Seeded, what: &str) {
    // As the crash left it.
    let report = xaeroflux::verify(dir, &xaeroflux::VerifyOptions::default(), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{what}, as it was left: {:?}", report.findings);
    seen.read(dir);
    let node = open(dir);
    let mut known = HashMap::new();
    for name in SUBJECTS {
        let subject = node.subject(name);
        known.extend(log_of(&subject).into_iter().map(|event| {
            let payload = String::from_utf8(event.payload).unwrap();
            ((name.to_owned(), event.author.to_string(), event.seq), (event.id.to_string(), payload))
        }));
        assert_signed(&node, &subject, &NAMES, seen, what);
        let leaves = leaves_of(&subject);
        let logs = leaves.iter().map(|(author, leaves)| {
            let mut peaks = Peaks::new();
            leaves.iter().for_each(|leaf| peaks.push(leaf));
            (*author, peaks.len(), peaks.root())
        });
        assert_eq!(subject.root().unwrap(), subject_root(subject.id(), logs), "{what}, {name}");
        for who in NAMES {
            if let Some(leaves) = leaves.get(&node.find_identity(who).unwrap()) {
                let length = leaves.len() as u64;
                let seqs: Vec<u64> = (0..5).map(|_| 1 + seed.below(length)).chain([1, length]).collect();
                assert_proven(&node, &subject, who, seqs, &format!("{what}, {name}"));
            }
        }
        seen.assert_of(&subject, what);
    }
    for (key, ack) in acks {
        assert_eq!(known.get(key), Some(ack), "{what}: {key:?} was acknowledged");
    }
    drop(node);
    assert_whole(dir, 0, what);
    seen.read(dir);
}

/// Numbers that look random and are the same each time (xorshift).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn what_survives_kill_9_is_signed_and_proven() {
    if let Some(dir) = std::env::var_os(DIR) {
        return publish_until_killed(Path::new(&dir));
    }
    let rounds: u64 = std::env::var(ROUNDS).map_or(3, |rounds| rounds.parse().unwrap());
    let dir = with_keys();
    let (mut seed, mut seen, mut acks) = (Seeded(0x5eed_0003), Seen::default(), Acks::new());
    for round in 0..rounds {
        let receipts = usize::try_from(1 + seed.below(1_500)).unwrap();
        run_and_kill("what_survives_kill_9_is_signed_and_proven", dir.path(), round, receipts, None, &mut acks);
        let what = format!("round {round}, killed after {receipts} receipts");
        assert_kept(dir.path(), &acks, &mut seen, &mut seed, &what);
    }
}

/// The moments that matter most are too short to be met by chance: here the child dies exactly there, as by `kill -9`.
#[test]
#[cfg(debug_assertions)]
fn what_survives_a_process_that_dies_at_any_point_is_signed_and_proven() {
    if let Some(dir) = std::env::var_os(DIR) {
        return publish_until_killed(Path::new(&dir));
    }
    let test = "what_survives_a_process_that_dies_at_any_point_is_signed_and_proven";
    let dir = with_keys();
    let (mut seed, mut seen, mut acks) = (Seeded(0x5eed_0004), Seen::default(), Acks::new());
    let points = [
        "signing.job",
        "mmr.received",
        "mmr.submitted",
        "committer.before_commit",
        "committer.after_commit",
        "segment.renamed",
        "segment.after_trim",
    ];
    for (round, point) in (0..).zip(points) {
        let what = format!("{point}=abort@{}", 1 + seed.below(3));
        run_and_kill(test, dir.path(), round, usize::MAX, Some(&what), &mut acks);
        assert_kept(dir.path(), &acks, &mut seen, &mut seed, &what);
    }
    assert!(acks.len() > 500, "{}", acks.len());
}
