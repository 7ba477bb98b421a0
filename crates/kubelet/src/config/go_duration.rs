//! Durations as Go writes them.
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// A duration in Go's notation: `1m30s`, `0s`, `100ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

pub(super) const fn seconds(seconds: u64) -> GoDuration {
    GoDuration(Duration::from_secs(seconds))
}

impl GoDuration {
    /// Reads Go's notation. Negative durations mean nothing to this configuration.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("invalid duration {text:?}: expected a form such as 30s, 1m30s or 100ms");
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let (mut rest, mut nanoseconds) = (text, 0f64);
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(bad)?;
            let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let end = rest
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(rest.len());
            let unit = match &rest[..end] {
                "ns" => 1f64,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(bad()),
            };
            nanoseconds += number * unit;
            rest = &rest[end..];
        }
        if text.is_empty() || !nanoseconds.is_finite() || nanoseconds > i64::MAX as f64 {
            return Err(bad());
        }
        Ok(Self(Duration::from_nanos(nanoseconds.round() as u64)))
    }
}

impl std::fmt::Display for GoDuration {
    /// Go's canonical form: `1m0s`, `1.5s`, `100ms`, `0s`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanoseconds = self.0.as_nanos();
        let fraction = |value: u128, unit: u128| {
            let (whole, part) = (value / unit, value % unit);
            if part == 0 {
                return whole.to_string();
            }
            let width = unit.ilog10() as usize;
            format!("{whole}.{}", format!("{part:0width$}").trim_end_matches('0'))
        };
        match nanoseconds {
            0 => write!(f, "0s"),
            n if n < 1_000 => write!(f, "{n}ns"),
            n if n < 1_000_000 => write!(f, "{}µs", fraction(n, 1_000)),
            n if n < 1_000_000_000 => write!(f, "{}ms", fraction(n, 1_000_000)),
            n => {
                let (hours, minutes) = (n / 3_600_000_000_000, n / 60_000_000_000 % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", fraction(n % 60_000_000_000, 1_000_000_000))
            }
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (given, written) in [
            ("60s", "1m0s"),
            ("1h", "1h0m0s"),
            ("1m30s", "1m30s"),
            ("100ms", "100ms"),
            ("1.5s", "1.5s"),
            ("0", "0s"),
            ("2us", "2µs"),
        ] {
            assert_eq!(GoDuration::parse(given).unwrap().to_string(), written, "{given}");
        }
        for bad in ["", "5", "1x", "s", "-1s"] {
            assert!(GoDuration::parse(bad).is_err(), "{bad}");
        }
    }
}
