//! `export` and `import`: a subject on a stick.

use std::{fs, io::Write as _, process::Stdio};

use serde_json::Value;

use crate::support::Machine;

/// A machine with a subject of so many events, and what `export` makes of it.
fn exported(events: usize) -> (Machine, Vec<u8>) {
    let machine = Machine::new();
    let input: String = (0..events).map(|n| format!("event number {n}\n")).collect();
    machine.ok("publish s", input);
    let bundle = export(&machine, "export s");
    (machine, bundle)
}

/// Runs `export`, which must succeed. Its output is no text.
fn export(machine: &Machine, args: &str) -> Vec<u8> {
    let out = machine.command(args.split_whitespace()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty(), "nothing is shown where nobody sits in front of it");
    out.stdout
}

#[test]
fn a_subject_goes_from_machine_to_machine() {
    let (here, bundle) = exported(100);
    let there = Machine::new();
    let file = there.tmp().join("stick");
    fs::write(&file, &bundle).unwrap();
    let done = there.run(["import", file.to_str().unwrap()], "");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let line = &done.json()[0];
    let mut fields: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = "authors duplicates forks imported_root name new retracted root subject waiting";
    assert_eq!(fields, expected.split(' ').collect::<Vec<_>>());
    assert_eq!((&line["name"], &line["new"], &line["authors"]), (&Value::from("s"), &100.into(), &1.into()));
    assert_eq!(line["root"], line["imported_root"]);
    assert_eq!(here.payloads("s"), there.payloads("s"));
    assert_eq!(here.state("s", "or-set"), there.state("s", "or-set"));
    // From standard input, and again; with its key at hand the event can be proven there.
    let again = &there.run(["import"], &bundle).json()[0];
    assert_eq!((&again["new"], &again["duplicates"]), (&0.into(), &100.into()));
    assert_eq!(there.run(["import", "-"], &bundle).code, 0);
    let author = here.ok("replay s", "")[0]["author"].as_str().unwrap().to_owned();
    assert_eq!(export(&there, &format!("prove s {author} 7")), export(&here, &format!("prove s {author} 7")));
    // Those that came since.
    here.ok("publish s", "one\ntwo\n");
    let rest = export(&here, "export s --from 100");
    assert_eq!(there.run(["import"], &rest).json()[0]["new"], 2);
    assert_eq!(here.payloads("s"), there.payloads("s"));
}

#[test]
fn every_way_to_fail_has_its_code_and_says_why() {
    let (here, bundle) = exported(30);
    let there = Machine::new();
    let fails = |input: &[u8], code: i32, says: &str| {
        let done = there.run(["import"], input);
        assert_eq!((done.code, done.stdout.as_str()), (code, ""), "{}", done.stderr);
        assert!(done.stderr.contains(says), "{says:?} in {}", done.stderr);
    };
    fails(&[], 8, "ends at byte 0");
    fails(b"something else", 8, "do not start with XBDL");
    fails(&bundle[..bundle.len() - 1], 8, &format!("ends at byte {}", bundle.len() - 1));
    fails(&[&bundle[..], b"!"].concat(), 8, "more follows");
    let mut altered = bundle.clone();
    altered[bundle.len() / 2] ^= 1;
    fails(&altered, 8, "damaged");
    let other = Machine::new();
    let done = other.run(["import"], export(&here, "export s --from 10"));
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(done.stderr.contains("first 10 events"), "{}", done.stderr);
}

#[test]
fn what_cannot_be_exported_is_a_usage_error() {
    let (here, _) = exported(3);
    for (args, says) in [
        ("export other", "has no events here"),
        ("export s --from 4", "has 3 events"),
        ("import /nowhere/at/all", "could not be read"),
    ] {
        let done = here.run(args.split_whitespace(), "");
        assert_eq!(done.code, if args.starts_with("import") { 6 } else { 2 }, "{args}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
}

#[test]
fn an_import_that_is_killed_goes_on_the_next_time() {
    let (here, bundle) = exported(20_000);
    let there = Machine::new();
    for round in 1..=4 {
        // A part of the file, through a pipe that stays open: the command waits for more, or is busy with what it has, when
        // it is killed.
        let mut child = there.command(["import"]).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(&bundle[..bundle.len() * round / 5]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let file = there.tmp().join("stick");
    fs::write(&file, &bundle).unwrap();
    let done = there.run(["import", file.to_str().unwrap()], "");
    assert_eq!(done.code, 0, "{}", done.stderr);
    let line = &done.json()[0];
    assert_eq!(line["new"].as_u64().unwrap() + line["duplicates"].as_u64().unwrap(), 20_000);
    assert_eq!(line["root"], line["imported_root"]);
    assert_eq!(here.payloads("s"), there.payloads("s"));
}
