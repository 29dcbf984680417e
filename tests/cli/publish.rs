//! `publish`: which lines become events.

use serde_json::json;

use crate::support::Machine;

const MIB: usize = 1 << 20;

#[test]
fn each_line_is_an_event_and_its_payload_is_the_line_without_its_line_feed() {
    let machine = Machine::new();
    assert_eq!(machine.ok("publish s", "a\n\n b \r\nlast").len(), 4);
    assert_eq!(machine.payloads("s"), ["a", "", " b \r", "last"]);
}

#[test]
fn an_empty_input_publishes_nothing_and_makes_no_identity() {
    let machine = Machine::new();
    assert!(machine.ok("publish s", "").is_empty());
    assert!(machine.identities().is_empty());
}

#[test]
fn each_type_has_its_name_in_the_log() {
    let machine = Machine::new();
    for (kind, printed) in [
        ("add", "set.add"),
        ("remove", "set.remove"),
        ("increment", "counter.increment"),
        ("decrement", "counter.decrement"),
        ("write", "register.write"),
        ("app:7", "app:7"),
        ("app:255", "app:255"),
    ] {
        machine.ok(&format!("publish {kind} --type {kind}"), "1\n");
        let events = machine.ok(&format!("replay {kind}"), "");
        assert_eq!(events[0]["type"], printed);
        let counts = printed.starts_with("counter");
        assert_eq!(events[0]["payload"], if counts { json!(1) } else { json!("1") });
    }
}

#[test]
fn a_line_that_is_no_integer_is_named_and_the_others_keep_their_receipts() {
    let machine = Machine::new();
    let input = "1\nx\n-2\n1.5\n\n9223372036854775807\n9223372036854775808\n";
    let done = machine.run(["publish", "c", "--type", "increment"], input);
    assert_eq!(done.code, 1);
    assert_eq!(done.json().len(), 3);
    for line in [2, 4, 5, 7] {
        assert!(done.stderr.contains(&format!("line {line} was not published")), "{}", done.stderr);
    }
    assert_eq!(done.stderr.lines().count(), 4, "{}", done.stderr);
    assert_eq!(machine.payloads("c"), [json!(1), json!(-2), json!(i64::MAX)]);
}

#[test]
fn a_line_above_the_limit_is_named_and_the_others_keep_their_receipts() {
    let machine = Machine::new();
    let input = format!("a\n{}\n{}\nb\n", "x".repeat(MIB + 1), "y".repeat(MIB));
    let done = machine.run(["publish", "s"], input);
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("line 2 was not published: it is too large"), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    assert_eq!(done.json().len(), 3);
    let lengths: Vec<_> = machine.payloads("s").iter().map(|payload| payload.as_str().unwrap().len()).collect();
    assert_eq!(lengths, [1, MIB, 1]);
}

#[test]
fn a_line_that_is_not_text_is_named_and_the_others_keep_their_receipts() {
    let machine = Machine::new();
    let done = machine.run(["publish", "s"], b"a\nb\xFF\nc\n");
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("line 2 was not published: it is not UTF-8"), "{}", done.stderr);
    assert_eq!(done.json().len(), 2);
    assert_eq!(machine.payloads("s"), ["a", "c"]);
}

#[test]
fn a_negative_increment_is_for_the_folds_to_judge() {
    let machine = Machine::new();
    machine.ok("publish c --type increment", "5\n-3\n");
    assert_eq!(machine.state("c", "pn-counter"), 2);
    assert_eq!(machine.state("c", "g-counter"), 5);
}

#[test]
fn an_unknown_author_publishes_nothing_and_is_not_made() {
    let machine = Machine::new();
    let done = machine.run(["publish", "s", "--as", "alice"], "a\n");
    assert_eq!(done.code, 5);
    assert!(done.stderr.contains("xaeroflux id --new alice"), "{}", done.stderr);
    assert_eq!(done.stdout, "");
    assert!(machine.identities().is_empty());
    assert!(machine.payloads("s").is_empty());
}

#[test]
fn events_are_by_who_was_named_or_else_by_the_node() {
    let machine = Machine::new();
    let alice = machine.ok("id --new alice", "")[0]["id"].clone();
    assert_eq!(machine.ok("publish s --as alice", "a\n")[0]["author"], alice);
    let own = machine.ok("publish s", "b\n")[0]["author"].clone();
    assert_ne!(own, alice);
    assert_eq!(machine.ok("publish s", "c\n")[0]["author"], own);
    assert_eq!(machine.identities(), ["alice", "self"]);
}

#[test]
fn the_timestamp_decides_for_a_last_writer_wins_register() {
    let machine = Machine::new();
    machine.ok("publish r --type write --timestamp 2000", "late\n");
    machine.ok("publish r --type write --timestamp 1000", "early\n");
    assert_eq!(machine.state("r", "lww"), "late");
    assert!(machine.ok("replay r", "")[0]["ts"].as_u64().unwrap() > 1_600_000_000_000, "the clock is another matter");
}

#[test]
fn a_bad_subject_name_is_told_before_anything_is_done() {
    let machine = Machine::new();
    for (name, rule) in
        [("", "a subject needs a name"), ("a\nb", "no control characters"), (&"x".repeat(401), "at most")]
    {
        for args in [&["publish"][..], &["replay"], &["state", "--crdt", "mv"]] {
            let done = machine.run(args.iter().copied().chain([name]), "a\n");
            assert_eq!(done.code, 2);
            assert!(done.stderr.contains(rule), "{}", done.stderr);
        }
    }
    assert!(!machine.data_dir().exists());
}

#[test]
fn a_full_storage_is_told_and_every_receipt_holds() {
    let machine = Machine::new();
    let line = format!("{}\n", "x".repeat(100_000));
    let done = machine.run(["publish", "s", "--map-size", "1M"], line.repeat(100));
    assert_eq!(done.code, 4);
    assert!(done.stderr.contains("map size"), "{}", done.stderr);
    let receipts = done.json();
    assert!(receipts.len() < 100);
    let events = machine.ok("replay s", "");
    let ids = |lines: &[serde_json::Value]| lines.iter().map(|line| line["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&events), ids(&receipts));
}
