//! What is wrong with literals of calls whose types fit: it would show with every value, so it is told before there is any.
use super::ast::{Call, Element, Expr, Form, Literal};
use super::functions::check_pattern;
use super::lex::Fault;
use super::moment::Moment;
use super::time::parse_exact_duration;

/// Adds what is wrong with the literals of a call.
pub fn check(at: usize, call: &Call, faults: &mut Vec<Fault>) {
    let (name, arguments) = (call.name.as_str(), call.arguments.as_slice());
    match (name, call.member, arguments) {
        ("duration", false, [only])
            if text(only).is_some_and(|text| parse_exact_duration(text).is_none()) =>
        {
            faults.push(invalid(only, name));
        }
        ("timestamp", false, [only]) if text(only).is_some_and(|text| Moment::parse(text).is_none()) => {
            faults.push(invalid(only, name));
        }
        ("matches", _, [first, second]) => {
            // Of the two ways to call it, upstream looks at the first argument, which the receiver is not.
            let looked_at = if call.member { second } else { first };
            if text(looked_at).is_some_and(|text| check_pattern(text).is_err()) {
                faults.push(invalid(looked_at, name));
            }
        }
        ("format", true, [template, list]) => {
            if let (Some(template), Form::List(elements)) = (text(template), &list.form) {
                faults.extend(formatted(at, template, elements));
            }
        }
        _ => {}
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match &expr.form {
        Form::Literal(Literal::String(text)) => Some(text),
        _ => None,
    }
}

fn invalid(argument: &Expr, name: &str) -> Fault {
    Fault::new(argument.at, format!("invalid {name} argument"))
}

/// What is wrong with a template and its values.
fn formatted(at: usize, template: &str, elements: &[Element]) -> Option<Fault> {
    let mut used = 0;
    let mut rest = template;
    while let Some(percent) = rest.find('%') {
        rest = &rest[percent + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        let Some(element) = elements.get(used) else {
            return Some(Fault::new(at, format!("index {used} out of range")));
        };
        used += 1;
        if let Some(after) = rest.strip_prefix('.') {
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        let Some(clause) = rest.chars().next() else {
            return Some(Fault::new(at, "unexpected end of string"));
        };
        rest = &rest[clause.len_utf8()..];
        let Some(taken) = taken_by(clause) else {
            let why =
                format!("could not parse formatting clause: unrecognized formatting clause \"{clause}\"");
            return Some(Fault::new(at, why));
        };
        let (what, kinds) = taken;
        if let Some(kind) = literal_kind(&element.value)
            && !kinds.contains(&kind)
        {
            let why = format!("error during formatting: {what}, was given {kind}");
            return Some(Fault::new(element.value.at, why));
        }
    }
    let given = elements.len();
    (given > used).then(|| {
        let why = format!("too many arguments supplied to string.format (expected {used}, got {given})");
        Fault::new(at, why)
    })
}

/// What a clause says when it is given another type, and the types that it takes.
pub fn taken_by(clause: char) -> Option<(&'static str, &'static [&'static str])> {
    Some(match clause {
        's' => (
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and \
             timestamps",
            &[
                "null_type",
                "bool",
                "int",
                "uint",
                "double",
                "string",
                "bytes",
                "list",
                "map",
                "type",
                "duration",
                "timestamp",
            ],
        ),
        'd' => ("decimal clause can only be used on integers", &["int", "uint"]),
        'f' => (
            "fixed-point clause can only be used on doubles",
            &["double", "string"],
        ),
        'e' => (
            "scientific clause can only be used on doubles",
            &["double", "string"],
        ),
        'b' => (
            "only integers and bools can be formatted as binary",
            &["int", "uint", "bool"],
        ),
        'x' | 'X' => (
            "only integers, byte buffers, and strings can be formatted as hex",
            &["int", "uint", "string", "bytes"],
        ),
        'o' => ("octal clause can only be used on integers", &["int", "uint"]),
        _ => return None,
    })
}

/// The type of what is written out; of other values it is known later.
fn literal_kind(expr: &Expr) -> Option<&'static str> {
    Some(match &expr.form {
        Form::Literal(Literal::Null) => "null_type",
        Form::Literal(Literal::Bool(_)) => "bool",
        Form::Literal(Literal::Int(_)) => "int",
        Form::Literal(Literal::Uint(_)) => "uint",
        Form::Literal(Literal::Double(_)) => "double",
        Form::Literal(Literal::String(_)) => "string",
        Form::Literal(Literal::Bytes(_)) => "bytes",
        Form::List(_) => "list",
        Form::Map(_) => "map",
        _ => return None,
    })
}
