//! Objects as YAML in the form that kubectl's users know: keys in natural order, lists flush with their key, quotes only
//! where a reader would take the text for something else.

use std::cmp::Ordering;
use std::fmt::Write;

use serde_json::{Map, Value};

/// Writes an object as YAML.
pub fn to_yaml(object: &Value) -> String {
    let mut out = String::with_capacity(1024);
    match object {
        Value::Object(members) if !members.is_empty() => mapping(&mut out, members, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        scalar_value => {
            scalar(&mut out, scalar_value, 0);
            out.push('\n');
        }
    }
    out
}

/// Writes the members at that indent; the cursor stands where the first begins.
fn mapping(out: &mut String, members: &Map<String, Value>, indent: usize) {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| natural(a, b));
    for (n, (key, value)) in sorted.into_iter().enumerate() {
        if n > 0 {
            spaces(out, indent);
        }
        if key.contains('\n') {
            double_quoted(out, key);
        } else {
            text(out, key, indent);
        }
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                spaces(out, indent + 2);
                mapping(out, inner, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                spaces(out, indent);
                sequence(out, items, indent);
            }
            value => {
                out.push(' ');
                scalar(out, value, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            spaces(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(members) if !members.is_empty() => mapping(out, members, indent + 2),
            Value::Array(items) if !items.is_empty() => sequence(out, items, indent + 2),
            value => {
                scalar(out, value, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(string) => text(out, string, indent),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        // Writing into a String cannot fail.
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn text(out: &mut String, string: &str, indent: usize) {
    if string.contains('\n') {
        match is_block(string) {
            true => block(out, string, indent),
            false => double_quoted(out, string),
        }
    } else if is_taken_for_something_else(string) || !string.chars().all(is_printable) {
        double_quoted(out, string);
    } else if is_plain(string) {
        out.push_str(string);
    } else {
        out.push('\'');
        out.push_str(&string.replace('\'', "''"));
        out.push('\'');
    }
}

/// Whether a block says exactly this text.
fn is_block(string: &str) -> bool {
    let clean = string.chars().all(|c| c == '\n' || is_printable(c));
    clean && !string.starts_with([' ', '\n']) && !string.contains(" \n") && !string.ends_with(' ')
}

fn block(out: &mut String, string: &str, indent: usize) {
    let body = string.trim_end_matches('\n');
    out.push_str(match string.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    let lines = string.strip_suffix('\n').unwrap_or(string);
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            spaces(out, indent);
            out.push_str(line);
        }
    }
}

fn double_quoted(out: &mut String, string: &str) {
    out.push('"');
    for c in string.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c if is_printable(c) => out.push(c),
            // Writing into a String cannot fail.
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02X}"),
                    0x100..=0xffff => write!(out, "\\u{code:04X}"),
                    _ => write!(out, "\\U{code:08X}"),
                };
            }
        }
    }
    out.push('"');
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether the text stands for itself without quotes.
fn is_plain(string: &str) -> bool {
    let Some(first) = string.chars().next() else {
        return false;
    };
    let mut rest = string.chars().skip(1);
    let starts = match first {
        '-' | '?' | ':' => rest.next().is_some_and(|c| c != ' '),
        ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
        | ' ' => false,
        _ => true,
    };
    starts
        && !string.ends_with([' ', ':'])
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.starts_with("---")
        && !string.starts_with("...")
}

/// Whether a reader would take the plain text for null, a boolean, a number or a time.
fn is_taken_for_something_else(string: &str) -> bool {
    let words = [
        "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false", "<<",
    ];
    // In any case, though YAML knows three of them: some readers don't mind it.
    let is_word = |word: &&str| string.eq_ignore_ascii_case(word);
    string.is_empty() || words.iter().any(is_word) || is_number(string) || is_time(string)
}

fn is_number(string: &str) -> bool {
    let unsigned = string.strip_prefix(['-', '+']).unwrap_or(string);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(string, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    // Base sixty, once a number.
    let mut sixties = unsigned.split(':');
    let sixty = unsigned.contains(':')
        && sixties.next().is_some_and(|n| {
            n.starts_with(|c: char| c.is_ascii_digit()) && n.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        })
        && sixties.all(|n| {
            let whole = n.split('.').next().unwrap_or(n);
            matches!(whole.len(), 1 | 2) && n.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        });
    if sixty {
        return true;
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let digits = unsigned.replace('_', "");
    let radix = |prefix: &[&str], radix: u32| {
        prefix
            .iter()
            .find_map(|p| digits.strip_prefix(p))
            .is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_digit(radix)))
    };
    radix(&["0x", "0X"], 16) || radix(&["0b", "0B"], 2) || radix(&["0o", "0O"], 8) || is_decimal(&digits)
}

fn is_decimal(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let is_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && is_digits(e)
    });
    exponent && is_digits(whole) && is_digits(fraction) && whole.len() + fraction.len() > 0
}

/// `2026-01-02`, with or without a time of day.
fn is_time(string: &str) -> bool {
    let date = string.split(['T', 't', ' ']).next().unwrap_or(string);
    let mut parts = date.split('-');
    let mut is_part = |lengths: std::ops::RangeInclusive<usize>| {
        parts
            .next()
            .is_some_and(|p| lengths.contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
    };
    is_part(4..=4) && is_part(1..=2) && is_part(1..=2) && date.matches('-').count() == 2
}

/// Runs of digits count as numbers; letters come after everything else.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.chars().peekable(), b.chars().peekable());
    loop {
        match (left.peek().copied(), right.peek().copied()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let number = |side: &mut std::iter::Peekable<std::str::Chars<'_>>| {
                    let mut digits = String::new();
                    while let Some(c) = side.next_if(char::is_ascii_digit) {
                        digits.push(c);
                    }
                    digits
                };
                let (x, y) = (number(&mut left), number(&mut right));
                let (short, long) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
                let by_value = short.len().cmp(&long.len()).then_with(|| short.cmp(long));
                let order = by_value.then_with(|| x.len().cmp(&y.len()));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(x), Some(y)) if x == y => {
                left.next();
                right.next();
            }
            (Some(x), Some(y)) => {
                return x.is_alphabetic().cmp(&y.is_alphabetic()).then(x.cmp(&y));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn objects_look_as_kubectl_shows_them() {
        let object = json!({
            "kind": "Pod", "apiVersion": "v1", "empty": {}, "none": [], "null": null,
            "spec": {"containers": [{"name": "a", "args": ["-c", "a: b", "*", "5", "true", "1e3", "", "it's # it"]}], "n": 5, "yes": false},
            "when": "2026-01-02T03:04:05Z", "script": "a\n  b\n", "cut": "a\nb", "more": "a\n\n", "tab": "a\tb", "trail": "a \nb",
            "nested": [[1, 2], []], "a10": 1, "a2": 2,
        });
        let expected = "a2: 2
a10: 1
apiVersion: v1
cut: |-
  a
  b
empty: {}
kind: Pod
more: |+
  a

nested:
- - 1
  - 2
- []
none: []
\"null\": null
script: |
  a
    b
spec:
  containers:
  - args:
    - -c
    - 'a: b'
    - '*'
    - \"5\"
    - \"true\"
    - \"1e3\"
    - \"\"
    - 'it''s # it'
    name: a
  \"n\": 5
  \"yes\": false
tab: \"a\\tb\"
trail: \"a \\nb\"
when: \"2026-01-02T03:04:05Z\"
";
        assert_eq!(to_yaml(&object), expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[ -~]{0,12}", "[a-z0-9:#'\"\\-\\n {}\\[\\]]{0,12}", ".{0,6}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ -~\\n]{1,6}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_is_written_reads_back(object in prop::collection::btree_map("[a-z]{1,4}", any_value(), 1..5)) {
            let object = Value::Object(object.into_iter().collect());
            let text = to_yaml(&object);
            let back = super::super::from_yaml(text.as_bytes()).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            prop_assert_eq!(back, object, "\n{}", text);
        }
    }
}
