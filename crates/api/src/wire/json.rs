//! JSON bodies: read with findings, written in upstream's field order with upstream's escapes.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use serde_json::{Map, Value};

use super::error::DecodeError;
use super::escapes::GoEscapes;
use super::findings::{self, Finding};
use super::schema::{Field, Message, MessageId, Schema, Shape, Type};

/// Decodes a JSON body. Of two values for one key the last counts.
pub fn decode(body: &[u8]) -> Result<Value, DecodeError> {
    findings::decode(body, None).map(|(value, _)| value)
}

/// Decodes a JSON body of a built-in kind together with its unknown and duplicate fields.
pub fn decode_with_findings(
    api_version: &str,
    kind: &str,
    body: &[u8],
) -> Result<(Value, Vec<Finding>), DecodeError> {
    findings::decode(body, Schema::builtin().kind(api_version, kind))
}

/// Writes an object the way upstream writes it: compact, fields in upstream's order, `<`, `>` and `&` escaped.
/// Objects of unknown kinds and keys the tables don't know follow in alphabetical order.
pub fn encode(object: &Value) -> Vec<u8> {
    write(object, Place::Top, CompactFormatter)
}

/// The same, indented by two.
pub fn encode_pretty(object: &Value) -> Vec<u8> {
    write(object, Place::Top, PrettyFormatter::new())
}

/// JSON inside an object, whose keys are in alphabetical order whatever it claims to be.
pub fn encode_raw(value: &Value) -> Vec<u8> {
    write(value, Place::Free, CompactFormatter)
}

fn write<F: Formatter>(object: &Value, place: Place, formatter: F) -> Vec<u8> {
    go_text(&Ordered { value: object, place }, formatter)
}

/// JSON with upstream's escapes, in the order in which a value's members come.
pub(crate) fn go_text<F: Formatter>(value: &impl Serialize, formatter: F) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, GoEscapes(formatter));
    // Neither a Vec nor a Value can fail; a cut body would be refused by every client's parser.
    let _ = value.serialize(&mut serializer);
    out
}

#[derive(Clone, Copy)]
enum Place {
    /// The kind is looked up in the value itself.
    Top,
    Message(MessageId),
    Field(&'static Field),
    Free,
}

impl Place {
    fn of(field: &'static Field) -> Place {
        match field.shape {
            Shape::One => Place::of_type(field.ty),
            _ => Place::Field(field),
        }
    }

    fn of_type(ty: Type) -> Place {
        match ty {
            Type::Message(id) | Type::Either(id, _) => Place::Message(id),
            _ => Place::Free,
        }
    }

    fn item(self) -> Place {
        match self {
            Place::Field(field) => Place::of_type(field.ty),
            // A list where one message may stand as well.
            Place::Message(_) => self,
            _ => Place::Free,
        }
    }
}

struct Ordered<'a> {
    value: &'a Value,
    place: Place,
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(object) => match self.place {
                Place::Top => top(object, serializer),
                Place::Message(id) => message(Schema::builtin().message(id), object, serializer),
                place => plain(object, place.item(), serializer),
            },
            Value::Array(items) => list(items, self.place.item(), serializer),
            other => other.serialize(serializer),
        }
    }
}

fn list<S: Serializer>(items: &[Value], place: Place, serializer: S) -> Result<S::Ok, S::Error> {
    let mut seq = serializer.serialize_seq(Some(items.len()))?;
    for value in items {
        seq.serialize_element(&Ordered { value, place })?;
    }
    seq.end()
}

fn plain<S: Serializer>(object: &Map<String, Value>, place: Place, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(object.len()))?;
    for (key, value) in object {
        map.serialize_entry(key, &Ordered { value, place })?;
    }
    map.end()
}

fn message<S: Serializer>(
    message: &'static Message,
    object: &Map<String, Value>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(object.len()))?;
    let meta = ["kind", "apiVersion"];
    for key in meta {
        if let Some(value) = object.get(key).filter(|_| message.is_kind) {
            map.serialize_entry(
                key,
                &Ordered {
                    value,
                    place: Place::Free,
                },
            )?;
        }
    }
    for field in message.json_fields() {
        if let Some(value) = object.get(field.name) {
            map.serialize_entry(
                field.name,
                &Ordered {
                    value,
                    place: Place::of(field),
                },
            )?;
        }
    }
    for (key, value) in object {
        if message.field(key).is_none() && !(message.is_kind && meta.contains(&key.as_str())) {
            map.serialize_entry(
                key,
                &Ordered {
                    value,
                    place: Place::Free,
                },
            )?;
        }
    }
    map.end()
}

/// An object that names its kind; lists hand theirs on to their items.
fn top<S: Serializer>(object: &Map<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let schema = Schema::builtin();
    if let Some(id) = schema.kind(api_version, kind) {
        return message(schema.message(id), object, serializer);
    }
    let item = kind
        .strip_suffix("List")
        .and_then(|kind| schema.kind(api_version, kind));
    let mut map = serializer.serialize_map(Some(object.len()))?;
    let first = ["kind", "apiVersion", "type", "metadata"];
    for key in first {
        if let Some(value) = object.get(key) {
            map.serialize_entry(
                key,
                &Ordered {
                    value,
                    place: Place::Free,
                },
            )?;
        }
    }
    for (key, value) in object.iter().filter(|(key, _)| !first.contains(&key.as_str())) {
        match (key.as_str(), value) {
            ("items", Value::Array(items)) => {
                let place = item.map_or(Place::Top, Place::Message);
                map.serialize_entry(key, &Items { items, place })?;
            }
            // The object of a watch event carries its kind.
            ("object", _) => map.serialize_entry(
                key,
                &Ordered {
                    value,
                    place: Place::Top,
                },
            )?,
            _ => map.serialize_entry(
                key,
                &Ordered {
                    value,
                    place: Place::Free,
                },
            )?,
        }
    }
    map.end()
}

struct Items<'a> {
    items: &'a [Value],
    place: Place,
}

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        list(self.items, self.place, serializer)
    }
}
