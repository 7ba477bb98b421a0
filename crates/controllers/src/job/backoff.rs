//! How long a Job waits after its pods failed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::count::Counts;
use crate::cache::Pod;

/// The wait after the first failure; it doubles with each further one.
const DELAY_MIN: Duration = Duration::from_secs(10);
/// The longest wait.
const DELAY_MAX: Duration = Duration::from_secs(600);

/// The failures since the last success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    failures: u32,
    last: Option<Timestamp>,
}

impl Record {
    /// The record with the pods that ended since.
    pub fn with(mut self, counts: &Counts, now: Timestamp) -> Self {
        let mut ends: Vec<(Timestamp, bool)> = counts
            .new_failed
            .iter()
            .map(|pod| (ended(pod, now), false))
            .chain(counts.new_succeeded.iter().map(|pod| (ended(pod, now), true)))
            .collect();
        ends.sort_unstable();
        for (at, succeeded) in ends {
            if succeeded {
                self = Self::default();
            } else {
                self.failures += 1;
                self.last = Some(at);
            }
        }
        self
    }

    /// How long to wait from `now` on.
    pub fn wait(&self, now: Timestamp) -> Duration {
        self.last
            .map_or(Duration::ZERO, |last| wait(self.failures, last, now))
    }
}

/// When the pod's last container ended, or else when it was deleted, or made.
pub fn ended(pod: &Pod, now: Timestamp) -> Timestamp {
    pod.job
        .as_ref()
        .and_then(|details| details.finished_at.or(details.deleted_at))
        .or(pod.created)
        .unwrap_or(now)
}

/// How much is left at `now` of the wait after so many failures, the last of them at `last`.
pub fn wait(failures: u32, last: Timestamp, now: Timestamp) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let delay = DELAY_MIN
        .saturating_mul(2u32.saturating_pow((failures - 1).min(16)))
        .min(DELAY_MAX);
    let delay = SignedDuration::try_from(delay).unwrap_or_default();
    Duration::try_from(delay - now.duration_since(last)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ago, now, pod};
    use super::*;
    use crate::cache::JobPod;

    fn at(name: &str, seconds: i64) -> Pod {
        pod(name)
            .job(JobPod {
                finished_at: Some(ago(seconds)),
                ..JobPod::default()
            })
            .build()
    }

    #[test]
    fn the_wait_doubles_up_to_ten_minutes_and_counts_from_the_failure() {
        let waits: Vec<u64> = [0, 1, 2, 3, 6, 7, 100]
            .map(|failures| wait(failures, now(), now()).as_secs())
            .to_vec();
        assert_eq!(waits, [0, 10, 20, 40, 320, 600, 600]);
        assert_eq!(wait(1, ago(4), now()).as_secs(), 6);
        assert_eq!(wait(1, ago(11), now()).as_secs(), 0);
    }

    #[test]
    fn a_pod_that_never_ran_failed_when_it_was_made() {
        let refused = pod("refused").age(40).build();
        assert_eq!(ended(&refused, now()), ago(40));
    }

    #[test]
    fn a_success_ends_the_waiting() {
        let counts = Counts {
            new_failed: vec![at("a", 30), at("c", 5)],
            new_succeeded: vec![at("b", 10)],
            ..Counts::default()
        };
        let record = Record::default().with(&counts, now());
        assert_eq!(record.wait(now()).as_secs(), 5, "one failure since the success");
        let again = record.with(
            &Counts {
                new_failed: vec![at("d", 0)],
                ..Counts::default()
            },
            now(),
        );
        assert_eq!(again.wait(now()).as_secs(), 20);
    }
}
