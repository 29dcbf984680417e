//! Forks of authors' logs: what is known of them, and the door for evidence.

use std::sync::Arc;

use super::{error::Error, handle::Subject, prover::Prover};
use crate::{
    actors::committer::{cuts, submission::ForeignBatch},
    wire::{
        fork::{Cut, ForkEvidence, ForkHalf},
        id::{Dot, XaeroID},
        key::PublicKey,
    },
};

impl Subject {
    /// The authors who have signed two histories of this subject, each with the last of its events that counts, by author.
    ///
    /// What such an author wrote after that stays in the log and can be read, but no fold takes it, and
    /// [`root`](Self::root) leaves it out.
    ///
    /// # Errors
    /// Where the data directory cannot be opened.
    pub fn cuts(&self) -> Result<Vec<Cut>, Error> {
        let (_, log) = self.log()?;
        let cut = |(author, last_valid)| Cut { author, subject: log.id, last_valid };
        Ok(log.cuts().forks().map(cut).collect())
    }

    /// The evidence behind the [cuts](Self::cuts): it convinces anybody who has the author's public key.
    ///
    /// # Errors
    /// Where the data directory cannot be opened or read.
    pub fn forks(&self) -> Result<Vec<ForkEvidence>, Error> {
        let (engine, log) = self.log()?;
        let Some(number) = log.published().number else { return Ok(Vec::new()) };
        Ok(cuts::evidence(&engine.store.env.read()?, number)?)
    }

    /// Takes evidence that an author of this subject has signed two histories. From then on the author's log ends, for
    /// folds and for the root, before the two part. Of several pieces about one author the one with the lower end holds,
    /// so that it does not matter in which order they come.
    ///
    /// Evidence about an author of whom nothing has come yet is taken as well.
    ///
    /// # Errors
    /// [`Error::Proof`] where the evidence does not hold, or is about another subject; [`Error::NotRunning`].
    pub fn accept_fork(&self, evidence: ForkEvidence, key: &PublicKey) -> Result<Cut, Error> {
        let cut = evidence.verify(key)?;
        if cut.subject != self.id() {
            return Err(crate::wire::proof::ProofError::OtherSubject { expected: self.id(), found: cut.subject }.into());
        }
        let batch = ForeignBatch { keys: vec![key.clone()], forks: vec![(evidence, cut)], ..ForeignBatch::default() };
        self.take_foreign(batch)?.wait()?;
        Ok(cut)
    }

    /// What this node's log says about one place in an author's log: one half of the evidence of a fork, where another
    /// node's log says something else.
    ///
    /// # Errors
    /// As [`prove`](Self::prove).
    pub fn fork_half(&self, author: XaeroID, seq: u64) -> Result<ForkHalf, Error> {
        let (engine, log) = self.log()?;
        let proof = Prover::new(Arc::downgrade(&engine), log).prove(Dot::new(author, seq))?;
        Ok(ForkHalf::new(proof.header().id(), proof.inclusion().clone(), proof.head().clone()))
    }
}
