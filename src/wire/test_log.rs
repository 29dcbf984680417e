//! A small log for the tests of proofs.

use crate::wire::{
    archive,
    clock::Clock,
    event::EventType,
    frame,
    head::{HeadBatch, LogHead, SignedHead},
    id::{Dot, EventId, SubjectId, XaeroID},
    key::PublicKey,
    mmr::{Hash, InclusionProof, Tree, root_at},
    proof::{EventHeader, EventProof},
    record::{Record, RecordView},
    sign::{Signer, tests::identity},
};

pub(crate) const SUBJECT: [u8; 32] = [9; 32];

/// A log of the tests' identity: its frames and all of its tree.
pub(crate) struct TestLog {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) tree: Tree,
}

impl TestLog {
    /// Of so many events, with 0 to 2 dependencies.
    pub(crate) fn new(events: u64) -> Self {
        Self::forked(events, u64::MAX)
    }

    /// As [`new`](Self::new), with other payloads from this sequence number on.
    pub(crate) fn forked(events: u64, at: u64) -> Self {
        let frames: Vec<Vec<u8>> = (1..=events).map(|seq| frame_of(seq, if seq < at { "a" } else { "b" })).collect();
        let leaves: Vec<Hash> = frames.iter().map(|frame| view(frame).id().into()).collect();
        Self { frames, tree: Tree::new(&leaves) }
    }

    pub(crate) fn frames(&self) -> Vec<&[u8]> {
        self.frames.iter().map(Vec::as_slice).collect()
    }

    /// The event with this sequence number.
    pub(crate) fn record(&self, seq: u64) -> RecordView<'_> {
        view(&self.frames[usize::try_from(seq - 1).unwrap()])
    }

    pub(crate) fn id(&self, seq: u64) -> EventId {
        self.record(seq).id()
    }

    /// The head at this length, in a batch with others.
    pub(crate) fn head(&self, length: u64) -> SignedHead {
        let root = root_at(&mut &self.tree, length).unwrap();
        let head = LogHead { subject: SubjectId::from(SUBJECT), author: identity().id(), length, root };
        let other = LogHead { subject: SubjectId::from([8; 32]), length: 4, ..head };
        HeadBatch::sign(identity(), vec![other, head, other]).unwrap().signed_head(1).unwrap()
    }

    pub(crate) fn inclusion(&self, seq: u64, length: u64) -> InclusionProof {
        InclusionProof::make(&mut &self.tree, seq - 1, length).unwrap()
    }

    /// The proof of the event with this sequence number under this head.
    pub(crate) fn proof(&self, seq: u64, head: &SignedHead) -> EventProof {
        let inclusion = self.inclusion(seq, head.head().length);
        EventProof::new(EventHeader::of(&self.record(seq)), inclusion, head.clone()).unwrap()
    }
}

/// The public key of the tests' identity.
pub(crate) fn public_key() -> PublicKey {
    identity().public_key().clone()
}

fn view(frame: &[u8]) -> RecordView<'_> {
    archive::open(frame).unwrap().0
}

fn frame_of(seq: u64, payload: &str) -> Vec<u8> {
    let dep = |author: u8| Dot::new(XaeroID::from([author; 32]), seq);
    let deps: Vec<Dot> = (0..u8::try_from(seq % 3).unwrap()).map(dep).collect();
    let payload = payload.repeat(usize::try_from(seq).unwrap());
    let mut frame = Vec::new();
    let record = Record {
        subject: SubjectId::from(SUBJECT),
        dot: Dot::new(identity().id(), seq),
        clock: Clock::from_millis(1_700_000_000_000 + seq),
        latest_ts: seq * 10,
        deps: &deps,
        event_type: EventType::ApplicationEvent(30),
        payload: payload.as_bytes(),
    };
    frame::encode_into(&mut frame, &record).unwrap();
    frame
}
