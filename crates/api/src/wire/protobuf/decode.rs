//! From bytes to JSON values, driven by the field tables. Unknown fields are skipped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::error::DecodeError;
use super::super::scalar;
use super::super::schema::{Field, Message, MessageId, Other, Schema, Shape, Type};
use super::MAGIC;
use super::reader::{Broken, Reader, Wire};

pub(super) struct Envelope<'a> {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) raw: &'a [u8],
}

pub(super) fn envelope(body: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let broken = |cause: Broken| DecodeError::Protobuf {
        message: "Unknown".to_owned(),
        cause: cause.to_string(),
    };
    let body = body.strip_prefix(MAGIC).ok_or_else(|| DecodeError::Protobuf {
        message: "Unknown".to_owned(),
        cause: "it doesn't begin with the four bytes k8s\\0".to_owned(),
    })?;
    let mut envelope = Envelope {
        api_version: String::new(),
        kind: String::new(),
        raw: &[],
    };
    let mut reader = Reader::new(body);
    while let Some((number, wire)) = reader.next().map_err(broken)? {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => {
                let mut reader = Reader::new(meta);
                while let Some((number, wire)) = reader.next().map_err(broken)? {
                    match (number, wire) {
                        (1, Wire::Bytes(b)) => {
                            envelope.api_version = text(b, "apiVersion").map_err(broken)?
                        }
                        (2, Wire::Bytes(b)) => envelope.kind = text(b, "kind").map_err(broken)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => envelope.raw = raw,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Messages inside each other; schemas of custom resources may nest without end.
const DEPTH_MAX: usize = 128;

/// Decodes one message.
pub(super) fn message(table: &Message, bytes: &[u8]) -> Result<Map<String, Value>, Broken> {
    nested(table, bytes, 0)
}

fn nested(table: &Message, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Broken> {
    let mut object = Map::new();
    message_into(table, bytes, &mut object, depth)?;
    Ok(object)
}

fn message_into(
    table: &Message,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Broken> {
    if depth > DEPTH_MAX {
        return Err(Broken::Deep);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Some(field) = table.numbered(number) else {
            continue;
        };
        match (field.shape, field.ty, wire) {
            (Shape::One, Type::Message(id), Wire::Bytes(inner)) => {
                let inner_table = Schema::builtin().message(id);
                if field.inline {
                    message_into(inner_table, inner, object, depth + 1)?;
                    continue;
                }
                // Said twice, a message is merged.
                let slot = object
                    .entry(field.name)
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(slot) = slot {
                    message_into(inner_table, inner, slot, depth + 1)?;
                }
            }
            (Shape::One, _, wire) => {
                if let Some(value) = single(field, wire, depth)? {
                    object.insert(field.name.to_owned(), value);
                }
            }
            (Shape::List, Type::Int32 | Type::Int64, Wire::Bytes(packed)) => {
                let mut reader = Reader::new(packed);
                while !reader.is_empty() {
                    let value = integer(field.ty, reader.varint()?);
                    push(object, field, value);
                }
            }
            (Shape::List, _, wire) => {
                if let Some(value) = single(field, wire, depth)? {
                    push(object, field, value);
                }
            }
            (Shape::Map, _, Wire::Bytes(entry)) => {
                let (key, value) = map_entry(field, entry, depth)?;
                let slot = object
                    .entry(field.name)
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(slot) = slot {
                    slot.insert(key, value);
                }
            }
            (Shape::Map, ..) => {}
        }
    }
    Ok(())
}

fn push(object: &mut Map<String, Value>, field: &Field, value: Value) {
    if let Value::Array(list) = object
        .entry(field.name)
        .or_insert_with(|| Value::Array(Vec::new()))
    {
        list.push(value);
    }
}

fn map_entry(field: &Field, entry: &[u8], depth: usize) -> Result<(String, Value), Broken> {
    let mut key = String::new();
    // An entry without a value has the type's zero.
    let mut value = single(field, Wire::Bytes(&[]), depth)?
        .or(single(field, Wire::Varint(0), depth)?)
        .unwrap_or(Value::Null);
    let mut reader = Reader::new(entry);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => key = text(bytes, field.name)?,
            (2, wire) => {
                if let Some(decoded) = single(field, wire, depth)? {
                    value = decoded;
                }
            }
            _ => {}
        }
    }
    Ok((key, value))
}

/// One value of the field's type; `None` if the wire carries another sort, which is skipped like an unknown field.
fn single(field: &Field, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, Broken> {
    let bad = |cause: String| Broken::Value {
        field: field.name,
        cause,
    };
    Ok(Some(match (field.ty, wire) {
        (Type::String, Wire::Bytes(bytes)) => Value::String(text(bytes, field.name)?),
        (Type::Bytes, Wire::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Type::Int32 | Type::Int64, Wire::Varint(n)) => integer(field.ty, n),
        (Type::Bool, Wire::Varint(n)) => Value::Bool(n != 0),
        (Type::Double, Wire::Fixed64(bits)) => scalar::float(f64::from_bits(bits)),
        (Type::Time, Wire::Bytes(bytes)) => match timestamp(bytes)? {
            Some((seconds, _)) => scalar::seconds(seconds),
            None => Value::Null,
        },
        (Type::MicroTime, Wire::Bytes(bytes)) => match timestamp(bytes)? {
            // What is finer than a microsecond isn't kept.
            Some((seconds, nanos)) => {
                Timestamp::new(seconds, nanos / 1000 * 1000).map_or(Value::Null, scalar::micros)
            }
            None => Value::Null,
        },
        (Type::Quantity, Wire::Bytes(bytes)) => {
            let text = first_bytes(bytes)?.map_or(Ok(String::new()), |b| text(b, field.name))?;
            Value::String(if text.is_empty() { "0".to_owned() } else { text })
        }
        (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(field, bytes)?,
        (Type::Raw, Wire::Bytes(bytes)) => match first_bytes(bytes)?.filter(|raw| !raw.is_empty()) {
            Some(raw) => match serde_json::from_slice(raw) {
                Ok(value) => value,
                // A list of managers that cannot be read counts for nothing, but is no reason to refuse the object.
                Err(_) if field.name == "fieldsV1" => {
                    Value::String(String::from_utf8_lossy(raw).into_owned())
                }
                Err(error) => return Err(bad(format!("not JSON: {error}"))),
            },
            None => Value::Null,
        },
        (Type::Strings, Wire::Bytes(bytes)) => {
            let mut list = Vec::new();
            let mut reader = Reader::new(bytes);
            while let Some((number, wire)) = reader.next()? {
                if let (1, Wire::Bytes(item)) = (number, wire) {
                    list.push(Value::String(text(item, field.name)?));
                }
            }
            // Protobuf has no empty list that is not null.
            if list.is_empty() {
                Value::Null
            } else {
                Value::Array(list)
            }
        }
        (Type::Message(id), Wire::Bytes(bytes)) => {
            Value::Object(nested(Schema::builtin().message(id), bytes, depth + 1)?)
        }
        (Type::Either(id, other), Wire::Bytes(bytes)) => either(field, id, other, bytes, depth + 1)?,
        _ => return Ok(None),
    }))
}

fn integer(ty: Type, n: u64) -> Value {
    match ty {
        Type::Int32 => Value::from(n as i32),
        _ => Value::from(n as i64),
    }
}

fn text(bytes: &[u8], field: &'static str) -> Result<String, Broken> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| Broken::Text(field))
}

/// A message, or what stands in its place.
fn either(field: &Field, id: MessageId, other: Other, bytes: &[u8], depth: usize) -> Result<Value, Broken> {
    let table = Schema::builtin().message(id);
    let (mut object, mut list, mut allows) = (None, Vec::new(), false);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (other, number, wire) {
            (Other::Bool, 1, Wire::Varint(n)) => allows = n != 0,
            (Other::Bool, 2, Wire::Bytes(inner)) | (Other::List | Other::Strings, 1, Wire::Bytes(inner)) => {
                message_into(table, inner, object.get_or_insert_default(), depth)?;
            }
            (Other::List, 2, Wire::Bytes(inner)) => list.push(Value::Object(nested(table, inner, depth)?)),
            (Other::Strings, 2, Wire::Bytes(inner)) => list.push(Value::String(text(inner, field.name)?)),
            _ => {}
        }
    }
    Ok(match (object, other) {
        (Some(object), _) => Value::Object(object),
        (None, Other::Bool) => Value::Bool(allows),
        (None, _) if list.is_empty() => Value::Null,
        (None, _) => Value::Array(list),
    })
}

/// Field 1 of a message that has only that.
fn first_bytes(bytes: &[u8]) -> Result<Option<&[u8]>, Broken> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        if let (1, Wire::Bytes(inner)) = (number, wire) {
            found = Some(inner);
        }
    }
    Ok(found)
}

/// Seconds and nanoseconds; nothing at all is no time.
fn timestamp(bytes: &[u8]) -> Result<Option<(i64, i32)>, Broken> {
    let (mut seconds, mut nanos, mut any) = (0i64, 0i32, false);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Varint(n)) => (seconds, any) = (n as i64, true),
            (2, Wire::Varint(n)) => (nanos, any) = (n as i32, true),
            _ => {}
        }
    }
    Ok(any.then_some((seconds, nanos)))
}

fn int_or_string(field: &Field, bytes: &[u8]) -> Result<Value, Broken> {
    let (mut is_text, mut number, mut string) = (false, 0i32, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((at, wire)) = reader.next()? {
        match (at, wire) {
            (1, Wire::Varint(n)) => is_text = n == 1,
            (2, Wire::Varint(n)) => number = n as i32,
            (3, Wire::Bytes(bytes)) => string = text(bytes, field.name)?,
            _ => {}
        }
    }
    Ok(if is_text {
        Value::String(string)
    } else {
        Value::from(number)
    })
}
