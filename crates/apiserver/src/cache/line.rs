//! The text of an object, of which what many objects have in common is kept once.
//!
//! Half of a pod says which of its fields are whose, in the same words as with every other pod of its template.
use super::common::Common;
use bytes::Bytes;
use std::ops::Range;

/// What is shorter isn't worth being kept apart.
pub const COMMON_BYTES_MIN: usize = 128;

/// See the module.
#[derive(Debug, Clone)]
pub struct Line {
    /// Without what is kept apart.
    own: Bytes,
    /// In the order of the text.
    apart: Box<[Apart]>,
}

#[derive(Debug, Clone)]
struct Apart {
    /// Before which of its own bytes it stands.
    at: u32,
    /// Nobody else had it when the line was made.
    is_first: bool,
    text: Common,
}

impl Line {
    /// `beginning`, `text` and `end`, where these parts of `text` are what others have as well.
    pub fn new(beginning: &[u8], text: &[u8], common: &[Range<usize>], end: &[u8]) -> Self {
        let common = worth_it(common);
        let elsewhere: usize = common.iter().map(|part| part.len()).sum();
        let mut own = Vec::with_capacity(beginning.len() + text.len() - elsewhere + end.len());
        own.extend_from_slice(beginning);
        let mut apart = Vec::with_capacity(common.len());
        let mut behind = 0;
        for part in common {
            own.extend_from_slice(&text[behind..part.start]);
            let text = Common::of(&text[part.clone()]);
            apart.push(Apart {
                at: own.len() as u32,
                is_first: text.is_alone(),
                text,
            });
            behind = part.end;
        }
        own.extend_from_slice(&text[behind..]);
        own.extend_from_slice(end);
        Self {
            own: own.into(),
            apart: apart.into(),
        }
    }

    /// The same with another beginning. `until`: how long the present one is; nothing of it is kept apart.
    pub fn beginning_with(&self, beginning: &[u8], until: usize) -> Self {
        let moved = |at: u32| beginning.len() as u32 + at - until as u32;
        Self {
            own: [beginning, &self.own[until..]].concat().into(),
            apart: self
                .apart
                .iter()
                .map(|part| Apart {
                    at: moved(part.at),
                    ..part.clone()
                })
                .collect(),
        }
    }

    /// What comes before all that is kept apart.
    pub fn beginning(&self) -> &[u8] {
        match self.apart.first() {
            Some(first) => &self.own[..first.at as usize],
            None => &self.own,
        }
    }

    /// Bytes of the whole.
    pub fn len(&self) -> usize {
        let apart: usize = self.apart.iter().map(|part| part.text.len()).sum();
        self.own.len() + apart
    }

    /// Bytes that there are because of this line: what it was the first to have counts with it. The same at any time.
    pub fn own_len(&self) -> usize {
        let first = self.apart.iter().filter(|part| part.is_first);
        self.own.len() + first.map(|part| part.text.len()).sum::<usize>()
    }

    /// Whether it is all in one piece.
    pub fn is_whole(&self) -> bool {
        self.apart.is_empty()
    }

    /// Whether this stands in it, what is kept apart left out.
    pub fn contains(&self, text: &[u8]) -> bool {
        self.own.windows(text.len()).any(|window| window == text)
    }

    /// How many pieces it is in.
    pub fn pieces(&self) -> usize {
        1 + 2 * self.apart.len()
    }

    /// A piece, without the line's first and last bytes. `from` lies in the first piece, `less` in the last.
    pub fn piece(&self, piece: usize, from: usize, less: usize) -> &[u8] {
        let place = piece / 2;
        if piece % 2 == 1 {
            return self.apart.get(place).map_or(b"", |part| &part.text);
        }
        let begin = match place.checked_sub(1) {
            None => from,
            Some(before) => self.apart[before].at as usize,
        };
        let end = match self.apart.get(place) {
            Some(part) => part.at as usize,
            None => self.own.len() - less,
        };
        &self.own[begin..end]
    }

    /// From byte `from`, which is of the beginning, up to `less` bytes before the end, in one piece.
    pub fn joined(&self, from: usize, less: usize) -> Bytes {
        if self.is_whole() {
            return self.own.slice(from..self.own.len() - less);
        }
        let mut joined = Vec::with_capacity(self.len() - from - less);
        for piece in 0..self.pieces() {
            joined.extend_from_slice(self.piece(piece, from, less));
        }
        joined.into()
    }

    /// Whether what begins at `from` and ends `less` bytes before the end is this.
    pub fn is(&self, from: usize, less: usize, text: &[u8]) -> bool {
        let mut rest = text;
        for piece in 0..self.pieces() {
            let Some(behind) = rest.strip_prefix(self.piece(piece, from, less)) else {
                return false;
            };
            rest = behind;
        }
        rest.is_empty()
    }
}

/// The parts that are worth being kept apart, as far as each begins behind the one before: members of an object, which another
/// program may have written where a list belongs, come in any order.
fn worth_it(parts: &[Range<usize>]) -> Vec<&Range<usize>> {
    let mut behind = 0;
    let mut kept = Vec::with_capacity(parts.len());
    for part in parts {
        if part.start >= behind && part.len() >= COMMON_BYTES_MIN {
            behind = part.end;
            kept.push(part);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_the_same_whatever_of_it_is_kept_apart() {
        let [one, two] = [b'a', b'b'].map(|byte| vec![byte; COMMON_BYTES_MIN]);
        let text = [b"<".as_slice(), &one, b"-", &two, b"?"].concat();
        let (first, second) = (1..1 + one.len(), 2 + one.len()..2 + one.len() + two.len());
        let whole = [b"kind".as_slice(), &text, b"\n"].concat();
        for common in [
            vec![],
            vec![first.clone()],
            vec![second.clone()],
            vec![first.clone(), second.clone()],
            // Too short.
            vec![0..1, first.clone(), second.clone()],
            vec![second, first],
        ] {
            let line = Line::new(b"kind", &text, &common, b"\n");
            assert_eq!(line.len(), whole.len());
            assert_eq!(line.joined(0, 0), whole);
            assert_eq!(line.joined(2, 1), whole[2..whole.len() - 1]);
            assert!(whole.starts_with(line.beginning()));
            assert!(line.contains(b"kind<") && line.contains(b"?\n") && !line.contains(b"others"));
            assert!(line.is(4, 1, &text) && !line.is(4, 1, &text[1..]) && !line.is(4, 0, &text));
            assert!(!line.is(4, 1, &[&text[..], b"+"].concat()));
            let other = line.beginning_with(b"others", 4);
            assert_eq!(other.joined(0, 0), [b"others".as_slice(), &text, b"\n"].concat());
            assert_eq!(other.len(), whole.len() + 2);
        }
    }
}
