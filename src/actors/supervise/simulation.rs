//! A simulated AOF that crashes anywhere, under the policy and the retained queue.
//!
//! The promise: whatever the crash points, each batch becomes durable exactly once, in order, or, if it is one that
//! kills whoever touches it, is set aside and never durable.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    credit::{Amount, Credits},
    policy::{Cause, Decision, Died, POISON_DEATHS, Supervisor},
    retain::{Retained, Token},
};

/// What happens while the child has the batch at the head of its mailbox in its hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It makes the batch durable and acknowledges it.
    Commit,
    /// It makes the batch durable; the acknowledgement comes later, with a later one.
    CommitSilently,
    /// It dies with the batch in hand.
    DieBefore,
    /// It dies when the batch is durable and not acknowledged.
    DieAfter,
    /// It dies before it has even reported what is durable, so it holds no batch.
    DieAtStart,
}

/// What survives a crash: written in one transaction each time.
#[derive(Default)]
struct Disk {
    log: Vec<u64>,
    last: Token,
}

struct World {
    disk: Disk,
    retained: Retained<u64>,
    supervisor: Supervisor,
    mailbox: Vec<(Token, u64)>,
    set_aside: Vec<u64>,
    condemned: Option<Token>,
    /// Whether this incarnation has reported what is durable and was sent the rest.
    reported: bool,
    progress: bool,
    now: Duration,
}

impl World {
    fn new() -> Self {
        let credits = Credits::new(Amount { events: 4, bytes: 400 });
        Self {
            disk: Disk::default(),
            retained: Retained::new(Token::default(), credits),
            supervisor: Supervisor::new(),
            mailbox: Vec::new(),
            set_aside: Vec::new(),
            condemned: None,
            reported: true,
            progress: false,
            now: Duration::ZERO,
        }
    }

    fn send(&mut self, batch: u64) -> bool {
        let Some(credit) = self.retained.take(1, 100) else { return false };
        let token = self.retained.push(batch, credit);
        // A batch that comes while the child is down is part of the replay.
        if self.reported {
            self.mailbox.push((token, batch));
        }
        true
    }

    fn acknowledge(&mut self) {
        self.progress |= self.retained.acknowledge(self.disk.last).count() > 0;
    }

    /// The new incarnation reports what is durable, and gets the rest.
    fn report(&mut self) {
        self.acknowledge();
        if let Some(token) = self.condemned.take() {
            self.set_aside.extend(self.retained.set_aside(token));
        }
        self.mailbox = self.retained.after(self.disk.last).map(|(token, batch)| (token, *batch)).collect();
        self.reported = true;
    }

    fn die(&mut self) {
        // Slow deaths: this is about what is lost, not about how fast they may come.
        self.now += Duration::from_secs(1);
        let head = self.retained.head().filter(|_| self.reported);
        let death = Died { cause: Cause::Panic, head, progress: self.progress, now: self.now };
        match self.supervisor.died(death, 0) {
            Decision::SetAside { token, .. } => self.condemned = Some(token),
            decision => assert!(matches!(decision, Decision::Restart { .. }), "{decision:?}"),
        }
        self.mailbox.clear();
        self.reported = false;
        self.progress = false;
    }

    fn step(&mut self, step: Step, is_poison: impl Fn(u64) -> bool) {
        if !self.reported {
            if step == Step::DieAtStart {
                return self.die();
            }
            self.report();
        }
        let Some((token, batch)) = self.mailbox.first().copied() else { return };
        if is_poison(batch) || step == Step::DieBefore {
            return self.die();
        }
        self.mailbox.remove(0);
        self.disk.log.push(batch);
        self.disk.last = token;
        match step {
            Step::DieAfter => self.die(),
            Step::CommitSilently => {}
            _ => self.acknowledge(),
        }
    }
}

/// Batches 0 to `count`, with these steps, and as many good ones as it takes to finish.
fn run(count: u64, steps: &[Step], is_poison: impl Fn(u64) -> bool + Copy) -> World {
    let mut world = World::new();
    let (mut sent, mut steps) = (0, steps.iter().copied());
    for round in 0.. {
        assert!(round < 10_000, "it never ends");
        while sent < count && world.send(sent) {
            sent += 1;
        }
        if sent == count && world.retained.is_empty() {
            break;
        }
        // With the steps used up, an acknowledgement that never came is made good by the last commit or a restart.
        match steps.next() {
            Some(step) => world.step(step, is_poison),
            None if world.reported && world.mailbox.is_empty() => world.acknowledge(),
            None => world.step(Step::Commit, is_poison),
        }
    }
    world
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Commit),
        2 => Just(Step::CommitSilently),
        1 => Just(Step::DieBefore),
        2 => Just(Step::DieAfter),
        1 => Just(Step::DieAtStart),
    ]
}

/// Steps in which chance alone never looks like a poison batch: fewer deaths before a commit, in a row, than it takes.
fn innocent_steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any_step(), 0..200).prop_map(|mut steps| {
        let mut in_a_row = 0;
        for step in &mut steps {
            match step {
                Step::DieBefore | Step::DieAfter if in_a_row + 1 >= POISON_DEATHS => {
                    *step = Step::Commit;
                    in_a_row = 0;
                }
                Step::DieBefore | Step::DieAfter => in_a_row += 1,
                Step::DieAtStart | Step::CommitSilently => {}
                Step::Commit => in_a_row = 0,
            }
        }
        steps
    })
}

proptest! {
    #[test]
    fn each_batch_is_durable_exactly_once_in_order(count in 0_u64..40, steps in innocent_steps()) {
        let world = run(count, &steps, |_| false);
        prop_assert_eq!(&world.disk.log, &(0..count).collect::<Vec<_>>());
        prop_assert!(world.set_aside.is_empty());
        prop_assert_eq!(world.retained.available(), Amount { events: 4, bytes: 400 });
    }

    #[test]
    fn nothing_is_lost_or_doubled_when_batches_are_set_aside(
        count in 0_u64..40,
        steps in prop::collection::vec(any_step(), 0..200),
        poison in prop::collection::hash_set(0_u64..40, 0..6),
    ) {
        let world = run(count, &steps, |batch| poison.contains(&batch));
        prop_assert!(world.disk.log.is_sorted());
        let mut all = [&world.disk.log[..], &world.set_aside[..]].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..count).collect::<Vec<_>>(), "each one once, durable or set aside");
        prop_assert!(poison.iter().filter(|batch| **batch < count).all(|batch| world.set_aside.contains(batch)));
        prop_assert_eq!(world.retained.available(), Amount { events: 4, bytes: 400 });
    }
}

#[test]
fn a_batch_whose_last_death_came_after_it_was_durable_is_not_set_aside() {
    let steps = [Step::DieBefore, Step::DieBefore, Step::DieAfter];
    let world = run(1, &steps, |_| false);
    assert_eq!(world.disk.log, [0]);
    assert!(world.set_aside.is_empty());
}
