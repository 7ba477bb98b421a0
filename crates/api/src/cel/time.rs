//! Durations as the language and OpenAPI write them.

const UNITS: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 6e10),
    ("h", 3.6e12),
    ("d", 8.64e13),
    ("w", 6.048e14),
];

/// Nanoseconds of `1h30m`, `-1.5s`, `0`; schemas may say days and weeks too.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        let tail = rest.get(digits..)?;
        let (unit, factor) = UNITS
            .iter()
            .filter(|(unit, _)| tail.starts_with(unit))
            .max_by_key(|(unit, _)| unit.len())?;
        total += number * factor;
        rest = &tail[unit.len()..];
    }
    let total = if negative { -total } else { total };
    (total.abs() < 9.223_372_036_854_775e18).then_some(total.round() as i64)
}

/// The same as expressions may say it, where hours are the longest unit.
pub fn parse_exact_duration(text: &str) -> Option<i64> {
    (!text.contains(['d', 'w']))
        .then(|| parse_duration(text))
        .flatten()
}

/// Whether a text is a duration.
pub fn is_duration(text: &str) -> bool {
    parse_exact_duration(text).is_some()
}

/// `90s`, `1.5s`: seconds, as conversions to text give them.
pub fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, rest) = (
        nanos.unsigned_abs() / 1_000_000_000,
        nanos.unsigned_abs() % 1_000_000_000,
    );
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        for (text, nanos) in [
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("0", Some(0)),
            ("10ms", Some(10_000_000)),
            ("", None),
            ("5", None),
            ("5x", None),
        ] {
            assert_eq!(parse_duration(text), nanos, "{text}");
        }
        assert_eq!(parse_exact_duration("1d"), None);
        assert_eq!(
            parse_exact_duration("9223372036s"),
            Some(9_223_372_036_000_000_000)
        );
        assert_eq!(duration_text(5_400_000_000_000), "5400s");
        assert_eq!(duration_text(-1_500_000_000), "-1.5s");
    }
}
