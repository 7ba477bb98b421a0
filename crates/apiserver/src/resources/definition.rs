//! What a resource is: data that discovery, routing, storage and the verbs all read.
use super::rules::Rules;
use crate::cache::Object;
use crate::custom::Custom;
use serde_json::Value;
use std::borrow::Cow;

/// The verbs of a full resource, in discovery's order.
pub const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// The verbs of a subresource that shows part of its object.
pub const PART_VERBS: &[&str] = &["get", "patch", "update"];
/// The verbs of a resource that is only ever asked.
pub const CREATE_ONLY: &[&str] = &["create"];
/// The verbs of a subresource that switches protocols: SPDY clients POST, WebSocket clients GET.
pub const CONNECT_VERBS: &[&str] = &["create", "get"];

/// One served resource of one version. Everything here is `'static` data.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// Selectable fields beyond `metadata.name` and `metadata.namespace`.
    pub fields: &'static [Field],
    /// Key prefix below [`super::ROOT`]; empty when nothing is stored.
    pub storage: &'static str,
    /// Set when the objects are stored as another resource and only shown as this one.
    pub view: Option<View>,
    /// Set for a custom resource: its schema and what else its definition says.
    pub custom: Option<&'static Custom>,
    pub rules: Rules,
}

/// A part of an object with a path of its own.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    pub name: &'static str,
    pub verbs: &'static [&'static str],
    /// Group, version and kind of the body, when it is not the resource's own.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
}

/// The verbs of a subresource that carries any request on.
pub const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];

/// The commonest subresource.
pub const STATUS: Subresource = Subresource {
    name: "status",
    verbs: PART_VERBS,
    kind: None,
};

/// Replica counts as `autoscaling/v1` Scale.
pub const SCALE: Subresource = Subresource {
    name: "scale",
    verbs: PART_VERBS,
    kind: Some(("autoscaling", "v1", "Scale")),
};

/// A field that field selectors may name.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub read: Read,
}

/// How a field's value is found in an object.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// JSON pointer to a string; absent is empty.
    Text(&'static str),
    /// JSON pointer to a boolean; absent is false.
    Bool(&'static str),
    /// JSON pointer to a text, number or boolean; absent is empty.
    Scalar(&'static str),
    /// JSON pointer to a number; absent is 0.
    Number(&'static str),
    /// The first of these that is a non-empty string.
    FirstOf(&'static [&'static str]),
}

/// How the stored form, which is of another kind or group, and this one become each other, in place.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub from_stored: fn(&mut Value),
    pub to_stored: fn(&mut Value),
}

impl Resource {
    /// A namespaced resource of the full set of verbs, without status.
    pub const fn new(
        group: &'static str,
        plural: &'static str,
        singular: &'static str,
        kind: &'static str,
    ) -> Self {
        Self {
            group,
            version: "v1",
            plural,
            singular,
            kind,
            namespaced: true,
            short_names: &[],
            categories: &[],
            verbs: ALL_VERBS,
            subresources: &[],
            fields: &[],
            storage: plural,
            view: None,
            custom: None,
            rules: Rules::GENERIC,
        }
    }

    /// A kind that is only posted and answered, never stored.
    pub const fn review(
        group: &'static str,
        plural: &'static str,
        singular: &'static str,
        kind: &'static str,
    ) -> Self {
        Self {
            verbs: CREATE_ONLY,
            storage: "",
            namespaced: false,
            ..Self::new(group, plural, singular, kind)
        }
    }

    pub const fn cluster_scoped(self) -> Self {
        Self {
            namespaced: false,
            ..self
        }
    }

    pub const fn short(self, short_names: &'static [&'static str]) -> Self {
        Self { short_names, ..self }
    }

    /// Listed by `kubectl get all`.
    pub const fn in_all(self) -> Self {
        Self {
            categories: &["all"],
            ..self
        }
    }

    pub const fn with_subresources(self, subresources: &'static [Subresource]) -> Self {
        Self { subresources, ..self }
    }

    pub const fn with_fields(self, fields: &'static [Field]) -> Self {
        Self { fields, ..self }
    }

    pub const fn stored_under(self, storage: &'static str) -> Self {
        Self { storage, ..self }
    }

    pub const fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// `v1` or `group/version`.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    /// The kind of its lists.
    pub fn list_kind(&self) -> String {
        match self.custom {
            Some(custom) => custom.definition().list_kind.to_string(),
            None => format!("{}List", self.kind),
        }
    }

    pub fn owns_storage(&self) -> bool {
        !self.storage.is_empty() && self.view.is_none()
    }

    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Gives a stored object the form of this resource.
    pub fn show(&self, object: &mut Value) {
        if let Some(view) = self.view {
            (view.from_stored)(object);
        }
    }

    /// Gives an object of this resource the form in which it is stored. Its version is set where it is written.
    pub fn store(&self, object: &mut Value) {
        if let Some(view) = self.view {
            (view.to_stored)(object);
        }
    }

    /// Whether the stored form has other fields.
    pub fn is_stored_otherwise(&self) -> bool {
        self.view.is_some()
    }

    /// The key below the storage prefix.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{namespace}/{name}")
        } else {
            name.to_owned()
        }
    }

    /// The whole key in the store.
    pub fn store_key(&self, key: &str) -> String {
        format!("{}{}/{key}", super::ROOT, self.storage)
    }

    /// Values of the selectable fields, in declaration order; `at` tells what is at a JSON pointer.
    pub fn read_fields<'v>(
        &self,
        at: impl Fn(&str) -> Option<&'v Value>,
    ) -> impl Iterator<Item = Cow<'v, str>> {
        self.fields.iter().map(move |field| field.read.of(&at))
    }

    /// A selectable field of a cached object.
    pub fn field<'o>(&self, object: &'o Object, name: &str) -> Option<&'o str> {
        let index = self.fields.iter().position(|f| f.name == name)?;
        object.field(index)
    }
}

impl Read {
    /// The places it looks at.
    pub fn pointers(&self) -> &[&'static str] {
        match self {
            Self::Text(pointer) | Self::Bool(pointer) | Self::Scalar(pointer) | Self::Number(pointer) => {
                std::slice::from_ref(pointer)
            }
            Self::FirstOf(pointers) => pointers,
        }
    }

    fn of<'v>(&self, at: impl Fn(&str) -> Option<&'v Value>) -> Cow<'v, str> {
        let text = |pointer: &str| at(pointer).and_then(Value::as_str).unwrap_or_default();
        match self {
            Self::Text(pointer) => text(pointer).into(),
            Self::Scalar(pointer) => match at(pointer) {
                Some(Value::String(text)) => text.as_str().into(),
                Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string().into(),
                _ => "".into(),
            },
            Self::Bool(pointer) => match at(pointer).and_then(Value::as_bool) {
                Some(true) => "true".into(),
                _ => "false".into(),
            },
            Self::Number(pointer) => match at(pointer).and_then(Value::as_i64) {
                Some(number) => number.to_string().into(),
                None => "0".into(),
            },
            Self::FirstOf(pointers) => {
                let texts = pointers.iter().map(|pointer| text(pointer));
                texts
                    .into_iter()
                    .find(|text| !text.is_empty())
                    .unwrap_or_default()
                    .into()
            }
        }
    }
}

/// `v1` or `group/version`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}
