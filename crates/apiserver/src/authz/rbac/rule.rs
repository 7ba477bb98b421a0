//! One rule of a Role or ClusterRole (`rules[]`): what it allows, and what it covers of another.
use crate::authz::Attributes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// `rules[]` of a Role or ClusterRole. Either the resource fields or `nonResourceURLs` are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(deserialize_with = "list")]
    pub verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub resource_names: Vec<String>,
    #[serde(
        rename = "nonResourceURLs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "list"
    )]
    pub non_resource_urls: Vec<String>,
}

/// A list, of which `null` is the empty one.
fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The rules of a role as stored. One that can't be read is left out: it allows nothing.
pub fn rules_of(role: &Value) -> Vec<Rule> {
    let each = role["rules"].as_array().into_iter().flatten();
    each.filter_map(|rule| Rule::deserialize(rule).ok()).collect()
}

fn any(list: &[String], value: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == value)
}

impl Rule {
    /// Everything, of resources.
    pub fn all_resources() -> Self {
        let star = || vec!["*".to_owned()];
        Self {
            verbs: star(),
            api_groups: star(),
            resources: star(),
            ..Self::default()
        }
    }

    /// Everything that is not a resource.
    pub fn all_paths() -> Self {
        let star = || vec!["*".to_owned()];
        Self {
            verbs: star(),
            non_resource_urls: star(),
            ..Self::default()
        }
    }

    pub fn allows(&self, asked: &Attributes) -> bool {
        if !any(&self.verbs, &asked.verb) {
            return false;
        }
        if asked.is_resource {
            any(&self.api_groups, &asked.group)
                && self.allows_resource(&asked.resource, &asked.subresource)
                && (self.resource_names.is_empty() || self.resource_names.contains(&asked.name))
        } else {
            self.non_resource_urls.iter().any(|url| matches(url, &asked.path))
        }
    }

    fn allows_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|entry| {
            // Reviews may ask about a resource with its subresource in one word.
            let part = match subresource {
                "" => return entry == "*" || entry == resource,
                part => Some(part),
            };
            let behind = |main: &str| entry.strip_prefix(main)?.strip_prefix('/');
            entry == "*" || behind("*") == part || behind(resource) == part
        })
    }

    /// The rule's smallest parts, of one verb on one thing each.
    pub fn parts(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                parts.push(Self {
                    verbs: vec![verb.clone()],
                    non_resource_urls: vec![url.clone()],
                    ..Self::default()
                });
            }
            for group in &self.api_groups {
                for resource in &self.resources {
                    let part = Self {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        ..Self::default()
                    };
                    if self.resource_names.is_empty() {
                        parts.push(part);
                        continue;
                    }
                    parts.extend(self.resource_names.iter().map(|name| Self {
                        resource_names: vec![name.clone()],
                        ..part.clone()
                    }));
                }
            }
        }
        parts
    }

    /// Whether everything a part allows is allowed by this rule.
    pub fn covers(&self, part: &Self) -> bool {
        let all = |wanted: &[String], have: &[String]| wanted.iter().all(|value| any(have, value));
        let resources = part.resources.iter().all(|wanted| {
            let sub = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            any(&self.resources, wanted) || sub.is_some_and(|sub| self.resources.contains(&sub))
        });
        let names = self.resource_names.is_empty()
            || (!part.resource_names.is_empty()
                && part
                    .resource_names
                    .iter()
                    .all(|n| self.resource_names.contains(n)));
        let urls = part.non_resource_urls.iter().all(|wanted| {
            self.non_resource_urls.iter().any(|url| {
                url == wanted || url.strip_suffix('*').is_some_and(|root| wanted.starts_with(root))
            })
        });
        all(&part.verbs, &self.verbs)
            && all(&part.api_groups, &self.api_groups)
            && resources
            && names
            && urls
            && part.non_resource_urls.is_empty() == self.non_resource_urls.is_empty()
    }
}

/// `*` at the end of a URL stands for any rest.
fn matches(url: &str, path: &str) -> bool {
    match url.strip_suffix('*') {
        Some(root) => path.starts_with(root),
        None => url == path,
    }
}

/// As refusals show a rule.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        f.write_str("{")?;
        for (name, list) in [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("NonResourceURLs", &self.non_resource_urls),
            ("Verbs", &self.verbs),
        ] {
            if list.is_empty() {
                continue;
            }
            if !std::mem::take(&mut first) {
                f.write_str(", ")?;
            }
            let quoted: Vec<String> = list.iter().map(|value| format!("{value:?}")).collect();
            write!(f, "{name}:[{}]", quoted.join(" "))?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(value: serde_json::Value) -> Rule {
        serde_json::from_value(value).unwrap()
    }

    fn asked(verb: &str, group: &str, target: &str, name: &str) -> Attributes {
        let (resource, subresource) = target.split_once('/').unwrap_or((target, ""));
        Attributes {
            is_resource: true,
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn resources_subresources_and_names() {
        let pods = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale"]}));
        for (target, allowed) in [
            ("pods", true),
            ("pods/log", false),
            ("x/scale", true),
            ("scale", false),
        ] {
            assert_eq!(pods.allows(&asked("get", "", target, "a")), allowed, "{target}");
        }
        assert!(!pods.allows(&asked("list", "", "pods", "")));
        let logs = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}));
        let one_word = Attributes {
            resource: "pods/log".into(),
            subresource: "".into(),
            ..asked("get", "", "pods", "")
        };
        assert!(logs.allows(&asked("get", "", "pods/log", "")) && logs.allows(&one_word));
        assert!(!logs.allows(&asked("get", "", "pods", "")) && !pods.allows(&one_word));
        assert!(!pods.allows(&asked("get", "apps", "pods", "a")));
        assert!(Rule::all_resources().allows(&asked("get", "apps", "pods/log", "a")));
        let named =
            rule(json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}));
        for (verb, name, allowed) in [("get", "a", true), ("get", "b", false), ("create", "", false)] {
            assert_eq!(
                named.allows(&asked(verb, "", "pods", name)),
                allowed,
                "{verb} {name}"
            );
        }
    }

    #[test]
    fn paths_with_a_star_at_the_end() {
        let paths = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/apis/*", "/version"]}));
        for (path, allowed) in [
            ("/apis/apps", true),
            ("/apis", false),
            ("/version", true),
            ("/version/", false),
        ] {
            let asked = Attributes {
                verb: "get".into(),
                path: path.into(),
                ..Attributes::default()
            };
            assert_eq!(paths.allows(&asked), allowed, "{path}");
        }
    }

    #[test]
    fn parts_are_covered_by_wider_rules_only() {
        let wanted = rule(
            json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/scale"], "resourceNames": ["a"]}),
        );
        assert_eq!(wanted.parts().len(), 4);
        let part = &wanted.parts()[0];
        assert!(Rule::all_resources().covers(part));
        assert!(!Rule::all_paths().covers(part));
        for (owned, covers) in [
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
                true,
            ),
            (
                json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}),
                false,
            ),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["b"]}),
                false,
            ),
        ] {
            assert_eq!(rule(owned.clone()).covers(part), covers, "{owned}");
        }
        let paths = |url: &str| rule(json!({"verbs": ["get"], "nonResourceURLs": [url]}));
        for (owned, wanted, covers) in [
            ("/metrics", "/metrics", true),
            ("/metrics", "/metrics*", false),
            ("/", "/*", false),
            ("/metrics*", "/metrics/slis*", true),
            ("/metrics/*", "/metrics*", false),
            ("*", "/*", true),
        ] {
            assert_eq!(paths(owned).covers(&paths(wanted)), covers, "{owned} {wanted}");
        }
        let unnamed = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}));
        let named =
            rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}));
        assert!(!named.covers(&unnamed));
        assert_eq!(
            unnamed.to_string(),
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#
        );
    }
}
