//! The log of a simulated node: real chunks with tiny frames, hashes that are chained, signatures that nobody checks.

use std::{collections::BTreeMap, sync::OnceLock};

use crate::wire::{
    fork::{ForkEvidence, ForkHalf},
    head::{HeadBatch, LogHead},
    id::{SubjectId, XaeroID},
    key::{KeyError, SIGNATURE_BYTES},
    mmr::Hash,
    sign::Signer,
    sync::{Events, EventsBuilder, Fork, LogProof, Summary, VectorEntry},
    test_log::{TestLog, public_key},
};

/// Author, number, and the author's chain with this event: as long as a real event of a few words.
const FRAME_BYTES: usize = 96;

/// How much of each author's log there is.
pub(crate) type Lengths = BTreeMap<XaeroID, u64>;

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) new: u64,
    pub(crate) duplicates: u64,
}

/// What a node has on its disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    lengths: Lengths,
    chains: BTreeMap<XaeroID, Hash>,
    /// In the order in which they came.
    order: Vec<(XaeroID, u64, Hash)>,
    has_fork: bool,
    root: std::cell::Cell<Option<Hash>>,
}

struct Fake(XaeroID);

impl Signer for Fake {
    fn id(&self) -> XaeroID {
        self.0
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(vec![0x39; SIGNATURE_BYTES])
    }
}

pub(crate) fn author(number: u8) -> XaeroID {
    XaeroID::from([number; 32])
}

fn next(chain: Hash, author: XaeroID, seq: u64) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&chain).update(author.as_bytes()).update(&seq.to_le_bytes());
    *hasher.finalize().as_bytes()
}

impl Log {
    pub(crate) fn lengths(&self) -> &Lengths {
        &self.lengths
    }

    pub(crate) fn events(&self) -> usize {
        self.order.len()
    }

    /// The author's next event.
    pub(crate) fn publish(&mut self, author: XaeroID) {
        let seq = self.lengths.get(&author).unwrap_or(&0) + 1;
        let chain = next(*self.chains.get(&author).unwrap_or(&[0; 32]), author, seq);
        self.push(author, seq, chain);
    }

    fn push(&mut self, author: XaeroID, seq: u64, chain: Hash) {
        assert_eq!(self.lengths.insert(author, seq).unwrap_or(0) + 1, seq, "nothing lost or doubled");
        self.chains.insert(author, chain);
        self.order.push((author, seq, chain));
        self.root.set(None);
    }

    pub(crate) fn vector(&self) -> Vec<VectorEntry> {
        let root = |author| self.chains.get(author).unwrap_or(&[0; 32]);
        self.lengths.iter().map(|(author, length)| VectorEntry::new(*author, *length, root(author))).collect()
    }

    pub(crate) fn summary(&self) -> Summary {
        let root = self.root.get().unwrap_or_else(|| {
            let mut hasher = blake3::Hasher::new();
            for (author, chain) in &self.chains {
                hasher.update(author.as_bytes()).update(chain);
            }
            *hasher.finalize().as_bytes()
        });
        self.root.set(Some(root));
        Summary { root, events: self.order.len() as u64, cuts: [u8::from(self.has_fork); 32] }
    }

    /// The next events that who has these lengths lacks, up to `most`. `from` is where all before is known to be there; it moves on.
    pub(crate) fn read(&self, known: &mut Lengths, from: &mut usize, most: usize) -> Option<Events> {
        let mut chunk = EventsBuilder::new();
        let mut lengths = Lengths::new();
        while let Some((author, seq, chain)) = self.order.get(*from).filter(|_| chunk.events() < most) {
            *from += 1;
            let known = known.entry(*author).or_insert(0);
            if *seq <= *known {
                continue;
            }
            assert_eq!(*seq, *known + 1, "the order is that of the authors");
            *known = *seq;
            lengths.insert(*author, *seq);
            let mut frame = [0; FRAME_BYTES];
            frame[..32].copy_from_slice(author.as_bytes());
            frame[32..40].copy_from_slice(&seq.to_le_bytes());
            frame[64..].copy_from_slice(chain);
            assert!(chunk.push(&frame));
        }
        for (author, length) in lengths {
            let head = LogHead { subject: SubjectId::from([1; 32]), author, length, root: [0; 32] };
            let head = HeadBatch::sign(&Fake(author), vec![head]).unwrap().signed_head(0).unwrap();
            assert!(chunk.prove(&LogProof { key: None, head, length, path: Vec::new() }));
        }
        (chunk.events() > 0).then(|| chunk.finish().unwrap())
    }

    /// Stores a chunk. What is here is a duplicate, what does not follow on what is here is an error.
    pub(crate) fn append(&mut self, chunk: &Events) -> Result<Appended, String> {
        let mut appended = Appended { new: 0, duplicates: 0 };
        for (author, seq, chain) in frames(chunk) {
            match self.lengths.get(&author).copied().unwrap_or(0) {
                length if seq <= length => appended.duplicates += 1,
                length if seq == length + 1 => {
                    let expected = next(*self.chains.get(&author).unwrap_or(&[0; 32]), author, seq);
                    assert_eq!(chain, expected, "nobody makes events up");
                    self.push(author, seq, chain);
                    appended.new += 1;
                }
                length => return Err(format!("event {seq} of an author of whom there are {length}")),
            }
        }
        Ok(appended)
    }

    /// Learns of a fork. Returns whether that was new.
    pub(crate) fn learn_fork(&mut self) -> bool {
        !std::mem::replace(&mut self.has_fork, true)
    }

    pub(crate) fn evidence(&self) -> Option<Fork> {
        self.has_fork.then(evidence)
    }
}

/// The last event of each author in a chunk.
pub(crate) fn ends(chunk: &Events) -> Lengths {
    frames(chunk).map(|(author, seq, _)| (author, seq)).collect()
}

fn frames(chunk: &Events) -> impl Iterator<Item = (XaeroID, u64, Hash)> {
    chunk.frames().as_chunks::<FRAME_BYTES>().0.iter().map(|frame| {
        let author: [u8; 32] = frame[..32].try_into().unwrap();
        let seq = u64::from_le_bytes(frame[32..40].try_into().unwrap());
        (XaeroID::from(author), seq, frame[64..].try_into().unwrap())
    })
}

/// The one fork that there is.
pub(crate) fn evidence() -> Fork {
    static EVIDENCE: OnceLock<Fork> = OnceLock::new();
    EVIDENCE.get_or_init(make_evidence).clone()
}

fn make_evidence() -> Fork {
    let (one, other) = (TestLog::new(2), TestLog::forked(2, 1));
    let half = |log: &TestLog| ForkHalf::new(log.id(1), log.inclusion(1, 2), log.head(2));
    let evidence = ForkEvidence::new(half(&one), half(&other)).unwrap();
    Fork { key: public_key(), evidence }
}
