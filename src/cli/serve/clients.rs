//! The clients that are connected at once, and how they are asked to end.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::link::Link;

/// Most commands that use the node at once. Each has up to three threads here.
pub const MAX_CLIENTS: usize = 64;

/// How long commands may take to end when the node does: longer than any commit takes for what was sent last.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// How long they may take after that, once they can neither read nor write.
const HANG_UP_PATIENCE: Duration = Duration::from_secs(5);

/// All clients.
#[derive(Default)]
pub struct Clients {
    inside: Mutex<Inside>,
    /// One has left.
    left: Condvar,
}

#[derive(Default)]
struct Inside {
    links: HashMap<u64, Arc<Link>>,
    /// The number of the next one.
    next: u64,
}

/// The place of a client, which is free again when this is dropped.
pub struct Slot {
    clients: Arc<Clients>,
    number: u64,
}

impl Clients {
    /// A place for one more; `None` where there is none.
    pub fn enter(self: &Arc<Self>, link: &Arc<Link>) -> Option<Slot> {
        let mut inside = self.inside();
        if inside.links.len() >= MAX_CLIENTS {
            return None;
        }
        let number = inside.next;
        inside.next = number.wrapping_add(1);
        inside.links.insert(number, Arc::clone(link));
        Some(Slot { clients: Arc::clone(self), number })
    }

    /// Asks all to end, and waits until they have; not for ever. Nobody may enter any more.
    pub fn end(&self) {
        self.each(Link::end);
        if self.wait(END_PATIENCE) {
            return;
        }
        self.each(Link::hang_up);
        if !self.wait(HANG_UP_PATIENCE) {
            tracing::warn!(commands = self.inside().links.len(), "some commands did not end in time");
        }
    }

    fn each(&self, tell: impl Fn(&Link)) {
        // Not under the lock: who is told may leave at once.
        let links: Vec<Arc<Link>> = self.inside().links.values().cloned().collect();
        links.iter().for_each(|link| tell(link));
    }

    /// Whether all are gone within this time.
    fn wait(&self, patience: Duration) -> bool {
        let waited = self.left.wait_timeout_while(self.inside(), patience, |inside| !inside.links.is_empty());
        let (inside, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inside.links.is_empty()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let link = self.clients.inside().links.remove(&self.number);
        self.clients.left.notify_all();
        drop(link);
    }
}
