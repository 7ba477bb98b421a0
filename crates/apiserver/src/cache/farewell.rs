//! Watches of a server that leaves end one by one, so that not all their clients come to another server at once.
use super::Cache;
use rand::seq::SliceRandom;
use std::time::Duration;
use tokio::time::Instant;

/// Those whose turn it is end together, this often.
const STEP: Duration = Duration::from_millis(100);

/// Ends all watches, in no order, evenly over `time`; then there are none and there will be none.
pub async fn end_watches(cache: &Cache, time: Duration) {
    if !time.is_zero() {
        let mut waiters = cache.waiters();
        waiters.shuffle(&mut rand::rng());
        let began = Instant::now();
        let mut ended = 0;
        while ended < waiters.len() {
            tokio::time::sleep(STEP.min(time)).await;
            let due = due(waiters.len(), began.elapsed(), time);
            for waiter in &waiters[ended..due] {
                waiter.end();
            }
            ended = due;
        }
    }
    cache.close_for_good();
}

/// How many of `count` have ended when this much of `time` has passed.
fn due(count: usize, passed: Duration, time: Duration) -> usize {
    if passed >= time {
        return count;
    }
    let share = passed.as_secs_f64() / time.as_secs_f64();
    ((count as f64 * share) as usize).min(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Interest;
    use crate::resources;
    use std::sync::Arc;

    #[test]
    fn ends_are_spread_evenly() {
        let second = Duration::from_secs;
        for (count, passed, expected) in [
            (10, 0, 0),
            (10, 15, 2),
            (10, 59, 9),
            (10, 60, 10),
            (10, 61, 10),
            (0, 1, 0),
        ] {
            assert_eq!(due(count, second(passed), second(60)), expected, "{passed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_watches_have_ended_after_the_time_and_not_all_before() {
        let cache = Arc::new(Cache::new());
        let maps = cache
            .storage(resources::find("", "v1", "configmaps").unwrap())
            .unwrap();
        let watches: Vec<_> = (0..10).map(|_| cache.watch(maps, Interest::All)).collect();
        let ended = || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let ended = watches
                .iter()
                .filter(|watch| watch.poll_changed(&mut cx).is_ready());
            ended.count()
        };
        let ending = tokio::spawn({
            let cache = cache.clone();
            async move { end_watches(&cache, Duration::from_secs(10)).await }
        });
        let mut seen = vec![ended()];
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(5050)).await;
            seen.push(ended());
        }
        assert_eq!(seen, [0, 5, 10]);
        ending.await.unwrap();
        // Nobody is waited for where nobody watches.
        drop(watches);
        let began = Instant::now();
        end_watches(&Cache::new(), Duration::from_secs(10)).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
