//! When a node is not there: a pure function of the seed, the node's number and the time.

use std::time::Duration;

use crate::chance::{Share, unit};

/// No trouble is over sooner: a node that comes and goes faster does nothing else.
const LASTS_MIN: Duration = Duration::from_millis(100);
/// Troubles that come more seldom never come.
const PERIOD_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How a node is at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Well,
    /// It says itself that it isn't ready.
    NotReady,
    /// Nothing is heard of it, and nothing happens to its pods.
    Silent,
}

/// A trouble that some share of all nodes has at any moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trouble {
    /// How many nodes have it at the same time.
    pub share: Share,
    /// How long one has it.
    pub lasts: Duration,
}

impl Trouble {
    /// How long one has it, and each node has it once in how long, at a moment that chance tells.
    fn pace(&self) -> Option<(Duration, Duration)> {
        if self.share.is_zero() || self.lasts.is_zero() {
            return None;
        }
        let lasts = self.lasts.max(LASTS_MIN);
        let period = Duration::try_from_secs_f64(lasts.as_secs_f64() / self.share.fraction());
        let period = period.ok().filter(|period| *period <= PERIOD_MAX)?;
        Some((lasts, period))
    }

    /// Whether `node` has it at `at`, and when that changes next.
    fn at(&self, seed: u64, node: u64, at: Duration) -> (bool, Option<Duration>) {
        let Some((lasts, period)) = self.pace() else {
            return (false, None);
        };
        let room = period.saturating_sub(lasts);
        // Nodes don't begin together.
        let shift = period.mul_f64(unit(seed, &[node]));
        let at = at + shift;
        let cycle = at.as_nanos() / period.as_nanos();
        let begins_in = |cycle: u128| {
            let number = u64::try_from(cycle).unwrap_or(u64::MAX);
            nanos(cycle * period.as_nanos()) + room.mul_f64(unit(seed, &[node, number]))
        };
        let begins = begins_in(cycle);
        let ends = begins + lasts;
        let (has_it, changes) = if at < begins {
            (false, begins)
        } else if at < ends {
            (true, ends)
        } else {
            (false, begins_in(cycle + 1))
        };
        (has_it, Some(changes.saturating_sub(shift)))
    }
}

fn nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(nanos / SECOND).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(nanos % SECOND).unwrap_or(0))
}

/// The troubles of a fleet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schedule {
    /// The same seed, the same troubles.
    pub seed: u64,
    /// Nodes that fall silent.
    pub vanish: Trouble,
    /// Nodes that say they aren't ready.
    pub flap: Trouble,
}

impl Schedule {
    /// How `node` is `at` this time after the start, and when that may change.
    pub fn health(&self, node: u64, at: Duration) -> (Health, Option<Duration>) {
        let (silent, until) = self.vanish.at(self.seed, node, at);
        // Other chances than those of vanishing.
        let (not_ready, flap_until) = self.flap.at(!self.seed, node, at);
        let health = match (silent, not_ready) {
            (true, _) => Health::Silent,
            (false, true) => Health::NotReady,
            (false, false) => Health::Well,
        };
        let next = [until, flap_until].into_iter().flatten().min();
        (health, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(vanish: &str, flap: &str) -> Schedule {
        let trouble = |share: &str| Trouble {
            share: share.parse().unwrap(),
            lasts: Duration::from_secs(10),
        };
        Schedule {
            seed: 42,
            vanish: trouble(vanish),
            flap: trouble(flap),
        }
    }

    #[test]
    fn the_given_share_of_nodes_is_gone_at_any_moment() {
        let schedule = schedule("10%", "0%");
        for second in [0, 5, 60, 1000, 86_400] {
            let at = Duration::from_secs(second);
            let gone = (0..10_000)
                .filter(|node| schedule.health(*node, at).0 == Health::Silent)
                .count();
            assert!((900..1100).contains(&gone), "{gone} at {second} s");
        }
    }

    #[test]
    fn a_node_stays_as_it_is_until_it_says() {
        let schedule = schedule("5%", "20%");
        for node in 0..50 {
            let mut at = Duration::ZERO;
            let mut lived = Vec::new();
            while at < Duration::from_secs(2000) {
                let (health, until) = schedule.health(node, at);
                let until = until.unwrap();
                assert!(until > at, "time goes on");
                let just_before = until - Duration::from_nanos(1000).min(until - at);
                assert_eq!(schedule.health(node, just_before).0, health);
                lived.push(health);
                at = until;
            }
            assert!(lived.contains(&Health::Silent) && lived.contains(&Health::NotReady));
        }
    }

    #[test]
    fn without_shares_nothing_ever_happens() {
        assert_eq!(
            Schedule::default().health(1, Duration::from_secs(9)),
            (Health::Well, None)
        );
    }

    #[test]
    fn any_share_and_time_can_be_asked_for() {
        for (share, lasts) in [
            ("0.00000000000000000000001%", Duration::from_secs(10)),
            ("99.999%", Duration::from_nanos(1)),
            ("50%", Duration::MAX),
            ("1%", PERIOD_MAX),
        ] {
            let vanish = Trouble {
                share: share.parse().unwrap(),
                lasts,
            };
            let schedule = Schedule {
                seed: 1,
                vanish,
                flap: Trouble::default(),
            };
            for days in [0, 1, 3000] {
                let at = Duration::from_secs(days * 24 * 60 * 60);
                let (_, until) = schedule.health(7, at);
                assert!(
                    until.is_none_or(|until| until > at),
                    "{share} for {lasts:?} on day {days}"
                );
            }
        }
    }
}
