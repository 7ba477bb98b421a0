//! Which requests a webhook or policy is about: rules, scopes, and the labels of namespaces and objects.
use super::{Attempt, Operation};
use crate::resources::{self, Resource};
use orlop_api::selector::LabelSelector;
use serde_json::Value;
use std::collections::BTreeMap;

/// Resources of this group decide about admission; nothing decides about them, or a mistake could not be undone.
pub const GROUP: &str = "admissionregistration.k8s.io";

/// Kinds of these groups are only asked, and are answered whatever policies say.
const ASKED: &[&str] = &["authentication.k8s.io", "authorization.k8s.io"];

/// Whether no policy decides about resources of the group.
pub fn is_exempt(group: &str) -> bool {
    group == GROUP || ASKED.contains(&group)
}

/// What a request must be like.
#[derive(Debug, Default)]
pub struct Criteria {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether a rule about one version of a resource is also about the others.
    equivalent: bool,
    namespaces: Option<LabelSelector>,
    objects: Option<LabelSelector>,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    names: Vec<String>,
}

/// The part of a request that rules are about.
#[derive(Clone, Copy, Debug)]
struct Target<'t> {
    operation: Operation,
    group: &'t str,
    version: &'t str,
    resource: &'t str,
    subresource: &'t str,
    name: &'t str,
    in_namespace: bool,
}

impl Criteria {
    /// From a webhook, whose rules are `rules`, or from the constraints of a policy or binding.
    pub fn of(value: &Value) -> Self {
        let rules = |key: &str| -> Vec<Rule> {
            let rules = value[key].as_array().into_iter().flatten();
            rules.map(Rule::of).collect()
        };
        let mut all = rules("rules");
        all.extend(rules("resourceRules"));
        Self {
            rules: all,
            excluded: rules("excludeResourceRules"),
            equivalent: value["matchPolicy"] != "Exact",
            namespaces: selector(&value["namespaceSelector"]),
            objects: selector(&value["objectSelector"]),
        }
    }

    /// Whether they may be about some write of the resources with this name, or of a part of them.
    pub fn concern(&self, plural: &str) -> bool {
        let mut resources = self.rules.iter().flat_map(|rule| &rule.resources);
        resources.any(|item| {
            let resource = item
                .split_once('/')
                .map_or(item.as_str(), |(resource, _)| resource);
            resource == "*" || resource == plural
        })
    }

    /// The resource in whose form the request matches, if it does.
    pub fn matches(&self, attempt: &Attempt<'_>) -> Option<&'static Resource> {
        let resource = self.resource(attempt)?;
        (self
            .excluded
            .iter()
            .all(|rule| !rule.matches(&target(attempt, attempt.resource)))
            && self.matches_namespace(attempt)
            && self.matches_object(attempt))
        .then_some(resource)
    }

    /// The same for a binding, which without rules is about everything its policy is about.
    pub fn narrows_to(&self, attempt: &Attempt<'_>) -> bool {
        if self.rules.is_empty() {
            return self
                .excluded
                .iter()
                .all(|rule| !rule.matches(&target(attempt, attempt.resource)))
                && self.matches_namespace(attempt)
                && self.matches_object(attempt);
        }
        self.matches(attempt).is_some()
    }

    fn resource(&self, attempt: &Attempt<'_>) -> Option<&'static Resource> {
        let fits = |resource: &&'static Resource| {
            let target = target(attempt, resource);
            self.rules.iter().any(|rule| rule.matches(&target))
        };
        Some(attempt.resource).filter(fits).or_else(|| {
            let others = self.equivalent.then(|| equivalents(attempt));
            others.into_iter().flatten().find(fits)
        })
    }

    fn matches_namespace(&self, attempt: &Attempt<'_>) -> bool {
        let Some(selector) = &self.namespaces else {
            return true;
        };
        if attempt.resource.plural == "namespaces" && attempt.resource.group.is_empty() {
            let namespace = attempt.object.as_deref().or(attempt.old);
            return namespace.is_none_or(|namespace| selector.matches(&labels(namespace)));
        }
        if attempt.namespace.is_empty() {
            return true;
        }
        let namespace = attempt
            .server
            .cache
            .core_object("namespaces", "", attempt.namespace);
        namespace.is_some_and(|namespace| selector.matches(&labels(&namespace.value())))
    }

    /// What is there before or after counts.
    fn matches_object(&self, attempt: &Attempt<'_>) -> bool {
        let Some(selector) = &self.objects else {
            return true;
        };
        let either = attempt.object.as_deref().into_iter().chain(attempt.old);
        either.into_iter().any(|object| selector.matches(&labels(object)))
    }
}

impl Rule {
    fn of(value: &Value) -> Self {
        let list = |key: &str| -> Vec<String> {
            let items = value[key].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: list("resources"),
            scope: value["scope"].as_str().unwrap_or("*").to_owned(),
            names: list("resourceNames"),
        }
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let resource = self.resources.iter().any(|item| {
            let (resource, subresource) = item.split_once('/').unwrap_or((item, ""));
            (resource == "*" || resource == target.resource)
                && (subresource == "*" || subresource == target.subresource)
        });
        let scope = match self.scope.as_str() {
            "Namespaced" => target.in_namespace,
            "Cluster" => !target.in_namespace,
            _ => true,
        };
        resource
            && scope
            && has(&self.operations, target.operation.name())
            && has(&self.groups, target.group)
            && has(&self.versions, target.version)
            && (self.names.is_empty() || self.names.iter().any(|name| name == target.name))
    }
}

fn target<'t>(attempt: &Attempt<'t>, resource: &'static Resource) -> Target<'t> {
    let is_namespace = resource.plural == "namespaces" && resource.group.is_empty();
    Target {
        operation: attempt.operation,
        group: resource.group,
        version: resource.version,
        resource: resource.plural,
        subresource: attempt.subresource,
        name: attempt.name,
        in_namespace: !is_namespace && !attempt.namespace.is_empty(),
    }
}

/// The other forms in which the objects of a request are served.
fn equivalents(attempt: &Attempt<'_>) -> Vec<&'static Resource> {
    let resource = attempt.resource;
    if resource.storage.is_empty() {
        return Vec::new();
    }
    let other = |r: &&'static Resource| r.storage == resource.storage && !std::ptr::eq(*r, resource);
    let custom = attempt.server.cache.custom().all();
    resources::all()
        .iter()
        .filter(other)
        .chain(custom.into_iter().filter(other))
        .collect()
}

/// `None`: everything is selected. What cannot be read, which validation refuses, selects nothing.
fn selector(value: &Value) -> Option<LabelSelector> {
    if !value.is_object() {
        return None;
    }
    let meta = serde_json::from_value(value.clone()).ok();
    let selector = meta.and_then(|meta| LabelSelector::from_meta(&meta).ok());
    let selector = selector.unwrap_or_else(LabelSelector::nothing);
    (!selector.is_everything()).then_some(selector)
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_match_as_their_stars_and_scopes_say() {
        let target = |resource: &'static str, subresource: &'static str, in_namespace: bool| Target {
            operation: Operation::Create,
            group: "apps",
            version: "v1",
            resource,
            subresource,
            name: "n",
            in_namespace,
        };
        let rule = |resources: &[&str], more: Value| {
            let mut rule = json!({"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["*"], "resources": resources});
            for (key, value) in more.as_object().into_iter().flatten() {
                rule[key] = value.clone();
            }
            Rule::of(&rule)
        };
        for (rule, target, matches) in [
            (
                rule(&["deployments"], json!({})),
                target("deployments", "", true),
                true,
            ),
            (
                rule(&["deployments"], json!({})),
                target("deployments", "scale", true),
                false,
            ),
            (
                rule(&["*"], json!({})),
                target("deployments", "scale", true),
                false,
            ),
            (
                rule(&["*/*"], json!({})),
                target("deployments", "scale", true),
                true,
            ),
            (
                rule(&["*/scale"], json!({})),
                target("deployments", "scale", true),
                true,
            ),
            (
                rule(&["*/scale"], json!({})),
                target("deployments", "", true),
                false,
            ),
            (
                rule(&["deployments/*"], json!({})),
                target("deployments", "status", true),
                true,
            ),
            (
                rule(&["*"], json!({"operations": ["UPDATE"]})),
                target("deployments", "", true),
                false,
            ),
            (
                rule(&["*"], json!({"operations": ["*"]})),
                target("deployments", "", true),
                true,
            ),
            (
                rule(&["*"], json!({"apiGroups": [""]})),
                target("deployments", "", true),
                false,
            ),
            (
                rule(&["*"], json!({"scope": "Cluster"})),
                target("deployments", "", true),
                false,
            ),
            (
                rule(&["*"], json!({"scope": "Cluster"})),
                target("x", "", false),
                true,
            ),
            (
                rule(&["*"], json!({"scope": "Namespaced"})),
                target("x", "", false),
                false,
            ),
            (
                rule(&["*"], json!({"resourceNames": ["other"]})),
                target("x", "", true),
                false,
            ),
            (
                rule(&["*"], json!({"resourceNames": ["n"]})),
                target("x", "", true),
                true,
            ),
        ] {
            assert_eq!(rule.matches(&target), matches, "{rule:?} {target:?}");
        }
    }
}
