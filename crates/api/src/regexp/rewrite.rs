//! From RE2's syntax to the engine's.
use super::escape::{Escape, escape, quoted};
use super::{PatternError, class};

/// Times that something may be repeated, repetitions in each other multiplied.
const REPEAT_MAX: u64 = 1_000;
const NO_OPERAND: &str = "missing argument to repetition operator";
const NESTED: &str = "invalid nested repetition operator";
const COUNT: &str = "invalid repeat count";
const PERL: &str = "invalid or unsupported Perl syntax";

/// What the engine calls the pattern.
///
/// # Errors
/// The text is no pattern.
pub fn rewrite(source: &str) -> Result<String, PatternError> {
    let mut rewriter = Rewriter {
        source,
        rest: source,
        out: String::with_capacity(source.len() + 16),
        flags: String::new(),
        groups: vec![Group::default()],
    };
    while let Some(next) = rewriter.rest.chars().next() {
        rewriter.step(next)?;
    }
    if rewriter.groups.len() > 1 {
        return Err(PatternError::new("missing closing )", source));
    }
    Ok(rewriter.out)
}

/// What is known of a group that is open.
#[derive(Default)]
struct Group {
    /// How often the thing before is repeated at most, with what is in it; `None`: there is nothing to repeat.
    operand: Option<u64>,
    /// The largest of the things before that one.
    times: u64,
    /// Where the repetition right before begins, counted from the end of the pattern.
    repetition: Option<usize>,
    /// Where the group and the thing before begin in what is written.
    begins: usize,
    before: usize,
}

impl Group {
    /// The largest of all things in it.
    fn largest(&self) -> u64 {
        self.times.max(self.operand.unwrap_or(1))
    }
}

struct Rewriter<'p> {
    source: &'p str,
    rest: &'p str,
    out: String,
    /// Flags that are not written yet: a repetition right behind them is one of what comes before them.
    flags: String,
    /// The open groups; the pattern itself is the first.
    groups: Vec<Group>,
}

impl<'p> Rewriter<'p> {
    fn step(&mut self, next: char) -> Result<(), PatternError> {
        match next {
            '(' if self.rest.starts_with("(?") => self.flags(),
            '(' => {
                self.take(1);
                self.open("(?:")
            }
            ')' => self.close(),
            '|' => {
                self.take(1);
                self.write("|");
                let group = self.group();
                group.times = group.largest();
                group.operand = None;
                group.repetition = None;
                Ok(())
            }
            '[' => {
                let (class, rest) = class::rewrite(self.rest)?;
                self.write(&class);
                self.rest = rest;
                self.operand();
                Ok(())
            }
            '*' | '+' | '?' => {
                let before = self.rest;
                self.take(1);
                // Whatever is in what any number of repeats counts once.
                self.repeat(before, &before[..1], 1)
            }
            '{' => self.count(),
            '\\' => self.escape(),
            '^' | '$' | '.' => {
                self.write(&self.rest[..1]);
                self.take(1);
                self.operand();
                Ok(())
            }
            other => {
                self.take(other.len_utf8());
                self.literal(other);
                Ok(())
            }
        }
    }

    fn write(&mut self, engine: &str) {
        self.out.push_str(&std::mem::take(&mut self.flags));
        self.group().before = self.out.len();
        self.out.push_str(engine);
    }

    fn take(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    #[expect(clippy::expect_used, reason = "the pattern's own group is never closed")]
    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the pattern is a group")
    }

    /// Something was written that can be repeated.
    fn operand(&mut self) {
        self.next(1);
    }

    /// Something that repeats what is in it so many times.
    fn next(&mut self, times: u64) {
        let group = self.group();
        group.times = group.largest();
        group.operand = Some(times);
        group.repetition = None;
    }

    fn literal(&mut self, literal: char) {
        self.write(&quoted(literal));
        self.operand();
    }

    fn open(&mut self, text: &str) -> Result<(), PatternError> {
        self.write(text);
        let begins = self.group().before;
        self.groups.push(Group {
            begins,
            ..Group::default()
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), PatternError> {
        if self.groups.len() == 1 {
            return Err(PatternError::new("unexpected )", self.source));
        }
        self.take(1);
        // They end with the group.
        self.flags.clear();
        self.out.push(')');
        let group = self.groups.pop().unwrap_or_default();
        self.next(group.largest());
        self.group().before = group.begins;
        Ok(())
    }

    /// `(?…`: a name, or flags for what follows.
    fn flags(&mut self) -> Result<(), PatternError> {
        let start = self.rest;
        for opening in ["(?P<", "(?<"] {
            if let Some(named) = start.strip_prefix(opening).filter(|rest| !rest.is_empty()) {
                return self.named(start, opening, named);
            }
        }
        let (mut sign, mut seen) = (false, false);
        for (at, flag) in start.char_indices().skip(2) {
            match flag {
                'i' | 'm' | 's' | 'U' => seen = true,
                '-' if !sign => (sign, seen) = (true, false),
                ':' | ')' if seen || !sign => {
                    self.take(at + 1);
                    return self.flagged(&start[..at], flag == ':');
                }
                other => return Err(PatternError::new(PERL, &start[..at + other.len_utf8()])),
            }
        }
        Err(PatternError::new(PERL, start))
    }

    /// The flags up to `written` were read.
    fn flagged(&mut self, written: &str, group: bool) -> Result<(), PatternError> {
        if group {
            return self.open(&format!("{written}:"));
        }
        if written != "(?" {
            self.flags.push_str(written);
            self.flags.push(')');
        }
        self.group().repetition = None;
        Ok(())
    }

    /// A group with a name; nobody asks for it.
    fn named(&mut self, start: &str, opening: &str, rest: &str) -> Result<(), PatternError> {
        const WRONG: &str = "invalid named capture";
        let Some(end) = rest.find('>') else {
            return Err(PatternError::new(WRONG, start));
        };
        let name = &rest[..end];
        if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            return Err(PatternError::new(WRONG, &start[..opening.len() + end + 1]));
        }
        self.take(opening.len() + end + 1);
        self.open("(?:")
    }

    /// `before` begins with the repetition, which is read.
    fn repeat(&mut self, before: &'p str, engine: &str, times: u64) -> Result<(), PatternError> {
        let lazy = self.rest.starts_with('?');
        if lazy {
            self.take(1);
        }
        let read = before.len() - self.rest.len();
        let Some(inner) = self.group().operand else {
            return Err(PatternError::new(NO_OPERAND, &before[..read]));
        };
        if let Some(first) = self.group().repetition {
            let from = &self.source[self.source.len() - first..];
            return Err(PatternError::new(NESTED, &from[..from.len() - self.rest.len()]));
        }
        let times = inner.saturating_mul(times);
        if times > REPEAT_MAX {
            return Err(PatternError::new(COUNT, &before[..read]));
        }
        if !self.flags.is_empty() {
            // What is before may be a repetition, which a question mark would make lazy.
            let before = self.group().before;
            self.out.insert_str(before, "(?:");
            self.out.push(')');
        }
        self.out.push_str(engine);
        if lazy {
            self.out.push('?');
        }
        // What is repeated no times at all does not count either.
        self.group().operand = Some(times.max(1));
        self.group().repetition = Some(before.len());
        Ok(())
    }

    /// `{`: a count, or a character.
    fn count(&mut self) -> Result<(), PatternError> {
        let before = self.rest;
        let Some((min, max, bytes)) = counts(before) else {
            self.take(1);
            self.literal('{');
            return Ok(());
        };
        let wrong = min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX || max < min);
        if wrong {
            return Err(PatternError::new(COUNT, &before[..bytes]));
        }
        self.take(bytes);
        self.repeat(before, &before[..bytes], max.unwrap_or(min.max(1)))
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        if let Some(rest) = self.rest.strip_prefix("\\Q") {
            let (text, after) = rest.split_once("\\E").unwrap_or((rest, ""));
            text.chars().for_each(|literal| self.literal(literal));
            self.rest = after;
            self.group().repetition = None;
            return Ok(());
        }
        for (written, engine) in [
            ("\\A", "\\A"),
            ("\\z", "\\z"),
            ("\\b", "(?-u:\\b)"),
            ("\\B", "(?-u:\\B)"),
        ] {
            if self.rest.starts_with(written) {
                self.write(engine);
                self.take(written.len());
                self.operand();
                return Ok(());
            }
        }
        let (found, rest) = escape(self.rest)?;
        self.rest = rest;
        match found {
            Escape::Char(literal) => self.literal(literal),
            Escape::Surrogate(_) => {
                self.write(class::NOTHING);
                self.operand();
            }
            Escape::Class(class) => {
                self.write(&class);
                self.operand();
            }
        }
        Ok(())
    }
}

/// `{n}`, `{n,}` and `{n,m}`: how often at least, at most, and the length of what says so.
fn counts(text: &str) -> Option<(u64, Option<u64>, usize)> {
    let end = text.find('}')?;
    let inner = &text[1..end];
    let (min, max) = match inner.split_once(',') {
        None => (number(inner)?, Some(number(inner)?)),
        Some((min, "")) => (number(min)?, None),
        Some((min, max)) => (number(min)?, Some(number(max)?)),
    };
    Some((min, max, end + 1))
}

/// A number without leading zeros; one that is too large is only that.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    (digits && !leading).then(|| text.parse().unwrap_or(u64::MAX))
}
