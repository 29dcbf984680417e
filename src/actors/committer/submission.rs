//! What is handed to the committer, and what comes back.

use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use super::{explain::Explanation, heads::KnownHead, heal::Healing, ingest::IngestOutcome, rights::RightsError};
use crate::{
    actors::{
        bus::{Acknowledged, Chunk, Entry, PublishError},
        storage::{StorageError, ahead::Ahead, cursor::Cursor, cuts::Cuts, open::SubjectLog},
    },
    wire::{
        control::{MAX_CONTROL_BYTES, Role},
        fork::{Cut, ForkEvidence},
        frames::Frames,
        hash_many::HashMany,
        head::SignedHead,
        id::{Dot, EventId, XaeroID},
        key::PublicKey,
        mmr::{Hash, Peaks},
    },
};

/// What one subject hands over to be committed as a whole.
pub(crate) struct Submission {
    /// The subject's log.
    pub(crate) log: Arc<SubjectLog>,
    /// The ingress token: batches of a subject have increasing ones, and one is never committed twice.
    pub(crate) token: u64,
    /// What to write.
    pub(crate) batch: Batch,
    /// Told when the submission is dealt with.
    pub(crate) reply: Reply,
}

/// Called once, on the committer's thread: it must only pass the news on.
pub(crate) type Reply = Box<dyn FnOnce(Result<Outcome, StorageError>) + Send>;

/// What a submission writes.
#[derive(Clone)]
pub(crate) enum Batch {
    /// Events published here.
    Local(Arc<LocalBatch>),
    /// Events made elsewhere.
    Foreign(Arc<ForeignBatch>),
    /// The state of a fold as of an ordinal.
    Snapshot {
        /// Hash of the fold's name.
        fold: [u8; 32],
        /// How many events it covers, and the state.
        row: Arc<Vec<u8>>,
        /// The cuts that it was made under: with others it is of no use.
        cuts: Cuts,
    },
    /// Nothing: the question what is known of an author's head, answered when one is signed that covers so many events, or
    /// when none will be.
    Head { author: XaeroID, length: u64 },
    /// Nothing: the question what is known of all authors' heads at one moment.
    Heads,
    /// Nothing: the question what became of an event.
    Explain(Dot),
    /// The next events past the cut of a local writer, published again by the one that continues its work. Only the committer
    /// itself sends it.
    Heal { old: XaeroID, new: XaeroID },
    /// Nothing: the question what each author's log has come to, as far as it counts.
    Logs,
    /// Nothing: the question what each author's log has come to, as far as it is kept: what is past the end of a role, too.
    Kept,
    /// Rows of nodes of the authors' trees, which only the subject's MMR actor writes.
    Nodes(Arc<Vec<([u8; 16], Vec<u8>)>>),
    /// The place of a durable subscription.
    Cursor {
        /// Hash of its name.
        name: [u8; 32],
        /// The place; `None` forgets it.
        cursor: Option<Arc<Cursor>>,
    },
    /// What a local author, whose key is here, does about the roles in an owned subject.
    Act {
        /// Who does it.
        author: XaeroID,
        /// What.
        act: Act,
    },
    /// How the subject is shared: the row of that, `None` to forget it. The subject needs no event.
    Share(Option<Arc<Zeroizing<Vec<u8>>>>),
    /// Nothing of its own: the answer tells that the log's extent is known, and that all before it is dealt with.
    Open,
}

/// Something done about the roles in an owned subject.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// Begin it, with the nonce that its identifier is made of.
    Create([u8; 16]),
    /// Give a role.
    Grant { grantee: XaeroID, role: Role },
    /// Take one: of the target counts what is here now.
    Revoke { target: XaeroID },
}

/// Frames made elsewhere.
#[derive(Default)]
pub(crate) struct ForeignBatch {
    pub(crate) frames: Frames,
    /// The id of each, where they are known already.
    pub(crate) ids: Vec<EventId>,
    /// Whether signed heads of their authors cover them all.
    pub(crate) is_verified: bool,
    /// The logs that the frames were shown to continue.
    pub(crate) before: Vec<(XaeroID, Peaks)>,
    /// Such heads, verified, which become the newest of their authors where the log reaches as far.
    pub(crate) heads: Vec<SignedHead>,
    /// Such heads over more than the frames, with what shows that the log is a beginning of it.
    pub(crate) ahead: Vec<Ahead>,
    /// The keys of authors elsewhere.
    pub(crate) keys: Vec<PublicKey>,
    /// Evidence of forks, verified, and the cuts that follow.
    pub(crate) forks: Vec<(ForkEvidence, Cut)>,
}

/// A chunk of the bus whose authors are known.
pub(crate) struct LocalBatch {
    pub(crate) chunk: Arc<Chunk>,
    /// The node's own identity, for events without an author.
    pub(crate) own: XaeroID,
    /// Indexes of the events that are refused, ascending, and why.
    pub(crate) refused: Vec<(usize, PublishError)>,
    /// BLAKE3 of each payload, which the event ids are made of.
    pub(crate) payload_hashes: Vec<[u8; 32]>,
}

impl LocalBatch {
    /// Hashes the payloads, on the thread of the caller.
    pub(crate) fn new(chunk: Arc<Chunk>, own: XaeroID, refused: Vec<(usize, PublishError)>) -> Self {
        static HASH: OnceLock<HashMany> = OnceLock::new();
        let payloads: Vec<&[u8]> = chunk.entries.iter().map(unhashed).collect();
        let mut payload_hashes = HASH.get_or_init(HashMany::plain).all(&payloads);
        for (hash, entry) in payload_hashes.iter_mut().zip(&chunk.entries) {
            *hash = entry.payload_hash.unwrap_or(*hash);
        }
        Self { chunk, own, refused, payload_hashes }
    }
}

/// What became of a submission.
pub(crate) enum Outcome {
    /// One result for each event that wanted one; empty where nobody asked.
    Local(Vec<Result<Acknowledged, PublishError>>),
    /// One for each frame.
    Foreign(Vec<IngestOutcome>),
    /// Author, length and root of each log.
    Logs(Vec<(XaeroID, u64, Hash)>),
    /// What is known of an author's head.
    Head(Box<KnownHead>),
    /// What is known of the head of each author.
    Heads(Vec<KnownHead>),
    /// The control event is in the log, or is not for this reason.
    Acted(Box<Result<Acknowledged, RightsError>>),
    /// What became of an event.
    Explanation(Box<Explanation>),
    /// Events that were published again.
    Healed(Healing),
    /// Done.
    Done,
}

impl Batch {
    /// Whether it writes nothing, and is answered from what the committer knows after the commit that runs.
    pub(super) const fn is_question(&self) -> bool {
        matches!(self, Self::Head { .. } | Self::Heads | Self::Explain(_))
    }

    /// Whether it may end the log of a local writer, which is then to go on under another key before anything else is
    /// published.
    pub(super) fn may_cut(&self) -> bool {
        matches!(self, Self::Foreign(foreign) if !foreign.forks.is_empty())
    }

    /// Events and bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        match self {
            Self::Local(batch) => (batch.chunk.entries.len(), batch.chunk.bytes),
            Self::Foreign(foreign) => (foreign.frames.len(), foreign.frames.bytes()),
            Self::Snapshot { row, .. } => (1, row.len()),
            Self::Nodes(rows) => (1, rows.iter().map(|(_, row)| row.len()).sum()),
            Self::Cursor { cursor, .. } => {
                (1, cursor.as_ref().and_then(|cursor| cursor.state.as_ref()).map_or(0, |state| state.len()))
            }
            Self::Act { .. } => (1, MAX_CONTROL_BYTES),
            Self::Share(row) => (1, row.as_ref().map_or(0, |row| row.len())),
            Self::Open | Self::Logs | Self::Kept | Self::Head { .. } | Self::Heads => (0, 0),
            Self::Explain(_) | Self::Heal { .. } => (0, 0),
        }
    }
}

/// The payload, unless its sender has hashed it.
fn unhashed(entry: &Entry) -> &[u8] {
    if entry.payload_hash.is_some() { &[] } else { &entry.event.evt.data }
}
