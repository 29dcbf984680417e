//! Messages on a stream: the frames of `wire/sync` read from and written to QUIC.
//!
//! A message that is announced costs nothing until it comes: its buffer grows with the bytes that are there, and one of more
//! than [`LARGE_MESSAGE`] bytes is assembled only with one of a few permits that the node has. A peer that begins a
//! message and does not go on is cut off, so that nobody holds a permit for long.
//!
//! [`MessageReader::next`] may be dropped while it waits, and called again: nothing is lost.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::{RecvStream, SendStream, VarInt, WriteError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{
    error::ReadMessageError,
    limits::{FIRST_RESERVE, LARGE_MESSAGE, LARGE_MESSAGES, READ_CHUNK},
};
use crate::wire::sync::{ByeReason, HEADER_BYTES, Header, Message};

/// How long the first bytes of a message may be apart from its header, on top of what its length allows.
const GRACE: Duration = Duration::from_secs(10);

/// The slowest line on which a message still comes in time, in bytes a second.
const SLOWEST: u64 = 16 << 10;

/// The right to assemble large messages: a few at a time for the whole node.
#[derive(Debug, Clone)]
pub(crate) struct Permits(Arc<Semaphore>);

impl Permits {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_MESSAGES)))
    }

    async fn one(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.0.clone().acquire_owned().await.ok()
    }
}

/// How long a message may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) grace: Duration,
    pub(crate) slowest: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { grace: GRACE, slowest: SLOWEST }
    }
}

impl Pace {
    fn allows(&self, length: usize) -> Duration {
        let seconds = u64::try_from(length).unwrap_or(u64::MAX) / self.slowest.max(1);
        self.grace.saturating_add(Duration::from_secs(seconds))
    }
}

/// Reads messages from a stream.
#[derive(Debug)]
pub(crate) struct MessageReader {
    recv: RecvStream,
    permits: Permits,
    pace: Pace,
    head: [u8; HEADER_BYTES],
    /// How much of the header is there.
    filled: usize,
    header: Option<Header>,
    body: Vec<u8>,
    permit: Option<OwnedSemaphorePermit>,
    /// When the message that has begun must be there.
    due: Option<Instant>,
}

impl MessageReader {
    pub(crate) fn new(recv: RecvStream, permits: Permits, pace: Pace) -> Self {
        Self {
            recv,
            permits,
            pace,
            head: [0; HEADER_BYTES],
            filled: 0,
            header: None,
            body: Vec::new(),
            permit: None,
            due: None,
        }
    }

    /// The stream, to stop it.
    pub(crate) fn recv_mut(&mut self) -> &mut RecvStream {
        &mut self.recv
    }

    /// From the next message on.
    pub(crate) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Ends the stream in this direction, and tells the peer why.
    pub(crate) fn stop(&mut self, reason: ByeReason) {
        // Where it has ended already there is nothing to end.
        let _ = self.recv.stop(VarInt::from_u32(reason.code().into()));
    }

    /// The next message; `None` at the end of the stream. Messages that may be skipped are.
    ///
    /// # Errors
    /// [`ReadMessageError`]: the stream is of no use after it.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, ReadMessageError> {
        loop {
            let Some(header) = self.header().await? else { return Ok(None) };
            if header.length > LARGE_MESSAGE && self.permit.is_none() {
                self.permit = self.permits.one().await;
                // Waiting for a permit is not the peer's fault.
                self.due = Some(Instant::now() + self.pace.allows(header.length));
            }
            while let Some(missing) = header.length.checked_sub(self.body.len()).filter(|missing| *missing > 0) {
                self.read_body(header.length, missing).await?;
            }
            let body = std::mem::take(&mut self.body);
            (self.filled, self.header, self.due) = (0, None, None);
            let message = Message::decode(header.kind, body);
            self.permit = None;
            if let Some(message) = message? {
                return Ok(Some(message));
            }
        }
    }

    /// The header of the message that comes next.
    async fn header(&mut self) -> Result<Option<Header>, ReadMessageError> {
        if self.header.is_some() {
            return Ok(self.header);
        }
        while self.filled < HEADER_BYTES {
            let rest = self.head.get_mut(self.filled..).unwrap_or_default();
            let read = match self.due {
                // No message has begun: the stream may be quiet for as long as it likes.
                None => self.recv.read(rest).await,
                Some(due) => timeout_at(due, self.recv.read(rest)).await.map_err(|_| ReadMessageError::TooSlow)?,
            };
            match read? {
                Some(read) if read > 0 => self.filled += read,
                _ if self.filled == 0 => return Ok(None),
                _ => return Err(ReadMessageError::CutShort),
            }
            self.due.get_or_insert_with(|| Instant::now() + self.pace.grace);
        }
        let header = Header::decode(self.head)?;
        self.due = Some(Instant::now() + self.pace.allows(header.length));
        self.header = Some(header);
        Ok(self.header)
    }

    async fn read_body(&mut self, length: usize, missing: usize) -> Result<(), ReadMessageError> {
        let read = self.recv.read_chunk(missing.min(READ_CHUNK));
        let read = match self.due {
            Some(due) => timeout_at(due, read).await.map_err(|_| ReadMessageError::TooSlow)?,
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
        Ok(())
    }
}

/// Writes a message.
///
/// # Errors
/// Where the stream or the connection is gone.
pub(crate) async fn write_message(send: &mut SendStream, message: &Message) -> Result<(), WriteError> {
    let mut bytes = Vec::new();
    message.encode_into(&mut bytes);
    send.write_all(&bytes).await
}
