//! From JSON values to bytes: fields in the order of their numbers, maps in the order of their keys, all into one buffer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::json;
use super::super::schema::{Field, Message, MessageId, Other, Schema, Shape, Type};
use super::MAGIC;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;

/// What follows the message in an envelope: no content encoding and no content type.
pub(super) const ENVELOPE_END: &[u8] = &[0x1a, 0, 0x22, 0];

/// Everything of an envelope that comes before a message of that many bytes.
pub(super) fn envelope_begin(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAGIC.len() + api_version.len() + kind.len() + 20);
    out.extend_from_slice(MAGIC);
    let meta =
        api_version.len() + kind.len() + 2 + varint_bytes(api_version.len()) + varint_bytes(kind.len());
    tag(&mut out, 1, DELIMITED);
    varint(&mut out, meta as u64);
    delimited(&mut out, 1, api_version.as_bytes());
    delimited(&mut out, 2, kind.as_bytes());
    tag(&mut out, 2, DELIMITED);
    varint(&mut out, length as u64);
    out
}

/// Appends one message.
pub(super) fn message(out: &mut Vec<u8>, table: &Message, object: &Map<String, Value>) -> Result<(), String> {
    for field in table.numbered_fields() {
        if let (true, Type::Message(id)) = (field.inline, field.ty) {
            let inner = Schema::builtin().message(id);
            nested(out, field.number, |out| message(out, inner, object))?;
            continue;
        }
        match (field.shape, object.get(field.name)) {
            (_, None) => {}
            (Shape::One, Some(Value::Null)) => {
                if field.always && matches!(field.ty, Type::Time | Type::MicroTime | Type::Raw) {
                    delimited(out, field.number, b"");
                }
            }
            (Shape::List | Shape::Map, Some(Value::Null)) => {}
            (Shape::One, Some(value)) => single(out, field.number, field, value)?,
            (Shape::List, Some(Value::Array(items))) => {
                for item in items {
                    single(out, field.number, field, item)?;
                }
            }
            (Shape::Map, Some(Value::Object(entries))) => {
                for (key, value) in entries {
                    nested(out, field.number, |out| {
                        delimited(out, 1, key.as_bytes());
                        single(out, 2, field, value)
                    })?;
                }
            }
            (Shape::List | Shape::Map, Some(_)) => return Err(format!("{}: not a list or map", field.name)),
        }
    }
    Ok(())
}

fn single(out: &mut Vec<u8>, number: u32, field: &Field, value: &Value) -> Result<(), String> {
    let wrong = || format!("{}: the value doesn't fit its type", field.name);
    match (field.ty, value) {
        (Type::String, Value::String(s)) => delimited(out, number, s.as_bytes()),
        (Type::Bytes, Value::String(s)) => {
            let bytes = STANDARD.decode(s).map_err(|e| format!("{}: {e}", field.name))?;
            delimited(out, number, &bytes);
        }
        (Type::Int32 | Type::Int64, Value::Number(n)) => integer(out, number, n.as_i64().ok_or_else(wrong)?),
        (Type::Double, Value::Number(n)) => {
            tag(out, number, FIXED64);
            out.extend_from_slice(&n.as_f64().ok_or_else(wrong)?.to_le_bytes());
        }
        (Type::Bool, Value::Bool(b)) => integer(out, number, i64::from(*b)),
        (Type::Time | Type::MicroTime, Value::String(s)) => {
            let at: Timestamp = s.parse().map_err(|e| format!("{}: {e}", field.name))?;
            nested(out, number, |out| {
                integer(out, 1, at.as_second());
                integer(out, 2, at.subsec_nanosecond().into());
                Ok(())
            })?;
        }
        (Type::Quantity, Value::String(s)) => nested(out, number, |out| {
            delimited(out, 1, s.as_bytes());
            Ok(())
        })?,
        (Type::IntOrString, Value::Number(n)) => {
            let n = n.as_i64().ok_or_else(wrong)?;
            nested(out, number, |out| {
                integer(out, 1, 0);
                integer(out, 2, n);
                delimited(out, 3, b"");
                Ok(())
            })?;
        }
        (Type::IntOrString, Value::String(s)) => nested(out, number, |out| {
            integer(out, 1, 1);
            integer(out, 2, 0);
            delimited(out, 3, s.as_bytes());
            Ok(())
        })?,
        // The zero time among the values of a map, and null among embedded ones.
        (Type::Time | Type::MicroTime | Type::Raw, Value::Null) => delimited(out, number, b""),
        (Type::Raw, raw) => nested(out, number, |out| {
            delimited(out, 1, &json::encode_raw(raw));
            Ok(())
        })?,
        (Type::Strings, Value::Null) => nested(out, number, |_| Ok(()))?,
        (Type::Strings, Value::Array(items)) => nested(out, number, |out| strings(out, 1, items, &wrong))?,
        (Type::Message(id), Value::Object(object)) => nested(out, number, |out| {
            message(out, Schema::builtin().message(id), object)
        })?,
        (Type::Either(id, other), value) => nested(out, number, |out| either(out, id, other, value, &wrong))?,
        _ => return Err(wrong()),
    }
    Ok(())
}

/// A message, or what stands in its place.
fn either(
    out: &mut Vec<u8>,
    id: MessageId,
    other: Other,
    value: &Value,
    wrong: &dyn Fn() -> String,
) -> Result<(), String> {
    let table = Schema::builtin().message(id);
    match (other, value) {
        (Other::Bool, Value::Bool(allows)) => integer(out, 1, i64::from(*allows)),
        (Other::Bool, Value::Object(object)) => {
            // A schema allows what it describes.
            integer(out, 1, 1);
            nested(out, 2, |out| message(out, table, object))?;
        }
        (_, Value::Object(object)) => nested(out, 1, |out| message(out, table, object))?,
        (Other::List, Value::Array(items)) => {
            for item in items {
                let object = item.as_object().ok_or_else(wrong)?;
                nested(out, 2, |out| message(out, table, object))?;
            }
        }
        (Other::Strings, Value::Array(items)) => strings(out, 2, items, wrong)?,
        _ => return Err(wrong()),
    }
    Ok(())
}

fn strings(
    out: &mut Vec<u8>,
    number: u32,
    items: &[Value],
    wrong: &dyn Fn() -> String,
) -> Result<(), String> {
    for item in items {
        delimited(out, number, item.as_str().ok_or_else(wrong)?.as_bytes());
    }
    Ok(())
}

/// A field whose bytes `write` appends. Its length is known only then: one byte is left for it, which does for most,
/// and what has been written moves if it takes more.
fn nested(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    tag(out, number, DELIMITED);
    let at = out.len();
    out.push(0);
    write(out)?;
    let length = out.len() - at - 1;
    let more = varint_bytes(length) - 1;
    if more > 0 {
        let end = out.len();
        out.resize(end + more, 0);
        out.copy_within(at + 1..end, at + 1 + more);
    }
    let mut rest = length;
    for byte in out.iter_mut().skip(at).take(more) {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    if let Some(last) = out.get_mut(at + more) {
        *last = rest as u8;
    }
    Ok(())
}

pub(super) fn integer(out: &mut Vec<u8>, number: u32, value: i64) {
    tag(out, number, VARINT);
    varint(out, value as u64);
}

pub(super) fn delimited(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    tag(out, number, DELIMITED);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn tag(out: &mut Vec<u8>, number: u32, wire: u64) {
    varint(out, u64::from(number) << 3 | wire);
}

pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a number as a varint.
pub(super) fn varint_bytes(value: usize) -> usize {
    (value.max(1).ilog2() / 7 + 1) as usize
}
