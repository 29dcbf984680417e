//! `state`: each CRDT from the command line.

use serde_json::{Value, json};
use xaeroflux::{Node, XaeroEvent, event::CRDT_SET_ADD};

use crate::support::Machine;

#[test]
fn a_set_is_sorted_by_bytes_and_a_remove_takes_what_was_there() {
    let machine = Machine::new();
    machine.ok("publish tags", "ü\nb\na\nB\na\n\n");
    machine.ok("publish tags --type remove", "a\nnever there\n");
    assert_eq!(machine.state("tags", "or-set"), json!(["", "B", "b", "ü"]));
    machine.ok("publish tags --type add", "a\n");
    assert_eq!(machine.state("tags", "or-set"), json!(["", "B", "a", "b", "ü"]));
}

#[test]
fn counters_are_numbers() {
    let machine = Machine::new();
    machine.ok("publish c --type increment", "5\n7\n");
    machine.ok("publish c --type decrement", "20\n");
    assert_eq!(machine.state("c", "pn-counter"), -8);
    assert_eq!(machine.state("c", "g-counter"), 12);
}

#[test]
fn a_counter_beyond_53_bits_is_exact() {
    let machine = Machine::new();
    machine.ok("publish c --type increment", i64::MAX.to_string());
    assert_eq!(machine.state("c", "pn-counter"), i64::MAX);
    machine.ok("publish c --type increment", "1\n");
    assert_eq!(machine.state("c", "pn-counter"), i64::MAX, "it stays at the end of its range");
}

#[test]
fn a_register_has_its_last_value() {
    let machine = Machine::new();
    machine.ok("publish r --type write", "first\nlast\n");
    assert_eq!(machine.state("r", "lww"), "last");
    assert_eq!(machine.state("r", "mv"), json!(["last"]));
}

#[test]
fn an_empty_value_is_a_value() {
    let machine = Machine::new();
    machine.ok("publish r --type write", "\n");
    assert_eq!(machine.state("r", "lww"), "");
    assert_eq!(machine.state("r", "mv"), json!([""]));
}

#[test]
fn the_state_at_a_time_is_as_it_was_before_it() {
    let machine = Machine::new();
    for n in 0..3_u64 {
        let node =
            Node::builder().data_dir(machine.data_dir()).clock(move || 1_700_000_000_000 + 10 * n).build().unwrap();
        let subject = node.subject("s");
        let handle = subject.run().unwrap();
        subject.publish(XaeroEvent::new(n.to_string(), CRDT_SET_ADD)).wait().unwrap();
        drop(handle);
    }
    let at = |time: &str| machine.ok(&format!("state s --crdt or-set --at {time}"), "")[0]["value"].clone();
    assert_eq!(at("1700000000000"), json!([]));
    assert_eq!(at("1700000000001"), json!(["0"]));
    assert_eq!(at("1700000000020"), json!(["0", "1"]));
    assert_eq!(at("1700000000021"), machine.state("s", "or-set"));
    assert_eq!(machine.run("state s --crdt or-set --at yesterday".split(' '), "").code, 2);
}

#[test]
fn an_unknown_subject_is_empty_and_is_not_made() {
    let machine = Machine::new();
    machine.ok("publish s", "a\n");
    for (crdt, empty) in [
        ("or-set", json!([])),
        ("g-counter", json!(0)),
        ("pn-counter", json!(0)),
        ("lww", Value::Null),
        ("mv", json!([])),
    ] {
        assert_eq!(machine.state("never-heard-of", crdt), empty, "{crdt}");
        // One that has events, but none for it.
        machine.ok("publish other --type app:1", "a\n");
        assert_eq!(machine.state("other", crdt), empty, "{crdt}");
    }
    assert!(machine.ok("replay never-heard-of", "").is_empty());
    assert_eq!(machine.identities(), ["self"]);
}

#[test]
fn an_unknown_crdt_is_a_usage_error_that_names_those_that_are_known() {
    let machine = Machine::new();
    let done = machine.run(["state", "s", "--crdt", "rga"], "");
    assert_eq!(done.code, 2);
    for name in ["or-set", "g-counter", "pn-counter", "lww", "mv"] {
        assert!(done.stderr.contains(name), "{}", done.stderr);
    }
    assert_eq!(machine.run(["state", "s"], "").code, 2, "there is no default");
}
