//! A set of fields, in the shape in which `fieldsV1` writes it: a tree whose edges are `f:name`, `k:{keys}`,
//! `v:value` and `i:index`, and whose nodes may be members themselves.
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

/// An edge of the tree; those of declared fields stand in the field tables.
pub(super) type Element = Cow<'static, str>;

/// A set of fields; see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    pub(super) member: bool,
    pub(super) below: BTreeMap<Element, FieldSet>,
}

impl FieldSet {
    /// Reads `fieldsV1`; `None` if it is malformed.
    pub fn parse(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (element, inner) in fields.as_object()? {
            if element == "." {
                continue;
            }
            set.below
                .insert(canonical(element)?.into(), Self::parse_node(inner)?);
        }
        Some(set)
    }

    fn parse_node(node: &Value) -> Option<Self> {
        let mut set = Self::parse(node)?;
        set.member = node.get(".").is_some() || set.below.is_empty();
        Some(set)
    }

    /// As `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let members = self.below.iter().map(|(element, node)| {
            let mut inner = node.to_value();
            if let (true, false, Value::Object(inner)) = (node.member, node.below.is_empty(), &mut inner) {
                inner.insert(".".to_owned(), json!({}));
            }
            (element.clone().into_owned(), inner)
        });
        Value::Object(members.collect::<Map<String, Value>>())
    }

    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Adds what is below an element that isn't there yet, if that is anything.
    pub(super) fn put(&mut self, element: impl FnOnce() -> Element, below: Self) {
        if !below.is_empty() {
            self.below.insert(element(), below);
        }
    }

    /// Adds the members of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (element, node) in &other.below {
            match self.below.get_mut(element) {
                Some(own) => own.add(node),
                None => {
                    self.below.insert(element.clone(), node.clone());
                }
            }
        }
    }

    /// Takes out the members of `other`.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        for (element, node) in &other.below {
            if let Some(own) = self.below.get_mut(element) {
                own.subtract(node);
                if own.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    /// The members that are in both.
    pub(super) fn common(&self, other: &Self) -> Self {
        let below = self.below.iter().filter_map(|(element, node)| {
            let common = node.common(other.below.get(element)?);
            (!common.is_empty()).then(|| (element.clone(), common))
        });
        Self {
            member: self.member && other.member,
            below: below.collect(),
        }
    }

    /// Takes out a field of the top level with everything below it.
    pub(super) fn cut(&mut self, element: &str) {
        self.below.remove(element);
    }

    /// Every member's path, as people read it: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, path: &str, paths: &mut Vec<String>) {
        let below = || {
            let below = self.below.iter();
            below.map(move |(element, node)| (format!("{path}{}", readable(element)), node))
        };
        // What stands at a level comes before what stands below it.
        paths.extend(below().filter(|(_, node)| node.member).map(|(path, _)| path));
        for (path, node) in below() {
            node.collect(&path, paths);
        }
    }
}

/// An element with its JSON in the one form we write; `None` if it is none.
fn canonical(element: &str) -> Option<String> {
    let (kind, rest) = element.split_at_checked(2)?;
    match kind {
        "f:" => Some(element.to_owned()),
        "i:" => rest.parse::<i64>().ok().map(|_| element.to_owned()),
        "k:" => {
            let keys: Value = serde_json::from_str(rest).ok()?;
            keys.as_object()?;
            Some(format!("k:{keys}"))
        }
        "v:" => Some(format!("v:{}", serde_json::from_str::<Value>(rest).ok()?)),
        _ => None,
    }
}

/// One element as people read it.
pub(super) fn readable(element: &str) -> String {
    let (kind, rest) = element.split_at_checked(2).unwrap_or(("f:", element));
    match kind {
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let mut text = String::from("[");
            for (number, (key, value)) in keys.iter().enumerate() {
                let comma = if number > 0 { "," } else { "" };
                let _ = write!(text, "{comma}{key}={value}");
            }
            text + "]"
        }
        "v:" => format!("[={rest}]"),
        "i:" => format!("[{rest}]"),
        _ => format!(".{rest}"),
    }
}
