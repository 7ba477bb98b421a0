//! One rhythm for what the agent looks at again and again: a node on which nothing happens wakes up once for all of it, not
//! once for each. Its phase is random, so that nodes that were started together do not report together.
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Phases differ by up to this, the period of most of it.
const PHASE_MAX: Duration = Duration::from_secs(10);

/// The next moment of the rhythm with this period.
pub fn at(period: Duration) -> Instant {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let phase = || PHASE_MAX.mul_f64(rand::random::<f64>());
    // A machine that came up just now may have no such past.
    let began = *BEGAN.get_or_init(|| now.checked_sub(phase()).unwrap_or(now));
    now + until_next(now.saturating_duration_since(began), period)
}

/// Waits for it.
pub async fn next(period: Duration) {
    sleep_until(at(period)).await;
}

/// How long it is, so long after the beginning, until the next multiple of the period.
fn until_next(passed: Duration, period: Duration) -> Duration {
    let period = period.as_nanos().max(1);
    let left = period - passed.as_nanos() % period;
    Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_that_divide_each_other_meet() {
        let millis = Duration::from_millis;
        for (passed, period, left) in [
            (0, 10_000, 10_000),
            (1, 10_000, 9_999),
            (10_000, 10_000, 10_000),
            (59_990, 10_000, 10),
            (59_990, 60_000, 10),
            (59_990, 20_000, 10),
            (65_000, 3_000, 1_000),
        ] {
            assert_eq!(
                until_next(millis(passed), millis(period)),
                millis(left),
                "{passed} {period}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn different_work_is_due_at_the_same_moments() {
        let period = Duration::from_secs(10);
        let first = at(period);
        next(period).await;
        tokio::time::advance(Duration::from_millis(3)).await;
        let (lease, logs) = (at(period), at(period / 2));
        assert!(
            lease - first <= period + Duration::from_millis(2),
            "{:?}",
            lease - first
        );
        assert!(logs <= lease);
    }
}
