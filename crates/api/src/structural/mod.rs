//! Structural schemas: what a CustomResourceDefinition says about its objects, and what follows from it (contract
//! api-server §18).
//!
//! | file | does |
//! |---|---|
//! | `compile` | from `openAPIV3Schema` to [`Node`], refusing what is not structural |
//! | `prune` | takes out what the schema doesn't specify, and tells what it was |
//! | `fits` | whether it would take anything out |
//! | `fill` | fills defaults in |
//! | `validate` | what is wrong with a value, in upstream's words |
//! | `formats` | what a text of a `format` has to be |
//! | `definition` | what is wrong with the schema itself, in upstream's words |
//! | `rules` | what its `x-kubernetes-validations` say about it |
mod compile;
mod definition;
mod fill;
mod fits;
mod formats;
mod prune;
mod rules;
#[cfg(test)]
mod tests;
mod validate;

pub use compile::{compile, compile_preserving};
pub use definition::{Look, check as check_definition, field_path};
pub use fill::{fill, fills};
pub use fits::fits;
use prune::prune_inside;
pub use prune::{each_embedded, embedded_objects, prune};
pub use rules::too_expensive;
pub use validate::{Violation, check, validate};

use crate::regexp::Pattern;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a schema's pattern takes compiled, at most.
const PATTERN_BYTES_MAX: usize = 10 << 20;

/// What a value may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// No type is given: inside `anyOf` and its like, or where anything goes.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    /// By these fields.
    Map(Vec<String>),
}

/// What stands in an object beside the properties.
#[derive(Debug, Default)]
pub enum Additional {
    #[default]
    Unspecified,
    Anything,
    Each(Box<Node>),
}

/// A place of a schema.
#[derive(Debug, Default)]
pub struct Node {
    pub kind: Kind,
    pub nullable: bool,
    pub preserve_unknown: bool,
    /// An object with `apiVersion`, `kind` and `metadata` of its own.
    pub embedded: bool,
    pub default: Option<Value>,
    pub properties: BTreeMap<String, Node>,
    pub additional: Additional,
    pub items: Option<Box<Node>>,
    pub list_type: ListType,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    pub limits: Limits,
    pub all_of: Vec<Node>,
    pub any_of: Vec<Node>,
    pub one_of: Vec<Node>,
    pub not: Option<Box<Node>>,
    pub rules: Vec<rules::Rule>,
    /// Whether rules here or below compare with what was there before.
    pub about_changes: bool,
}

/// What restricts a value beyond its type.
#[derive(Debug, Default)]
pub struct Limits {
    pub required: Vec<String>,
    pub allowed: Vec<Value>,
    pub format: String,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<Pattern>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString => "integer,string",
        }
    }
}
