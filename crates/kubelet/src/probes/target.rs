//! The path of an `httpGet` as a request names it: written for people, it may have blanks and whatever else.
//!
//! As in Go's `url`, which upstream leaves it to: what is a URL's path already stays, everything else is escaped.

/// Path and query, from the first slash on.
pub fn of(given: &str) -> String {
    let (path, query) = read(given).unwrap_or_else(|| (escaped(given.as_bytes()), None));
    let slash = if path.starts_with('/') { "" } else { "/" };
    match query {
        Some(query) => format!("{slash}{path}?{query}"),
        None => format!("{slash}{path}"),
    }
}

/// Its parts; `None` when it isn't a URL, and then all of it is a path.
fn read(given: &str) -> Option<(String, Option<String>)> {
    if given.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    // What follows is the client's own.
    let given = given.split_once('#').map_or(given, |(front, _)| front);
    let (path, query) = match given.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (given, None),
    };
    let plain = unescaped(path)?;
    let path = if path.bytes().all(may_stay) {
        path.to_owned()
    } else {
        escaped(&plain)
    };
    let is_fine = |byte: u8| byte.is_ascii_graphic() && !b"\"<>".contains(&byte);
    Some((path, query.map(|query| escape(query.as_bytes(), is_fine))))
}

/// In a path where nothing needs to be escaped that isn't.
fn may_stay(byte: u8) -> bool {
    is_plain(byte) || b"!'()*[]%".contains(&byte)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

fn escaped(path: &[u8]) -> String {
    escape(path, is_plain)
}

fn escape(text: &[u8], is_fine: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text {
        if is_fine(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `None` where a `%` is none of an escape.
fn unescaped(path: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_path_stays_and_the_rest_is_escaped() {
        for (given, want) in [
            ("", "/"),
            ("healthz", "/healthz"),
            ("/healthz?full=1&x=%20", "/healthz?full=1&x=%20"),
            ("/a!(b)*[c]'%2Fd", "/a!(b)*[c]'%2Fd"),
            ("/a b!%2F", "/a%20b%21/"),
            ("/\u{fc}", "/%C3%BC"),
            ("/100%", "/100%25"),
            ("/100%?q", "/100%25%3Fq"),
            ("/a\"<>^`{|}\\", "/a%22%3C%3E%5E%60%7B%7C%7D%5C"),
            ("/a?b c\"\u{fc}", "/a?b%20c%22%C3%BC"),
            ("/a\tb?c", "/a%09b%3Fc"),
            ("/a#part", "/a"),
        ] {
            assert_eq!(of(given), want, "{given:?}");
            assert!(
                format!("http://h:1{}", of(given)).parse::<http::Uri>().is_ok(),
                "{given:?}"
            );
        }
    }
}
