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
    let Value::Object(mut object) = object else {
        return Err(DecodeError::NotAnObject {
            kind: kind.to_owned(),
            version: short(api_version).to_owned(),
            found: scalar::json_kind(&object),
            go: schema.message(id).go_name(),
        });
    };
    check_kind(api_version, kind, &object)?;
    let mut walk = Walk {
        schema,
        path: Vec::new(),
        objects: 0,
    };
    match walk.message(id, &mut object) {
        Ok(()) => {
            object.insert("apiVersion".to_owned(), Value::from(api_version));
            object.insert("kind".to_owned(), Value::from(kind));
            Ok(Value::Object(object))
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
    // The core group has no name, but some clients write the slash behind it.
    let found_version = found_version.trim_start_matches('/');
    if found_version == api_version && found == kind {
        return Ok(());
    }
    let found_version = short(found_version);
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
    /// In place: most of a body is as it should be.
    fn message(&mut self, id: MessageId, object: &mut Map<String, Value>) -> Result<(), Wrong> {
        self.objects += 1;
        if self.objects > OBJECTS_MAX {
            return Err(Wrong(format!("the object holds more than {OBJECTS_MAX} others")));
        }
        let message = self.schema.message(id);
        let mut result = Ok(());
        object.retain(|name, value| {
            if result.is_err() {
                return true;
            }
            let Some(field) = message.field(name) else {
                return message.is_kind
                    && matches!(name.as_str(), "apiVersion" | "kind")
                    && value.as_str().is_some_and(|text| !text.is_empty());
            };
            self.path.push(field.name);
            match self.field(message, field, value) {
                Ok(kept) => {
                    self.path.pop();
                    kept
                }
                Err(wrong) => {
                    result = Err(wrong);
                    true
                }
            }
        });
        result?;
        for field in message.always_fields() {
            if !object.contains_key(field.name) {
                let value = match field.shape {
                    Shape::One if !field.presence => self.zero(field)?,
                    // Storing can't tell an empty list or map from none at all, so neither do we.
                    _ => Value::Null,
                };
                object.insert(field.name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// Gives a value its form; whether it is written, if it isn't always.
    fn field(&mut self, owner: &Message, field: &Field, value: &mut Value) -> Result<bool, Wrong> {
        match (field.shape, value) {
            (_, Value::Null) => Ok(false),
            (Shape::One, value) => {
                self.single(owner, field, value)?;
                // Null: a zero time, or raw null.
                Ok(!value.is_null() && (field.always || field.presence || !is_zero(value, field.ty)))
            }
            (Shape::List, Value::Array(items)) => {
                for item in items.iter_mut() {
                    self.item(owner, field, item)?;
                }
                Ok(!items.is_empty())
            }
            (Shape::Map, Value::Object(entries)) => {
                for item in entries.values_mut() {
                    self.item(owner, field, item)?;
                }
                Ok(!entries.is_empty())
            }
            (_, other) => Err(self.mismatch(owner, field, scalar::json_kind(other), self.go_type(field))),
        }
    }

    /// What stands for a value of the field's type that isn't there.
    fn zero(&mut self, field: &Field) -> Result<Value, Wrong> {
        let Type::Message(id) = field.ty else {
            return Ok(field.ty.zero());
        };
        let mut object = Map::new();
        self.message(id, &mut object)?;
        Ok(Value::Object(object))
    }

    /// An element of a list or a value of a map: null is the type's zero there.
    fn item(&mut self, owner: &Message, field: &Field, value: &mut Value) -> Result<(), Wrong> {
        if value.is_null() {
            *value = self.zero(field)?;
            return Ok(());
        }
        self.single(owner, field, value)
    }

    fn single(&mut self, owner: &Message, field: &Field, value: &mut Value) -> Result<(), Wrong> {
        let scalar: fn(Value) -> Result<Value, Refused> = match field.ty {
            Type::String => scalar::string,
            Type::Bytes => scalar::bytes,
            Type::Int32 => |value| scalar::integer(value, i32::MIN.into(), i32::MAX.into()),
            Type::Int64 => |value| scalar::integer(value, i64::MIN, i64::MAX),
            Type::Double => scalar::double,
            Type::Bool => scalar::boolean,
            Type::Time => scalar::time,
            Type::MicroTime => scalar::micro_time,
            Type::Quantity => scalar::quantity,
            Type::IntOrString => scalar::int_or_string,
            Type::Raw => return Ok(()),
            Type::Strings => |value| match value {
                Value::Array(items) if items.iter().all(Value::is_string) => Ok(Value::Array(items)),
                other => Err(Refused::Type(scalar::json_kind(&other).to_owned())),
            },
            Type::Message(id) => match value {
                Value::Object(object) => return self.message(id, object),
                _ => |other| Err(Refused::Type(scalar::json_kind(&other).to_owned())),
            },
            Type::Either(id, other) => return self.either(id, other, value),
        };
        let checked = scalar(std::mem::take(value)).map_err(|refused| match refused {
            Refused::Type(found) => self.mismatch(owner, field, &found, self.go_item_type(field)),
            Refused::Value(cause) => Wrong(cause),
        });
        *value = checked?;
        Ok(())
    }

    /// A message, or what may stand in its place.
    fn either(&mut self, id: MessageId, other: Other, value: &mut Value) -> Result<(), Wrong> {
        match (other, value) {
            (_, Value::Object(object)) => self.message(id, object),
            (Other::Bool, Value::Bool(_)) => Ok(()),
            (Other::Strings, Value::Array(items)) if items.iter().all(Value::is_string) => Ok(()),
            (Other::List, Value::Array(items)) => {
                for item in items {
                    let Value::Object(item) = item else {
                        return Err(Wrong("JSON schema or an array of them expected".to_owned()));
                    };
                    self.message(id, item)?;
                }
                Ok(())
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
