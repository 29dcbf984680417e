//! `publish`: what a receipt says, and when.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
};

use crate::support::{Machine, Running, run};

#[test]
fn receipts_have_three_fields_and_the_order_of_the_lines() {
    let machine = Machine::new();
    let input: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    let receipts = machine.ok("publish s", input);
    assert_eq!(receipts.len(), 20_000);
    let events = machine.ok("replay s", "");
    for (n, (receipt, event)) in receipts.iter().zip(&events).enumerate() {
        let fields = receipt.as_object().unwrap();
        assert_eq!(fields.len(), 3);
        for field in ["author", "id"] {
            let hex = fields[field].as_str().unwrap();
            assert!(hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{hex}");
        }
        assert_eq!(fields["seq"], n + 1);
        assert_eq!(event["payload"], n.to_string());
        for field in ["author", "seq", "id"] {
            assert_eq!(fields[field], event[field]);
        }
    }
}

#[test]
fn a_receipt_comes_while_the_input_stays_open() {
    let machine = Machine::new();
    let mut publish = Running::start(&mut machine.command(["publish", "s"]));
    for seq in 1..=3 {
        publish.write("a line\n");
        assert_eq!(publish.line()["seq"], seq);
    }
    assert_eq!(publish.end().code, 0);
}

#[test]
fn a_bad_line_is_told_while_the_input_stays_open() {
    let machine = Machine::new();
    let mut publish = Running::start(&mut machine.command(["publish", "c", "--type", "increment"]));
    let mut stderr = BufReader::new(publish.child.stderr.take().unwrap());
    publish.write("x\n");
    let mut told = String::new();
    stderr.read_line(&mut told).unwrap();
    assert!(told.contains("line 1"), "{told}");
    assert_eq!(publish.end().code, 1);
}

/// And no receipt is cut in two: what is left to read are whole lines.
#[test]
fn what_was_receipted_is_there_after_a_kill() {
    let machine = Machine::new();
    let mut publish = Running::start(&mut machine.command(["publish", "s"]));
    let mut stdin = publish.stdin.take().unwrap();
    // Until the pipe breaks.
    let writer = std::thread::spawn(move || while stdin.write_all(b"a line\n").is_ok() {});
    let mut receipts: Vec<_> = (0..1_000).map(|_| publish.line()).collect();
    publish.child.kill().unwrap();
    receipts.extend(publish.rest());
    publish.end();
    writer.join().unwrap();
    let events = machine.ok("replay s", "");
    assert!(events.len() >= receipts.len());
    for (n, (receipt, event)) in receipts.iter().zip(&events).enumerate() {
        assert_eq!(event["seq"], n + 1);
        assert_eq!(receipt["id"], event["id"]);
    }
}

// Faults can be armed in debug builds only.
#[cfg(debug_assertions)]
#[test]
fn the_events_of_one_input_share_commits() {
    let machine = Machine::new();
    // The process would not survive its thousandth commit.
    let mut command = machine.command(["publish", "s"]);
    let done = run(command.env("XAEROFLUX_FAULTS", "committer.before_commit=abort@1000"), "a line\n".repeat(20_000));
    assert_eq!((done.code, done.json().len()), (0, 20_000));
}

#[cfg(debug_assertions)]
#[test]
fn a_storage_that_fails_ends_it_while_the_input_stays_open() {
    let machine = Machine::new();
    let mut publish =
        Running::start(machine.command(["publish", "s"]).env("XAEROFLUX_FAULTS", "committer.commit_fails=fail@2"));
    publish.write("a\n");
    assert!(publish.rest().is_empty());
    // Its input stays open meanwhile.
    let stdin = publish.stdin.take();
    let done = publish.end();
    drop(stdin);
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(done.stderr.contains("line 1 has no receipt"), "{}", done.stderr);
    assert!(done.stderr.contains("the storage failed"), "{}", done.stderr);
}

#[test]
fn an_output_that_nobody_reads_loses_no_event() {
    let machine = Machine::new();
    let mut child = machine.command(["--log", "off", "publish", "s"]).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(&b"a line\n".repeat(5_000)).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(0), &b""[..]));
    assert_eq!(machine.payloads("s").len(), 5_000);
}

#[test]
fn an_output_that_cannot_be_written_is_told_and_loses_no_event() {
    let machine = Machine::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let done = run(machine.command(["publish", "s"]).stdout(Stdio::from(full)), "a\nb\n".repeat(100));
    assert_eq!(done.code, 6);
    assert!(done.stderr.contains("standard output"), "{}", done.stderr);
    assert_eq!(machine.payloads("s").len(), 200);
}
