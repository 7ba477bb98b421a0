//! Methods of text.
use super::arguments::{count, int, list, string, text};
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::value::Value;
use crate::cel::{literals, number};

pub const TABLE: Table = &[
    ("string::contains(string) bool", |context, a| {
        two(context, a, |x, y| Ok(Value::Bool(x.contains(y))))
    }),
    ("string::startsWith(string) bool", |context, a| {
        two(context, a, |x, y| Ok(Value::Bool(x.starts_with(y))))
    }),
    ("string::endsWith(string) bool", |context, a| {
        two(context, a, |x, y| Ok(Value::Bool(x.ends_with(y))))
    }),
    ("string::charAt(int) string", |context, a| {
        let (text, at) = (text(&a[0])?, int(&a[1])?);
        context.budget.copy(text.len())?;
        let length = text.chars().count();
        match usize::try_from(at).ok().filter(|at| *at <= length) {
            Some(at) => string(text.chars().skip(at).take(1).collect::<String>()),
            None => Err(out_of_range(at)),
        }
    }),
    ("string::indexOf(string) int", |context, a| find(context, a, 0)),
    ("string::indexOf(string, int) int", |context, a| {
        find(context, a, int(&a[2])?)
    }),
    ("string::lastIndexOf(string) int", |context, a| {
        find_last(context, a, None)
    }),
    ("string::lastIndexOf(string, int) int", |context, a| {
        find_last(context, a, Some(int(&a[2])?))
    }),
    ("string::lowerAscii() string", |context, a| {
        one(context, a, |t| t.to_ascii_lowercase())
    }),
    ("string::upperAscii() string", |context, a| {
        one(context, a, |t| t.to_ascii_uppercase())
    }),
    ("string::trim() string", |context, a| {
        one(context, a, |t| t.trim().to_owned())
    }),
    ("string::replace(string, string) string", |context, a| {
        replace(context, a, -1)
    }),
    ("string::replace(string, string, int) string", |context, a| {
        replace(context, a, int(&a[3])?)
    }),
    ("string::split(string) list<string>", |context, a| {
        split(context, a, -1)
    }),
    ("string::split(string, int) list<string>", |context, a| {
        split(context, a, int(&a[2])?)
    }),
    ("string::substring(int) string", |context, a| {
        substring(context, a, None)
    }),
    ("string::substring(int, int) string", |context, a| {
        substring(context, a, Some(int(&a[2])?))
    }),
    ("list<string>::join() string", |context, a| join(context, a, "")),
    ("list<string>::join(string) string", |context, a| {
        join(context, a, text(&a[1])?)
    }),
    ("string::format(list<dyn>) string", format),
    ("jsonpatch.escapeKey(string) string", |context, a| {
        one(context, a, |t| t.replace('~', "~0").replace('/', "~1"))
    }),
    ("strings.quote(string) string", |context, a| {
        one(context, a, quote)
    }),
];

/// A text that shows on one line, in quotes; what has no escape of one letter stays as it is.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' | '"' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

fn out_of_range(at: i64) -> Error {
    Error::failed(format!("index out of range: {at}"))
}

fn one<'a>(
    context: &mut Context<'a>,
    a: &[Value<'a>],
    make: impl FnOnce(&str) -> String,
) -> Result<Value<'a>, Error> {
    let text = text(&a[0])?;
    context.budget.look(text.len() as u64)?;
    string(make(text))
}

fn two<'a>(
    context: &mut Context<'a>,
    a: &[Value<'a>],
    make: impl FnOnce(&str, &str) -> Result<Value<'a>, Error>,
) -> Result<Value<'a>, Error> {
    let (first, second) = (text(&a[0])?, text(&a[1])?);
    context.budget.look(first.len() as u64)?;
    make(first, second)
}

/// Positions count characters.
fn find<'a>(context: &mut Context<'a>, a: &[Value<'a>], from: i64) -> Result<Value<'a>, Error> {
    two(context, a, |text, part| {
        let length = text.chars().count() as i64;
        if part.is_empty() && from >= 0 {
            return Ok(Value::Int(from.min(length)));
        }
        if from > length {
            return Ok(Value::Int(-1));
        }
        let offset = offset(text, from)?;
        Ok(match text[offset..].find(part) {
            Some(at) => Value::Int(text[..offset + at].chars().count() as i64),
            None => Value::Int(-1),
        })
    })
}

fn find_last<'a>(context: &mut Context<'a>, a: &[Value<'a>], until: Option<i64>) -> Result<Value<'a>, Error> {
    two(context, a, |text, part| {
        let last = match until {
            None => text.len(),
            Some(until) if until >= text.chars().count() as i64 => return Ok(Value::Int(-1)),
            Some(until) => offset(text, until)?,
        };
        let found = text.rmatch_indices(part).map(|(at, _)| at).find(|at| *at <= last);
        let overlapping = part.is_empty().then_some(last);
        match overlapping.or(found) {
            Some(at) => count(text[..at].chars().count()),
            None => Ok(Value::Int(-1)),
        }
    })
}

/// The byte where a character stands; the end counts.
fn offset(text: &str, at: i64) -> Result<usize, Error> {
    let wanted = usize::try_from(at).map_err(|_| out_of_range(at))?;
    let mut offsets = text.char_indices().map(|(offset, _)| offset).chain([text.len()]);
    offsets.nth(wanted).ok_or_else(|| out_of_range(at))
}

fn substring<'a>(context: &mut Context<'a>, a: &[Value<'a>], end: Option<i64>) -> Result<Value<'a>, Error> {
    let (text, start) = (text(&a[0])?, int(&a[1])?);
    context.budget.look(text.len() as u64)?;
    let from = offset(text, start)?;
    let to = match end {
        None => text.len(),
        Some(end) => offset(text, end)?,
    };
    if from > to {
        let end = end.unwrap_or_default();
        return Err(Error::failed(format!(
            "invalid substring range. start: {start}, end: {end}"
        )));
    }
    string(&text[from..to])
}

fn replace<'a>(context: &mut Context<'a>, a: &[Value<'a>], times: i64) -> Result<Value<'a>, Error> {
    let (text, from, to) = (text(&a[0])?, text(&a[1])?, text(&a[2])?);
    let longest = (text.len() + 1).saturating_mul(to.len() + 1);
    context.budget.look(longest as u64)?;
    string(match usize::try_from(times) {
        Ok(times) => text.replacen(from, to, times),
        Err(_) => text.replace(from, to),
    })
}

fn split<'a>(context: &mut Context<'a>, a: &[Value<'a>], limit: i64) -> Result<Value<'a>, Error> {
    let (text, by) = (text(&a[0])?, text(&a[1])?);
    context.budget.look(text.len() as u64)?;
    let limit = match limit {
        0 => return Ok(Value::list(Vec::new())),
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let parts: Vec<String> = if by.is_empty() {
        let mut parts: Vec<String> = text.chars().take(limit - 1).map(String::from).collect();
        let rest: String = text.chars().skip(limit - 1).collect();
        parts.extend(Some(rest).filter(|rest| !rest.is_empty()));
        parts
    } else {
        text.splitn(limit, by).map(str::to_owned).collect()
    };
    Ok(Value::list(parts.into_iter().map(Value::string).collect()))
}

fn join<'a>(context: &mut Context<'a>, a: &[Value<'a>], by: &str) -> Result<Value<'a>, Error> {
    let list = list(&a[0])?;
    context
        .budget
        .look(a[0].weight() + (by.len() * list.len()) as u64)?;
    let parts: Vec<Value<'a>> = list.iter().collect();
    let parts: Vec<&str> = parts.iter().map(text).collect::<Result<_, _>>()?;
    string(parts.join(by))
}

/// `%s %d %f %e %b %o %x %X`, with a precision for the fractions, and `%%`.
fn format<'a>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    let (template, values) = (text(&a[0])?, list(&a[1])?);
    context.budget.look(template.len() as u64 + a[1].weight())?;
    let (mut out, mut chars, mut next) = (String::new(), template.chars().peekable(), 0);
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok().map(|digits| digits.min(100));
        }
        let verb = chars
            .next()
            .ok_or_else(|| Error::failed("unexpected end of format string"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values
            .get(next)
            .ok_or_else(|| Error::failed(format!("index {next} out of range")))?;
        next += 1;
        out.push_str(&formatted(verb, precision, &value)?);
    }
    string(out)
}

fn formatted(verb: char, precision: Option<usize>, value: &Value<'_>) -> Result<String, Error> {
    let unfit = |what: &str| {
        let found = value.type_name();
        Error::failed(format!("error during formatting: {what}, was given {found}"))
    };
    let fraction = precision.unwrap_or(6);
    Ok(match (verb, value) {
        ('s', value) if !matches!(value, Value::Opaque(_) | Value::Optional(_)) => shown(value),
        ('f' | 'e', Value::String(text)) if matches!(text.as_ref(), "NaN" | "Infinity" | "-Infinity") => {
            text.to_string()
        }
        ('d', Value::Int(value)) => value.to_string(),
        ('d', Value::Uint(value)) => value.to_string(),
        ('d' | 'f' | 'e', Value::Double(value)) if !value.is_finite() => shown(&Value::Double(*value)),
        ('f', Value::Double(value)) => format!("{value:.fraction$}"),
        ('f', Value::Int(value)) => format!("{:.fraction$}", *value as f64),
        // Upstream gives all the digits it has by default, whatever is asked for.
        ('e', Value::Double(value)) => number::scientific(*value, 6),
        ('b', Value::Int(value)) => signed(*value, |v| format!("{v:b}")),
        ('b', Value::Uint(value)) => format!("{value:b}"),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('o', Value::Int(value)) => signed(*value, |v| format!("{v:o}")),
        ('o', Value::Uint(value)) => format!("{value:o}"),
        ('x', Value::Int(value)) => signed(*value, |v| format!("{v:x}")),
        ('X', Value::Int(value)) => signed(*value, |v| format!("{v:X}")),
        ('x', Value::Uint(value)) => format!("{value:x}"),
        ('X', Value::Uint(value)) => format!("{value:X}"),
        ('x', Value::String(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::String(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
        ('x', Value::Bytes(bytes)) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Bytes(bytes)) => bytes.iter().map(|b| format!("{b:02X}")).collect(),
        _ => {
            return Err(match literals::taken_by(verb) {
                Some((what, _)) => unfit(what),
                None => Error::failed(format!(
                    "could not parse formatting clause: unrecognized formatting clause \"{verb}\""
                )),
            });
        }
    })
}

fn signed(value: i64, show: impl FnOnce(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", show(value.unsigned_abs()))
}

/// A value as `%s` shows it.
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Double(value) => double(*value),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(nanos) => crate::cel::time::duration_text(*nanos),
        Value::Timestamp(time) => time.to_string(),
        other => within(other),
    }
}

fn double(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    number::general(value)
}

/// A value as lists and maps show it: as an expression would write it.
fn within(value: &Value<'_>) -> String {
    match value {
        Value::Null | Value::Optional(None) => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) if value.is_finite() => format!("{value:.6}"),
        Value::Double(value) => format!("\"{}\"", double(*value)),
        Value::String(text) => format!("{text:?}"),
        Value::Bytes(bytes) => format!("b\"{}\"", bytes.escape_ascii()),
        Value::Duration(nanos) => format!("duration(\"{}\")", crate::cel::time::duration_text(*nanos)),
        Value::Timestamp(time) => format!("timestamp(\"{time}\")"),
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(|item| within(&item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let mut entries: Vec<String> = map
                .each()
                .map(|(key, value)| format!("{}:{}", within(&key.value()), within(&value)))
                .collect();
            entries.sort_unstable();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Optional(Some(value)) => within(value),
        Value::Type(name) => name.clone(),
        Value::Opaque(opaque) => opaque.to_string(),
    }
}
