//! Schedules of CronJobs: five fields, or one of the words that begin with `@`.

use std::fmt;
use std::time::Duration;

use crate::duration::parse_go_duration;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Unit, Zoned};

/// A schedule that never comes true is looked for so many days ahead.
const YEARS_AHEAD: i16 = 5;

/// When something happens again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At the minutes that match all fields.
    Fields(Fields),
    /// In steps of whole seconds.
    Every(Duration),
}

/// The minutes that match, a bit a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Where one of the two is unrestricted, both must match; else one is enough.
    any_day: bool,
    any_weekday: bool,
}

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronError(String);

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CronError {}

struct Range {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Range = range("minute", 0, 59, &[]);
const HOUR: Range = range("hour", 0, 23, &[]);
const DAY: Range = range("day of month", 1, 31, &[]);
const MONTH: Range = range(
    "month",
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
const WEEKDAY: Range = range(
    "day of week",
    0,
    6,
    &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
);

const fn range(name: &'static str, min: u32, max: u32, names: &'static [&'static str]) -> Range {
    Range {
        name,
        min,
        max,
        names,
    }
}

impl Schedule {
    /// Reads a schedule.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields = match text.trim() {
            "" => return Err(CronError("empty spec string".to_owned())),
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            every if every.starts_with("@every ") => {
                let duration = every.trim_start_matches("@every ").trim();
                let step = parse_go_duration(duration)
                    .map(|step| Duration::from_secs(step.as_secs()))
                    .ok_or_else(|| CronError(format!("failed to parse duration {every}: {duration:?}")))?;
                return Ok(Self::Every(step.max(Duration::from_secs(1))));
            }
            word if word.starts_with('@') => {
                return Err(CronError(format!("unrecognized descriptor: {word}")));
            }
            fields => fields,
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            let count = parts.len();
            return Err(CronError(format!(
                "expected exactly 5 fields, found {count}: [{}]",
                parts.join(" ")
            )));
        };
        Ok(Self::Fields(Fields {
            minute: bits(minute, &MINUTE)?,
            hour: bits(hour, &HOUR)?,
            day: bits(day, &DAY)?,
            month: bits(month, &MONTH)?,
            weekday: bits(weekday, &WEEKDAY)?,
            any_day: is_any(day),
            any_weekday: is_any(weekday),
        }))
    }

    /// Reads a schedule that may begin with its time zone (`TZ=` or `CRON_TZ=`): CronJobs from before there was a field for it
    /// are stored like that.
    pub fn parse_with_zone(text: &str) -> Result<(Self, Option<TimeZone>), CronError> {
        let named = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ="));
        let Some((name, schedule)) = named.and_then(|named| named.split_once(' ')) else {
            return Ok((Self::parse(text)?, None));
        };
        let zone = TimeZone::get(name)
            .map_err(|error| CronError(format!("provided bad location {name}: {error}")))?;
        Ok((Self::parse(schedule)?, Some(zone)))
    }

    /// The first time after `after`, in the time zone of `after`; `None` if there is none for years.
    pub fn next(&self, after: &Zoned) -> Option<Zoned> {
        match self {
            Self::Every(step) => {
                let step = SignedDuration::from_secs(i64::try_from(step.as_secs()).ok()?);
                let whole = Timestamp::from_second(after.timestamp().as_second()).ok()?;
                Some(whole.checked_add(step).ok()?.to_zoned(after.time_zone().clone()))
            }
            Self::Fields(fields) => fields.next(after),
        }
    }
}

/// Whether a field leaves everything open.
fn is_any(field: &str) -> bool {
    field
        .split(',')
        .any(|part| matches!(part, "*" | "?" | "*/1" | "?/1"))
}

fn bits(field: &str, range: &Range) -> Result<u64, CronError> {
    field
        .split(',')
        .try_fold(0, |bits, part| Ok(bits | part_bits(part, range)?))
}

fn part_bits(part: &str, range: &Range) -> Result<u64, CronError> {
    let (values, step) = match part.split_once('/') {
        Some((_, step)) if step.contains('/') => {
            return Err(CronError(format!("too many slashes: {part}")));
        }
        Some((values, step)) => (values, Some(number(step, part)?)),
        None => (part, None),
    };
    let (first, last) = match values.split_once('-') {
        None if matches!(values, "*" | "?") => (range.min, range.max),
        None => {
            let value = value(values, range, part)?;
            // `5/10` begins at 5 and goes on to the end.
            (value, if step.is_some() { range.max } else { value })
        }
        Some((_, last)) if last.contains('-') => {
            return Err(CronError(format!("too many hyphens: {part}")));
        }
        Some((first, last)) => (value(first, range, part)?, value(last, range, part)?),
    };
    let step = step.unwrap_or(1);
    let name = range.name;
    if first < range.min {
        return Err(CronError(format!(
            "beginning of range ({first}) below minimum ({}) of {name}: {part}",
            range.min
        )));
    }
    if last > range.max {
        return Err(CronError(format!(
            "end of range ({last}) above maximum ({}) of {name}: {part}",
            range.max
        )));
    }
    if first > last {
        return Err(CronError(format!(
            "beginning of range ({first}) beyond end of range ({last}): {part}"
        )));
    }
    if step == 0 {
        return Err(CronError(format!(
            "step of range should be a positive number: {part}"
        )));
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    Ok((first..=last)
        .step_by(step)
        .fold(0, |bits, value| bits | 1 << value))
}

fn value(text: &str, range: &Range, part: &str) -> Result<u32, CronError> {
    let lower = text.to_ascii_lowercase();
    match range.names.iter().position(|name| *name == lower) {
        Some(position) => Ok(range.min + u32::try_from(position).unwrap_or(0)),
        None => number(text, part),
    }
}

fn number(text: &str, part: &str) -> Result<u32, CronError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| CronError(format!("failed to parse number from {part:?}")))
}

impl Fields {
    fn matches_day(&self, date: Date) -> bool {
        let has = |bits: u64, value: i8| bits >> value & 1 == 1;
        let day = has(self.day, date.day());
        let weekday = has(self.weekday, date.weekday().to_sunday_zero_offset());
        if self.any_day || self.any_weekday {
            day && weekday
        } else {
            day || weekday
        }
    }

    /// Walks forward in real time, so that an hour that a change of clocks leaves out doesn't come,
    /// and one that it repeats comes twice.
    fn next(&self, after: &Zoned) -> Option<Zoned> {
        let has = |bits: u64, value: i8| bits >> value & 1 == 1;
        let last_year = after.year().saturating_add(YEARS_AHEAD);
        let mut time = after
            .checked_add(1.minute())
            .ok()?
            .round(
                jiff::ZonedRound::new()
                    .smallest(Unit::Minute)
                    .mode(jiff::RoundMode::Trunc),
            )
            .ok()?;
        while time.year() <= last_year {
            time = if !has(self.month, time.month()) {
                let next = time.first_of_month().ok()?.checked_add(1.month()).ok()?;
                next.start_of_day().ok()?
            } else if !self.matches_day(time.date()) {
                time.tomorrow().ok()?.start_of_day().ok()?
            } else if !has(self.hour, time.hour()) {
                let minutes = 60 - i64::from(time.minute());
                time.checked_add(minutes.minutes()).ok()?
            } else if !has(self.minute, time.minute()) {
                time.checked_add(1.minute()).ok()?
            } else {
                return Some(time);
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> String {
        let after: Zoned = after.parse().unwrap();
        let next = Schedule::parse(schedule).unwrap().next(&after);
        next.map_or("never".into(), |next| next.strftime("%F %H:%M:%S %z").to_string())
    }

    #[test]
    fn the_next_time_matches_all_fields() {
        let utc = |schedule: &str, after: &str| {
            let next = next(schedule, &format!("{after}+00:00[UTC]"));
            next.trim_end_matches(" +0000").to_owned()
        };
        for (schedule, after, want) in [
            ("*/15 * * * *", "2012-07-09T14:45:00", "2012-07-09 15:00:00"),
            ("*/15 * * * *", "2012-07-09T14:59:59", "2012-07-09 15:00:00"),
            ("20-35/15 * * * *", "2012-07-09T15:45:00", "2012-07-09 16:20:00"),
            ("5/20 * * * *", "2012-07-09T15:30:00", "2012-07-09 15:45:00"),
            ("30 8 1,15 * *", "2026-01-02T00:00:00", "2026-01-15 08:30:00"),
            ("0 0 1 feb-mar MON", "2026-01-02T00:00:00", "2026-02-01 00:00:00"),
            ("0 0 * * mon", "2026-01-02T00:00:00", "2026-01-05 00:00:00"),
            ("0 0 */2 * sun", "2026-01-02T00:00:00", "2026-01-03 00:00:00"),
            ("0 0 29 2 ?", "2026-01-02T00:00:00", "2028-02-29 00:00:00"),
            ("0 0 31 feb *", "2026-01-02T00:00:00", "never"),
            ("@hourly", "2026-01-02T03:04:05", "2026-01-02 04:00:00"),
            ("@daily", "2026-01-02T03:04:05", "2026-01-03 00:00:00"),
            ("@weekly", "2026-01-02T03:04:05", "2026-01-04 00:00:00"),
            ("@monthly", "2026-01-02T03:04:05", "2026-02-01 00:00:00"),
            ("@yearly", "2026-01-02T03:04:05", "2027-01-01 00:00:00"),
            ("@every 1h30m", "2026-01-02T03:04:05.7", "2026-01-02 04:34:05"),
        ] {
            assert_eq!(utc(schedule, after), want, "{schedule} after {after}");
        }
    }

    #[test]
    fn time_zones_move_their_clocks() {
        let new_york = |schedule: &str, after: &str| next(schedule, &format!("{after}[America/New_York]"));
        assert_eq!(
            new_york("30 2 * * *", "2012-03-11T00:00:00-05:00"),
            "2012-03-12 02:30:00 -0400",
            "there is no half past two on that day"
        );
        assert_eq!(
            new_york("30 1 * * *", "2012-11-04T01:30:00-04:00"),
            "2012-11-04 01:30:00 -0500",
            "half past one comes twice"
        );
    }

    #[test]
    fn a_schedule_may_begin_with_its_time_zone() {
        for (text, want) in [
            ("TZ=America/New_York 0 1 * * *", Some("America/New_York")),
            ("CRON_TZ=UTC @daily", Some("UTC")),
            ("0 1 * * *", None),
        ] {
            let (_, zone) = Schedule::parse_with_zone(text).unwrap();
            let name = zone.as_ref().and_then(TimeZone::iana_name).map(str::to_owned);
            assert_eq!(name.as_deref(), want, "{text}");
        }
        let error = Schedule::parse_with_zone("TZ=Nowhere 0 1 * * *").unwrap_err();
        assert!(error.to_string().starts_with("provided bad location Nowhere: "));
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        for (schedule, want) in [
            ("", "empty spec string"),
            ("@never", "unrecognized descriptor: @never"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59) of minute: 60"),
            (
                "* * 0 * *",
                "beginning of range (0) below minimum (1) of day of month: 0",
            ),
            (
                "5-1 * * * *",
                "beginning of range (5) beyond end of range (1): 5-1",
            ),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse number from \"x\""),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ] {
            assert_eq!(Schedule::parse(schedule).unwrap_err().to_string(), want);
        }
    }
}
