//! Stored roles and bindings, compiled for looking up what a user may do. No I/O, no clock.
use super::rule::{Rule, rules_of};
use crate::authn::UserInfo;
use crate::authz::{Attributes, Decision};
use orlop_api::selector::LabelSelector;
use orlop_api::validation::summary;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The kinds that decide, as stored.
#[derive(Default)]
pub struct Objects {
    pub roles: Vec<Value>,
    pub cluster_roles: Vec<Value>,
    pub role_bindings: Vec<Value>,
    pub cluster_role_bindings: Vec<Value>,
}

/// What one binding gives each of its subjects.
struct Grant {
    /// Where it holds; `None`: everywhere, and for what is in no namespace.
    namespace: Option<Box<str>>,
    /// The rules of the bound role; `Err` names a role that doesn't exist.
    rules: Result<Arc<[Rule]>, Box<str>>,
    /// Who is given this, by which binding: the reason of an allowed review.
    reason: Arc<str>,
}

/// See the module.
#[derive(Default)]
pub struct Grants {
    /// By name. Service accounts are users by their full name.
    users: HashMap<Box<str>, Vec<Grant>>,
    groups: HashMap<Box<str>, Vec<Grant>>,
    roles: HashMap<RoleKey, Arc<[Rule]>>,
}

/// Namespace (empty: a ClusterRole) and name.
type RoleKey = (Box<str>, Box<str>);

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Grants {
    pub fn compile(objects: &Objects) -> Self {
        let mut grants = Self::default();
        for role in &objects.roles {
            let key = (
                text(role, "/metadata/namespace").into(),
                text(role, "/metadata/name").into(),
            );
            grants.roles.insert(key, rules_of(role).into());
        }
        for role in &objects.cluster_roles {
            let key = ("".into(), text(role, "/metadata/name").into());
            grants
                .roles
                .insert(key, whole(role, &objects.cluster_roles).into());
        }
        for binding in &objects.cluster_role_bindings {
            grants.bind(binding, None);
        }
        for binding in &objects.role_bindings {
            grants.bind(binding, Some(text(binding, "/metadata/namespace")));
        }
        grants
    }

    fn bind(&mut self, binding: &Value, namespace: Option<&str>) {
        let (kind, name) = (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
        let rules = self.rules_of_role(kind, name, namespace.unwrap_or_default());
        let missing = || {
            format!(
                "{}.rbac.authorization.k8s.io {name:?} not found",
                kind.to_ascii_lowercase()
            )
        };
        let rules = rules.ok_or_else(|| missing().into());
        let own = text(binding, "/metadata/name");
        let title = match namespace {
            None => format!("ClusterRoleBinding {own:?}"),
            Some(namespace) => format!("RoleBinding \"{own}/{namespace}\""),
        };
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let (who, called) = (text(subject, "/kind"), text(subject, "/name"));
            let (by_name, key, shown) = match who {
                "User" => (&mut self.users, called.to_owned(), called.to_owned()),
                "Group" => (&mut self.groups, called.to_owned(), called.to_owned()),
                "ServiceAccount" => {
                    let home = match text(subject, "/namespace") {
                        "" => namespace.unwrap_or_default(),
                        home => home,
                    };
                    let full = format!("system:serviceaccount:{home}:{called}");
                    (&mut self.users, full, format!("{called}/{home}"))
                }
                _ => continue,
            };
            let grant = Grant {
                namespace: namespace.map(Into::into),
                rules: rules.clone(),
                reason: format!("RBAC: allowed by {title} of {kind} {name:?} to {who} {shown:?}").into(),
            };
            by_name.entry(key.into()).or_default().push(grant);
        }
    }

    /// The rules of a bound role; `None` when there is no such role.
    pub fn rules_of_role(&self, kind: &str, name: &str, namespace: &str) -> Option<Arc<[Rule]>> {
        let home = if kind == "ClusterRole" { "" } else { namespace };
        self.roles.get(&(home.into(), name.into())).cloned()
    }

    fn of_user<'g>(&'g self, user: &'g UserInfo, namespace: &'g str) -> impl Iterator<Item = &'g Grant> {
        let own = self.users.get(&*user.name);
        let shared = user.groups.iter().filter_map(|group| self.groups.get(&**group));
        own.into_iter()
            .chain(shared)
            .flatten()
            .filter(move |grant| grant.namespace.as_deref().is_none_or(|home| home == namespace))
    }

    pub fn decide(&self, user: &UserInfo, asked: &Attributes) -> Decision {
        let mut missing: Vec<&str> = Vec::new();
        for grant in self.of_user(user, &asked.namespace) {
            match &grant.rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(asked)) => {
                    return Decision::Allow(Some(grant.reason.clone()));
                }
                Ok(_) => {}
                Err(role) if !missing.contains(&&**role) => missing.push(role),
                Err(_) => {}
            }
        }
        Decision::deny(match missing.is_empty() {
            true => String::new(),
            false => format!("RBAC: {}", summary(&missing)),
        })
    }

    /// Every rule that holds for a user in a namespace.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        self.of_user(user, namespace)
            .filter_map(|grant| grant.rules.as_ref().ok())
            .flat_map(|rules| rules.iter().cloned())
            .collect()
    }
}

/// A ClusterRole's rules with those of the roles that its `aggregationRule` selects.
fn whole(role: &Value, all: &[Value]) -> Vec<Rule> {
    let mut found = rules_of(role);
    let selectors = role.pointer("/aggregationRule/clusterRoleSelectors");
    for selector in selectors.and_then(Value::as_array).into_iter().flatten() {
        // A selector that isn't one selects nothing.
        let selector = serde_json::from_value(selector.clone()).ok();
        let Some(selector) = selector.and_then(|meta| LabelSelector::from_meta(&meta).ok()) else {
            continue;
        };
        for other in all {
            let labels = other.pointer("/metadata/labels").cloned().unwrap_or_default();
            let labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap_or_default();
            if selector.matches(&labels) {
                for rule in rules_of(other) {
                    if !found.contains(&rule) {
                        found.push(rule);
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(verb: &str, resource: &str, namespace: &str) -> Attributes {
        Attributes {
            is_resource: true,
            verb: verb.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            ..Attributes::default()
        }
    }

    fn reads(name: &str, resource: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "a", "labels": {"part-of": "whole"}},
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]})
    }

    fn binding(kind: &str, role: &str, subject: Value) -> Value {
        json!({"metadata": {"name": "b", "namespace": "a"}, "roleRef": {"kind": kind, "name": role},
            "subjects": [subject]})
    }

    fn allowed(grants: &Grants, user: &UserInfo, asked: &Attributes) -> bool {
        matches!(grants.decide(user, asked), Decision::Allow(_))
    }

    #[test]
    fn a_role_binding_holds_in_its_namespace_only() {
        for (kind, subject, user) in [
            (
                "Role",
                json!({"kind": "User", "name": "alice"}),
                UserInfo::new("alice", ["x"]),
            ),
            (
                "Role",
                json!({"kind": "Group", "name": "devs"}),
                UserInfo::new("bob", ["devs"]),
            ),
            (
                "ClusterRole",
                json!({"kind": "ServiceAccount", "name": "sa"}),
                UserInfo::new("system:serviceaccount:a:sa", ["x"]),
            ),
        ] {
            let grants = Grants::compile(&Objects {
                roles: vec![reads("r", "pods")],
                cluster_roles: vec![reads("r", "pods")],
                role_bindings: vec![binding(kind, "r", subject)],
                ..Objects::default()
            });
            for (question, expected) in [
                (asked("get", "pods", "a"), true),
                (asked("get", "pods", "b"), false),
                (asked("get", "pods", ""), false),
                (asked("list", "pods", "a"), false),
                (asked("get", "secrets", "a"), false),
            ] {
                assert_eq!(
                    allowed(&grants, &user, &question),
                    expected,
                    "{kind} {question:?}"
                );
            }
            assert!(!allowed(
                &grants,
                &UserInfo::new("eve", ["x"]),
                &asked("get", "pods", "a")
            ));
        }
    }

    #[test]
    fn a_cluster_binding_holds_everywhere_and_says_why() {
        let grants = Grants::compile(&Objects {
            cluster_roles: vec![reads("r", "nodes")],
            cluster_role_bindings: vec![binding(
                "ClusterRole",
                "r",
                json!({"kind": "User", "name": "alice"}),
            )],
            ..Objects::default()
        });
        let Decision::Allow(Some(reason)) =
            grants.decide(&UserInfo::new("alice", ["x"]), &asked("get", "nodes", ""))
        else {
            panic!("denied")
        };
        assert_eq!(
            &*reason,
            r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "alice""#
        );
    }

    #[test]
    fn a_missing_role_is_the_reason() {
        let grants = Grants::compile(&Objects {
            role_bindings: vec![binding(
                "Role",
                "missing",
                json!({"kind": "User", "name": "alice"}),
            )],
            ..Objects::default()
        });
        assert_eq!(
            grants.decide(&UserInfo::new("alice", ["x"]), &asked("get", "pods", "a")),
            Decision::deny(r#"RBAC: role.rbac.authorization.k8s.io "missing" not found"#)
        );
    }

    #[test]
    fn an_aggregated_role_has_the_rules_of_the_selected() {
        let mut whole = reads("whole", "pods");
        whole["metadata"]["labels"] = Value::Null;
        whole["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"part-of": "whole"}}]});
        let grants = Grants::compile(&Objects {
            cluster_roles: vec![whole, reads("part", "nodes")],
            cluster_role_bindings: vec![binding(
                "ClusterRole",
                "whole",
                json!({"kind": "User", "name": "alice"}),
            )],
            ..Objects::default()
        });
        let alice = UserInfo::new("alice", ["x"]);
        assert!(allowed(&grants, &alice, &asked("get", "nodes", "")));
        assert!(allowed(&grants, &alice, &asked("get", "pods", "")));
        assert_eq!(grants.rules_for(&alice, "").len(), 2);
    }
}
