//! Moments as the language has them: from the first of the year 1 to the last of the year 9999. Certificates that never
//! end do so in its last second, which is later than our library's timestamps go.
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use std::fmt;
use std::str::FromStr;

const SECOND: i128 = 1_000_000_000;
/// `0001-01-01T00:00:00Z`, in seconds since 1970.
const FIRST_SECOND: i64 = -62_135_596_800;
/// `9999-12-31T23:59:59Z`.
const LAST_SECOND: i64 = 253_402_300_799;
/// After so many years days and weekdays are the same again.
const CYCLE_YEARS: i64 = 400;
const CYCLE_SECONDS: i64 = 146_097 * 86_400;

/// Nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i128);

/// A moment as the clocks and calendars of a zone show it.
pub struct Shown {
    pub clock: DateTime,
    /// Years to be added to those of `clock`.
    more_years: i64,
}

impl Shown {
    pub fn year(&self) -> i64 {
        i64::from(self.clock.year()) + self.more_years
    }
}

impl Moment {
    fn of(nanoseconds: i128) -> Option<Self> {
        let seconds = nanoseconds.div_euclid(SECOND);
        let within = i128::from(FIRST_SECOND)..=i128::from(LAST_SECOND);
        within.contains(&seconds).then_some(Self(nanoseconds))
    }

    pub fn of_seconds(seconds: i64) -> Option<Self> {
        Self::of(i128::from(seconds) * SECOND)
    }

    /// The beginning of a day, in UTC.
    pub fn of_date(text: &str) -> Option<Self> {
        Self::of_clock(date(text)?.at(0, 0, 0, 0), 0)
    }

    /// What RFC 3339 says, to the letter.
    pub fn parse(text: &str) -> Option<Self> {
        let (day, rest) = text.split_at_checked(10)?;
        let (time, rest) = rest.strip_prefix('T')?.split_at_checked(8)?;
        let (fraction, zone) = match rest.strip_prefix('.') {
            None => ("", rest),
            Some(rest) => {
                let end = rest.find(|c: char| !c.is_ascii_digit())?;
                (
                    rest.get(..end).filter(|digits| !digits.is_empty())?,
                    rest.get(end..)?,
                )
            }
        };
        let [hour, minute, second] = numbers(time, ':')?;
        // What is finer than the language has is left out.
        let nanoseconds: i32 = format!("{fraction:0<9.9}").parse().ok()?;
        let clock = date(day)?.to_datetime(Time::new(hour, minute, second, nanoseconds).ok()?);
        Self::of_clock(clock, offset(zone)?)
    }

    /// The same, and what is usual beside it: objects have times that others have written.
    pub fn parse_loosely(text: &str) -> Option<Self> {
        let usual = || text.parse::<Timestamp>().ok();
        Self::parse(text).or_else(|| Self::of(usual()?.as_nanosecond()))
    }

    /// `offset`: seconds that the clock is ahead of UTC.
    fn of_clock(clock: DateTime, offset: i64) -> Option<Self> {
        let since = clock.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
        Self::of(since.as_nanos() - i128::from(offset) * SECOND)
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        // It is in the range that the language has.
        i64::try_from(self.0.div_euclid(SECOND)).unwrap_or(LAST_SECOND)
    }

    /// So many nanoseconds later.
    pub fn after(self, nanoseconds: i128) -> Option<Self> {
        Self::of(self.0.checked_add(nanoseconds)?)
    }

    /// Nanoseconds since another moment.
    pub fn since(self, other: Self) -> Option<i64> {
        i64::try_from(self.0 - other.0).ok()
    }

    pub fn shown_in(self, zone: &TimeZone) -> Shown {
        let nearest = match Timestamp::from_nanosecond(self.0) {
            Ok(time) => time,
            Err(_) if self.0 > 0 => Timestamp::MAX,
            Err(_) => Timestamp::MIN,
        };
        let offset = i64::from(zone.to_offset(nearest).seconds());
        // The last years are those of a cycle before.
        let (more_years, before) = match self.seconds() > LAST_SECOND - CYCLE_SECONDS {
            true => (CYCLE_YEARS, CYCLE_SECONDS),
            false => (0, 0),
        };
        let moved = Timestamp::from_nanosecond(self.0 + i128::from(offset - before) * SECOND);
        Shown {
            // The year 1 and the end of 9599 are well within.
            clock: moved.unwrap_or_default().to_zoned(TimeZone::UTC).datetime(),
            more_years,
        }
    }
}

/// `2026-01-31`
fn date(text: &str) -> Option<Date> {
    let (year, rest) = text.split_once('-')?;
    let [month, day] = numbers(rest, '-')?;
    Date::new(number(year, 4)?, month, day).ok()
}

/// Seconds of `Z`, `+02:00`, `-07:30`.
fn offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("Z", "") => return Some(0),
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let [hours, minutes] = numbers::<2>(rest, ':')?.map(i64::from);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
}

/// So many numbers of two digits, with something between them.
fn numbers<const COUNT: usize>(text: &str, between: char) -> Option<[i8; COUNT]> {
    let mut numbers = [0; COUNT];
    let mut parts = text.split(between);
    for found in &mut numbers {
        *found = number(parts.next()?, 2)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// A number that is written in so many digits.
fn number<N: FromStr>(text: &str, digits: usize) -> Option<N> {
    let is_one = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_one)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown_in(&TimeZone::UTC);
        let (year, clock) = (shown.year(), shown.clock);
        let date = format!("{year:04}-{:02}-{:02}", clock.month(), clock.day());
        write!(
            f,
            "{date}T{:02}:{:02}:{:02}",
            clock.hour(),
            clock.minute(),
            clock.second()
        )?;
        let fraction = format!("{:09}", self.0.rem_euclid(SECOND));
        match fraction.trim_end_matches('0') {
            "" => f.write_str("Z"),
            fraction => write!(f, ".{fraction}Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_letter_and_written_the_same() {
        for text in [
            "2026-01-02T03:04:05Z",
            "2024-02-29T23:59:59.5Z",
            "1969-12-31T23:59:59.999999999Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
            "9600-02-29T00:00:00Z",
        ] {
            assert_eq!(Moment::parse(text).unwrap().to_string(), text);
        }
        for (text, meant) in [
            ("2026-01-02T03:04:05+02:30", "2026-01-02T00:34:05Z"),
            ("2026-01-01T23:00:00-01:00", "2026-01-02T00:00:00Z"),
            (
                "2026-01-02T03:04:05.0000000019Z",
                "2026-01-02T03:04:05.000000001Z",
            ),
        ] {
            assert_eq!(Moment::parse(text).unwrap().to_string(), meant, "{text}");
        }
        for text in [
            "",
            "2026-01-02",
            "2026-01-02T03:04Z",
            "2026-1-2T03:04:05Z",
            "2026-01-02 03:04:05Z",
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-02T03:04:05+2:30",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T+3:04:05Z",
            "+026-01-02T03:04:05Z",
            "10000-01-01T00:00:00Z",
            "0000-12-31T23:59:59Z",
            "9999-12-31T23:59:59-01:00",
            "2026-01-02T03:04:05Zé",
            "ééééé-01-02T03:04:05Z",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
        assert_eq!(
            Moment::of_date("2026-01-02").unwrap().to_string(),
            "2026-01-02T00:00:00Z"
        );
        assert_eq!(Moment::of_date("2026-1-02"), None);
        let loose = Moment::parse_loosely("2026-01-02 03:04:05Z").unwrap();
        assert_eq!(loose.to_string(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn the_last_moments_have_a_place_in_every_zone() {
        let end = Moment::parse("9999-12-31T23:59:59Z").unwrap();
        let day = 86_400 * SECOND;
        assert_eq!(end.after(SECOND), None);
        assert_eq!(
            end.after(SECOND - 1).map(|moment| moment.seconds()),
            Some(LAST_SECOND)
        );
        assert_eq!(Moment::of_seconds(FIRST_SECOND).unwrap().after(-1), None);
        assert_eq!(end.since(end.after(-day).unwrap()), Some(86_400_000_000_000));
        assert_eq!(end.since(Moment::of_seconds(0).unwrap()), None, "too long");
        let east = jiff::tz::offset(2).to_time_zone();
        let (here, there) = (end.shown_in(&TimeZone::UTC), end.shown_in(&east));
        assert_eq!((here.year(), here.clock.day(), here.clock.hour()), (9999, 31, 23));
        assert_eq!(
            (there.year(), there.clock.day(), there.clock.hour()),
            (10_000, 1, 1)
        );
        assert_eq!(here.clock.weekday(), jiff::civil::Weekday::Friday);
        let begin = Moment::of_seconds(FIRST_SECOND).unwrap();
        assert_eq!(begin.shown_in(&jiff::tz::offset(-1).to_time_zone()).year(), 0);
    }
}
