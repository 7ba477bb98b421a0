//! Maps, and objects with their fields.
use super::super::property::unescape;
use super::{Key, Shape, Value};
use crate::structural::Additional;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub enum Map<'a> {
    Json(&'a serde_json::Map<String, Json>, Shape<'a>),
    Made(Arc<BTreeMap<Key, Value<'a>>>),
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map, _) => map.len(),
            Self::Made(map) => map.len(),
        }
    }

    pub fn get(&self, key: &Key) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Json(map, shape), Key::String(name)) => map
                .get(name)
                .map(|value| Value::of(value, field_shape(*shape, name))),
            (Self::Json(..), _) => None,
            (Self::Made(map), key) => map.get(key).cloned(),
        }
    }

    /// The field of an object, or the entry of a map, as `map.name` asks for it. A null where the schema allows none
    /// but absence is absent.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(map, Some(node)) if !node.properties.is_empty() => {
                let name = unescape(name);
                let value = map.get(name.as_ref())?;
                let shape = field_shape(Some(node), &name);
                let absent = value.is_null() && shape.is_some_and(|node| node.nullable);
                (!absent).then(|| Value::of(value, shape))
            }
            Self::Json(map, shape) => map
                .get(name)
                .map(|value| Value::of(value, field_shape(*shape, name))),
            Self::Made(map) => map.get(&Key::String(name.to_owned())).cloned(),
        }
    }

    pub fn keys(&self) -> Vec<Key> {
        match self {
            Self::Json(map, _) => map.keys().map(|key| Key::String(key.clone())).collect(),
            Self::Made(map) => map.keys().cloned().collect(),
        }
    }

    /// The entries, each made when it is its turn.
    pub fn each(&self) -> impl Iterator<Item = (Key, Value<'a>)> {
        let (json, made) = match self {
            Self::Json(map, shape) => (Some((*map, *shape)), None),
            Self::Made(map) => (None, Some(map)),
        };
        let shown = json.into_iter().flat_map(|(map, shape)| {
            map.iter().map(move |(key, value)| {
                let value = Value::of(value, field_shape(shape, key));
                (Key::String(key.clone()), value)
            })
        });
        let made = made.into_iter().flat_map(|map| map.iter());
        shown.chain(made.map(|(key, value)| (key.clone(), value.clone())))
    }
}

fn field_shape<'a>(shape: Shape<'a>, name: &str) -> Shape<'a> {
    let node = shape?;
    node.properties.get(name).or(match &node.additional {
        Additional::Each(node) => Some(node),
        _ => None,
    })
}
