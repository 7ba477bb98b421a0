//! Query parameters, and percent encoding.
pub use orlop_api::percent::escape;
use std::borrow::Cow;

/// The decoded parameters of a URL, in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Self {
        Self(
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (
                        unescape(key, true).into_owned(),
                        unescape(value, true).into_owned(),
                    )
                })
                .collect(),
        )
    }

    /// The first value of a parameter that is given and not empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    pub fn all<'q>(&'q self, key: &'q str) -> impl Iterator<Item = &'q str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// The parameters as they are written in a URL.
    pub fn encoded(&self) -> String {
        let pairs = self
            .0
            .iter()
            .map(|(key, value)| format!("{}={}", escape(key), escape(value)));
        pairs.collect::<Vec<_>>().join("&")
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// Whether a parameter is given, and is not `false` or `0`: everything else means yes, and so does nothing at all
    /// (`?watch`).
    pub fn flag(&self, key: &str) -> bool {
        let given = self.0.iter().find(|(k, _)| k == key);
        given.is_some_and(|(_, value)| value != "0" && !value.eq_ignore_ascii_case("false"))
    }
}

/// Decodes one path segment.
pub fn unescape_path(segment: &str) -> Cow<'_, str> {
    unescape(segment, false)
}

/// Text without its percent encoding.
pub fn decode_percent(text: &str) -> String {
    unescape(text, false).into_owned()
}

fn unescape(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    if !text
        .bytes()
        .any(|byte| byte == b'%' || plus_is_space && byte == b'+')
    {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = || {
            let pair = bytes.get(at + 1..at + 3)?;
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        };
        match bytes[at] {
            b'%' => match hex() {
                Some(byte) => {
                    out.push(byte);
                    at += 3;
                    continue;
                }
                None => out.push(b'%'),
            },
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28x%29&watch=1&empty=");
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (x)"));
        assert!(query.flag("watch"));
        assert_eq!(query.get("empty"), None);
        for (asked, meant) in [
            ("watch", true),
            ("watch=", true),
            ("watch=yes", true),
            ("watch=True", true),
            ("watch=False", false),
            ("watch=0", false),
            ("watch=false&watch=true", false),
            ("", false),
        ] {
            assert_eq!(Query::parse(asked).flag("watch"), meant, "{asked}");
        }
        assert_eq!(escape("a=b c"), "a%3Db%20c");
    }
}
