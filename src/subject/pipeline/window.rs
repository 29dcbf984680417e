//! When a window opens and closes, and the two stages that do nothing else: `buffer` and `window`.
//!
//! A window opens with its first event and closes when its duration has passed since then or when it holds its count
//! of events, whichever is first. There is no window without an event, so an empty one never closes.

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::{
    subject::pipeline::{
        error::PipelineError,
        machine::{Downstream, Item, Origin, Stage, Tick},
    },
    wire::event::{Event, XaeroEvent},
};

/// Most events that a window holds. One that has no count of its own closes early at this many: a burst then costs a
/// subscription some ten megabytes instead of all memory.
pub const MAX_WINDOW_EVENTS: usize = 65_536;

/// Most bytes of payload that a window holds (64 MiB); with so many in it, it closes early, for the same reason.
pub const MAX_WINDOW_BYTES: usize = 64 << 20;

/// When a window closes.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowRule {
    duration: Option<Duration>,
    count: usize,
}

impl WindowRule {
    pub(super) const fn new(duration: Option<Duration>, count: Option<usize>) -> Result<Self, PipelineError> {
        match (duration, count) {
            (_, Some(0)) => Err(PipelineError::CountIsZero),
            (_, Some(count)) if count > MAX_WINDOW_EVENTS => Err(PipelineError::CountTooLarge(count)),
            (None, None) => Err(PipelineError::Endless),
            (_, Some(count)) => Ok(Self { duration, count }),
            (_, None) => Ok(Self { duration, count: MAX_WINDOW_EVENTS }),
        }
    }
}

/// A window and what it holds.
#[derive(Debug)]
pub(super) struct Window<T> {
    rule: WindowRule,
    /// When the window closes, if it is open and has a duration.
    deadline: Option<Tick>,
    items: Vec<T>,
    bytes: usize,
}

impl<T> Window<T> {
    pub(super) const fn new(rule: WindowRule) -> Self {
        Self { rule, deadline: None, items: Vec::new(), bytes: 0 }
    }

    /// Adds an item with a payload of `bytes`, and opens the window if it was not.
    pub(super) fn push(&mut self, item: T, bytes: usize, now: Tick) {
        if self.items.is_empty() {
            self.deadline = self.rule.duration.map(|duration| now.saturating_add(duration));
        }
        self.items.push(item);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether the window holds all that it may.
    pub(super) const fn is_full(&self) -> bool {
        self.items.len() >= self.rule.count || self.bytes >= MAX_WINDOW_BYTES
    }

    /// Whether the window holds `limit` items, or as many bytes as it may.
    pub(super) const fn holds(&self, limit: usize) -> bool {
        self.items.len() >= limit || self.bytes >= MAX_WINDOW_BYTES
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) const fn deadline(&self) -> Option<Tick> {
        self.deadline
    }

    /// Closes the window: what it held.
    pub(super) fn close(&mut self) -> Vec<T> {
        self.deadline = None;
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}

pub(super) type Gather = dyn Fn(Vec<XaeroEvent>) -> Option<XaeroEvent> + Send + Sync;

/// `buffer`: makes one event from each window.
pub(super) struct Buffer {
    window: Window<XaeroEvent>,
    gather: Arc<Gather>,
}

impl Buffer {
    pub(super) const fn new(rule: WindowRule, gather: Arc<Gather>) -> Self {
        Self { window: Window::new(rule), gather }
    }
}

impl Stage for Buffer {
    fn feed(&mut self, item: Item<'_>, down: &mut Downstream<'_, '_>) {
        let event = item.event.into_owned();
        let bytes = event.evt.data.len();
        self.window.push(event, bytes, down.now());
        if self.window.is_full() {
            self.expire(down);
        }
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn deadline(&self) -> Option<Tick> {
        self.window.deadline()
    }

    fn expire(&mut self, down: &mut Downstream<'_, '_>) {
        if !self.window.is_empty()
            && let Some(event) = (self.gather)(self.window.close())
        {
            down.emit(Item::made(event));
        }
    }

    fn finish(&mut self, down: &mut Downstream<'_, '_>) {
        self.expire(down);
    }
}

/// The event that `buffer` makes of a window: the payloads, in order, as a `Vec<Vec<u8>>` in rkyv. It has the type of
/// the last event and the latest of their timestamps; it is nobody's event in particular, so it has no author.
pub(super) fn gather_payloads(events: Vec<XaeroEvent>) -> Option<XaeroEvent> {
    let event_type = events.last()?.evt.event_type;
    let latest_ts = events.iter().filter_map(|event| event.latest_ts).max();
    let payloads: Vec<Vec<u8>> = events.into_iter().map(|event| event.evt.data).collect();
    let archive = rkyv::to_bytes::<rkyv::rancor::Failure>(&payloads).ok()?;
    Some(XaeroEvent {
        evt: Event::stamped(archive.into_vec(), event_type, None),
        merkle_proof: None,
        author_id: None,
        latest_ts,
    })
}

/// `window`: holds the events of each window back, and lets them go together when it closes.
pub(super) struct Release {
    window: Window<(XaeroEvent, Origin)>,
}

impl Release {
    pub(super) const fn new(rule: WindowRule) -> Self {
        Self { window: Window::new(rule) }
    }
}

impl Stage for Release {
    fn feed(&mut self, item: Item<'_>, down: &mut Downstream<'_, '_>) {
        let bytes = item.event.evt.data.len();
        self.window.push(item.into_kept(), bytes, down.now());
        if self.window.is_full() {
            self.expire(down);
        }
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn deadline(&self) -> Option<Tick> {
        self.window.deadline()
    }

    fn expire(&mut self, down: &mut Downstream<'_, '_>) {
        for (event, origin) in self.window.close() {
            down.emit(Item { event: Cow::Owned(event), origin: &origin });
        }
    }

    fn finish(&mut self, down: &mut Downstream<'_, '_>) {
        self.expire(down);
    }
}
