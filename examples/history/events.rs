//! From operations to events: who wrote each, what its writer had seen, and when.
//!
//! A replica has seen what its transaction's parents had seen, the parents, and its own earlier transactions. An event
//! names only the *frontier* of that: the last events that no other event among them had seen. The first event of a
//! transaction names it; each further one follows its predecessor, which every event does without saying so.
//!
//! To find the frontier, each transaction keeps how much of each replica's log it had seen, a version vector.

use xaeroflux::{
    Dot, EventType, SubjectId, XaeroID,
    event::{CRDT_SET_ADD, CRDT_SET_REMOVE},
    wire::{clock::Clock, frame, record::Record},
};

use super::format::{BadHistory, History, Verb};

/// The application code of an event that changes no path: the OR-Set has no use for it.
pub const TOUCH: u8 = 1;

/// One operation, ready to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The event as peers exchange it.
    pub frame: Vec<u8>,
    /// Its name.
    pub dot: Dot,
    /// The frontier of what its writer had seen, ascending, without the writer's own log.
    pub deps: Vec<Dot>,
}

/// The writer that stands for a replica of the file.
pub fn writer(replica: usize) -> XaeroID {
    XaeroID::from(blake3::derive_key("xaeroflux history example replica", &replica.to_le_bytes()))
}

/// All events of a history, in the order of the file, which is causal.
pub fn make(history: &History, subject: SubjectId) -> Result<Vec<Made>, BadHistory> {
    make_by(history, subject, writer)
}

/// As [`make`], each replica being the writer that `writer` says.
pub fn make_by(
    history: &History,
    subject: SubjectId,
    writer: impl Fn(usize) -> XaeroID,
) -> Result<Vec<Made>, BadHistory> {
    let mut pasts: Vec<Past> = Vec::with_capacity(history.transactions.len());
    let mut clocks = vec![Clock::ZERO; history.replicas];
    let mut made = Vec::with_capacity(history.ops());
    for (index, transaction) in history.transactions.iter().enumerate() {
        let mut past = Past::join(&transaction.parents, &pasts, history.replicas);
        let (replica, id) = (transaction.replica, writer(transaction.replica));
        let mut seq = past.seen[replica];
        if pasts.iter().any(|other| other.seen[replica] > seq) {
            return Err(format!("transaction {index} does not follow its replica's earlier ones").into());
        }
        // One's own log is implied.
        let others = past.frontier.iter().filter(|head| head.replica != replica);
        let mut deps: Vec<Dot> = others.map(|head| Dot::new(writer(head.replica), head.seq)).collect();
        deps.sort_unstable();
        let mut clock = past.frontier.iter().map(|head| head.clock).fold(clocks[replica], Clock::max);
        for (verb, path) in &transaction.ops {
            seq += 1;
            clock = clock.next(transaction.time_ms);
            let record = Record {
                subject,
                dot: Dot::new(id, seq),
                clock,
                latest_ts: transaction.time_ms,
                deps: &deps,
                event_type: EventType::ApplicationEvent(code(*verb)),
                payload: path.as_bytes(),
            };
            let mut frame = Vec::new();
            frame::encode_into(&mut frame, &record)?;
            made.push(Made { frame, dot: record.dot, deps: std::mem::take(&mut deps) });
        }
        if !transaction.ops.is_empty() {
            clocks[replica] = clock;
            past.seen[replica] = seq;
            past.frontier = vec![Head { transaction: index, replica, seq, clock }];
        }
        pasts.push(past);
    }
    Ok(made)
}

/// What has been seen by whoever comes right after a transaction.
struct Past {
    /// How many events of each replica.
    seen: Vec<u64>,
    /// The last of them that no other of them had seen.
    frontier: Vec<Head>,
}

/// The last event of a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    transaction: usize,
    replica: usize,
    seq: u64,
    clock: Clock,
}

impl Past {
    /// What has been seen by whoever has seen these transactions.
    fn join(parents: &[usize], pasts: &[Self], replicas: usize) -> Self {
        let mut seen = vec![0; replicas];
        let mut heads: Vec<Head> = Vec::new();
        for parent in parents.iter().map(|&parent| &pasts[parent]) {
            seen.iter_mut().zip(&parent.seen).for_each(|(seen, other)| *seen = (*seen).max(*other));
            heads.extend(parent.frontier.iter().filter(|head| !heads.contains(head)).collect::<Vec<_>>());
        }
        let saw = |later: &Head, earlier: &Head| pasts[later.transaction].seen[earlier.replica] >= earlier.seq;
        let is_last = |head: &&Head| !heads.iter().any(|other| other != *head && saw(other, head));
        let frontier = heads.iter().filter(is_last).copied().collect();
        Self { seen, frontier }
    }
}

const fn code(verb: Verb) -> u8 {
    match verb {
        Verb::Add => CRDT_SET_ADD,
        Verb::Remove => CRDT_SET_REMOVE,
        Verb::Touch => TOUCH,
    }
}
