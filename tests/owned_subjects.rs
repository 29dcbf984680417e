//! Owned subjects: who was granted a role writes, nobody else does, and all nodes agree on what counts.

use std::time::{Duration, Instant};

use xaeroflux::{
    Denial, Dot, Error, EventType, ExportOptions, Fold, Handle, IngestOutcome, IngestRefusal, NetworkConfig, Node,
    Notice, Operator, PublishError, Reduce, RightsError, Role, Subject, SubjectTicket, VerifyOptions, XaeroEvent,
    XaeroID,
    event::CRDT_SET_ADD,
    wire::{
        clock::Clock,
        control::{Control, Grant, Join, Revoke},
        frame,
        record::Record,
    },
};

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// One node with a handle on the board.
struct Place {
    node: Node,
    board: Subject,
    _handle: Handle,
}

impl Place {
    /// The node on which the board is created.
    fn first() -> Self {
        let node = Node::ephemeral().unwrap();
        let board = node.create_owned("board").unwrap();
        let handle = board.run().unwrap();
        Self { node, board, _handle: handle }
    }

    /// Another node that has joined with a ticket.
    fn another(ticket: &SubjectTicket) -> Self {
        let node = Node::ephemeral().unwrap();
        let board = node.join(ticket).unwrap();
        let handle = board.run().unwrap();
        Self { node, board, _handle: handle }
    }

    fn own(&self) -> XaeroID {
        self.node.own_identity().unwrap()
    }

    /// Publishes as the node's own identity.
    fn say(&self, text: &str) -> Result<u64, PublishError> {
        self.board.publish(XaeroEvent::new(text, CRDT_SET_ADD)).wait().map(|receipt| receipt.seq)
    }

    /// Takes over all that the other node has.
    fn take(&self, other: &Self) -> Vec<IngestOutcome> {
        self.board.ingest(other.board.frames(0, 10_000).unwrap()).unwrap().wait().unwrap()
    }

    /// The elements of the set.
    fn set(&self) -> Vec<String> {
        resolved(&self.board)
    }

    fn cut(&self, id: XaeroID) -> Option<u64> {
        self.board.members().unwrap().iter().find(|member| member.id == id).and_then(|member| member.last_valid)
    }
}

fn operators() -> Vec<Operator> {
    vec![Operator::Fold(Fold::ORSet.to_operator()), Operator::Reduce(Reduce::SetContents.to_operator())]
}

fn resolved(board: &Subject) -> Vec<String> {
    let state = board.resolve(operators()).unwrap();
    let bytes = state.map(|state| state.evt.data).unwrap_or_default();
    if bytes.is_empty() {
        return Vec::new();
    }
    let set = rkyv::from_bytes::<Vec<Vec<u8>>, rkyv::rancor::Error>(&bytes).unwrap();
    set.into_iter().map(|element| String::from_utf8(element).unwrap()).collect()
}

fn same(places: &[&Place]) {
    for place in places {
        assert_eq!(place.board.root().unwrap(), places[0].board.root().unwrap());
        assert_eq!(place.board.members().unwrap(), places[0].board.members().unwrap());
        assert_eq!(place.set(), places[0].set());
    }
}

#[test]
fn who_was_granted_nothing_is_refused_and_told_why() {
    let here = Place::first();
    let bob = here.node.identity("bob").unwrap();
    let notices = here.board.notices();
    let say = || here.board.publish(XaeroEvent::new("hello", CRDT_SET_ADD).by(bob)).wait();
    let refused = say().unwrap_err();
    assert!(
        matches!(refused, PublishError::NoRight { author, denial: Denial::NotAMember } if author == bob),
        "{refused}"
    );
    let notice = notices.next_timeout(PATIENCE);
    assert!(matches!(notice, Some(Notice::Refused { author, events: 1, .. }) if author == bob), "{notice:?}");
    for _ in 0..5 {
        say().unwrap_err();
    }
    assert!(notices.try_next().is_none(), "a flood is told of once");
    here.board.grant(bob, Role::Reader).unwrap();
    assert!(matches!(say(), Err(PublishError::NoRight { denial: Denial::Reader, .. })));
    assert_eq!(here.say("mine").unwrap(), 3, "after the genesis and the grant");
    assert_eq!(here.set(), ["mine"]);
}

#[test]
fn a_granted_writer_joins_by_itself_and_a_revoked_one_is_told_so() {
    let here = Place::first();
    let there = Place::another(&here.board.ticket().unwrap());
    let writer = there.own();
    assert!(there.board.is_owned() && there.board.id() == here.board.id());
    assert!(matches!(there.say("early"), Err(PublishError::NoRight { denial: Denial::NotAMember, .. })));
    here.board.grant(writer, Role::Writer).unwrap();
    there.take(&here);
    assert_eq!((there.say("one").unwrap(), there.say("two").unwrap()), (2, 3));
    assert!(here.take(&there).iter().any(|outcome| matches!(outcome, IngestOutcome::Stored(_))));
    same(&[&here, &there]);
    assert_eq!(here.set(), ["one", "two"]);

    here.board.revoke(writer).unwrap();
    assert_eq!(there.say("late").unwrap(), 4, "not heard of it yet");
    there.take(&here);
    assert!(matches!(there.say("never"), Err(PublishError::NoRight { denial: Denial::Revoked(3), .. })));
    here.take(&there);
    same(&[&here, &there]);
    assert_eq!(here.set(), ["one", "two"]);
    assert_eq!(here.board.role_of(writer).unwrap(), None);
    // The events are there, and count for nothing.
    assert_eq!(here.board.count().unwrap(), 7);
    let again = here.board.grant(writer, Role::Writer);
    assert!(matches!(again, Err(Error::Rights(RightsError::WasRevoked { .. }))), "{again:?}");
}

#[test]
fn the_rules_of_roles_hold_for_those_who_act() {
    let here = Place::first();
    let [owner, other, writer] = ["owner", "other", "writer"].map(|name| here.node.identity(name).unwrap());
    let board = &here.board;
    let not_an_owner = board.grant_as(writer, other, Role::Writer);
    assert!(matches!(not_an_owner, Err(Error::Rights(RightsError::NotAnOwner { .. }))), "{not_an_owner:?}");
    board.grant(owner, Role::Owner).unwrap();
    board.grant(other, Role::Owner).unwrap();
    assert_eq!(board.grant_as(owner, writer, Role::Writer).unwrap().seq, 2, "an owner joins before it acts");
    board.publish(XaeroEvent::new("x", CRDT_SET_ADD).by(writer)).wait().unwrap();
    assert!(matches!(
        board.grant(writer, Role::Owner),
        Err(Error::Rights(RightsError::HasJoined { role: Role::Writer, .. }))
    ));
    assert!(matches!(board.revoke_as(owner, other), Err(Error::Rights(RightsError::IsAnOwner { .. }))));
    assert!(matches!(board.revoke_as(owner, here.own()), Err(Error::Rights(RightsError::IsTheCreator { .. }))));
    let stranger = XaeroID::from([9; 32]);
    assert!(matches!(board.revoke(stranger), Err(Error::Rights(RightsError::NotAMember { .. }))));
    board.revoke_as(owner, writer).unwrap();
    board.revoke(owner).unwrap();
    assert!(matches!(
        board.grant_as(owner, stranger, Role::Reader),
        Err(Error::Rights(RightsError::NotAnOwner { .. }))
    ));
    assert_eq!(here.cut(writer), Some(2), "what the owner did before its cut stays");
    let open = here.node.subject("open");
    let handle = open.run().unwrap();
    assert!(matches!(open.members(), Err(Error::Rights(RightsError::NotOwned))));
    assert!(matches!(open.grant(stranger, Role::Writer), Err(Error::Rights(RightsError::NotOwned))));
    drop(handle);
    assert!(matches!(open.grant(stranger, Role::Writer), Err(Error::NotRunning)));
}

/// A frame of an event by anybody, as a peer could send it.
fn forged(board: &Subject, author: XaeroID, seq: u64, event_type: EventType, payload: &[u8]) -> Vec<u8> {
    let clock = Clock::from_millis(4_000_000_000_000 + seq);
    let mut bytes = Vec::new();
    let record = Record {
        subject: board.id(),
        dot: Dot::new(author, seq),
        clock,
        latest_ts: clock.millis(),
        deps: &[],
        event_type,
        payload,
    };
    frame::encode_into(&mut bytes, &record).unwrap();
    bytes
}

/// A node whose clock is that far ahead that the forged events need not wait.
fn late_place() -> Place {
    let node = Node::builder().clock(|| 4_000_000_000_000).ephemeral().unwrap();
    let board = node.create_owned("board").unwrap();
    let handle = board.run().unwrap();
    Place { node, board, _handle: handle }
}

#[test]
fn the_door_takes_in_what_a_grant_admits_and_nothing_else() {
    let here = late_place();
    let (board, creator) = (&here.board, here.own());
    let [stranger, writer] = [5, 6].map(|byte| XaeroID::from([byte; 32]));
    let one = |frame: Vec<u8>| board.ingest(vec![frame]).unwrap().wait().unwrap().remove(0);
    let control = |author, seq, control: Control| forged(board, author, seq, control.event_type(), &control.encode());
    let app = EventType::ApplicationEvent(CRDT_SET_ADD);
    let is_refused = |outcome: IngestOutcome| match outcome {
        IngestOutcome::Refused(IngestRefusal::NoRight { rule, .. }) => rule.to_string(),
        other => panic!("{other:?}"),
    };
    is_refused(one(forged(board, stranger, 1, app, b"x")));
    let to_writer = board.grant(writer, Role::Writer).unwrap();
    let grant = Dot::new(creator, to_writer.seq);
    is_refused(one(control(stranger, 1, Control::Join(Join { grant }))));
    // A join waits for the grant that it names.
    let next = Dot::new(creator, to_writer.seq + 1);
    let waiting = one(control(stranger, 1, Control::Join(Join { grant: next })));
    assert!(matches!(waiting, IngestOutcome::Waiting { missing, .. } if missing == next), "{waiting:?}");
    assert_eq!(board.grant(stranger, Role::Writer).unwrap().seq, next.seq);
    assert_eq!(board.count().unwrap(), 4, "genesis, two grants, the join that waited");

    assert!(matches!(one(control(writer, 1, Control::Join(Join { grant }))), IngestOutcome::Stored(_)));
    assert!(matches!(one(forged(board, writer, 2, app, b"y")), IngestOutcome::Stored(_)));
    let role = Role::Owner;
    for authority in [None, Some(grant)] {
        is_refused(one(control(writer, 3, Control::Grant(Grant { grantee: writer, role, authority }))));
        is_refused(one(control(writer, 3, Control::Revoke(Revoke { target: stranger, last_valid: 0, authority }))));
    }
    is_refused(one(forged(board, writer, 3, EventType::SystemEvent(99), b"")));
    assert_eq!(here.set(), ["y"]);
}

#[test]
fn revocations_and_what_undoes_them_come_to_the_same_in_any_order() {
    let here = Place::first();
    let ticket = here.board.ticket().unwrap();
    let (ours, writers) = (Place::another(&ticket), Place::another(&ticket));
    let (owner, writer) = (ours.own(), writers.own());
    here.board.grant(owner, Role::Owner).unwrap();
    here.board.grant(writer, Role::Writer).unwrap();
    ours.take(&here);
    writers.take(&here);
    writers.say("one").unwrap();
    ours.take(&writers);
    ours.say("hello").unwrap();
    here.take(&ours);
    same(&[&here, &ours]);

    // The owner goes wild, and the writer goes on meanwhile; the creator revokes the owner without having seen that.
    ours.board.revoke(writer).unwrap();
    let guest = ours.node.identity("guest").unwrap();
    ours.board.grant(guest, Role::Writer).unwrap();
    ours.board.publish(XaeroEvent::new("guest", CRDT_SET_ADD).by(guest)).wait().unwrap();
    writers.say("two").unwrap();
    here.board.revoke(owner).unwrap();

    // One node hears of the owner's acts first, and sees the cut lifted; another the other way round.
    let (early, late) = (Place::another(&ticket), Place::another(&ticket));
    let folded = Folded::of(&early.board);
    let notices = early.board.notices();
    early.take(&ours);
    early.take(&writers);
    assert_eq!((early.cut(writer), early.set()), (Some(2), vec!["guest".to_owned(), "hello".into(), "one".into()]));
    folded.wait_for(&["guest", "hello", "one"]);
    early.take(&here);
    late.take(&here);
    late.take(&writers);
    late.take(&ours);
    for place in [&here, &ours, &writers] {
        for from in [&here, &ours, &writers] {
            place.take(from);
        }
    }
    same(&[&here, &ours, &writers, &early, &late]);
    assert_eq!(late.set(), ["hello", "one", "two"]);
    assert_eq!((late.cut(writer), late.cut(owner)), (None, Some(2)));
    folded.wait_for(&["hello", "one", "two"]);
    let told: Vec<Notice> = std::iter::from_fn(|| notices.try_next()).collect();
    assert!(told.iter().any(|notice| matches!(notice, Notice::Restored { author } if *author == writer)), "{told:?}");
    assert_eq!(writers.say("three").unwrap(), 4, "it may write again");
}

/// The newest state of a pipeline that folds.
struct Folded {
    states: std::sync::mpsc::Receiver<Vec<String>>,
    _subscription: xaeroflux::Subscription,
}

impl Folded {
    fn of(board: &Subject) -> Self {
        let (tell, states) = std::sync::mpsc::channel();
        let subscription = board.batch(Duration::from_millis(1), None, operators()).subscribe(move |state| {
            let set = rkyv::from_bytes::<Vec<Vec<u8>>, rkyv::rancor::Error>(&state.evt.data).unwrap();
            tell.send(set.into_iter().map(|element| String::from_utf8(element).unwrap()).collect()).unwrap();
        });
        Self { states, _subscription: subscription }
    }

    fn wait_for(&self, set: &[&str]) {
        while self.states.recv_timeout(PATIENCE).expect("the state comes") != set {}
    }
}

#[test]
fn rights_survive_a_restart_and_verify_finds_them_whole() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Node::builder().data_dir(dir.path()).build().unwrap();
    let (writer, members, root) = {
        let node = open();
        let board = node.create_owned("board").unwrap();
        let handle = board.run().unwrap();
        let [writer, revoked] = ["writer", "revoked"].map(|name| node.identity(name).unwrap());
        for who in [writer, revoked] {
            board.grant(who, Role::Writer).unwrap();
            board.publish(XaeroEvent::new("x", CRDT_SET_ADD).by(who)).wait().unwrap();
        }
        board.revoke(revoked).unwrap();
        let kept = (writer, board.members().unwrap(), board.root().unwrap());
        drop(handle);
        kept
    };
    let report = xaeroflux::verify(dir.path(), &VerifyOptions::default(), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    let node = open();
    let board = node.subject("board");
    assert!(board.is_owned());
    let handle = board.run().unwrap();
    assert_eq!((board.members().unwrap(), board.root().unwrap()), (members, root));
    assert_eq!(board.publish(XaeroEvent::new("y", CRDT_SET_ADD).by(writer)).wait().unwrap().seq, 3);
    let revoked = node.find_identity("revoked").unwrap();
    let refused = board.publish(XaeroEvent::new("z", CRDT_SET_ADD).by(revoked)).wait();
    assert!(matches!(refused, Err(PublishError::NoRight { denial: Denial::Revoked(2), .. })));
    drop(handle);
}

#[test]
fn an_owned_subject_travels_in_a_bundle_with_its_rights() {
    let here = Place::first();
    let bob = here.node.identity("bob").unwrap();
    here.board.grant(bob, Role::Writer).unwrap();
    here.board.publish(XaeroEvent::new("bob's", CRDT_SET_ADD).by(bob)).wait().unwrap();
    here.board.revoke(bob).unwrap();
    let mut bundle = Vec::new();
    here.board.export(&mut bundle, ExportOptions::new()).unwrap();
    let node = Node::ephemeral().unwrap();
    let summary = node.import(bundle.as_slice(), |_| {}).unwrap();
    assert_eq!((summary.subject, summary.new, summary.name.as_str()), (here.board.id(), 5, "board"));
    let board = node.subject("board");
    assert_eq!(
        (board.root().unwrap(), board.members().unwrap()),
        (here.board.root().unwrap(), here.board.members().unwrap())
    );
    assert_eq!(resolved(&board), ["bob's"]);
    // Again, into where it is under another name.
    let other = Node::ephemeral().unwrap();
    other.join_as(&here.board.ticket().unwrap(), "elsewhere").unwrap();
    assert_eq!(other.import(bundle.as_slice(), |_| {}).unwrap().name, "elsewhere");
    assert_eq!(other.subject("elsewhere").root().unwrap(), here.board.root().unwrap());
    // And where another subject has the name.
    let third = Node::ephemeral().unwrap();
    third.create_owned("board").unwrap();
    assert!(third.import(bundle.as_slice(), |_| {}).is_err());
}

/// A node on the network.
fn on_network() -> Node {
    Node::builder().network(NetworkConfig::new().listen(([127, 0, 0, 1], 0).into())).ephemeral().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn peers_hear_of_grants_and_revocations_and_who_was_revoked_is_not_served() {
    let node = on_network();
    let board = node.create_owned("board").unwrap();
    let here = Place { _handle: board.run().unwrap(), board, node };
    let joined = || {
        let node = on_network();
        let board = node.join(&here.board.ticket().unwrap()).unwrap();
        Place { _handle: board.run().unwrap(), board, node }
    };
    let (there, reader) = (joined(), joined());
    let writer = there.own();
    here.board.grant(writer, Role::Writer).unwrap();
    until("the grant arrives", || there.board.role_of(writer).unwrap() == Some(Role::Writer));
    there.say("one").unwrap();
    until("what it admits arrives", || here.set() == ["one"] && reader.set() == ["one"]);
    here.board.revoke(writer).unwrap();
    // At both: they may have met, and who has not heard of it serves on.
    until("the revocation arrives", || {
        [&there, &reader].iter().all(|place| place.board.role_of(writer).unwrap().is_none())
    });
    assert!(matches!(there.say("two"), Err(PublishError::NoRight { denial: Denial::Revoked(2), .. })));
    // The sessions end with the run, and there are no new ones.
    let Place { node, board, _handle } = there;
    drop(_handle);
    let _handle = board.run().unwrap();
    here.say("three").unwrap();
    until("the others go on", || reader.set() == ["one", "three"]);
    assert_eq!(resolved(&board), ["one"]);
    drop(node);
}
