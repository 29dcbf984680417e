//! What a subject's log can show to others: signed heads and the subject's root.

use std::sync::Arc;

use super::{core::Running, engine::Engine, error::Error, handle::Subject, prover::Prover};
use crate::{
    actors::{
        committer::submission::{Batch, Outcome},
        storage::open::SubjectLog,
    },
    wire::{
        head::{SignedHead, subject_root},
        id::{Dot, XaeroID},
        mmr::{ConsistencyProof, Hash},
        proof::EventProof,
    },
};

impl Subject {
    /// The node's engine and the subject's log, its extent known.
    pub(super) fn log(&self) -> Result<(Arc<Engine>, Arc<SubjectLog>), Error> {
        let core = self.core().ok_or(Error::NotRunning)?;
        core.log()
    }

    /// The newest signed head of an author's log here. For an author whose key is on this node it covers all that is
    /// durable now: where the signature is on its way, this waits for it.
    ///
    /// `None` where the author has written nothing here, or nothing that it has signed.
    ///
    /// ```
    /// use xaeroflux::{Node, XaeroEvent, event::CRDT_SET_ADD};
    /// let node = Node::ephemeral()?;
    /// let (alice, tags) = (node.identity("alice")?, node.subject("tags"));
    /// let handle = tags.run()?;
    /// tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD).by(alice)).wait()?;
    /// let signed = tags.signed_head(alice)?.expect("it is signed");
    /// assert_eq!(signed.head().length, 1);
    /// signed.verify(&node.public_key("alice")?)?;
    /// # drop(handle);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where the data directory cannot be opened or read.
    pub fn signed_head(&self, author: XaeroID) -> Result<Option<SignedHead>, Error> {
        let (engine, log) = self.log()?;
        // What is durable now, and then that length signed.
        let length = engine.head(&log, author, 0)?.peaks.len();
        Ok(engine.head(&log, author, length)?.signed)
    }

    /// The proof that an event is in its author's signed log: for whoever has the author's public key, on any machine, and
    /// without a data directory.
    ///
    /// ```
    /// use xaeroflux::{Node, XaeroEvent, event::CRDT_SET_ADD, wire::proof::EventProof};
    /// let node = Node::ephemeral()?;
    /// let tags = node.subject("tags");
    /// let handle = tags.run()?;
    /// let receipt = tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD)).wait()?;
    /// let bytes = tags.prove(receipt.author, receipt.seq)?.encode();
    /// // Elsewhere:
    /// let proof = EventProof::decode(&bytes)?;
    /// proof.verify(&node.public_key("self")?)?;
    /// assert_eq!(proof.header().id(), receipt.id);
    /// # drop(handle);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchEvent`]; [`Error::Unsigned`] where nothing here shows that the author signed it; otherwise as
    /// [`signed_head`](Self::signed_head).
    pub fn prove(&self, author: XaeroID, seq: u64) -> Result<EventProof, Error> {
        let dot = Dot::new(author, seq);
        if let Some(Running { source, prover, .. }) = self.core().and_then(|core| core.running()) {
            return prover.prove(dot, || Prover::new(source.engine, source.log));
        }
        let (engine, log) = self.log()?;
        Prover::new(Arc::downgrade(&engine), log).prove(dot)
    }

    /// The proof that an author's log has only grown: that what its newest signed head covers begins with its first `old`
    /// events. Whoever kept an earlier head of the author checks it with the two roots.
    ///
    /// ```
    /// use xaeroflux::{Node, XaeroEvent, event::CRDT_SET_ADD};
    /// let node = Node::ephemeral()?;
    /// let (alice, tags) = (node.identity("alice")?, node.subject("tags"));
    /// let handle = tags.run()?;
    /// let publish = |text: &str| tags.publish(XaeroEvent::new(text.to_owned(), CRDT_SET_ADD).by(alice)).wait();
    /// publish("urgent")?;
    /// let earlier = tags.signed_head(alice)?.expect("it is signed");
    /// publish("reviewed")?;
    /// publish("done")?;
    /// let (proof, later) = tags.prove_extension(alice, earlier.head().length)?;
    /// later.verify(&node.public_key("alice")?)?;
    /// proof.check(&earlier.head().root, &later.head().root)?;
    /// # drop(handle);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`prove`](Self::prove), of the event with that sequence number.
    pub fn prove_extension(&self, author: XaeroID, old: u64) -> Result<(ConsistencyProof, SignedHead), Error> {
        let (engine, log) = self.log()?;
        Prover::new(Arc::downgrade(&engine), log).extension(author, old)
    }

    /// How many events each author has in the subject's log here, with the root over them; by author, ascending.
    ///
    /// # Errors
    /// As [`signed_head`](Self::signed_head).
    pub fn authors(&self) -> Result<Vec<(XaeroID, u64, Hash)>, Error> {
        let (engine, log) = self.log()?;
        match engine.ask(&log, Batch::Logs)? {
            Outcome::Logs(logs) => Ok(logs),
            _ => Ok(Vec::new()),
        }
    }

    /// The root over all authors' logs: equal on two nodes exactly when they hold the same events of this subject.
    ///
    /// ```
    /// use xaeroflux::{Node, XaeroEvent, event::CRDT_SET_ADD};
    /// let (here, there) = (Node::ephemeral()?, Node::ephemeral()?);
    /// let (ours, theirs) = (here.subject("tags"), there.subject("tags"));
    /// let handles = (ours.run()?, theirs.run()?);
    /// ours.publish(XaeroEvent::new("urgent", CRDT_SET_ADD)).wait()?;
    /// assert_ne!(ours.root()?, theirs.root()?);
    /// theirs.ingest(ours.frames(0, 10)?)?.wait()?;
    /// assert_eq!(ours.root()?, theirs.root()?);
    /// # drop(handles);
    /// # Ok::<(), xaeroflux::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`signed_head`](Self::signed_head).
    pub fn root(&self) -> Result<Hash, Error> {
        Ok(subject_root(self.id(), self.authors()?))
    }
}
