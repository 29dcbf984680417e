//! The queue that is retained until acknowledged.
//!
//! A child that dies takes with it whatever was in its mailbox and its hands. So its supervisor keeps every batch that
//! it sends until the child has said that the batch is durable. Each batch has a [`Token`], one more than the last. The
//! child stores the token of the last durable batch *together with* that batch, in one transaction. Its next
//! incarnation reports that token first; the supervisor acknowledges up to it and sends the rest again, in order.
//!
//! So every batch becomes durable exactly once, in order, wherever the crash was: before the batch was durable, then it
//! is sent again; after it, then the stored token says so even though no acknowledgement ever came.
//!
//! Tokens are compared within one life of the process: the first one lies above all that an earlier life stored.

use std::collections::VecDeque;

use super::credit::{Amount, Credit, Credits};

/// The number of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl From<u64> for Token {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        token.0
    }
}

/// Batches that were handed to a child and are not acknowledged, oldest first.
#[derive(Debug)]
pub struct Retained<T> {
    queue: VecDeque<Entry<T>>,
    last: Token,
    credits: Credits,
}

#[derive(Debug)]
struct Entry<T> {
    token: Token,
    batch: T,
    credit: Credit,
}

/// Entries for which an empty queue keeps its memory; an idle subject gives the rest of a burst's memory back.
const KEPT_CAPACITY: usize = 16;

impl<T> Retained<T> {
    /// An empty queue whose first batch comes after `last`: the token that is durable already, 0 for none.
    #[must_use]
    pub const fn new(last: Token, credits: Credits) -> Self {
        Self { queue: VecDeque::new(), last, credits }
    }

    /// How much may still be taken.
    #[must_use]
    pub const fn available(&self) -> Amount {
        self.credits.available()
    }

    /// Takes a credit for a batch of this many events and bytes, or `None` where there is not enough left.
    #[must_use]
    pub const fn take(&mut self, events: usize, bytes: usize) -> Option<Credit> {
        self.credits.take(Amount { events, bytes })
    }

    /// Gives back a credit for which there is no batch after all.
    pub const fn give_back(&mut self, credit: Credit) {
        self.credits.give_back(credit);
    }

    /// Keeps a batch, which goes to the child next, until it is acknowledged.
    pub fn push(&mut self, batch: T, credit: Credit) -> Token {
        // 2^64 batches are not reached in the life of a process.
        self.last = Token(self.last.0.saturating_add(1));
        self.queue.push_back(Entry { token: self.last, batch, credit });
        self.last
    }

    /// Everything up to and including this token is durable: it leaves the queue, oldest first, and its credits return.
    ///
    /// Acknowledging a token twice, or one that is gone, does nothing. What the returned iterator is not asked for
    /// leaves the queue as well.
    pub fn acknowledge(&mut self, up_to: Token) -> Acknowledged<'_, T> {
        Acknowledged { retained: self, up_to }
    }

    /// The batches after this token, oldest first: what is replayed to an incarnation that reported it as durable.
    pub fn after(&self, token: Token) -> impl Iterator<Item = (Token, &T)> {
        let skipped = self.queue.partition_point(|entry| entry.token <= token);
        self.queue.range(skipped..).map(|entry| (entry.token, &entry.batch))
    }

    /// Takes a poison batch out of the queue; its credit returns, the others keep their order. `None` where it is not
    /// here, as when it turned out to be durable.
    pub fn set_aside(&mut self, token: Token) -> Option<T> {
        let at = self.queue.binary_search_by_key(&token, |entry| entry.token).ok()?;
        let entry = self.queue.remove(at)?;
        self.credits.give_back(entry.credit);
        Some(entry.batch)
    }

    /// The oldest batch.
    #[must_use]
    pub fn head(&self) -> Option<Token> {
        self.queue.front().map(|entry| entry.token)
    }

    /// The number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether everything is acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// The batches that an acknowledgement has freed, oldest first.
#[derive(Debug)]
pub struct Acknowledged<'a, T> {
    retained: &'a mut Retained<T>,
    up_to: Token,
}

impl<T> Iterator for Acknowledged<'_, T> {
    type Item = (Token, T);

    fn next(&mut self) -> Option<(Token, T)> {
        self.retained.head().filter(|token| *token <= self.up_to)?;
        let entry = self.retained.queue.pop_front()?;
        self.retained.credits.give_back(entry.credit);
        Some((entry.token, entry.batch))
    }
}

impl<T> Drop for Acknowledged<'_, T> {
    fn drop(&mut self) {
        while self.next().is_some() {}
        if self.retained.queue.is_empty() {
            self.retained.queue.shrink_to(KEPT_CAPACITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_batches(count: u64) -> Retained<u64> {
        let mut retained = Retained::new(Token::default(), Credits::new(Amount { events: 100, bytes: 1_000 }));
        for n in 1..=count {
            let credit = retained.take(1, 10).unwrap();
            assert_eq!(retained.push(n * 100, credit), Token(n));
        }
        retained
    }

    #[test]
    fn what_is_acknowledged_leaves_in_order_and_returns_its_credits() {
        let mut retained = with_batches(5);
        assert_eq!(retained.available(), Amount { events: 95, bytes: 950 });
        assert_eq!(retained.acknowledge(Token(2)).collect::<Vec<_>>(), [(Token(1), 100), (Token(2), 200)]);
        assert_eq!(retained.available(), Amount { events: 97, bytes: 970 });
        assert_eq!(retained.acknowledge(Token(2)).count(), 0);
        // Not looked at, and gone all the same.
        drop(retained.acknowledge(Token(4)));
        assert_eq!((retained.head(), retained.len()), (Some(Token(5)), 1));
    }

    #[test]
    fn a_replay_starts_after_what_is_durable() {
        let retained = with_batches(4);
        let tokens = |after| retained.after(Token(after)).map(|(token, _)| token.0).collect::<Vec<_>>();
        assert_eq!(tokens(0), [1, 2, 3, 4]);
        assert_eq!(tokens(2), [3, 4]);
        assert_eq!(tokens(9), [0; 0]);
    }

    #[test]
    fn a_batch_set_aside_leaves_the_others_in_order() {
        let mut retained = with_batches(4);
        assert_eq!(retained.set_aside(Token(2)), Some(200));
        assert_eq!(retained.set_aside(Token(2)), None);
        assert_eq!(retained.available().events, 97);
        assert_eq!(retained.after(Token(0)).map(|(token, _)| token.0).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(retained.after(Token(2)).map(|(token, _)| token.0).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(retained.acknowledge(Token(4)).count(), 3);
        assert_eq!(retained.available(), Amount { events: 100, bytes: 1_000 });
    }

    #[test]
    fn tokens_go_on_after_what_is_durable_already() {
        let mut retained = Retained::new(Token(41), Credits::default());
        let credit = retained.take(1, 1).unwrap();
        assert_eq!(retained.push((), credit), Token(42));
    }

    #[test]
    fn an_idle_queue_gives_the_memory_of_a_burst_back() {
        let mut retained = Retained::new(Token::default(), Credits::default());
        for _ in 0..10_000 {
            let credit = retained.take(1, 1).unwrap();
            retained.push([0_u64; 4], credit);
        }
        drop(retained.acknowledge(Token(10_000)));
        assert!(retained.queue.capacity() <= 2 * KEPT_CAPACITY, "{}", retained.queue.capacity());
    }
}
