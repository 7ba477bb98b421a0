//! Messages by a description of their fields: from JSON to what goes over the wire, and back.
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::bytes::{Buf, BufMut};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use serde_json::Value;
use std::fmt::Write;

/// The fields of a message.
pub struct Message(pub &'static [Field]);

pub struct Field {
    pub number: u32,
    /// As the API's definition has it.
    pub name: &'static str,
    pub kind: Kind,
    pub is_repeated: bool,
}

#[derive(Clone, Copy)]
pub enum Kind {
    Bool,
    Int64,
    Uint64,
    Uint32,
    Bytes,
    Text,
    /// With its names.
    Enum(&'static [(&'static str, i32)]),
    Nested(&'static Message),
}

/// Why a text is no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("invalid value for {kind} field {field}: {value}")]
    Value {
        kind: &'static str,
        field: &'static str,
        value: String,
    },
    #[error("a message is no object: {0}")]
    NoObject(String),
    #[error("the message cannot be read: {0}")]
    Wire(String),
}

/// Messages within messages; deeper ones are nobody's.
const DEPTH_MAX: usize = 64;

const PADDED_OR_NOT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDED_OR_NOT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDED_OR_NOT);

impl Message {
    /// From JSON. Names may be the API's or in camel case; members that the message doesn't have are let by.
    pub fn encode(&self, json: &Value) -> Result<Vec<u8>, MessageError> {
        let Value::Object(members) = json else {
            return Err(MessageError::NoObject(json.to_string()));
        };
        let mut out = Vec::new();
        for field in self.0 {
            let given = members
                .get(field.name)
                .or_else(|| members.get(&camel(field.name)));
            match given {
                None | Some(Value::Null) => {}
                Some(Value::Array(elements)) if field.is_repeated => {
                    for element in elements {
                        field.encode(element, &mut out)?;
                    }
                }
                Some(value) => field.encode(value, &mut out)?,
            }
        }
        Ok(out)
    }

    /// To JSON: names as the API has them, 64-bit numbers as texts, bytes in base64, nothing that has its default.
    pub fn decode(&self, wire: &[u8]) -> Result<String, MessageError> {
        let mut out = String::with_capacity(2 * wire.len());
        self.write(wire, DEPTH_MAX, &mut out)?;
        Ok(out)
    }

    fn write(&self, wire: &[u8], depth: usize, out: &mut String) -> Result<(), MessageError> {
        let values = fields(wire)?;
        out.push('{');
        let mut separator = "";
        for field in self.0 {
            let mut of_field = values
                .iter()
                .filter(|(number, _)| *number == field.number)
                .map(|(_, value)| *value);
            // Writing to a String cannot fail, here and below.
            if field.is_repeated {
                let Some(first) = of_field.next() else {
                    continue;
                };
                let _ = write!(out, "{separator}\"{}\":[", field.name);
                field.write(first, depth, out)?;
                for value in of_field {
                    out.push(',');
                    field.write(value, depth, out)?;
                }
                out.push(']');
            } else {
                let Some(last) = of_field.next_back() else {
                    continue;
                };
                let _ = write!(out, "{separator}\"{}\":", field.name);
                field.write(last, depth, out)?;
            }
            separator = ",";
        }
        out.push('}');
        Ok(())
    }
}

impl Field {
    fn encode(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), MessageError> {
        let invalid = |kind| MessageError::Value {
            kind,
            field: self.name,
            value: value.to_string(),
        };
        let number = match self.kind {
            Kind::Bool => u64::from(value.as_bool().ok_or_else(|| invalid("bool"))?),
            Kind::Int64 => signed(value).ok_or_else(|| invalid("int64"))? as u64,
            Kind::Uint64 => unsigned(value).ok_or_else(|| invalid("uint64"))?,
            Kind::Uint32 => {
                let number = unsigned(value).and_then(|number| u32::try_from(number).ok());
                number.ok_or_else(|| invalid("uint32"))?.into()
            }
            Kind::Enum(names) => {
                let by_name = |name: &str| {
                    names
                        .iter()
                        .find(|(known, _)| *known == name)
                        .map(|(_, number)| *number)
                };
                let number = match value {
                    Value::String(name) => by_name(name),
                    other => signed(other).and_then(|number| i32::try_from(number).ok()),
                };
                i64::from(number.ok_or_else(|| invalid("enum"))?) as u64
            }
            Kind::Bytes => {
                let text = value.as_str().ok_or_else(|| invalid("bytes"))?;
                let decoded = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
                self.put(&decoded.map_err(|_| invalid("bytes"))?, out);
                return Ok(());
            }
            Kind::Text => {
                self.put(value.as_str().ok_or_else(|| invalid("string"))?.as_bytes(), out);
                return Ok(());
            }
            Kind::Nested(message) => {
                self.put(&message.encode(value)?, out);
                return Ok(());
            }
        };
        encode_key(self.number, WireType::Varint, out);
        encode_varint(number, out);
        Ok(())
    }

    fn put(&self, bytes: &[u8], out: &mut Vec<u8>) {
        encode_key(self.number, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.put_slice(bytes);
    }

    fn write(&self, value: Wire<'_>, depth: usize, out: &mut String) -> Result<(), MessageError> {
        let _ = match (self.kind, value) {
            (Kind::Bool, Wire::Number(number)) => write!(out, "{}", number != 0),
            (Kind::Int64, Wire::Number(number)) => write!(out, "\"{}\"", number as i64),
            (Kind::Uint64, Wire::Number(number)) => write!(out, "\"{number}\""),
            (Kind::Uint32, Wire::Number(number)) => write!(out, "{number}"),
            (Kind::Enum(names), Wire::Number(number)) => {
                let number = number as i32;
                match names.iter().find(|(_, known)| *known == number) {
                    Some((name, _)) => write!(out, "\"{name}\""),
                    None => write!(out, "{number}"),
                }
            }
            (Kind::Bytes, Wire::Bytes(bytes)) => write!(out, "\"{}\"", STANDARD.encode(bytes)),
            (Kind::Text, Wire::Bytes(bytes)) => {
                let text = Value::String(String::from_utf8_lossy(bytes).into_owned());
                write!(out, "{text}")
            }
            (Kind::Nested(message), Wire::Bytes(bytes)) => {
                let Some(depth) = depth.checked_sub(1) else {
                    return Err(MessageError::Wire("it is too deep".to_owned()));
                };
                return message.write(bytes, depth, out);
            }
            _ => return Err(MessageError::Wire(format!("{} has another kind", self.name))),
        };
        Ok(())
    }
}

/// A field's value as it goes over the wire.
#[derive(Clone, Copy)]
enum Wire<'w> {
    Number(u64),
    Bytes(&'w [u8]),
}

fn fields(mut wire: &[u8]) -> Result<Vec<(u32, Wire<'_>)>, MessageError> {
    let unreadable = |error: prost::DecodeError| MessageError::Wire(error.to_string());
    let mut fields = Vec::new();
    while wire.has_remaining() {
        let (number, kind) = decode_key(&mut wire).map_err(unreadable)?;
        let value = match kind {
            WireType::Varint => Wire::Number(decode_varint(&mut wire).map_err(unreadable)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut wire).map_err(unreadable)?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let Some((bytes, rest)) = wire.split_at_checked(length) else {
                    return Err(MessageError::Wire("it ends too early".to_owned()));
                };
                wire = rest;
                Wire::Bytes(bytes)
            }
            _ => return Err(MessageError::Wire(format!("field {number} is of no kind"))),
        };
        fields.push((number, value));
    }
    Ok(fields)
}

fn signed(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        number => number.as_i64(),
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    }
}

/// `create_revision` as `createRevision`.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;
    use etcd_client::proto::{PbPutRequest, PbTxnRequest};
    use prost::Message as _;
    use serde_json::json;

    #[test]
    fn names_may_be_the_apis_or_in_camel_case() {
        for request in [
            json!({"key": "Zm9v", "prev_kv": true, "lease": "7", "unknown": {}}),
            json!({"key": "Zm9v", "prevKv": true, "lease": 7, "value": null}),
        ] {
            let wire = messages::PUT_REQUEST.encode(&request).unwrap();
            let expected = PbPutRequest {
                key: b"foo".to_vec(),
                prev_kv: true,
                lease: 7,
                ..PbPutRequest::default()
            };
            assert_eq!(PbPutRequest::decode(wire.as_slice()).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let text = r#"{"compare":[{"result":"GREATER","target":"CREATE","key":"Zm9v","create_revision":"2"}],"success":[{"request_put":{"key":"Zm9v","value":"YmE="}}],"failure":[{"request_txn":{"success":[{"request_range":{"key":"AA==","limit":"-1"}}]}}]}"#;
        let wire = messages::TXN_REQUEST
            .encode(&serde_json::from_str(text).unwrap())
            .unwrap();
        let txn = PbTxnRequest::decode(wire.as_slice()).unwrap();
        assert_eq!(txn.compare[0].key, b"foo");
        assert_eq!(messages::TXN_REQUEST.decode(&txn.encode_to_vec()).unwrap(), text);
    }

    #[test]
    fn values_of_another_kind_are_refused_by_their_field() {
        for (request, kind) in [
            (json!({"key": "!!"}), "bytes"),
            (json!({"lease": "x"}), "int64"),
            (json!({"prev_kv": 1}), "bool"),
        ] {
            let error = messages::PUT_REQUEST.encode(&request).unwrap_err();
            assert!(
                matches!(error, MessageError::Value { kind: found, .. } if found == kind),
                "{error}"
            );
        }
        assert!(messages::PUT_REQUEST.encode(&json!([])).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(wire in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            if let Ok(text) = messages::TXN_REQUEST.decode(&wire) {
                let json: Value = serde_json::from_str(&text).unwrap();
                proptest::prop_assert!(json.is_object());
            }
        }
    }
}
