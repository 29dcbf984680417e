//! `replay`: the log as it is.

use xaeroflux::{Node, XaeroEvent};

use crate::support::Machine;

#[test]
fn an_event_has_these_fields_and_no_others() {
    let machine = Machine::new();
    let receipt = &machine.ok("publish s", "a\n")[0];
    let event = &machine.ok("replay s", "")[0];
    let mut fields: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["author", "id", "payload", "seq", "ts", "type"]);
    for field in ["author", "seq", "id"] {
        assert_eq!(event[field], receipt[field]);
    }
}

#[test]
fn the_window_begins_with_its_first_millisecond_and_ends_before_its_last() {
    let machine = Machine::new();
    // Each in a millisecond of its own.
    for n in 0..3_u64 {
        let node =
            Node::builder().data_dir(machine.data_dir()).clock(move || 1_700_000_000_000 + 10 * n).build().unwrap();
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        subject.publish(XaeroEvent::new(n.to_string(), 7)).wait().unwrap();
        drop(handle);
    }
    let replayed = |options: &str| -> Vec<String> {
        let events = machine.ok(&format!("replay s {options}"), "");
        events.iter().map(|event| event["payload"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(replayed(""), ["0", "1", "2"]);
    assert_eq!(machine.ok("replay s", "")[1]["ts"], 1_700_000_000_010_u64);
    assert_eq!(replayed("--from 1700000000010"), ["1", "2"]);
    assert_eq!(replayed("--from 1700000000011"), ["2"]);
    assert_eq!(replayed("--to 1700000000010"), ["0"]);
    assert_eq!(replayed("--to 1700000000011"), ["0", "1"]);
    assert_eq!(replayed("--from 1700000000010 --to 1700000000020"), ["1"]);
    assert!(replayed("--from 1700000000010 --to 1700000000010").is_empty());
    assert!(replayed("--from 1700000000020 --to 1700000000010").is_empty());
}

#[test]
fn events_are_chosen_by_author_type_and_sequence_number() {
    let machine = Machine::new();
    machine.ok("id --new alice", "");
    let bob = machine.ok("id --new bob", "")[0]["id"].as_str().unwrap().to_owned();
    machine.ok("publish s --as alice", "a1\na2\na3\n");
    machine.ok("publish s --as bob --type write", "b1\nb2\n");
    machine.ok("publish s --as bob", "b3\n");
    let replayed = |options: &str| -> Vec<String> {
        let events = machine.ok(&format!("replay s {options}"), "");
        events.iter().map(|event| event["payload"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(replayed("--author alice"), ["a1", "a2", "a3"]);
    assert_eq!(replayed(&format!("--author {bob}")), ["b1", "b2", "b3"]);
    assert_eq!(replayed("--type write"), ["b1", "b2"]);
    assert_eq!(replayed("--type app:30 --author bob"), ["b3"]);
    assert_eq!(replayed("--seq 2"), ["a2", "b2"]);
    assert_eq!(replayed("--seq 2.."), ["a2", "a3", "b2", "b3"]);
    assert_eq!(replayed("--seq ..2"), ["a1", "b1"]);
    assert_eq!(replayed("--seq 2..3 --author alice"), ["a2"]);
    assert!(replayed("--to 1 --author alice").is_empty());
    assert!(replayed(&format!("--author {}", "0".repeat(64))).is_empty(), "somebody who wrote nothing");
}

#[test]
fn an_author_that_is_neither_an_id_nor_a_name_is_an_error_and_a_bad_range_too() {
    let machine = Machine::new();
    machine.ok("publish s", "a\n");
    let done = machine.run(["replay", "s", "--author", "nobody"], "");
    assert_eq!((done.code, done.stdout.as_str()), (5, ""));
    assert!(done.stderr.contains("nobody"), "{}", done.stderr);
    for bad in ["--seq 3..2", "--seq x", "--seq ..", "--type state"] {
        let done = machine.run(format!("replay s {bad}").split_whitespace(), "");
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{bad}");
    }
}

#[test]
fn what_is_not_text_is_in_base64() {
    let machine = Machine::new();
    {
        let node = Node::builder().data_dir(machine.data_dir()).build().unwrap();
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        subject.publish(XaeroEvent::new([0xFF, 0x00], 7)).wait().unwrap();
        // Of a counter, but not of a counter's size.
        subject.publish(XaeroEvent::new("abc", xaeroflux::event::CRDT_COUNTER_INCREMENT)).wait().unwrap();
        subject.publish(XaeroEvent::new([0xFF], xaeroflux::event::CRDT_SET_ADD)).wait().unwrap();
        subject.publish(XaeroEvent::new([0xFF], xaeroflux::event::CRDT_REGISTER_WRITE)).wait().unwrap();
        drop(handle);
    }
    let events = machine.ok("replay s", "");
    assert_eq!(events[0]["payload_base64"], "/wA=");
    assert_eq!(events[1]["payload_base64"], "YWJj");
    assert!(events[..2].iter().all(|event| event.get("payload").is_none()));
    let base64 = serde_json::json!({ "base64": "/w==" });
    assert_eq!(machine.state("s", "or-set"), serde_json::json!([base64]));
    assert_eq!(machine.state("s", "lww"), base64);
    assert_eq!(machine.state("s", "pn-counter"), 0);
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let machine = Machine::new();
    machine.ok("publish s", "a line\n".repeat(10_000));
    let mut child = machine.command(["replay", "s"]).spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn damage_is_told_after_the_events_before_it() {
    let machine = Machine::new();
    let input: String = (0..5_000).map(|n| format!("event number {n}\n")).collect();
    machine.ok("publish s", input);
    let file = machine.data_dir().join("data.mdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let payload = b"event number 3210";
    let at = bytes.windows(payload.len()).position(|window| window == payload).unwrap();
    bytes[at] ^= 0x20;
    std::fs::write(&file, bytes).unwrap();
    let done = machine.run(["replay", "s"], "");
    assert_eq!(done.code, 4);
    assert!(done.stderr.contains("damaged"), "{}", done.stderr);
    let events = done.json();
    assert_eq!(events.len(), 3_210);
    assert_eq!(events[3_209]["payload"], "event number 3209");
    let state = machine.run(["state", "s", "--crdt", "or-set"], "");
    assert_eq!((state.code, state.stdout.as_str()), (4, ""));
}
