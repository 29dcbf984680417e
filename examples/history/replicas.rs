//! The replicas of a history as writers with keys of their own: each signs what it wrote.
//!
//! A replica is attached to one node, and brings it what it wrote as an *archive* ([`bundle`]), as a device that only now
//! and then sees its node would. The archive says what of the other replicas' logs the events in it build upon, so that the
//! node takes them only where it has all of that; and it is signed, so that the node can pass the events on to peers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use xaeroflux::{
    Subject, XaeroID,
    wire::{
        archive,
        bundle::{AuthorEntry, ChunkBuilder, ChunkProof, Encoder, Opening},
        head::{HeadBatch, LogHead, SignedHead},
        mmr::{Peaks, empty_root},
        sign::{SecretIdentity, Signer as _},
    },
};

use super::{events::Made, format::BadHistory};

/// All replicas of a history.
pub struct Replicas {
    all: Vec<Replica>,
    numbers: HashMap<XaeroID, usize>,
}

struct Replica {
    secret: SecretIdentity,
    /// The tree over all that it has written so far.
    log: Peaks,
}

/// How much of each replica's log a node has, with the replica's signature.
pub type Heads = BTreeMap<XaeroID, SignedHead>;

impl Replicas {
    /// So many replicas, with fresh keys.
    pub fn generate(count: usize) -> Result<Self, BadHistory> {
        let fresh = |_| Ok::<_, BadHistory>(Replica { secret: SecretIdentity::generate()?, log: Peaks::new() });
        let all: Vec<Replica> = (0..count).map(fresh).collect::<Result<_, _>>()?;
        let numbers = all.iter().enumerate().map(|(number, replica)| (replica.secret.id(), number)).collect();
        Ok(Self { all, numbers })
    }

    /// The writer that a replica is.
    pub fn writer(&self, replica: usize) -> XaeroID {
        self.all[replica].secret.id()
    }

    /// An archive of the next events of some replicas, in a causal order, for a node that has so much. That the node has it,
    /// and the events too, is noted in `heads`.
    ///
    /// All events of an archive are in one chunk of it: there are to be few.
    pub fn archive(&mut self, subject: &Subject, events: &[&Made], heads: &mut Heads) -> Result<Vec<u8>, BadHistory> {
        let mut chunk = ChunkBuilder::new();
        for event in events {
            let id = archive::open(&event.frame)?.0.id();
            let number = self.numbers[&event.dot.author];
            self.all[number].log.push(id.as_bytes());
            if !chunk.push(&event.frame) {
                return Err("too many events for one archive".into());
            }
        }
        let writers: BTreeSet<XaeroID> = events.iter().map(|event| event.dot.author).collect();
        let causes = events.iter().flat_map(|event| event.deps.iter().map(|dep| dep.author));
        let mut entries = Vec::new();
        for (place, author) in causes.chain(writers.iter().copied()).collect::<BTreeSet<_>>().into_iter().enumerate() {
            let replica = &self.all[self.numbers[&author]];
            let before = heads.get(&author).map(|head| *head.head());
            if writers.contains(&author) {
                let (length, root) = (replica.log.len(), replica.log.root());
                let head = LogHead { subject: subject.id(), author, length, root };
                let signed = HeadBatch::sign(&replica.secret, vec![head])?.signed_head(0).ok_or("an empty batch")?;
                heads.insert(author, signed);
                chunk.prove(ChunkProof { author: place.try_into()?, length, path: Vec::new() });
            }
            let head = heads.get(&author).ok_or("an event builds upon one that its node has not got")?;
            entries.push(AuthorEntry {
                base: before.map_or(0, |before| before.length),
                base_root: before.map_or_else(empty_root, |before| before.root),
                key: replica.secret.public_key().clone(),
                head: head.clone(),
            });
        }
        let opening = Opening {
            is_owned: false,
            subject: subject.id(),
            name: subject.name().to_owned(),
            first: entries.iter().map(|entry| entry.base).sum(),
            events: events.len() as u64,
            authors: entries.len().try_into()?,
        };
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&opening, &mut bytes);
        entries.iter().for_each(|entry| encoder.author(entry, &mut bytes));
        encoder.events(&chunk, &mut bytes);
        encoder.finish(&mut bytes);
        Ok(bytes)
    }
}
