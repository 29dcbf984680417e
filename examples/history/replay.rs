//! Delivers a history to several nodes, each in an order of its own, and resolves the set that each ends with.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::mpsc,
    time::Duration,
};

use xaeroflux::{
    Dot, Fold, IngestOutcome, IngestReceipt, Node, Operator, Reduce, Sort, Subject, XaeroEvent, prelude::rkyv,
};

use super::{
    events::{self, Made},
    format::{BadHistory, History},
    random::Random,
};

/// Separate nodes that get each order: enough that two can agree and the third differ.
pub const NODES: usize = 3;

/// The subject's name on every node.
pub const SUBJECT: &str = "workspace/history/object/paths";

/// Most events of one call: small enough that a history of a thousand comes in dozens of calls.
const PORTION_EVENTS: usize = 64;

/// One event in so many is delivered a second time, at some later moment.
const REPEAT_ONE_IN: usize = 10;

/// Calls that may be under way at once: more than one, so that commits find something to group, and together far below
/// what a subject takes before it says that it is busy.
const CALLS_UNDER_WAY: usize = 8;

/// How long a call, or a meeting of nodes, may take: milliseconds, as a rule.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What decides one order.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    seed: u64,
    number: u64,
}

/// The set that one node ended with, sorted.
#[derive(Debug)]
pub struct Outcome {
    /// Which node, from 0.
    pub node: usize,
    /// What the pipeline that ran all the time emitted last.
    pub emitted: Vec<String>,
    /// What the log says when it is read from its beginning.
    pub resolved: Vec<String>,
}

impl Order {
    /// Order number `number` of a run with this seed.
    pub const fn new(seed: u64, number: u64) -> Self {
        Self { seed, number }
    }

    /// Whether the events of this order come after their causes. Every other order knows nothing of that.
    pub const fn is_causal(self) -> bool {
        self.number.is_multiple_of(2)
    }

    /// The random numbers of one node.
    pub fn random(self, node: usize) -> Random {
        let mut seeds = Random::new(self.seed);
        let mut random = Random::new(seeds.next() ^ self.number.wrapping_mul(NODES as u64).wrapping_add(node as u64));
        random.next();
        random
    }
}

/// Delivers all of the history to each node, one after the other, and says what they ended with. Without a directory the
/// nodes leave nothing behind.
pub fn replay(history: &History, order: Order, data_dir: Option<&Path>) -> Result<Vec<Outcome>, BadHistory> {
    (0..NODES)
        .map(|number| {
            let node = match data_dir {
                Some(dir) => Node::builder().data_dir(dir.join(format!("node-{number}"))).build()?,
                None => Node::ephemeral()?,
            };
            let subject = node.subject(SUBJECT);
            let made = events::make(history, subject.id())?;
            let mut random = order.random(number);
            let sequence = sequence(&made, order.is_causal(), &mut random);
            deliver(number, &subject, &made, &sequence, &mut random)
        })
        .collect()
}

/// The order in which a node gets the events, by their indexes; some come twice.
pub fn sequence(made: &[Made], causal: bool, random: &mut Random) -> Vec<usize> {
    let mut sequence: Vec<usize> = (0..made.len()).collect();
    if causal {
        sequence = causal_order(made, random);
    } else {
        random.shuffle(&mut sequence);
    }
    for _ in 0..made.len() / REPEAT_ONE_IN {
        let from = random.below(sequence.len());
        let to = from + 1 + random.below(sequence.len() - from);
        sequence.insert(to, sequence[from]);
    }
    sequence
}

/// A random one of the orders in which every event comes after its causes.
fn causal_order(made: &[Made], random: &mut Random) -> Vec<usize> {
    let indexes: HashMap<Dot, usize> = made.iter().enumerate().map(|(index, event)| (event.dot, index)).collect();
    let mut missing = vec![0_usize; made.len()];
    let mut effects = vec![Vec::new(); made.len()];
    for (index, event) in made.iter().enumerate() {
        let previous = (event.dot.seq > 1).then(|| Dot::new(event.dot.author, event.dot.seq - 1));
        for cause in event.deps.iter().copied().chain(previous) {
            missing[index] += 1;
            effects[indexes[&cause]].push(index);
        }
    }
    let mut ready: Vec<usize> = (0..made.len()).filter(|&index| missing[index] == 0).collect();
    let mut order = Vec::with_capacity(made.len());
    while !ready.is_empty() {
        let next = ready.swap_remove(random.below(ready.len()));
        order.push(next);
        for &effect in &effects[next] {
            missing[effect] -= 1;
            if missing[effect] == 0 {
                ready.push(effect);
            }
        }
    }
    order
}

fn deliver(
    node: usize,
    subject: &Subject,
    made: &[Made],
    sequence: &[usize],
    random: &mut Random,
) -> Result<Outcome, BadHistory> {
    let (tell, states) = mpsc::channel();
    let window = Duration::from_millis(1 + random.below(20) as u64);
    let count = 1 + random.below(300);
    let pipeline = subject.batch(window, Some(count), or_set()).subscribe(move |state| {
        // Read where an error can be returned.
        let _ = tell.send(state);
    });
    let handle = subject.run()?;
    let mut under_way = VecDeque::new();
    let mut rest = sequence;
    while !rest.is_empty() {
        let (portion, later) = rest.split_at(rest.len().min(1 + random.below(PORTION_EVENTS)));
        rest = later;
        under_way.push_back(subject.ingest(portion.iter().map(|&index| made[index].frame.clone()).collect())?);
        if under_way.len() == CALLS_UNDER_WAY {
            under_way.pop_front().map_or(Ok(()), settle)?;
        }
    }
    under_way.into_iter().try_for_each(settle)?;
    let count = subject.count()?;
    if count != made.len() as u64 {
        return Err(format!("node {node} has {count} events of {} in its log", made.len()).into());
    }
    let resolved = subject.resolve(or_set())?.map_or(Ok(Vec::new()), |state| paths(&state))?;
    // Lets the pipeline close its window and pass everything on before it returns.
    drop(handle);
    let emitted = states.try_iter().last().map_or(Ok(Vec::new()), |state| paths(&state))?;
    drop(pipeline);
    Ok(Outcome { node, emitted, resolved })
}

/// Waits for a call, and makes sure that none of its events was refused.
fn settle(call: IngestReceipt) -> Result<(), BadHistory> {
    for outcome in call.wait_timeout(PATIENCE).ok_or("events did not become durable in time")?? {
        match outcome {
            IngestOutcome::Stored(_)
            | IngestOutcome::Duplicate(_)
            | IngestOutcome::Waiting { .. }
            | IngestOutcome::StillWaiting(_) => {}
            IngestOutcome::Refused(refusal) => return Err(refusal.into()),
            other => return Err(format!("an event was not taken: {other:?}").into()),
        }
    }
    Ok(())
}

/// What resolves the set.
pub fn or_set() -> Vec<Operator> {
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::ORSet.to_operator()),
        Operator::Reduce(Reduce::SetContents.to_operator()),
    ]
}

/// The paths in a set that was resolved, sorted.
pub fn paths(state: &XaeroEvent) -> Result<Vec<String>, BadHistory> {
    let set = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data)?;
    Ok(set.into_iter().map(String::from_utf8).collect::<Result<_, _>>()?)
}
