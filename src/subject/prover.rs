//! Proofs, made and checked.
//!
//! A [`Prover`] makes proofs of one subject's events. It remembers each author's signed head, so that a run of events asks
//! for one only when the next commit has brought a new one. A [`ProofChecker`] is behind `filter_merkle_proofs`.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hashbrown::HashMap;

use super::{core::Core, engine::Engine, error::Error};
use crate::{
    actors::{
        committer::heads::KnownHead,
        mmr::nodes::{KnownNodes, TreeNodes},
        storage::{StorageError, open::SubjectLog, reader::LogReader},
    },
    wire::{
        event::XaeroEvent,
        head::{HeadCheck, SignedHead},
        id::{Dot, XaeroID},
        key::PublicKey,
        mmr::{ConsistencyProof, InclusionProof},
        proof::{EventHeader, EventProof},
    },
};

/// Authors whose heads, or keys, are remembered; beyond it all are forgotten and asked for again.
const KNOWN_AUTHORS: usize = 1_024;

/// Makes proofs of one subject's events.
pub(crate) struct Prover {
    engine: Weak<Engine>,
    log: Arc<SubjectLog>,
    heads: HashMap<XaeroID, KnownHead>,
    nodes: KnownNodes,
}

/// The prover of those who ask for one proof after the other, between two of them. Whoever finds it taken makes another.
#[derive(Clone, Default)]
pub(crate) struct KeptProver(Arc<Mutex<Option<Box<Prover>>>>);

impl KeptProver {
    /// As [`Prover::prove`], by the prover that is kept, or one that is kept from now on.
    pub(crate) fn prove(&self, dot: Dot, make: impl FnOnce() -> Prover) -> Result<EventProof, Error> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Not within the lock: the signature may be on its way, and others need not wait for it.
        let kept = lock().take();
        // A node that was closed and opened again has other heads to ask.
        let kept = kept.filter(|prover| prover.engine.strong_count() > 0);
        let mut prover = kept.unwrap_or_else(|| Box::new(make()));
        let proof = prover.prove(dot);
        *lock() = Some(prover);
        proof
    }
}

impl Prover {
    pub(crate) fn new(engine: Weak<Engine>, log: Arc<SubjectLog>) -> Self {
        Self { engine, log, heads: HashMap::new(), nodes: KnownNodes::default() }
    }

    /// That the author's log, as far as its newest signed head covers it, begins with its first `old` events.
    ///
    /// # Errors
    /// [`Error::NoSuchEvent`] where the log is not as long here, [`Error::Unsigned`] where no signed head covers so much.
    pub(crate) fn extension(&self, author: XaeroID, old: u64) -> Result<(ConsistencyProof, SignedHead), Error> {
        let Some(engine) = self.engine.upgrade() else { return Err(StorageError::Closed.into()) };
        let dot = Dot::new(author, old);
        let length = engine.head(&self.log, author, 0)?.peaks.len();
        if length < old || length == 0 {
            return Err(Error::NoSuchEvent { dot });
        }
        let known = engine.head(&self.log, author, length)?;
        let Some(signed) = known.signed.filter(|signed| signed.head().length >= old) else {
            return Err(Error::Unsigned { dot });
        };
        let txn = engine.store.env.read()?;
        let mut nodes = TreeNodes::new(&txn, LogReader::new(&txn), known.number, known.slot, known.author);
        Ok((ConsistencyProof::make(&mut nodes, old, signed.head().length)?, signed))
    }

    /// The proof of this event, under the newest of its author's signed heads that was asked for. Waits for a signature that
    /// is on its way, where none covers the event.
    ///
    /// # Errors
    /// [`Error::NoSuchEvent`], [`Error::Unsigned`] where no signed head covers the event and none will, or what is wrong
    /// with the storage.
    pub(crate) fn prove(&mut self, dot: Dot) -> Result<EventProof, Error> {
        let Some(engine) = self.engine.upgrade() else { return Err(StorageError::Closed.into()) };
        if dot.seq == 0 {
            return Err(Error::NoSuchEvent { dot });
        }
        if self.heads.get(&dot.author).is_none_or(|known| known.signed_length() < dot.seq) {
            if self.heads.len() >= KNOWN_AUTHORS {
                self.heads.clear();
            }
            self.heads.insert(dot.author, engine.head(&self.log, dot.author, dot.seq)?);
        }
        let Some(known) = self.heads.get(&dot.author) else { return Err(Error::Unsigned { dot }) };
        if dot.seq > known.author.seq {
            return Err(Error::NoSuchEvent { dot });
        }
        let Some(signed) = known.signed.as_ref().filter(|signed| signed.head().length >= dot.seq) else {
            return Err(Error::Unsigned { dot });
        };
        let txn = engine.store.env.read()?;
        let mut nodes = TreeNodes::new(&txn, LogReader::new(&txn), known.number, known.slot, known.author)
            .knowing(std::mem::take(&mut self.nodes));
        let header = EventHeader::of(&nodes.event(self.log.id, dot.seq)?.record);
        let inclusion = InclusionProof::make(&mut nodes, dot.seq - 1, signed.head().length)?;
        let nodes = nodes.into_known();
        // The nodes have checksums, but a proof that does not hold must not leave here for any reason.
        if inclusion.root(header.id().as_bytes()).ok() != Some(signed.head().root) {
            return Err(StorageError::DamagedTree { author: dot.author, subject: self.log.id }.into());
        }
        // What is remembered has been part of proofs that hold, and of nothing else.
        self.nodes = nodes;
        EventProof::new(header, inclusion, signed.clone()).map_err(|error| Error::Proof(Arc::new(error)))
    }
}

/// Checks the proofs that events carry.
#[derive(Default)]
pub(crate) struct ProofChecker {
    known: Mutex<(HeadCheck, HashMap<XaeroID, PublicKey>)>,
}

impl ProofChecker {
    /// Whether the event carries a proof that it is in its author's signed log, which holds. The author's key comes from
    /// the node, where its directory is open.
    pub(crate) fn holds(&self, event: &XaeroEvent, core: &Weak<Core>) -> bool {
        let Some(bytes) = &event.merkle_proof else { return false };
        let Ok(proof) = EventProof::decode(bytes) else { return false };
        if proof.proves(event).is_err() {
            return false;
        }
        let author = proof.header().author();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (heads, keys) = &mut *known;
        if !keys.contains_key(&author) {
            let engine = core.upgrade().and_then(|core| core.node.open_engine());
            let Some(key) = engine.and_then(|engine| engine.writer_key(author).ok().flatten()) else { return false };
            if keys.len() >= KNOWN_AUTHORS {
                keys.clear();
            }
            keys.insert(author, key);
        }
        keys.get(&author).is_some_and(|key| proof.verify_with(heads, key).is_ok())
    }
}
