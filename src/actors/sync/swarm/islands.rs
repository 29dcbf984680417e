//! Many nodes without a single connection, in one swarm that loses a part of what is said: they come to have the same, and then
//! are quiet.

use super::{limits::*, *};

/// Between two looks at the time.
const STEP: Duration = Duration::from_millis(25);

/// Nodes. Each event is a bit.
const NODES: usize = 24;

struct Node {
    swarm: Swarm,
    events: u64,
    /// How many each peer has brought with whom there is a session.
    sessions: Sessions,
}

struct Sea {
    nodes: Vec<Node>,
    now: Duration,
    dice: u64,
    announcements: usize,
    /// Of a hundred announcements so many are lost on the way to each node.
    lost: u64,
}

fn id(number: usize) -> EndpointId {
    EndpointId::from([u8::try_from(number).unwrap(); 32])
}

fn number(id: EndpointId) -> usize {
    usize::from(id.as_bytes()[0])
}

fn root(events: u64) -> Hash {
    let mut root = [0; 32];
    root[..8].copy_from_slice(&events.to_le_bytes());
    root
}

impl Sea {
    /// Each node with so many events of its own.
    fn new(lost: u64, events: impl Fn(usize) -> u64) -> Self {
        let mut sea = Self { nodes: Vec::new(), now: Duration::ZERO, dice: lost + 1, announcements: 0, lost };
        for number in 0..NODES {
            let mut swarm = Swarm::new(id(number), Some(true));
            swarm.peers(Duration::ZERO, 1, &mut Vec::new());
            swarm.neighbours(Duration::ZERO, NODES - 1);
            sea.nodes.push(Node { swarm, events: 0, sessions: Sessions::new() });
            sea.grows(number, events(number));
        }
        sea
    }

    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.dice
    }

    /// Events come to a node, and at once to all with whom it has a session, however far.
    fn grows(&mut self, at: usize, events: u64) {
        let random = self.roll();
        let node = &mut self.nodes[at];
        if node.events | events == node.events {
            return;
        }
        node.events |= events;
        let (events, count) = (node.events, node.events.count_ones().into());
        node.swarm.looked(self.now, root(events), count, random);
        let peers: Vec<usize> = node.sessions.keys().map(|peer| number(*peer)).collect();
        for peer in peers {
            let new = events & !self.nodes[peer].events;
            *self.nodes[peer].sessions.get_mut(&id(at)).unwrap() += u64::from(new.count_ones());
            self.grows(peer, events);
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        for at in 0..NODES {
            let random = self.roll();
            let (mut out, node) = (Vec::new(), &mut self.nodes[at]);
            node.swarm.time(self.now, &node.sessions, random, &mut out);
            for action in out {
                match action {
                    Action::Announce { .. } => self.says(at),
                    Action::Visit(peer) => {
                        let peer = number(peer.endpoint);
                        self.nodes[at].sessions.insert(id(peer), 0);
                        self.nodes[peer].sessions.insert(id(at), 0);
                        let all = self.nodes[at].events | self.nodes[peer].events;
                        self.grows(at, all);
                        self.grows(peer, all);
                    }
                    Action::Part(peer) => {
                        self.nodes[at].sessions.remove(&peer);
                        self.nodes[number(peer)].sessions.remove(&id(at));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn says(&mut self, at: usize) {
        self.announcements += 1;
        let (root, events) = self.nodes[at].swarm.head().unwrap();
        let said = Announcement::new([0; 8], root, events, &PeerAddr::new(id(at)));
        for to in (0..NODES).filter(|to| *to != at) {
            let random = self.roll();
            if (random >> 33) % 100 >= self.lost {
                let mut out = Vec::new();
                self.nodes[to].swarm.heard(self.now, (id(at), false), || Ok(said.clone()), random, &mut out);
                assert_eq!(out, []);
            }
        }
    }

    /// Until all have the same; how long that took.
    fn settles(&mut self) -> Duration {
        let begun = self.now;
        while self.nodes.iter().any(|node| node.events != self.nodes[0].events) {
            self.step();
            assert!(self.now - begun < Duration::from_secs(3_600), "they never come to have the same");
        }
        self.now - begun
    }
}

#[test]
fn islands_come_to_have_the_same_whatever_is_lost() {
    for (lost, most) in [(0, 15), (30, 30), (90, 240)] {
        let mut sea = Sea::new(lost, |number| 1 << number);
        let took = sea.settles();
        assert!(took < Duration::from_secs(most), "{took:?} with {lost} % lost");
        assert_eq!(sea.nodes[0].events.count_ones(), 24);
    }
}

#[test]
fn one_event_comes_to_everybody_with_one_visit_each_at_most() {
    let mut sea = Sea::new(0, |_| 1);
    sea.settles();
    for _ in 0..100 {
        sea.step();
    }
    sea.announcements = 0;
    sea.grows(5, 2);
    let took = sea.settles();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(sea.announcements <= 3, "{} announcements of one event", sea.announcements);
    assert!(sea.nodes.iter().all(|node| node.swarm.visited().count() <= 1));
}

#[test]
fn when_all_have_the_same_visits_end_and_hardly_anything_is_said() {
    let mut sea = Sea::new(10, |number| 1 << number);
    sea.settles();
    let until = sea.now + 3 * VISIT_IDLE;
    while sea.now < until {
        sea.step();
    }
    assert!(sea.nodes.iter().all(|node| node.swarm.visited().count() == 0), "nobody is visited any more");
    sea.announcements = 0;
    let until = sea.now + REFRESH;
    while sea.now < until {
        sea.step();
    }
    assert!(sea.announcements <= 8, "{} announcements in ten minutes", sea.announcements);
}
