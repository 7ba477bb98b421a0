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
        Ok(Value::Bool(parse(text(&a[0])?, false).is_ok()))
    }),
    ("isSemver(string, bool) bool", |_, a| {
        Ok(Value::Bool(parse(text(&a[0])?, flag(&a[1])?).is_ok()))
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
    let version = parse(text, normalize).map_err(Error::Failed)?;
    Ok(Value::Opaque(Opaque::Semver(Arc::new(version))))
}

/// `normalize`: a leading `v`, missing parts and leading zeros are forgiven.
///
/// # Errors
/// What is wrong with it, in upstream's words.
fn parse(text: &str, normalize: bool) -> Result<Semver, String> {
    let normal = normalize.then(|| normalized(text)).transpose()?;
    let text = normal.as_deref().unwrap_or(text);
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, rest] = parts.as_slice() else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let (major, minor) = (number(major, "Major")?, number(minor, "Minor")?);
    let (rest, build) = rest.split_once('+').map_or((*rest, None), |(r, b)| (r, Some(b)));
    let (patch, pre) = rest.split_once('-').map_or((rest, None), |(r, p)| (r, Some(p)));
    let patch = number(patch, "Patch")?;
    let pre: Vec<String> = pre.map_or(Vec::new(), |pre| pre.split('.').map(str::to_owned).collect());
    for part in &pre {
        if part.is_empty() {
            return Err("Prerelease is empty".to_owned());
        }
        if is_number(part) && part.len() > 1 && part.starts_with('0') {
            return Err(format!(
                "Numeric PreRelease version must not contain leading zeroes {part:?}"
            ));
        }
        if !is_identifier(part) {
            return Err(format!("Invalid character(s) found in prerelease {part:?}"));
        }
    }
    for part in build.into_iter().flat_map(|build| build.split('.')) {
        if part.is_empty() {
            return Err("Build meta data is empty".to_owned());
        }
        if !is_identifier(part) {
            return Err(format!("Invalid character(s) found in build meta data {part:?}"));
        }
    }
    Ok(Semver {
        major,
        minor,
        patch,
        pre,
        build: build.unwrap_or_default().to_owned(),
    })
}

/// # Errors
/// A version that lacks parts has more than numbers.
fn normalized(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize_with(3, || "0".to_owned());
    Ok(parts.join("."))
}

/// A number, and what may follow it, without the zeros before it; one of its own stays.
fn without_zeros(part: &str) -> String {
    let shorter = part.trim_start_matches('0');
    match part.len() > 1 && !shorter.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("0{shorter}"),
        false if part.len() > 1 => shorter.to_owned(),
        false => part.to_owned(),
    }
}

fn number(text: &str, part: &str) -> Result<u64, String> {
    if !is_number(text) {
        let part = part.to_ascii_lowercase();
        return Err(format!("Invalid character(s) found in {part} number {text:?}"));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{part} number must not contain leading zeroes {text:?}"));
    }
    let wrong = if text.is_empty() {
        "invalid syntax"
    } else {
        "value out of range"
    };
    text.parse()
        .map_err(|_| format!("strconv.ParseUint: parsing {text:?}: {wrong}"))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn is_identifier(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
