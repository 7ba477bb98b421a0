//! URLs.
use super::Table;
use super::arguments::{string, text};
use crate::cel::budget::Error;
use crate::cel::opaque::{Opaque, Url};
use crate::cel::value::{Key, Value};
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

/// A URL with a scheme, or an absolute path.
fn parse(text: &str) -> Result<Url, String> {
    let bad = |why: &str| format!("parse {text:?}: {why}");
    if text.chars().any(|c| c.is_ascii_control()) {
        return Err(bad("net/url: invalid control character in URL"));
    }
    let before_fragment = text.split('#').next().unwrap_or_default();
    let (main, query) = before_fragment.split_once('?').unwrap_or((before_fragment, ""));
    let (scheme, rest) = match main.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ if main.starts_with('/') => (String::new(), main),
        _ => return Err(bad("invalid URI for request")),
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        }
        None if rest.starts_with('/') => ("", rest),
        None => return Err(bad("invalid URI for request")),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']) {
        return Err(bad("invalid character in host name"));
    }
    let (hostname, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or_else(|| bad("missing ']' in host"))?;
            (inside, after.strip_prefix(':').unwrap_or_default())
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad(&format!("invalid port \":{port}\" after host")));
    }
    Ok(Url {
        text: text.to_owned(),
        scheme,
        host: host.to_owned(),
        hostname: hostname.to_owned(),
        port: port.to_owned(),
        path: path.replace(' ', "%20"),
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (unescape(key), unescape(value))
            })
            .collect(),
    })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn unescape(text: &str) -> String {
    let (mut out, bytes, mut at) = (Vec::new(), text.as_bytes(), 0);
    while at < bytes.len() {
        let escaped = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match (
            bytes[at],
            escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
