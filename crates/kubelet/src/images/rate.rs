//! How often registries are asked (`registryPullQPS`, `registryBurst`).
use parking_lot::Mutex;
use std::time::Instant;

/// What is told of a pull that comes too soon.
pub const EXCEEDED: &str = "pull QPS exceeded";

/// Pulls that may begin: some at once, and so many more each second. Nobody waits here: a pull that comes too soon is put off
/// like one that failed.
#[derive(Debug)]
pub struct PullRate {
    /// Zero: as many as there are.
    per_second: f64,
    burst: f64,
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    pulls: f64,
    /// When that was so.
    at: Option<Instant>,
}

impl PullRate {
    /// All of the burst is there at first.
    pub fn new(per_second: i32, burst: i32) -> Self {
        let burst = f64::from(burst.max(0));
        Self {
            per_second: f64::from(per_second.max(0)),
            burst,
            left: Mutex::new(Left {
                pulls: burst,
                at: None,
            }),
        }
    }

    /// Whether a pull may begin now, which then counts.
    pub fn take(&self, now: Instant) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        let mut left = self.left.lock();
        let passed = left
            .at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        let pulls = (left.pulls + passed * self.per_second).min(self.burst);
        let may = pulls >= 1.0;
        *left = Left {
            pulls: if may { pulls - 1.0 } else { pulls },
            at: Some(now),
        };
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_of_pulls_begins_at_once_and_the_rest_at_its_rate() {
        let began = Instant::now();
        let rate = PullRate::new(4, 3);
        let mut begun = Vec::new();
        // Somebody asks every eighth of a second.
        for eighth in 0..12_u32 {
            if rate.take(began + Duration::from_millis(125) * eighth) {
                begun.push(eighth);
            }
        }
        assert_eq!(begun, [0, 1, 2, 3, 4, 6, 8, 10]);
        // After a long time it is a burst again, and no more than that.
        let later = began + Duration::from_secs(3600);
        let at_once = (0..10).filter(|_| rate.take(later)).count();
        assert_eq!(at_once, 3);
    }

    #[test]
    fn a_rate_of_zero_is_none_and_a_burst_of_zero_lets_nobody_through() {
        let now = Instant::now();
        let (unlimited, closed) = (PullRate::new(0, 0), PullRate::new(5, 0));
        assert!((0..1000).all(|_| unlimited.take(now)));
        assert!(!closed.take(now) && !closed.take(now + Duration::from_secs(60)));
    }
}
