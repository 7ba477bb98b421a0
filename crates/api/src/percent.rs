//! Percent encoding.
use std::fmt::Write;

/// A text that is to be one part of an address, whatever is in it.
pub fn escape(text: &str) -> String {
    escape_but(text.as_bytes(), |byte| {
        byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
    })
}

/// Escapes every byte that is not fine as it is.
pub fn escape_but(text: &[u8], is_fine: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text {
        if is_fine(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// What escapes stand for; `None` where a `%` is none of an escape.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let code = digit(bytes.next())? * 16 + digit(bytes.next())?;
            out.push(u8::try_from(code).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

/// A path of a URL as Go's `url` writes it: as it is where all of it may be so, else escaped anew. `None` where a `%` is
/// none of an escape.
pub fn path(given: &str) -> Option<String> {
    let plain = unescape(given)?;
    let may_stay = |byte: u8| is_of_path(byte) || b"!'()*[]%".contains(&byte);
    if given.bytes().all(may_stay) {
        return Some(given.to_owned());
    }
    Some(escape_path(&plain))
}

/// The same of bytes in which nothing is escaped yet.
pub fn escape_path(plain: &[u8]) -> String {
    escape_but(plain, is_of_path)
}

fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_where_they_may_and_are_escaped_anew_elsewhere() {
        for (given, want) in [
            ("/a!(b)*[c]'%2Fd", Some("/a!(b)*[c]'%2Fd")),
            ("/a b!%2F", Some("/a%20b%21/")),
            ("/\u{fc}", Some("/%C3%BC")),
            ("/100%", None),
            ("/%+1", None),
            ("/%g0", None),
            ("/%\u{fc}", None),
        ] {
            assert_eq!(path(given).as_deref(), want, "{given:?}");
        }
        assert_eq!(escape_path(b"/100%"), "/100%25");
    }

    #[test]
    fn a_part_of_an_address_has_nothing_that_means_something_there() {
        assert_eq!(escape("a/b c~\u{fc}"), "a%2Fb%20c~%C3%BC");
        assert_eq!(unescape("a%2Fb%20c~%C3%BC").unwrap(), "a/b c~\u{fc}".as_bytes());
    }
}
