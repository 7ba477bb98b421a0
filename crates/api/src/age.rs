//! How long ago, the way kubectl's AGE column says it (`3d4h`). Truncating division throughout.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Age of something that happened `elapsed` ago.
pub fn short(elapsed: std::time::Duration) -> String {
    seconds(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}

/// Age in whole seconds; negative = in the future.
pub fn seconds(s: i64) -> String {
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    match s {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s / HOUR, "h", s / MINUTE % 60, "m"),
        s if s < 48 * HOUR => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s / DAY, "d", s / HOUR % 24, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s / YEAR, "y", s / DAY % 365, "d"),
        s => format!("{}y", s / YEAR),
    }
}

/// Whole seconds that something still lasts, in one unit, as kubeadm says it (`348d`, `6y`).
pub fn remaining(s: i64) -> String {
    match s {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < MINUTE => format!("{s}s"),
        s if s < HOUR => format!("{}m", s / MINUTE),
        s if s < DAY => format!("{}h", s / HOUR),
        s if s < YEAR => format!("{}d", s / DAY),
        s => format!("{}y", s / YEAR),
    }
}

/// Age of `then` seen at `now`; no time at all is `<unknown>`.
pub fn since(then: Option<Timestamp>, now: Timestamp) -> String {
    match then {
        // Truncation towards zero as upstream: -1.9 s is still "0s".
        Some(then) => seconds(now.duration_since(then).as_secs()),
        None => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_match_the_contract_table() {
        for (s, want) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 61, "3h1m"),
            (8 * HOUR, "8h"),
            (48 * HOUR - 1, "47h"),
            (48 * HOUR, "2d"),
            (49 * HOUR, "2d1h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + DAY, "2y1d"),
            (8 * YEAR, "8y"),
        ] {
            assert_eq!(seconds(s), want, "{s}");
        }
        assert_eq!(since(None, Timestamp::UNIX_EPOCH), "<unknown>");
    }

    #[test]
    fn what_is_left_is_said_in_one_unit() {
        for (s, want) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (59, "59s"),
            (119, "1m"),
            (HOUR - 1, "59m"),
            (7 * HOUR + 1800, "7h"),
            (DAY - 1, "23h"),
            (49 * HOUR, "2d"),
            (YEAR - 1, "364d"),
            (YEAR, "1y"),
            (6 * YEAR + 200 * DAY, "6y"),
        ] {
            assert_eq!(remaining(s), want, "{s}");
        }
    }
}
