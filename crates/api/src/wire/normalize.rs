//! The one form of an object: what a round trip through upstream's types would leave of it.
//!
//! Unknown fields go, types are checked, scalars become canonical, what is empty is left out, and what upstream's
//! types always write is written.

use serde_json::{Map, Value};

use super::error::DecodeError;
use super::scalar::{self, Refused};
use super::schema::{Field, Message, MessageId, Other, Schema, Shape, Type};

/// Gives an object of a built-in kind its one form. `kind` and `apiVersion` may be absent in the object.
pub fn normalize(api_version: &str, kind: &str, object: Value) -> Result<Value, DecodeError> {
    let schema = Schema::builtin();
    let id = schema
        .kind(api_version, kind)
        .ok_or_else(|| DecodeError::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        })?;
    let Value::Object(object) = object else {
        return Err(DecodeError::NotAnObject {
            kind: kind.to_owned(),
            version: short(api_version).to_owned(),
            found: scalar::found(&object),
            go: schema.message(id).go_name(),
        });
    };
    check_kind(api_version, kind, &object)?;
    let mut walk = Walk {
        schema,
        path: Vec::new(),
        objects: 0,
    };
    match walk.message(id, object) {
        Ok(mut normal) => {
            normal.insert("apiVersion".to_owned(), Value::from(api_version));
            normal.insert("kind".to_owned(), Value::from(kind));
            Ok(Value::Object(normal))
        }
        Err(cause) => Err(DecodeError::Field {
            kind: kind.to_owned(),
            version: short(api_version).to_owned(),
            cause: cause.0,
        }),
    }
}

fn check_kind(api_version: &str, kind: &str, object: &Map<String, Value>) -> Result<(), DecodeError> {
    let declared = |key, wanted: &str| {
        let value = object.get(key).and_then(Value::as_str).filter(|v| !v.is_empty());
        value.unwrap_or(wanted).to_owned()
    };
    let (found_version, found) = (declared("apiVersion", api_version), declared("kind", kind));
    if found_version == api_version && found == kind {
        return Ok(());
    }
    let found_version = short(&found_version);
    let group = match api_version.split_once('/') {
        Some((group, _)) => group.split('.').next().unwrap_or(group).to_owned(),
        None => "core".to_owned(),
    };
    Err(DecodeError::WrongKind {
        found_go: format!("{found_version}.{found}"),
        wanted_go: format!("{group}.{kind}"),
        wanted: kind.to_owned(),
        found,
        found_version: found_version.to_owned(),
    })
}

/// The version of an apiVersion, without its group.
fn short(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or(api_version)
}

/// What is wrong with a field; the path is in the text already.
struct Wrong(String);

/// Objects one body may hold, nested ones counted: an empty one of two bytes grows by all that is always written.
const OBJECTS_MAX: usize = 100_000;

struct Walk {
    schema: &'static Schema,
    /// JSON names from the top, without positions: how upstream's decoder names a field.
    path: Vec<&'static str>,
    objects: usize,
}

impl Walk {
    fn message(
        &mut self,
        id: MessageId,
        mut object: Map<String, Value>,
    ) -> Result<Map<String, Value>, Wrong> {
        self.objects += 1;
        if self.objects > OBJECTS_MAX {
            return Err(Wrong(format!("the object holds more than {OBJECTS_MAX} others")));
        }
        let message = self.schema.message(id);
        let mut normal = Map::new();
        if message.is_kind {
            for key in ["apiVersion", "kind"] {
                if let Some(Value::String(text)) = object.remove(key)
                    && !text.is_empty()
                {
                    normal.insert(key.to_owned(), Value::String(text));
                }
            }
        }
        for field in message.json_fields() {
            let value = object.remove(field.name).unwrap_or(Value::Null);
            self.path.push(field.name);
            let value = self.field(message, field, value)?;
            self.path.pop();
            if let Some(value) = value {
                normal.insert(field.name.to_owned(), value);
            }
        }
        Ok(normal)
    }

    /// The value to write, if any.
    fn field(&mut self, owner: &Message, field: &Field, value: Value) -> Result<Option<Value>, Wrong> {
        match (field.shape, value) {
            (Shape::One, Value::Null) => self.absent(field),
            (_, Value::Null) => Ok(empty(field)),
            (Shape::One, value) => {
                let value = self.single(owner, field, value)?;
                if value.is_null() {
                    // A zero time, or raw null.
                    return self.absent(field);
                }
                let kept = field.always || field.presence || !is_zero(&value, field.ty);
                Ok(kept.then_some(value))
            }
            (Shape::List, Value::Array(items)) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.push(self.item(owner, field, item)?);
                }
                Ok(if list.is_empty() {
                    empty(field)
                } else {
                    Some(Value::Array(list))
                })
            }
            (Shape::Map, Value::Object(entries)) => {
                let mut map = Map::new();
                for (key, item) in entries {
                    map.insert(key, self.item(owner, field, item)?);
                }
                Ok(if map.is_empty() {
                    empty(field)
                } else {
                    Some(Value::Object(map))
                })
            }
            (_, other) => Err(self.mismatch(owner, field, scalar::found(&other), self.go_type(field))),
        }
    }

    /// What is written for a field that isn't there.
    fn absent(&mut self, field: &Field) -> Result<Option<Value>, Wrong> {
        if !field.always {
            return Ok(None);
        }
        Ok(Some(match field.ty {
            _ if field.presence => Value::Null,
            Type::String | Type::Bytes => Value::from(""),
            Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => Value::from(0),
            Type::Bool => Value::from(false),
            Type::Quantity => Value::from("0"),
            Type::Time | Type::MicroTime | Type::Raw | Type::Strings | Type::Either(..) => Value::Null,
            Type::Message(id) => Value::Object(self.message(id, Map::new())?),
        }))
    }

    /// An element of a list or a value of a map: null is the type's zero there.
    fn item(&mut self, owner: &Message, field: &Field, value: Value) -> Result<Value, Wrong> {
        if !value.is_null() {
            return self.single(owner, field, value);
        }
        Ok(match field.ty {
            Type::String | Type::Bytes => Value::from(""),
            Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => Value::from(0),
            Type::Bool => Value::from(false),
            Type::Quantity => Value::from("0"),
            Type::Time | Type::MicroTime | Type::Raw | Type::Strings | Type::Either(..) => Value::Null,
            Type::Message(id) => Value::Object(self.message(id, Map::new())?),
        })
    }

    fn single(&mut self, owner: &Message, field: &Field, value: Value) -> Result<Value, Wrong> {
        let checked = match field.ty {
            Type::String => scalar::string(value),
            Type::Bytes => scalar::bytes(value),
            Type::Int32 => scalar::integer(value, i32::MIN.into(), i32::MAX.into()),
            Type::Int64 => scalar::integer(value, i64::MIN, i64::MAX),
            Type::Double => scalar::double(value),
            Type::Bool => scalar::boolean(value),
            Type::Time => scalar::time(value),
            Type::MicroTime => scalar::micro_time(value),
            Type::Quantity => scalar::quantity(value),
            Type::IntOrString => scalar::int_or_string(value),
            Type::Raw => Ok(value),
            Type::Strings => match value {
                Value::Array(items) if items.iter().all(Value::is_string) => Ok(Value::Array(items)),
                other => Err(Refused::Type(scalar::found(&other).to_owned())),
            },
            Type::Message(id) => match value {
                Value::Object(object) => return self.message(id, object).map(Value::Object),
                other => Err(Refused::Type(scalar::found(&other).to_owned())),
            },
            Type::Either(id, other) => return self.either(id, other, value),
        };
        checked.map_err(|refused| match refused {
            Refused::Type(found) => self.mismatch(owner, field, &found, self.go_item_type(field)),
            Refused::Value(cause) => Wrong(cause),
        })
    }

    /// A message, or what may stand in its place.
    fn either(&mut self, id: MessageId, other: Other, value: Value) -> Result<Value, Wrong> {
        match (other, value) {
            (_, Value::Object(object)) => self.message(id, object).map(Value::Object),
            (Other::Bool, value @ Value::Bool(_)) => Ok(value),
            (Other::Strings, Value::Array(items)) if items.iter().all(Value::is_string) => {
                Ok(Value::Array(items))
            }
            (Other::List, Value::Array(items)) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    let Value::Object(item) = item else {
                        return Err(Wrong("JSON schema or an array of them expected".to_owned()));
                    };
                    list.push(Value::Object(self.message(id, item)?));
                }
                Ok(Value::Array(list))
            }
            (Other::Bool, _) => Err(Wrong("boolean or JSON schema expected".to_owned())),
            (Other::List, _) => Err(Wrong("JSON schema or an array of them expected".to_owned())),
            (Other::Strings, _) => Err(Wrong("JSON schema or an array of strings expected".to_owned())),
        }
    }

    fn mismatch(&self, owner: &Message, _field: &Field, found: &str, go: String) -> Wrong {
        let path = self.path.join(".");
        Wrong(format!(
            "json: cannot unmarshal {found} into Go struct field {}.{path} of type {go}",
            owner.name
        ))
    }

    fn go_type(&self, field: &Field) -> String {
        let item = self.go_item_type(field);
        match field.shape {
            Shape::One => item,
            Shape::List => format!("[]{item}"),
            Shape::Map => format!("map[string]{item}"),
        }
    }

    fn go_item_type(&self, field: &Field) -> String {
        match field.ty {
            Type::String => "string".to_owned(),
            Type::Bytes => "[]uint8".to_owned(),
            Type::Int32 => "int32".to_owned(),
            Type::Int64 => "int64".to_owned(),
            Type::Double => "float64".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::Time => "v1.Time".to_owned(),
            Type::MicroTime => "v1.MicroTime".to_owned(),
            Type::Quantity => "resource.Quantity".to_owned(),
            Type::IntOrString => "intstr.IntOrString".to_owned(),
            Type::Raw => "runtime.RawExtension".to_owned(),
            Type::Strings => "[]string".to_owned(),
            Type::Message(id) | Type::Either(id, _) => self.schema.message(id).go_name(),
        }
    }
}

/// What is written for a list or map without entries: storing can't tell it from none at all, so neither do we.
fn empty(field: &Field) -> Option<Value> {
    field.always.then_some(Value::Null)
}

/// Left out where the type has no presence: what Go's `omitempty` leaves out.
fn is_zero(value: &Value, ty: Type) -> bool {
    match ty {
        Type::Message(_) | Type::Either(..) | Type::Raw | Type::Quantity | Type::IntOrString => false,
        _ => match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(s) => s.is_empty(),
            Value::Number(n) => n.as_i64() == Some(0),
            Value::Array(a) => a.is_empty(),
            _ => false,
        },
    }
}
