//! From JSON values to bytes: fields in the order of their numbers, maps in the order of their keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::json;
use super::super::schema::{Field, Message, Schema, Shape, Type};
use super::MAGIC;

const VARINT: u64 = 0;
const DELIMITED: u64 = 2;

pub(super) fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = Vec::new();
    delimited(&mut meta, 1, api_version.as_bytes());
    delimited(&mut meta, 2, kind.as_bytes());
    let mut out = MAGIC.to_vec();
    delimited(&mut out, 1, &meta);
    delimited(&mut out, 2, raw);
    // Content encoding and type, always written.
    delimited(&mut out, 3, b"");
    delimited(&mut out, 4, b"");
    out
}

pub(super) fn message(table: &Message, object: &Map<String, Value>) -> Result<Vec<u8>, String> {
    let mut fields: Vec<&Field> = table.fields.iter().collect();
    fields.sort_by_key(|f| f.number);
    let mut out = Vec::new();
    for field in fields {
        if field.inline {
            if let Type::Message(id) = field.ty {
                let inner = Schema::builtin().message(id);
                delimited(&mut out, field.number, &message(inner, object)?);
            }
            continue;
        }
        match (field.shape, object.get(field.name)) {
            (_, None) => {}
            (Shape::One, Some(Value::Null)) => {
                if field.always && matches!(field.ty, Type::Time | Type::MicroTime | Type::Raw) {
                    delimited(&mut out, field.number, b"");
                }
            }
            (Shape::List | Shape::Map, Some(Value::Null)) => {}
            (Shape::One, Some(value)) => single(&mut out, field.number, field, value)?,
            (Shape::List, Some(Value::Array(items))) => {
                for item in items {
                    single(&mut out, field.number, field, item)?;
                }
            }
            (Shape::Map, Some(Value::Object(entries))) => {
                for (key, value) in entries {
                    let mut entry = Vec::new();
                    delimited(&mut entry, 1, key.as_bytes());
                    single(&mut entry, 2, field, value)?;
                    delimited(&mut out, field.number, &entry);
                }
            }
            (Shape::List | Shape::Map, Some(_)) => return Err(format!("{}: not a list or map", field.name)),
        }
    }
    Ok(out)
}

fn single(out: &mut Vec<u8>, number: u32, field: &Field, value: &Value) -> Result<(), String> {
    let wrong = || format!("{}: the value doesn't fit its type", field.name);
    match (field.ty, value) {
        (Type::String, Value::String(s)) => delimited(out, number, s.as_bytes()),
        (Type::Bytes, Value::String(s)) => {
            delimited(
                out,
                number,
                &STANDARD.decode(s).map_err(|e| format!("{}: {e}", field.name))?,
            );
        }
        (Type::Int32 | Type::Int64, Value::Number(n)) => integer(out, number, n.as_i64().ok_or_else(wrong)?),
        (Type::Bool, Value::Bool(b)) => integer(out, number, i64::from(*b)),
        (Type::Time | Type::MicroTime, Value::String(s)) => {
            let at: Timestamp = s.parse().map_err(|e| format!("{}: {e}", field.name))?;
            let mut inner = Vec::new();
            integer(&mut inner, 1, at.as_second());
            integer(&mut inner, 2, at.subsec_nanosecond().into());
            delimited(out, number, &inner);
        }
        (Type::Quantity, Value::String(s)) => {
            let mut inner = Vec::new();
            delimited(&mut inner, 1, s.as_bytes());
            delimited(out, number, &inner);
        }
        (Type::IntOrString, Value::Number(n)) => {
            let mut inner = Vec::new();
            integer(&mut inner, 1, 0);
            integer(&mut inner, 2, n.as_i64().ok_or_else(wrong)?);
            delimited(&mut inner, 3, b"");
            delimited(out, number, &inner);
        }
        (Type::IntOrString, Value::String(s)) => {
            let mut inner = Vec::new();
            integer(&mut inner, 1, 1);
            integer(&mut inner, 2, 0);
            delimited(&mut inner, 3, s.as_bytes());
            delimited(out, number, &inner);
        }
        // The zero time among the values of a map.
        (Type::Time | Type::MicroTime, Value::Null) => delimited(out, number, b""),
        (Type::Raw, raw) => {
            let mut inner = Vec::new();
            delimited(&mut inner, 1, &json::encode_raw(raw));
            delimited(out, number, &inner);
        }
        (Type::Strings, Value::Array(items)) => {
            let mut inner = Vec::new();
            for item in items {
                delimited(&mut inner, 1, item.as_str().ok_or_else(wrong)?.as_bytes());
            }
            delimited(out, number, &inner);
        }
        (Type::Message(id), Value::Object(object)) => {
            delimited(out, number, &message(Schema::builtin().message(id), object)?);
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

fn integer(out: &mut Vec<u8>, number: u32, value: i64) {
    varint(out, u64::from(number) << 3 | VARINT);
    varint(out, value as u64);
}

fn delimited(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, u64::from(number) << 3 | DELIMITED);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
