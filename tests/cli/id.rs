//! `id`: the identities of a data directory.

use xaeroflux::wire::key::PublicKey;

use crate::support::Machine;

#[test]
fn identities_are_made_once_and_listed() {
    let machine = Machine::new();
    assert!(machine.ok("id", "").is_empty());
    let bob = machine.ok("id --new bob", "");
    let alice = machine.ok("id --new alice", "");
    assert_eq!((bob.len(), &bob[0]["name"]), (1, &"bob".into()));
    assert_eq!(machine.ok("id", ""), [alice, bob].concat());

    let done = machine.run(["id", "--new", "bob"], "");
    assert_eq!((done.code, done.stdout.as_str()), (5, ""));
    assert!(done.stderr.contains("already"), "{}", done.stderr);
    assert_eq!(machine.identities(), ["alice", "bob"]);
}

#[test]
fn a_name_that_breaks_a_rule_is_a_usage_error() {
    let machine = Machine::new();
    for name in ["", "../x", "a b", ".hidden"] {
        let done = machine.run(["id", "--new", name], "");
        assert_eq!(done.code, 2, "{name:?}");
        assert!(done.stderr.contains("cannot name an identity"), "{}", done.stderr);
    }
    assert!(machine.identities().is_empty());
}

#[test]
fn a_public_key_is_printed_as_its_text_and_belongs_to_the_identity() {
    let machine = Machine::new();
    let id = machine.ok("id --new bob", "")[0]["id"].as_str().unwrap().to_owned();
    let done = machine.run(["id", "--export-public", "bob"], "");
    assert_eq!(done.code, 0);
    assert_eq!(PublicKey::from_text(&done.stdout).unwrap().id().to_string(), id);

    let line = &machine.ok("id --json --export-public bob", "")[0];
    assert_eq!(line["id"], id);
    assert_eq!(format!("{}\n", line["public_key"].as_str().unwrap()), done.stdout);

    let unknown = machine.run(["id", "--export-public", "eve"], "");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (5, ""));
}
