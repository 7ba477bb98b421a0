//! What is particular about a kind: small functions, with the usual behaviour as default.
use crate::status::Cause;
use serde_json::Value;

/// How names of a kind are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain.
    Subdomain,
    /// DNS-1123 label.
    Label,
    /// Anything that can be a path segment (RBAC).
    PathSegment,
}

/// What a write of the status does to the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusMetadata {
    /// It is written as well.
    Written,
    /// All but the labels.
    LabelsKept,
    /// All but the owners and the time of deletion.
    OwnersKept,
    /// It stays as it is.
    Kept,
}

/// The rules of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub name: NameRule,
    /// Whether `metadata.generation` is kept.
    pub generation: bool,
    /// PUT on a missing object creates it.
    pub create_on_update: bool,
    /// PUT without resourceVersion is accepted.
    pub unconditional_update: bool,
    /// DELETE answers the object instead of a Status.
    pub delete_answers_object: bool,
    /// A deletion that says nothing of dependents leaves them behind, as all did before there was a collector.
    pub leaves_dependents: bool,
    /// What the caller of such a deletion is told; empty for nothing.
    pub leaving_warning: &'static str,
    /// Stored under a lease, as Events are.
    pub expires: bool,
    /// Status of a create is kept (nodes register with theirs).
    pub keeps_status_on_create: bool,
    pub status_metadata: StatusMetadata,
    /// Fills defaults; applied to every decoded body.
    pub default: fn(&mut Value),
    /// After mutating admission, before validation.
    pub prepare_create: fn(&mut Value),
    /// `(new, old)`; runs after status and metadata were restored.
    pub prepare_update: fn(&mut Value, &Value),
    /// `(new, old)` for writes of the status subresource, after the spec was restored.
    pub prepare_status: fn(&mut Value, &Value),
    /// Before an object is marked as being deleted.
    pub prepare_delete: fn(&mut Value),
    pub validate_create: fn(&Value) -> Vec<Cause>,
    /// `(new, old)`.
    pub validate_update: fn(&Value, &Value) -> Vec<Cause>,
    pub validate_status: fn(&Value, &Value) -> Vec<Cause>,
    /// What the caller should know although the write is accepted.
    pub warnings: fn(&Value) -> Vec<String>,
    /// Seconds between the request to delete and the end, for kinds that end gracefully.
    pub grace_period: Option<fn(&Value, Option<i64>) -> i64>,
}

impl Rules {
    pub const GENERIC: Self = Self {
        name: NameRule::Subdomain,
        generation: false,
        create_on_update: false,
        unconditional_update: true,
        delete_answers_object: false,
        leaves_dependents: false,
        leaving_warning: "",
        expires: false,
        keeps_status_on_create: false,
        status_metadata: StatusMetadata::Written,
        default: |_| {},
        prepare_create: |_| {},
        prepare_update: |_, _| {},
        prepare_status: |_, _| {},
        prepare_delete: |_| {},
        validate_create: |_| Vec::new(),
        validate_update: |_, _| Vec::new(),
        validate_status: |_, _| Vec::new(),
        warnings: |_| Vec::new(),
        grace_period: None,
    };

    /// With `metadata.generation`.
    pub const WITH_GENERATION: Self = Self {
        generation: true,
        ..Self::GENERIC
    };
}
