//! Timestamps and durations.
use super::Table;
use super::arguments::text;
use crate::cel::budget::Error;
use crate::cel::moment::Shown;
use crate::cel::value::Value;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

pub const TABLE: Table = &[
    ("_+_(duration, duration) duration", |_, a| {
        durations(a, i64::checked_add)
    }),
    ("_-_(duration, duration) duration", |_, a| {
        durations(a, i64::checked_sub)
    }),
    ("_+_(timestamp, duration) timestamp", |_, a| {
        moved(&a[0], &a[1], 1)
    }),
    ("_+_(duration, timestamp) timestamp", |_, a| {
        moved(&a[1], &a[0], 1)
    }),
    ("_-_(timestamp, duration) timestamp", |_, a| {
        moved(&a[0], &a[1], -1)
    }),
    ("_-_(timestamp, timestamp) duration", |_, a| {
        match (&a[0], &a[1]) {
            (Value::Timestamp(a), Value::Timestamp(b)) => a.since(*b).map(Value::Duration).ok_or_else(range),
            _ => Err(Error::no_such_overload()),
        }
    }),
    ("timestamp::getFullYear() int", |_, a| part(a, |t| t.year())),
    ("timestamp::getFullYear(string) int", |_, a| part(a, |t| t.year())),
    ("timestamp::getMonth() int", |_, a| {
        part(a, |t| i64::from(t.clock.month()) - 1)
    }),
    ("timestamp::getMonth(string) int", |_, a| {
        part(a, |t| i64::from(t.clock.month()) - 1)
    }),
    ("timestamp::getDate() int", |_, a| {
        part(a, |t| i64::from(t.clock.day()))
    }),
    ("timestamp::getDate(string) int", |_, a| {
        part(a, |t| i64::from(t.clock.day()))
    }),
    ("timestamp::getDayOfMonth() int", |_, a| {
        part(a, |t| i64::from(t.clock.day()) - 1)
    }),
    ("timestamp::getDayOfMonth(string) int", |_, a| {
        part(a, |t| i64::from(t.clock.day()) - 1)
    }),
    ("timestamp::getDayOfYear() int", |_, a| {
        part(a, |t| i64::from(t.clock.day_of_year()) - 1)
    }),
    ("timestamp::getDayOfYear(string) int", |_, a| {
        part(a, |t| i64::from(t.clock.day_of_year()) - 1)
    }),
    ("timestamp::getDayOfWeek() int", |_, a| {
        part(a, |t| weekday(t.clock.weekday()))
    }),
    ("timestamp::getDayOfWeek(string) int", |_, a| {
        part(a, |t| weekday(t.clock.weekday()))
    }),
    ("timestamp::getHours() int", |_, a| {
        part(a, |t| i64::from(t.clock.hour()))
    }),
    ("timestamp::getHours(string) int", |_, a| {
        part(a, |t| i64::from(t.clock.hour()))
    }),
    ("timestamp::getMinutes() int", |_, a| {
        part(a, |t| i64::from(t.clock.minute()))
    }),
    ("timestamp::getMinutes(string) int", |_, a| {
        part(a, |t| i64::from(t.clock.minute()))
    }),
    ("timestamp::getSeconds() int", |_, a| {
        part(a, |t| i64::from(t.clock.second()))
    }),
    ("timestamp::getSeconds(string) int", |_, a| {
        part(a, |t| i64::from(t.clock.second()))
    }),
    ("timestamp::getMilliseconds() int", |_, a| {
        part(a, |t| i64::from(t.clock.millisecond()))
    }),
    ("timestamp::getMilliseconds(string) int", |_, a| {
        part(a, |t| i64::from(t.clock.millisecond()))
    }),
    ("duration::getHours() int", |_, a| units(a, 3_600_000_000_000)),
    ("duration::getMinutes() int", |_, a| units(a, 60_000_000_000)),
    ("duration::getSeconds() int", |_, a| units(a, 1_000_000_000)),
    ("duration::getMilliseconds() int", |_, a| units(a, 1_000_000)),
];

fn range() -> Error {
    Error::failed("timestamp overflow")
}

fn weekday(day: Weekday) -> i64 {
    i64::from(day.to_sunday_zero_offset())
}

fn durations<'a>(a: &[Value<'a>], make: fn(i64, i64) -> Option<i64>) -> Result<Value<'a>, Error> {
    match (&a[0], &a[1]) {
        (Value::Duration(a), Value::Duration(b)) => make(*a, *b)
            .map(Value::Duration)
            .ok_or_else(|| Error::failed("duration overflow")),
        _ => Err(Error::no_such_overload()),
    }
}

fn moved<'a>(time: &Value<'a>, by: &Value<'a>, sign: i64) -> Result<Value<'a>, Error> {
    match (time, by) {
        (Value::Timestamp(time), Value::Duration(nanos)) => {
            let moved = time.after(i128::from(*nanos) * i128::from(sign));
            moved.map(Value::Timestamp).ok_or_else(range)
        }
        _ => Err(Error::no_such_overload()),
    }
}

fn part<'a>(a: &[Value<'a>], read: fn(&Shown) -> i64) -> Result<Value<'a>, Error> {
    let Value::Timestamp(time) = &a[0] else {
        return Err(Error::no_such_overload());
    };
    let zone = match a.get(1) {
        None => TimeZone::UTC,
        Some(name) => zone(text(name)?)?,
    };
    Ok(Value::Int(read(&time.shown_in(&zone))))
}

/// `Europe/Berlin` or `+02:00`.
fn zone(name: &str) -> Result<TimeZone, Error> {
    let bad = || Error::failed(format!("unknown time zone {name}"));
    let (sign, rest) = match name.as_bytes().first() {
        Some(b'-') => (-1, &name[1..]),
        Some(b'+') => (1, &name[1..]),
        _ => (1, name),
    };
    if let Some((hours, minutes)) = rest.split_once(':') {
        let number = |text: &str| text.parse::<i32>().ok().filter(|n| (0..=59).contains(n));
        let seconds = (number(hours).ok_or_else(bad)? * 60 + number(minutes).ok_or_else(bad)?) * 60 * sign;
        return jiff::tz::Offset::from_seconds(seconds)
            .map(jiff::tz::Offset::to_time_zone)
            .map_err(|_| bad());
    }
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| bad())
}

fn units<'a>(a: &[Value<'a>], unit: i64) -> Result<Value<'a>, Error> {
    match &a[0] {
        Value::Duration(nanos) => Ok(Value::Int(nanos / unit)),
        _ => Err(Error::no_such_overload()),
    }
}
