//! A world of nodes: virtual time, links, disks, and chance. It is the shell of all sessions at once.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use super::{
    end::{End, size},
    log::{Log, author, evidence},
    random::Random,
};
use crate::{
    actors::sync::{
        EndReason, Input, Output, ReadOutcome, StoreOutcome,
        session::{Status, limits::MAX_STORING},
        turns::{Turns, Wish},
    },
    wire::sync::{Events, Kind, Message, Vector},
};

/// Bytes of a stream that may be on their way, as QUIC's flow control has it. Small, so that it is felt.
const WINDOW: usize = 32 << 10;

/// Events of a chunk: few, so that a catch-up takes several.
const CHUNK_EVENTS: usize = 48;

/// Entries of a part of a version vector: few, so that there are several.
const VECTOR_ENTRIES: usize = 3;

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

struct Node {
    log: Log,
    turns: Turns,
    is_up: bool,
    /// How often it has started: what a node had in memory when it stopped is gone.
    life: u64,
    disk: VecDeque<(Key, u64, Job)>,
    is_writing: bool,
    links: Vec<usize>,
}

enum Job {
    Chunk(Events),
    Fork,
}

struct Link {
    nodes: [usize; 2],
    weather: Weather,
    /// Which connection it is.
    epoch: u64,
    ends: Option<[End; 2]>,
    /// Whether a connection can be made.
    is_open: bool,
    is_dialing: bool,
    streams: [Stream; 2],
}

/// One direction of a connection.
#[derive(Default)]
struct Stream {
    on_its_way: VecDeque<(Duration, Message)>,
    bytes: usize,
}

enum Event {
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
    nodes: Vec<Node>,
    links: Vec<Link>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: HashMap<u64, Event>,
    next: u64,
    inputs: VecDeque<(Key, Input)>,
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

    fn schedule(&mut self, at: Duration, event: Event) {
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

    fn is_current(&self, (link, _): Key, epoch: u64) -> bool {
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

    fn disconnect(&mut self, link: usize) {
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

    fn fulfil(&mut self, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Turn { session, push } => self.inputs.push_back((key(session), Input::Turn { push })),
                Wish::Push { session, push } => self.inputs.push_back((key(session), Input::SetPush(push))),
            }
        }
    }

    fn grown(&mut self, node: usize, cuts_changed: bool) {
        for link in self.nodes[node].links.clone() {
            if self.links[link].ends.is_some() {
                let side = usize::from(self.links[link].nodes[1] == node);
                self.inputs.push_back(((link, side), Input::Grown { cuts_changed }));
            }
        }
    }

    /// Gives the sessions their inputs until there are none.
    fn settle(&mut self) {
        while let Some((key, input)) = self.inputs.pop_front() {
            self.give(key, input);
        }
    }

    fn give(&mut self, (link, side): Key, input: Input) {
        let node = self.links[link].nodes[side];
        let Some(ends) = self.links[link].ends.as_mut() else { return };
        let end = &mut ends[side];
        let mut out = Vec::new();
        end.session.handle(self.now, input, &mut out);
        for output in out {
            let Some(ends) = self.links[link].ends.as_mut() else { return };
            let end = &mut ends[side];
            let mut wishes = Vec::new();
            match output {
                output if output.waits_for_stream() => end.wait(output),
                Output::PeerHas(entries) => end.peer_has(entries),
                Output::PeerHasLook => end.peer_has_look(),
                Output::Store(events) => self.store((link, side), Job::Chunk(events)),
                Output::TakeFork(fork) => {
                    assert_eq!(*fork, evidence());
                    self.store((link, side), Job::Fork);
                }
                Output::AskTurn => self.nodes[node].turns.ask(id((link, side)), &mut wishes),
                Output::ReturnTurn => self.nodes[node].turns.give_back(id((link, side)), &mut wishes),
                Output::Wake(at) => {
                    end.wake = at;
                    if let Some(at) = at {
                        let epoch = self.links[link].epoch;
                        self.schedule(at, Event::Timer((link, side), epoch, at));
                    }
                }
                Output::End(reason) => {
                    self.ended.push(((link, side), reason));
                    self.disconnect(link);
                }
                _ => unreachable!("{output:?}"),
            }
            self.fulfil(wishes);
        }
        self.pump((link, side));
        self.deliver((link, side));
    }

    /// Carries out what waits for the stream, as far as it takes it.
    fn pump(&mut self, (link, side): Key) {
        let node = self.links[link].nodes[side];
        let epoch = self.links[link].epoch;
        while self.links[link].streams[side].bytes < WINDOW {
            let Some(end) = self.links[link].ends.as_mut().map(|ends| &mut ends[side]) else { return };
            let Some(output) = end.outbox.pop_front() else { return };
            let log = &self.nodes[node].log;
            match output {
                Output::Send(message) => self.send((link, side), message),
                Output::SendVector { push } => {
                    let entries: Vec<_> = log.lengths().iter().map(|(author, length)| (*author, *length)).collect();
                    let mut parts: Vec<_> = entries.chunks(VECTOR_ENTRIES).map(<[_]>::to_vec).collect();
                    let last = parts.pop().unwrap_or_default();
                    for entries in parts {
                        self.send((link, side), Message::Vector(Vector { entries, more: true, push }));
                    }
                    self.send((link, side), Message::Vector(Vector { entries: last, more: false, push }));
                }
                Output::SendForks => {
                    if let Some(fork) = log.evidence() {
                        self.send((link, side), Message::Fork(Box::new(fork)));
                    }
                }
                Output::Look => {
                    end.look.clone_from(log.lengths());
                    let answer = Input::Looked(log.summary());
                    let most = if self.random.one_in(8) { 100 } else { 2 };
                    let wait = self.random.millis(0, most);
                    self.schedule(self.now + wait, Event::Answer((link, side), epoch, answer));
                }
                Output::Read => {
                    let outcome = match log.read(&mut end.known, &mut end.from, CHUNK_EVENTS) {
                        Some(chunk) => ReadOutcome::Chunk(chunk),
                        None => ReadOutcome::End(log.summary()),
                    };
                    let most = if self.random.one_in(8) { 100 } else { 3 };
                    let wait = self.random.millis(0, most);
                    self.schedule(self.now + wait, Event::Answer((link, side), epoch, Input::Read(outcome)));
                }
                _ => unreachable!("{output:?}"),
            }
        }
    }

    fn send(&mut self, (link, side): Key, message: Message) {
        let bytes = size(&message);
        *self.traffic.messages.entry(message.kind().byte()).or_default() += 1;
        self.traffic.bytes += bytes as u64;
        if message.kind() == Kind::EVENTS {
            self.traffic.chunk_bytes += bytes as u64;
        }
        let it = &mut self.links[link];
        let Weather { delay, jitter, loss } = it.weather;
        let mut at = self.now + Duration::from_millis(delay) + self.random.millis(0, jitter.max(1));
        if loss.is_some_and(|loss| self.random.one_in(loss)) {
            at += self.random.millis(200, 600);
        }
        let stream = &mut it.streams[side];
        // What is behind on a stream comes no sooner.
        let at = stream.on_its_way.back().map_or(at, |(before, _)| at.max(*before));
        stream.bytes += bytes;
        assert!(stream.bytes <= WINDOW + (1 << 20), "memory is bounded");
        stream.on_its_way.push_back((at, message));
        let epoch = it.epoch;
        self.schedule(at, Event::Arrival((link, 1 - side), epoch));
    }

    /// Takes what has come, as far as the session takes it.
    fn deliver(&mut self, (link, side): Key) {
        let it = &mut self.links[link];
        let Some(ends) = it.ends.as_ref() else { return };
        let stream = &mut it.streams[1 - side];
        if !ends[side].session.wants_input() || stream.on_its_way.front().is_none_or(|(at, _)| *at > self.now) {
            return;
        }
        let Some((_, message)) = stream.on_its_way.pop_front() else { return };
        stream.bytes -= size(&message);
        let said = [link as u64, side as u64, u64::from(message.kind().byte()), self.now.as_nanos() as u64];
        for part in said {
            self.trace = Random(self.trace ^ part).bits();
        }
        if let Some(left) = &mut self.cut_after {
            if *left == 0 {
                self.cut_after = None;
                return self.disconnect(link);
            }
            *left -= 1;
        }
        self.give((link, side), Input::Received(message));
        self.pump((link, 1 - side));
    }

    fn store(&mut self, key: Key, job: Job) {
        let (link, side) = key;
        let node = self.links[link].nodes[side];
        let epoch = self.links[link].epoch;
        let end = &mut self.links[link].ends.as_mut().unwrap()[side];
        end.storing += 1;
        assert!(end.storing <= MAX_STORING, "memory is bounded");
        self.nodes[node].disk.push_back((key, epoch, job));
        self.write(node);
    }

    fn write(&mut self, node: usize) {
        if !self.nodes[node].is_writing && !self.nodes[node].disk.is_empty() {
            self.nodes[node].is_writing = true;
            let (wait, life) = (self.random.millis(1, 4), self.nodes[node].life);
            self.schedule(self.now + wait, Event::Disk(node, life));
        }
    }

    /// The first of what a node is writing is durable.
    fn written(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.is_writing = false;
        let Some((key, epoch, job)) = it.disk.pop_front() else { return };
        let (mut new, mut duplicates, mut cuts_changed) = (0, 0, false);
        let outcome = match &job {
            Job::Chunk(events) => match it.log.append(events) {
                Ok(appended) => {
                    (new, duplicates) = (appended.new, appended.duplicates);
                    StoreOutcome::Done { new, duplicates }
                }
                Err(gap) => panic!("at {:?} node {node} was sent what it cannot take: {gap}", self.now),
            },
            Job::Fork => {
                cuts_changed = it.log.learn_fork();
                StoreOutcome::Done { new: u64::from(cuts_changed), duplicates: u64::from(!cuts_changed) }
            }
        };
        self.traffic.new += new;
        self.traffic.duplicates += duplicates;
        if self.is_current(key, epoch) {
            let end = &mut self.links[key.0].ends.as_mut().unwrap()[key.1];
            end.storing -= 1;
            if let Job::Chunk(events) = &job {
                end.peer_has_sent(events);
                let mut wishes = Vec::new();
                self.nodes[node].turns.brought(id(key), new, duplicates, &mut wishes);
                self.fulfil(wishes);
            }
            self.inputs.push_back((key, Input::Stored(outcome)));
        }
        if new > 0 || cuts_changed {
            self.grown(node, cuts_changed);
        }
        self.write(node);
    }
}

fn id((link, side): Key) -> u64 {
    (link * 2 + side) as u64
}

fn key(session: u64) -> Key {
    let session = usize::try_from(session).unwrap();
    (session / 2, session % 2)
}
