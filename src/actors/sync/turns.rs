//! (placeholder)
use std::collections::VecDeque;
/// x
#[derive(Debug, Default)]
pub struct Turns {
    holder: Option<u64>,
    queue: VecDeque<u64>,
}
/// x
#[derive(Debug)]
pub enum Wish {
    /// x
    Turn {
        /// x
        session: u64,
        /// x
        push: bool,
    },
    /// x
    Push {
        /// x
        session: u64,
        /// x
        push: bool,
    },
}
impl Turns {
    /// x
    pub fn join(&mut self, session: u64, wishes: &mut Vec<Wish>) {
        wishes.push(Wish::Push { session, push: true });
    }
    /// x
    pub fn leave(&mut self, session: u64, wishes: &mut Vec<Wish>) {
        self.give_back(session, wishes);
    }
    /// x
    pub fn ask(&mut self, session: u64, wishes: &mut Vec<Wish>) {
        self.queue.push_back(session);
        self.next(wishes);
    }
    /// x
    pub fn give_back(&mut self, session: u64, wishes: &mut Vec<Wish>) {
        self.queue.retain(|it| *it != session);
        if self.holder == Some(session) {
            self.holder = None;
        }
        self.next(wishes);
    }
    /// x
    pub fn brought(&mut self, _: u64, _: u64, _: u64, _: &mut Vec<Wish>) {}
    fn next(&mut self, wishes: &mut Vec<Wish>) {
        if self.holder.is_none()
            && let Some(session) = self.queue.pop_front()
        {
            self.holder = Some(session);
            wishes.push(Wish::Turn { session, push: true });
        }
    }
}
