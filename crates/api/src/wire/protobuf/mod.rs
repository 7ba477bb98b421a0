//! Protobuf bodies: an envelope that names the kind, then the message the field tables describe
//! (contract api-server §2.1).
//!
//! One table drives both directions; there is no generated code.

mod decode;
mod encode;
mod reader;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::error::DecodeError;
use super::schema::Schema;

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

/// Encodes an object of a built-in kind, which it must carry.
pub fn encode(object: &Value) -> Result<Vec<u8>, DecodeError> {
    let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let schema = Schema::builtin();
    let id = schema.kind(api_version, kind).ok_or(DecodeError::NoProtobuf)?;
    let Value::Object(fields) = object else {
        return Err(DecodeError::NoProtobuf);
    };
    let raw = encode::message(schema.message(id), fields).map_err(|cause| DecodeError::Protobuf {
        message: kind.to_owned(),
        cause,
    })?;
    Ok(encode::envelope(api_version, kind, &raw))
}
