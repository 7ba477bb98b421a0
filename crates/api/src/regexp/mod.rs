//! Patterns as upstream reads them: RE2's syntax, in which `\w`, `\d`, `\s` and `\b` know ASCII alone, `[` in a class is
//! a character, and `\Q…\E` quotes. They are rewritten for the engine, whose syntax is another in just these points.
mod class;
mod escape;
mod rewrite;

use regex::{Regex, RegexBuilder};
use std::fmt;
use std::ops::Deref;

/// What the engine says of groups in each other, which it takes apart by calling itself. It takes fewer than upstream does.
const TOO_DEEP: &str = "exceed the maximum number of nested";

/// A pattern that can be looked for; shown, it is what was written.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: Box<str>,
    engine: Regex,
}

/// Why a text is no pattern, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The syntax is wrong at what is shown.
    #[error("error parsing regexp: {why}: `{shown}`")]
    Syntax {
        /// The rule that is broken.
        why: &'static str,
        /// The part of the pattern that breaks it.
        shown: String,
    },
    /// Compiled, it takes more room than it may.
    #[error("error parsing regexp: expression too large: `{0}`")]
    TooLarge(String),
    /// The engine cannot do it.
    #[error("error parsing regexp: {0}")]
    Engine(String),
}

impl PatternError {
    fn new(why: &'static str, shown: impl Into<String>) -> Self {
        let shown = shown.into();
        Self::Syntax { why, shown }
    }
}

impl Pattern {
    /// Reads a pattern whose compiled form takes at most `bytes_max`.
    ///
    /// # Errors
    /// The text is none, or takes more room.
    pub fn new(source: &str, bytes_max: usize) -> Result<Self, PatternError> {
        let engine = RegexBuilder::new(&rewrite::rewrite(source)?)
            .size_limit(bytes_max)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => PatternError::TooLarge(source.to_owned()),
                other if other.to_string().contains(TOO_DEEP) => {
                    PatternError::new("expression nests too deeply", source)
                }
                other => PatternError::Engine(other.to_string()),
            })?;
        Ok(Self {
            source: source.into(),
            engine,
        })
    }
}

impl Deref for Pattern {
    type Target = Regex;

    fn deref(&self) -> &Regex {
        &self.engine
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests;
