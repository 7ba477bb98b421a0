//! Pages of other origins: browsers let them read answers only where the server says so.
use super::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, HeaderMap, HeaderName, HeaderValue, ORIGIN,
};
use http::{Response, StatusCode};
use regex::Regex;

/// What such pages may do; the rights of whoever looks at them go on to count.
const MAY: [(HeaderName, &str); 4] = [
    (
        ACCESS_CONTROL_ALLOW_METHODS,
        "POST, GET, OPTIONS, PUT, DELETE, PATCH",
    ),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
    ),
    (ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    (ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
];

/// A pattern of origins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorsError {
    #[error("{pattern:?} is no regular expression: {error}")]
    Pattern { pattern: String, error: regex::Error },
}

/// Origins whose pages may ask.
#[derive(Clone, Debug)]
pub struct Cors {
    patterns: Vec<Regex>,
}

impl Cors {
    /// `patterns` are regular expressions that an origin (`scheme://host:port`) matches somewhere in it, unless they say
    /// `^` and `$`.
    ///
    /// # Errors
    /// One is none.
    pub fn new(patterns: &[String]) -> Result<Self, CorsError> {
        let pattern = |text: &String| {
            Regex::new(text).map_err(|error| CorsError::Pattern {
                pattern: text.clone(),
                error,
            })
        };
        Ok(Self {
            patterns: patterns.iter().map(pattern).collect::<Result<_, _>>()?,
        })
    }

    /// The origin of a request, if it may ask.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let text = origin.to_str().ok().filter(|text| !text.is_empty())?;
        let matches = self.patterns.iter().any(|pattern| pattern.is_match(text));
        matches.then(|| origin.clone())
    }
}

/// The answer to a browser that asks before it sends what a page wants to send.
pub(crate) fn asked_first() -> Response<Body> {
    let mut response = Response::new(Body::from(Vec::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Lets pages of this origin read an answer.
pub(crate) fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in MAY {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_patterns_where_these_say() {
        let patterns = [r"^https://[a-z]+\.example\.com(:\d+)?$", "//localhost(:|$)"].map(str::to_owned);
        let cors = Cors::new(&patterns).unwrap();
        for (origin, expected) in [
            (Some("https://shell.example.com"), true),
            (Some("https://shell.example.com:8443"), true),
            (Some("https://shell.example.com.evil.org"), false),
            (Some("http://localhost:3000"), true),
            (Some("http://localhostess"), false),
            (Some(""), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            let allowed = cors.allowed(&headers);
            let expected = expected.then(|| HeaderValue::from_static(origin.unwrap()));
            assert_eq!(allowed, expected, "{origin:?}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = Cors::new(&["(".to_owned()]).unwrap_err();
        assert!(
            error.to_string().starts_with("\"(\" is no regular expression"),
            "{error}"
        );
    }
}
