//! What an event id is taken over, and ids of many events at once: see [`record`](crate::wire::record) for the layout.

use std::sync::LazyLock;

use crate::wire::{
    clock::Clock,
    event::EventType,
    hash_many::HashMany,
    id::{Dot, EventId, SubjectId},
    record::{Record, RecordView},
};

/// Domain of the event id.
const EVENT_ID_CONTEXT: &str = "xaeroflux 2026 event id v1";

/// Length of the fields before the dependencies.
pub(crate) const FIXED_BYTES: usize = 96;

/// Length of one dependency.
pub(crate) const DEP_BYTES: usize = 40;

/// All of the preimage but the dependencies.
pub(crate) struct Fields<'a> {
    pub(crate) subject: SubjectId,
    pub(crate) dot: Dot,
    pub(crate) clock: Clock,
    pub(crate) latest_ts: u64,
    pub(crate) event_type: EventType,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_hash: &'a [u8; 32],
}

impl Fields<'_> {
    /// The id of the event with these dependencies.
    pub(crate) fn id(&self, deps: impl ExactSizeIterator<Item = Dot>) -> EventId {
        let mut preimage = Vec::with_capacity(FIXED_BYTES + deps.len() * DEP_BYTES + 32);
        self.write(deps, &mut preimage);
        EventId::from(id_hash().one(&preimage))
    }

    /// Appends the preimage.
    pub(crate) fn write(&self, deps: impl ExactSizeIterator<Item = Dot>, out: &mut Vec<u8>) {
        let mut fixed = [0; FIXED_BYTES];
        let mut rest = fixed.as_mut_slice();
        let mut put = |bytes: &[u8]| {
            let (slot, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            slot.copy_from_slice(bytes);
            rest = after;
        };
        put(self.subject.as_bytes());
        put(self.dot.author.as_bytes());
        put(&self.dot.seq.to_le_bytes());
        put(&self.clock.to_bits().to_le_bytes());
        put(&self.latest_ts.to_le_bytes());
        put(&self.event_type.to_bytes());
        // Bounded far below by the protocol's limit, which is checked before a record is made.
        put(&u16::try_from(deps.len()).unwrap_or(u16::MAX).to_le_bytes());
        put(&self.payload_bytes.to_le_bytes());
        out.extend_from_slice(&fixed);
        for dep in deps {
            out.extend_from_slice(dep.author.as_bytes());
            out.extend_from_slice(&dep.seq.to_le_bytes());
        }
        out.extend_from_slice(self.payload_hash);
    }
}

/// The preimages of many event ids, which are hashed together: see [`hash_many`](crate::wire::hash_many).
#[derive(Default)]
pub(crate) struct Preimages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Preimages {
    /// Adds an event.
    pub(crate) fn push(&mut self, record: &Record<'_>, payload_hash: &[u8; 32]) {
        record.fields(payload_hash).write(record.deps.iter().copied(), &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Adds an event that is archived.
    pub(crate) fn push_view(&mut self, record: &RecordView<'_>, payload_hash: &[u8; 32]) {
        record.fields(payload_hash).write(record.deps(), &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The ids of the events that were added, in their order. Forgets the events.
    pub(crate) fn take_ids(&mut self) -> impl Iterator<Item = EventId> + use<> {
        let mut start = 0;
        let inputs: Vec<&[u8]> = self
            .ends
            .iter()
            .map(|end| self.bytes.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default())
            .collect();
        let ids = id_hash().all(&inputs);
        self.bytes.clear();
        self.ends.clear();
        ids.into_iter().map(EventId::from)
    }
}

/// The hash of the domain, its key derived, which costs as much as a short hash itself.
fn id_hash() -> &'static HashMany {
    static HASH: LazyLock<HashMany> = LazyLock::new(|| HashMany::derive_key(EVENT_ID_CONTEXT));
    &HASH
}
