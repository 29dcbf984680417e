//! How often it is told that an author may not write.
//!
//! Who publishes without a right usually goes on, and a notice for each batch of that would drown all others. So the first
//! is told at once, and what follows is counted and told together after a pause. Pure: the caller has the clock.

use std::time::Duration;

use hashbrown::HashMap;

use crate::{actors::bus::PublishError, wire::id::XaeroID};

/// Between two notices about one author. A person who looks on can follow that.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// Events that were refused, to be told.
pub(super) type Refused = (XaeroID, usize, PublishError);

/// What was refused and is not told yet.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    authors: HashMap<XaeroID, Author>,
}

#[derive(Debug)]
struct Author {
    /// No notice before this moment.
    quiet_until: Duration,
    /// Events since the last one, and why the last of them was refused.
    untold: Option<(usize, PublishError)>,
}

impl Refusals {
    /// Notes that events were refused. Returns what is to be told now, if anything.
    pub(super) fn note(&mut self, now: Duration, refused: Refused) -> Option<Refused> {
        let (author, events, error) = refused;
        match self.authors.get_mut(&author) {
            Some(known) => {
                let before = known.untold.take().map_or(0, |(events, _)| events);
                known.untold = Some((before.saturating_add(events), error));
                None
            }
            None => {
                // Bounded by the identities that have a key here: no other author gets so far.
                self.authors.insert(author, Author { quiet_until: now.saturating_add(PAUSE), untold: None });
                Some((author, events, error))
            }
        }
    }

    /// What is to be told now that its pause is over.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Refused> {
        let mut due = Vec::new();
        self.authors.retain(|author, known| {
            if known.quiet_until > now {
                return true;
            }
            known.quiet_until = now.saturating_add(PAUSE);
            let untold = known.untold.take();
            let is_quiet = untold.is_none();
            due.extend(untold.map(|(events, error)| (*author, events, error)));
            !is_quiet
        });
        due
    }

    /// How long until something may be [due](Self::due).
    pub(super) fn pause(&self, now: Duration) -> Option<Duration> {
        self.authors.values().map(|known| known.quiet_until.saturating_sub(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::rights::Denial;

    #[test]
    fn a_flood_of_refusals_is_told_once_and_then_in_sums() {
        let author = XaeroID::from([1; 32]);
        let refused = |events| (author, events, PublishError::NoRight { author, denial: Denial::NotAMember });
        let mut refusals = Refusals::default();
        assert_eq!(refusals.note(Duration::ZERO, refused(3)).map(|(_, events, _)| events), Some(3));
        for _ in 0..10 {
            assert!(refusals.note(Duration::from_secs(1), refused(4)).is_none());
        }
        assert_eq!(refusals.pause(Duration::from_secs(1)), Some(PAUSE - Duration::from_secs(1)));
        assert!(refusals.due(PAUSE / 2).is_empty());
        assert_eq!(refusals.due(PAUSE).iter().map(|(_, events, _)| *events).collect::<Vec<_>>(), [40]);
        // One pause without any, and the next is told at once again.
        assert!(refusals.due(PAUSE * 2).is_empty());
        assert_eq!(refusals.pause(PAUSE * 2), None);
        assert_eq!(refusals.note(PAUSE * 2, refused(1)).map(|(_, events, _)| events), Some(1));
    }
}
