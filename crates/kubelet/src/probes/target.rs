//! The path of an `httpGet` as a request names it: written for people, it may have blanks and whatever else.
//!
//! As in Go's `url`, which upstream leaves it to: what is a URL's path already stays, everything else is escaped.
use orlop_api::percent::{self, escape_but, escape_path};

/// Path and query, from the first slash on.
pub fn of(given: &str) -> String {
    let (path, query) = read(given).unwrap_or_else(|| (escape_path(given.as_bytes()), None));
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
    let is_fine = |byte: u8| byte.is_ascii_graphic() && !b"\"<>".contains(&byte);
    let query = query.map(|query| escape_but(query.as_bytes(), is_fine));
    Some((percent::path(path)?, query))
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
