//! `explain`: what became of an event, in one line.

use crate::support::Machine;

#[test]
fn an_event_in_the_log_and_one_that_never_came_are_told_apart() {
    let machine = Machine::new();
    machine.ok("id --new alice", "");
    let receipt = &machine.ok("publish tags --as alice", "urgent\n")[0];
    let here = &machine.ok("explain tags alice 1", "")[0];
    assert_eq!((here["is"].as_str(), here["ordinal"].as_u64()), (Some("accepted"), Some(0)));
    assert_eq!((&here["author"], &here["id"]), (&receipt["author"], &receipt["id"]));
    let author = receipt["author"].as_str().unwrap();
    let unknown = &machine.ok(&format!("explain tags {author} 2"), "")[0];
    assert_eq!(unknown["is"], "unknown");
    assert!(unknown["text"].as_str().unwrap().contains(author));
}
