//! How much a bus takes.

/// Most events in one chunk. A commit of a thousand events costs about as much a piece as one of ten thousand, and a
/// chunk is also the longest that a subject keeps a worker to itself.
pub const CHUNK_EVENTS: usize = 1_024;

/// Most payload in one chunk, in bytes (4 MiB): few large events are a chunk, too.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Most events on a bus: four chunks, so that one can fill while others are
/// committed.
pub const BUS_EVENTS: usize = 4_096;

/// Most payload on a bus, in bytes (32 MiB).
pub const BUS_BYTES: usize = 32 << 20;

/// The limits of one bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusLimits {
    /// Most events: [`BUS_EVENTS`].
    pub events: usize,
    /// Most payload, in bytes: [`BUS_BYTES`]. An event that is larger by itself is taken when nothing else is there.
    pub bytes: usize,
    /// Most events in a chunk: [`CHUNK_EVENTS`].
    pub chunk_events: usize,
    /// Most payload in a chunk, in bytes: [`CHUNK_BYTES`]. An event that is larger by itself is its own chunk.
    pub chunk_bytes: usize,
}

impl Default for BusLimits {
    fn default() -> Self {
        Self { events: BUS_EVENTS, bytes: BUS_BYTES, chunk_events: CHUNK_EVENTS, chunk_bytes: CHUNK_BYTES }
    }
}

impl BusLimits {
    /// The same limits, with room for one event at least.
    pub(super) fn normalised(self) -> Self {
        Self { events: self.events.max(1), chunk_events: self.chunk_events.max(1), ..self }
    }
}
