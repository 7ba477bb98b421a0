//! How a value divides into fields: from the field tables, or from the value itself where there is no table.
use crate::wire::schema::{Field, Message, Schema, Shape, Topology, Type as Scalar, key_default};
use serde_json::{Map, Value};

/// The type of a value somewhere in an object.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// An object as a whole, or a message inside one.
    Message(&'static Message),
    /// A field with all its items.
    Field(&'static Field),
    /// One item of a list or map.
    Item(&'static Field),
    /// Anything: objects are divided by member, lists are not.
    Untyped,
}

/// What stands below a name in an object.
pub(super) enum Child {
    /// A field that the type declares; `always`: it is there even when it is empty.
    Declared {
        ty: Type,
        always: bool,
    },
    /// An entry of a map.
    Entry(Type),
    Undeclared,
}

/// How the items of a list are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Items {
    Keyed(&'static str, Option<&'static str>),
    Set,
}

/// How a value divides.
pub(super) enum Form<'v> {
    /// Not at all: a scalar, or something that is owned as a whole.
    Leaf,
    Object(&'v Map<String, Value>),
    List(&'v [Value], Items),
}

impl Type {
    /// The type of a built-in kind.
    pub fn of_kind(api_version: &str, kind: &str) -> Option<Self> {
        let schema = Schema::builtin();
        Some(Self::Message(schema.message(schema.kind(api_version, kind)?)))
    }

    fn message(self) -> Option<&'static Message> {
        let field = match self {
            Self::Message(message) => return Some(message),
            Self::Field(field) if field.shape == Shape::One => field,
            Self::Item(field) => field,
            Self::Field(_) | Self::Untyped => return None,
        };
        match field.ty {
            Scalar::Message(id) => Some(Schema::builtin().message(id)),
            _ => None,
        }
    }

    fn is_raw(self) -> bool {
        match self {
            Self::Untyped => true,
            Self::Field(field) => field.shape == Shape::One && field.ty == Scalar::Raw,
            Self::Item(field) => field.ty == Scalar::Raw,
            Self::Message(_) => false,
        }
    }

    fn is_map(self) -> bool {
        matches!(self, Self::Field(field) if field.shape == Shape::Map)
    }

    fn is_atomic(self) -> bool {
        match self {
            Self::Message(_) | Self::Untyped => false,
            Self::Field(field) => field.topology == Topology::Atomic,
            Self::Item(_) => self.message().is_some_and(|m| m.atomic),
        }
    }

    pub(super) fn form(self, value: &Value) -> Form<'_> {
        match value {
            Value::Object(members) => {
                let divides = self.is_raw() || self.is_map() || self.message().is_some();
                if divides && !self.is_atomic() {
                    Form::Object(members)
                } else {
                    Form::Leaf
                }
            }
            Value::Array(items) => match self {
                Self::Field(Field {
                    topology: Topology::Keyed(first, second),
                    ..
                }) => Form::List(items, Items::Keyed(first, *second)),
                Self::Field(Field {
                    topology: Topology::Set,
                    ..
                }) => Form::List(items, Items::Set),
                _ => Form::Leaf,
            },
            _ => Form::Leaf,
        }
    }

    /// What `name` is in an object of this type.
    pub(super) fn child(self, name: &str) -> Child {
        if self.is_raw() {
            return Child::Entry(Self::Untyped);
        }
        if let (true, Self::Field(field)) = (self.is_map(), self) {
            return Child::Entry(Self::Item(field));
        }
        let Some(message) = self.message() else {
            return Child::Undeclared;
        };
        match message.field(name) {
            Some(field) => Child::Declared {
                ty: Self::Field(field),
                always: field.always,
            },
            None if message.is_kind && matches!(name, "apiVersion" | "kind") => Child::Declared {
                ty: Self::Untyped,
                always: true,
            },
            None => Child::Undeclared,
        }
    }

    /// The type of the items of a list.
    pub(super) fn item(self) -> Self {
        match self {
            Self::Field(field) => Self::Item(field),
            other => other,
        }
    }
}

impl Child {
    /// Its type; what isn't declared divides like anything else without a table.
    pub(super) fn ty(&self) -> Type {
        match self {
            Self::Declared { ty, .. } | Self::Entry(ty) => *ty,
            Self::Undeclared => Type::Untyped,
        }
    }
}

impl Items {
    /// The path element of an item.
    pub(super) fn element(self, item: &Value) -> String {
        match self {
            Self::Set => format!("v:{item}"),
            Self::Keyed(first, second) => {
                let keys: Map<String, Value> = std::iter::once(first)
                    .chain(second)
                    .map(|key| (key.to_owned(), key_of(item, key)))
                    .collect();
                format!("k:{}", Value::Object(keys))
            }
        }
    }

    /// A key field that the item lacks.
    pub(super) fn missing(self, item: &Value) -> Option<&'static str> {
        let Self::Keyed(first, second) = self else {
            return None;
        };
        std::iter::once(first)
            .chain(second)
            .find(|key| key_of(item, key).is_null())
    }
}

fn key_of(item: &Value, key: &str) -> Value {
    match item.get(key) {
        Some(value) if !value.is_null() => value.clone(),
        _ => key_default(key).map_or(Value::Null, Value::from),
    }
}

/// The path element of a member.
pub(super) fn field_element(name: &str) -> String {
    format!("f:{name}")
}
