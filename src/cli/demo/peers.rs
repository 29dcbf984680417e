//! The scene with connections: three nodes write the plan of a trip, apart, then together while parts of them are killed.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use xaeroflux::{
    ChildKind, Error, Handle, NetworkConfig, Node, PublishError, Subject, SubjectTicket, XaeroEvent,
    event::{CRDT_COUNTER_INCREMENT, CRDT_SET_ADD, CRDT_SET_REMOVE},
};

use super::{
    narrator::Narrator,
    scenes::{Ending, ending, many, tell_of_restarts},
    stage::Stage,
};
use crate::cli::{
    args::Crdt,
    exit::{Exit, Failure, of_publish},
    state::Value,
};

/// The subject of all three.
const SUBJECT: &str = "demo/trip-plan";

/// Things that each person packs while the nodes are connected, and counts.
const PACKED: u16 = 200;

/// What is killed: all that goes between the others goes through the laptop.
const KILLED: &str = "the network of the laptop and the sync actor of the phone are killed";

/// How long the nodes may take to come to the same. It takes some 10 ms, and a second where a connection is made anew.
const MEETING_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether they have.
const POLL: Duration = Duration::from_millis(2);

/// One of the nodes, with the person who writes there.
struct Peer {
    name: &'static str,
    place: &'static str,
    node: Node,
    subject: Subject,
    handle: Handle,
}

/// Three nodes write apart and meet; then a network and a sync actor are killed while all of them write.
pub fn play(stage: &Stage<'_>, narrator: &mut Narrator<'_>) -> Result<Ending, Failure> {
    narrator.scene("peers", "three nodes plan a trip, apart and together, over real connections (OR-Set)")?;
    let node = Peer::new("alice", "the node", stage.node.clone())?;
    let laptop = Peer::new("carol", "the laptop", stage.other("laptop")?)?;
    let phone = Peer::new("bob", "the phone", stage.other("phone")?)?;
    let peers = [&node, &laptop, &phone];

    narrator.tell("apart", "all three are offline", json!({}))?;
    node.edit(narrator, CRDT_SET_ADD, "ferry")?;
    node.edit(narrator, CRDT_SET_ADD, "museum")?;
    laptop.edit(narrator, CRDT_SET_ADD, "ferry")?;
    laptop.edit(narrator, CRDT_SET_REMOVE, "ferry")?;
    laptop.edit(narrator, CRDT_SET_ADD, "tower")?;
    phone.edit(narrator, CRDT_SET_ADD, "beach")?;
    let roots = roots(&peers)?;
    let all_differ = roots.iter().enumerate().all(|(at, root)| !roots.iter().skip(at + 1).any(|other| other == root));
    tell_of_roots(narrator, &roots, all_differ, "apart")?;

    // The phone knows the laptop only, and the laptop the node: what crosses both connections is passed on in the middle.
    for (host, guest) in [(&node, &laptop), (&laptop, &phone)] {
        host.connect()?;
        guest.connect()?;
        let ticket = host.subject.ticket()?.to_string();
        let joined: SubjectTicket = ticket.parse().map_err(|error| Failure::new(Exit::Failed, error))?;
        guest.node.join(&joined)?;
        let text = format!("{} joins with a ticket of {}, of {} characters", guest.place, host.place, ticket.len());
        narrator.tell("joined", text, json!({ "guest": guest.place, "host": host.place, "ticket": ticket.len() }))?;
    }
    same(narrator, &peers, "together")?;
    let why = "carol removed the ferry that she had added herself; the one of alice she had never seen";
    narrator.tell("why", why, json!({}))?;
    states(narrator, &peers, Crdt::OrSet, &many(&["beach", "ferry", "museum", "tower"]))?;

    let notices = phone.subject.notices();
    let counted = thread::scope(|scope| {
        let packers = peers.map(|peer| scope.spawn(move || peer.pack()));
        laptop.node.kill_network();
        phone.handle.kill_child(ChildKind::Sync);
        packers.map(|packer| packer.join().unwrap_or(Err(PublishError::NotRunning)))
    });
    narrator.tell(
        "kill",
        format_args!("while all pack and count, {KILLED}"),
        json!({ "network": laptop.place, "child": ChildKind::Sync.to_string() }),
    )?;
    tell_of_restarts(narrator, &notices, vec![ChildKind::Sync], &phone.handle)?;
    for (peer, counted) in peers.iter().zip(counted) {
        let counted = counted.map_err(|error| Failure::new(of_publish(&error), error))?;
        let text = format!("{:<5} has packed {counted} things meanwhile: a receipt for each", peer.name);
        narrator.must(counted == PACKED, "receipts", &text, json!({ "name": peer.name, "things": counted }))?;
    }
    same(narrator, &peers, "after the kills")?;
    states(narrator, &peers, Crdt::GCounter, &Value::Number(3 * i64::from(PACKED)))?;
    for peer in peers {
        let bytes = peer.node.bytes_sent();
        let text = format!("{} has sent {} KiB to its peers", peer.place, bytes / 1024);
        narrator.tell("sent", text, json!({ "of": peer.place, "bytes": bytes }))?;
    }
    drop([node, laptop, phone].map(|peer| peer.handle));
    ending(narrator, &stage.node, SUBJECT, Crdt::OrSet, 6 + 3 * u64::from(PACKED))
}

impl Peer {
    fn new(name: &'static str, place: &'static str, node: Node) -> Result<Self, Failure> {
        let subject = node.subject(SUBJECT);
        let handle = subject.run()?;
        Ok(Self { name, place, node, subject, handle })
    }

    /// Goes online; nothing happens where it is.
    fn connect(&self) -> Result<(), Failure> {
        Ok(self.node.start_network(NetworkConfig::new().listen((Ipv4Addr::LOCALHOST, 0).into()))?)
    }

    fn edit(&self, narrator: &mut Narrator<'_>, code: u8, stop: &str) -> Result<(), Failure> {
        super::scenes::edit(narrator, &self.subject, (self.name, self.node.identity(self.name)?), code, stop)
    }

    /// How many things were packed: each is counted when that is on disk.
    fn pack(&self) -> Result<u16, PublishError> {
        let mut event = XaeroEvent::new(1_i64.to_le_bytes(), CRDT_COUNTER_INCREMENT);
        event.author_id = self.node.find_identity(self.name);
        // One by one, so that it takes a while.
        for _ in 0..PACKED {
            self.subject.publish(event.clone()).wait()?;
        }
        Ok(PACKED)
    }
}

/// Waits until all nodes have the same events, and shows it.
fn same(narrator: &mut Narrator<'_>, peers: &[&Peer], when: &str) -> Result<(), Failure> {
    let until = Instant::now() + MEETING_PATIENCE;
    let equal = |roots: &[[u8; 32]]| roots.windows(2).all(|pair| matches!(pair, [one, other] if one == other));
    let mut now = roots(peers)?;
    while !equal(&now) && Instant::now() < until {
        thread::sleep(POLL);
        now = roots(peers)?;
    }
    tell_of_roots(narrator, &now, equal(&now), when)
}

fn roots(peers: &[&Peer]) -> Result<Vec<[u8; 32]>, Error> {
    peers.iter().map(|peer| peer.subject.root()).collect()
}

/// Tells the roots of all nodes; `right` says whether they are as they must be.
fn tell_of_roots(narrator: &mut Narrator<'_>, roots: &[[u8; 32]], right: bool, when: &str) -> Result<(), Failure> {
    let hex: Vec<String> = roots.iter().map(|root| data_encoding::HEXLOWER.encode(root)).collect();
    let short: Vec<String> = hex.iter().map(crate::cli::text::short).collect();
    let text = format!("the roots of their logs, {when}: {}", short.join(" "));
    narrator.must(right, "roots", &text, json!({ "when": when, "roots": hex }))
}

fn states(narrator: &mut Narrator<'_>, peers: &[&Peer], crdt: Crdt, expected: &Value) -> Result<(), Failure> {
    peers.iter().try_for_each(|peer| narrator.state(peer.place, &Value::of_log(&peer.subject, crdt)?, expected))
}
