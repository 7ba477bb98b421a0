//! `matches`, `find`, `findAll`: patterns are compiled at most once a process, as long as few are in use.
use super::arguments::{int, text};
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::value::Value;
use crate::regexp::{Pattern, PatternError};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Compiled patterns that are kept.
const PATTERNS_MAX: usize = 256;
/// Largest compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

static PATTERNS: LazyLock<Mutex<HashMap<String, Pattern>>> = LazyLock::new(Mutex::default);

pub const TABLE: Table = &[
    ("string::matches(string) bool", matches),
    ("matches(string, string) bool", matches),
    ("string::find(string) string", |context, a| {
        let (pattern, text) = search(context, a)?;
        Ok(Value::string(
            pattern.find(text).map_or("", |found| found.as_str()),
        ))
    }),
    ("string::findAll(string) list<string>", |context, a| {
        find_all(context, a, usize::MAX)
    }),
    ("string::findAll(string, int) list<string>", |context, a| {
        find_all(context, a, usize::try_from(int(&a[2])?).unwrap_or(usize::MAX))
    }),
];

/// A text as a pattern, which is kept.
fn compiled(text: &str) -> Result<Pattern, PatternError> {
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pattern) = patterns.get(text) {
        return Ok(pattern.clone());
    }
    let pattern = Pattern::new(text, PATTERN_BYTES_MAX)?;
    if patterns.len() >= PATTERNS_MAX {
        patterns.clear();
    }
    patterns.insert(text.to_owned(), pattern.clone());
    Ok(pattern)
}

/// # Errors
/// The pattern is none.
fn pattern(text: &str) -> Result<Pattern, Error> {
    compiled(text).map_err(|error| Error::failed(error.to_string()))
}

/// Whether a text is a pattern; one that only takes too much room is.
///
/// # Errors
/// It is none.
pub fn check_pattern(text: &str) -> Result<(), Error> {
    match compiled(text) {
        Ok(_) | Err(PatternError::TooLarge(_)) => Ok(()),
        Err(error) => Err(Error::failed(error.to_string())),
    }
}

fn search<'v, 'a>(context: &mut Context<'a>, a: &'v [Value<'a>]) -> Result<(Pattern, &'v str), Error> {
    let (subject, source) = (text(&a[0])?, text(&a[1])?);
    context
        .budget
        .look((subject.len() + 1).saturating_mul(source.len() / 4 + 1) as u64)?;
    Ok((pattern(source)?, subject))
}

fn matches<'a>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    let (pattern, text) = search(context, a)?;
    Ok(Value::Bool(pattern.is_match(text)))
}

fn find_all<'a>(context: &mut Context<'a>, a: &[Value<'a>], limit: usize) -> Result<Value<'a>, Error> {
    let (pattern, text) = search(context, a)?;
    let found = pattern
        .find_iter(text)
        .take(limit)
        .map(|found| Value::string(found.as_str()));
    Ok(Value::list(found.collect()))
}
