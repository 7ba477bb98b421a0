//! `size`, conversions, `type`, `dyn`.
use super::arguments::{count, double, list, map, string, text};
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::moment::Moment;
use crate::cel::number;
use crate::cel::time::{duration_text, parse_exact_duration};
use crate::cel::value::Value;
use std::borrow::Cow;

pub const TABLE: Table = &[
    ("size(string) int", characters),
    ("size(bytes) int", |_, a| size_of_bytes(&a[0])),
    ("size(list<A>) int", |_, a| count(list(&a[0])?.len())),
    ("size(map<A, B>) int", |_, a| count(map(&a[0])?.len())),
    ("string::size() int", characters),
    ("bytes::size() int", |_, a| size_of_bytes(&a[0])),
    ("list<A>::size() int", |_, a| count(list(&a[0])?.len())),
    ("map<A, B>::size() int", |_, a| count(map(&a[0])?.len())),
    ("dyn(A) dyn", |_, a| Ok(a[0].clone())),
    ("type(A) type<A>", |_, a| {
        Ok(Value::Type(a[0].type_name().to_owned()))
    }),
    ("bool(bool) bool", |_, a| Ok(a[0].clone())),
    ("bool(string) bool", |_, a| match text(&a[0])? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
        _ => Err(conversion("string", "bool")),
    }),
    ("int(int) int", |_, a| to_int(&a[0])),
    ("int(uint) int", |_, a| to_int(&a[0])),
    ("int(double) int", |_, a| to_int(&a[0])),
    ("int(string) int", |_, a| to_int(&a[0])),
    ("int(timestamp) int", |_, a| to_int(&a[0])),
    ("int(duration) int", |_, a| to_int(&a[0])),
    ("uint(uint) uint", |_, a| to_uint(&a[0])),
    ("uint(int) uint", |_, a| to_uint(&a[0])),
    ("uint(double) uint", |_, a| to_uint(&a[0])),
    ("uint(string) uint", |_, a| to_uint(&a[0])),
    ("double(double) double", |_, a| Ok(Value::Double(double(&a[0])?))),
    ("double(int) double", |_, a| Ok(Value::Double(double(&a[0])?))),
    ("double(uint) double", |_, a| Ok(Value::Double(double(&a[0])?))),
    ("double(string) double", |_, a| {
        text(&a[0])?
            .parse()
            .map(Value::Double)
            .map_err(|_| conversion("string", "double"))
    }),
    ("string(string) string", |_, a| Ok(a[0].clone())),
    ("string(bool) string", |_, a| plain(&a[0])),
    ("string(int) string", |_, a| plain(&a[0])),
    ("string(uint) string", |_, a| plain(&a[0])),
    ("string(double) string", |_, a| plain(&a[0])),
    ("string(bytes) string", |_, a| plain(&a[0])),
    ("string(timestamp) string", |_, a| plain(&a[0])),
    ("string(duration) string", |_, a| plain(&a[0])),
    ("string(net.IP) string", |_, a| plain(&a[0])),
    ("string(net.CIDR) string", |_, a| plain(&a[0])),
    ("bytes(bytes) bytes", |_, a| Ok(a[0].clone())),
    ("bytes(string) bytes", |_, a| {
        Ok(Value::Bytes(Cow::Owned(text(&a[0])?.as_bytes().to_vec())))
    }),
    ("timestamp(timestamp) timestamp", |_, a| Ok(a[0].clone())),
    ("timestamp(int) timestamp", |_, a| match &a[0] {
        Value::Int(seconds) => Moment::of_seconds(*seconds)
            .map(Value::Timestamp)
            .ok_or_else(|| Error::failed("timestamp out of range")),
        _ => Err(Error::no_such_overload()),
    }),
    ("timestamp(string) timestamp", |_, a| {
        let text = text(&a[0])?;
        let time = Moment::parse(text).map(Value::Timestamp);
        time.ok_or_else(|| Error::failed(format!("invalid RFC 3339 timestamp {text:?}")))
    }),
    ("duration(duration) duration", |_, a| Ok(a[0].clone())),
    ("duration(string) duration", |_, a| {
        parse_exact_duration(text(&a[0])?)
            .map(Value::Duration)
            .ok_or_else(|| conversion("string", "duration"))
    }),
];

fn characters<'a>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    let text = text(&a[0])?;
    context.budget.copy(text.len())?;
    count(text.chars().count())
}

fn size_of_bytes<'a>(value: &Value<'a>) -> Result<Value<'a>, Error> {
    match value {
        Value::Bytes(bytes) => count(bytes.len()),
        _ => Err(Error::no_such_overload()),
    }
}

fn conversion(from: &str, to: &str) -> Error {
    Error::failed(format!("type conversion error from '{from}' to '{to}'"))
}

fn to_int<'a>(value: &Value<'a>) -> Result<Value<'a>, Error> {
    let range = || Error::failed("integer overflow");
    Ok(Value::Int(match value {
        Value::Int(value) => *value,
        Value::Uint(value) => i64::try_from(*value).map_err(|_| range())?,
        Value::Double(value) if value.is_finite() && value.abs() < 9.223_372_036_854_775e18 => {
            value.trunc() as i64
        }
        Value::Double(_) => return Err(range()),
        Value::String(text) => text.parse().map_err(|_| conversion("string", "int"))?,
        Value::Timestamp(time) => time.seconds(),
        Value::Duration(nanos) => *nanos,
        _ => return Err(Error::no_such_overload()),
    }))
}

fn to_uint<'a>(value: &Value<'a>) -> Result<Value<'a>, Error> {
    let range = || Error::failed("unsigned integer overflow");
    Ok(Value::Uint(match value {
        Value::Uint(value) => *value,
        Value::Int(value) => u64::try_from(*value).map_err(|_| range())?,
        Value::Double(value) if *value >= 0.0 && *value < 1.8e19 => value.trunc() as u64,
        Value::Double(_) => return Err(range()),
        Value::String(text) => text.parse().map_err(|_| conversion("string", "uint"))?,
        _ => return Err(Error::no_such_overload()),
    }))
}

/// A value as text: numbers as they are written, times as RFC 3339, durations in seconds.
fn plain<'a>(value: &Value<'a>) -> Result<Value<'a>, Error> {
    string(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => number::general(*value),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| Error::failed("invalid UTF-8 in bytes, cannot convert to string"))?,
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(nanos) => duration_text(*nanos),
        Value::Opaque(opaque) => opaque.to_string(),
        _ => return Err(Error::no_such_overload()),
    })
}
