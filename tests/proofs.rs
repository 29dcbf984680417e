//! Proofs of events: made on request and for the pipelines that ask for them, for every event of a log, wherever its end
//! happens to be.

use std::sync::mpsc;

use xaeroflux::{
    ChildKind, Dot, Error, Node, Subject, SubscribeOptions, XaeroEvent, XaeroID,
    event::CRDT_SET_ADD,
    wire::{key::PublicKey, proof::EventProof},
};

fn add(text: impl ToString, author: XaeroID) -> XaeroEvent {
    XaeroEvent::new(text.to_string().into_bytes(), CRDT_SET_ADD).by(author)
}

fn publish(subject: &Subject, count: usize, author: XaeroID) {
    for receipt in subject.publish_all((0..count).map(|n| add(n, author))) {
        receipt.wait().unwrap();
    }
}

fn assert_proven(subject: &Subject, author: XaeroID, seq: u64, key: &PublicKey) {
    let proof = subject.prove(author, seq).unwrap();
    proof.verify(key).unwrap();
    assert_eq!(proof.header().dot(), Dot::new(author, seq));
    assert_eq!(EventProof::decode(&proof.encode()).unwrap(), proof);
}

#[test]
fn every_event_is_proven_at_every_length_of_the_log() {
    let node = Node::ephemeral().unwrap();
    let (alice, bob) = (node.identity("alice").unwrap(), node.identity("bob").unwrap());
    let key = node.public_key("alice").unwrap();
    let tags = node.subject("tags");
    let _handle = tags.run().unwrap();
    let mut length = 0;
    // Around the steps of the index, and the ends of subtrees.
    for add in [1, 1, 1, 60, 1, 1, 62, 1, 1, 130] {
        publish(&tags, add, alice);
        publish(&tags, 3, bob);
        length += u64::try_from(add).unwrap();
        for seq in (1..=length).filter(|seq| length < 70 || seq % 13 == 1 || length - seq < 3) {
            assert_proven(&tags, alice, seq, &key);
        }
    }
}

#[test]
fn the_nodes_of_a_large_log_are_stored_and_give_the_same_proofs() {
    let dir = tempfile::tempdir().unwrap();
    let events = 64 * 70 + 5;
    for round in 0..3_u64 {
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        let alice = node.identity("alice").unwrap();
        let key = node.public_key("alice").unwrap();
        let tags = node.subject("tags");
        let handle = tags.run().unwrap();
        publish(&tags, usize::try_from(events).unwrap(), alice);
        // Killed while it works: it goes on from where it was.
        handle.kill_child(ChildKind::Mmr);
        publish(&tags, usize::try_from(events).unwrap(), alice);
        let length = (round + 1) * 2 * events;
        for seq in [1, 63, 64, 65, 64 * 64, 64 * 64 + 1, length / 2, length - 64, length] {
            assert_proven(&tags, alice, seq, &key);
        }
    }
}

#[test]
fn a_log_is_shown_to_have_only_grown_from_every_length() {
    let node = Node::ephemeral().unwrap();
    let alice = node.identity("alice").unwrap();
    let key = node.public_key("alice").unwrap();
    let tags = node.subject("tags");
    let _handle = tags.run().unwrap();
    let mut heads = Vec::new();
    for add in [1, 1, 62, 1, 70, 130] {
        publish(&tags, add, alice);
        heads.push(tags.signed_head(alice).unwrap().unwrap());
    }
    let last = heads.last().unwrap().head().length;
    for (at, earlier) in heads.iter().enumerate() {
        let (proof, later) = tags.prove_extension(alice, earlier.head().length).unwrap();
        later.verify(&key).unwrap();
        assert_eq!(later.head().length, last);
        proof.check(&earlier.head().root, &later.head().root).unwrap();
        // Of no other log.
        let other = &heads[(at + 1) % heads.len()];
        assert!(proof.check(&other.head().root, &later.head().root).is_err());
    }
    assert!(matches!(tags.prove_extension(alice, last + 1), Err(Error::NoSuchEvent { .. })));
}

#[test]
fn a_node_that_is_closed_and_opened_again_goes_on_proving() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Node::builder().data_dir(dir.path()).build().unwrap();
    let tags = open().subject("tags");
    for round in 1..4 {
        let node = open();
        let alice = node.identity("alice").unwrap();
        let handle = tags.run().unwrap();
        publish(&tags, 5, alice);
        assert_proven(&tags, alice, round * 5, &node.public_key("alice").unwrap());
        drop((handle, node));
    }
}

#[test]
fn an_event_that_is_not_there_or_not_signed_is_not_proven() {
    let (here, there) = (Node::ephemeral().unwrap(), Node::ephemeral().unwrap());
    let alice = here.identity("alice").unwrap();
    let (ours, theirs) = (here.subject("tags"), there.subject("tags"));
    let _handles = (ours.run().unwrap(), theirs.run().unwrap());
    publish(&ours, 3, alice);
    assert!(matches!(ours.prove(alice, 0), Err(Error::NoSuchEvent { .. })));
    assert!(matches!(ours.prove(alice, 4), Err(Error::NoSuchEvent { .. })));
    theirs.ingest(ours.frames(0, 10).unwrap()).unwrap().wait().unwrap();
    assert!(matches!(theirs.prove(alice, 1), Err(Error::Unsigned { .. })));
}

#[test]
fn a_pipeline_that_asks_for_proofs_gets_every_event_of_this_node_with_one_that_holds() {
    let node = Node::ephemeral().unwrap();
    let (alice, bob) = (node.identity("alice").unwrap(), node.identity("bob").unwrap());
    let keys = [(alice, node.public_key("alice").unwrap()), (bob, node.public_key("bob").unwrap())];
    let tags = node.subject("tags");
    let _handle = tags.run().unwrap();
    let (tell, told) = mpsc::channel();
    let _proven = tags.filter_merkle_proofs().subscribe(move |event| tell.send(event).unwrap());
    let (tell_plain, plain) = mpsc::channel();
    let _plain = tags.subscribe(move |event| tell_plain.send(event.merkle_proof).unwrap());
    publish(&tags, 200, alice);
    publish(&tags, 100, bob);
    for n in 0..300 {
        let event = told.recv().unwrap();
        let proof = EventProof::decode(event.merkle_proof.as_ref().unwrap()).unwrap();
        let author = if n < 200 { alice } else { bob };
        assert_eq!(event.author_id, Some(author));
        proof.proves(&event).unwrap();
        let (_, key) = keys.iter().find(|(id, _)| *id == author).unwrap();
        proof.verify(key).unwrap();
        // Others do not pay for it.
        assert_eq!(plain.recv().unwrap(), None);
    }
}

#[test]
fn a_durable_subscription_that_asks_for_proofs_gets_the_events_that_are_proven() {
    let (node, elsewhere) = (Node::ephemeral().unwrap(), Node::ephemeral().unwrap());
    let (tags, theirs) = (node.subject("tags"), elsewhere.subject("tags"));
    let _handles = (tags.run().unwrap(), theirs.run().unwrap());
    publish(&theirs, 2, elsewhere.identity("bob").unwrap());
    tags.ingest(theirs.frames(0, 10).unwrap()).unwrap().wait().unwrap();
    let alice = node.identity("alice").unwrap();
    publish(&tags, 3, alice);
    let mut proven = tags.filter_merkle_proofs().durable("proven").unwrap();
    for _ in 0..3 {
        let delivery = proven.next_timeout(std::time::Duration::from_secs(30)).unwrap().expect("it is proven");
        let proof = EventProof::decode(delivery.event.merkle_proof.as_ref().unwrap()).unwrap();
        proof.proves(&delivery.event).unwrap();
        assert_eq!(delivery.event.author_id, Some(alice));
    }
    assert!(proven.try_next().unwrap().is_none());
}

#[test]
fn what_was_changed_or_came_without_a_head_does_not_pass() {
    let (here, there) = (Node::ephemeral().unwrap(), Node::ephemeral().unwrap());
    let alice = here.identity("alice").unwrap();
    let (ours, theirs) = (here.subject("tags"), there.subject("tags"));
    let _handles = (ours.run().unwrap(), theirs.run().unwrap());
    let (tell, told) = mpsc::channel();
    let watch = |subject: &Subject, name: &'static str| {
        let tell = tell.clone();
        subject.filter_merkle_proofs().subscribe(move |event| tell.send((name, event.evt.data)).unwrap())
    };
    let changed = ours.map(|mut event| {
        if event.evt.data == b"1" {
            event.evt.data = b"forged".to_vec();
        }
        event
    });
    let _subscriptions = (watch(&changed, "changed"), watch(&theirs, "theirs"));
    publish(&ours, 3, alice);
    theirs.ingest(ours.frames(0, 10).unwrap()).unwrap().wait().unwrap();
    publish(&theirs, 1, there.identity("carol").unwrap());
    let mut heard: Vec<_> = (0..3).map(|_| told.recv().unwrap()).collect();
    heard.sort();
    assert_eq!(heard, [("changed", b"0".to_vec()), ("changed", b"2".to_vec()), ("theirs", b"0".to_vec())]);
    assert!(told.try_recv().is_err());
}

#[test]
fn a_subscriber_may_ask_for_proofs_without_filtering() {
    let node = Node::ephemeral().unwrap();
    let alice = node.identity("alice").unwrap();
    let tags = node.subject("tags");
    let _handle = tags.run().unwrap();
    publish(&tags, 5, alice);
    let (tell, told) = mpsc::channel();
    let options = SubscribeOptions::new().from_start().with_proofs();
    let _subscription = tags.subscribe_with(options, move |event| tell.send(event.merkle_proof).unwrap());
    for _ in 0..5 {
        assert!(told.recv().unwrap().is_some());
    }
}
