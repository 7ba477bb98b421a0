//! What stands next, and what is said of it where something else had to.
use super::super::lex::{Fault, Token};
use super::{Parser, STARTS};

impl Parser<'_> {
    pub(super) fn peek(&self) -> &Token {
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |found| &found.token)
    }

    pub(super) fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(0, |found| found.at)
    }

    pub(super) fn is(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(m) if *m == mark)
    }

    pub(super) fn take(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        self.next += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, mark: &str) -> Result<(), Fault> {
        if self.take(mark) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("'{mark}'")))
        }
    }

    /// The end of a list, which might have gone on.
    pub(super) fn end(&mut self, mark: &str) -> Result<(), Fault> {
        if self.take(mark) {
            return Ok(());
        }
        let ends = [mark, ","].contains(&self.after());
        let expected = format!("{{'{mark}', ','}}");
        Err(if ends {
            self.extraneous(&expected)
        } else {
            self.mismatched(&expected)
        })
    }

    /// The token behind the next one.
    pub(super) fn ahead(&self) -> Option<&Token> {
        self.tokens.get(self.next + 1).map(|found| &found.token)
    }

    /// The mark behind the next token.
    fn after(&self) -> &'static str {
        match self.ahead() {
            Some(Token::Mark(mark)) => mark,
            _ => "",
        }
    }

    /// A comma that is all there is before the end.
    pub(super) fn skip_only_comma(&mut self, end: &str) {
        if self.is(",") && self.after() == end {
            self.next += 1;
        }
    }

    fn written(&self) -> &str {
        let found = self.tokens.get(self.next);
        let found = found.filter(|found| found.token != Token::End);
        found
            .and_then(|found| self.text.get(found.at..found.end))
            .unwrap_or("<EOF>")
    }

    pub(super) fn mismatched(&self, expected: &str) -> Fault {
        let why = format!(
            "Syntax error: mismatched input '{}' expecting {expected}",
            self.written()
        );
        Fault::new(self.at(), why)
    }

    fn extraneous(&self, expected: &str) -> Fault {
        let why = format!(
            "Syntax error: extraneous input '{}' expecting {expected}",
            self.written()
        );
        Fault::new(self.at(), why)
    }

    /// That something else had to stand here: one of `expected`.
    pub(super) fn unexpected(&self, expected: &str) -> Fault {
        // What could be left out is too much.
        let goes_on = self.ahead().is_some_and(|after| match after {
            Token::End => expected == "<EOF>",
            Token::Mark(mark) => expected.contains(&format!("'{mark}'")),
            _ => expected == STARTS,
        });
        let is_left_out = match expected {
            "')'" | "']'" => *self.peek() == Token::End,
            "':'" => matches!(self.peek(), Token::Literal(_) | Token::Ident(_)),
            _ => false,
        };
        if is_left_out {
            let why = format!("Syntax error: missing {expected} at '{}'", self.written());
            Fault::new(self.at(), why)
        } else if goes_on {
            self.extraneous(expected)
        } else {
            self.mismatched(expected)
        }
    }
}
