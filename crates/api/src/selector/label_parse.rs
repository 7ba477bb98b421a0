//! The query form of label selectors: lexer and recursive descent, with upstream's error texts.

use super::SelectorError;
use super::label::{LabelSelector, Operator, Requirement};
use crate::names;

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Symbol(&'static str),
    Word(&'a str),
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Token::Symbol(s) => s,
            Token::Word(w) => w,
            Token::End => "",
        }
    }
}

const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", ">", "<", ",", "(", ")"];

fn lex(text: &str) -> Vec<Token<'_>> {
    let is_special = |c: char| "=!><,()".contains(c);
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_space);
        if rest.is_empty() {
            tokens.push(Token::End);
            return tokens;
        }
        if let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let end = rest.find(|c| is_special(c) || is_space(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(&rest[..end]));
            rest = &rest[end..];
        }
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

fn unexpected(token: &Token<'_>, expected: &str) -> String {
    format!("found '{}', expected: {expected}", token.text())
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &Token<'a> {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut out = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(out),
                Token::Word(_) | Token::Symbol("!") => {}
                other => return Err(unexpected(other, "!, identifier, or 'end of string'")),
            }
            out.push(
                self.requirement()
                    .map_err(|e| format!("unable to parse requirement: {e}"))?,
            );
            match self.next() {
                Token::End => return Ok(out),
                Token::Symbol(",") => match self.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => return Err(unexpected(other, "identifier after ','")),
                },
                other => return Err(unexpected(&other, "',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = *self.peek() == Token::Symbol("!");
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(w) => w.to_owned(),
            other => return Err(unexpected(&other, "identifier")),
        };
        if let Some(problem) = super::label::key_problem(&key, "<nil>") {
            return Err(problem);
        }
        let at_end = matches!(self.peek(), Token::End | Token::Symbol(","));
        if negated || at_end {
            let operator = if negated {
                Operator::DoesNotExist
            } else {
                Operator::Exists
            };
            return Ok(Requirement {
                key,
                operator,
                values: Vec::new(),
            });
        }
        let operator = match self.next() {
            Token::Symbol("=" | "==") => Operator::Equals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            other => return Err(unexpected(&other, "in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.value_list()?,
            _ => vec![self.value()?],
        };
        values.sort();
        let mut problems = Vec::new();
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) && values[0].parse::<i64>().is_err()
        {
            problems.push(format!(
                "values[0]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                names::quoted(&values[0])
            ));
        }
        let checked = values.iter().enumerate();
        problems.extend(checked.filter_map(|(at, value)| super::label::value_problem(&key, at, value)));
        match problems.as_slice() {
            [] => Ok(Requirement {
                key,
                operator,
                values,
            }),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            Token::End | Token::Symbol(",") => Ok(String::new()),
            Token::Word(w) => {
                let word = (*w).to_owned();
                self.next();
                Ok(word)
            }
            other => Err(unexpected(other, "identifier")),
        }
    }

    fn value_list(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut out: Vec<String> = Vec::new();
        let mut push = |value: &str| {
            if !out.iter().any(|v| v == value) {
                out.push(value.to_owned());
            }
        };
        loop {
            // An empty place between commas is the empty value.
            match self.peek() {
                Token::Word(w) => {
                    push(w);
                    self.at += 1;
                }
                Token::Symbol("," | ")") => push(""),
                other => return Err(unexpected(other, "',', ')' or identifier")),
            }
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(out),
                other => return Err(unexpected(&other, "',' or ')'")),
            }
        }
    }
}

pub(super) fn parse(text: &str) -> Result<LabelSelector, SelectorError> {
    let mut parser = Parser {
        tokens: lex(text),
        at: 0,
    };
    parser.selector().map(LabelSelector::of).map_err(SelectorError)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn matching_table() {
        let l = labels(&[("a", "1"), ("app", "web"), ("empty", "")]);
        for (selector, want) in [
            ("", true),
            ("  ", true),
            ("a=1", true),
            ("a==1", true),
            ("a = 1 , app = web", true),
            ("a!=1", false),
            ("zz!=1", true),
            ("a in (1,2)", true),
            ("a notin (1,2)", false),
            ("zz notin (1)", true),
            ("zz in (1)", false),
            ("a", true),
            ("!a", false),
            ("!zz", true),
            ("a>0", true),
            ("a<1", false),
            ("app>0", false),
            ("empty=", true),
            ("empty=,a=1", true),
            ("empty in ()", true),
            ("app in ()", false),
            ("in", false),
            ("a,notin", false),
            ("a in (,1)", true),
            ("app=in", false),
        ] {
            let parsed = LabelSelector::parse(selector);
            assert_eq!(parsed.map(|parsed| parsed.matches(&l)), Ok(want), "{selector}");
        }
    }

    #[test]
    fn error_texts_are_upstreams() {
        for (selector, want) in [
            (
                "a===b",
                "unable to parse requirement: found '=', expected: identifier",
            ),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a=b,", "found '', expected: identifier after ','"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a in x", "unable to parse requirement: found 'x' expected: '('"),
            (
                "a in (x",
                "unable to parse requirement: found '', expected: ',' or ')'",
            ),
            (
                "a>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(
                LabelSelector::parse(selector).unwrap_err().to_string(),
                want,
                "{selector}"
            );
        }
        assert!(
            LabelSelector::parse("a=b/c")
                .unwrap_err()
                .to_string()
                .contains("values[0][a]: Invalid value")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = LabelSelector::parse(&text);
        }

        #[test]
        fn likely_text_is_read_or_refused(text in "([a-z/.]{0,3}|[=!<>,()]|in|notin| ){0,14}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                let again = LabelSelector::parse(&selector.to_string()).unwrap();
                prop_assert_eq!(again.to_string(), selector.to_string());
            }
        }
    }
}
