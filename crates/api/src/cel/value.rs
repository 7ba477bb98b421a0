//! Values: JSON trees are looked at where they are, and take their types from a schema if there is one.
mod key;
mod list;
mod map;

pub use key::Key;
pub use list::List;
pub use map::Map;

use super::budget::Error;
use super::moment::Moment;
use super::opaque::Opaque;
use super::types::Type;
use crate::structural::{Kind, ListType, Node};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known about the JSON that a value shows.
pub type Shape<'a> = Option<&'a Node>;

#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Moment),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its name.
    Type(String),
    Opaque(Opaque),
}

static ATOMIC: ListType = ListType::Atomic;

impl<'a> Value<'a> {
    /// Shows a JSON tree.
    pub fn of(json: &'a Json, shape: Shape<'a>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), shape.map(|node| node.kind)) {
                (Some(value), Some(Kind::Number)) => Self::Double(value as f64),
                (Some(value), _) => Self::Int(value),
                (None, _) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => {
                let format = shape
                    .filter(|node| node.kind == Kind::String)
                    .map(|node| node.limits.format.as_str());
                formatted(text, format.unwrap_or_default()).unwrap_or(Self::String(Cow::Borrowed(text)))
            }
            Json::Array(items) => Self::List(List::Json(
                items,
                shape.and_then(|node| node.items.as_deref()),
                shape.map_or(&ATOMIC, |node| &node.list_type),
            )),
            Json::Object(map) => Self::Map(Map::Json(map, shape)),
        }
    }

    pub fn string(text: impl Into<String>) -> Self {
        Self::String(Cow::Owned(text.into()))
    }

    pub fn list(items: Vec<Self>) -> Self {
        Self::List(List::Made(Arc::new(items)))
    }

    pub fn map(entries: BTreeMap<Key, Self>) -> Self {
        Self::Map(Map::Made(Arc::new(entries)))
    }

    pub const fn none() -> Self {
        Self::Optional(None)
    }

    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// The name of the value's type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Opaque(opaque) => opaque.type_name(),
        }
    }

    /// The type's name in upstream's program, which some of its messages show.
    pub fn go_name(&self) -> &'static str {
        match self {
            Self::Null => "types.Null",
            Self::Bool(_) => "types.Bool",
            Self::Int(_) => "types.Int",
            Self::Uint(_) => "types.Uint",
            Self::Double(_) => "types.Double",
            Self::String(_) => "types.String",
            Self::Bytes(_) => "types.Bytes",
            Self::Duration(_) => "types.Duration",
            Self::Timestamp(_) => "types.Timestamp",
            Self::Optional(_) => "*types.Optional",
            Self::Type(_) => "*types.Type",
            Self::List(_) | Self::Map(_) | Self::Opaque(_) => "ref.Val",
        }
    }

    /// Whether this can be an argument of that type; contents are not looked at.
    pub fn is(&self, ty: &Type) -> bool {
        match (ty, self) {
            (Type::Dyn | Type::Param(_), _) => true,
            (Type::Null, Self::Null)
            | (Type::Bool, Self::Bool(_))
            | (Type::Int, Self::Int(_))
            | (Type::Uint, Self::Uint(_))
            | (Type::Double, Self::Double(_))
            | (Type::String, Self::String(_))
            | (Type::Bytes, Self::Bytes(_))
            | (Type::Duration, Self::Duration(_))
            | (Type::Timestamp, Self::Timestamp(_))
            | (Type::List(_), Self::List(_))
            | (Type::Map(..) | Type::Object(_), Self::Map(_))
            | (Type::Optional(_), Self::Optional(_))
            | (Type::Type(_), Self::Type(_)) => true,
            (Type::Opaque(name), Self::Opaque(opaque)) => *name == opaque.type_name(),
            _ => false,
        }
    }

    /// The value is what it is by default: zero, empty, null, false.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Null | Self::Optional(None) => true,
            Self::Bool(value) => !value,
            Self::Int(value) | Self::Duration(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::List(list) => list.len() == 0,
            Self::Map(map) => map.len() == 0,
            _ => false,
        }
    }

    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => a.equals(b),
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => a.equals(b),
                _ => false,
            },
            (Self::List(a), Self::List(b)) => a.equals(b),
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.each()
                        .all(|(key, value)| b.get(&key).is_some_and(|other| other.equals(&value)))
            }
            _ => self.compare_numbers(other) == Some(Ordering::Equal),
        }
    }

    /// Numbers compare across their types.
    fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        let wide = |value: &Self| match value {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            _ => None,
        };
        if let (Some(a), Some(b)) = (wide(self), wide(other)) {
            return Some(a.cmp(&b));
        }
        let double = |value: &Self| match value {
            Self::Double(value) => Some(*value),
            _ => wide(value).map(|value| value as f64),
        };
        double(self)?.partial_cmp(&double(other)?)
    }

    /// The order of two values; `None` if they have none.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            _ => self.compare_numbers(other),
        }
    }

    /// Brings items in the order of their keys.
    ///
    /// # Errors
    /// The keys are not of one type.
    pub fn sort<T>(items: &mut [T], key: fn(&T) -> &Self) -> Result<(), Error> {
        let is_mixed = |pair: &[T]| key(&pair[0]).compare(key(&pair[1])).is_none();
        if items.windows(2).any(is_mixed) {
            return Err(Error::failed("list elements must have the same type"));
        }
        items.sort_by(|a, b| key(a).compare(key(b)).unwrap_or(Ordering::Equal));
        Ok(())
    }

    /// As JSON, for what policies write into objects.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn to_json(&self) -> Result<Json, Error> {
        Ok(match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Double(value) => Json::from(*value),
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
            Self::Duration(nanos) => Json::String(super::time::duration_text(*nanos)),
            Self::Timestamp(time) => Json::String(time.to_string()),
            Self::List(list) => {
                Json::Array(list.iter().map(|item| item.to_json()).collect::<Result<_, _>>()?)
            }
            Self::Map(map) => {
                let mut json = serde_json::Map::new();
                for (key, value) in map.each() {
                    let Key::String(key) = key else {
                        return Err(Error::failed("only text can be the key of an object's field"));
                    };
                    json.insert(key, value.to_json()?);
                }
                Json::Object(json)
            }
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Type(name) => Json::String(name.clone()),
            Self::Opaque(opaque) => Json::String(opaque.to_string()),
        })
    }
}

/// Text that a schema says is something else.
fn formatted<'a>(text: &str, format: &str) -> Option<Value<'a>> {
    match format {
        "byte" => STANDARD
            .decode(text)
            .ok()
            .map(|bytes| Value::Bytes(Cow::Owned(bytes))),
        "date-time" | "datetime" => Moment::parse_loosely(text).map(Value::Timestamp),
        "date" => Moment::of_date(text).map(Value::Timestamp),
        "duration" => super::time::parse_duration(text).map(Value::Duration),
        _ => None,
    }
}
