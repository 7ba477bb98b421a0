//! Single values: what each scalar type accepts and its one canonical form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde_json::Value;

use crate::quantity;

/// Why a scalar was refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// The JSON type is wrong; says what was found, as upstream calls it.
    Type(String),
    /// The type fits, the value doesn't.
    Value(String),
}

/// What messages call the JSON type of a value.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn mismatch(value: &Value) -> Refused {
    Refused::Type(json_kind(value).to_owned())
}

pub(super) fn string(value: Value) -> Result<Value, Refused> {
    if value.is_string() {
        Ok(value)
    } else {
        Err(mismatch(&value))
    }
}

pub(super) fn boolean(value: Value) -> Result<Value, Refused> {
    if value.is_boolean() {
        Ok(value)
    } else {
        Err(mismatch(&value))
    }
}

pub(super) fn integer(value: Value, min: i64, max: i64) -> Result<Value, Refused> {
    match &value {
        Value::Number(n) => match n.as_i64() {
            Some(i) if (min..=max).contains(&i) => Ok(value),
            _ => Err(Refused::Type(format!("number {n}"))),
        },
        other => Err(mismatch(other)),
    }
}

pub(super) fn double(value: Value) -> Result<Value, Refused> {
    match value.as_f64() {
        Some(number) if value.is_number() => Ok(float(number)),
        _ => Err(mismatch(&value)),
    }
}

/// The widest range in which every whole number is a float of its own.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A float as JSON has it: whole numbers without a fraction.
pub(super) fn float(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        return Value::from(number as i64);
    }
    Value::from(number)
}

pub(super) fn bytes(value: Value) -> Result<Value, Refused> {
    let Value::String(text) = value else {
        return Err(mismatch(&value));
    };
    // Upstream's decoder skips line breaks, which is how wrapped base64 gets through.
    let joined: String;
    let text = if text.contains(['\n', '\r']) {
        joined = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
        joined
    } else {
        text
    };
    match STANDARD.decode(&text) {
        Ok(_) => Ok(Value::String(text)),
        Err(e) => {
            let at = match e {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len(),
            };
            Err(Refused::Value(format!("illegal base64 data at input byte {at}")))
        }
    }
}

const SECONDS_LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Null stands for the zero time.
pub(super) fn time(value: Value) -> Result<Value, Refused> {
    let Value::String(text) = value else {
        return Err(mismatch(&value));
    };
    let at = parse(&text, SECONDS_LAYOUT)?;
    Ok(seconds(at.as_second()))
}

/// The text of a time, or null for the zero time.
pub(super) fn seconds(second: i64) -> Value {
    match Timestamp::from_second(second) {
        Ok(at) if !is_zero(at) => Value::String(at.to_string()),
        _ => Value::Null,
    }
}

/// Exactly six decimals are demanded, as upstream's layout does.
pub(super) fn micro_time(value: Value) -> Result<Value, Refused> {
    let Value::String(text) = value else {
        return Err(mismatch(&value));
    };
    if let Some(rest) = text.get(19..) {
        let decimals = rest
            .strip_prefix('.')
            .map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
        if decimals != 6 {
            return Err(Refused::Value(format!(
                "parsing time \"{text}\" as \"{MICRO_LAYOUT}\": cannot parse \"{rest}\" as \".000000\""
            )));
        }
    }
    let at = parse(&text, MICRO_LAYOUT)?;
    Ok(micros(at))
}

/// The text of a time with six decimals, or null for the zero time.
pub(super) fn micros(at: Timestamp) -> Value {
    if is_zero(at) {
        return Value::Null;
    }
    let mut text = String::new();
    let printer = DateTimePrinter::new().precision(Some(6));
    match printer.print_timestamp(&at, &mut text) {
        Ok(()) => Value::String(text),
        Err(_) => Value::Null,
    }
}

/// Year 1 begins.
const ZERO_SECOND: i64 = -62_135_596_800;

fn is_zero(at: Timestamp) -> bool {
    at.as_second() == ZERO_SECOND && at.subsec_nanosecond() == 0
}

fn parse(text: &str, layout: &str) -> Result<Timestamp, Refused> {
    // Jiff reads more forms than RFC 3339 has; the shape is checked first.
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20
        && bytes.get(10) == Some(&b'T')
        && bytes
            .iter()
            .zip(b"0000-00-00T00:00:00")
            .all(|(b, pattern)| match pattern {
                b'0' => b.is_ascii_digit(),
                other => b == other,
            });
    shaped.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        Refused::Value(format!(
            "parsing time \"{text}\" as \"{layout}\": cannot parse \"{text}\" as \"2006\""
        ))
    })
}

pub(super) fn quantity(value: Value) -> Result<Value, Refused> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        other => return Err(mismatch(&other)),
    };
    match quantity::canonical(text.trim()) {
        Ok(canonical) => Ok(Value::String(canonical)),
        Err(e) => Err(Refused::Value(e.to_string())),
    }
}

pub(super) fn int_or_string(value: Value) -> Result<Value, Refused> {
    match value {
        Value::String(_) => Ok(value),
        Value::Number(_) => integer(value, i32::MIN.into(), i32::MAX.into()),
        other => Err(mismatch(&other)),
    }
}
