//! Which revision the store stood at when: what automatic compaction may forget.
use std::collections::VecDeque;
use std::time::Duration;

/// History is forgotten in at most this many pieces per kept period.
const MARKS_PER_PERIOD: u32 = 5;

/// Marks of (time, revision), oldest first. Without changes there are no marks, and nothing to wake
/// up for.
#[derive(Debug)]
pub(super) struct History {
    keep: Duration,
    marks: VecDeque<(Duration, u64)>,
}

impl History {
    pub(super) fn new(keep: Duration) -> Self {
        Self {
            keep,
            marks: VecDeque::new(),
        }
    }

    /// The store came to stand at `revision`.
    pub(super) fn mark(&mut self, now: Duration, revision: u64) {
        let spacing = self.keep / MARKS_PER_PERIOD;
        if let [.., before, last] = self.marks.make_contiguous()
            && last.0.saturating_sub(before.0) < spacing
        {
            *last = (now, revision);
        } else {
            self.marks.push_back((now, revision));
        }
    }

    /// Forgetting up to `revision` has failed: it is due again at `at`.
    pub(super) fn postpone(&mut self, revision: u64, at: Duration) {
        self.marks.push_front((at.saturating_sub(self.keep), revision));
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.marks.front().map(|(at, _)| at.saturating_add(self.keep))
    }

    /// The newest revision that may become the oldest readable one.
    pub(super) fn due(&mut self, now: Duration) -> Option<u64> {
        let mut due = None;
        while self.next_due().is_some_and(|at| at <= now) {
            due = self.marks.pop_front().map(|(_, revision)| revision);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_kept_for_the_whole_period_and_forgotten_soon_after() {
        let at = Duration::from_secs;
        let mut history = History::new(at(300));
        assert_eq!(history.next_due(), None);
        for second in 0..1000 {
            let now = at(second);
            if let Some(oldest) = history.due(now) {
                // Revision r was made at second r.
                assert!(oldest + 300 <= second, "{oldest} forgotten at {second}");
                assert!(oldest + 300 + 2 * 60 >= second, "{oldest} kept until {second}");
            }
            history.mark(now, second);
            assert!(history.marks.len() <= 7, "{:?}", history.marks);
        }
        let oldest = history.due(at(1299)).unwrap();
        assert_eq!(oldest, 999);
        history.postpone(oldest, at(1304));
        assert_eq!(history.due(at(1303)), None);
        assert_eq!(history.due(at(1304)), Some(999));
        assert_eq!(history.next_due(), None);
    }
}
