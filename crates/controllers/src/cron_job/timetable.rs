//! By which times a CronJob goes.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use k8s_openapi::api::batch::v1::CronJobSpec;
use orlop_api::cron::Schedule;

use super::missed;
use super::plan::News;

/// A moment later than the time itself: clocks that run a little slow would find it still ahead.
const BEHIND: SignedDuration = SignedDuration::from_millis(100);

/// A schedule in its time zone.
#[derive(Debug)]
pub struct Timetable {
    /// The schedule.
    pub schedule: Schedule,
    zone: TimeZone,
}

impl Timetable {
    /// What `spec` says; `None` if nothing goes by it.
    pub fn of(spec: &CronJobSpec, news: &mut Vec<News>) -> Option<Self> {
        let zone = match spec.time_zone.as_deref() {
            None => TimeZone::UTC,
            Some(name) => match TimeZone::get(name) {
                Ok(zone) => zone,
                Err(error) => {
                    news.push(News::warning(
                        "UnknownTimeZone",
                        format!("invalid timeZone: {name:?}: {error}"),
                    ));
                    return None;
                }
            },
        };
        if spec.suspend == Some(true) {
            return None;
        }
        let schedule = &spec.schedule;
        if schedule.contains("TZ") {
            news.push(News::warning(
                "UnsupportedSchedule",
                format!(
                    "CRON_TZ or TZ used in schedule {schedule:?} is not officially supported, see \
                     https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                ),
            ));
        }
        match Schedule::parse_with_zone(schedule) {
            Ok((schedule, named)) => Some(Self {
                schedule,
                zone: named.unwrap_or(zone),
            }),
            Err(error) => {
                news.push(News::warning(
                    "UnparseableSchedule",
                    format!("unparseable schedule: {schedule:?} : {error}"),
                ));
                None
            }
        }
    }

    /// The moment in the time zone.
    pub fn at(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.zone.clone())
    }

    /// How long it is until the next time, where the last one was at `begun`; `None` if none comes.
    pub fn wait(&self, begun: Timestamp, now: Timestamp) -> Option<Duration> {
        let now = self.at(now);
        let from = match self.schedule {
            Schedule::Fields(_) => now.clone(),
            // Steps are counted from the last time, whenever this is asked.
            Schedule::Every(_) => {
                let begun = self.at(begun);
                missed::last(&self.schedule, &begun, &now).map_or(begun, |missed| missed.last)
            }
        };
        let next = self.schedule.next(&from)?;
        let wait = now.duration_until(&next) + BEHIND;
        Some(Duration::try_from(wait).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_waited_for_from_the_last_time_on() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        for (schedule, begun, now, seconds) in [
            ("@every 1h", "2026-01-01T09:01:00Z", "2026-01-01T09:50:00Z", 660),
            ("@every 1h", "2026-01-01T09:01:00Z", "2026-01-01T13:30:30Z", 1830),
            ("@every 3m", "2026-01-01T09:59:00Z", "2026-01-01T09:59:59Z", 121),
            ("@every 1m", "2026-01-01T09:59:00Z", "2026-01-01T09:59:59Z", 1),
            (
                "0 12 * * 4",
                "2016-05-19T12:00:00Z",
                "2016-06-07T11:30:00Z",
                174_600,
            ),
        ] {
            let spec = CronJobSpec {
                schedule: schedule.to_owned(),
                ..CronJobSpec::default()
            };
            let times = Timetable::of(&spec, &mut Vec::new()).unwrap();
            let want = Duration::from_secs(seconds) + Duration::from_millis(100);
            assert_eq!(
                times.wait(at(begun), at(now)),
                Some(want),
                "{schedule}, {begun}, {now}"
            );
        }
    }
}
