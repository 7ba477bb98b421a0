//! Waiting before a container is started again: at once, then 10 s, doubling to five minutes.
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// First wait between crashes.
pub const INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// A run that ended so long after the last restart was decided starts the series anew.
pub const FORGET_AFTER: SignedDuration = SignedDuration::from_secs(600);

/// The runtime and the agent read the same clock, one after the other and in different units.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_secs(1);

#[derive(Clone, Debug)]
struct Entry {
    wait: SignedDuration,
    updated: Timestamp,
    /// What went wrong, where somebody wants to be told.
    error: String,
    /// That it is waited for was told.
    is_told: bool,
}

/// The back-offs of one pod's containers, by container name and definition hash.
#[derive(Clone, Debug)]
pub struct Backoff {
    entries: HashMap<String, Entry>,
    longest: SignedDuration,
}

impl Backoff {
    /// `longest` is `crashLoopBackOff.maxContainerRestartPeriod`, 300 s by default.
    pub fn new(longest: SignedDuration) -> Self {
        Self {
            entries: HashMap::new(),
            longest,
        }
    }

    /// When the container that ended at `ended` may start again, if not yet; with the whole wait.
    pub fn waiting(
        &self,
        key: &str,
        ended: Timestamp,
        now: Timestamp,
    ) -> Option<(Timestamp, SignedDuration)> {
        let entry = self
            .entries
            .get(key)
            .filter(|entry| !self.is_over(entry, ended) && !is_ahead(ended, now))?;
        let until = ended.saturating_add(entry.wait).unwrap_or(Timestamp::MAX);
        (now < until).then_some((until, entry.wait))
    }

    /// Notes that the container that ended at `ended` is started again now.
    pub fn restarted(&mut self, key: &str, ended: Timestamp, now: Timestamp) {
        self.wait_longer(key, ended, String::new(), now);
    }

    /// Notes a failed attempt at something that is tried again after a growing wait: this one.
    pub fn failed(&mut self, key: &str, error: String, now: Timestamp) -> SignedDuration {
        self.wait_longer(key, now, error, now)
    }

    /// Begins the next wait, which is twice the one before unless that is long past what ended at `ended`.
    fn wait_longer(&mut self, key: &str, ended: Timestamp, error: String, now: Timestamp) -> SignedDuration {
        let wait = match self.entries.get(key) {
            Some(entry) if !self.is_over(entry, ended) => (entry.wait * 2).min(self.longest),
            _ => INITIAL.min(self.longest),
        };
        self.entries.insert(
            key.to_owned(),
            Entry {
                wait,
                updated: now,
                error,
                is_told: false,
            },
        );
        wait
    }

    /// The last error and the end of the wait, while it lasts.
    pub fn holds(&self, key: &str, now: Timestamp) -> Option<(&str, Timestamp)> {
        let entry = self
            .entries
            .get(key)
            .filter(|entry| !is_ahead(entry.updated, now))?;
        let until = entry.updated.saturating_add(entry.wait).unwrap_or(Timestamp::MAX);
        (now < until).then_some((entry.error.as_str(), until))
    }

    /// Whether it has still to be told that this is waited for; then it counts as told.
    pub fn is_news(&mut self, key: &str) -> bool {
        let entry = self.entries.get_mut(key);
        entry.is_some_and(|entry| !std::mem::replace(&mut entry.is_told, true))
    }

    fn is_over(&self, entry: &Entry, ended: Timestamp) -> bool {
        ended.duration_since(entry.updated) > FORGET_AFTER
    }
}

/// Something that is over lies ahead: the clock was put back since, and nobody waits for those hours a second time.
fn is_ahead(moment: Timestamp, now: Timestamp) -> bool {
    moment.duration_since(now) > CLOCKS_APART_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(s: i64) -> Timestamp {
        Timestamp::from_second(s).unwrap()
    }

    /// B01: a container that dies at once restarts at 0, 10, 30, 70, 150, 310, 610 s.
    #[test]
    fn b01_restarts_of_a_crashing_container_are_spaced_out_up_to_five_minutes() {
        let mut backoff = Backoff::new(SignedDuration::from_secs(300));
        let (mut now, mut starts) = (second(0), Vec::new());
        for _ in 0..7 {
            let ended = now;
            if let Some((until, _)) = backoff.waiting("c", ended, now) {
                now = until;
            }
            backoff.restarted("c", ended, now);
            starts.push(now.as_second());
        }
        assert_eq!(starts, [0, 10, 30, 70, 150, 310, 610]);
    }

    #[test]
    fn b02_another_definition_starts_the_series_anew() {
        let mut backoff = Backoff::new(SignedDuration::from_secs(300));
        backoff.restarted("c/1", second(0), second(0));
        assert!(backoff.waiting("c/1", second(1), second(2)).is_some());
        assert!(backoff.waiting("c/2", second(1), second(2)).is_none());
    }

    #[test]
    fn b03_failed_pulls_are_spaced_out_and_say_why() {
        let mut pulls = Backoff::new(SignedDuration::from_secs(300));
        pulls.failed("i", "no route".into(), second(0));
        assert_eq!(pulls.holds("i", second(9)), Some(("no route", second(10))));
        assert_eq!(pulls.holds("i", second(10)), None);
        pulls.failed("i", "no route".into(), second(10));
        assert_eq!(pulls.holds("i", second(11)).unwrap().1, second(30));
        assert_eq!([pulls.is_news("i"), pulls.is_news("i")], [true, false]);
        pulls.failed("i", "no route".into(), second(30));
        assert!(pulls.is_news("i"), "of each wait once");
    }

    #[test]
    fn an_image_that_is_never_pulled_is_looked_for_ever_more_seldom_up_to_a_minute() {
        let mut looks = Backoff::new(SignedDuration::from_secs(60));
        let mut now = 0;
        let waits = [(); 5].map(|()| {
            let wait = looks.failed("c", String::new(), second(now)).as_secs();
            now += wait;
            wait
        });
        assert_eq!(waits, [10, 20, 40, 60, 60]);
    }

    #[test]
    fn clock_that_is_put_back_makes_nobody_wait_for_the_same_hours_again() {
        let mut backoff = Backoff::new(SignedDuration::from_secs(300));
        backoff.restarted("c", second(7200), second(7200));
        assert!(backoff.waiting("c", second(7201), second(7201)).is_some());
        assert!(backoff.waiting("c", second(7201), second(1)).is_none());
        backoff.failed("i", "no route".into(), second(7200));
        assert!(backoff.holds("i", second(7201)).is_some());
        assert!(backoff.holds("i", second(1)).is_none());
    }

    #[test]
    fn run_of_more_than_ten_minutes_is_forgiven() {
        let mut backoff = Backoff::new(SignedDuration::from_secs(300));
        backoff.restarted("c", second(0), second(0));
        assert!(backoff.waiting("c", second(601), second(602)).is_none());
    }
}
