//! How much a neighbour may deliver, and what becomes of one who delivers more, or what no member has made.
//!
//! Neighbours relay before anybody looks at what they relay, so most of what an honest one delivers is not its own: it is cut
//! off for a minute at worst, and its sessions go on. Only of what it says is its own it is known whose fault that is.

use std::{collections::BTreeMap, time::Duration};

use crate::wire::id::EndpointId;

/// Announcements of one neighbour at once, and in a second, that are looked at.
pub const FROM_NEIGHBOUR: (u32, u32) = (128, 32);

/// Announcements of all neighbours at once, and in a second, that are looked at.
pub const FROM_ALL: (u32, u32) = (512, 128);

/// Announcements of one neighbour at once, and in a second, beyond which it is not heard for a while: what a few hundred
/// members say who all write at the same time.
pub const FLOOD: (u32, u32) = (4_000, 1_000);

/// Announcements in a minute that are a neighbour's own and no member's: such as it had on their way when the secret changed.
pub const FORGED_OWN: u32 = 16;

/// Announcements in a minute that a neighbour has relayed and no member has made. It did not look at them.
pub const FORGED_RELAYED: u32 = 1_024;

/// How long these are counted together.
const FORGED_FOR: Duration = Duration::from_secs(60);

/// How long what was on its way when a neighbour was cut off is dropped, and not held against it once more.
const CUT_FOR: Duration = Duration::from_secs(10);

/// Neighbours that are counted: there are about five, and they change.
pub const MAX_NEIGHBOURS: usize = 128;

/// What was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Announcements that came too fast.
    pub dropped: u64,
    /// Announcements that no member has made.
    pub forged: u64,
    /// Times that announcements were lost because there were too many.
    pub lagged: u64,
}

/// What is to become of who delivers something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing.
    Fine,
    /// It is not looked at.
    Drop,
    /// It is not heard for a while.
    Mute,
    /// It has broken the protocol.
    Offence,
}

/// So many at once, so many a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    burst: Duration,
    each: Duration,
    /// When it would be full again.
    full_at: Duration,
}

impl Bucket {
    pub(super) const fn new((burst, a_second): (u32, u32)) -> Self {
        let each = match Duration::from_secs(1).checked_div(a_second) {
            Some(each) => each,
            None => Duration::MAX,
        };
        Self { burst: each.saturating_mul(burst), each, full_at: Duration::ZERO }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let full_at = self.full_at.max(now).saturating_add(self.each);
        let is_there = full_at <= now.saturating_add(self.burst);
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }

    /// When there will be one.
    pub(super) fn next(&self, now: Duration) -> Duration {
        self.full_at.saturating_add(self.each).saturating_sub(self.burst).max(now)
    }
}

/// Counts what neighbours deliver.
#[derive(Debug)]
pub(super) struct Guard {
    all: Bucket,
    neighbours: BTreeMap<EndpointId, Neighbour>,
    counts: Counts,
}

#[derive(Debug)]
struct Neighbour {
    fair: Bucket,
    flood: Bucket,
    forged_since: Duration,
    forged_own: u32,
    forged_relayed: u32,
    /// Until when it is not looked at, since it was cut off.
    cut_until: Duration,
    seen: Duration,
}

impl Guard {
    pub(super) const fn new() -> Self {
        Self {
            all: Bucket::new(FROM_ALL),
            neighbours: BTreeMap::new(),
            counts: Counts { dropped: 0, forged: 0, lagged: 0 },
        }
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) const fn lagged(&mut self) {
        self.counts.lagged = self.counts.lagged.saturating_add(1);
    }

    /// A neighbour has delivered something.
    pub(super) fn delivers(&mut self, now: Duration, from: EndpointId) -> Judgement {
        let neighbour = self.neighbour(now, from);
        let is_cut = now < neighbour.cut_until;
        let is_flood = !is_cut && !neighbour.flood.take(now);
        let is_fair = !is_cut && neighbour.fair.take(now);
        if is_flood {
            neighbour.cut_until = now.saturating_add(CUT_FOR);
        }
        if is_fair && self.all.take(now) {
            return Judgement::Fine;
        }
        self.counts.dropped = self.counts.dropped.saturating_add(1);
        if is_flood { Judgement::Mute } else { Judgement::Drop }
    }

    /// What it delivered is no member's.
    pub(super) fn forged(&mut self, now: Duration, from: EndpointId, is_own: bool) -> Judgement {
        self.counts.forged = self.counts.forged.saturating_add(1);
        let neighbour = self.neighbour(now, from);
        if now >= neighbour.forged_since.saturating_add(FORGED_FOR) {
            (neighbour.forged_since, neighbour.forged_own, neighbour.forged_relayed) = (now, 0, 0);
        }
        let (count, most, judgement) = if is_own {
            (&mut neighbour.forged_own, FORGED_OWN, Judgement::Offence)
        } else {
            (&mut neighbour.forged_relayed, FORGED_RELAYED, Judgement::Mute)
        };
        *count = count.saturating_add(1);
        if *count <= most {
            return Judgement::Fine;
        }
        *count = 0;
        neighbour.cut_until = now.saturating_add(CUT_FOR);
        judgement
    }

    fn neighbour(&mut self, now: Duration, from: EndpointId) -> &mut Neighbour {
        if !self.neighbours.contains_key(&from) && self.neighbours.len() >= MAX_NEIGHBOURS {
            let oldest = self.neighbours.iter().min_by_key(|(_, neighbour)| neighbour.seen).map(|(from, _)| *from);
            oldest.and_then(|oldest| self.neighbours.remove(&oldest));
        }
        let neighbour = self.neighbours.entry(from).or_insert_with(|| Neighbour {
            fair: Bucket::new(FROM_NEIGHBOUR),
            flood: Bucket::new(FLOOD),
            forged_since: now,
            forged_own: 0,
            forged_relayed: 0,
            cut_until: Duration::ZERO,
            seen: now,
        });
        neighbour.seen = now;
        neighbour
    }
}
