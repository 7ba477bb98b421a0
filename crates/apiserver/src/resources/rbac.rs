//! `rbac.authorization.k8s.io`: what `authz::rbac` decides by.
use super::definition::Resource;
use super::rules::{NameRule, Rules};
use crate::status::{Cause, cause};
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

const ROLE_RULES: Rules = Rules {
    name: NameRule::PathSegment,
    create_on_update: true,
    default: |role| {
        // Upstream's type has no omitempty here.
        if role.get("rules").is_none() {
            role["rules"] = Value::Null;
        }
    },
    ..Rules::GENERIC
};

const BINDING_RULES: Rules = Rules {
    name: NameRule::PathSegment,
    create_on_update: true,
    default: default_binding,
    validate_update: keeps_role_ref,
    ..Rules::GENERIC
};

pub const ROLES: Resource = Resource::new(GROUP, "roles", "role", "Role").with_rules(ROLE_RULES);

pub const CLUSTERROLES: Resource = Resource::new(GROUP, "clusterroles", "clusterrole", "ClusterRole")
    .cluster_scoped()
    .with_rules(ROLE_RULES);

pub const ROLEBINDINGS: Resource =
    Resource::new(GROUP, "rolebindings", "rolebinding", "RoleBinding").with_rules(BINDING_RULES);

pub const CLUSTERROLEBINDINGS: Resource = Resource::new(
    GROUP,
    "clusterrolebindings",
    "clusterrolebinding",
    "ClusterRoleBinding",
)
.cluster_scoped()
.with_rules(BINDING_RULES);

fn default_binding(binding: &mut Value) {
    let needs = |value: &Value| value["apiGroup"].as_str().unwrap_or_default().is_empty();
    if let Some(role) = binding.get_mut("roleRef").filter(|r| r.is_object() && needs(r)) {
        role["apiGroup"] = GROUP.into();
    }
    for subject in binding
        .get_mut("subjects")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let named_kind = matches!(subject["kind"].as_str(), Some("User" | "Group"));
        if named_kind && needs(subject) {
            subject["apiGroup"] = GROUP.into();
        }
    }
}

fn keeps_role_ref(new: &Value, old: &Value) -> Vec<Cause> {
    if new["roleRef"] == old["roleRef"] {
        return Vec::new();
    }
    vec![cause::invalid(
        "roleRef",
        &new["roleRef"],
        "cannot change roleRef",
    )]
}
