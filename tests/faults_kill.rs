//! `kill -9` while several threads publish: every receipt that was printed is there, once, in order, after a restart.
//!
//! The test runs itself again as a child process, which prints each receipt as soon as it has it, and kills it at a
//! moment that a seed decides. Then it opens the child's directory, looks for every receipt that any child ever printed,
//! and starts the next child on the same directory. `XAEROFLUX_KILL_ROUNDS` sets how often.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
    time::Instant,
};

use fault_kit::{PATIENCE, child, log_of};
use xaeroflux::{Node, XaeroEvent};

const DIR: &str = "XAEROFLUX_TEST_KILL_DIR";
const ROUND: &str = "XAEROFLUX_TEST_KILL_ROUND";
const ROUNDS: &str = "XAEROFLUX_KILL_ROUNDS";

const SUBJECTS: [&str; 3] = ["first", "second", "third"];
const PUBLISHERS: usize = 4;

/// What a child printed of a receipt: subject, author, sequence number, id, payload.
type Printed = (String, String, u64, String, String);

/// Publishes from several threads and prints receipts, until it is killed.
fn publish_until_killed(dir: &Path) {
    let round = std::env::var(ROUND).unwrap();
    let node = Node::builder().data_dir(dir).build().unwrap();
    let subjects = SUBJECTS.map(|name| node.subject(name));
    let _handles = subjects.each_ref().map(|subject| subject.run().unwrap());
    let end = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let author = node.identity(&format!("publisher-{publisher}")).unwrap();
            let (subjects, round) = (&subjects, &round);
            scope.spawn(move || {
                // Bursts of a changing length, each to another subject.
                for burst in 0_u64.. {
                    if Instant::now() > end {
                        // Nobody killed it: the parent is gone, or its test has failed.
                        return;
                    }
                    let at = (usize::try_from(burst).unwrap() + publisher) % SUBJECTS.len();
                    let payloads: Vec<String> =
                        (0..1 + burst * 7 % 23).map(|n| format!("{round}/{publisher}/{burst:06}/{n:02}")).collect();
                    let events = payloads.iter().map(|payload| XaeroEvent::new(payload.as_str(), 7).by(author));
                    let receipts = subjects[at].publish_all(events);
                    for (receipt, payload) in receipts.into_iter().zip(&payloads) {
                        let ack = receipt.wait().unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "ack {} {} {} {} {payload}", SUBJECTS[at], ack.author, ack.seq, ack.id).unwrap();
                        out.flush().unwrap();
                    }
                }
            });
        }
    });
}

fn parse(line: &str) -> Option<Printed> {
    let parts: Vec<&str> = line.strip_prefix("ack ")?.split(' ').collect();
    let [subject, author, seq, id, payload] = parts[..] else { panic!("{line:?}") };
    Some((subject.to_owned(), author.to_owned(), seq.parse().unwrap(), id.to_owned(), payload.to_owned()))
}

/// Runs a child until it has printed so many receipts, kills it, and returns all it printed. With a fault, the child ends
/// by itself at that point.
fn run_and_kill(test: &str, dir: &Path, round: u64, receipts: usize, fault: Option<String>) -> Vec<Printed> {
    let mut command = child(test);
    command.env(DIR, dir).env(ROUND, round.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(fault) = fault {
        command.env(xaeroflux::actors::fault::ENVIRONMENT, fault);
    }
    let mut process = command.spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut printed = Vec::new();
    let mut line = Vec::new();
    let mut killed = false;
    while output.read_until(b'\n', &mut line).unwrap() > 0 {
        // A line that was cut short by the kill promises nothing.
        if line.pop() == Some(b'\n') {
            printed.extend(parse(std::str::from_utf8(&line).unwrap()));
        }
        line.clear();
        if printed.len() >= receipts && !killed {
            // SIGKILL: the child gets no chance to tidy up. What is in the pipe already is read to its end.
            process.kill().unwrap();
            killed = true;
        }
    }
    let status = process.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended by itself: {status}");
    printed
}

/// Everything that was printed is there, once and in order, and whatever else is there makes sense.
fn assert_kept(dir: &Path, printed: &[Printed], what: &str) {
    let node = Node::builder().data_dir(dir).build().unwrap_or_else(|error| panic!("{what}: {error}"));
    for name in SUBJECTS {
        let log = log_of(&node.subject(name));
        let mut places: HashMap<_, u64> = HashMap::new();
        let mut payloads = HashSet::new();
        let mut latest: HashMap<String, Vec<u8>> = HashMap::new();
        for event in &log {
            let place = places.entry(event.author).or_default();
            *place += 1;
            assert_eq!(event.seq, *place, "{what}, {name}: an author's events are in order, with no gap");
            assert!(payloads.insert(&event.payload), "{what}, {name}: {:?} is there twice", event.payload);
            // Within a round the payloads of a publisher increase as it sent them.
            let text = String::from_utf8(event.payload.clone()).unwrap();
            let mut parts = text.split('/');
            let sender = format!("{}/{}", parts.next().unwrap(), parts.next().unwrap());
            let before = latest.insert(sender, event.payload.clone());
            assert!(before.is_none_or(|before| before < event.payload), "{what}, {name}: {text} is out of order");
        }
        assert!(log.windows(2).all(|pair| pair[0].clock < pair[1].clock), "{what}, {name}: clocks increase");
        let known: HashMap<(String, u64), (String, String)> = log
            .iter()
            .map(|event| {
                let payload = String::from_utf8(event.payload.clone()).unwrap();
                ((event.author.to_string(), event.seq), (event.id.to_string(), payload))
            })
            .collect();
        for (_, author, seq, id, payload) in printed.iter().filter(|printed| printed.0 == name) {
            let found = known.get(&(author.clone(), *seq));
            assert_eq!(found, Some(&(id.clone(), payload.clone())), "{what}, {name}: {author}:{seq} was acknowledged");
        }
    }
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
fn every_printed_receipt_survives_kill_9_again_and_again() {
    if let Some(dir) = std::env::var_os(DIR) {
        return publish_until_killed(Path::new(&dir));
    }
    let rounds: u64 = std::env::var(ROUNDS).map_or(3, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut seed = Seeded(0x5eed_0001);
    let mut printed = Vec::new();
    for round in 0..rounds {
        let receipts = usize::try_from(1 + seed.below(1_500)).unwrap();
        let test = "every_printed_receipt_survives_kill_9_again_and_again";
        let new = run_and_kill(test, dir.path(), round, receipts, None);
        assert!(new.len() >= receipts, "round {round}");
        printed.extend(new);
        assert_kept(dir.path(), &printed, &format!("round {round}, killed after {receipts} receipts"));
    }
}

/// The moments that matter most are too short to be met by chance: here the child dies exactly there, as by `kill -9`.
#[test]
#[cfg(debug_assertions)]
fn every_printed_receipt_survives_a_process_that_dies_at_any_point_of_its_way_to_the_disk() {
    if let Some(dir) = std::env::var_os(DIR) {
        return publish_until_killed(Path::new(&dir));
    }
    let test = "every_printed_receipt_survives_a_process_that_dies_at_any_point_of_its_way_to_the_disk";
    let dir = tempfile::tempdir().unwrap();
    let mut seed = Seeded(0x5eed_0002);
    let mut printed = Vec::new();
    let on_the_way = xaeroflux::actors::fault::POINTS
        .iter()
        .filter(|point| point.starts_with("aof.") || point.starts_with("committer."))
        .filter(|point| **point != "committer.commit_fails");
    for (round, point) in (0..).zip(on_the_way) {
        // Twice: right at the start, when the last round has just been recovered, and later.
        for (half, hit) in [1 + seed.below(4), 20 + seed.below(200)].into_iter().enumerate() {
            let what = format!("{point}=abort@{hit}");
            let round = 2 * round + half as u64;
            printed.extend(run_and_kill(test, dir.path(), round, usize::MAX, Some(what.clone())));
            assert_kept(dir.path(), &printed, &what);
        }
    }
    assert!(printed.len() > 100);
}
