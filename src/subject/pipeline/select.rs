//! The filter by time.

use crate::wire::event::{ScanWindow, XaeroEvent};

/// Whether the event lies in the window: by its hybrid clock, or by `latest_ts` where it has no clock.
///
/// An event with neither was sent in memory, just now. The pipeline has no wall clock to ask what that is, so such an
/// event passes a window without an end (`u64::MAX`), and no other.
pub(super) fn in_window(window: ScanWindow, event: &XaeroEvent) -> bool {
    match (event.evt.clock(), event.latest_ts) {
        (Some(clock), _) => window.contains(clock),
        (None, Some(millis)) => window.start <= millis && millis < window.end,
        (None, None) => window.end == u64::MAX,
    }
}

/// The window of the events that lie in both.
pub(super) fn intersection(a: ScanWindow, b: ScanWindow) -> ScanWindow {
    ScanWindow { start: a.start.max(b.start), end: a.end.min(b.end) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::wire::{
        clock::Clock,
        event::Stamp,
        id::{Dot, SubjectId, XaeroID},
    };

    fn stamped(millis: u64) -> XaeroEvent {
        let mut event = XaeroEvent::new("x", 1).at(999);
        event.evt.set_stamp(Some(Arc::new(Stamp {
            is_withheld: false,
            subject: SubjectId::from([0; 32]),
            dot: Dot::new(XaeroID::from([0; 32]), 1),
            clock: Clock::from_millis(millis),
            deps: Vec::new(),
        })));
        event
    }

    #[test]
    fn the_start_is_in_the_window_and_the_end_is_not() {
        let window = ScanWindow { start: 10, end: 20 };
        for (millis, inside) in [(9, false), (10, true), (19, true), (20, false)] {
            assert_eq!(in_window(window, &stamped(millis)), inside, "clock at {millis}");
            assert_eq!(in_window(window, &XaeroEvent::new("x", 1).at(millis)), inside, "latest_ts {millis}");
        }
    }

    #[test]
    fn an_event_without_a_time_is_of_the_present() {
        let event = XaeroEvent::new("x", 1);
        assert!(in_window(ScanWindow::ALL, &event));
        assert!(in_window(ScanWindow { start: 10, end: u64::MAX }, &event));
        assert!(!in_window(ScanWindow { start: 0, end: 20 }, &event));
    }
}
