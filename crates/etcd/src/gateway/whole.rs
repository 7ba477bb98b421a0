//! Where a value of JSON ends, looked for in what has newly come: what came before is not looked at again.

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
    /// Looks at what was added to a text; whether a value may have ended, which its reader can tell for sure.
    pub fn reached(&mut self, text: &[u8]) -> bool {
        let mut ended = false;
        for byte in &text[self.looked.min(text.len())..] {
            if self.in_string {
                let closes = *byte == b'"' && !self.escaped;
                self.escaped = *byte == b'\\' && !self.escaped;
                self.in_string = !closes;
                continue;
            }
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    ended |= self.depth == 0;
                }
                b'"' => self.in_string = true,
                _ => {}
            }
            // No question is such a thing: that is told as soon as it begins.
            if self.depth == 0 && !self.bare && !byte.is_ascii_whitespace() && !matches!(byte, b'}' | b']') {
                self.bare = true;
                ended = true;
            }
        }
        self.looked = text.len();
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_whole_is_read() {
        for (pieces, whole) in [
            (&[r#"{"a":"#, r#""}}}"#, r#"\"}"#, r#"""#, "}"][..], 4),
            (&[" ", "{", r#""a":[{}"#, "]", "} {"], 4),
            (&["\n", "garbage"], 1),
            (&["}"], 0),
        ] {
            let (mut ends, mut text) = (Ends::default(), Vec::new());
            for (number, piece) in pieces.iter().enumerate() {
                text.extend_from_slice(piece.as_bytes());
                assert_eq!(ends.reached(&text), number == whole, "{piece} of {pieces:?}");
            }
        }
    }
}
