//! `replay --follow`: history, and then whatever comes, until somebody asks for the end.

use std::io::{BufRead as _, BufReader};

use crate::support::{Machine, Running};

#[test]
fn it_prints_what_is_there_and_ends_cleanly_when_asked_to() {
    let machine = Machine::new();
    let receipts = machine.ok("publish s", "a\nb\n");
    let events = machine.ok("replay s", "");
    for signal in ["INT", "TERM"] {
        let follow = Running::start(&mut machine.command(["replay", "s", "--follow"]));
        for (event, receipt) in events.iter().zip(&receipts) {
            let line = follow.line();
            assert_eq!(line, *event);
            assert_eq!(line["id"], receipt["id"]);
        }
        follow.signal(signal);
        assert!(follow.rest().is_empty());
        let done = follow.end();
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{signal}");
    }
}

#[test]
fn the_choice_of_events_applies() {
    let machine = Machine::new();
    machine.ok("publish s", "a\nb\nc\n");
    machine.ok("publish s --type write", "d\ne\n");
    let follow =
        Running::start(&mut machine.command("replay s --follow --author self --type write --seq ..5".split(' ')));
    assert_eq!(follow.line()["payload"], "d");
    follow.signal("INT");
    assert!(follow.rest().is_empty());
    assert_eq!(follow.end().code, 0);
}

#[test]
fn the_window_applies() {
    let machine = Machine::new();
    machine.ok("publish s", "a\n");
    let ts = machine.ok("replay s", "")[0]["ts"].as_u64().unwrap();
    let mut later = ts;
    while later == ts {
        machine.ok("publish s", "b\n");
        later = machine.ok("replay s", "").last().unwrap()["ts"].as_u64().unwrap();
    }
    let follow = Running::start(&mut machine.command(["replay", "s", "--follow", "--from", &later.to_string()]));
    let line = follow.line();
    assert_eq!((&line["payload"], line["ts"].as_u64()), (&"b".into(), Some(later)));
    follow.signal("INT");
    assert_eq!(follow.end().code, 0);
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    let machine = Machine::new();
    machine.ok("publish s", "a\n");
    let mut child = machine.command(["replay", "s", "--follow"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(0), &b""[..]));
}
