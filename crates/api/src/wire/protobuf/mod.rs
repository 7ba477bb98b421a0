//! Protobuf bodies: an envelope that names the kind, then the message the field tables describe
//! (contract api-server §2.1).
//!
//! One table drives both directions; there is no generated code.

mod decode;
mod encode;
mod reader;
mod stream;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::error::DecodeError;
use super::schema::{MessageId, Schema};
pub use stream::{ListFrame, event_frame};

/// What every body begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Decodes a body of a built-in kind. The object carries `apiVersion` and `kind` and still wants
/// [`normalize`](super::normalize): encoders write empty values that JSON leaves out.
pub fn decode(body: &[u8]) -> Result<Value, DecodeError> {
    let envelope = decode::envelope(body)?;
    let schema = Schema::builtin();
    let id = schema
        .kind(&envelope.api_version, &envelope.kind)
        .ok_or(DecodeError::NoProtobuf)?;
    let mut object =
        decode::message(schema.message(id), envelope.raw).map_err(|cause| DecodeError::Protobuf {
            message: envelope.kind.clone(),
            cause: cause.to_string(),
        })?;
    object.insert("apiVersion".to_owned(), Value::from(envelope.api_version));
    object.insert("kind".to_owned(), Value::from(envelope.kind));
    Ok(Value::Object(object))
}

/// Encodes an object of a built-in kind, or a list of such, which must carry its kind.
pub fn encode(object: &Value) -> Result<Vec<u8>, DecodeError> {
    let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let raw = message(api_version, kind, object)?;
    Ok(envelope(api_version, kind, &raw))
}

/// Encodes an object of that kind without an envelope: an item of a list, or part of a stream.
pub fn message(api_version: &str, kind: &str, object: &Value) -> Result<Vec<u8>, DecodeError> {
    let fields = object.as_object().ok_or(DecodeError::NoProtobuf)?;
    let schema = Schema::builtin();
    let mut out = Vec::with_capacity(512);
    let written = match schema.kind(api_version, kind) {
        Some(id) => encode::message(&mut out, schema.message(id), fields),
        None => {
            let item = kind
                .strip_suffix("List")
                .and_then(|kind| schema.kind(api_version, kind));
            list(&mut out, item.ok_or(DecodeError::NoProtobuf)?, fields)
        }
    };
    written.map_err(|cause| DecodeError::Protobuf {
        message: kind.to_owned(),
        cause,
    })?;
    Ok(out)
}

/// A list: its metadata, then its items.
fn list(out: &mut Vec<u8>, item: MessageId, fields: &Map<String, Value>) -> Result<(), String> {
    let schema = Schema::builtin();
    if let Some(Value::Object(metadata)) = fields.get("metadata") {
        list_meta(out, metadata)?;
    }
    for object in fields
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let object = object.as_object().ok_or("items: not an object")?;
        let mut bytes = Vec::new();
        encode::message(&mut bytes, schema.message(item), object)?;
        encode::delimited(out, 2, &bytes);
    }
    Ok(())
}

/// The metadata of a list, its first field.
fn list_meta(out: &mut Vec<u8>, metadata: &Map<String, Value>) -> Result<(), String> {
    let table = Schema::builtin().named("meta.k8s.io/v1", "ListMeta");
    let mut bytes = Vec::new();
    encode::message(&mut bytes, table.ok_or("ListMeta: not in the tables")?, metadata)?;
    encode::delimited(out, 1, &bytes);
    Ok(())
}

/// Puts a message of that kind into an envelope.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = encode::envelope_begin(api_version, kind, message.len());
    out.reserve_exact(message.len() + encode::ENVELOPE_END.len());
    out.extend_from_slice(message);
    out.extend_from_slice(encode::ENVELOPE_END);
    out
}
