//! `take` and `distinct`: fewer events, by what has passed before.

use std::collections::VecDeque;

use hashbrown::HashSet;

use crate::{
    subject::pipeline::machine::{Downstream, Item, Stage},
    wire::event::XaeroEvent,
};

/// How many different events `distinct` remembers: the latest 65,536, in about 3 MB. It has to forget some time, or a
/// subscription would grow as long as it lives.
pub const DISTINCT_MEMORY: usize = 65_536;

/// `take`: lets so many events pass, and no more.
pub(super) struct Take {
    left: u64,
}

impl Take {
    pub(super) const fn new(count: u64) -> Self {
        Self { left: count }
    }
}

impl Stage for Take {
    fn feed(&mut self, item: Item<'_>, down: &mut Downstream<'_, '_>) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        down.emit(item);
        if self.left == 0 {
            down.end();
        }
    }

    fn has_ended(&self) -> bool {
        self.left == 0
    }
}

/// 128 bits of BLAKE3 over type and payload. Nobody finds two events that share one, not even on purpose.
type Digest = [u8; 16];

/// `distinct`: lets an event pass whose type and payload are not among those remembered.
pub(super) struct Distinct {
    memory: usize,
    seen: HashSet<Digest>,
    /// The same digests, oldest first.
    order: VecDeque<Digest>,
}

impl Distinct {
    pub(super) fn new(memory: usize) -> Self {
        Self { memory, seen: HashSet::new(), order: VecDeque::new() }
    }
}

impl Stage for Distinct {
    fn feed(&mut self, item: Item<'_>, down: &mut Downstream<'_, '_>) {
        let digest = digest(&item.event);
        if !self.seen.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > self.memory
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        down.emit(item);
    }
}

fn digest(event: &XaeroEvent) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&event.evt.event_type.to_bytes());
    hasher.update(&event.evt.data);
    let mut digest = Digest::default();
    hasher.finalize_xof().fill(&mut digest);
    digest
}
