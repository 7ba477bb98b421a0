//! How a value divides into fields: from the field tables, from a custom resource's schema, or from the value itself
//! where there is neither.
use super::set::Element;
use crate::structural::{Additional, Kind, ListType, Node};
use crate::wire::schema::{Field, Message, Schema, Shape, Topology, Type as Scalar};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Write;

/// The type of a value somewhere in an object.
#[derive(Clone, Copy, Debug)]
pub enum Type<'s> {
    /// An object as a whole, or a message inside one.
    Message(&'static Message),
    /// A field with all its items.
    Field(&'static Field),
    /// One item of a list or map.
    Item(&'static Field),
    /// A custom object as a whole.
    Custom(&'s Node),
    /// A place in one.
    Node(&'s Node),
    /// Anything: objects are divided by member, lists are not.
    Untyped,
}

/// What stands below a name in an object.
pub(super) enum Child<'s> {
    /// A field that the type declares; `always`: it is there even when it is empty.
    Declared {
        ty: Type<'s>,
        always: bool,
    },
    /// An entry of a map.
    Entry(Type<'s>),
    Undeclared,
}

/// How the items of a list are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Items<'s> {
    Keyed(&'static [&'static str], Type<'s>),
    /// By the fields that a schema names.
    Fields(&'s [String], Type<'s>),
    Set,
}

/// How a value divides.
pub(super) enum Form<'v, 's> {
    /// Not at all: a scalar, or something that is owned as a whole.
    Leaf,
    Object(&'v Map<String, Value>),
    List(&'v [Value], Items<'s>),
}

impl<'s> Type<'s> {
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
            Self::Field(_) | Self::Custom(_) | Self::Node(_) | Self::Untyped => return None,
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
            Self::Node(node) => node.kind == Kind::Any,
            Self::Message(_) | Self::Custom(_) => false,
        }
    }

    fn is_map(self) -> bool {
        matches!(self, Self::Field(field) if field.shape == Shape::Map)
    }

    fn is_atomic(self) -> bool {
        match self {
            Self::Message(_) | Self::Custom(_) | Self::Untyped => false,
            Self::Node(node) => node.atomic,
            Self::Field(field) => field.topology == Topology::Atomic,
            Self::Item(_) => self.message().is_some_and(|m| m.atomic),
        }
    }

    pub(super) fn form<'v>(self, value: &'v Value) -> Form<'v, 's> {
        match value {
            Value::Object(members) => {
                let schema = matches!(self, Self::Custom(_) | Self::Node(_));
                let divides = schema || self.is_raw() || self.is_map() || self.message().is_some();
                if divides && !self.is_atomic() {
                    Form::Object(members)
                } else {
                    Form::Leaf
                }
            }
            Value::Array(items) => match self {
                Self::Field(Field {
                    topology: Topology::Keyed(keys),
                    ..
                }) => Form::List(items, Items::Keyed(keys, self.item())),
                Self::Field(Field {
                    topology: Topology::Set,
                    ..
                }) => Form::List(items, Items::Set),
                Self::Node(node) => match &node.list_type {
                    ListType::Map(keys) => Form::List(items, Items::Fields(keys, self.item())),
                    ListType::Set => Form::List(items, Items::Set),
                    ListType::Atomic => Form::Leaf,
                },
                _ => Form::Leaf,
            },
            _ => Form::Leaf,
        }
    }

    /// What `name` is in an object of this type.
    pub(super) fn child(self, name: &str) -> Child<'s> {
        if self.is_raw() {
            return Child::Entry(Self::Untyped);
        }
        if let (true, Self::Field(field)) = (self.is_map(), self) {
            return Child::Entry(Self::Item(field));
        }
        match self {
            Self::Custom(node) => return custom_child(node, name, true),
            Self::Node(node) => return custom_child(node, name, node.embedded),
            _ => {}
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
            Self::Node(node) => node.items.as_deref().map_or(Self::Untyped, Self::Node),
            other => other,
        }
    }
}

/// `whole`: the node is an object of its own, with what every object has.
fn custom_child<'s>(node: &'s Node, name: &str, whole: bool) -> Child<'s> {
    if whole && matches!(name, "apiVersion" | "kind") {
        return Child::Declared {
            ty: Type::Untyped,
            always: true,
        };
    }
    if whole && name == "metadata" {
        let metadata = Schema::builtin().named("meta.k8s.io/v1", "ObjectMeta");
        return Child::Declared {
            ty: metadata.map_or(Type::Untyped, Type::Message),
            always: true,
        };
    }
    match (node.properties.get(name), &node.additional) {
        (Some(node), _) => Child::Declared {
            ty: Type::Node(node),
            always: false,
        },
        (None, Additional::Each(node)) => Child::Entry(Type::Node(node)),
        (None, Additional::Anything) => Child::Entry(Type::Untyped),
        (None, Additional::Unspecified) if node.preserve_unknown => Child::Entry(Type::Untyped),
        (None, Additional::Unspecified) => Child::Undeclared,
    }
}

impl<'s> Child<'s> {
    /// Its type; what isn't declared divides like anything else without a table.
    pub(super) fn ty(&self) -> Type<'s> {
        match self {
            Self::Declared { ty, .. } | Self::Entry(ty) => *ty,
            Self::Undeclared => Type::Untyped,
        }
    }

    /// Whether it is there even when it is empty.
    pub(super) fn is_always(&self) -> bool {
        matches!(self, Self::Declared { always: true, .. })
    }

    /// Its path element under this name.
    pub(super) fn element(&self, name: &str) -> Element {
        match self.ty() {
            Type::Field(field) => Element::Borrowed(field.element),
            _ => field_element(name).into(),
        }
    }
}

impl<'s> Items<'s> {
    /// The path element of an item; key fields that it doesn't have are not in it.
    pub(super) fn element(self, item: &Value) -> String {
        if matches!(self, Self::Set) {
            return format!("v:{item}");
        }
        let mut keys = self.keys();
        keys.sort_unstable();
        let mut element = String::from("k:{");
        for key in keys {
            let value = self.key_of(item, key);
            if !value.is_null() {
                let comma = if element.ends_with('{') { "" } else { "," };
                // Writing into a text cannot fail.
                let _ = write!(element, "{comma}{}:{value}", Value::from(key));
            }
        }
        element.push('}');
        element
    }

    /// The key fields, if the item has none of them.
    pub(super) fn missing(self, item: &Value) -> Option<Vec<&'s str>> {
        let keys = self.keys();
        let lacks_all = !keys.is_empty() && keys.iter().all(|key| self.key_of(item, key).is_null());
        lacks_all.then_some(keys)
    }

    fn keys(self) -> Vec<&'s str> {
        match self {
            Self::Keyed(keys, _) => keys.to_vec(),
            Self::Fields(fields, _) => fields.iter().map(String::as_str).collect(),
            Self::Set => Vec::new(),
        }
    }

    /// The value of a key field: what the item says, or what its type means by silence.
    fn key_of<'v>(self, item: &'v Value, key: &str) -> Cow<'v, Value> {
        match item.get(key) {
            Some(value) if !value.is_null() => Cow::Borrowed(value),
            _ => Cow::Owned(self.default_of(key).unwrap_or_default()),
        }
    }

    fn default_of(self, key: &str) -> Option<Value> {
        match self {
            Self::Keyed(_, Type::Node(node)) | Self::Fields(_, Type::Node(node)) => {
                node.properties.get(key)?.default.clone()
            }
            Self::Keyed(_, ty) | Self::Fields(_, ty) => ty.message()?.silence(key),
            Self::Set => None,
        }
    }
}

/// The path element of a member.
pub(super) fn field_element(name: &str) -> String {
    format!("f:{name}")
}
