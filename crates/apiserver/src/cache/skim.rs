//! Reads a few places of a JSON object and skips the rest: what the cache remembers of an object beside its bytes is a
//! small part of it, and this is done for every object at the start and for every write.
use serde_json::Value;
use std::ops::Range;

type Values = Vec<Option<Value>>;

/// What is at these JSON pointers.
pub fn skim(json: &[u8], pointers: &[&str]) -> Result<Values, serde_json::Error> {
    let (values, _) = skim_and_find(json, pointers, &[])?;
    Ok(values)
}

/// The same, and where in the bytes is what is at other pointers, in the order of those; nothing of that is told for JSON
/// that this server has not written.
pub fn skim_and_find(
    json: &[u8],
    pointers: &[&str],
    places: &[&str],
) -> Result<(Values, Vec<Range<usize>>), serde_json::Error> {
    let Some(mut found) = find(json, &[pointers, places].concat()) else {
        // Not as we write it, or not at all.
        let whole: Value = serde_json::from_slice(json)?;
        let values = pointers.iter().map(|pointer| whole.pointer(pointer).cloned());
        return Ok((values.collect(), Vec::new()));
    };
    let places = found.split_off(pointers.len());
    let places = places.into_iter().flatten().map(|part| range(json, part));
    let value = |part: Option<&[u8]>| part.map(serde_json::from_slice).transpose();
    let values: Result<_, _> = found.into_iter().map(value).collect();
    Ok((values?, places.collect()))
}

/// Where in the bytes is what is at this pointer. `None` also for JSON that this server has not written.
pub fn find_one(json: &[u8], pointer: &str) -> Option<Range<usize>> {
    let found = find(json, &[pointer])?.pop()??;
    Some(range(json, found))
}

fn range(json: &[u8], part: &[u8]) -> Range<usize> {
    let from = part.as_ptr().addr() - json.as_ptr().addr();
    from..from + part.len()
}

/// The bytes of what is at these pointers. `None`: it isn't JSON as this server writes it, without blanks; everything
/// else that JSON may be is looked at, since bytes that aren't would spoil every list that they are in.
fn find<'j>(json: &'j [u8], pointers: &[&str]) -> Option<Vec<Option<&'j [u8]>>> {
    if pointers.len() > u64::BITS as usize || pointers.iter().any(|p| p.contains('~')) {
        return None;
    }
    let mut scanner = Scanner {
        json,
        at: 0,
        pointers,
        found: vec![None; pointers.len()],
    };
    scanner.read((0..pointers.len()).fold(0, |all, n| all | 1 << n), 0)?;
    (scanner.at == json.len()).then_some(scanner.found)
}

/// Lists and objects that may be open inside what is skipped; more are left to a parser.
const DEPTH_MAX: u32 = u64::BITS;

struct Scanner<'j, 'p> {
    json: &'j [u8],
    at: usize,
    pointers: &'p [&'p str],
    found: Vec<Option<&'j [u8]>>,
}

impl Scanner<'_, '_> {
    /// Reads the value that begins here. `wanted`: the pointers that lead here with their first `used` bytes.
    fn read(&mut self, wanted: u64, used: usize) -> Option<()> {
        let from = self.at;
        let (mut here, mut below) = (0, 0);
        for n in ones(wanted) {
            // What an earlier member of the same name had does not count.
            self.found[n] = None;
            match self.pointers[n].len() == used {
                true => here |= 1 << n,
                false => below |= 1_u64 << n,
            }
        }
        match self.json.get(from)? {
            b'{' if below != 0 => self.read_object(below, used)?,
            b'[' if below != 0 => self.read_list(below, used)?,
            _ => self.skip()?,
        }
        for n in ones(here) {
            self.found[n] = Some(&self.json[from..self.at]);
        }
        Some(())
    }

    fn read_object(&mut self, wanted: u64, used: usize) -> Option<()> {
        self.at += 1;
        if self.take(b'}') {
            return Some(());
        }
        loop {
            let from = self.at + 1;
            self.name()?;
            let name = &self.json[from..self.at - 2];
            if name.contains(&b'\\') {
                return None;
            }
            self.read_part(self.through(wanted, used, name), used + 1 + name.len())?;
            if self.take(b'}') {
                return Some(());
            }
            self.expect(b',')?;
        }
    }

    fn read_list(&mut self, wanted: u64, used: usize) -> Option<()> {
        self.at += 1;
        if self.take(b']') {
            return Some(());
        }
        for index in 0.. {
            let index = format!("{index}");
            self.read_part(
                self.through(wanted, used, index.as_bytes()),
                used + 1 + index.len(),
            )?;
            if self.take(b']') {
                break;
            }
            self.expect(b',')?;
        }
        Some(())
    }

    fn read_part(&mut self, wanted: u64, used: usize) -> Option<()> {
        match wanted {
            0 => self.skip(),
            wanted => self.read(wanted, used),
        }
    }

    /// Those of the wanted pointers that go on with this name.
    fn through(&self, wanted: u64, used: usize, name: &[u8]) -> u64 {
        let mut through = 0;
        for n in ones(wanted) {
            let rest = &self.pointers[n].as_bytes()[used..];
            let rest = rest.strip_prefix(b"/").and_then(|rest| rest.strip_prefix(name));
            if rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))) {
                through |= 1 << n;
            }
        }
        through
    }

    /// Goes behind the value that begins here.
    fn skip(&mut self) -> Option<()> {
        // Of what is open, the innermost in the lowest bit: 1 for an object.
        let (mut open, mut depth) = (0_u64, 0);
        loop {
            match self.json.get(self.at)? {
                b'"' => self.string()?,
                b'{' => {
                    self.at += 1;
                    if !self.take(b'}') {
                        (open, depth) = (open << 1 | 1, depth + 1);
                        self.name()?;
                        if depth == DEPTH_MAX {
                            return None;
                        }
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if !self.take(b']') {
                        (open, depth) = (open << 1, depth + 1);
                        if depth == DEPTH_MAX {
                            return None;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => self.number()?,
            }
            // Behind a value: what it is in goes on or ends.
            loop {
                if depth == 0 {
                    return Some(());
                }
                match (self.json.get(self.at)?, open & 1) {
                    (b',', object) => {
                        self.at += 1;
                        if object == 1 {
                            self.name()?;
                        }
                        break;
                    }
                    (b'}', 1) | (b']', 0) => {
                        self.at += 1;
                        (open, depth) = (open >> 1, depth - 1);
                    }
                    _ => return None,
                }
            }
        }
    }

    /// Goes behind a member's name and its colon.
    fn name(&mut self) -> Option<()> {
        if self.json.get(self.at) != Some(&b'"') {
            return None;
        }
        self.string()?;
        self.expect(b':')
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += plain(self.json.get(self.at..)?);
            match self.json.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                // A control character.
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let digits = match self.json.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
            b'u' => 4,
            _ => return None,
        };
        self.at += 2;
        let hex = self.json.get(self.at..self.at + digits)?;
        self.at += digits;
        hex.iter().all(u8::is_ascii_hexdigit).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.json.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let is = self.json.get(self.at..)?.starts_with(word);
        self.at += word.len();
        is.then_some(())
    }

    fn take(&mut self, byte: u8) -> bool {
        let is = self.json.get(self.at) == Some(&byte);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }
}

/// The places of the bits that are set.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (place < u64::BITS).then_some(place as usize)
    })
}

/// How many bytes of a string come before its end, an escape or a control character: eight at a time.
fn plain(bytes: &[u8]) -> usize {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = LOW << 7;
    /// The high bit of each byte that is zero, and of some behind the first such.
    fn zeros(word: u64) -> u64 {
        word.wrapping_sub(LOW) & !word & HIGH
    }
    let mut words = bytes.chunks_exact(8);
    let mut at = 0;
    for chunk in words.by_ref() {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        let quote = zeros(word ^ (LOW * u64::from(b'"')));
        let escape = zeros(word ^ (LOW * u64::from(b'\\')));
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        let special = quote | escape | control;
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(*byte, b'"' | b'\\' | 0..0x20);
    let rest = words.remainder();
    at + rest.iter().position(is_special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
