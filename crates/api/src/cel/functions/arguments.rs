//! Arguments of functions, by the types that their signatures promise.
use crate::cel::budget::Error;
use crate::cel::value::{List, Map, Value};

pub fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, Error> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Error::no_such_overload()),
    }
}

pub fn int(value: &Value<'_>) -> Result<i64, Error> {
    match value {
        Value::Int(value) => Ok(*value),
        _ => Err(Error::no_such_overload()),
    }
}

pub fn double(value: &Value<'_>) -> Result<f64, Error> {
    match value {
        Value::Double(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Uint(value) => Ok(*value as f64),
        _ => Err(Error::no_such_overload()),
    }
}

pub fn list<'v, 'a>(value: &'v Value<'a>) -> Result<&'v List<'a>, Error> {
    match value {
        Value::List(list) => Ok(list),
        _ => Err(Error::no_such_overload()),
    }
}

pub fn map<'v, 'a>(value: &'v Value<'a>) -> Result<&'v Map<'a>, Error> {
    match value {
        Value::Map(map) => Ok(map),
        _ => Err(Error::no_such_overload()),
    }
}

/// A text that becomes a value.
pub fn string<'a>(text: impl Into<String>) -> Result<Value<'a>, Error> {
    Ok(Value::string(text))
}

/// A position or count that becomes a value.
pub fn count<'a>(number: usize) -> Result<Value<'a>, Error> {
    Ok(Value::Int(number as i64))
}
