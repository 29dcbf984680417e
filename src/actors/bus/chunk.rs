//! What a bus is made of, and what its consumer takes.

use std::sync::Arc;

use super::ReceiptGroup;
use crate::wire::event::XaeroEvent;

/// One event on a bus.
#[derive(Debug)]
pub struct Entry {
    /// The event, as it was sent.
    pub event: XaeroEvent,
    /// BLAKE3 of the payload, where it is long and the bus was told to have it made by the sending thread; see
    /// [`Bus::set_hash_payloads`](super::Bus::set_hash_payloads).
    pub payload_hash: Option<[u8; 32]>,
    /// Whether its sender holds a receipt, and so learns what becomes of it.
    pub receipt: bool,
}

impl Entry {
    /// What this event counts against the limits in bytes.
    pub(super) fn bytes(&self) -> usize {
        event_bytes(&self.event)
    }
}

/// Consecutive events of one bus.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The events, in the order in which they were sent. Never empty in a chunk that was drained.
    pub entries: Vec<Entry>,
    /// The receipts of these events, where any sender wanted one. Result number *n* is that of entry number *n*.
    pub receipts: Option<Arc<ReceiptGroup>>,
    /// What the events count against the limits in bytes; with the number of entries, what
    /// [`Bus::release`](super::Bus::release) wants back.
    pub bytes: usize,
}

/// What an event counts against the limits in bytes: its payload and its proof.
pub(super) fn event_bytes(event: &XaeroEvent) -> usize {
    event.evt.data.len() + event.merkle_proof.as_ref().map_or(0, Vec::len)
}
