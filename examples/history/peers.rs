//! A history that is made on several nodes at once, which are apart while they write and meet in between.
//!
//! Each replica of the file belongs to one node. What it may write at a moment follows from the `parents`: a transaction is
//! made as soon as its node has all that the replica had seen. So the history falls into *rounds*. In a round every node is
//! alone, with what it has, and takes in what its replicas can write; then the nodes meet, over real connections, until all
//! have the same. A transaction whose parents were written on other nodes comes in a later round than these.
//!
//! Alone means that the subject runs on no other node: nobody answers. That a node knows only what it may is checked twice:
//! an archive says which events it builds upon, and is refused by a node that lacks one; and each node's log is counted.
//!
//! The nodes know each other in a line, each its neighbours, so that most events reach most nodes through others.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use xaeroflux::{Handle, NetworkConfig, Node, Subject, wire::mmr::Hash};

use super::{
    events::{self, Made},
    format::{BadHistory, History},
    random::Random,
    replay::{Order, Outcome, PATIENCE, SUBJECT, or_set, paths},
    replicas::{Heads, Replicas},
};

/// Most events of one archive.
const ARCHIVE_EVENTS: usize = 256;

/// How often it is looked whether the nodes have the same.
const POLL: Duration = Duration::from_millis(1);

/// What came of it.
#[derive(Debug)]
pub struct Meeting {
    /// What each node ended with.
    pub outcomes: Vec<Outcome>,
    /// Whether all have one root.
    pub roots_equal: bool,
    /// Bytes that the nodes have sent to each other, everything included.
    pub bytes_sent: u64,
}

/// A node with its replicas.
struct Site {
    number: usize,
    node: Node,
    subject: Subject,
    /// How much of each replica's log it has.
    heads: Heads,
    /// Events that it had when it was opened: a directory that was kept.
    before: u64,
}

/// Spreads the replicas over so many nodes, has them write what they wrote, round by round, and says what the nodes ended
/// with. Without a directory they leave nothing behind.
pub fn replay(history: &History, nodes: usize, order: Order, data_dir: Option<&Path>) -> Result<Meeting, BadHistory> {
    let mut replicas = Replicas::generate(history.replicas)?;
    let mut sites = open(nodes, data_dir)?;
    let made = events::make_by(history, sites[0].subject.id(), |replica| replicas.writer(replica))?;
    let rounds = rounds(history, nodes);
    let mut randoms: Vec<Random> = (0..nodes).map(|node| order.random(node)).collect();
    // A directory that was kept has what was there before on one node perhaps, and not on another.
    meet(&sites)?;
    sites.iter_mut().try_for_each(|site| site.subject.count().map(|count| site.before = count))?;
    let mut written = 0;
    for round in &rounds {
        for (site, transactions) in sites.iter_mut().zip(round) {
            let events: Vec<&Made> = transactions.iter().flat_map(|events| &made[events.clone()]).collect();
            site.write(&mut replicas, &events, written, &mut randoms[site.number])?;
        }
        written += round.iter().flatten().map(ExactSizeIterator::len).sum::<usize>() as u64;
        meet(&sites)?;
        let all: Heads =
            sites.iter().flat_map(|site| site.heads.clone()).fold(Heads::new(), |mut all, (author, head)| {
                // Of two heads of a replica the longer is the one of its own node.
                let known = all.entry(author).or_insert_with(|| head.clone());
                if known.head().length < head.head().length {
                    *known = head;
                }
                all
            });
        sites.iter_mut().for_each(|site| site.heads.clone_from(&all));
    }
    let roots: Vec<Hash> = sites.iter().map(|site| site.subject.root()).collect::<Result<_, _>>()?;
    Ok(Meeting {
        roots_equal: roots.iter().all(|root| *root == roots[0]),
        bytes_sent: sites.iter().map(|site| site.node.bytes_sent()).sum(),
        outcomes: sites
            .iter()
            .map(|site| site.resolve(written, &mut randoms[site.number]))
            .collect::<Result<_, _>>()?,
    })
}

/// The node that a replica belongs to: neighbours in the file on the same one, since they meet most often.
pub const fn home(replica: usize, replicas: usize, nodes: usize) -> usize {
    replica * nodes / replicas
}

/// What each node's replicas write in each round: for each transaction, in the order of the file, where its events lie among
/// all.
pub fn rounds(history: &History, nodes: usize) -> Vec<Vec<Vec<std::ops::Range<usize>>>> {
    let mut of: Vec<(usize, usize)> = Vec::with_capacity(history.transactions.len());
    let mut rounds: Vec<Vec<Vec<std::ops::Range<usize>>>> = Vec::new();
    let mut first = 0;
    for transaction in &history.transactions {
        let node = home(transaction.replica, history.replicas, nodes);
        let after = |parent: &usize| of[*parent].0 + usize::from(of[*parent].1 != node);
        let round = transaction.parents.iter().map(after).max().unwrap_or(0);
        of.push((round, node));
        if rounds.len() <= round {
            rounds.resize(round + 1, vec![Vec::new(); nodes]);
        }
        let events = first..first + transaction.ops.len();
        first = events.end;
        rounds[round][node].push(events);
    }
    rounds
}

/// The nodes, in a line: each has joined with the ticket of the one before.
fn open(nodes: usize, data_dir: Option<&Path>) -> Result<Vec<Site>, BadHistory> {
    let mut sites: Vec<Site> = Vec::with_capacity(nodes);
    for number in 0..nodes {
        let builder = Node::builder().network(NetworkConfig::new().listen(([127, 0, 0, 1], 0).into()));
        let node = match data_dir {
            Some(dir) => builder.data_dir(dir.join(format!("node-{number}"))).build()?,
            None => builder.ephemeral()?,
        };
        let subject = match sites.last() {
            Some(previous) => node.join(&previous.subject.ticket()?)?,
            None => node.subject(SUBJECT),
        };
        sites.push(Site { number, node, subject, heads: Heads::new(), before: 0 });
    }
    Ok(sites)
}

/// Has the subject run on all nodes until all have the same.
fn meet(sites: &[Site]) -> Result<(), BadHistory> {
    let handles: Vec<Handle> = sites.iter().map(|site| site.subject.run()).collect::<Result<_, _>>()?;
    let until = Instant::now() + PATIENCE;
    loop {
        let roots: Vec<Hash> = sites.iter().map(|site| site.subject.root()).collect::<Result<_, _>>()?;
        if roots.iter().all(|root| *root == roots[0]) {
            break;
        }
        if Instant::now() > until {
            return Err("the nodes met, and did not come to the same events in time".into());
        }
        thread::sleep(POLL);
    }
    drop(handles);
    Ok(())
}

impl Site {
    /// Takes what the node's replicas write, while no other node is there. `written` events were written before the round.
    fn write(
        &mut self,
        replicas: &mut Replicas,
        events: &[&Made],
        written: u64,
        random: &mut Random,
    ) -> Result<(), BadHistory> {
        if events.is_empty() {
            return Ok(());
        }
        let alone = self.subject.run()?;
        let mut rest = events;
        while !rest.is_empty() {
            let (portion, later) = rest.split_at(rest.len().min(1 + random.below(ARCHIVE_EVENTS)));
            rest = later;
            let archive = replicas.archive(&self.subject, portion, &mut self.heads)?;
            let summary = self.node.import(&*archive, |_| ())?;
            if (summary.new, summary.waiting) != (portion.len() as u64, 0) {
                return Err(format!("node {} did not take an archive as it is: {summary:?}", self.number).into());
            }
        }
        drop(alone);
        let (count, own) = (self.subject.count()?, events.len() as u64);
        if count != self.before + written + own {
            return Err(format!("node {} knows {count} events while it is alone", self.number).into());
        }
        Ok(())
    }

    /// The set that the node ends with.
    fn resolve(&self, written: u64, random: &mut Random) -> Result<Outcome, BadHistory> {
        let count = self.subject.count()?;
        if count != self.before + written {
            return Err(format!("node {} has {count} events of {written} in its log", self.number).into());
        }
        let (tell, states) = std::sync::mpsc::channel();
        let window = Duration::from_millis(1 + random.below(20) as u64);
        let pipeline = self.subject.batch(window, Some(1 + random.below(300)), or_set()).subscribe(move |state| {
            // Read where an error can be returned.
            let _ = tell.send(state);
        });
        let handle = self.subject.run()?;
        let resolved = self.subject.resolve(or_set())?.map_or(Ok(Vec::new()), |state| paths(&state))?;
        drop(handle);
        let emitted = states.try_iter().last().map_or(Ok(Vec::new()), |state| paths(&state))?;
        drop(pipeline);
        Ok(Outcome { node: self.number, emitted, resolved })
    }
}
