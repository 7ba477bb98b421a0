//! Which time has come last.

use jiff::{SignedDuration, Zoned};
use orlop_api::cron::Schedule;

/// More missed times than this are worth a warning.
pub const MISSED_MAX: i64 = 100;

/// The last time that has come, and how many came about since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The time.
    pub last: Zoned,
    /// How many have come, roughly.
    pub count: i64,
}

/// The last time of the schedule after `since` and not after `now`.
pub fn last(schedule: &Schedule, since: &Zoned, now: &Zoned) -> Option<Missed> {
    let first = schedule.next(since).filter(|first| first <= now)?;
    let one = Missed {
        last: first.clone(),
        count: 1,
    };
    let Some(second) = schedule.next(&first).filter(|second| second <= now) else {
        return Some(one);
    };
    // Most schedules are even enough that most of what was missed can be skipped.
    let step = first.duration_until(&second).as_secs().max(1);
    let count = first.duration_until(now).as_secs() / step + 1;
    let skip = SignedDuration::from_secs(step.saturating_mul((count - 3).max(0)));
    let mut last = first.clone();
    let mut from = first.checked_add(skip).ok()?;
    while let Some(next) = schedule.next(&from).filter(|next| next <= now) {
        last = next.clone();
        from = next;
    }
    // The gaps were uneven, and nothing came after what was skipped.
    if last == first {
        from = second;
        loop {
            last = from.clone();
            match schedule.next(&from).filter(|next| next <= now) {
                Some(next) => from = next,
                None => break,
            }
        }
    }
    Some(Missed { last, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_is_found_however_long_ago_the_first_was() {
        let at = |text: &str| -> Zoned { format!("{text}+00:00[UTC]").parse().unwrap() };
        for (schedule, since, now, want, many) in [
            ("0 * * * *", "2026-01-01T00:00", "2026-01-01T00:59", None, false),
            (
                "0 * * * *",
                "2026-01-01T00:00",
                "2026-01-01T01:00",
                Some("2026-01-01T01:00"),
                false,
            ),
            (
                "0 * * * *",
                "2026-01-01T00:00",
                "2026-01-01T05:30",
                Some("2026-01-01T05:00"),
                false,
            ),
            (
                "* * * * *",
                "2025-01-01T00:00",
                "2026-01-01T05:30",
                Some("2026-01-01T05:30"),
                true,
            ),
            // Two times a day, unevenly: at 1 and at 2.
            (
                "0 1-2 * * *",
                "2026-01-01T00:00",
                "2026-01-05T12:00",
                Some("2026-01-05T02:00"),
                true,
            ),
            (
                "0 1-2 * * *",
                "2026-01-01T00:00",
                "2026-01-01T23:00",
                Some("2026-01-01T02:00"),
                false,
            ),
            (
                "0 0 * * 1-5",
                "2026-01-01T00:00",
                "2026-01-11T12:00",
                Some("2026-01-09T00:00"),
                false,
            ),
        ] {
            let schedule_ = Schedule::parse(schedule).unwrap();
            let found = last(&schedule_, &at(since), &at(now));
            assert_eq!(
                found.as_ref().map(|missed| &missed.last),
                want.map(at).as_ref(),
                "{schedule} {now}"
            );
            assert_eq!(
                found.is_some_and(|missed| missed.count > MISSED_MAX),
                many,
                "{schedule}"
            );
        }
    }
}
