//! What one peer sends more than once.
//!
//! Who answers a version vector knows what the other side has, and counts what it sends as had: each event goes out once.
//! What was pushed before a new vector got there is sent again, and so is the log of an author who signed two histories,
//! from its beginning. That is all. Whoever sends the same again and again keeps this node at work for nothing.

use hashbrown::HashMap;

use crate::wire::id::{Dot, XaeroID};

/// How often events of one author may begin anew after a vector. Once is what an honest peer comes to, or twice.
const MOST_REPEATS: u8 = 8;

/// Authors that are remembered; beyond it all are forgotten, and somebody who repeats is found out a little later.
const MOST_AUTHORS: usize = 65_536;

/// What came of an author's log.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// The last event.
    last: u64,
    /// How often it went back.
    repeats: u8,
}

/// What came from one peer since it was sent a version vector.
#[derive(Debug, Default)]
pub(super) struct Repeats(HashMap<XaeroID, Sent>);

impl Repeats {
    /// The peer is told anew what there is here.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Events of this author have come, from `first` to `last`.
    ///
    /// # Errors
    /// The first of them, where they have come too often.
    pub(super) fn note(&mut self, author: XaeroID, first: u64, last: u64) -> Result<(), Dot> {
        if self.0.len() >= MOST_AUTHORS {
            self.0.clear();
        }
        let sent = self.0.entry(author).or_insert(Sent { last: 0, repeats: 0 });
        if first <= sent.last {
            sent.repeats = sent.repeats.saturating_add(1);
        }
        sent.last = last;
        if sent.repeats > MOST_REPEATS { Err(Dot::new(author, first)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_goes_on_repeats_nothing_however_long_it_is() {
        let (mut repeats, author) = (Repeats::default(), XaeroID::from([1; 32]));
        for n in 0..1_000 {
            assert_eq!(repeats.note(author, 10 * n + 1, 10 * n + 10), Ok(()));
        }
    }

    #[test]
    fn the_same_again_and_again_is_found_out_and_a_vector_makes_it_good() {
        let (mut repeats, author) = (Repeats::default(), XaeroID::from([1; 32]));
        for _ in 0..3 {
            for _ in 0..=MOST_REPEATS {
                assert_eq!(repeats.note(author, 5, 9), Ok(()));
            }
            assert_eq!(repeats.note(author, 5, 9), Err(Dot::new(author, 5)));
            repeats.forget();
        }
    }
}
