//! Damaged rows, the listener, the endpoint of a copy.

use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use super::*;
use crate::{Node, XaeroEvent, event::CRDT_SET_ADD, wire::ticket::SubjectTicket};

fn node(dir: &Path) -> Node {
    Node::builder().data_dir(dir).build().unwrap()
}

fn owned(name: &str) -> SubjectTicket {
    SubjectTicket::owned(SubjectId::from([7; 32]), name, SubjectSecret::from([7; 32]), &[]).unwrap()
}

/// The store of a directory whose node is being closed.
fn store(dir: &Path) -> Arc<Store> {
    let begun = Instant::now();
    loop {
        match Store::open(dir, 64 << 20, None) {
            Ok(store) => return store,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
        }
        std::thread::yield_now();
    }
}

/// Flips a bit of a row, in a directory whose node is being closed.
fn damage(dir: &Path, id: SubjectId) {
    let store = store(dir);
    let mut row = store.env.read().unwrap().get(Table::Shares, id.as_bytes()).unwrap().unwrap().to_vec();
    row[50] ^= 1;
    let mut txn = store.env.write().unwrap();
    txn.put(Table::Shares, id.as_bytes(), &row).unwrap();
    store.commit(txn).unwrap();
}

fn is_damaged<T>(result: Result<T, Error>, id: SubjectId) -> bool {
    matches!(result, Err(Error::Storage(StorageError::DamagedRow { table: "shares", key })) if key == id.to_string())
}

#[test]
fn a_damaged_share_harms_its_own_subject_when_it_is_used_and_a_ticket_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let id = open_subject_id("tags");
    let opened = node(dir.path());
    let ticket = opened.subject("tags").ticket().unwrap();
    opened.subject("votes").ticket().unwrap();
    drop(opened);
    damage(dir.path(), id);
    let opened = node(dir.path());
    let tags = opened.subject("tags");
    assert!(is_damaged(tags.ticket(), id) && is_damaged(tags.is_shared(), id) && is_damaged(opened.subjects(), id));
    assert!(opened.subject("votes").is_shared().unwrap());
    assert_eq!(tags.count().unwrap(), 0, "its log can be read");
    opened.join(&ticket).unwrap();
    assert_eq!(tags.ticket().unwrap(), ticket);
    assert_eq!(opened.subjects().unwrap().len(), 2);
}

#[test]
fn a_partial_replica_is_not_mended_into_a_whole_one() {
    let (dir, whole) = (tempfile::tempdir().unwrap(), Node::ephemeral().unwrap());
    let (theirs, filter) =
        (whole.subject("tags"), ReplicaFilter::all().event_type(crate::EventType::ApplicationEvent(7)));
    let handle = theirs.run().unwrap();
    theirs.publish(XaeroEvent::new("not wanted", CRDT_SET_ADD)).wait().unwrap();
    let ticket = theirs.ticket().unwrap();
    let opened = node(dir.path());
    let ours = opened.join_partial(&ticket, filter.clone()).unwrap();
    let running = ours.run().unwrap();
    let frames = theirs.frames(0, 10).unwrap();
    assert!(matches!(ours.ingest(frames).unwrap().wait().unwrap()[..], [crate::IngestOutcome::Stored(_)]));
    drop((ours, running, opened));
    damage(dir.path(), ticket.subject());
    let opened = node(dir.path());
    let error = opened.join(&ticket).unwrap_err();
    assert!(matches!(error, Error::Share(ShareError::WasPartial)), "{error}");
    let ours = opened.join_partial(&ticket, filter.clone()).unwrap();
    assert_eq!(ours.replica_filter().unwrap(), Some(filter));
    drop(handle);
}

#[test]
fn a_name_that_a_damaged_row_may_have_held_is_not_taken_for_an_open_subject() {
    let dir = tempfile::tempdir().unwrap();
    let id = SubjectId::from([7; 32]);
    let opened = node(dir.path());
    opened.join(&owned("board")).unwrap();
    opened.subject("votes").ticket().unwrap();
    drop(opened);
    damage(dir.path(), id);
    let opened = node(dir.path());
    assert!(is_damaged(opened.subject("board").count(), id));
    assert!(is_damaged(opened.subject("board").run(), id));
    assert_eq!(opened.subject("votes").count().unwrap(), 0, "a name that is known is no question");
    assert_eq!(opened.join(&owned("board")).unwrap().id(), id);
    assert_eq!(opened.subject("other").count().unwrap(), 0);
}

#[test]
fn the_events_of_a_damaged_owned_subject_are_found_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let opened = node(dir.path());
    let id = {
        let board = opened.create_owned("board").unwrap();
        board.ticket().unwrap();
        let _handle = board.run().unwrap();
        board.publish(XaeroEvent::new("x", CRDT_SET_ADD)).wait().unwrap();
        board.id()
    };
    drop(opened);
    damage(dir.path(), id);
    let opened = node(dir.path());
    assert_eq!((opened.subject("board").id(), opened.subject("board").count().unwrap()), (id, 2));
    assert!(is_damaged(opened.subject("board").ticket(), id));
    // Mended under the name that it has, whatever the ticket calls it.
    let plan = SubjectTicket::owned(id, "plan", SubjectSecret::from([7; 32]), &[]).unwrap();
    assert_eq!(opened.join(&plan).unwrap().name(), "board");
}

#[test]
fn whoever_listens_hears_of_each_change_and_of_no_other() {
    let node = Node::ephemeral().unwrap();
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    node.engine().on_share_change(Some(Arc::new(move |id| tell.lock().unwrap().send(id).unwrap())));
    let tags = node.subject("tags");
    tags.ticket().unwrap();
    tags.ticket().unwrap();
    node.join(&owned("board")).unwrap();
    node.join(&owned("board")).unwrap();
    let heard: Vec<SubjectId> = told.try_iter().collect();
    assert_eq!(heard, [tags.id(), SubjectId::from([7; 32])]);
}

#[test]
fn a_named_owned_subject_is_shared_with_its_first_ticket_only() {
    let node = Node::ephemeral().unwrap();
    let id = SubjectId::from([9; 32]);
    let board = node.name_owned("board", id).unwrap();
    assert_eq!((board.id(), board.is_shared().unwrap()), (id, false));
    assert!(matches!(
        node.name_owned("plan", id),
        Err(Error::Share(ShareError::KnownAs { alias })) if alias == "board"
    ));
    assert!(matches!(
        node.name_owned("board", SubjectId::from([8; 32])),
        Err(Error::Share(ShareError::AliasTaken { holder, .. })) if holder == id
    ));
    let ticket = board.ticket().unwrap();
    assert_eq!((ticket.subject(), ticket.kind(), ticket.name()), (id, SubjectKind::Owned, "board"));
    assert!(board.is_shared().unwrap());
}

#[test]
fn a_ticket_says_where_the_network_is_reached() {
    let network = crate::NetworkConfig::new().listen("127.0.0.1:0".parse().unwrap());
    let node = Node::builder().network(network).ephemeral().unwrap();
    let addr = node.peer_addr().unwrap();
    assert_eq!(addr.addrs, node.listen_addrs());
    assert_eq!(node.subject("tags").ticket().unwrap().peers(), [addr]);
}

#[test]
fn peers_that_were_seen_are_remembered_and_this_node_is_none_of_them() {
    let node = Node::ephemeral().unwrap();
    let id = node.subject("tags").ticket().unwrap().subject();
    let own = PeerAddr::new(node.engine().endpoint_id().unwrap());
    let peers: Vec<PeerAddr> = (0..20).map(|n| PeerAddr::new([n; 32].into())).collect();
    node.engine().remember_peers(id, &[own]).unwrap();
    node.engine().remember_peers(id, &peers).unwrap();
    node.engine().remember_peers(id, &peers[15..16]).unwrap();
    let known = node.engine().share(id).unwrap().unwrap().peers.clone();
    assert_eq!(known.len(), MAX_PEERS);
    assert_eq!((&known[0], &known[1]), (&peers[15], &peers[0]));
}

#[test]
fn a_copied_directory_gets_an_endpoint_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let (original, copied) = (root.path().join("original"), root.path().join("copy"));
    let opened = node(&original);
    let endpoint = opened.engine().endpoint_id().unwrap();
    drop(opened);
    // Opened and closed once more without a node: from then on nobody writes.
    drop(store(&original));
    std::fs::create_dir_all(copied.join("keys")).unwrap();
    for dir in ["", "keys"] {
        for entry in std::fs::read_dir(original.join(dir)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), copied.join(dir).join(entry.file_name())).unwrap();
            }
        }
        let mode = std::fs::metadata(original.join(dir)).unwrap().permissions();
        std::fs::set_permissions(copied.join(dir), mode).unwrap();
    }
    let fresh = node(&copied).engine().endpoint_id().unwrap();
    assert_ne!(fresh, endpoint);
    assert_eq!(node(&copied).engine().endpoint_id().unwrap(), fresh);
    assert_eq!(node(&original).engine().endpoint_id().unwrap(), endpoint);
}
