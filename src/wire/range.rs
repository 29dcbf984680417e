//! Verifying a contiguous range of an author's log with one signature check.
//!
//! Who holds the beginning of a log and receives what comes next needs no proof of any event: the ids of the events that
//! arrive extend the [peaks](crate::wire::mmr::Peaks) of what is there, and if the root is then the one that the author
//! signed, each of the events is the author's, in its place, and none is missing.
//!
//! ```text
//! before: peaks of 1..=n ──▶ check(frames n+1..) ──▶ check(..) ──▶ finish(signed head of the whole)
//!                                                          or  ──▶ prefix_of(signed head, consistency proof)
//! ```
//!
//! Until one of the last two has passed, nothing is known about what was received but that its parts are well-formed.

use crate::wire::{
    archive,
    head::{HeadCheck, SignedHead},
    id::{EventId, SubjectId, XaeroID},
    key::PublicKey,
    mmr::{ConsistencyProof, Hash, Peaks},
    proof::ProofError,
    record::{RecordView, ids_of},
};

/// The check of one range, while its frames arrive.
///
/// ```
/// use xaeroflux::wire::{head::{HeadBatch, HeadCheck, LogHead}, id::SubjectId, mmr::Peaks, range::RangeCheck};
/// use xaeroflux::wire::{clock::Clock, event::EventType, frame, id::Dot, record::Record};
/// use xaeroflux::wire::sign::{SecretIdentity, Signer};
/// let (subject, author) = (SubjectId::from([9; 32]), SecretIdentity::generate()?);
/// # let mut frames = Vec::new();
/// # for seq in 1..=3 {
/// #     let mut frame = Vec::new();
/// #     let (dot, event_type) = (Dot::new(author.id(), seq), EventType::ApplicationEvent(30));
/// #     let record = Record { subject, dot, clock: Clock::from_millis(seq), latest_ts: 0, deps: &[], event_type, payload: b"like" };
/// #     frame::encode_into(&mut frame, &record)?;
/// #     frames.push(frame);
/// # }
/// let received: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
/// let mut check = RangeCheck::new(subject, author.id(), Peaks::new());
/// let events = check.feed(&received)?;
/// assert_eq!(events.len(), 3);
/// # let (length, root) = (check.peaks().len(), check.peaks().root());
/// # let batch = HeadBatch::sign(&author, vec![LogHead { subject, author: author.id(), length, root }])?;
/// # let signed_head = batch.signed_head(0).unwrap();
/// let peaks = check.finish(&signed_head, author.public_key(), &mut HeadCheck::new())?;
/// assert_eq!(peaks.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RangeCheck {
    subject: SubjectId,
    author: XaeroID,
    peaks: Peaks,
}

/// An event of a range that is not verified before the range is.
#[derive(Debug, Clone, Copy)]
pub struct RangeEvent<'a> {
    /// What is in the frame.
    pub record: RecordView<'a>,
    /// The event id.
    pub id: EventId,
}

impl RangeCheck {
    /// For the range that follows the log with these peaks, which the caller trusts.
    #[must_use]
    pub const fn new(subject: SubjectId, author: XaeroID, before: Peaks) -> Self {
        Self { subject, author, peaks: before }
    }

    /// The peaks of the log with all that was received so far, verified or not.
    #[must_use]
    pub const fn peaks(&self) -> &Peaks {
        &self.peaks
    }

    /// Takes the frames that come next, one event each. The more at once, the faster: thousands are hashed several times
    /// faster than one by one. After an error nothing of them was taken.
    ///
    /// # Errors
    /// [`ProofError::Frame`] where a frame cannot be read, [`ProofError::TrailingBytes`] where something follows it, and
    /// [`ProofError::OtherSubject`], [`ProofError::OtherAuthor`] or [`ProofError::OtherSeq`] where its event is not the
    /// one that comes next.
    pub fn feed<'a>(&mut self, frames: &[&'a [u8]]) -> Result<Vec<RangeEvent<'a>>, ProofError> {
        let mut records = Vec::with_capacity(frames.len());
        let mut expected = self.peaks.len();
        for (place, frame) in frames.iter().enumerate() {
            let (record, length) = archive::open(frame).map_err(|error| ProofError::Frame { place, error })?;
            if length != frame.len() {
                return Err(ProofError::TrailingBytes { what: "a frame", bytes: frame.len() - length });
            }
            expected = expected.saturating_add(1);
            self.check_place(&record, expected)?;
            records.push(record);
        }
        let ids = ids_of(&records);
        let leaves: Vec<Hash> = ids.iter().map(|id| *id.as_bytes()).collect();
        self.peaks.extend(&leaves, &mut |_, _, _| {});
        Ok(records.into_iter().zip(ids).map(|(record, id)| RangeEvent { record, id }).collect())
    }

    /// Checks that all that was received is the author's log up to this head, and gives the peaks of it.
    ///
    /// # Errors
    /// [`ProofError::OtherSubject`], [`ProofError::OtherAuthor`], [`ProofError::OtherLength`] where the head is that of
    /// another log, [`ProofError::WrongRoot`], and those of [`SignedHead::verify`].
    pub fn finish(self, head: &SignedHead, key: &PublicKey, heads: &mut HeadCheck) -> Result<Peaks, ProofError> {
        let signed = head.head();
        signed.check_log(self.subject, self.author)?;
        if signed.length != self.peaks.len() {
            return Err(ProofError::OtherLength { expected: self.peaks.len(), found: signed.length });
        }
        if signed.root != self.peaks.root() {
            return Err(ProofError::WrongRoot);
        }
        heads.verify(head, key)?;
        Ok(self.peaks)
    }

    /// Checks that all that was received is the beginning of the author's log up to this head, and gives the peaks of
    /// what was received.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish), [`ProofError::OtherLength`] also where the proof is for other lengths, and
    /// those of [`ConsistencyProof::check`].
    pub fn prefix_of(
        self,
        head: &SignedHead,
        proof: &ConsistencyProof,
        key: &PublicKey,
        heads: &mut HeadCheck,
    ) -> Result<Peaks, ProofError> {
        let signed = head.head();
        signed.check_log(self.subject, self.author)?;
        for (expected, found) in [(self.peaks.len(), proof.old), (signed.length, proof.new)] {
            if expected != found {
                return Err(ProofError::OtherLength { expected, found });
            }
        }
        proof.check(&self.peaks.root(), &signed.root)?;
        heads.verify(head, key)?;
        Ok(self.peaks)
    }

    fn check_place(&self, record: &RecordView<'_>, expected: u64) -> Result<(), ProofError> {
        if record.subject() != self.subject {
            return Err(ProofError::OtherSubject { expected: self.subject, found: record.subject() });
        }
        if record.author() != self.author {
            return Err(ProofError::OtherAuthor { expected: self.author, found: record.author() });
        }
        if record.seq() != expected {
            return Err(ProofError::OtherSeq { expected, found: record.seq() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
