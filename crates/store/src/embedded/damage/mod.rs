//! What becomes of a store whose file is damaged.
//!
//! [`health`] looks at every page before the engine opens a file; of one whose latest commit may be torn the
//! engine does so itself, and goes back to the one before if it is. What is damaged is never given to the engine: [`salvage`] takes
//! what can still be trusted of the store's present, the store serves that, and nothing that could be
//! lost, and takes no writes. `orlop store repair` writes the same into a new file.
mod health;
mod leaf;
mod open;
mod pages;
mod repair;
mod salvage;
mod verify;

pub(super) use health::{Left, how_it_was_left};
pub(super) use open::open;
pub use repair::{Repaired, repair};
pub use verify::Verified;
pub(super) use verify::records;

use crate::{Key, StoreError};
use std::fmt;
use std::path::Path;

/// Lost keys that a line names before it goes on with their number.
const NAMED_MAX: usize = 8;

const WHAT_TO_DO: &str = "go back to a backup with `orlop store restore`, or go on with what is left with \
                          `orlop store repair --drop-damaged`";

/// Keys that were here, or may have been, and cannot be read: `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostKeys {
    pub from: Key,
    /// `None`: to the end.
    pub to: Option<Key>,
}

impl LostKeys {
    fn contains(&self, key: &[u8]) -> bool {
        self.from.as_ref() <= key && self.to.as_ref().is_none_or(|to| key < to.as_ref())
    }

    /// Whether it has something in common with a range as requests give it.
    fn touches(&self, start: &[u8], end: Option<&Key>) -> bool {
        match end {
            None => self.contains(start),
            Some(end) => {
                let begins = *end == Key::UNBOUNDED || self.from < *end;
                begins && self.to.as_ref().is_none_or(|to| start < to.as_ref())
            }
        }
    }
}

impl fmt::Display for LostKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.from;
        // The first key behind another ends with a NUL.
        let (word, from) = match first.strip_suffix(&[0]) {
            Some(before) => ("behind", Key::from(before)),
            None => ("from", first.clone()),
        };
        match &self.to {
            Some(to) if **to == *after(first) => first.fmt(f),
            Some(to) if first.is_empty() => write!(f, "the keys before {to}"),
            Some(to) => write!(f, "the keys {word} {from} and before {to}"),
            None if first.is_empty() => f.write_str("all keys"),
            None => write!(f, "the keys {word} {from}"),
        }
    }
}

/// The first key behind another.
fn after(key: &[u8]) -> Key {
    [key, &[0]].concat().into()
}

/// What is wrong with a file, and what that costs.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    /// What was found, for a person.
    pub found: Vec<String>,
    pub lost: Vec<LostKeys>,
    /// Keys known to be among the lost ones.
    pub named: Vec<Key>,
    /// How many keys are lost, if that is known.
    pub missing: Option<u64>,
}

impl Damage {
    /// What is lost, in one line.
    pub fn losses(&self) -> String {
        if self.lost.is_empty() {
            return "no key is lost, only history".to_owned();
        }
        let some = |items: Vec<String>| {
            let more = items.len().saturating_sub(NAMED_MAX);
            let mut text = items.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
            text
        };
        let ranges = some(self.lost.iter().map(LostKeys::to_string).collect());
        let mut text = match self.missing {
            None => "lost: ".to_owned(),
            Some(missing) => format!("lost: {missing} keys of "),
        };
        text.push_str(&ranges);
        let exact = self.named.len() == self.lost.len();
        if !self.named.is_empty() && !exact {
            let named = some(self.named.iter().map(Key::to_string).collect());
            text.push_str(&format!(", among them {named}"));
        }
        text
    }

    /// Nothing is left that could be served.
    fn is_total(&self) -> bool {
        self.lost
            .iter()
            .any(|lost| lost.from.is_empty() && lost.to.is_none())
    }

    pub(super) fn read_only(&self, path: &Path) -> StoreError {
        StoreError::ReadOnly {
            path: path.to_owned(),
            reason: self.losses(),
        }
    }

    /// Refuses a read that would be silent about what is lost.
    pub(super) fn check_read(&self, path: &Path, start: &[u8], end: Option<&Key>) -> Result<(), StoreError> {
        match self.lost.iter().find(|lost| lost.touches(start, end)) {
            None => Ok(()),
            Some(lost) => Err(StoreError::Lost {
                path: path.to_owned(),
                keys: match end {
                    None => Key::from(start).to_string(),
                    Some(_) => lost.to_string(),
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_of_lost_keys_are_told_from_others() {
        let lost = LostKeys {
            from: "c".into(),
            to: Some("f".into()),
        };
        let rest = LostKeys {
            from: "x".into(),
            to: None,
        };
        let cases: [(&str, Option<&str>, bool, bool); 8] = [
            ("b", None, false, false),
            ("c", None, true, false),
            ("f", None, false, false),
            ("z", None, false, true),
            ("a", Some("c"), false, false),
            ("a", Some("d"), true, false),
            ("e", Some("z"), true, true),
            ("f", Some("\0"), false, true),
        ];
        for (start, end, first, second) in cases {
            let end = end.map(Key::from);
            assert_eq!(
                lost.touches(start.as_bytes(), end.as_ref()),
                first,
                "{start} {end:?}"
            );
            assert_eq!(
                rest.touches(start.as_bytes(), end.as_ref()),
                second,
                "{start} {end:?}"
            );
        }
        assert_eq!(lost.to_string(), "the keys from c and before f");
        assert_eq!(rest.to_string(), "the keys from x");
        let behind = LostKeys {
            from: after(b"c"),
            to: Some("f".into()),
        };
        assert_eq!(behind.to_string(), "the keys behind c and before f");
    }
}
