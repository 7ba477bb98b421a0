//! The roles and bindings every cluster starts with, by upstream's names (contract §16), and how stored
//! ones are completed at every start.
mod controllers;
mod system;
mod users;

use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One rule, in words separated by blanks; the core group is called `core`.
enum Grant {
    /// Groups, resources, verbs.
    On(&'static str, &'static str, &'static str),
    /// Group, resource, names, verbs.
    Named(&'static str, &'static str, &'static str, &'static str),
    /// Paths that are no resources, verbs.
    Paths(&'static str, &'static str),
}

/// A ClusterRole.
struct Role {
    name: &'static str,
    grants: &'static [Grant],
}

const READ: &str = "get list watch";
const EVENTS: Grant = Grant::On("core events.k8s.io", "events", "create patch update");

/// Who is bound to a ClusterRole.
enum Who {
    User(&'static str),
    Group(&'static str),
    /// In kube-system.
    ServiceAccount(&'static str),
}

/// An object of [`all`], with the plural it is stored by.
pub struct Wanted {
    pub plural: &'static str,
    pub object: Value,
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace()
        .map(|word| if word == "core" { "" } else { word })
        .collect()
}

fn rule(grant: &Grant) -> Value {
    match grant {
        Grant::On(groups, resources, verbs) => {
            json!({"verbs": words(verbs), "apiGroups": words(groups), "resources": words(resources)})
        }
        Grant::Named(group, resource, names, verbs) => {
            json!({"verbs": words(verbs), "apiGroups": words(group),
            "resources": words(resource), "resourceNames": words(names)})
        }
        Grant::Paths(paths, verbs) => json!({"verbs": words(verbs), "nonResourceURLs": words(paths)}),
    }
}

fn rules(grants: &[Grant]) -> Vec<Value> {
    grants.iter().map(rule).collect()
}

fn metadata(name: &str, namespace: &str) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn subject(who: &Who) -> Value {
    match who {
        Who::User(name) => json!({"kind": "User", "apiGroup": crate::authz::RBAC_GROUP, "name": name}),
        Who::Group(name) => json!({"kind": "Group", "apiGroup": crate::authz::RBAC_GROUP, "name": name}),
        Who::ServiceAccount(name) => {
            json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
        }
    }
}

/// A ClusterRole, or with a namespace a Role.
fn role(name: &str, namespace: &str, rules: &[Value]) -> Wanted {
    Wanted {
        plural: if namespace.is_empty() {
            "clusterroles"
        } else {
            "roles"
        },
        object: json!({"metadata": metadata(name, namespace), "rules": rules}),
    }
}

fn cluster_role(of: &Role) -> Wanted {
    role(of.name, "", &rules(of.grants))
}

fn binding(name: &str, namespace: &str, kind: &str, role: &str, subjects: &[Who]) -> Wanted {
    let subjects: Vec<Value> = subjects.iter().map(subject).collect();
    let mut object = json!({
        "metadata": metadata(name, namespace),
        "roleRef": {"apiGroup": crate::authz::RBAC_GROUP, "kind": kind, "name": role},
    });
    if !subjects.is_empty() {
        object["subjects"] = json!(subjects);
    }
    let plural = if namespace.is_empty() {
        "clusterrolebindings"
    } else {
        "rolebindings"
    };
    Wanted { plural, object }
}

/// Everything, roles before the bindings to them.
pub fn all() -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = users::cluster_roles();
    wanted.extend(system::ROLES.iter().map(cluster_role));
    wanted.extend(controllers::ROLES.iter().map(cluster_role));
    for (name, namespace, grants) in system::NAMESPACED {
        wanted.push(role(name, namespace, &rules(grants)));
    }
    for (name, bound, subjects) in system::BINDINGS {
        wanted.push(binding(name, "", "ClusterRole", bound, subjects));
    }
    for of in controllers::ROLES {
        let account = Who::ServiceAccount(of.name.trim_start_matches("system:controller:"));
        wanted.push(binding(of.name, "", "ClusterRole", of.name, &[account]));
    }
    for (name, namespace, subjects) in system::NAMESPACED_BINDINGS {
        wanted.push(binding(name, namespace, "Role", name, subjects));
    }
    let role = "extension-apiserver-authentication-reader";
    let readers = [
        Who::User("system:kube-controller-manager"),
        Who::User("system:kube-scheduler"),
    ];
    wanted.push(binding(
        &format!("system::{role}"),
        "kube-system",
        "Role",
        role,
        &readers,
    ));
    wanted
}

/// A stored object with what it lacks of the wanted; `None` when it lacks nothing or was told to stay as
/// it is (annotation `rbac.authorization.kubernetes.io/autoupdate: "false"`).
pub fn completed(stored: &Value, wanted: &Value) -> Option<Value> {
    let annotation = stored
        .pointer("/metadata/annotations")
        .and_then(|a| a.get("rbac.authorization.kubernetes.io/autoupdate"));
    if annotation.is_some_and(|value| value == "false") {
        return None;
    }
    let mut new = stored.clone();
    for list in ["rules", "subjects"] {
        let Some(entries) = wanted[list].as_array() else {
            continue;
        };
        let missing: Vec<Value> = {
            let have = stored[list].as_array().map(Vec::as_slice).unwrap_or_default();
            let have: BTreeSet<String> = have.iter().map(Value::to_string).collect();
            entries
                .iter()
                .filter(|entry| !have.contains(&entry.to_string()))
                .cloned()
                .collect()
        };
        if missing.is_empty() {
            continue;
        }
        if !new[list].is_array() {
            new[list] = json!([]);
        }
        new[list].as_array_mut()?.extend(missing);
    }
    (new != *stored).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binding_names_a_role_that_is_there_and_nothing_is_there_twice() {
        let all = all();
        let mut seen = BTreeSet::new();
        for wanted in &all {
            let metadata = &wanted.object["metadata"];
            let key = format!("{} {} {}", wanted.plural, metadata["namespace"], metadata["name"]);
            assert!(seen.insert(key.clone()), "{key}");
        }
        for wanted in all.iter().filter(|w| w.plural.ends_with("bindings")) {
            let role = &wanted.object["roleRef"];
            let key = if role["kind"] == "ClusterRole" {
                format!("clusterroles null {}", role["name"])
            } else {
                format!(
                    "roles {} {}",
                    wanted.object["metadata"]["namespace"], role["name"]
                )
            };
            assert!(seen.contains(&key), "{key}");
        }
    }

    #[test]
    fn what_was_added_stays_and_what_is_missing_comes_back() {
        let wanted = json!({"rules": [1, 2]});
        let stored = |rules: Value| json!({"metadata": {}, "rules": rules});
        assert_eq!(completed(&stored(json!([2, 1, 3])), &wanted), None);
        assert_eq!(
            completed(&stored(json!([3, 1])), &wanted),
            Some(stored(json!([3, 1, 2])))
        );
        let mut own = stored(json!([]));
        own["metadata"] = json!({"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}});
        assert_eq!(completed(&own, &wanted), None);
    }
}
