//! What begins with a backslash.
use super::{PatternError, class};

/// What an escape stands for.
pub enum Escape {
    /// A character.
    Char(char),
    /// A code point that no text holds.
    Surrogate(u32),
    /// A class, as the engine writes it in brackets and alone.
    Class(String),
}

const INVALID: &str = "invalid escape sequence";

/// Reads the escape that `text` begins with; what follows it.
///
/// # Errors
/// There is no such escape.
pub fn escape(text: &str) -> Result<(Escape, &str), PatternError> {
    let mut chars = text.chars();
    chars.next();
    let Some(kind) = chars.next() else {
        return Err(PatternError::new("trailing backslash at end of expression", ""));
    };
    let rest = chars.as_str();
    let upto = |rest: &str| PatternError::new(INVALID, &text[..text.len() - rest.len()]);
    let plain = |c: char| Ok((Escape::Char(c), rest));
    match kind {
        'd' | 'D' | 's' | 'S' | 'w' | 'W' => Ok((Escape::Class(class::perl(kind)), rest)),
        'p' | 'P' => class::property(text).map(|(class, rest)| (Escape::Class(class), rest)),
        'a' => plain('\x07'),
        'f' => plain('\x0c'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\x0b'),
        'x' => hexadecimal(text, rest),
        // One digit alone would refer to a group.
        '1'..='7' if !rest.starts_with(octal) => Err(upto(rest)),
        '0'..='7' => {
            let more = rest.chars().take(2).take_while(|c| octal(*c)).count();
            let digits = &text[1..2 + more];
            let code = u32::from_str_radix(digits, 8).ok().and_then(char::from_u32);
            code.map(|c| (Escape::Char(c), &rest[more..]))
                .ok_or_else(|| upto(rest))
        }
        mark if mark.is_ascii() && !mark.is_ascii_alphanumeric() => plain(mark),
        _ => Err(upto(rest)),
    }
}

fn octal(c: char) -> bool {
    ('0'..='7').contains(&c)
}

/// `\x7F` or `\x{10FFFF}`; `rest` follows the `x`.
fn hexadecimal<'t>(text: &'t str, rest: &'t str) -> Result<(Escape, &'t str), PatternError> {
    let wrong = |bytes: usize| {
        let end = (2 + bytes).min(text.len());
        PatternError::new(INVALID, &text[..end])
    };
    let (digits, bytes) = match rest.strip_prefix('{') {
        Some(braced) => {
            let digits = braced.bytes().take_while(u8::is_ascii_hexdigit).count();
            let code = u32::from_str_radix(&braced[..digits], 16).unwrap_or(u32::MAX);
            let next = braced[digits..].chars().next().map_or(0, char::len_utf8);
            if digits == 0 || code > u32::from(char::MAX) || !braced[digits..].starts_with('}') {
                return Err(wrong(1 + digits + next));
            }
            (&braced[..digits], digits + 2)
        }
        None => {
            let mut bytes = 0;
            for c in rest.chars().take(2) {
                bytes += c.len_utf8();
                if !c.is_ascii_hexdigit() {
                    return Err(wrong(bytes));
                }
            }
            if bytes < 2 {
                return Err(wrong(bytes));
            }
            (&rest[..2], 2)
        }
    };
    let code = u32::from_str_radix(digits, 16).unwrap_or_default();
    let found = char::from_u32(code).map_or(Escape::Surrogate(code), Escape::Char);
    Ok((found, &rest[bytes..]))
}

/// A character that means itself to the engine, in and outside of a class.
pub fn quoted(literal: char) -> String {
    if literal.is_alphanumeric() || literal == '_' {
        return literal.to_string();
    }
    format!("\\x{{{:x}}}", u32::from(literal))
}
