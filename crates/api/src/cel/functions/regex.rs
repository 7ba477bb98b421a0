//! `matches`, `find`, `findAll`: patterns are compiled at most once a process, as long as those in use take little room.
use super::arguments::{int, text};
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::value::Value;
use crate::regexp::{Pattern, PatternError};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// What compiled patterns may take that are kept.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// The room that a pattern may take compiled. The engine doesn't tell what one takes: most fit into the first.
const ROOMS_BYTES: [usize; 3] = [64 << 10, 256 << 10, 1 << 20];

static PATTERNS: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

/// Compiled patterns, by their texts.
#[derive(Default)]
struct Kept {
    patterns: HashMap<String, Pattern>,
    /// What they take, at most.
    bytes: usize,
}

impl Kept {
    /// Keeps a pattern of this room, without the others if that would be too much.
    fn keep(&mut self, text: &str, pattern: &Pattern, room: usize) {
        let bytes = room + text.len();
        if self.bytes + bytes > KEPT_BYTES_MAX {
            *self = Self::default();
        }
        self.bytes += bytes;
        self.patterns.insert(text.to_owned(), pattern.clone());
    }
}

/// Compiles a text, in the smallest room that it fits into.
fn compile(text: &str) -> Result<(Pattern, usize), PatternError> {
    let [smaller @ .., largest] = ROOMS_BYTES;
    for room in smaller {
        match Pattern::new(text, room) {
            Err(PatternError::TooLarge(_)) => {}
            result => return result.map(|pattern| (pattern, room)),
        }
    }
    Pattern::new(text, largest).map(|pattern| (pattern, largest))
}

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
    let mut kept = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pattern) = kept.patterns.get(text) {
        return Ok(pattern.clone());
    }
    let (pattern, room) = compile(text)?;
    kept.keep(text, &pattern, room);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_compiled_in_the_smallest_room_they_fit_into() {
        let room = |text: &str| compile(text).map(|(_, room)| room);
        assert_eq!(room("^[a-z]+$"), Ok(ROOMS_BYTES[0]));
        let large = room(r"\pL{10}").unwrap();
        assert!(large > ROOMS_BYTES[0], "{large}");
        let most = compile(r"\pL{1000}").map(|_| ());
        assert!(matches!(most, Err(PatternError::TooLarge(_))), "{most:?}");
    }

    #[test]
    fn patterns_are_kept_by_what_they_take() {
        let (pattern, _) = compile("a").unwrap();
        let kept_of = |room: usize| {
            let mut kept = Kept::default();
            let mut most = 0;
            for number in 0..1000 {
                kept.keep(&number.to_string(), &pattern, room);
                assert!(kept.bytes <= KEPT_BYTES_MAX);
                most = most.max(kept.patterns.len());
            }
            most
        };
        assert!((250..=256).contains(&kept_of(ROOMS_BYTES[0])));
        assert!((15..=16).contains(&kept_of(ROOMS_BYTES[2])));
    }
}
