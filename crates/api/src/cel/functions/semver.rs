//! Versions after semver.org.
use super::Table;
use super::arguments::text;
use crate::cel::budget::Error;
use crate::cel::opaque::{Opaque, Semver};
use crate::cel::value::Value;
use std::cmp::Ordering;
use std::sync::Arc;

pub const TABLE: Table = &[
    ("semver(string) kubernetes.Semver", |_, a| {
        make(text(&a[0])?, false)
    }),
    ("semver(string, bool) kubernetes.Semver", |_, a| {
        make(text(&a[0])?, flag(&a[1])?)
    }),
    ("isSemver(string) bool", |_, a| {
        Ok(Value::Bool(parse(text(&a[0])?, false).is_some()))
    }),
    ("isSemver(string, bool) bool", |_, a| {
        Ok(Value::Bool(parse(text(&a[0])?, flag(&a[1])?).is_some()))
    }),
    ("kubernetes.Semver::major() int", |_, a| {
        Ok(Value::Int(version(&a[0])?.major as i64))
    }),
    ("kubernetes.Semver::minor() int", |_, a| {
        Ok(Value::Int(version(&a[0])?.minor as i64))
    }),
    ("kubernetes.Semver::patch() int", |_, a| {
        Ok(Value::Int(version(&a[0])?.patch as i64))
    }),
    (
        "kubernetes.Semver::isGreaterThan(kubernetes.Semver) bool",
        |_, a| Ok(Value::Bool(compare(a)? == Ordering::Greater)),
    ),
    ("kubernetes.Semver::isLessThan(kubernetes.Semver) bool", |_, a| {
        Ok(Value::Bool(compare(a)? == Ordering::Less))
    }),
    ("kubernetes.Semver::compareTo(kubernetes.Semver) int", |_, a| {
        Ok(Value::Int(compare(a)? as i64))
    }),
];

fn flag(value: &Value<'_>) -> Result<bool, Error> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(Error::no_such_overload()),
    }
}

fn version<'v>(value: &'v Value<'_>) -> Result<&'v Semver, Error> {
    match value {
        Value::Opaque(Opaque::Semver(version)) => Ok(version),
        _ => Err(Error::no_such_overload()),
    }
}

fn compare(a: &[Value<'_>]) -> Result<Ordering, Error> {
    Ok(version(&a[0])?.cmp(version(&a[1])?))
}

fn make<'a>(text: &str, normalize: bool) -> Result<Value<'a>, Error> {
    let version =
        parse(text, normalize).ok_or_else(|| Error::failed(format!("invalid semantic version: {text:?}")))?;
    Ok(Value::Opaque(Opaque::Semver(Arc::new(version))))
}

/// `normalize`: a leading `v`, missing parts and leading zeros are forgiven.
fn parse(text: &str, normalize: bool) -> Option<Semver> {
    let text = if normalize {
        text.strip_prefix('v').unwrap_or(text)
    } else {
        text
    };
    let (rest, build) = text.split_once('+').unwrap_or((text, ""));
    let (release, pre) = rest.split_once('-').unwrap_or((rest, ""));
    let dotted = |text: &str| {
        text.split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    if (text.contains('+') && !dotted(build)) || (rest.contains('-') && !dotted(pre)) {
        return None;
    }
    let mut parts: Vec<&str> = release.split('.').collect();
    if normalize {
        parts.resize(parts.len().max(3), "0");
    }
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let shortest = normalize || text == "0" || !text.starts_with('0');
        (plain && shortest).then(|| text.parse().ok()).flatten()
    };
    let [major, minor, patch] = parts.as_slice() else {
        return None;
    };
    Some(Semver {
        major: number(major)?,
        minor: number(minor)?,
        patch: number(patch)?,
        pre: pre
            .split('.')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        build: build.to_owned(),
    })
}
