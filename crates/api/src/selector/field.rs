//! Field selectors: `metadata.name=a,status.phase!=Running`.

use super::SelectorError;

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldOperator {
    Equals,
    NotEquals,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    pub field: String,
    pub operator: FieldOperator,
    pub value: String,
}

/// All terms must hold; which fields exist is the kind's business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Reads the query form. Commas, equal signs and backslashes in values are escaped with a backslash.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        let mut parts = split_terms(text);
        // In this order they are looked at, and reported.
        parts.sort_unstable();
        for part in parts {
            if part.is_empty() {
                continue;
            }
            let not_understood =
                || SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'"));
            let (field, operator, value) = split_term(part).ok_or_else(not_understood)?;
            let value = unescape(value).map_err(SelectorError)?;
            // Nothing that is nothing says nothing.
            if field.is_empty() && value.is_empty() {
                continue;
            }
            terms.push(FieldTerm {
                field: field.to_owned(),
                operator,
                value,
            });
        }
        Ok(FieldSelector { terms })
    }

    /// True if it has no term.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Do all terms hold, given how to read a field (absent = empty text)?
    pub fn matches<'a>(&self, read: impl Fn(&str) -> Option<std::borrow::Cow<'a, str>>) -> bool {
        self.terms.iter().all(|t| {
            let have = read(&t.field).unwrap_or_default();
            (have == t.value.as_str()) == (t.operator == FieldOperator::Equals)
        })
    }

    /// The value a field must have, if the selector fixes it (`spec.nodeName=n1`).
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|t| t.field == field && t.operator == FieldOperator::Equals)
            .map(|t| t.value.as_str())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn split_term(term: &str) -> Option<(&str, FieldOperator, &str)> {
    for (i, _) in term.char_indices() {
        for (symbol, operator) in [
            ("!=", FieldOperator::NotEquals),
            ("==", FieldOperator::Equals),
            ("=", FieldOperator::Equals),
        ] {
            if let Some(value) = term[i..].strip_prefix(symbol) {
                return Some((&term[..i], operator, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(e @ ('\\' | ',' | '=')) => out.push(e),
                Some(e) => return Err(format!("invalid field selector: invalid escape sequence: \\{e}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reading_and_matching() {
        let read = |field: &str| match field {
            "metadata.name" => Some("a,b".into()),
            "status.phase" => Some("Running".into()),
            _ => None,
        };
        for (text, want) in [
            ("", true),
            ("status.phase=Running", true),
            ("status.phase==Running", true),
            ("status.phase!=Running", false),
            (r"metadata.name=a\,b,status.phase=Running", true),
            ("spec.nodeName=", true),
            ("spec.nodeName!=", false),
            ("spec.nodeName!=n", true),
            ("!=", true),
            ("=,==", true),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(read), want, "{text}");
        }
        let s = FieldSelector::parse("spec.nodeName=n1,a!=b").unwrap();
        assert_eq!(
            (s.required_value("spec.nodeName"), s.required_value("a")),
            (Some("n1"), None)
        );
    }

    #[test]
    fn error_texts_are_upstreams() {
        assert_eq!(
            FieldSelector::parse("foo").unwrap_err().to_string(),
            "invalid selector: 'foo'; can't understand 'foo'"
        );
        assert!(FieldSelector::parse(r"a=\x").is_err());
        assert_eq!(
            FieldSelector::parse("a=b=c").unwrap_err().to_string(),
            "invalid field selector: unescaped character in value: 61"
        );
        // They are looked at in their own order, whatever is written first.
        assert_eq!(
            FieldSelector::parse(r"b=\x, ").unwrap_err().to_string(),
            r"invalid selector: 'b=\x, '; can't understand ' '"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = FieldSelector::parse(&text);
        }
    }
}
