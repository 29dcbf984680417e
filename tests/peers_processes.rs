//! Peers as users run them: processes that serve a directory each, with real sockets between them; killed, copied, restored,
//! moved, and with clocks that are wrong.
//!
//! `XAEROFLUX_KILL_ROUNDS` sets how often one is killed in the middle of a sync.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fault_kit;
mod peers_kit;

use std::time::{Duration, Instant, SystemTime};

use peers_kit::{
    Machine, Serve,
    backup::{copy, restore},
    texts, until, until_same,
};
use serde_json::json;

const ROUNDS: &str = "XAEROFLUX_KILL_ROUNDS";

#[test]
fn what_is_published_at_one_node_appears_at_the_other() {
    let (alice, bob) = (Machine::new(), Machine::new());
    let (at_alice, at_bob) = (alice.serve(), bob.serve());
    bob.join(&alice.ticket("docs/tags"));
    let follow = bob.follow("docs/tags");
    for text in ["draft", "urgent"] {
        alice.publish("docs/tags", &[text]);
        assert_eq!(follow.next().unwrap()["payload"], text);
    }
    bob.publish("docs/tags", &["reviewed"]);
    until_same(&[&alice, &bob], "docs/tags", 3);
    assert_eq!(alice.set("docs/tags"), json!(["draft", "reviewed", "urgent"]));
    assert_eq!(alice.set("docs/tags"), bob.set("docs/tags"));
    drop(follow);
    at_alice.end();
    at_bob.end();
}

#[test]
fn each_node_tells_of_the_other_and_of_a_connection_that_resists_quantum_computers() {
    let (alice, bob) = (Machine::new(), Machine::new());
    let (at_alice, at_bob) = (alice.serve(), bob.serve());
    bob.join(&alice.ticket("s"));
    for (machine, other) in [(&alice, &at_bob), (&bob, &at_alice)] {
        until("they sync a subject", || machine.peer(&other.endpoint).is_some_and(|peer| peer["subjects"] == 1));
        let peer = machine.peer(&other.endpoint).unwrap();
        assert_eq!((&peer["connected"], &peer["post_quantum"]), (&json!(true), &json!(true)), "{peer}");
        assert_eq!(peer["addr"], other.addr().to_string());
        assert_eq!(peer["offences"], 0);
    }
    let endpoint = at_alice.endpoint.clone();
    at_alice.end();
    until("bob sees that she is gone", || !bob.is_connected(&endpoint));
    at_bob.end();
}

#[test]
fn a_line_of_five_converges_again_after_the_one_in_the_middle_was_killed() {
    let line: Vec<Machine> = (0..5).map(|_| Machine::new()).collect();
    let mut serves: Vec<Option<Serve>> = line.iter().map(|machine| Some(machine.serve())).collect();
    for pair in line.windows(2) {
        // Each knows its neighbour only.
        pair[1].join(&pair[0].ticket("s"));
    }
    let all: Vec<&Machine> = line.iter().collect();
    for (number, machine) in line.iter().enumerate() {
        machine.publish("s", &texts(&format!("from {number}"), 20));
    }
    until_same(&all, "s", 100);
    let middle = serves[2].take().unwrap();
    let addr = middle.addr();
    middle.kill();
    for end in [0, 4] {
        line[end].publish("s", &texts(&format!("{end} alone"), 20));
    }
    serves[2] = Some(line[2].serve_at(addr));
    until_same(&all, "s", 140);
    let state = line[0].set("s");
    assert_eq!(state.as_array().unwrap().len(), 140);
    assert!(line.iter().all(|machine| machine.set("s") == state));
    serves.into_iter().flatten().for_each(Serve::end);
}

#[test]
fn a_sync_that_is_killed_in_the_middle_goes_on_and_nothing_is_lost_or_doubled() {
    /// A sync of so many takes several commits.
    const EVENTS: u64 = 60_000;
    let rounds = std::env::var(ROUNDS).map_or(5, |rounds| rounds.parse().unwrap());
    let (sender, receiver) = (Machine::new(), Machine::new());
    let mut sending = sender.serve();
    let addr = sending.addr();
    receiver.join(&sender.ticket("s"));
    let (mut published, mut in_the_middle) = (Vec::new(), 0);
    // As many more as it takes: how often it is in the middle depends on the machine.
    for round in 0..3 * rounds {
        if round >= rounds && in_the_middle * 2 >= rounds {
            break;
        }
        let before = receiver.count("s");
        let new = texts(&format!("round {round}"), EVENTS);
        sender.publish("s", &new);
        published.extend(new);
        let receiving = receiver.serve();
        until("events arrive", || receiver.count("s") > before);
        if round % 2 == 0 {
            receiving.kill();
        } else {
            sending.kill();
            in_the_middle += u64::from(receiver.count("s") < published.len() as u64);
            sending = sender.serve_at(addr);
            receiving.kill();
            continue;
        }
        in_the_middle += u64::from(receiver.count("s") < published.len() as u64);
    }
    let receiving = receiver.serve();
    until_same(&[&sender, &receiver], "s", published.len() as u64);
    published.sort_unstable();
    for machine in [&sender, &receiver] {
        assert!(machine.payloads("s") == published);
    }
    sending.end();
    receiving.end();
    for machine in [&sender, &receiver] {
        machine.ok("verify", "");
    }
    assert!(in_the_middle * 2 >= rounds, "only {in_the_middle} of {rounds} were killed in the middle");
}

#[test]
fn a_node_that_is_asked_to_end_in_the_middle_of_a_sync_ends_in_order_and_goes_on_later() {
    const EVENTS: u64 = 60_000;
    let (sender, receiver) = (Machine::new(), Machine::new());
    sender.publish("s", &texts("event", EVENTS));
    let sending = sender.serve();
    receiver.join(&sender.ticket("s"));
    let mut all = EVENTS;
    loop {
        let before = receiver.count("s");
        let receiving = receiver.serve();
        until("events arrive", || receiver.count("s") > before);
        receiving.end();
        if receiver.count("s") < all {
            break;
        }
        // It was through already: how fast it is depends on the machine.
        assert!(all < 20 * EVENTS, "it is never in the middle");
        sender.publish("s", &texts(&format!("event after {all}"), 2 * EVENTS));
        all += 2 * EVENTS;
    }
    let addr = sending.addr();
    let receiving = receiver.serve();
    sending.end();
    let sending = sender.serve_at(addr);
    until_same(&[&sender, &receiver], "s", all);
    receiving.end();
    sending.end();
}

#[test]
fn two_devices_that_started_offline_under_one_name_are_merged_when_they_meet() {
    let (laptop, phone) = (Machine::new(), Machine::new());
    laptop.publish("notes", &["milk", "bread"]);
    phone.publish("notes", &["milk", "eggs"]);
    phone.ok("publish notes --type remove", "milk\n");
    assert_ne!(laptop.root("notes"), phone.root("notes"));
    let serves = [laptop.serve(), phone.serve()];
    phone.join(&laptop.ticket("notes"));
    until_same(&[&laptop, &phone], "notes", 5);
    // The phone had not seen the laptop's milk when it removed its own.
    assert_eq!(laptop.set("notes"), json!(["bread", "eggs", "milk"]));
    assert_eq!(laptop.set("notes"), phone.set("notes"));
    serves.into_iter().for_each(Serve::end);
}

#[test]
fn a_copy_of_a_directory_writes_under_a_fresh_key_and_merges_with_the_original() {
    let (original, copied) = (Machine::new(), Machine::new());
    let alice = original.ok("id --new alice", "")[0]["id"].clone();
    original.ok("publish s --as alice", "before\n");
    original.ticket("s");
    copy(&original.data_dir(), &copied.data_dir());
    // The original goes on.
    let at_original = original.serve();
    original.ok("publish s --as alice", "original\n");
    let at_copy = copied.serve();
    assert_ne!(at_copy.endpoint, at_original.endpoint, "two nodes would have one address");
    let heir = copied.identity("alice");
    assert_eq!(heir["succeeds"], alice);
    let receipt = &copied.ok("publish s --as alice", "copy\n")[0];
    assert_eq!((&receipt["author"], receipt["seq"].as_u64()), (&heir["id"], Some(1)));
    copied.join(&original.ticket("s"));
    until_same(&[&original, &copied], "s", 3);
    for machine in [&original, &copied] {
        assert_eq!(machine.set("s"), json!(["before", "copy", "original"]));
        assert_eq!(machine.payloads("s"), ["before", "copy", "original"]);
    }
    assert_eq!(original.identity("alice")["id"], alice);
    at_original.end();
    at_copy.end();
}

#[test]
fn a_directory_restored_in_place_that_published_too_early_heals() {
    let (restored, peer) = (Machine::new(), Machine::new());
    let backup = restored.beside("backup");
    let alice = restored.ok("id --new alice", "")[0]["id"].as_str().unwrap().to_owned();
    restored.ok("publish s --as alice", "backed up\n");
    let ticket_of = |machine: &Machine| {
        let serve = machine.serve();
        let (ticket, addr) = (machine.ticket("s"), serve.addr());
        serve.end();
        (ticket, addr)
    };
    let (ticket, addr) = ticket_of(&restored);
    copy(&restored.data_dir(), &backup);
    let at_restored = restored.serve_at(addr);
    restored.ok("publish s --as alice", "after the backup\n");
    peer.join(&ticket);
    let at_peer = peer.serve();
    until_same(&[&restored, &peer], "s", 2);
    at_restored.end();
    restore(&backup, &restored.data_dir());
    assert_eq!(restored.identity("alice")["id"], alice, "it was taken for a copy");
    restored.ok("publish s --as alice", "too early\n");
    let at_restored = restored.serve_at(addr);
    // The common beginning, and what was published again.
    until_same(&[&restored, &peer], "s", 2);
    for machine in [&restored, &peer] {
        until("its branch is published again", || machine.set("s") == json!(["backed up", "too early"]));
    }
    let heir = restored.identity("alice");
    assert_eq!(heir["succeeds"], alice);
    for machine in [&restored, &peer] {
        let explained = &machine.ok(&format!("explain s {alice} 2"), "")[0];
        assert_eq!((&explained["is"], &explained["last_valid"]), (&json!("superseded"), &json!(1)), "{explained}");
    }
    // Nobody has a key to publish the other branch again with. It counts no more, but can be read where it is.
    assert!(peer.payloads("s").contains(&"after the backup".to_owned()));
    restored.ok("publish s --as alice", "as before\n");
    until_same(&[&restored, &peer], "s", 3);
    assert_eq!(peer.set("s"), json!(["as before", "backed up", "too early"]));
    assert_eq!(restored.set("s"), peer.set("s"));
    at_restored.end();
    at_peer.end();
    restored.ok("verify", "");
    peer.ok("verify", "");
}

#[test]
fn what_was_published_too_early_in_several_subjects_counts_once_in_each() {
    let (restored, peer) = (Machine::new(), Machine::new());
    let backup = restored.beside("backup");
    restored.ok("id --new alice", "");
    let vote = |machine: &Machine, subject: &str, number: &str| {
        machine.ok(&format!("publish {subject} --as alice --type increment"), &format!("{number}\n"));
    };
    let subjects = ["first", "second"];
    let at_restored = restored.serve();
    let addr = at_restored.addr();
    for subject in subjects {
        vote(&restored, subject, "1");
        peer.join(&restored.ticket(subject));
    }
    at_restored.end();
    copy(&restored.data_dir(), &backup);
    let at_restored = restored.serve_at(addr);
    for subject in subjects {
        vote(&restored, subject, "10");
    }
    let at_peer = peer.serve();
    for subject in subjects {
        until_same(&[&restored, &peer], subject, 2);
    }
    at_restored.end();
    restore(&backup, &restored.data_dir());
    for (subject, number) in subjects.into_iter().flat_map(|subject| [(subject, "100"), (subject, "1000")]) {
        vote(&restored, subject, number);
    }
    let at_restored = restored.serve_at(addr);
    for subject in subjects {
        // What is from before the backup, and what was published again.
        until_same(&[&restored, &peer], subject, 3);
        for machine in [&restored, &peer] {
            assert_eq!(machine.ok(&format!("state {subject} --crdt g-counter"), "")[0]["value"], 1_101);
        }
    }
    at_restored.end();
    at_peer.end();
}

#[test]
fn a_node_that_is_told_no_address_is_where_it_was_so_that_tickets_stay_valid() {
    let (machine, other) = (Machine::new(), Machine::new());
    let serve = machine.serve_with("");
    let addrs = serve.addrs.clone();
    assert_eq!(addrs.len(), 2, "IPv4 and IPv6");
    serve.end();
    let serve = machine.serve_with("");
    assert_eq!(serve.addrs, addrs);
    serve.kill();
    let serve = machine.serve_with("");
    assert_eq!(serve.addrs, addrs);
    // A copy is another node, and leaves it the ports.
    serve.end();
    copy(&machine.data_dir(), &other.data_dir());
    let copied = other.serve_with("");
    assert!(copied.addrs.iter().all(|addr| !addrs.contains(addr)), "{addrs:?}, {:?}", copied.addrs);
}

#[test]
fn the_node_that_gave_the_ticket_finds_the_other_when_it_comes_back_elsewhere() {
    let (moves, stays) = (Machine::new(), Machine::new());
    let before = moves.serve();
    let at_stays = stays.serve();
    stays.join(&moves.ticket("s"));
    let knows = || {
        let ticket: xaeroflux::SubjectTicket = moves.ticket("s").parse().unwrap();
        ticket.peers().iter().any(|peer| peer.addrs.contains(&at_stays.addr()))
    };
    until("it remembers where the other is, and tells others in tickets", knows);
    let addr = before.addr();
    before.end();
    let after = moves.serve();
    assert_ne!(after.addr(), addr);
    moves.publish("s", &["from elsewhere"]);
    until_same(&[&moves, &stays], "s", 1);
    after.end();
    at_stays.end();
}

#[test]
fn an_address_given_by_hand_is_called_as_well_as_the_one_in_the_ticket() {
    let (moved, caller) = (Machine::new(), Machine::new());
    let before = moved.serve();
    let (ticket, addr) = (moved.ticket("s"), before.addr());
    before.end();
    moved.publish("s", &["found"]);
    caller.join(&ticket);
    let after = moved.serve();
    assert_ne!(after.addr(), addr);
    let peer = format!("{}@{}", after.endpoint, after.addr());
    let calling = caller.serve_with(&format!("--listen 127.0.0.1:0 --peer {peer}"));
    until_same(&[&moved, &caller], "s", 1);
    calling.end();
    // And the other way round: the ticket is taken after the address was given.
    let (late, late_ticket) = (Machine::new(), ticket);
    let calling = late.serve_with(&format!("--listen 127.0.0.1:0 --peer {peer}"));
    until("they are connected", || late.is_connected(&after.endpoint));
    late.join(&late_ticket);
    until_same(&[&moved, &late], "s", 1);
    calling.end();
    after.end();
}

#[test]
fn two_that_know_the_same_peer_only_go_on_without_it_where_they_were_told_to_be_in_the_swarm() {
    let machines: [Machine; 3] = std::array::from_fn(|_| Machine::new());
    let [hub, one, other] = &machines;
    let options = "--listen 127.0.0.1:0 --swarm always --log warn,xaeroflux::subject::sync=debug";
    let serves = machines.each_ref().map(|machine| machine.serve_with(options));
    let ticket = hub.ticket("s");
    for machine in [one, other] {
        machine.join(&ticket);
    }
    hub.publish("s", &["by the hub"]);
    until_same(&[hub, one, other], "s", 1);
    until("they have found each other", || [one, other].iter().all(|machine| machine.has_logged("neighbours=2")));
    let [at_hub, at_one, at_other] = serves;
    at_hub.end();
    one.publish("s", &["by a leaf"]);
    until_same(&[one, other], "s", 2);
    assert!(one.is_connected(&at_other.endpoint));
    at_one.end();
    at_other.end();
}

#[test]
fn a_ticket_taken_while_nobody_is_there_is_kept_and_the_node_connects_and_reconnects_by_itself() {
    let (early, late) = (Machine::new(), Machine::new());
    let at_late = late.serve();
    let (addr, endpoint) = (at_late.addr(), at_late.endpoint.clone());
    let ticket = late.ticket("s");
    at_late.end();
    late.publish("s", &["while nobody was there"]);
    let begun = Instant::now();
    early.join(&ticket);
    assert!(begun.elapsed() < Duration::from_secs(10), "it does not wait for anybody");
    // A process of its own: the ticket is on disk.
    let at_early = early.serve();
    until("nobody answers", || early.peer(&endpoint).is_some_and(|peer| peer["last_error"].is_string()));
    let at_late = late.serve_at(addr);
    until_same(&[&early, &late], "s", 1);
    at_late.kill();
    early.publish("s", &["while the other was gone"]);
    until("it is noticed", || !early.is_connected(&endpoint));
    let at_late = late.serve_at(addr);
    until_same(&[&early, &late], "s", 2);
    at_early.end();
    at_late.end();
}

#[test]
fn nodes_whose_clocks_are_an_hour_apart_come_to_the_same_and_clocks_stay_above_their_causes() {
    use fault_kit::{log_of, until};
    use xaeroflux::{NetworkConfig, prelude::*};

    const HOUR_MS: u64 = 3_600_000;
    let now = || u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let node = |late: u64| {
        let loopback = NetworkConfig::new().listen(([127, 0, 0, 1], 0).into());
        Node::builder().clock(move || now() - late).network(loopback).ephemeral().unwrap()
    };
    let (right, behind) = (node(0), node(HOUR_MS));
    let ours = right.subject("s");
    let _running = ours.run().unwrap();
    let theirs = behind.join(&ours.ticket().unwrap()).unwrap();
    let _running_too = theirs.run().unwrap();
    let both = [&ours, &theirs];
    for round in 0..5 {
        for (turn, subject) in both.into_iter().enumerate() {
            let publish = |text: String, kind| subject.publish(XaeroEvent::new(text, kind)).wait().unwrap();
            let write = publish(format!("{round} {turn}"), CRDT_REGISTER_WRITE);
            publish(format!("{round} {turn}"), CRDT_SET_ADD);
            publish(format!("{} {turn}", round - 1), CRDT_SET_REMOVE);
            until("the other has it", || ours.root().unwrap() == theirs.root().unwrap());
            let log = log_of(subject);
            let place = log.iter().position(|event| event.id == write.id).unwrap();
            // Everything that was here when it was written.
            assert!(log[..place].iter().all(|cause| cause.clock < log[place].clock));
        }
    }
    assert_eq!(ours.count().unwrap(), 30);
    for (fold, reduce) in [(Fold::ORSet, Reduce::SetContents), (Fold::LWWRegister, Reduce::RegisterValue)] {
        let state = both.map(|subject| {
            let operators = vec![
                Operator::Sort(Sort::VectorClock.to_operator()),
                Operator::Fold(fold.to_operator()),
                Operator::Reduce(reduce.to_operator()),
            ];
            subject.resolve(operators).unwrap().unwrap().evt.data
        });
        assert_eq!(state[0], state[1]);
    }
}
