//! The types of built-in kinds, by their field tables.
use super::types::{Object, Type};
use crate::wire::schema::{self, Field, MessageId, Schema, Shape};
use std::sync::Arc;

/// Schemas that contain themselves end here.
const DEPTH_MAX: usize = 12;

/// The type of a kind's objects, if it is built in.
pub fn type_of_kind(api_version: &str, kind: &str) -> Option<Type> {
    let id = Schema::builtin().kind(api_version, kind)?;
    Some(message(id, 0))
}

fn message(id: MessageId, depth: usize) -> Type {
    if depth > DEPTH_MAX {
        return Type::Dyn;
    }
    let message = Schema::builtin().message(id);
    let own = message
        .json_fields()
        .iter()
        .map(|field| (field.name.to_owned(), of(field, depth)));
    let kind = [("kind", Type::String), ("apiVersion", Type::String)];
    let kind = kind
        .into_iter()
        .filter(|_| message.is_kind)
        .map(|(name, ty)| (name.to_owned(), ty));
    Type::Object(Arc::new(Object {
        name: message.name.to_owned(),
        fields: own.chain(kind).collect(),
        open: false,
    }))
}

fn of(field: &Field, depth: usize) -> Type {
    let one = match field.ty {
        schema::Type::String | schema::Type::Quantity => Type::String,
        schema::Type::Bytes => Type::Bytes,
        schema::Type::Int32 | schema::Type::Int64 => Type::Int,
        schema::Type::Bool => Type::Bool,
        schema::Type::Time | schema::Type::MicroTime => Type::Timestamp,
        schema::Type::Double => Type::Double,
        schema::Type::IntOrString | schema::Type::Raw | schema::Type::Either(..) => Type::Dyn,
        schema::Type::Strings => Type::list(Type::String),
        schema::Type::Message(id) => message(id, depth + 1),
    };
    match field.shape {
        Shape::One => one,
        Shape::List => Type::list(one),
        Shape::Map => Type::map(Type::String, one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cel::{Declarations, Program};

    #[test]
    fn fields_of_kinds_are_known() {
        let ty = type_of_kind("apps/v1", "Deployment").unwrap();
        let names = Declarations::default().with("object", ty);
        for (text, fits) in [
            ("object.spec.replicas > 1", true),
            (
                "object.spec.template.spec.containers.all(c, c.image.startsWith('x'))",
                true,
            ),
            (
                "object.metadata.labels['a'] == 'b' && object.kind == 'Deployment'",
                true,
            ),
            ("object.spec.strategy.rollingUpdate.maxSurge == 1", true),
            ("object.spec.replica > 1", false),
            ("object.spec.replicas == '1'", false),
        ] {
            assert_eq!(Program::compile(text, &names).is_ok(), fits, "{text}");
        }
        assert!(type_of_kind("apps/v1", "Nothing").is_none());
    }
}
