//! `format`: what a text has to be, beside being one.
use crate::cel::{is_duration, is_url};
use crate::cidr::Cidr;
use crate::names;
use std::net::IpAddr;

/// Units of durations, which may be written with more behind the last of each line.
const UNITS: &[&[&str]] = &[
    &["ns", "nano"],
    &["us", "µs", "micro"],
    &["ms", "milli"],
    &["s", "sec"],
    &["m", "min"],
    &["h", "hr", "hour"],
    &["d", "day"],
    &["w", "wk", "week"],
];
/// Longest name of a host and of each of its parts.
const HOST_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;

/// Whether a text has a format. One that nobody knows has every text.
pub fn fits(format: &str, text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    match format {
        "bsonobjectid" => text.len() == 24 && hex(text),
        "byte" => is_base64(text),
        "cidr" => Cidr::read(text).is_some(),
        "creditcard" => is_card(text),
        "date" => is_date(text),
        "date-time" | "datetime" => is_date_time(text),
        "duration" => is_duration(text) || is_long_duration(text),
        "email" => is_email(text),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && hex(digits)
        }
        "hostname" => is_hostname(text),
        "ipv4" => text.contains('.') && text.parse::<IpAddr>().is_ok(),
        "ipv6" => text.contains(':') && text.parse::<IpAddr>().is_ok(),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "k8s-long-name" => names::is_dns_subdomain(text),
        "k8s-short-name" => names::is_dns_label(text),
        "mac" => is_mac(text),
        "rgbcolor" => is_rgb(text),
        "ssn" => is_social_security(text),
        "uri" => is_url(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(b'3')),
        "uuid4" => is_uuid(text, Some(b'4')),
        "uuid5" => is_uuid(text, Some(b'5')),
        _ => true,
    }
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// By the digit that the others have to add up with.
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let doubled = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => *digit,
            _ if *digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        });
    (13..=19).contains(&digits.len())
        && text.chars().all(|c| c.is_ascii_digit() || c == '-' || c == ' ')
        && doubled.sum::<u32>().is_multiple_of(10)
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else {
        return false;
    };
    let end = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(end);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let pair = |text: &str, max: u32| {
        text.len() == 2 && digits(text) && text.parse::<u32>().is_ok_and(|value| value <= max)
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let is_clock = matches!(parts.as_slice(), [h, m, s] if pair(h, 23) && pair(m, 59) && pair(s, 59));
    let is_zone = match zone.strip_prefix(['+', '-']) {
        None => matches!(zone, "Z" | "z"),
        Some(offset) => offset
            .split_once(':')
            .is_some_and(|(hours, minutes)| pair(hours, 99) && pair(minutes, 99)),
    };
    is_date(date) && is_clock && digits(fraction) && is_zone
}

/// `3 days`: a number and a unit, somewhere.
fn is_long_duration(text: &str) -> bool {
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let after = rest[start..]
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .trim_start();
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic() && c != 'µ')
            .unwrap_or(after.len());
        let unit = after[..end].to_lowercase();
        let is_unit = |names: &&[&str]| {
            let last = names.last().is_some_and(|last| unit.starts_with(last));
            last || names.contains(&unit.as_str())
        };
        if UNITS.iter().any(is_unit) {
            return true;
        }
        rest = after;
    }
    false
}

fn is_email(text: &str) -> bool {
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or_default(),
        None => text,
    };
    let is_word = |text: &str| {
        !text.is_empty()
            && !text.starts_with('.')
            && !text.ends_with('.')
            && !text.contains("..")
            && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "()<>[]:;@\\,\"".contains(c))
    };
    address
        .rsplit_once('@')
        .is_some_and(|(local, domain)| is_word(local) && is_word(domain))
}

fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label)
}

fn without_blanks(text: &str) -> String {
    text.chars().filter(|c| *c != '-' && *c != ' ').collect()
}

fn is_isbn10(text: &str) -> bool {
    let text = without_blanks(text);
    let digits: Vec<u32> = text
        .chars()
        .enumerate()
        .filter_map(|(place, c)| match c {
            'X' if place == 9 => Some(10),
            c => c.to_digit(10),
        })
        .collect();
    let sum: u32 = digits
        .iter()
        .zip((1..=10).rev())
        .map(|(digit, weight)| digit * weight)
        .sum();
    text.len() == 10 && digits.len() == 10 && sum.is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let text = without_blanks(text);
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .zip([1, 3].iter().cycle())
        .map(|(digit, weight)| digit * weight)
        .sum();
    let is_book = text.starts_with("978") || text.starts_with("979");
    text.len() == 13 && digits.len() == 13 && is_book && sum.is_multiple_of(10)
}

fn is_mac(text: &str) -> bool {
    let is_group =
        |group: &str, length: usize| group.len() == length && group.bytes().all(|b| b.is_ascii_hexdigit());
    let divided = |by: char, length: usize, counts: &[usize]| {
        let groups: Vec<&str> = text.split(by).collect();
        counts.contains(&groups.len()) && groups.iter().all(|group| is_group(group, length))
    };
    divided(':', 2, &[6, 8, 20]) || divided('-', 2, &[6, 8, 20]) || divided('.', 4, &[3, 4, 10])
}

fn is_rgb(text: &str) -> bool {
    let inside = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')'));
    let is_part = |part: &str| {
        let part = part.trim();
        part.parse::<u8>().is_ok_and(|value| value.to_string() == part)
    };
    inside.is_some_and(|inside| inside.split(',').count() == 3 && inside.split(',').all(is_part))
}

fn is_social_security(text: &str) -> bool {
    let digits = without_blanks(text);
    let is_plain = digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit());
    // Divided behind the third and the fifth, or not at all there.
    let mut rest = text;
    for (length, is_last) in [(3, false), (2, false), (4, true)] {
        let Some(after) = rest.get(length..) else {
            return false;
        };
        rest = if is_last {
            after
        } else {
            after.strip_prefix(['-', ' ']).unwrap_or(after)
        };
    }
    is_plain && rest.is_empty()
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let mut digits = Vec::new();
    let mut rest = text;
    for (number, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if number > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some(part) = rest.get(..length) else {
            return false;
        };
        digits.extend(part.bytes());
        rest = &rest[length..];
    }
    let is_version = version.is_none_or(|version| {
        let variant = digits[16].to_ascii_lowercase();
        digits[12] == version && (version == b'3' || b"89ab".contains(&variant))
    });
    rest.is_empty() && digits.iter().all(u8::is_ascii_hexdigit) && is_version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_what_upstream_takes() {
        for (format, texts, others) in [
            ("byte", &["aGk=", "aGkh"][..], &["", "!!", "aGk"][..]),
            ("cidr", &["10.0.0.0/8", "::/0"], &["x", "10.0.0.0/33"]),
            ("date", &["2021-01-01"], &["2021-13-01", "2021-1-1"]),
            (
                "date-time",
                &["2021-01-01T00:00:00Z", "2021-01-01t00:00:00.5+02:00"],
                &["2021-01-01", "2021-01-01T24:00:00Z", "2021-01-01T00:00Z"],
            ),
            ("duration", &["1h", "1d", "3 days"], &["x", "1"]),
            ("email", &["a@b.c", "A B <a@b>"], &["x", "a b@c"]),
            ("hostname", &["a-b.example"], &["-x", "a..b"]),
            ("ipv4", &["1.2.3.4"], &["x", "1.2.3", "::1"]),
            ("ipv6", &["::1"], &["1.2.3.4"]),
            (
                "isbn",
                &["0-306-40615-2", "978-0-306-40615-7"],
                &["x", "0-306-40615-3"],
            ),
            (
                "mac",
                &["00:00:5e:00:53:01", "0000.5e00.5301"],
                &["x", "00:00:5e"],
            ),
            ("uuid", &["123e4567-e89b-12d3-a456-426614174000"], &["x"]),
            (
                "uuid4",
                &["123e4567-e89b-42d3-a456-426614174000"],
                &["123e4567-e89b-12d3-a456-426614174000"],
            ),
            ("uri", &["http://a/"], &["x y", "x"]),
            ("hexcolor", &["#fff", "A0B1C2"], &["x", "#ffff"]),
            ("rgbcolor", &["rgb(0, 10,255)"], &["x", "rgb(256,0,0)"]),
            ("ssn", &["111-22-3333", "111223333"], &["x", "1112-23333"]),
            ("creditcard", &["4111 1111 1111 1111"], &["x", "4111111111111112"]),
            ("bsonobjectid", &["507f1f77bcf86cd799439011"], &["x"]),
            ("k8s-short-name", &["a-b"], &["A_b"]),
            ("nothing", &["x"], &[]),
        ] {
            for text in texts {
                assert!(fits(format, text), "{format}: {text}");
            }
            for text in others {
                assert!(!fits(format, text), "{format}: {text}");
            }
        }
    }
}
