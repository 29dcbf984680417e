//! Local notices: what the engine has to tell about a subject, besides its events.
//!
//! Notices travel on the control bus and are never stored. Whoever wants them asks for a [`Notices`] and gets those from
//! then on; a reader that falls behind loses the oldest, and is told how many.

use std::{
    sync::Arc,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use super::pipeline::{MAX_REPORTS, Report};
use crate::{
    actors::{bus::PublishError, watch::ChildKind},
    wire::{
        event::XaeroEvent,
        id::{Dot, EndpointId, XaeroID},
    },
};

/// Notices that a reader may leave unread before it loses the oldest: all that one pipeline has to report at once.
pub const NOTICES: usize = MAX_REPORTS + 1;

/// Something that happened to a subject.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// A child of the subject ended.
    ChildDied {
        /// Which.
        child: ChildKind,
        /// Whether in a panic.
        panicked: bool,
        /// After this wait it is started again; `None` where it is not.
        restart_after: Option<Duration>,
    },
    /// A child of the subject is up again.
    ChildRestarted {
        /// Which.
        child: ChildKind,
        /// Batches that were sent to it again.
        replayed: usize,
    },
    /// The subject, or the whole node, gave up.
    Escalated {
        /// Why.
        reason: String,
    },
    /// Events were put among the dead letters: see [`Subject::dead_letters`](crate::Subject::dead_letters).
    SetAside {
        /// How many.
        events: usize,
        /// Why.
        reason: String,
    },
    /// Events were not stored.
    Refused {
        /// Their author.
        author: XaeroID,
        /// How many.
        events: usize,
        /// Why.
        error: PublishError,
    },
    /// A subscriber that drops what it cannot take in time has lost events.
    Lagged {
        /// How many since the last notice.
        missed: u64,
    },
    /// A subscriber's closure panicked; its subscription is gone.
    SubscriberPanicked {
        /// What it said.
        message: String,
    },
    /// The storage could not be read for a subscriber; its subscription is gone.
    SubscriptionFailed {
        /// Why.
        reason: String,
    },
    /// A fold left an event out of its state, since it breaks this rule. The event stays in the log.
    Skipped {
        /// The event.
        dot: Dot,
        /// The rule.
        rule: &'static str,
    },
    /// An author has signed two histories of the subject. What it wrote after this event counts for nothing from now on:
    /// folds leave it out, and those that had taken it begin anew. Subscribers may have been given it before.
    Forked {
        /// The author.
        author: XaeroID,
        /// The sequence number of its last event that counts.
        last_valid: u64,
    },
    /// An author of an owned subject was revoked. What it wrote after this event counts for nothing from now on: folds leave
    /// it out, and those that had taken it begin anew. Subscribers may have been given it before.
    Revoked {
        /// The author.
        author: XaeroID,
        /// The sequence number of its last event that counts.
        last_valid: u64,
    },
    /// An author of an owned subject is not revoked any more, since who revoked it had no right to. Folds that had left
    /// events of the author out begin anew; subscribers are not given those that they have gone past.
    Restored {
        /// The author.
        author: XaeroID,
    },
    /// A peer was not served: its writer was revoked.
    PeerRefused {
        /// The peer's endpoint.
        endpoint: EndpointId,
        /// The peer's writer.
        writer: XaeroID,
    },
    /// A peer does not serve this node: it says that the node's own identity was revoked, or shares the subject no more.
    NotServed {
        /// The peer's endpoint.
        endpoint: EndpointId,
        /// The peer's writer.
        writer: XaeroID,
    },
    /// A peer broke the rules of the protocol on this subject: it was cut off.
    PeerCutOff {
        /// The peer's endpoint.
        endpoint: EndpointId,
        /// The peer's writer.
        writer: XaeroID,
        /// What it did.
        what: String,
    },
    /// The log of a writer of this node has forked, and its identity goes on under a fresh key that the old one vouches for:
    /// see [`Node::successor`](crate::Node::successor). What it wrote past the fork, as far as it is here, was published again under
    /// the new key.
    Healed {
        /// The writer whose log ends.
        old: XaeroID,
        /// The writer that continues its work. The local name stands for it, and events by the old one become its own.
        new: XaeroID,
        /// The sequence number of the old one's last event that counts.
        last_valid: u64,
        /// How many of the events after that are published again, in all.
        events: u64,
    },
    /// A reducer cannot read the state of the fold before it.
    CannotReduce {
        /// The fold.
        fold: String,
        /// The reducer.
        reduce: String,
    },
    /// So many notices of this kind were left out.
    Omitted(u64),
    /// An event that the application sent on the control bus.
    Control(XaeroEvent),
}

impl From<Report> for Notice {
    fn from(report: Report) -> Self {
        match report {
            Report::Skipped { dot, rule, .. } => Self::Skipped { dot, rule },
            Report::CannotReduce { fold, reduce } => Self::CannotReduce { fold, reduce },
            Report::Omitted(count) => Self::Omitted(count),
        }
    }
}

/// Hands notices to their readers.
#[derive(Default)]
pub(crate) struct NoticeHub {
    readers: Mutex<Vec<Reader>>,
}

struct Reader {
    sender: Sender<Notice>,
    /// The other end, to take the oldest out where there is no room.
    oldest: Receiver<Notice>,
    missed: std::sync::Weak<AtomicU64>,
}

impl NoticeHub {
    pub(crate) fn tell(&self, notice: &Notice) {
        match notice {
            Notice::Control(_) => {}
            Notice::ChildRestarted { .. } | Notice::Skipped { .. } | Notice::Restored { .. } => {
                tracing::info!(?notice, "notice")
            }
            other => tracing::warn!(notice = ?other, "notice"),
        }
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| {
            let Some(missed) = reader.missed.upgrade() else { return false };
            let mut notice = notice.clone();
            while let Err(TrySendError::Full(returned)) = reader.sender.try_send(notice) {
                notice = returned;
                if reader.oldest.try_recv().is_ok() {
                    missed.fetch_add(1, Ordering::Relaxed);
                }
            }
            true
        });
    }

    pub(crate) fn subscribe(&self) -> Notices {
        let (sender, receiver) = bounded(NOTICES);
        let missed = Arc::new(AtomicU64::new(0));
        let reader = Reader { sender, oldest: receiver.clone(), missed: Arc::downgrade(&missed) };
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        Notices { receiver, missed }
    }
}

/// The notices of a subject from the moment this was made.
#[derive(Debug)]
pub struct Notices {
    receiver: Receiver<Notice>,
    missed: Arc<AtomicU64>,
}

impl Notices {
    /// The next notice, if there is one now.
    #[must_use]
    pub fn try_next(&self) -> Option<Notice> {
        self.receiver.try_recv().ok()
    }

    /// The next notice, waited for at most so long.
    #[must_use]
    pub fn next_timeout(&self, timeout: Duration) -> Option<Notice> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// Notices that were lost because this reader was more than [`NOTICES`] behind.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_falls_behind_loses_the_oldest_and_learns_how_many() {
        let hub = NoticeHub::default();
        let notices = hub.subscribe();
        for n in 0..NOTICES as u64 + 3 {
            hub.tell(&Notice::Omitted(n));
        }
        assert!(matches!(notices.try_next(), Some(Notice::Omitted(3))));
        assert_eq!(notices.missed(), 3);
    }
}
