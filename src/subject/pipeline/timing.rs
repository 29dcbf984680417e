//! `debounce` and `throttle`: fewer events, by the time at which they arrive.

use std::{borrow::Cow, time::Duration};

use crate::{
    subject::pipeline::machine::{Downstream, Item, Origin, Stage, Tick},
    wire::event::XaeroEvent,
};

/// `debounce`: lets the latest event pass once nothing has followed it for a while.
pub(super) struct Debounce {
    quiet: Duration,
    held: Option<(Tick, (XaeroEvent, Origin))>,
}

impl Debounce {
    pub(super) const fn new(quiet: Duration) -> Self {
        Self { quiet, held: None }
    }
}

impl Stage for Debounce {
    fn feed(&mut self, item: Item<'_>, down: &mut Downstream<'_, '_>) {
        self.held = Some((down.now().saturating_add(self.quiet), item.into_kept()));
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn deadline(&self) -> Option<Tick> {
        self.held.as_ref().map(|(due, _)| *due)
    }

    fn expire(&mut self, down: &mut Downstream<'_, '_>) {
        if let Some((_, (event, origin))) = self.held.take() {
            down.emit(Item { event: Cow::Owned(event), origin: &origin });
        }
    }

    fn finish(&mut self, down: &mut Downstream<'_, '_>) {
        self.expire(down);
    }
}

/// `throttle`: lets an event pass, and then none for a while.
pub(super) struct Throttle {
    pause: Duration,
    open_from: Tick,
}

impl Throttle {
    pub(super) const fn new(pause: Duration) -> Self {
        Self { pause, open_from: Tick::ZERO }
    }
}

impl Stage for Throttle {
    fn feed(&mut self, item: Item<'_>, down: &mut Downstream<'_, '_>) {
        if down.now() >= self.open_from {
            self.open_from = down.now().saturating_add(self.pause);
            down.emit(item);
        }
    }
}
