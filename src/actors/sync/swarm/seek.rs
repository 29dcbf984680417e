//! Looking for neighbours, where there are hardly any.
//!
//! Who joins a swarm of which it knows one member gets that one as its neighbour, and perhaps no other. When that one is gone it
//! hears nobody any more, and in a chain nobody does who is behind it. So it joins again by way of its neighbour, which has it handed on
//! over a few others to one that takes it (HyParView's random walk, which in a small swarm often leads back), of members that peers have
//! told of, and of those it heard last.

use std::{collections::VecDeque, time::Duration};

use super::limits::{ENOUGH_NEIGHBOURS, MAX_RECENT, SEEK, SEEK_ALONE, SEEK_SPARSE};
use crate::wire::endpoint::PeerAddr;

/// How many neighbours there are, and when more are looked for.
#[derive(Debug)]
pub(super) struct Seek {
    neighbours: usize,
    /// When, and the wait before that. None outside the swarm.
    due: Option<(Duration, Duration)>,
    /// Who was heard last, the latest last.
    recent: VecDeque<PeerAddr>,
}

impl Seek {
    pub(super) const fn new() -> Self {
        Self { neighbours: 0, due: None, recent: VecDeque::new() }
    }

    /// It has joined, and has nobody yet.
    pub(super) const fn begin(&mut self, now: Duration) {
        self.neighbours = 0;
        self.due = Some((now.saturating_add(SEEK), SEEK));
    }

    /// It is in the swarm no more.
    pub(super) const fn end(&mut self) {
        self.due = None;
    }

    /// In the swarm it has so many now.
    pub(super) const fn has(&mut self, now: Duration, neighbours: usize) {
        let has_lost = neighbours < self.neighbours;
        self.neighbours = neighbours;
        if neighbours >= ENOUGH_NEIGHBOURS {
            self.due = None;
        } else if has_lost || self.due.is_none() {
            self.due = Some((now.saturating_add(SEEK), SEEK));
        }
    }

    /// Somebody was heard.
    pub(super) fn heard(&mut self, holder: PeerAddr) {
        self.recent.retain(|known| known.endpoint != holder.endpoint);
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(holder);
    }

    pub(super) fn recent(&self) -> impl Iterator<Item = &PeerAddr> {
        self.recent.iter()
    }

    /// Whether more are to be looked for now.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let Some((_, wait)) = self.due.filter(|(at, _)| *at <= now) else { return false };
        let longest = if self.neighbours == 0 { SEEK_ALONE } else { SEEK_SPARSE };
        let wait = wait.saturating_mul(2).min(longest);
        self.due = Some((now.saturating_add(wait), wait));
        true
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.due.map(|(at, _)| at)
    }
}
