//! Typed objects from the tree, with errors a person can act on: place, field path, what was expected.
//!
//! Nulls mean "not given" everywhere, as upstream's decoder has it.

use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use super::{Entry, Location, Node, Value};

/// A value of the wrong type or form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Field path, e.g. `spec.containers[0].ports[0].containerPort`; empty for the whole document.
    pub field: String,
    /// Where the value stands.
    pub at: Option<Location>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "{at}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError {
            field: String::new(),
            at: None,
            reason: message.to_string(),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = wanted(&expected.to_string());
        let hint = match found {
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) | Unexpected::Bool(_)
                if wanted == "a string" =>
            {
                " (write it in quotes)"
            }
            Unexpected::Str(text) if wanted == "a whole number" && text.parse::<i64>().is_ok() => {
                " (remove the quotes)"
            }
            Unexpected::Str("true" | "false") if wanted == "true or false" => " (remove the quotes)",
            _ => "",
        };
        de::Error::custom(format_args!("expected {wanted}, found {}{hint}", shown(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        de::Error::custom(format_args!(
            "expected {}, found {}",
            wanted(&expected.to_string()),
            shown(found)
        ))
    }
}

fn wanted(expected: &str) -> String {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "IntOrString" => "a whole number or a string".to_owned(),
        "Quantity" => "a quantity such as 100m or 64Mi".to_owned(),
        // Generated types call themselves by their type name.
        name if name.starts_with(|c: char| c.is_ascii_uppercase()) => format!("a map ({name})"),
        other => other.to_owned(),
    }
}

fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(b) => b.to_string(),
        Unexpected::Unsigned(n) => format!("the number {n}"),
        Unexpected::Signed(n) => format!("the number {n}"),
        Unexpected::Float(n) => format!("the number {n}"),
        Unexpected::Str(text) => {
            let short: String = text.chars().take(60).collect();
            let dots = if short.len() < text.len() { "…" } else { "" };
            format!("the string {short:?}{dots}")
        }
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

impl DecodeError {
    /// Adds the place, if an inner value has not done so, and a step of the path.
    fn under(mut self, step: &str, at: Location) -> Self {
        self.at.get_or_insert(at);
        let joint = if self.field.is_empty() || self.field.starts_with('[') {
            ""
        } else {
            "."
        };
        self.field = format!("{step}{joint}{}", self.field);
        self
    }
}

pub(super) fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, DecodeError> {
    T::deserialize(De(node)).map_err(|mut error| {
        error.at.get_or_insert(node.at);
        error
    })
}

struct De<'a>(&'a Node);

impl<'a> De<'a> {
    fn null(&self) -> bool {
        self.0.value == Value::Null
    }

    fn map<V: Visitor<'a>>(self, visitor: V, brackets: bool) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Map(entries) => visitor.visit_map(Entries {
                rest: entries.iter(),
                current: None,
                brackets,
            }),
            Value::Null => visitor.visit_map(Entries {
                rest: [].iter(),
                current: None,
                brackets,
            }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn whole<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0.value {
            Value::Null => visitor.visit_i64(0),
            // 80.0 is a whole number to JSON decoders.
            Value::Float(n) if n.fract() == 0.0 && n.abs() < 9e15 => visitor.visit_i64(n as i64),
            _ => self.deserialize_any(visitor),
        }
    }

    fn text<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.null() {
            visitor.visit_borrowed_str("")
        } else {
            self.deserialize_any(visitor)
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.whole(visitor)
        })*
    };
}

impl<'a> Deserializer<'a> for De<'a> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Int(n) => visitor.visit_i64(*n),
            Value::UInt(n) => visitor.visit_u64(*n),
            Value::Float(n) => visitor.visit_f64(*n),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items {
                rest: items.iter(),
                index: 0,
            }),
            Value::Map(_) => self.map(visitor, false),
        }
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.null() {
            visitor.visit_bool(false)
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        // A number's own spelling is exact where a float is not (`cpu: 0.1`).
        if name == "Quantity"
            && let (Value::Float(_) | Value::UInt(_), Some(written)) = (&self.0.value, &self.0.written)
        {
            return visitor.visit_newtype_struct(BorrowedStrDeserializer::new(written));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.null() {
            return visitor.visit_seq(Items {
                rest: [].iter(),
                index: 0,
            });
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.map(visitor, true)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.map(visitor, false)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <W: Visitor<'a>>
        f32 f64 i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Items<'a> {
    rest: std::slice::Iter<'a, Node>,
    index: usize,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.rest.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        seed.deserialize(De(node))
            .map(Some)
            .map_err(|e| e.under(&format!("[{index}]"), node.at))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
    brackets: bool,
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        self.current = self.rest.next();
        match self.current {
            Some(entry) => seed
                .deserialize(BorrowedStrDeserializer::new(&entry.key))
                .map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Some(entry) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let step = if self.brackets {
            format!("[{}]", entry.key)
        } else {
            entry.key.clone()
        };
        seed.deserialize(De(&entry.value))
            .map_err(|e| e.under(&step, entry.value.at))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use crate::yaml::first_document_in;

    fn pod(text: &str) -> Result<Pod, String> {
        first_document_in(text)
            .unwrap()
            .decode::<Pod>()
            .map_err(|e| e.to_string())
    }

    #[test]
    fn wrong_types_name_place_path_and_remedy() {
        for (text, want) in [
            (
                "spec:\n  containers:\n  - ports:\n    - containerPort: http\n",
                "line 4, column 22: spec.containers[0].ports[0].containerPort: expected a whole number, found the string \"http\"",
            ),
            (
                "spec:\n  containers:\n  - ports:\n    - containerPort: \"80\"\n",
                "line 4, column 22: spec.containers[0].ports[0].containerPort: expected a whole number, found the string \"80\" (remove the quotes)",
            ),
            (
                "spec:\n  containers:\n  - env:\n    - {name: A, value: 1}\n",
                "line 4, column 24: spec.containers[0].env[0].value: expected a string, found the number 1 (write it in quotes)",
            ),
            (
                "metadata:\n  labels:\n    a.b/c: yes\n",
                "line 3, column 12: metadata.labels[a.b/c]: expected a string, found true (write it in quotes)",
            ),
            (
                "spec:\n  containers: {}\n",
                "line 2, column 15: spec.containers: expected a list, found a map",
            ),
            (
                "spec: []\n",
                "line 1, column 7: spec: expected a map (PodSpec), found a list",
            ),
            (
                "spec:\n  hostNetwork: \"true\"\n",
                "line 2, column 16: spec.hostNetwork: expected true or false, found the string \"true\" (remove the quotes)",
            ),
        ] {
            assert_eq!(pod(text).unwrap_err(), want);
        }
    }

    #[test]
    fn lenient_where_upstream_is() {
        let p = pod("metadata:\n  name: a\n  name: b\n  labels: {x: }\n  creationTimestamp: null\nnonsense: [1]\nspec:\n  containers:\n  - name: c\n    args: null\n    resources: {limits: {cpu: 0.1, memory: 64Mi, x: 2}}\n    ports: [{containerPort: 80.0}]\n").unwrap();
        assert_eq!(p.metadata.name.as_deref(), Some("b"));
        assert_eq!(p.metadata.labels.unwrap()["x"], "");
        let c = &p.spec.unwrap().containers[0];
        let limits = c.resources.as_ref().unwrap().limits.as_ref().unwrap();
        assert_eq!((limits["cpu"].0.as_str(), limits["x"].0.as_str()), ("0.1", "2"));
        assert_eq!(c.ports.as_ref().unwrap()[0].container_port, 80);
    }
}
