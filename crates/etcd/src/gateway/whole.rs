//! Where a value of JSON ends, looked for in what has newly come: what came before is not looked at again, nor what
//! comes behind the end.

/// How far a text was looked at, and what is open there.
#[derive(Debug, Default)]
pub struct Ends {
    looked: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Something outside of braces and brackets has begun.
    bare: bool,
}

impl Ends {
    /// Looks at what was added to a text, up to where a value may have ended: behind that byte. Its reader can tell for
    /// sure.
    pub fn reached(&mut self, text: &[u8]) -> Option<usize> {
        while let Some(byte) = text.get(self.looked) {
            self.looked += 1;
            if self.passes(*byte) {
                return Some(self.looked);
            }
        }
        None
    }

    /// Whether a value may end with this byte.
    fn passes(&mut self, byte: u8) -> bool {
        if self.in_string {
            let closes = byte == b'"' && !self.escaped;
            self.escaped = byte == b'\\' && !self.escaped;
            self.in_string = !closes;
            return false;
        }
        match byte {
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            b'"' => self.in_string = true,
            _ => {}
        }
        // No question is such a thing: that is told as soon as it begins.
        let begins_bare = self.depth == 0 && !self.bare && !byte.is_ascii_whitespace();
        self.bare |= begins_bare;
        begins_bare
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_whole_is_read() {
        for (pieces, whole, end) in [
            (&[r#"{"a":"#, r#""}}}"#, r#"\"}"#, r#"""#, "}"][..], 4, 14),
            (&[" ", "{", r#""a":[{}"#, "]", "} {"], 4, 11),
            (&["\n", "garbage"], 1, 2),
            (&["}"], 0, 1),
            (&["{}{}{}"], 0, 2),
        ] {
            let (mut ends, mut text) = (Ends::default(), Vec::new());
            for (number, piece) in pieces.iter().enumerate() {
                text.extend_from_slice(piece.as_bytes());
                let expected = (number == whole).then_some(end);
                assert_eq!(ends.reached(&text), expected, "{piece} of {pieces:?}");
            }
        }
    }

    #[test]
    fn nothing_is_looked_at_twice() {
        let (mut ends, mut text) = (Ends::default(), b"nul".to_vec());
        let mut found = 0;
        for _ in 0..1000 {
            text.push(b'}');
            while let Some(end) = ends.reached(&text) {
                assert!(end > found, "{end} after {found}");
                found = end;
            }
            assert_eq!(ends.looked, text.len());
        }
    }
}
