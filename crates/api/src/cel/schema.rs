//! The types that a structural schema gives to its values.
use super::property::escape;
use super::types::{Object, Type};
use crate::structural::{Additional, Kind, Node};
use std::sync::Arc;

/// The type of a place of a schema. `root`: the whole object, of which also name and kind can be asked.
pub fn type_of(node: &Node, name: &str, root: bool) -> Type {
    match node.kind {
        Kind::Any | Kind::IntOrString => Type::Dyn,
        Kind::String => match node.limits.format.as_str() {
            "byte" => Type::Bytes,
            "date" | "date-time" | "datetime" => Type::Timestamp,
            "duration" => Type::Duration,
            _ => Type::String,
        },
        Kind::Integer => Type::Int,
        Kind::Number => Type::Double,
        Kind::Boolean => Type::Bool,
        Kind::Array => {
            let item = node
                .items
                .as_deref()
                .map(|item| type_of(item, &format!("{name}.@idx"), false));
            Type::list(item.unwrap_or(Type::Dyn))
        }
        Kind::Object => object(node, name, root),
    }
}

fn object(node: &Node, name: &str, root: bool) -> Type {
    if let Additional::Each(value) = &node.additional {
        return Type::map(Type::String, type_of(value, &format!("{name}.@elem"), false));
    }
    let embedded = root || node.embedded;
    let mut fields: std::collections::BTreeMap<String, Type> = node
        .properties
        .iter()
        .filter_map(|(property, node)| {
            let field = escape(property)?;
            let ty = type_of(node, &format!("{name}.{field}"), false);
            Some((field, ty))
        })
        .collect();
    if embedded {
        fields.insert("apiVersion".to_owned(), Type::String);
        fields.insert("kind".to_owned(), Type::String);
        let metadata = [("name", Type::String), ("generateName", Type::String)];
        fields.insert(
            "metadata".to_owned(),
            Type::object(format!("{name}.metadata"), metadata),
        );
    }
    Type::Object(Arc::new(Object {
        name: name.to_owned(),
        fields,
        open: false,
    }))
}
