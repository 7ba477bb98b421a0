//! URLs.
use super::Table;
use super::arguments::{string, text};
use crate::cel::budget::Error;
use crate::cel::opaque::{Opaque, Url};
use crate::cel::value::{Key, Value};
use crate::percent;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const TABLE: Table = &[
    ("url(string) kubernetes.URL", |context, a| {
        let text = text(&a[0])?;
        context.budget.look(text.len() as u64)?;
        let url = parse(text)
            .map_err(|why| Error::failed(format!("URL parse error during conversion from string: {why}")))?;
        Ok(Value::Opaque(Opaque::Url(Arc::new(url))))
    }),
    ("isURL(string) bool", |context, a| {
        let text = text(&a[0])?;
        context.budget.look(text.len() as u64)?;
        Ok(Value::Bool(parse(text).is_ok()))
    }),
    ("kubernetes.URL::getScheme() string", |_, a| {
        string(url(&a[0])?.scheme.clone())
    }),
    ("kubernetes.URL::getHost() string", |_, a| {
        string(url(&a[0])?.host.clone())
    }),
    ("kubernetes.URL::getHostname() string", |_, a| {
        string(url(&a[0])?.hostname.clone())
    }),
    ("kubernetes.URL::getPort() string", |_, a| {
        string(url(&a[0])?.port.clone())
    }),
    ("kubernetes.URL::getEscapedPath() string", |_, a| {
        string(url(&a[0])?.path.clone())
    }),
    ("kubernetes.URL::getQuery() map<string, list<string>>", |_, a| {
        let mut query: BTreeMap<Key, Vec<Value<'_>>> = BTreeMap::new();
        for (key, value) in &url(&a[0])?.query {
            query
                .entry(Key::String(key.clone()))
                .or_default()
                .push(Value::string(value.clone()));
        }
        Ok(Value::map(
            query
                .into_iter()
                .map(|(key, values)| (key, Value::list(values)))
                .collect(),
        ))
    }),
];

fn url<'v>(value: &'v Value<'_>) -> Result<&'v Url, Error> {
    match value {
        Value::Opaque(Opaque::Url(url)) => Ok(url),
        _ => Err(Error::no_such_overload()),
    }
}

/// Whether a text is a URL.
pub fn is_url(text: &str) -> bool {
    parse(text).is_ok()
}

/// A URL with a scheme, or an absolute path.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn parse(text: &str) -> Result<Url, String> {
    let bad = |why: &str| format!("parse {text:?}: {why}");
    if text.chars().any(|c| c.is_ascii_control()) {
        return Err(bad("net/url: invalid control character in URL"));
    }
    if text.is_empty() {
        return Err(bad("empty url"));
    }
    let mut url = Url {
        text: text.to_owned(),
        scheme: String::new(),
        host: String::new(),
        hostname: String::new(),
        port: String::new(),
        path: String::new(),
        query: Vec::new(),
    };
    if text == "*" {
        text.clone_into(&mut url.path);
        return Ok(url);
    }
    let before_fragment = text.split('#').next().unwrap_or_default();
    let (main, query) = before_fragment.split_once('?').unwrap_or((before_fragment, ""));
    let rest = match main.split_once(':') {
        Some(("", _)) => return Err(bad("missing protocol scheme")),
        Some((scheme, rest)) if is_scheme(scheme) => {
            url.scheme = scheme.to_ascii_lowercase();
            rest
        }
        _ => main,
    };
    url.query = pairs(query);
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        }
        None if rest.starts_with('/') => ("", rest),
        // What follows is the scheme's own affair.
        None if !url.scheme.is_empty() => return Ok(url),
        None => return Err(bad("invalid URI for request")),
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains([
        ' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}', '/', '[', ']', '#',
    ]) {
        return Err(bad("net/url: invalid userinfo"));
    }
    if let Some(escape) =
        wrong_escape(host, |byte| byte >= 0x80 || byte == b'%').or_else(|| wrong_escape(path, |_| true))
    {
        return Err(bad(&format!("invalid URL escape {escape:?}")));
    }
    if let Some(c) = host.chars().find(|c| " <>\"\\^`{|}".contains(*c)) {
        return Err(bad(&format!(
            "invalid character {:?} in host name",
            c.to_string()
        )));
    }
    let (hostname, after) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(|| bad("missing ']' in host"))?,
        None => host.rfind(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let port = after.strip_prefix(':').unwrap_or_default();
    if (port.is_empty() && !matches!(after, "" | ":")) || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad(&format!("invalid port {after:?} after host")));
    }
    host.clone_into(&mut url.host);
    hostname.clone_into(&mut url.hostname);
    port.clone_into(&mut url.port);
    url.path = percent::path(path).unwrap_or_default();
    Ok(url)
}

/// The first escape that is none, or that may not stand there.
fn wrong_escape(text: &str, may_stand: fn(u8) -> bool) -> Option<&str> {
    text.match_indices('%').find_map(|(at, _)| {
        let escape = text.get(at..at + 3).unwrap_or(&text[at..]);
        let is_hex = |hex: &&str| hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        let byte = escape.get(1..).filter(is_hex);
        let byte = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (!byte.is_some_and(may_stand)).then_some(escape)
    })
}

/// Names and values; a pair that cannot be read is left out.
fn pairs(query: &str) -> Vec<(String, String)> {
    let is_readable =
        |pair: &&str| !pair.is_empty() && !pair.contains(';') && wrong_escape(pair, |_| true).is_none();
    let pairs = query.split('&').filter(is_readable).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(key), unescape(value))
    });
    pairs.collect()
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Of a query, where a plus is a blank.
fn unescape(text: &str) -> String {
    let plain = percent::unescape(&text.replace('+', " ")).unwrap_or_default();
    String::from_utf8_lossy(&plain).into_owned()
}
