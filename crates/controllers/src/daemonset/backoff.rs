//! How long a failed daemon pod is left before its replacement may fail as well: 1 s doubling to
//! 15 min per DaemonSet generation and node.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

/// Delay after the first failure.
pub const DELAY_MIN: SignedDuration = SignedDuration::from_secs(1);
/// Longest delay.
pub const DELAY_MAX: SignedDuration = SignedDuration::from_mins(15);
/// A failure this long ago no longer counts.
pub const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(30);
/// Forgotten entries are dropped at most this often.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What a delay belongs to. A new spec is a new generation and starts from the shortest delay.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackoffKey {
    /// uid of the DaemonSet.
    pub set: Arc<str>,
    /// status.observedGeneration.
    pub generation: i64,
    /// The node.
    pub node: Arc<str>,
}

#[derive(Debug)]
struct Entry {
    delay: SignedDuration,
    last: Timestamp,
}

/// The delays of all failing daemon pods.
#[derive(Debug, Default)]
pub struct FailedPodBackoff {
    entries: HashMap<BackoffKey, Entry>,
    swept: Option<Timestamp>,
}

impl FailedPodBackoff {
    /// What remains of the current delay, or `None` if the pod may go now, which then starts the
    /// next, longer delay.
    pub fn wait(&mut self, key: BackoffKey, now: Timestamp) -> Option<SignedDuration> {
        self.sweep(now);
        let (delay, last) = match self.entries.get(&key) {
            Some(entry) if now.duration_since(entry.last) <= FORGOTTEN_AFTER => (entry.delay, entry.last),
            _ => {
                self.entries.insert(
                    key,
                    Entry {
                        delay: DELAY_MIN,
                        last: now,
                    },
                );
                return None;
            }
        };
        let waited = now.duration_since(last);
        if waited < delay {
            return Some(delay - waited);
        }
        let delay = delay.saturating_mul(2).min(DELAY_MAX);
        self.entries.insert(key, Entry { delay, last: now });
        None
    }

    fn sweep(&mut self, now: Timestamp) {
        if self
            .swept
            .is_none_or(|swept| now.duration_since(swept) >= SWEEP_EVERY)
        {
            self.swept = Some(now);
            self.entries
                .retain(|_, entry| now.duration_since(entry.last) <= FORGOTTEN_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c06_the_first_failure_goes_at_once_and_the_delay_does_not_grow_while_waiting() {
        let mut backoff = FailedPodBackoff::default();
        let key = |generation| BackoffKey {
            set: "u".into(),
            generation,
            node: "n".into(),
        };
        let start = Timestamp::from_second(1_000_000).unwrap();
        let at = |millis: i64| start + SignedDuration::from_millis(millis);
        assert_eq!(backoff.wait(key(1), at(0)), None);
        assert_eq!(
            backoff.wait(key(1), at(400)),
            Some(SignedDuration::from_millis(600))
        );
        assert_eq!(
            backoff.wait(key(1), at(999)),
            Some(SignedDuration::from_millis(1))
        );
        assert_eq!(
            backoff.wait(key(1), at(1000)),
            None,
            "exactly when the delay ends"
        );
        assert_eq!(
            backoff.wait(key(1), at(2500)),
            Some(SignedDuration::from_millis(500)),
            "doubled to 2 s"
        );
    }

    #[test]
    fn c07_a_changed_and_observed_spec_starts_from_one_second_again() {
        let mut backoff = FailedPodBackoff::default();
        let key = |generation| BackoffKey {
            set: "u".into(),
            generation,
            node: "n".into(),
        };
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let seconds = |seconds| Some(SignedDuration::from_secs(seconds));
        for (second, delay) in [(0, 1), (1, 2), (3, 4)] {
            assert_eq!(backoff.wait(key(1), at(second)), None);
            assert_eq!(backoff.wait(key(1), at(second)), seconds(delay));
        }
        assert_eq!(backoff.wait(key(2), at(3)), None);
        assert_eq!(backoff.wait(key(2), at(3)), seconds(1));
        assert_eq!(backoff.wait(key(1), at(3)), seconds(4), "the old spec's goes on");
        // Half an hour of peace forgets.
        assert_eq!(backoff.wait(key(1), at(31 * 60)), None);
        assert_eq!(backoff.wait(key(1), at(31 * 60)), seconds(1));
        assert_eq!(backoff.entries.len(), 1, "that of the new spec was swept");
    }

    #[test]
    fn the_delay_stops_growing_at_fifteen_minutes() {
        let mut backoff = FailedPodBackoff::default();
        let key = BackoffKey {
            set: "u".into(),
            generation: 1,
            node: "n".into(),
        };
        let mut now = Timestamp::from_second(1_000_000).unwrap();
        for _ in 0..20 {
            assert_eq!(backoff.wait(key.clone(), now), None);
            now += backoff.entries[&key].delay;
        }
        assert_eq!(backoff.entries[&key].delay, DELAY_MAX);
    }
}
