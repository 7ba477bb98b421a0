//! Aligned columns, shortened ids and rounded ages, as crictl prints them.

/// Length to which crictl shortens ids.
const ID_LENGTH: usize = 13;

/// A table of left-aligned columns; columns are as wide as their widest cell plus two spaces, and at
/// least 20 wide, so that successive calls line up.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    const WIDTH_MIN: usize = 20;
    let width_of = |column: usize| {
        let widest = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max();
        (widest.unwrap_or(0).max(header[column].len()) + 2).max(WIDTH_MIN)
    };
    let widths: Vec<usize> = (0..header.len()).map(width_of).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(&format!("{cell:<width$}"));
        }
        format!("{}\n", text.trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// The first characters of an id, without its algorithm prefix.
pub fn short_id(id: &str, whole: bool) -> String {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    if whole {
        id.to_owned()
    } else {
        bare.chars().take(ID_LENGTH).collect()
    }
}

/// How long ago something happened, in words. Both in nanoseconds since the epoch.
pub fn ago(then: i64, now: i64) -> String {
    let seconds = now.saturating_sub(then).max(0) / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let text = match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if days < 14 => format!("{days} days"),
        () if days < 60 => format!("{} weeks", days / 7),
        () if days < 730 => format!("{} months", days / 30),
        () => format!("{} years", days / 365),
    };
    format!("{text} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded_into_words() {
        let cases = [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "About a minute ago"),
            (125, "2 minutes ago"),
            (3_600, "About an hour ago"),
            (47 * 3_600, "47 hours ago"),
            (3 * 86_400, "3 days ago"),
            (20 * 86_400, "2 weeks ago"),
            (90 * 86_400, "3 months ago"),
            (800 * 86_400, "2 years ago"),
        ];
        for (seconds, text) in cases {
            assert_eq!(ago(0, seconds * 1_000_000_000), text);
        }
    }

    #[test]
    fn clock_behind_the_runtime_is_not_an_age_below_zero() {
        assert_eq!(ago(5_000_000_000, 0), "Less than a second ago");
    }

    #[test]
    fn columns_line_up() {
        let text = render(
            &["POD ID", "NAME"],
            &[vec!["0123456789abc".into(), "etcd-n".into()]],
        );
        assert_eq!(text, "POD ID              NAME\n0123456789abc       etcd-n\n");
    }
}
