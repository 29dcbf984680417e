//! A world of nodes: virtual time, links, and what happens to them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use super::{
    end::End,
    log::{Log, author},
    random::Random,
};
use crate::{
    actors::sync::{EndReason, Input, Output, Turns, session::Status},
    wire::sync::{Events, Kind, Message},
};

/// How a link is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Milliseconds one way, and by how much that varies.
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
    /// One in so many messages is lost and sent again: all behind it wait.
    pub(crate) loss: Option<u64>,
}

pub(crate) const FINE: Weather = Weather { delay: 10, jitter: 5, loss: None };

/// One end of a link: which link, which end.
pub(crate) type Key = (usize, usize);

pub(super) struct Node {
    pub(super) log: Log,
    pub(super) turns: Turns,
    pub(super) is_up: bool,
    /// How often it has started: what a node had in memory when it stopped is gone.
    pub(super) life: u64,
    pub(super) disk: VecDeque<(Key, u64, Job)>,
    pub(super) is_writing: bool,
    pub(super) links: Vec<usize>,
}

pub(super) enum Job {
    Chunk(Events),
    Fork,
}

pub(super) struct Link {
    pub(super) nodes: [usize; 2],
    pub(super) weather: Weather,
    /// Which connection it is.
    pub(super) epoch: u64,
    pub(super) ends: Option<[End; 2]>,
    /// Whether a connection can be made.
    pub(super) is_open: bool,
    pub(super) is_dialing: bool,
    pub(super) streams: [Stream; 2],
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) on_its_way: VecDeque<(Duration, Message)>,
    pub(super) bytes: usize,
}

pub(super) enum Event {
    Arrival(Key, u64),
    Answer(Key, u64, Input),
    Timer(Key, u64, Duration),
    Disk(usize, u64),
    Dial(usize),
    Break(usize),
    Publish(usize, u8),
    Stop(usize),
    Start(usize),
}

/// What went over all links.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) messages: HashMap<u8, u64>,
    pub(crate) bytes: u64,
    pub(crate) chunk_bytes: u64,
    pub(crate) new: u64,
    pub(crate) duplicates: u64,
}

impl Traffic {
    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.messages.get(&kind.byte()).copied().unwrap_or(0)
    }
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) random: Random,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: HashMap<u64, Event>,
    next: u64,
    pub(super) inputs: VecDeque<(Key, Input)>,
    pub(crate) traffic: Traffic,
    /// A hash over all that has happened.
    pub(crate) trace: u64,
    pub(crate) ended: Vec<(Key, EndReason)>,
    /// The connection breaks when so many more messages have been delivered.
    pub(crate) cut_after: Option<u64>,
}

impl World {
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        let node = |_| Node {
            log: Log::default(),
            turns: Turns::new(),
            is_up: true,
            life: 0,
            disk: VecDeque::new(),
            is_writing: false,
            links: Vec::new(),
        };
        Self {
            now: Duration::from_secs(1),
            random: Random(seed),
            nodes: (0..nodes).map(node).collect(),
            links: Vec::new(),
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            next: 0,
            inputs: VecDeque::new(),
            traffic: Traffic::default(),
            trace: seed,
            ended: Vec::new(),
            cut_after: None,
        }
    }

    /// Connects two nodes as soon as both are there.
    pub(crate) fn link(&mut self, one: usize, other: usize, weather: Weather) -> usize {
        let link = self.links.len();
        self.links.push(Link {
            nodes: [one, other],
            weather,
            epoch: 0,
            ends: None,
            is_open: true,
            is_dialing: false,
            streams: Default::default(),
        });
        for node in [one, other] {
            self.nodes[node].links.push(link);
        }
        self.dial_in(link, Duration::ZERO);
        link
    }

    pub(crate) fn log(&self, node: usize) -> &Log {
        &self.nodes[node].log
    }

    pub(crate) fn nodes_of(&self, link: usize) -> [usize; 2] {
        self.links[link].nodes
    }

    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn end(&self, (link, side): Key) -> Option<&End> {
        self.links[link].ends.as_ref().map(|ends| &ends[side])
    }

    pub(crate) fn turns(&self, node: usize) -> &Turns {
        &self.nodes[node].turns
    }

    /// The author's next event, at once.
    pub(crate) fn publish(&mut self, node: usize, writer: u8) {
        self.nodes[node].log.publish(author(writer));
        self.grown(node, false);
        self.settle();
    }

    pub(crate) fn learn_fork(&mut self, node: usize) {
        self.nodes[node].log.learn_fork();
        self.grown(node, true);
        self.settle();
    }

    pub(crate) fn publish_at(&mut self, at: Duration, node: usize, writer: u8) {
        self.schedule(at, Event::Publish(node, writer));
    }

    pub(crate) fn stop_at(&mut self, at: Duration, node: usize) {
        self.schedule(at, Event::Stop(node));
    }

    pub(crate) fn start_at(&mut self, at: Duration, node: usize) {
        self.schedule(at, Event::Start(node));
    }

    pub(crate) fn break_at(&mut self, at: Duration, link: usize) {
        self.schedule(at, Event::Break(link));
    }

    /// A link over which nothing goes, until it is opened.
    pub(crate) fn close(&mut self, link: usize) {
        self.links[link].is_open = false;
        self.disconnect(link);
        self.settle();
    }

    pub(crate) fn open(&mut self, link: usize) {
        self.links[link].is_open = true;
        self.dial_in(link, Duration::ZERO);
    }

    /// Lets time pass.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while self.step(end) {}
        self.now = self.now.max(end);
    }

    /// Lets time pass until all nodes have the same, or `limit` is over. Returns whether they do.
    pub(crate) fn run_to_convergence(&mut self, limit: Duration) -> bool {
        let end = self.now + limit;
        let mut steps = 0_u64;
        loop {
            // Looking at all nodes after each step would take longer than the steps.
            if steps.is_multiple_of(1_000) && self.has_converged() {
                return true;
            }
            steps += 1;
            if !self.step(end) {
                return self.has_converged();
            }
        }
    }

    /// Lets time pass until these nodes have the same, for a minute at most.
    pub(crate) fn run_until_equal(&mut self, nodes: &[usize]) -> bool {
        let end = self.now + Duration::from_secs(60);
        let is_done = |world: &Self| {
            let mut summaries = nodes.iter().map(|node| world.log(*node).summary());
            let first = summaries.next();
            summaries.all(|summary| Some(summary) == first)
        };
        while !is_done(self) && self.step(end) {}
        is_done(self)
    }

    pub(crate) fn has_converged(&self) -> bool {
        let first = self.nodes[0].log.summary();
        self.nodes.iter().all(|node| node.log.summary() == first)
    }

    fn step(&mut self, end: Duration) -> bool {
        let Some(Reverse((at, id))) = self.queue.peek().copied() else { return false };
        if at > end {
            return false;
        }
        self.queue.pop();
        self.now = at;
        let event = self.events.remove(&id).unwrap();
        self.happen(event);
        self.settle();
        true
    }

    pub(super) fn schedule(&mut self, at: Duration, event: Event) {
        self.next += 1;
        self.queue.push(Reverse((at.max(self.now), self.next)));
        self.events.insert(self.next, event);
    }

    fn dial_in(&mut self, link: usize, wait: Duration) {
        if !std::mem::replace(&mut self.links[link].is_dialing, true) {
            self.schedule(self.now + wait, Event::Dial(link));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival(key, epoch) if self.is_current(key, epoch) => self.deliver(key),
            Event::Answer(key, epoch, input) if self.is_current(key, epoch) => self.inputs.push_back((key, input)),
            Event::Timer((link, side), epoch, at) if self.is_current((link, side), epoch) => {
                let end = &mut self.links[link].ends.as_mut().unwrap()[side];
                if end.wake == Some(at) {
                    self.inputs.push_back(((link, side), Input::Time));
                }
            }
            Event::Arrival(..) | Event::Answer(..) | Event::Timer(..) => {}
            Event::Disk(node, life) if self.nodes[node].life == life => self.written(node),
            Event::Disk(..) => {}
            Event::Dial(link) => self.dial(link),
            Event::Break(link) => self.disconnect(link),
            Event::Publish(node, writer) => {
                if self.nodes[node].is_up {
                    self.nodes[node].log.publish(author(writer));
                    self.grown(node, false);
                } else {
                    // Its author comes back to it.
                    self.schedule(self.now + Duration::from_secs(1), Event::Publish(node, writer));
                }
            }
            Event::Stop(node) => {
                let it = &mut self.nodes[node];
                (it.is_up, it.is_writing) = (false, false);
                it.life += 1;
                it.disk.clear();
                for link in it.links.clone() {
                    self.disconnect(link);
                }
                self.nodes[node].turns = Turns::new();
            }
            Event::Start(node) => {
                self.nodes[node].is_up = true;
                for link in self.nodes[node].links.clone() {
                    self.dial_in(link, Duration::ZERO);
                }
            }
        }
    }

    pub(super) fn is_current(&self, (link, _): Key, epoch: u64) -> bool {
        self.links[link].epoch == epoch && self.links[link].ends.is_some()
    }

    fn dial(&mut self, link: usize) {
        self.links[link].is_dialing = false;
        let it = &mut self.links[link];
        let is_possible = it.is_open && it.nodes.iter().all(|node| self.nodes[*node].is_up);
        if it.ends.is_some() || !is_possible {
            return; // dialed again when the node starts, or the link is opened
        }
        it.epoch += 1;
        it.streams = Default::default();
        it.ends = Some([End::new(self.random.bits()), End::new(self.random.bits())]);
        for side in [0, 1] {
            let node = self.links[link].nodes[side];
            let mut wishes = Vec::new();
            self.nodes[node].turns.join(id((link, side)), &mut wishes);
            self.inputs.push_back(((link, side), Input::Start));
            self.fulfil(wishes);
        }
    }

    pub(super) fn disconnect(&mut self, link: usize) {
        let nodes = self.links[link].nodes;
        let Some(ends) = self.links[link].ends.take() else { return };
        for (side, mut end) in ends.into_iter().enumerate() {
            let mut out = Vec::new();
            end.session.handle(self.now, Input::Closed, &mut out);
            let is_over = out.is_empty() || matches!(out.last(), Some(Output::End(EndReason::Closed)));
            assert!(is_over && end.session.status() == Status::Ended, "{out:?}");
            let mut wishes = Vec::new();
            self.nodes[nodes[side]].turns.leave(id((link, side)), &mut wishes);
            self.fulfil(wishes);
        }
        self.inputs.retain(|((of, _), _)| *of != link);
        let wait = self.random.millis(250, 1_500);
        self.dial_in(link, wait);
    }
}

pub(super) fn id((link, side): Key) -> u64 {
    (link * 2 + side) as u64
}

pub(super) fn key(session: u64) -> Key {
    let session = usize::try_from(session).unwrap();
    (session / 2, session % 2)
}
