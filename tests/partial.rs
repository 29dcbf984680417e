//! Partial replicas over real connections: in one process, and as users run them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod fault_kit;
mod peers_kit;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use peers_kit::{Machine, texts, until};
use serde_json::json;
use xaeroflux::{Explanation, NetworkConfig, ReplicaFilter, SubjectTicket, VerifyOptions, prelude::*, verify};

const CHAT: u8 = 100;
const PICTURE: u8 = 101;

/// A node with a data directory, a subject and a writer.
struct Peer {
    subject: Subject,
    author: XaeroID,
    handle: Handle,
    node: Node,
}

impl Peer {
    fn of(node: Node, subject: Subject) -> Self {
        let author = node.own_identity().unwrap();
        let handle = subject.run().unwrap();
        Self { subject, author, handle, node }
    }

    fn node(dir: &Path) -> Node {
        let network = NetworkConfig::new().listen(([127, 0, 0, 1], 0).into());
        Node::builder().data_dir(dir).network(network).build().unwrap()
    }

    fn new(dir: &Path) -> Self {
        let node = Self::node(dir);
        let subject = node.subject("album");
        Self::of(node, subject)
    }

    fn joined(dir: &Path, ticket: &SubjectTicket, filter: Option<ReplicaFilter>) -> Self {
        let node = Self::node(dir);
        let subject = match filter {
            Some(filter) => node.join_partial(ticket, filter).unwrap(),
            None => node.join(ticket).unwrap(),
        };
        Self::of(node, subject)
    }

    fn say(&self, payload: impl Into<Vec<u8>>, event_type: u8) -> xaeroflux::Receipt {
        self.subject.publish(XaeroEvent::new(payload, event_type))
    }

    fn payloads(&self) -> Vec<Vec<u8>> {
        self.subject.replay().events().unwrap().map(|event| event.unwrap().evt.data).collect()
    }

    fn close(self) {
        let Self { subject, handle, node, .. } = self;
        drop((subject, handle, node));
    }
}

fn until_payloads(peer: &Peer, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let payloads = peer.payloads();
        if payloads == expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>() {
            return;
        }
        assert!(Instant::now() < deadline, "{payloads:?}, not {expected:?}");
        std::thread::yield_now();
    }
}

fn chats() -> ReplicaFilter {
    ReplicaFilter::all().event_type(EventType::ApplicationEvent(CHAT))
}

#[test]
fn a_phone_keeps_the_chat_of_an_album_and_not_its_pictures() {
    let (desk_dir, phone_dir, third_dir) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let desk = Peer::new(desk_dir.path());
    desk.say("look", CHAT).wait().unwrap();
    for _ in 0..20 {
        desk.say(vec![7; 500_000], PICTURE).wait().unwrap();
    }
    desk.say("nice, are they?", CHAT).wait().unwrap();
    let ticket = desk.subject.ticket().unwrap();
    let phone = Peer::joined(phone_dir.path(), &ticket, Some(chats()));
    until_payloads(&phone, &["look", "nice, are they?"]);
    assert_eq!(phone.subject.count().unwrap(), 22);
    let sent: u64 = desk.node.peers().iter().map(|peer| peer.bytes_sent).sum();
    assert!(sent < 100_000, "{sent} bytes for two messages and twenty headers");
    // Live, in both directions, and on to somebody who has all.
    phone.say("they are", CHAT).wait().unwrap();
    desk.say("thanks", CHAT);
    phone.say(vec![8; 1_000], PICTURE).wait().unwrap();
    let third = Peer::joined(third_dir.path(), &desk.subject.ticket().unwrap(), None);
    let deadline = Instant::now() + Duration::from_secs(60);
    while third.subject.root().unwrap() != phone.subject.root().unwrap() || third.subject.count().unwrap() < 25 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!((third.payloads().len(), phone.payloads().len()), (25, 5));
    let explained = phone.subject.explain(desk.author, 2).unwrap();
    assert!(matches!(explained, Explanation::Withheld { .. }), "{explained}");
    // What is on the phone's disk is whole, for what it is, and it is still the same after a restart.
    let root = phone.subject.root().unwrap();
    phone.close();
    let mut report = verify(phone_dir.path(), &VerifyOptions::default(), &mut |_| {}).unwrap();
    report.findings.retain(|finding| finding.severity == xaeroflux::Severity::Damage);
    assert_eq!(report.findings, []);
    let phone = Peer::joined(phone_dir.path(), &ticket, None);
    assert_eq!((phone.subject.root().unwrap(), phone.subject.replica_filter().unwrap()), (root, Some(chats())));
    desk.say("good night", CHAT).wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while phone.payloads().len() < 6 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

/// A ticket for the whole, taken first, does no harm as long as nothing has come.
#[test]
fn a_node_that_is_connected_already_may_still_become_a_partial_one() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let desk = Peer::new(dirs[0].path());
    let ticket = desk.subject.ticket().unwrap();
    let phone = Peer::joined(dirs[1].path(), &ticket, None);
    phone.say("mine", CHAT).wait().unwrap();
    until_payloads(&desk, &["mine"]);
    phone.node.join_partial(&ticket, chats()).unwrap();
    desk.say(vec![7; 500_000], PICTURE).wait().unwrap();
    desk.say("look", CHAT).wait().unwrap();
    until_payloads(&phone, &["mine", "look"]);
    let sent: u64 = desk.node.peers().iter().map(|peer| peer.bytes_sent).sum();
    assert!(sent < 100_000, "{sent} bytes, so the picture was sent");
    assert_eq!(desk.subject.root().unwrap(), phone.subject.root().unwrap());
}

#[test]
fn two_parts_by_author_meet_in_what_both_keep() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let whole = Peer::new(dirs[0].path());
    let names: Vec<XaeroID> = ["ann", "ben", "cem"].iter().map(|name| whole.node.identity(name).unwrap()).collect();
    for round in 0..3 {
        for (author, name) in names.iter().zip(["ann", "ben", "cem"]) {
            whole.subject.publish(XaeroEvent::new(format!("{name} {round}"), CHAT).by(*author)).wait().unwrap();
        }
    }
    let ticket = whole.subject.ticket().unwrap();
    let of = |authors: [usize; 2]| authors.iter().fold(ReplicaFilter::all(), |filter, n| filter.author(names[*n]));
    let left = Peer::joined(dirs[1].path(), &ticket, Some(of([0, 1])));
    until_payloads(&left, &["ann 0", "ben 0", "ann 1", "ben 1", "ann 2", "ben 2"]);
    whole.close();
    // Only the other part is there to get anything from.
    let right = Peer::joined(dirs[2].path(), &left.subject.ticket().unwrap(), Some(of([1, 2])));
    until_payloads(&right, &["ben 0", "ben 1", "ben 2"]);
    right.say("and me", CHAT).wait().unwrap();
    let explained = left.subject.explain(names[2], 1).unwrap();
    assert!(matches!(explained, Explanation::LeftOut { .. }), "{explained}");
    assert!(matches!(left.subject.explain(right.author, 1).unwrap(), Explanation::LeftOut { .. }));
    let export = left.subject.export(Vec::new(), Default::default());
    assert!(export.unwrap_err().to_string().contains("part"));
}

#[test]
fn the_command_joins_for_a_part_and_says_so_wherever_it_matters() {
    let (alice, bob) = (Machine::new(), Machine::new());
    let author = alice.ok("publish s --type add", "draft\n").pop().unwrap()["author"].as_str().unwrap().to_owned();
    alice.ok("publish s --type app:7", &texts("picture", 50).join("\n"));
    let (at_alice, at_bob) = (alice.serve(), bob.serve());
    let ticket = alice.ticket("s");
    let joined = bob.ok(&format!("join {ticket} --only-type add --only-type remove"), "").pop().unwrap();
    let partial = &joined["partial"];
    assert_eq!(partial, "event types 30, 31");
    until("the headers are here", || bob.count("s") == 51);
    assert_eq!(bob.payloads("s"), ["draft"]);
    assert_eq!(bob.set("s"), json!(["draft"]));
    for (command, word) in [
        ("state s --crdt or-set".to_owned(), None),
        ("root s".to_owned(), None),
        (format!("explain s {author} 1"), Some("accepted")),
        (format!("explain s {author} 2"), Some("withheld")),
    ] {
        let line = bob.ok(&command, "").pop().unwrap();
        assert_eq!(&line["partial"], partial, "{command}");
        assert!(word.is_none_or(|word| line["is"] == word), "{line}");
    }
    assert!(alice.ok("root s", "").pop().unwrap().get("partial").is_none());
    assert_eq!(alice.root("s").0, bob.root("s").0, "all events prove, whether their payloads are here or not");
    bob.publish("s", &["urgent"]);
    until("what bob writes gets to alice", || alice.count("s") == 52);
    at_alice.end();
    at_bob.end();
    bob.ok("verify", "");
}
