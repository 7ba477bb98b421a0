//! Names of properties, as expressions write them.
use std::borrow::Cow;

/// Property names that are no names of the language are escaped in expressions.
const ESCAPES: &[(&str, &str)] = &[
    ("__underscores__", "__"),
    ("__dot__", "."),
    ("__dash__", "-"),
    ("__slash__", "/"),
];

/// Words that an expression can only name escaped.
pub const KEYWORDS: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// How expressions name a property; `None` if they can't.
pub fn escape(property: &str) -> Option<String> {
    if KEYWORDS.contains(&property) {
        return Some(format!("__{property}__"));
    }
    let escaped = ESCAPES
        .iter()
        .fold(property.to_owned(), |name, (escaped, plain)| {
            name.replace(plain, escaped)
        });
    let plain = escaped.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && !escaped.starts_with(|c: char| c.is_ascii_digit())).then_some(escaped)
}

/// The property that an expression's field name means.
pub fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains("__") {
        return Cow::Borrowed(name);
    }
    let inner = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"));
    if let Some(word) = inner.filter(|word| KEYWORDS.contains(word)) {
        return Cow::Owned(word.to_owned());
    }
    let (mut out, mut rest) = (String::new(), name);
    while let Some(c) = rest.chars().next() {
        match ESCAPES.iter().find(|(escaped, _)| rest.starts_with(escaped)) {
            Some((escaped, plain)) => {
                out.push_str(plain);
                rest = &rest[escaped.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_mean_properties() {
        for (name, property) in [
            ("replicas", "replicas"),
            ("x__dash__y", "x-y"),
            ("a__dot__b__slash__c", "a.b/c"),
            ("__namespace__", "namespace"),
            ("a__underscores__b", "a__b"),
        ] {
            assert_eq!(unescape(name), property);
            assert_eq!(escape(property).as_deref(), Some(name));
        }
    }
}
