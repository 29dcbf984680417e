//! The streams of one connection, one for each subject that both sides share, and the hand-over to the subject.
//!
//! A *slot* is the right to the one stream of a subject. Whoever was handed the stream holds it, and the next stream of
//! that subject comes when it is gone.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hashbrown::HashMap;
use iroh::endpoint::{SendStream, VarInt};
use tokio::sync::{Notify, mpsc};

use super::framed::MessageReader;
use crate::wire::{
    id::{EndpointId, SubjectId, XaeroID},
    sync::{ByeReason, Role, Tag},
};

/// Who is at the other end of a stream.
#[derive(Debug, Clone)]
pub(crate) struct PeerInfo {
    /// The peer's endpoint.
    pub(crate) endpoint: EndpointId,
    /// The peer's writer.
    pub(crate) writer: XaeroID,
    /// What the peer can do beyond the protocol's first version: bits of [`Versions`](crate::wire::sync::Versions).
    pub(crate) features: u32,
    /// Which side of the connection this node is.
    pub(crate) role: Role,
    /// Where the peer is, if it is reached directly.
    pub(crate) addr: Option<SocketAddr>,
    /// Whether the connection resists quantum computers; `None` where it cannot be told.
    pub(crate) post_quantum: Option<bool>,
}

/// A stream about one subject, between two nodes that have both shown that they know its secret. Its first message was
/// taken off already. Dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct SubjectStream {
    /// Who is at the other end.
    pub(crate) peer: PeerInfo,
    /// What comes.
    pub(crate) reader: MessageReader,
    /// What goes.
    pub(crate) send: SendStream,
    /// Keeps other streams of this subject away: drop it last.
    pub(crate) slot: Slot,
}

impl SubjectStream {
    /// Ends the stream at once, and tells the peer why.
    pub(crate) fn reset(mut self, reason: ByeReason) {
        reset(&mut self.send, &mut self.reader, reason);
    }
}

/// Ends a stream in both directions.
pub(super) fn reset(send: &mut SendStream, reader: &mut MessageReader, reason: ByeReason) {
    let code = VarInt::from_u32(reason.code().into());
    // Where it has ended already there is nothing to end.
    let _ = send.reset(code);
    reader.stop(reason);
}

/// The slots of one connection.
#[derive(Debug, Clone)]
pub(super) struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The subjects that have a stream; with a tag where the peer has asked for another one since.
    taken: Mutex<HashMap<SubjectId, Option<Tag>>>,
    /// A slot is free again.
    freed: Notify,
    /// The streams that were asked for while their slot was taken: at most one for each slot.
    again: mpsc::UnboundedSender<(SubjectId, Tag)>,
}

impl Slots {
    /// All free. What was asked for while it was taken comes out of the channel when it is free.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<(SubjectId, Tag)>) {
        let (again, asked) = mpsc::unbounded_channel();
        (Self(Arc::new(Inner { taken: Mutex::default(), freed: Notify::new(), again })), asked)
    }

    /// The slot of a subject, or a note that it was asked for.
    pub(super) fn take_or_note(&self, subject: SubjectId, tag: Tag) -> Option<Slot> {
        let mut taken = self.0.lock();
        if let Some(noted) = taken.get_mut(&subject) {
            *noted = Some(tag);
            return None;
        }
        taken.insert(subject, None);
        Some(Slot { slots: Arc::clone(&self.0), subject })
    }

    /// The slot of a subject, as soon as it is free: the side that opens streams may know before the other one that the
    /// former one has ended.
    pub(super) async fn take(&self, subject: SubjectId) -> Slot {
        loop {
            // Listening before looking.
            let freed = self.0.freed.notified();
            if let Some(slot) = self.0.try_take(subject) {
                return slot;
            }
            freed.await;
        }
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.0.lock().len()
    }
}

impl Inner {
    fn try_take(self: &Arc<Self>, subject: SubjectId) -> Option<Slot> {
        let mut taken = self.lock();
        if taken.contains_key(&subject) {
            return None;
        }
        taken.insert(subject, None);
        Some(Slot { slots: Arc::clone(self), subject })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SubjectId, Option<Tag>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to the one stream of a subject on one connection.
pub(crate) struct Slot {
    slots: Arc<Inner>,
    subject: SubjectId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let noted = self.slots.lock().remove(&self.subject).flatten();
        if let Some(tag) = noted {
            // The connection may be gone.
            let _ = self.slots.again.send((self.subject, tag));
        }
        self.slots.freed.notify_waiters();
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("subject", &self.subject).finish_non_exhaustive()
    }
}
