//! An author who signs two histories: whoever learns of it, in whatever order, ends its log at the same event, folds
//! around it, and has the same root as everybody else.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use xaeroflux::{
    Dot, Error, EventId, ExportOptions, Fold, Handle, IngestOutcome, Node, Notice, Operator, Reduce, Sort, Subject,
    SubjectId, XaeroEvent, XaeroID,
    event::{CRDT_COUNTER_INCREMENT, Clock, EventType},
    wire::{
        archive,
        fork::{ForkEvidence, ForkHalf},
        frame,
        head::{HeadBatch, LogHead, SignedHead},
        key::PublicKey,
        mmr::{InclusionProof, Peaks, Tree},
        record::Record,
        sign::{SecretIdentity, Signer as _},
    },
};

const START_MS: u64 = 1_700_000_000_000;

/// One history of an author: frames, and what the author signs about them.
struct History {
    frames: Vec<Vec<u8>>,
    ids: Vec<EventId>,
    head: SignedHead,
}

/// A history of increments by these amounts; the clocks start at `clock`.
fn history(who: &SecretIdentity, subject: SubjectId, amounts: &[i64], deps: &[(usize, Dot)], clock: u64) -> History {
    let (mut frames, mut ids) = (Vec::new(), Vec::new());
    for (at, amount) in amounts.iter().enumerate() {
        let deps: Vec<Dot> = deps.iter().filter(|(of, _)| *of == at).map(|(_, dot)| *dot).collect();
        let mut bytes = Vec::new();
        let record = Record {
            subject,
            dot: Dot::new(who.id(), at as u64 + 1),
            clock: Clock::from_millis(clock + at as u64),
            latest_ts: clock,
            deps: &deps,
            event_type: EventType::ApplicationEvent(CRDT_COUNTER_INCREMENT),
            payload: &amount.to_le_bytes(),
        };
        frame::encode_into(&mut bytes, &record).unwrap();
        ids.push(archive::open(&bytes).unwrap().0.id());
        frames.push(bytes);
    }
    let mut peaks = Peaks::new();
    ids.iter().for_each(|id| peaks.push(id.as_bytes()));
    let head = LogHead { subject, author: who.id(), length: peaks.len(), root: peaks.root() };
    let head = HeadBatch::sign(who, vec![head]).unwrap().signed_head(0).unwrap();
    History { frames, ids, head }
}

impl History {
    fn half(&self, seq: u64) -> ForkHalf {
        let leaves: Vec<[u8; 32]> = self.ids.iter().map(|id| *id.as_bytes()).collect();
        let mut tree = Tree::new(&leaves);
        let inclusion = InclusionProof::make(&mut tree, seq - 1, self.ids.len() as u64).unwrap();
        ForkHalf::new(self.ids[seq as usize - 1], inclusion, self.head.clone())
    }
}

struct Replica {
    node: Node,
    votes: Subject,
    _handle: Handle,
}

impl Replica {
    fn new() -> Self {
        let node = Node::builder().clock(|| START_MS + 1_000_000).ephemeral().unwrap();
        let votes = node.subject("votes");
        let handle = votes.run().unwrap();
        Self { node, votes, _handle: handle }
    }

    fn take(&self, frames: &[Vec<u8>]) -> Vec<IngestOutcome> {
        self.votes.ingest(frames.to_vec()).unwrap().wait().unwrap()
    }

    fn total(&self) -> i64 {
        let state = self.votes.resolve(operators()).unwrap().map(|state| state.evt.data);
        state.map_or(0, |data| i64::from_le_bytes(data.try_into().unwrap()))
    }
}

fn operators() -> Vec<Operator> {
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::PNCounter.to_operator()),
        Operator::Reduce(Reduce::CounterValue.to_operator()),
    ]
}

/// A liar with three histories, which part after the 2nd and the 3rd event, and an honest author who has seen the end of
/// the first of them.
struct World {
    key: PublicKey,
    liar: XaeroID,
    histories: [History; 3],
    honest: History,
}

impl World {
    fn new() -> Self {
        let (liar, honest) = (SecretIdentity::generate().unwrap(), SecretIdentity::generate().unwrap());
        let subject = Replica::new().votes.id();
        let histories = [&[1, 2, 4, 8, 16][..], &[1, 2, 4, 32][..], &[1, 2, 64, 128, 256, 512][..]]
            .map(|amounts| history(&liar, subject, amounts, &[], START_MS));
        let seen = Dot::new(liar.id(), 5);
        let honest = history(&honest, subject, &[1_000, 2_000], &[(1, seen)], START_MS + 100);
        Self { key: liar.public_key().clone(), liar: liar.id(), histories, honest }
    }

    fn evidence(&self, one: usize, other: usize, seq: u64) -> ForkEvidence {
        ForkEvidence::new(self.histories[one].half(seq), self.histories[other].half(seq)).unwrap()
    }
}

#[test]
fn every_order_of_arrival_ends_in_the_same_state_and_root() {
    let world = World::new();
    let evidence = [(0, 1, 4), (0, 2, 3), (1, 2, 3)].map(|(one, other, seq)| world.evidence(one, other, seq));
    let mut ends = Vec::new();
    // Which of the histories a replica has, and in which order it learns what.
    for (mine, order) in [(0, [0, 1, 2]), (1, [2, 1, 0]), (2, [1, 0, 2]), (0, [1, 2, 0])] {
        for evidence_first in [false, true] {
            let replica = Replica::new();
            let learn =
                || order.iter().for_each(|at| drop(replica.votes.accept_fork(evidence[*at].clone(), &world.key)));
            if evidence_first {
                learn();
            }
            replica.take(&world.honest.frames);
            replica.take(&world.histories[mine].frames);
            if !evidence_first {
                learn();
            }
            // What was refused or waited before is offered again, as peers do.
            replica.take(&world.honest.frames);
            let cuts = replica.votes.cuts().unwrap();
            assert_eq!(cuts.iter().map(|cut| (cut.author, cut.last_valid)).collect::<Vec<_>>(), [(world.liar, 2)]);
            ends.push((replica.total(), replica.votes.root().unwrap()));
        }
    }
    assert_eq!(ends[0].0, 1 + 2 + 1_000 + 2_000);
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[test]
fn a_running_fold_begins_anew_without_what_counts_no_more() {
    let world = World::new();
    let replica = Replica::new();
    let (tell, told) = mpsc::channel();
    let notices = replica.votes.notices();
    let _sum = replica.votes.batch(Duration::ZERO, None, operators()).subscribe(move |state| {
        tell.send(i64::from_le_bytes(state.evt.data.try_into().unwrap())).unwrap();
    });
    replica.take(&world.histories[0].frames);
    while told.recv_timeout(Duration::from_secs(30)).unwrap() != 31 {}
    replica.votes.accept_fork(world.evidence(0, 1, 4), &world.key).unwrap();
    while told.recv_timeout(Duration::from_secs(30)).unwrap() != 7 {}
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match notices.next_timeout(until.saturating_duration_since(Instant::now())) {
            Some(Notice::Forked { author, last_valid }) => {
                assert_eq!((author, last_valid), (world.liar, 3));
                break;
            }
            Some(_) => {}
            None => panic!("nobody told of the fork"),
        }
    }
}

#[test]
fn a_cut_survives_a_restart_and_what_comes_after_it_is_not_stored() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let mut before = None;
    for round in 0..3 {
        let node = Node::builder().data_dir(dir.path()).clock(|| START_MS + 1_000_000).build().unwrap();
        let votes = node.subject("votes");
        let handle = votes.run().unwrap();
        if round == 0 {
            votes.ingest(world.histories[0].frames[..4].to_vec()).unwrap().wait().unwrap();
            votes.accept_fork(world.evidence(0, 1, 4), &world.key).unwrap();
        }
        let late = votes.ingest(vec![world.histories[0].frames[4].clone()]).unwrap().wait().unwrap();
        assert_eq!(late, [IngestOutcome::Retracted(Dot::new(world.liar, 5))]);
        assert_eq!((votes.count().unwrap(), votes.forks().unwrap().len()), (4, 1));
        votes.forks().unwrap()[0].verify(&world.key).unwrap();
        let root = votes.root().unwrap();
        assert!(before.is_none_or(|before| before == root));
        before = Some(root);
        drop(handle);
    }
}

#[test]
fn everyone_else_goes_on_and_the_one_whose_key_was_used_twice_does_under_a_fresh_one() {
    let replica = Replica::new();
    let dir = tempfile::tempdir().unwrap();
    let alice = replica.node.identity("alice").unwrap();
    let bob = replica.node.identity("bob").unwrap();
    let add = |author| XaeroEvent::new(1i64.to_le_bytes(), CRDT_COUNTER_INCREMENT).by(author);
    replica.votes.publish(add(alice)).wait().unwrap();
    // Her key is used in another place as well.
    replica.node.export_identity("alice", dir.path().join("alice.key")).unwrap();
    let elsewhere = Replica::new();
    elsewhere.node.import_identity("alice", dir.path().join("alice.key")).unwrap();
    elsewhere.votes.publish(XaeroEvent::new(7i64.to_le_bytes(), CRDT_COUNTER_INCREMENT).by(alice)).wait().unwrap();
    let halves = [&replica, &elsewhere].map(|replica| replica.votes.fork_half(alice, 1).unwrap());
    let [ours, theirs] = halves;
    let evidence = ForkEvidence::new(ours, theirs).unwrap();
    let key = replica.node.public_key("alice").unwrap();
    for replica in [&replica, &elsewhere] {
        assert_eq!(replica.votes.accept_fork(evidence.clone(), &key).unwrap().last_valid, 0);
        let receipt = replica.votes.publish(add(alice)).wait().unwrap();
        let heir = replica.node.identity("alice").unwrap();
        assert!(heir != alice && receipt.author == heir, "{receipt:?}");
        // What was published before the fork was found, and this.
        assert_eq!(receipt.seq, 2);
    }
    assert_eq!((replica.total(), elsewhere.total()), (1 + 1, 7 + 1));
    replica.votes.publish(add(bob)).wait().unwrap();
    assert_eq!(replica.total(), 3);
    assert!(replica.votes.signed_head(bob).unwrap().is_some());
}

/// The bundle of what a replica holds.
fn bundle(replica: &Replica) -> Vec<u8> {
    let mut out = Vec::new();
    replica.votes.export(&mut out, ExportOptions::new()).unwrap();
    out
}

#[test]
fn bundles_carry_a_fork_from_replica_to_replica_until_all_agree() {
    // One key in three places, and an honest author in each of them.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("alice.key");
    let places = [Replica::new(), Replica::new(), Replica::new()];
    let alice = places[0].node.identity("alice").unwrap();
    places[0].node.export_identity("alice", &file).unwrap();
    let vote = |replica: &Replica, author, amount: i64| {
        let event = XaeroEvent::new(amount.to_le_bytes(), CRDT_COUNTER_INCREMENT).by(author);
        replica.votes.publish(event).wait().unwrap();
    };
    // What all three have before they part.
    vote(&places[0], alice, 1);
    vote(&places[0], alice, 2);
    let common = bundle(&places[0]);
    for (n, replica) in (0_i64..).zip(&places) {
        if n > 0 {
            replica.node.import_identity("alice", &file).unwrap();
            replica.node.import(&common[..], |_| {}).unwrap();
        }
        vote(replica, alice, 100 * (n + 1));
        vote(replica, replica.node.identity("honest").unwrap(), 10_000 * (n + 1));
        (0..n).for_each(|_| vote(replica, alice, 7));
    }
    // Two who only listen, and hear it in another order.
    let listeners = [Replica::new(), Replica::new()];
    let all: Vec<&Replica> = places.iter().chain(&listeners).collect();
    for round in 0..3 {
        for (at, from) in all.iter().enumerate() {
            let bundle = if from.votes.count().unwrap() == 0 { continue } else { bundle(from) };
            for to in 0..all.len() {
                let to = if round % 2 == 0 { to } else { all.len() - 1 - to };
                if to != at {
                    all[to].node.import(&bundle[..], |_| {}).unwrap();
                }
            }
        }
    }
    let ends: Vec<_> = all.iter().map(|replica| (replica.total(), replica.votes.root().unwrap())).collect();
    // What each place wrote under the forked key counts once, as its heir's.
    assert_eq!(ends[0].0, 1 + 2 + 60_000 + 600 + 3 * 7);
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    for replica in all {
        let cuts = replica.votes.cuts().unwrap();
        assert_eq!(cuts.iter().map(|cut| (cut.author, cut.last_valid)).collect::<Vec<_>>(), [(alice, 2)]);
    }
}

#[test]
fn what_waits_past_the_end_of_its_authors_log_is_let_go_and_leaves_no_gap() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let frames = &world.histories[0].frames;
    for round in 0..2 {
        let node = Node::builder().data_dir(dir.path()).clock(|| START_MS + 1_000_000).build().unwrap();
        let votes = node.subject("votes");
        let _handle = votes.run().unwrap();
        if round == 0 {
            let outcomes = votes.ingest([&frames[..2], &frames[4..]].concat()).unwrap().wait().unwrap();
            assert!(matches!(outcomes[2], IngestOutcome::Waiting { .. }), "{outcomes:?}");
            votes.accept_fork(world.evidence(0, 1, 4), &world.key).unwrap();
        }
        assert_eq!(votes.count().unwrap(), 2 + round);
        // What counts is still taken, in its place.
        let outcomes = votes.ingest(frames[2..].to_vec()).unwrap().wait().unwrap();
        let third = Dot::new(world.liar, 3);
        let expected = if round == 0 { IngestOutcome::Stored(third) } else { IngestOutcome::Duplicate(third) };
        let retracted = [4, 5].map(|seq| IngestOutcome::Retracted(Dot::new(world.liar, seq)));
        assert_eq!(outcomes, [&[expected][..], &retracted].concat());
        assert_eq!(votes.authors().unwrap()[0].1, 3);
    }
}

#[test]
fn who_depends_on_what_counts_no_more_waits_for_the_last_that_counts() {
    let world = World::new();
    let replica = Replica::new();
    replica.votes.accept_fork(world.evidence(0, 2, 3), &world.key).unwrap();
    let outcomes = replica.take(&world.honest.frames);
    let missing = Dot::new(world.liar, 2);
    assert!(matches!(outcomes[1], IngestOutcome::Waiting { missing: on, .. } if on == missing), "{outcomes:?}");
    replica.take(&world.histories[1].frames[..1]);
    assert_eq!(replica.votes.count().unwrap(), 2);
    replica.take(&world.histories[1].frames[1..2]);
    assert_eq!(replica.votes.count().unwrap(), 4);
    assert_eq!(replica.total(), 1 + 2 + 1_000 + 2_000);
}

#[test]
fn evidence_that_does_not_hold_changes_nothing() {
    let world = World::new();
    let replica = Replica::new();
    replica.take(&world.histories[0].frames);
    let other_key = SecretIdentity::generate().unwrap().public_key().clone();
    let good = world.evidence(0, 1, 4);
    assert!(matches!(replica.votes.accept_fork(good.clone(), &other_key), Err(Error::Proof(_))));
    let elsewhere = replica.node.subject("other");
    let _handle = elsewhere.run().unwrap();
    assert!(matches!(elsewhere.accept_fork(good, &world.key), Err(Error::Proof(_))));
    assert!(replica.votes.cuts().unwrap().is_empty() && elsewhere.cuts().unwrap().is_empty());
    assert_eq!(replica.total(), 31);
}
