//! The audit policy: how much of which request is written down (contract §20).
use crate::authn::UserInfo;
use crate::request::RequestInfo;
use serde_json::{Map, Value};

/// How much of a request is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "None" => Self::None,
            "Metadata" => Self::Metadata,
            "Request" => Self::Request,
            "RequestResponse" => Self::RequestResponse,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// Moments of a request that are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    RequestReceived,
    /// Of an answer that goes on.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    const ALL: [Self; 4] = [
        Self::RequestReceived,
        Self::ResponseStarted,
        Self::ResponseComplete,
        Self::Panic,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// The policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the audit policy is no YAML: {0}")]
    Syntax(String),
    #[error("the audit policy is {0}, not a Policy of audit.k8s.io/v1")]
    Kind(String),
    #[error("rule {rule} of the audit policy: {why}")]
    Rule { rule: usize, why: String },
    #[error("the audit policy has no rules")]
    Empty,
}

/// What is written down of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    pub omit_managed_fields: bool,
    omitted: Vec<&'static str>,
}

impl Verdict {
    pub fn wants(&self, stage: Stage) -> bool {
        self.level > Level::None && !self.omitted.contains(&stage.name())
    }
}

/// The rules, of which the first that matches counts.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Default)]
struct Rule {
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    namespaces: Vec<String>,
    resources: Vec<Resources>,
    paths: Vec<String>,
    verdict: Verdict,
}

/// What a rule may say.
const MEMBERS: &[&str] = &[
    "level",
    "users",
    "userGroups",
    "verbs",
    "namespaces",
    "resources",
    "nonResourceURLs",
    "omitStages",
    "omitManagedFields",
];

#[derive(Debug)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

/// A member that is a list, if it is there. What has another form must not pass for nothing: a rule without users is
/// about everybody.
fn list<'v>(object: &'v Value, member: &str) -> Result<&'v [Value], String> {
    match &object[member] {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(format!("{member} is no list")),
    }
}

/// The same of texts.
fn texts(object: &Value, member: &str) -> Result<Vec<String>, String> {
    let text = |item: &Value| {
        let text = item.as_str().map(str::to_owned);
        text.ok_or_else(|| format!("{member} has an item that is no text"))
    };
    list(object, member)?.iter().map(text).collect()
}

fn stages(object: &Value) -> Result<Vec<&'static str>, String> {
    let known = |name: String| {
        let mut all = Stage::ALL.iter().map(|stage| stage.name());
        all.find(|stage| **stage == *name)
            .ok_or_else(|| format!("there is no stage {name:?}"))
    };
    texts(object, "omitStages")?.into_iter().map(known).collect()
}

/// Members that nobody knows are left out, as upstream leaves them out, but not without a word: what they were meant to
/// say is not said.
fn warn_of_others(object: &Value, known: &[&str], what: &str) {
    for member in object.as_object().into_iter().flat_map(Map::keys) {
        if !known.contains(&member.as_str()) {
            tracing::warn!(
                member,
                "{what} of the audit policy has a member that means nothing"
            );
        }
    }
}

impl Policy {
    /// Reads a policy file.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy: Value = serde_saphyr::from_str(text).map_err(|e| PolicyError::Syntax(e.to_string()))?;
        let member = |name: &str| policy[name].as_str().unwrap_or_default();
        if (member("apiVersion"), member("kind")) != ("audit.k8s.io/v1", "Policy") {
            let what = format!("{}, {}", member("apiVersion"), member("kind"));
            return Err(PolicyError::Kind(what));
        }
        let bad = |why| PolicyError::Rule { rule: 0, why };
        warn_of_others(
            &policy,
            &[
                "apiVersion",
                "kind",
                "metadata",
                "omitStages",
                "omitManagedFields",
                "rules",
            ],
            "the whole",
        );
        let omitted = stages(&policy).map_err(bad)?;
        let mut rules = Vec::new();
        for (index, rule) in list(&policy, "rules").map_err(bad)?.iter().enumerate() {
            let rule = Rule::parse(rule, &omitted, policy["omitManagedFields"] == true);
            rules.push(rule.map_err(|why| PolicyError::Rule { rule: index + 1, why })?);
        }
        if rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        Ok(Self { rules })
    }

    /// What is written down of a request; nothing if no rule matches.
    pub fn judge(&self, user: &UserInfo, info: &RequestInfo) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(user, info));
        rule.map(|rule| rule.verdict.clone()).unwrap_or_default()
    }
}

impl Rule {
    fn parse(rule: &Value, omitted: &[&'static str], omit_managed_fields: bool) -> Result<Self, String> {
        let level = rule["level"].as_str().unwrap_or_default();
        let level = Level::parse(level).ok_or_else(|| format!("there is no level {level:?}"))?;
        warn_of_others(rule, MEMBERS, "a rule");
        let resources: Vec<Resources> = list(rule, "resources")?
            .iter()
            .map(Resources::parse)
            .collect::<Result<_, _>>()?;
        let paths = texts(rule, "nonResourceURLs")?;
        let namespaces = texts(rule, "namespaces")?;
        let on_resources = !resources.is_empty() || !namespaces.is_empty();
        if on_resources && !paths.is_empty() {
            return Err("rules cannot apply to both regular resources and non-resource URLs".to_owned());
        }
        let mut omitted = omitted.to_vec();
        omitted.extend(stages(rule)?);
        Ok(Self {
            users: texts(rule, "users")?,
            groups: texts(rule, "userGroups")?,
            verbs: texts(rule, "verbs")?,
            namespaces,
            resources,
            paths,
            verdict: Verdict {
                level,
                omit_managed_fields: rule["omitManagedFields"].as_bool().unwrap_or(omit_managed_fields),
                omitted,
            },
        })
    }

    fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        let among =
            |list: &[String], wanted: &str| list.is_empty() || list.iter().any(|entry| entry == wanted);
        let in_group = self.groups.is_empty() || self.groups.iter().any(|group| user.is_in(group));
        if !among(&self.users, &user.name) || !in_group || !among(&self.verbs, &info.verb) {
            return false;
        }
        if !self.paths.is_empty() {
            let path = |entry: &String| match entry.strip_suffix('*') {
                Some(root) => info.path.starts_with(root),
                None => *entry == info.path,
            };
            return !info.is_resource && self.paths.iter().any(path);
        }
        if self.resources.is_empty() && self.namespaces.is_empty() {
            return true;
        }
        info.is_resource
            && among(&self.namespaces, &info.namespace)
            && (self.resources.is_empty() || self.resources.iter().any(|entry| entry.matches(info)))
    }
}

impl Resources {
    fn parse(entry: &Value) -> Result<Self, String> {
        warn_of_others(
            entry,
            &["group", "resources", "resourceNames"],
            "an entry of resources",
        );
        let group = match &entry["group"] {
            Value::Null => String::new(),
            Value::String(group) => group.clone(),
            _ => return Err("a group is no text".to_owned()),
        };
        let entry = Self {
            group,
            resources: texts(entry, "resources")?,
            names: texts(entry, "resourceNames")?,
        };
        if entry.resources.is_empty() && !entry.names.is_empty() {
            return Err("using resourceNames requires at least one resource".to_owned());
        }
        Ok(entry)
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        let names = self.names.is_empty() || self.names.contains(&info.name);
        let entry = |entry: &String| match entry.split_once('/') {
            None => entry == "*" || (info.subresource.is_empty() && *entry == info.resource),
            Some((resource, part)) => {
                (resource == "*" || resource == info.resource)
                    && !info.subresource.is_empty()
                    && (part == "*" || part == info.subresource)
            }
        };
        self.resources.is_empty() || (names && self.resources.iter().any(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(verb: &str, group: &str, namespace: &str, resource: &str) -> RequestInfo {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        RequestInfo {
            is_resource: true,
            verb: verb.to_owned(),
            group: group.to_owned(),
            namespace: namespace.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: "x".to_owned(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let policy = Policy::parse(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
             - {level: None, users: ['system:kube-proxy'], verbs: [watch]}\n\
             - {level: None, nonResourceURLs: ['/healthz*', /version]}\n\
             - {level: Metadata, resources: [{group: '', resources: [secrets, pods/log, 'pods/status']}]}\n\
             - {level: RequestResponse, resources: [{group: '', resources: ['*']}], namespaces: [kube-system], omitStages: [ResponseStarted]}\n\
             - {level: Request, resources: [{group: apps}], omitManagedFields: true}\n\
             - {level: Metadata, userGroups: ['system:authenticated']}\n",
        )
        .unwrap();
        let alice = UserInfo::new("alice", ["devs"]);
        let level = |info: &RequestInfo| policy.judge(&alice, info).level;
        assert_eq!(level(&info("get", "", "default", "secrets")), Level::Metadata);
        assert_eq!(level(&info("get", "", "default", "pods/log")), Level::Metadata);
        assert_eq!(
            level(&info("get", "", "kube-system", "pods/exec")),
            Level::RequestResponse
        );
        assert_eq!(
            level(&info("get", "apps", "default", "daemonsets")),
            Level::Request
        );
        let health = RequestInfo {
            path: "/healthz/etcd".to_owned(),
            ..RequestInfo::default()
        };
        assert_eq!(level(&health), Level::None);
        let proxy = UserInfo::new("system:kube-proxy", Vec::<String>::new());
        assert_eq!(
            policy.judge(&proxy, &info("watch", "", "", "services")).level,
            Level::None
        );
        assert_eq!(
            policy
                .judge(&UserInfo::anonymous(), &info("get", "x", "", "y"))
                .level,
            Level::None
        );
        let verdict = policy.judge(&alice, &info("get", "", "kube-system", "configmaps"));
        let wanted: Vec<bool> = Stage::ALL.iter().map(|stage| verdict.wants(*stage)).collect();
        assert_eq!(wanted, [false, false, true, true]);
        assert!(
            policy
                .judge(&alice, &info("get", "apps", "", "daemonsets"))
                .omit_managed_fields
        );
    }

    #[test]
    fn unusable_policies_are_refused_with_the_rule() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (text, why) in [
            // Taken for nothing, it would be about everybody.
            (
                format!("{head}rules: [{{level: None, users: alice}}]"),
                "rule 1 of the audit policy: users is no list",
            ),
            (
                format!("{head}rules: [{{level: None, verbs: [get, 1]}}]"),
                "verbs has an item that is no text",
            ),
            (
                format!("{head}rules: [{{level: None, resources: [{{group: '', resourceNames: [x]}}]}}]"),
                "using resourceNames requires at least one resource",
            ),
            ("kind: Policy\n".to_owned(), "not a Policy of audit.k8s.io/v1"),
            (head.to_owned(), "no rules"),
            (
                format!("{head}rules: [{{level: All}}]"),
                "rule 1 of the audit policy: there is no level \"All\"",
            ),
            (
                format!(
                    "{head}rules: [{{level: None}}, {{level: None, nonResourceURLs: [/x], namespaces: [a]}}]"
                ),
                "rule 2",
            ),
        ] {
            let error = Policy::parse(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
