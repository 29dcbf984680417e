//! Sharing a subject: what a ticket makes durable, who may join under which name, and what a restart finds again.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use xaeroflux::{
    Error, NetworkConfig, Node, ShareError, Subject, SubjectId, SubjectKind, SubjectSecret, SubjectTicket, XaeroEvent,
    event::CRDT_SET_ADD, wire::name::open_subject_id,
};

/// The node that has this directory.
fn node(dir: &Path) -> Node {
    Node::builder().data_dir(dir).build().unwrap()
}

fn owned(n: u8, name: &str) -> SubjectTicket {
    SubjectTicket::owned(SubjectId::from([n; 32]), name, SubjectSecret::from([n; 32]), &[]).unwrap()
}

fn publish(subject: &Subject) {
    let _handle = subject.run().unwrap();
    subject.publish(XaeroEvent::new("x", CRDT_SET_ADD)).wait().unwrap();
}

#[test]
fn a_subject_without_an_event_is_shared_by_its_first_ticket_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let first = {
        let node = node(dir.path());
        let tags = node.subject("tags");
        assert!(!tags.is_shared().unwrap());
        let ticket = tags.ticket().unwrap();
        assert!(tags.is_shared().unwrap());
        assert_eq!((ticket.kind(), ticket.subject()), (SubjectKind::Open, tags.id()));
        ticket
    };
    let node = node(dir.path());
    assert!(node.subject("tags").is_shared().unwrap());
    assert_eq!(node.subject("tags").ticket().unwrap(), first);
    assert_eq!(first.peers().len(), 1, "this node, and no address");
    assert!(first.peers()[0].addrs.is_empty());
}

#[test]
fn a_ticket_tells_of_the_relay_before_that_has_answered() {
    // Nobody listens there.
    let network = NetworkConfig::new().listen(([127, 0, 0, 1], 0).into()).relay("http://127.0.0.1:9");
    let node = Node::builder().network(network).ephemeral().unwrap();
    let ticket = node.subject("tags").ticket().unwrap();
    assert_eq!(ticket.peers()[0].relay.as_deref(), Some("http://127.0.0.1:9/"));
}

#[test]
fn who_joins_an_open_subject_has_its_secret_also_after_a_restart() {
    let (here, dir) = (Node::ephemeral().unwrap(), tempfile::tempdir().unwrap());
    let ticket = here.subject("tags").ticket().unwrap();
    {
        let joined = node(dir.path()).join(&ticket.to_string().parse().unwrap()).unwrap();
        assert_eq!((joined.name(), joined.id()), ("tags", here.subject("tags").id()));
        assert!(joined.is_shared().unwrap());
    }
    let handed_on = node(dir.path()).subject("tags").ticket().unwrap();
    assert_eq!(handed_on.secret(), ticket.secret());
    // Itself first, then the node that it has the ticket from.
    assert_eq!(handed_on.peers().len(), 2);
    assert_eq!(handed_on.peers()[1], ticket.peers()[0]);
    assert_ne!(handed_on.peers()[0].endpoint, ticket.peers()[0].endpoint);
}

#[test]
fn to_join_again_changes_nothing() {
    let (here, there) = (Node::ephemeral().unwrap(), Node::ephemeral().unwrap());
    let ticket = here.subject("tags").ticket().unwrap();
    there.join(&ticket).unwrap();
    let once = there.subject("tags").ticket().unwrap();
    there.join(&ticket).unwrap();
    assert_eq!(there.subject("tags").ticket().unwrap(), once);
    // Nor does a node's own ticket make it a peer of itself.
    here.join(&ticket).unwrap();
    assert_eq!(here.subject("tags").ticket().unwrap(), ticket);
}

#[test]
fn joining_goes_on_with_the_open_subject_of_that_name() {
    let (here, there) = (Node::ephemeral().unwrap(), Node::ephemeral().unwrap());
    publish(&there.subject("tags"));
    let joined = there.join(&here.subject("tags").ticket().unwrap()).unwrap();
    assert_eq!(joined.count().unwrap(), 1);
}

#[test]
fn of_two_secrets_the_newer_is_handed_on() {
    let (here, there) = (Node::ephemeral().unwrap(), Node::ephemeral().unwrap());
    let (ours, theirs) = (here.subject("tags").ticket().unwrap(), there.subject("tags").ticket().unwrap());
    assert_ne!(ours.secret(), theirs.secret());
    there.join(&ours).unwrap();
    assert_eq!(there.subject("tags").ticket().unwrap().secret(), ours.secret());
    // Both are known: joining with the older one again makes it no newer.
    there.join(&theirs).unwrap();
    assert_eq!(there.subject("tags").ticket().unwrap().secret(), ours.secret());
}

#[test]
fn a_rotated_secret_is_another_one_and_stays_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = {
        let node = node(dir.path());
        let tags = node.subject("tags");
        (tags.ticket().unwrap(), tags.rotate_secret().unwrap())
    };
    assert_ne!(old.secret(), new.secret());
    assert_eq!(node(dir.path()).subject("tags").ticket().unwrap(), new);
}

#[test]
fn an_owned_subject_goes_by_its_alias_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ticket = {
        let node = node(dir.path());
        let board = node.create_owned("board").unwrap();
        let ticket = board.ticket().unwrap();
        assert_eq!((board.id(), board.name()), (ticket.subject(), "board"));
        publish(&board);
        ticket
    };
    let node = node(dir.path());
    let board = node.subject("board");
    assert_eq!((board.id(), board.count().unwrap()), (ticket.subject(), 2));
    assert_eq!(board.ticket().unwrap().secret(), ticket.secret());
    assert_eq!(board.ticket().unwrap().kind(), SubjectKind::Owned);
    let report = xaeroflux::verify(dir.path(), &xaeroflux::VerifyOptions::default(), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

#[test]
fn an_alias_that_stands_for_another_subject_is_refused() {
    let node = Node::ephemeral().unwrap();
    let taken = |result: Result<Subject, Error>| match result {
        Err(Error::Share(ShareError::AliasTaken { holder, .. })) => holder,
        other => panic!("{other:?}"),
    };
    // By an owned subject, by an open one with events, by a shared one, and by a handle that somebody holds.
    node.join(&owned(7, "board")).unwrap();
    assert_eq!(taken(node.join(&owned(8, "board"))), SubjectId::from([7; 32]));
    publish(&node.subject("votes"));
    assert_eq!(taken(node.join(&owned(8, "votes"))), open_subject_id("votes"));
    node.subject("likes").ticket().unwrap();
    assert_eq!(taken(node.join(&owned(8, "likes"))), open_subject_id("likes"));
    let held = node.subject("held");
    assert_eq!(taken(node.join(&owned(8, "held"))), held.id());
    drop(held);
    assert_eq!(node.join(&owned(8, "held")).unwrap().id(), SubjectId::from([8; 32]));
    // And an open subject whose name is an alias here.
    let open = SubjectTicket::open("board", SubjectSecret::from([1; 32]), &[]).unwrap();
    assert_eq!(taken(node.join(&open)), SubjectId::from([7; 32]));
}

#[test]
fn an_owned_subject_takes_a_name_of_ones_own_once() {
    let node = Node::ephemeral().unwrap();
    let board = node.join_as(&owned(7, "board"), "work").unwrap();
    assert_eq!((board.name(), board.id()), ("work", SubjectId::from([7; 32])));
    assert_eq!(node.subject("board").id(), open_subject_id("board"));
    // The ticket's name is a proposal only.
    assert_eq!(node.join(&owned(7, "board")).unwrap().name(), "work");
    let again = node.join_as(&owned(7, "board"), "play");
    assert!(matches!(again, Err(Error::Share(ShareError::KnownAs { alias })) if alias == "work"));
    let open = SubjectTicket::open("tags", SubjectSecret::from([1; 32]), &[]).unwrap();
    assert!(matches!(node.join_as(&open, "labels"), Err(Error::Share(ShareError::OpenName { .. }))));
}

#[test]
fn a_node_lists_what_has_events_and_what_is_shared() {
    let dir = tempfile::tempdir().unwrap();
    let board = {
        let node = node(dir.path());
        publish(&node.subject("alone"));
        publish(&node.subject("both"));
        node.subject("both").ticket().unwrap();
        node.subject("empty").ticket().unwrap();
        let board = node.create_owned("board").unwrap();
        board.ticket().unwrap();
        drop(node.subject("in memory"));
        board.id()
    };
    let subjects = node(dir.path()).subjects().unwrap();
    let seen: Vec<_> = subjects.iter().map(|info| (info.name.as_str(), info.kind, info.is_shared)).collect();
    assert_eq!(
        seen,
        [
            ("alone", SubjectKind::Open, false),
            ("board", SubjectKind::Owned, true),
            ("both", SubjectKind::Open, true),
            ("empty", SubjectKind::Open, true),
        ]
    );
    assert_eq!(subjects[1].id, board);
}

#[test]
fn a_name_without_room_in_a_ticket_makes_no_secret() {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("x".repeat(400));
    assert!(matches!(subject.ticket(), Err(Error::Ticket(_))));
    assert!(!subject.is_shared().unwrap());
}

#[test]
fn many_tickets_at_once_have_one_secret() {
    let node = Node::ephemeral().unwrap();
    let tickets: Vec<SubjectTicket> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| node.subject("tags").ticket().unwrap())).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(tickets.iter().all(|ticket| *ticket == tickets[0]));
}
