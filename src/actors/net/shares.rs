//! The subjects that this node shares, and where their streams go.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hashbrown::HashMap;
use tokio::sync::watch;

use super::SubjectStream;
use crate::wire::{id::SubjectId, ticket::SubjectSecret};

/// What takes the streams of a subject. It is called on a thread of the network and must not block.
pub(crate) type Sink = Box<dyn Fn(SubjectStream) + Send + Sync>;

/// One shared subject.
pub(super) struct Share {
    pub(super) subject: SubjectId,
    /// The current secret first.
    pub(super) secrets: Vec<SubjectSecret>,
    pub(super) sink: Sink,
    number: u64,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Shares {
    state: Mutex<State>,
    /// The number of the latest change.
    latest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    shares: HashMap<SubjectId, Arc<Share>>,
    /// By the number of the change that brought them: who has seen up to one finds what is new behind it.
    by_number: BTreeMap<u64, SubjectId>,
    number: u64,
}

impl Shares {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), latest: watch::Sender::new(0) }
    }

    /// Shares a subject, or gives it other secrets, or another sink: each connection looks for it anew.
    /// Returns the number of the change, by which it is taken back.
    pub(super) fn insert(&self, subject: SubjectId, secrets: Vec<SubjectSecret>, sink: Sink) -> u64 {
        let number = {
            let mut state = self.lock();
            state.number += 1;
            let number = state.number;
            let share = Arc::new(Share { subject, secrets, sink, number });
            if let Some(former) = state.shares.insert(subject, share) {
                state.by_number.remove(&former.number);
            }
            state.by_number.insert(number, subject);
            number
        };
        self.latest.send_modify(|latest| *latest = number.max(*latest));
        number
    }

    /// Shares it no more, unless somebody has shared it anew since this change.
    pub(super) fn remove(&self, subject: SubjectId, number: u64) {
        let mut state = self.lock();
        if state.shares.get(&subject).is_some_and(|share| share.number == number) {
            state.shares.remove(&subject);
            state.by_number.remove(&number);
        }
    }

    pub(super) fn get(&self, subject: SubjectId) -> Option<Arc<Share>> {
        self.lock().shares.get(&subject).cloned()
    }

    pub(super) fn contains(&self, subject: SubjectId) -> bool {
        self.lock().shares.contains_key(&subject)
    }

    /// What has come after change number `seen`, and the number of the last of it.
    pub(super) fn since(&self, seen: u64) -> (Vec<Arc<Share>>, u64) {
        let state = self.lock();
        let new = state.by_number.range(seen.saturating_add(1)..).filter_map(|(_, subject)| state.shares.get(subject));
        (new.cloned().collect(), state.number)
    }

    /// Tells of changes.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
