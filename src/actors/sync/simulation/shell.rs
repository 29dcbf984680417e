//! The shell of all sessions at once: it carries out what they ask for, with streams that push back and slow disks.

use std::time::Duration;

use super::{
    end::size,
    log::evidence,
    random::Random,
    world::{Event, Job, Key, Weather, World, id, key},
};
use crate::{
    actors::sync::{Input, Output, ReadOutcome, StoreOutcome, Wish, session::limits::MAX_STORING},
    wire::sync::{Kind, Message, Vector},
};

/// Bytes of a stream that may be on their way, as QUIC's flow control has it. Small, so that it is felt.
const WINDOW: usize = 32 << 10;

/// Events of a chunk: few, so that a catch-up takes several.
const CHUNK_EVENTS: usize = 48;

/// Entries of a part of a version vector: few, so that there are several.
const VECTOR_ENTRIES: usize = 3;

impl World {
    pub(super) fn fulfil(&mut self, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Turn { session, push } => self.inputs.push_back((key(session), Input::Turn { push })),
                Wish::Push { session, push } => self.inputs.push_back((key(session), Input::SetPush(push))),
            }
        }
    }

    pub(super) fn grown(&mut self, node: usize, cuts_changed: bool) {
        for link in self.nodes[node].links.clone() {
            if self.links[link].ends.is_some() {
                let side = usize::from(self.links[link].nodes[1] == node);
                self.inputs.push_back(((link, side), Input::Grown { cuts_changed }));
            }
        }
    }

    /// Gives the sessions their inputs until there are none.
    pub(super) fn settle(&mut self) {
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
                Output::PeerHas { entries, first } => {
                    if first {
                        end.forget();
                    }
                    end.peer_has(entries.into_iter().map(|entry| (entry.author, entry.length)));
                }
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
                    let entries: Vec<_> = log.vector();
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
    pub(super) fn deliver(&mut self, (link, side): Key) {
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
    pub(super) fn written(&mut self, node: usize) {
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
