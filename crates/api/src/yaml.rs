//! YAML and JSON with positions: a small tree in which every value knows its line and column, so that errors
//! found much later (wrong type, failed validation) can still point into the file.
//!
//! Scalars mean what they mean to kubectl: YAML 1.1, where `yes` is true and `0644` is octal. JSON is read by
//! the same code, being YAML. Unknown and duplicate keys are no errors (the last one wins).

mod decode;
mod locate;
mod scalar;
mod tree;

pub use decode::DecodeError;
pub use tree::{documents, first_document, first_document_in, second_document};

use std::fmt;

use serde::de::DeserializeOwned;
use thiserror::Error;

/// Deepest nesting read; far beyond any API object, far below what would exhaust a thread's stack.
pub const DEPTH_MAX: usize = 96;
/// Most values in one document, aliases expanded: stops "billion laughs" and bounds memory.
pub const VALUES_MAX: usize = 400_000;

/// A place in a text; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub at: Location,
    /// How a plain scalar that is no text was written (`yes`, `0644`).
    pub written: Option<String>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_at: Location,
    pub value: Node,
}

/// The text is no YAML, or more of it than is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{at}: {reason}")]
pub struct YamlError {
    pub at: Location,
    pub reason: String,
}

impl Node {
    /// The value under a key, if this is a map that has it (the last one, if several).
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.value)
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().rev().find(|e| e.key == key),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Reads a typed object; the error names the field path and its place.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode::decode(self)
    }

    /// The plain JSON value.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => Json::from(*n),
            Value::UInt(n) => Json::from(*n),
            Value::Float(n) => Json::from(*n),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|e| (e.key.clone(), e.value.to_json()))
                    .collect(),
            ),
        }
    }

    /// Where a field path such as `spec.containers[0].image` or `metadata.labels[app]` stands, or the nearest
    /// parent that exists.
    pub fn locate(&self, path: &str) -> Location {
        locate::locate(self, path)
    }
}
