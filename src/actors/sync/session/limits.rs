//! Every number of a session, with its reason.

use std::time::Duration;

/// Bytes of chunks that are being stored at once: some are committed together while the next is verified. While there are as many,
/// nothing more is read; so there may be as many and the longest chunk, twice 6 MiB.
pub const MAX_STORING_BYTES: usize = 6 << 20;

/// Chunks and pieces of evidence that are being stored at once, however short they are.
pub const MAX_STORING: usize = 8;

/// Most authors of a version vector: 3.7 MB of what a peer makes us keep. A subject with more writers than that needs another way
/// to compare.
pub const MAX_AUTHORS: usize = 65_536;

/// A lazy peer hears of growth this much later, so that a burst of commits makes one summary.
pub const LAZY_DELAY: Duration = Duration::from_millis(50);

/// Who pushes says what it has after this much time without growth, so that both ends notice where they differ all the
/// same. Short enough for a person to wait, long enough to cost nothing.
pub const IDLE_SUMMARY: Duration = Duration::from_secs(5);

/// What a peer has and we lack may be on its way from elsewhere: it is fetched after this, and up to as much again by chance, so that
/// neighbours do not fetch the same at once. Above the round trip of most links.
pub const GRACE: Duration = Duration::from_millis(200);

/// A download that brought nothing new is followed by the next after this, then twice this, and so on.
pub const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest such wait while the peer says that it has changed: events that only this peer has are late by this at most.
pub const MAX_BACKOFF_CHANGED: Duration = Duration::from_secs(5);

/// The longest such wait for a peer that has not changed since the last download. What differs then is what *it* lacks.
pub const MAX_BACKOFF_UNCHANGED: Duration = Duration::from_secs(600);

/// Who has the turn and brings nothing new for so long loses it to the next peer: ten seconds are many round trips, and
/// little to wait for a reader.
pub const STALL: Duration = Duration::from_secs(10);

/// The same for a peer of which parts of a message keep coming: the largest chunk at 1 Mbit/s takes 50 seconds. Whoever is slower
/// loses the turn and may still finish.
pub const MAX_BARREN: Duration = Duration::from_secs(60);

/// As many stalls in a row, each with its wait, end the session.
pub const MAX_STALLS: u32 = 3;

/// Bytes of a message that count as a sign of life: what one round of the slowest link that is borne takes.
pub const PROGRESS_BYTES: usize = 16 << 10;

/// Events may come for so long after we said that we want no more: they were on their way.
pub const PUSH_LAPSE: Duration = Duration::from_secs(60);

/// Roots of our own that are remembered, to recognise a peer that is merely behind: those of the last second of fast growth.
pub const RECENT_ROOTS: usize = 16;

/// Most pieces of evidence of forks that are sent one after the other: below [`FLOOD_BURST`].
pub const MAX_FORKS_SENT: usize = 1_024;

/// The evidence of forks is sent at most this often: a peer that names a new digest in every summary gets no more.
pub const FORKS_EVERY: Duration = Duration::from_secs(1);

/// Small messages (summaries, parts of vectors, evidence, push, others) that may come at once: what an honest peer says in a
/// minute, held up by a link that was gone for as long and delivered it all together.
pub const FLOOD_BURST: u32 = 4_096;

/// Small messages that may come in a second, all the time: three times what [`LAZY_DELAY`] lets an honest peer say.
pub const FLOOD_RATE: u32 = 64;

const _: () = assert!(MAX_FORKS_SENT < FLOOD_BURST as usize);
const _: () = assert!(1_000 / LAZY_DELAY.as_millis() < FLOOD_RATE as u128);
