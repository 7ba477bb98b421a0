//! Classes of characters: `[…]`, `\d` and its kind, `\p{…}`.
use super::PatternError;
use super::escape::{Escape, escape, quoted};

/// A class that holds no character.
pub const NOTHING: &str = "[^\\x{0}-\\x{10ffff}]";

const RANGE: &str = "invalid character class range";
/// Code points that no text holds.
const SURROGATES: std::ops::RangeInclusive<u32> = 0xd800..=0xdfff;
/// Names of `[:…:]`; the engine has the same, all of ASCII.
const POSIX: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// `\d`, `\s`, `\w` and their opposites.
pub fn perl(kind: char) -> String {
    let members = match kind.to_ascii_lowercase() {
        'd' => "0-9",
        's' => "\\t\\n\\f\\r\\x{20}",
        _ => "0-9A-Za-z_",
    };
    let opposite = if kind.is_ascii_uppercase() { "^" } else { "" };
    format!("[{opposite}{members}]")
}

/// `\pN`, `\p{Name}`, `\p{^Name}` and their opposites; what follows.
///
/// # Errors
/// There is no such property.
pub fn property(text: &str) -> Result<(String, &str), PatternError> {
    let mut opposite = text.starts_with("\\P");
    let rest = &text[2..];
    let Some(first) = rest.chars().next() else {
        return Err(PatternError::new(RANGE, text));
    };
    let (name, bytes) = match rest.strip_prefix('{') {
        Some(braced) => {
            let end = braced.find('}').ok_or_else(|| PatternError::new(RANGE, text))?;
            (&braced[..end], end + 2)
        }
        None => (&rest[..first.len_utf8()], first.len_utf8()),
    };
    let shown = &text[..2 + bytes];
    let bare = name.strip_prefix('^').unwrap_or(name);
    opposite ^= bare.len() != name.len();
    let letters = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphabetic() || "_- ".contains(c));
    let class = format!("\\{}{{{bare}}}", if opposite { 'P' } else { 'p' });
    if !letters || regex::Regex::new(&class).is_err() {
        return Err(PatternError::new(RANGE, shown));
    }
    Ok((class, &rest[bytes..]))
}

/// One end of a range.
enum Member {
    Point(u32),
    Class(String),
}

/// Reads the class that `text` begins with; what follows it.
///
/// # Errors
/// It is none.
pub fn rewrite(text: &str) -> Result<(String, &str), PatternError> {
    let mut rest = &text[1..];
    let mut out = String::from("[");
    if let Some(opposite) = rest.strip_prefix('^') {
        rest = opposite;
        out.push('^');
    }
    let start = out.len();
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if rest.starts_with("[:")
            && let Some(end) = rest[2..].find(":]").map(|at| at + 2)
        {
            let name = &rest[2..end];
            if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return Err(PatternError::new(RANGE, &rest[..end + 2]));
            }
            out.push_str(&rest[..end + 2]);
            rest = &rest[end + 2..];
            continue;
        }
        let range = rest;
        let (low, after) = member(text, rest)?;
        rest = after;
        let low = match low {
            Member::Point(low) => low,
            Member::Class(class) => {
                out.push_str(&class);
                continue;
            }
        };
        let mut high = low;
        let to = rest
            .strip_prefix('-')
            .filter(|to| !to.is_empty() && !to.starts_with(']'));
        if let Some(to) = to {
            if let Some(class) = ["\\d", "\\D", "\\s", "\\S", "\\w", "\\W", "\\p", "\\P"]
                .iter()
                .find(|class| to.starts_with(**class))
            {
                // A class ends no range.
                return Err(PatternError::new("invalid escape sequence", *class));
            }
            let (end, after) = member(text, to)?;
            high = match end {
                Member::Point(end) if end >= low => end,
                _ => {
                    let read = &range[..range.len() - after.len()];
                    return Err(PatternError::new(RANGE, read));
                }
            };
            rest = after;
        }
        push(&mut out, low, high);
    }
    if out.len() == start {
        return Ok((if start == 1 { NOTHING } else { "(?s:.)" }.to_owned(), &rest[1..]));
    }
    out.push(']');
    Ok((out, &rest[1..]))
}

fn member<'t>(class: &str, text: &'t str) -> Result<(Member, &'t str), PatternError> {
    let Some(next) = text.chars().next() else {
        return Err(PatternError::new("missing closing ]", class));
    };
    if next != '\\' {
        return Ok((Member::Point(u32::from(next)), &text[next.len_utf8()..]));
    }
    let (found, rest) = escape(text)?;
    let member = match found {
        Escape::Char(c) => Member::Point(u32::from(c)),
        Escape::Surrogate(code) => Member::Point(code),
        Escape::Class(class) => Member::Class(class),
    };
    Ok((member, rest))
}

/// A range without the code points that no text holds.
fn push(out: &mut String, low: u32, high: u32) {
    let low = if SURROGATES.contains(&low) {
        SURROGATES.end() + 1
    } else {
        low
    };
    let high = if SURROGATES.contains(&high) {
        SURROGATES.start() - 1
    } else {
        high
    };
    let (Some(low), Some(high)) = (char::from_u32(low), char::from_u32(high)) else {
        return;
    };
    if low > high {
        return;
    }
    out.push_str(&quoted(low));
    if low < high {
        out.push('-');
        out.push_str(&quoted(high));
    }
}
