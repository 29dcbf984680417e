//! Messages on a stream: the frames of `wire/sync` read from and written to QUIC.
//!
//! A message that is announced costs nothing until it comes: its buffer grows with the bytes that are there, and one of more
//! than [`LARGE_MESSAGE`] bytes is assembled only with one of a few permits that the node has. A peer that begins a
//! message and does not go on is cut off by its [`Pace`], so that nobody holds a permit for long.
//!
//! [`MessageReader::step`] may be dropped while it waits, and called again: nothing is lost.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt, WeakConnectionHandle, WriteError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{
    error::ReadMessageError,
    limits::{CONTENDED_AFTER, CONTENDED_RATE, FIRST_RESERVE, LARGE_MESSAGE, LARGE_MESSAGES, READ_CHUNK},
};
use crate::{
    actors::sync::pace::{MIN_BYTES, Pace},
    wire::sync::{ByeReason, Events, HEADER_BYTES, Header, Kind, Message},
};

/// The right to assemble large messages: a few at a time for the whole node.
#[derive(Debug, Clone)]
pub(crate) struct Permits {
    free: Arc<Semaphore>,
    /// How many wait for one.
    waiting: Arc<AtomicUsize>,
}

impl Permits {
    pub(crate) fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(LARGE_MESSAGES)), waiting: Arc::default() }
    }

    async fn one(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = Waiting::new(&self.waiting);
        // Nobody closes it.
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Whether somebody waits for one.
    fn is_contended(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Counts one who waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a stream has brought.
#[derive(Debug, PartialEq)]
pub(crate) enum Came {
    /// A message.
    Message(Message),
    /// A good part of a message that is not whole yet: a sign of life.
    Part,
    /// The end.
    End,
}

/// Reads messages from a stream.
#[derive(Debug)]
pub(crate) struct MessageReader {
    recv: RecvStream,
    connection: WeakConnectionHandle,
    /// Bytes that had come on the whole connection when the pace last began anew.
    received: u64,
    permits: Permits,
    /// What the times of the pace count from.
    start: Instant,
    pace: Pace,
    head: [u8; HEADER_BYTES],
    /// How much of the header is there.
    filled: usize,
    header: Option<Header>,
    body: Vec<u8>,
    permit: Option<OwnedSemaphorePermit>,
    /// When that was got.
    permit_since: Instant,
}

impl MessageReader {
    /// For a stream of this connection.
    pub(crate) fn new(recv: RecvStream, connection: &Connection, permits: Permits) -> Self {
        Self {
            recv,
            connection: connection.weak_handle(),
            received: 0,
            permits,
            start: Instant::now(),
            pace: Pace::new(),
            head: [0; HEADER_BYTES],
            filled: 0,
            header: None,
            body: Vec::new(),
            permit: None,
            permit_since: Instant::now(),
        }
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, ReadMessageError> {
        loop {
            match self.step().await? {
                Came::Message(message) => return Ok(Some(message)),
                Came::Part => {}
                Came::End => return Ok(None),
            }
        }
    }

    /// Ends the stream in this direction, and tells the peer why.
    pub(crate) fn stop(&mut self, reason: ByeReason) {
        // Where it has ended already there is nothing to end.
        let _ = self.recv.stop(VarInt::from_u32(reason.code().into()));
    }

    /// The next message, or a sign that one is on its way. Messages that may be skipped are.
    ///
    /// # Errors
    /// [`ReadMessageError`]: the stream is of no use after it.
    pub(crate) async fn step(&mut self) -> Result<Came, ReadMessageError> {
        loop {
            let Some(header) = self.header().await? else { return Ok(Came::End) };
            if header.length > LARGE_MESSAGE && self.permit.is_none() {
                self.permit = self.permits.one().await;
                self.permit_since = Instant::now();
                // Waiting for a permit is not the peer's fault.
                self.pace.completed();
                self.pace.received(self.start.elapsed(), 0);
            }
            while let Some(missing) = header.length.checked_sub(self.body.len()).filter(|missing| *missing > 0) {
                if self.read_body(header.length, missing).await? && self.body.len() < header.length {
                    return Ok(Came::Part);
                }
            }
            let body = std::mem::take(&mut self.body);
            (self.filled, self.header) = (0, None);
            self.pace.completed();
            let message = Message::decode(header.kind, body);
            self.permit = None;
            if let Some(message) = message? {
                return Ok(Came::Message(message));
            }
        }
    }

    /// The header of the message that comes next.
    async fn header(&mut self) -> Result<Option<Header>, ReadMessageError> {
        while self.filled < HEADER_BYTES {
            let due = self.due();
            let rest = self.head.get_mut(self.filled..).unwrap_or_default();
            let read = match due {
                // No message has begun: the stream may be quiet for as long as it likes.
                None => self.recv.read(rest).await,
                Some(due) => match timeout_at(due, self.recv.read(rest)).await {
                    Ok(read) => read,
                    Err(_) if self.shares_a_busy_connection() => continue,
                    Err(_) => return Err(ReadMessageError::TooSlow),
                },
            };
            if self.filled == 0 {
                self.received = self.connection_bytes().unwrap_or(0);
            }
            match read? {
                Some(read) if read > 0 => self.filled += read,
                _ if self.filled == 0 => return Ok(None),
                _ => return Err(ReadMessageError::CutShort),
            }
            self.pace.received(self.start.elapsed(), 1);
        }
        if self.header.is_none() {
            self.header = Some(Header::decode(self.head)?);
        }
        Ok(self.header)
    }

    /// Reads some of the body. Returns whether it was enough to count as a sign of life.
    async fn read_body(&mut self, length: usize, missing: usize) -> Result<bool, ReadMessageError> {
        let due = self.due();
        let read = self.recv.read_chunk(missing.min(READ_CHUNK));
        let read = match due {
            Some(due) => match timeout_at(due, read).await {
                Ok(read) => read,
                Err(_) if self.shares_a_busy_connection() => return Ok(true),
                Err(_) => return Err(ReadMessageError::TooSlow),
            },
            None => read.await,
        };
        let chunk = read?.ok_or(ReadMessageError::CutShort)?;
        let needed = self.body.len() + chunk.len();
        if self.body.capacity() < needed {
            // Twice what is there, never what was claimed.
            let capacity = needed.saturating_mul(2).max(FIRST_RESERVE).min(length);
            self.body.reserve_exact(capacity.saturating_sub(self.body.len()));
        }
        self.body.extend_from_slice(&chunk);
        if self.permit.is_some() && self.permits.is_contended() && self.is_slow() {
            return Err(ReadMessageError::Outpaced);
        }
        Ok(self.pace.received(self.start.elapsed(), chunk.len()))
    }

    /// Whether the message comes too slowly to hold up others.
    fn is_slow(&self) -> bool {
        let held = self.permit_since.elapsed();
        let seconds = usize::try_from(held.as_secs()).unwrap_or(usize::MAX);
        held >= CONTENDED_AFTER && self.body.len() < seconds.saturating_mul(CONTENDED_RATE)
    }

    /// Bytes that have come on the whole connection; `None` where it is gone.
    fn connection_bytes(&self) -> Option<u64> {
        Some(self.connection.upgrade()?.stats().udp_rx.bytes)
    }

    /// Whether other streams of the connection have brought what this one should have: a thin line that many share is nobody's
    /// fault. What comes on this stream is waited for anew then.
    fn shares_a_busy_connection(&mut self) -> bool {
        let Some(received) = self.connection_bytes() else { return false };
        let is_busy = received.saturating_sub(self.received) >= u64::try_from(MIN_BYTES).unwrap_or(u64::MAX);
        self.received = received;
        if is_busy {
            self.pace.completed();
            self.pace.received(self.start.elapsed(), 0);
        }
        is_busy
    }

    fn due(&self) -> Option<Instant> {
        self.pace.deadline().map(|due| self.start + due)
    }
}

/// Writes a message. Dropped before the end, it resets the stream: QUIC would end it in the middle of the message as if that
/// were whole, which no correct peer does.
///
/// # Errors
/// Where the stream or the connection is gone.
pub(crate) async fn write_message(send: &mut SendStream, message: &Message) -> Result<(), WriteError> {
    let mut bytes = Vec::new();
    message.encode_into(&mut bytes);
    let mut writing = Writing { send, is_whole: false };
    writing.send.write_all(&bytes).await?;
    writing.is_whole = true;
    Ok(())
}

/// Writes a chunk of events, without another copy of it; otherwise as [`write_message`].
///
/// # Errors
/// Where the stream or the connection is gone.
pub(crate) async fn write_events(send: &mut SendStream, events: Events) -> Result<(), WriteError> {
    let body = events.into_body();
    let header = Header { kind: Kind::EVENTS, length: body.len() }.encode();
    let mut writing = Writing { send, is_whole: false };
    writing.send.write_all(&header).await?;
    writing.send.write_chunk(body.into()).await?;
    writing.is_whole = true;
    Ok(())
}

/// A message that is being written.
struct Writing<'s> {
    send: &'s mut SendStream,
    is_whole: bool,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            // Where it is gone already there is nothing to reset.
            let _ = self.send.reset(VarInt::from_u32(ByeReason::Failed.code().into()));
        }
    }
}
