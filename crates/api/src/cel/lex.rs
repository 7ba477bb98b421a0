//! From text to tokens.
use super::ast::Literal;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Literal(Literal),
    Ident(String),
    /// A field name between backticks.
    Quoted(String),
    /// Operators and punctuation.
    Mark(&'static str),
    End,
}

/// What is wrong with a text, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub message: String,
}

impl Fault {
    pub fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }
}

/// How it is said that a text is no token.
const NO_TOKEN: &str = "Syntax error: token recognition error";

/// Longest first.
const MARKS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "!", "-", "+", "*",
    "/", "%", "<", ">",
];

/// A token, and from where to where it stands.
#[derive(Clone, Debug)]
pub struct Found {
    pub at: usize,
    pub end: usize,
    pub token: Token,
}

/// The tokens of a text, the last of which is its end, and what is none.
pub fn tokens(text: &str) -> (Vec<Found>, Vec<Fault>) {
    let mut lexer = Lexer { text, at: 0 };
    let (mut tokens, mut faults) = (Vec::new(), Vec::new());
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        match lexer.token() {
            Ok(token) => {
                let is_last = token == Token::End;
                tokens.push(Found {
                    at,
                    end: lexer.at,
                    token,
                });
                if is_last {
                    return (tokens, faults);
                }
            }
            Err(fault) => {
                // What comes behind it may be wrong, too.
                let first = text[at..].chars().next().map_or(1, char::len_utf8);
                lexer.at = lexer.at.max(at + first);
                if !fault.message.starts_with(NO_TOKEN) {
                    // A literal it is, but one without a value.
                    let token = Token::Literal(Literal::Null);
                    let end = lexer.at;
                    tokens.push(Found { at, end, token });
                }
                faults.push(fault);
            }
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, while_: impl Fn(char) -> bool) -> String {
        let taken: String = self.rest().chars().take_while(|c| while_(*c)).collect();
        self.at += taken.len();
        taken
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take(char::is_whitespace);
            if !self.rest().starts_with("//") {
                return;
            }
            self.take(|c| c != '\n');
        }
    }

    fn token(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        if let Some(token) = self.string()? {
            return Ok(token);
        }
        if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let word = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok(match word.as_str() {
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                "in" => Token::Mark("in"),
                _ => Token::Ident(word),
            });
        }
        let at = self.at;
        if first == '`' {
            self.at += 1;
            let name = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' '));
            if name.is_empty() || !self.rest().starts_with('`') {
                return Err(Fault::new(at, format!("{NO_TOKEN} at: '`'")));
            }
            self.at += 1;
            return Ok(Token::Quoted(name));
        }
        if let Some(mark) = MARKS.iter().find(|mark| self.rest().starts_with(**mark)) {
            self.at += mark.len();
            return Ok(Token::Mark(mark));
        }
        // Half of an operator takes along what it was to be followed by.
        let length = if matches!(first, '=' | '&' | '|') { 2 } else { 1 };
        let unread: String = self.rest().chars().take(length).collect();
        self.at += unread.len();
        Err(Fault::new(at, format!("{NO_TOKEN} at: '{unread}'")))
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let at = self.at;
        let bad = |what: &str| Fault::new(at, format!("invalid {what} literal"));
        let is_hex = self
            .rest()
            .strip_prefix("0x")
            .is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_hexdigit()));
        if is_hex {
            self.at += 2;
            let digits = self.take(|c| c.is_ascii_hexdigit());
            if self.unsigned() {
                let value = u64::from_str_radix(&digits, 16).map_err(|_| bad("uint"))?;
                return Ok(Token::Literal(Literal::Uint(value)));
            }
            // One more than the largest is the smallest, negated by the parser.
            let value = u64::from_str_radix(&digits, 16).map_err(|_| bad("int"))?;
            return int(value).ok_or_else(|| bad("int"));
        }
        let mut text = self.take(|c| c.is_ascii_digit());
        let mut double = false;
        let after_dot = |rest: &str| {
            rest.strip_prefix('.')
                .is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()))
        };
        if after_dot(self.rest()) {
            double = true;
            self.at += 1;
            text.push('.');
            text.push_str(&self.take(|c| c.is_ascii_digit()));
        }
        let exponent = self
            .rest()
            .strip_prefix(['e', 'E'])
            .map(|r| r.trim_start_matches(['+', '-']));
        if exponent.is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit())) {
            double = true;
            self.at += 1;
            text.push('e');
            text.push_str(&self.take(|c| matches!(c, '+' | '-')));
            text.push_str(&self.take(|c| c.is_ascii_digit()));
        }
        if double {
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            let value = value.ok_or_else(|| bad("double"))?;
            return Ok(Token::Literal(Literal::Double(value)));
        }
        if self.unsigned() {
            let value = text.parse().map_err(|_| bad("uint"))?;
            return Ok(Token::Literal(Literal::Uint(value)));
        }
        let value: u64 = text.parse().map_err(|_| bad("int"))?;
        int(value).ok_or_else(|| bad("int"))
    }

    fn unsigned(&mut self) -> bool {
        let unsigned = self.rest().starts_with(['u', 'U']);
        self.at += usize::from(unsigned);
        unsigned
    }

    /// A string or bytes literal, if one begins here.
    fn string(&mut self) -> Result<Option<Token>, Fault> {
        let (rest, at) = (self.rest(), self.at);
        let prefix: String = rest
            .chars()
            .take(2)
            .take_while(|c| matches!(c, 'r' | 'R' | 'b' | 'B'))
            .collect();
        let quoted = &rest[prefix.len()..];
        let Some(quote) = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|q| quoted.starts_with(q))
        else {
            return Ok(None);
        };
        let raw = prefix.contains(['r', 'R']);
        let bytes = prefix.contains(['b', 'B']);
        let body = &quoted[quote.len()..];
        let Some(end) = end_of_string(body, quote, raw) else {
            // It goes on to the end of its line.
            let unread = rest.lines().next().unwrap_or_default();
            self.at += unread.len();
            return Err(Fault::new(at, format!("{NO_TOKEN} at: '{unread}'")));
        };
        let content = body[..end].to_owned();
        self.at += prefix.len() + quote.len() * 2 + end;
        let unreadable = |why: String| Fault::new(at, why);
        if bytes {
            let content = if raw {
                content.into_bytes()
            } else {
                unescape(&content, true).map_err(unreadable)?
            };
            return Ok(Some(Token::Literal(Literal::Bytes(content))));
        }
        let content = if raw {
            content
        } else {
            let bytes = unescape(&content, false).map_err(unreadable)?;
            String::from_utf8(bytes).map_err(|error| Fault::new(at, error.to_string()))?
        };
        Ok(Some(Token::Literal(Literal::String(content))))
    }
}

/// The magnitude of `i64::MIN` reads as that number; negating it gives it again.
fn int(value: u64) -> Option<Token> {
    let value = i64::try_from(value)
        .ok()
        .or((value == 1 << 63).then_some(i64::MIN))?;
    Some(Token::Literal(Literal::Int(value)))
}

fn end_of_string(body: &str, quote: &str, raw: bool) -> Option<usize> {
    let mut at = 0;
    while at < body.len() {
        let rest = &body[at..];
        if rest.starts_with(quote) {
            return Some(at);
        }
        let c = rest.chars().next()?;
        if c == '\n' && quote.len() == 1 {
            return None;
        }
        at += c.len_utf8();
        if c == '\\' && !raw {
            at += body[at..].chars().next()?.len_utf8();
        }
    }
    None
}

fn unescape(text: &str, bytes: bool) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = chars.next().ok_or("unterminated escape sequence")?;
        let mut number = |digits: usize, radix: u32, first: &str| {
            let mut code = first.to_owned();
            code.extend(chars.by_ref().take(digits));
            u32::from_str_radix(&code, radix)
                .ok()
                .filter(|_| code.len() == digits + first.len())
                .ok_or("unable to unescape string".to_owned())
        };
        let code = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' | '\'' | '"' | '`' | '?' => u32::from(escape),
            'x' | 'X' => number(2, 16, "")?,
            'u' if !bytes => number(4, 16, "")?,
            'U' if !bytes => number(8, 16, "")?,
            '0'..='3' => number(2, 8, &escape.to_string())?,
            _ => return Err("unable to unescape string".to_owned()),
        };
        if bytes && matches!(escape, 'x' | 'X' | '0'..='3') {
            out.push(u8::try_from(code).map_err(|_| "a byte is less than 256")?);
            continue;
        }
        let c = char::from_u32(code).ok_or(format!("invalid code point: {code:#x}"))?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_read_as_the_language_says() {
        let text = |t: &str| Literal::String(t.to_owned());
        for (source, expected) in [
            ("12", Literal::Int(12)),
            ("0x1F", Literal::Int(31)),
            ("7u", Literal::Uint(7)),
            ("1.5e3", Literal::Double(1500.0)),
            (".5", Literal::Double(0.5)),
            (r#""a\n\"b""#, text("a\n\"b")),
            (r"'\u00e9\x41\101'", text("éAA")),
            (r"r'\d+'", text(r"\d+")),
            ("'''it's'''", text("it's")),
            (r"b'\xff'", Literal::Bytes(vec![255])),
            ("true", Literal::Bool(true)),
        ] {
            let (tokens, faults) = tokens(source);
            assert!(faults.is_empty(), "{source}");
            assert_eq!(tokens[0].token, Token::Literal(expected), "{source}");
            assert_eq!(tokens.len(), 2, "{source}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_where_it_stands() {
        for (source, at) in [
            ("a # b", 2),
            ("'open", 0),
            (r"'\q'", 0),
            ("99999999999999999999", 0),
        ] {
            assert_eq!(tokens(source).1[0].at, at, "{source}");
        }
    }
}
