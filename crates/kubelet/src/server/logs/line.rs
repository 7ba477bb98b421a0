//! Lines of a CRI log: `2026-01-02T03:04:05.000000006Z stdout F text`. Pure.
use jiff::Timestamp;

/// One line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub time: &'a str,
    /// The text goes on in the next line of the same stream.
    pub partial: bool,
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line without its newline; `None` for what is no CRI log line.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut parts = bytes.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = parts.next()?;
        let tag = parts.next()?;
        let text = parts.next().unwrap_or_default();
        if !matches!(stream, b"stdout" | b"stderr") {
            return None;
        }
        Some(Self {
            time,
            partial: tag.split(|byte| *byte == b':').next() == Some(b"P"),
            text,
        })
    }

    /// Whether it was written at or after `since`.
    pub fn is_since(&self, since: Option<Timestamp>) -> bool {
        let Some(since) = since else { return true };
        self.time.parse::<Timestamp>().is_ok_and(|time| time >= since)
    }

    /// Appends what the reader sees.
    pub fn write(&self, timestamps: bool, begins: bool, out: &mut Vec<u8>) {
        if timestamps && begins {
            write_time(self.time, out);
            out.push(b' ');
        }
        out.extend_from_slice(self.text);
        if !self.partial {
            out.push(b'\n');
        }
    }
}

/// Digits of a second's fraction; runtimes leave zeros at its end out.
const FRACTION_DIGITS: usize = 9;

/// Writes a time with all its digits: such times are as long as each other, and in the order of their letters.
fn write_time(time: &str, out: &mut Vec<u8>) {
    let Some((date, rest)) = time.split_at_checked("2026-01-02T03:04:05".len()) else {
        return out.extend_from_slice(time.as_bytes());
    };
    let fraction = rest.strip_prefix('.').unwrap_or_default();
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let zone = match digits {
        0 => rest,
        _ => &fraction[digits..],
    };
    out.extend_from_slice(date.as_bytes());
    out.push(b'.');
    out.extend_from_slice(&fraction.as_bytes()[..digits]);
    out.extend(std::iter::repeat_n(b'0', FRACTION_DIGITS.saturating_sub(digits)));
    out.extend_from_slice(zone.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-02T03:04:05.000000006Z";

    fn written(lines: &[&str], timestamps: bool) -> String {
        let (mut out, mut begins) = (Vec::new(), true);
        for line in lines {
            let line = Line::parse(line.as_bytes()).unwrap();
            line.write(timestamps, begins, &mut out);
            begins = !line.partial;
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn n09_partial_lines_are_joined_under_one_timestamp() {
        let lines = [
            &*format!("{TIME} stdout P one "),
            &*format!("{TIME} stdout F line"),
            &*format!("{TIME} stderr F two"),
        ];
        assert_eq!(written(&lines, false), "one line\ntwo\n");
        assert_eq!(written(&lines, true), format!("{TIME} one line\n{TIME} two\n"));
    }

    #[test]
    fn times_have_all_their_digits() {
        for (time, expected) in [
            (TIME, TIME),
            ("2026-01-02T03:04:05.12Z", "2026-01-02T03:04:05.120000000Z"),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000000Z"),
            (
                "2026-01-02T03:04:05.1234+02:00",
                "2026-01-02T03:04:05.123400000+02:00",
            ),
        ] {
            let text = written(&[&*format!("{time} stdout F x")], true);
            assert_eq!(text, format!("{expected} x\n"));
        }
    }

    #[test]
    fn garbage_is_no_line() {
        for text in ["", "hello", "a b c d", "2026 out F x"] {
            assert_eq!(Line::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn since_compares_moments() {
        let text = format!("{TIME} stdout F x");
        let line = Line::parse(text.as_bytes()).unwrap();
        assert!(line.is_since(Some("2026-01-02T03:04:05Z".parse().unwrap())));
        assert!(!line.is_since(Some("2026-01-02T03:04:06Z".parse().unwrap())));
    }
}
