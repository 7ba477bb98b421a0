//! Whether a schema specifies everything that an object has: what pruning would leave alone, told without reading the
//! object into a tree.
use super::Node;
use super::prune::{Place, place};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Whether [`super::prune`] would take nothing out of this object. False for what is no JSON.
pub fn fits(object: &[u8], schema: &Node) -> bool {
    let mut reader = serde_json::Deserializer::from_slice(object);
    let seed = Fits {
        node: schema,
        whole: true,
        null: true,
    };
    matches!(seed.deserialize(&mut reader), Ok(true))
}

/// A value at a place of the schema.
#[derive(Clone, Copy)]
struct Fits<'s> {
    node: &'s Node,
    /// It is an object with `apiVersion`, `kind` and `metadata` of its own.
    whole: bool,
    /// It may be null.
    null: bool,
}

impl<'s> Fits<'s> {
    fn item(node: &'s Node) -> Self {
        Self {
            node,
            whole: node.embedded,
            null: true,
        }
    }

    /// A member of an object, where null may be too much.
    fn member(node: &'s Node) -> Self {
        Self {
            null: node.takes_null(),
            ..Self::item(node)
        }
    }
}

impl<'de> DeserializeSeed<'de> for Fits<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fits<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut fits = true;
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            fits &= match place(self.node, self.whole, &name) {
                Place::Unspecified => {
                    members.next_value::<IgnoredAny>()?;
                    false
                }
                Place::Anything => {
                    members.next_value::<IgnoredAny>()?;
                    true
                }
                Place::Of(node) => members.next_value_seed(Self::member(node))?,
            };
        }
        Ok(fits)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut fits = true;
        match &self.node.items {
            Some(node) => {
                while let Some(item) = items.next_element_seed(Self::item(node))? {
                    fits &= item;
                }
            }
            None => while items.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(fits)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(self.null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{compile, prune};
    use super::fits;
    use serde_json::{Value, json};

    /// The two readings of a schema must never differ.
    #[test]
    fn what_fits_is_what_pruning_leaves_alone() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer"},
                "none": {"type": "string", "nullable": true},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
                    "spec": {"type": "object"}}}}}}});
        let schema = compile(&schema, "").unwrap();
        for (object, expected) in [
            (
                json!({"kind": "W", "apiVersion": "e/v1", "metadata": {"odd": 1}}),
                true,
            ),
            (json!({"spec": {"size": 1, "none": null}}), true),
            (json!({"spec": {"size": null}}), false),
            (json!({"spec": {"odd": 1}}), false),
            (json!({"odd": {"spec": {"odd": 1}}}), false),
            (json!({"spec": {"free": {"any": [1, {"b": null}]}}}), true),
            (json!({"spec": {"map": {"k": {"a": "x"}}}}), true),
            (json!({"spec": {"map": {"k": {"b": "x"}}}}), false),
            (json!({"spec": {"list": [{"a": "x"}, {"a": "y"}]}}), true),
            (json!({"spec": {"list": [{"a": "x"}, {"b": {"c": [1]}}]}}), false),
            (
                json!({"spec": {"template": {"kind": "P", "metadata": {}, "spec": {}}}}),
                true,
            ),
            (json!({"spec": {"template": {"status": {}}}}), false),
        ] {
            assert_eq!(fits(object.to_string().as_bytes(), &schema), expected, "{object}");
            let mut pruned = object.clone();
            prune(&mut pruned, &schema);
            assert_eq!(pruned == object, expected, "{object}");
        }
        assert!(!fits(b"{", &schema));
        assert!(!fits(&Value::Null.to_string().as_bytes()[..2], &schema));
    }
}
