//! What is remembered of one autoscaler: what was recommended lately, and how its target was scaled.

use jiff::{SignedDuration, Timestamp};

/// A number at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    when: Timestamp,
    number: i32,
}

/// The past of one autoscaler.
#[derive(Debug, Clone, Default)]
pub struct History {
    recommended: Vec<At>,
    added: Vec<At>,
    removed: Vec<At>,
}

fn after(list: &[At], since: Timestamp) -> impl Iterator<Item = i32> {
    list.iter().filter(move |at| at.when > since).map(|at| at.number)
}

/// The moment so long before `now`.
fn before(now: Timestamp, seconds: i32) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(seconds.into()))
        .unwrap_or(Timestamp::MIN)
}

impl History {
    /// The first look: what there is counts as recommended.
    pub fn begin(&mut self, replicas: i32, now: Timestamp) {
        if self.recommended.is_empty() {
            self.recommend(replicas, now);
        }
    }

    /// Takes down a recommendation.
    pub fn recommend(&mut self, replicas: i32, now: Timestamp) {
        self.recommended.push(At {
            when: now,
            number: replicas,
        });
    }

    /// Takes down how the target was scaled.
    pub fn scaled(&mut self, from: i32, to: i32, now: Timestamp) {
        let list = if to > from {
            &mut self.added
        } else {
            &mut self.removed
        };
        list.push(At {
            when: now,
            number: (to - from).abs(),
        });
    }

    /// The highest number recommended in the last so many seconds, `replicas` if that is higher.
    pub fn highest(&self, replicas: i32, seconds: i32, now: Timestamp) -> i32 {
        after(&self.recommended, before(now, seconds)).fold(replicas, i32::max)
    }

    /// The lowest one, in the same way.
    pub fn lowest(&self, replicas: i32, seconds: i32, now: Timestamp) -> i32 {
        after(&self.recommended, before(now, seconds)).fold(replicas, i32::min)
    }

    /// How many pods there were so many seconds ago, if only this scaled and there are `replicas` now.
    pub fn at_begin_of(&self, seconds: i32, replicas: i32, now: Timestamp) -> i32 {
        let since = before(now, seconds);
        let sum = |list| after(list, since).fold(0, i32::saturating_add);
        replicas
            .saturating_sub(sum(&self.added))
            .saturating_add(sum(&self.removed))
    }

    /// Forgets what is older than so many seconds.
    pub fn forget(&mut self, seconds: i32, now: Timestamp) {
        let since = before(now, seconds);
        for list in [&mut self.recommended, &mut self.added, &mut self.removed] {
            list.retain(|at| at.when > since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned::testing::{ago, now};

    #[test]
    fn what_was_recommended_and_scaled_is_remembered_for_as_long_as_it_matters() {
        let mut history = History::default();
        history.begin(3, ago(100));
        history.begin(9, ago(90));
        history.recommend(7, ago(50));
        history.recommend(2, ago(10));
        assert_eq!(
            (history.highest(4, 60, now()), history.lowest(4, 60, now())),
            (7, 2)
        );
        assert_eq!(
            (history.highest(4, 20, now()), history.highest(4, 0, now())),
            (4, 4)
        );
        history.scaled(3, 8, ago(40));
        history.scaled(8, 6, ago(10));
        assert_eq!(history.at_begin_of(60, 6, now()), 3);
        assert_eq!(history.at_begin_of(15, 6, now()), 8);
        history.forget(30, now());
        assert_eq!(history.highest(0, 1000, now()), 2);
        assert_eq!(history.at_begin_of(1000, 6, now()), 8);
    }
}
