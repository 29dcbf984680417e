//! The policy: a death comes in, a decision comes out.
//!
//! A [`Supervisor`] is what a supervisor knows of one child. It restarts the child, after a wait, until the deaths come
//! too fast; then it escalates, and whoever is above decides: child, subject, node, the process.
//!
//! # Poison batches
//!
//! A batch that kills whoever touches it would take the subject down, since it is replayed after each restart. It is
//! recognised by [`POISON_DEATHS`] panics with the same batch at the head of the queue and nothing acknowledged in
//! between. It is set aside then, and its deaths are forgiven, all but one: a few poison batches cost a few restarts,
//! but where *every* batch kills the child, the fault is not in the batches, and the restart intensity says so.
//!
//! Only panics count. A child that was stopped, or that a full disk or a failed sync has ended, says nothing about
//! the batch that it happened to hold.

use std::time::Duration;

use thiserror::Error;

use super::{
    backoff::Backoff,
    intensity::{Intensity, MAX_RESTARTS, WINDOW},
    retain::Token,
};

/// Panics over one batch, without progress, after which it is set aside. Two can be chance, when something else kills
/// the child twice; more would only make everyone behind the batch wait longer.
pub const POISON_DEATHS: u32 = 3;

/// Why a child is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It panicked.
    Panic,
    /// It stopped, or was stopped, without having been asked to by its supervisor.
    Stopped,
    /// What it stands on failed: the storage environment, a thread that it shares with the others.
    EnvironmentFault,
}

/// A child's death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Died {
    /// Why.
    pub cause: Cause,
    /// The oldest batch that this incarnation had been handed and had not acknowledged. `None` where it had none, and
    /// where it died before it reported what was durable: a batch that it was never given did not kill it.
    pub head: Option<Token>,
    /// Whether it acknowledged anything since the previous death.
    pub progress: bool,
    /// When, since any fixed moment.
    pub now: Duration,
}

/// What to do about a death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Start this child again.
    Restart {
        /// After this wait.
        after: Duration,
    },
    /// Stop the child's siblings in reverse order and start all of them again: what they share has failed.
    RestartAll {
        /// After this wait.
        after: Duration,
    },
    /// Start this child again and set a batch aside.
    ///
    /// In this order: the new incarnation reports what is durable, that is acknowledged, and only if the batch is still
    /// in the queue then is it taken out and not replayed. Its last death may have come *after* it had become durable,
    /// and a batch that is durable must not be delivered again.
    SetAside {
        /// The batch.
        token: Token,
        /// The wait before the restart.
        after: Duration,
    },
    /// Give the child up.
    Escalate {
        /// Why.
        reason: Escalation,
    },
}

/// Why a child was given up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Escalation {
    /// It died too often in too short a time.
    #[error(
        "it died more than {MAX_RESTARTS} times within {WINDOW:?}, at last by {last:?}: see the log for the causes"
    )]
    TooManyRestarts {
        /// How it died the last time.
        last: Cause,
    },
}

/// What a supervisor knows of one child.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    backoff: Backoff,
    intensity: Intensity,
    /// The batch that is suspected of having killed the child, and how often.
    suspect: Option<(Token, u32)>,
}

impl Supervisor {
    /// No death so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { backoff: Backoff::new(), intensity: Intensity::new(), suspect: None }
    }

    /// Decides about a death. `random` is 64 random bits, for the jitter of the wait.
    pub fn died(&mut self, death: Died, random: u64) -> Decision {
        let deaths = self.suspect_head(&death);
        if let Some(token) = death.head.filter(|_| deaths >= POISON_DEATHS) {
            self.suspect = None;
            // This death is not counted, and of those before it one stays: a poison batch costs one restart.
            let counted = usize::try_from(POISON_DEATHS - 1).unwrap_or(0);
            self.intensity.forgive(counted.saturating_sub(1));
            self.backoff.reset();
            return Decision::SetAside { token, after: self.backoff.next(death.now, random) };
        }
        if !self.intensity.allows(death.now) {
            return Decision::Escalate { reason: Escalation::TooManyRestarts { last: death.cause } };
        }
        let after = self.backoff.next(death.now, random);
        match death.cause {
            Cause::EnvironmentFault => Decision::RestartAll { after },
            Cause::Panic | Cause::Stopped => Decision::Restart { after },
        }
    }

    /// Counts the panics over the batch at the head; how many they are with this one, 0 for a death that is no panic.
    fn suspect_head(&mut self, death: &Died) -> u32 {
        if death.progress {
            self.suspect = None;
        }
        let (Cause::Panic, Some(head)) = (death.cause, death.head) else { return 0 };
        let deaths = match self.suspect {
            Some((token, deaths)) if token == head => deaths + 1,
            _ => 1,
        };
        self.suspect = Some((head, deaths));
        deaths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A supervisor under virtual time: each death comes `alive` after the restart.
    #[derive(Default)]
    struct World {
        supervisor: Supervisor,
        now: Duration,
    }

    impl World {
        fn die(&mut self, cause: Cause, head: Option<u64>, progress: bool, alive: Duration) -> Decision {
            self.now += alive;
            let death = Died { cause, head: head.map(Token::from), progress, now: self.now };
            let decision = self.supervisor.died(death, u64::MAX);
            if let Decision::Restart { after } | Decision::RestartAll { after } | Decision::SetAside { after, .. } =
                decision
            {
                self.now += after;
            }
            decision
        }

        /// Deaths of one kind until the child is given up; `None` if it is not within a thousand.
        fn deaths_until_given_up(&mut self, mut death: impl FnMut(&mut Self, u64) -> Decision) -> Option<u64> {
            (1..=1_000).find(|n| matches!(death(self, *n), Decision::Escalate { .. }))
        }
    }

    fn sets_aside(decision: &Decision) -> Option<Token> {
        if let Decision::SetAside { token, .. } = decision { Some(*token) } else { None }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_child_that_dies_at_once_every_time_is_given_up_within_two_seconds() {
        let mut world = World::default();
        let deaths = world.deaths_until_given_up(|world, _| world.die(Cause::Panic, None, false, Duration::ZERO));
        assert_eq!(deaths, Some(11));
        assert!(world.now < 2 * SECOND, "{:?}", world.now);
    }

    #[test]
    fn one_crash_a_second_is_survived_for_ever() {
        let mut world = World::default();
        // Each time over another batch, and each time something was acknowledged before.
        assert_eq!(world.deaths_until_given_up(|world, n| world.die(Cause::Panic, Some(n), true, SECOND)), None);
    }

    #[test]
    fn an_environment_fault_restarts_all() {
        let mut world = World::default();
        let decision = world.die(Cause::EnvironmentFault, Some(1), false, SECOND);
        assert!(matches!(decision, Decision::RestartAll { .. }));
    }

    #[test]
    fn three_panics_over_one_batch_set_it_aside() {
        let mut world = World::default();
        let decisions = [(); 3].map(|()| world.die(Cause::Panic, Some(7), false, Duration::ZERO));
        assert!(matches!(decisions[..2], [Decision::Restart { .. }, Decision::Restart { .. }]));
        assert_eq!(sets_aside(&decisions[2]), Some(Token::from(7)));
    }

    #[test]
    fn progress_or_another_batch_clears_the_suspicion() {
        let mut world = World::default();
        for (head, progress) in [(7, false), (7, false), (8, true), (8, false), (9, false), (9, false), (9, true)] {
            let decision = world.die(Cause::Panic, Some(head), progress, SECOND);
            assert!(matches!(decision, Decision::Restart { .. }), "{head} {progress}");
        }
    }

    #[test]
    fn only_panics_over_a_batch_make_it_a_suspect() {
        let mut world = World::default();
        for cause in [Cause::Stopped, Cause::EnvironmentFault] {
            assert!((0..20).all(|_| sets_aside(&world.die(cause, Some(7), false, SECOND)).is_none()), "{cause:?}");
        }
        assert!((0..20).all(|_| sets_aside(&world.die(Cause::Panic, None, false, SECOND)).is_none()));
    }

    #[test]
    fn a_few_poison_batches_in_a_row_are_survived() {
        let mut world = World::default();
        for n in 0..8 {
            let decision = [(); 3].map(|()| world.die(Cause::Panic, Some(n), false, Duration::ZERO));
            assert_eq!(sets_aside(&decision[2]), Some(Token::from(n)));
        }
    }

    #[test]
    fn a_child_that_every_batch_kills_is_given_up() {
        let mut world = World::default();
        let death = |world: &mut World, n: u64| world.die(Cause::Panic, Some((n - 1) / 3), false, Duration::ZERO);
        let deaths = world.deaths_until_given_up(death).expect("it goes on for ever");
        assert!(deaths <= 3 * 11, "{deaths}");
    }

    #[test]
    fn a_quiet_period_makes_the_next_wait_short_again() {
        let mut world = World::default();
        for _ in 0..5 {
            world.die(Cause::Stopped, None, false, Duration::ZERO);
        }
        let first = Decision::Restart { after: crate::actors::supervise::backoff::FIRST_DELAY };
        assert_ne!(world.die(Cause::Stopped, None, false, SECOND), first);
        assert_eq!(world.die(Cause::Stopped, None, false, 5 * SECOND), first);
    }
}
