//! FlowSchemas and PriorityLevelConfigurations in a form to look requests up in.
use super::Class;
use super::seats::Allotment;
use crate::authn::UserInfo;
use crate::authz::Attributes;
use http::HeaderValue;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A priority level.
pub struct Level {
    pub name: Arc<str>,
    uid: HeaderValue,
    pub allotted: Allotment,
}

/// A FlowSchema.
pub struct Schema {
    name: Arc<str>,
    pub class: Arc<Class>,
    /// Its place among the levels.
    pub level: usize,
    precedence: i64,
    distinguisher: Distinguisher,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy)]
enum Distinguisher {
    None,
    User,
    Namespace,
}

struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    cluster: bool,
    namespaces: Vec<String>,
}

struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

/// What decides how a request is queued.
#[derive(Default)]
pub struct Plan {
    pub levels: Vec<Level>,
    schemas: Vec<Schema>,
}

/// Any.
const ALL: &str = "*";
/// Seats a level asks for where it doesn't say.
const SHARES: f64 = 30.0;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn list<'v>(value: &'v Value, member: &str) -> impl Iterator<Item = &'v Value> {
    value[member].as_array().into_iter().flatten()
}

fn uid(object: &Value) -> HeaderValue {
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
    HeaderValue::from_str(uid.unwrap_or_default()).unwrap_or(HeaderValue::from_static(""))
}

fn name(object: &Value) -> Arc<str> {
    object["metadata"]["name"].as_str().unwrap_or_default().into()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == ALL || entry == wanted)
}

impl Plan {
    /// `seats`: how many requests are answered at the same time, which the levels share.
    pub fn compile(schemas: &[Value], levels: &[Value], seats: u32) -> Self {
        let part = |level: &Value| match level["spec"]["type"].as_str() {
            Some("Exempt") => ("exempt", 0.0),
            _ => ("limited", SHARES),
        };
        let shares = |level: &Value| {
            let (part, usual) = part(level);
            level["spec"][part]["nominalConcurrencyShares"]
                .as_f64()
                .unwrap_or(usual)
        };
        let all_shares: f64 = levels.iter().map(shares).sum::<f64>().max(1.0);
        let levels: Vec<Level> = levels
            .iter()
            .map(|level| Level {
                name: name(level),
                uid: uid(level),
                allotted: allotment(&level["spec"], f64::from(seats) * shares(level) / all_shares),
            })
            .collect();
        let mut schemas: Vec<Schema> = schemas.iter().filter_map(|s| schema(s, &levels)).collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Self { levels, schemas }
    }

    /// The schema of a request and its flow. `None`: none matches.
    pub fn classify(&self, user: &UserInfo, asked: &Attributes) -> Option<(&Schema, u64)> {
        let schema = self.schemas.iter().find(|schema| schema.takes(user, asked))?;
        let mut flow = DefaultHasher::new();
        schema.name.hash(&mut flow);
        match schema.distinguisher {
            Distinguisher::None => {}
            Distinguisher::User => user.name.hash(&mut flow),
            Distinguisher::Namespace => asked.namespace.hash(&mut flow),
        }
        Some((schema, flow.finish()))
    }
}

fn allotment(spec: &Value, nominal: f64) -> Allotment {
    let exempt = spec["type"] == "Exempt";
    let part = &spec[if exempt { "exempt" } else { "limited" }];
    // Upstream's rounding: up, so that every level that asks for any has a seat.
    let nominal = nominal.ceil();
    let percent = |member: &str| {
        part[member]
            .as_f64()
            .map(|percent| (nominal * percent / 100.0).round())
    };
    let queuing = &part["limitResponse"]["queuing"];
    let queues = part["limitResponse"]["type"] == "Queue";
    let number = |member: &str, usual: u64| match queues {
        true => queuing[member].as_u64().unwrap_or(usual) as usize,
        false => 0,
    };
    let length = number("queueLengthLimit", 50);
    Allotment {
        exempt,
        nominal: nominal as u32,
        lendable: percent("lendablePercent").unwrap_or(0.0) as u32,
        borrowable: percent("borrowingLimitPercent").map_or(u32::MAX, |seats| seats as u32),
        waiting_of_flow: length * number("handSize", 8),
        waiting: length * number("queues", 64),
    }
}

fn schema(object: &Value, levels: &[Level]) -> Option<Schema> {
    let spec = &object["spec"];
    let wanted = spec["priorityLevelConfiguration"]["name"].as_str()?;
    // One without its level takes no requests.
    let level = levels.iter().position(|level| &*level.name == wanted)?;
    Some(Schema {
        name: name(object),
        class: Arc::new(Class {
            schema: name(object),
            level: levels[level].name.clone(),
            schema_uid: uid(object),
            level_uid: levels[level].uid.clone(),
        }),
        level,
        precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
        distinguisher: match spec["distinguisherMethod"]["type"].as_str() {
            Some("ByUser") => Distinguisher::User,
            Some("ByNamespace") => Distinguisher::Namespace,
            _ => Distinguisher::None,
        },
        rules: list(spec, "rules").map(rule).collect(),
    })
}

fn rule(rule: &Value) -> Rule {
    let subject = |subject: &Value| match subject["kind"].as_str()? {
        "User" => Some(Subject::User(text(&subject["user"]["name"]))),
        "Group" => Some(Subject::Group(text(&subject["group"]["name"]))),
        "ServiceAccount" => Some(Subject::ServiceAccount {
            namespace: text(&subject["serviceAccount"]["namespace"]),
            name: text(&subject["serviceAccount"]["name"]),
        }),
        _ => None,
    };
    Rule {
        subjects: list(rule, "subjects").filter_map(subject).collect(),
        resources: list(rule, "resourceRules")
            .map(|rule| ResourceRule {
                verbs: texts(&rule["verbs"]),
                groups: texts(&rule["apiGroups"]),
                resources: texts(&rule["resources"]),
                cluster: rule["clusterScope"] == true,
                namespaces: texts(&rule["namespaces"]),
            })
            .collect(),
        paths: list(rule, "nonResourceRules")
            .map(|rule| PathRule {
                verbs: texts(&rule["verbs"]),
                paths: texts(&rule["nonResourceURLs"]),
            })
            .collect(),
    }
}

impl Schema {
    fn takes(&self, user: &UserInfo, asked: &Attributes) -> bool {
        self.rules.iter().any(|rule| {
            let target = match asked.is_resource {
                true => rule.resources.iter().any(|rule| rule.takes(asked)),
                false => rule.paths.iter().any(|rule| rule.takes(asked)),
            };
            target && rule.subjects.iter().any(|subject| subject.is(user))
        })
    }
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == ALL || *name == user.name,
            Self::Group(group) => group == ALL || user.is_in(group),
            Self::ServiceAccount { namespace, name } => {
                let own = user.name.strip_prefix("system:serviceaccount:");
                own.and_then(|own| own.split_once(':'))
                    .is_some_and(|(ns, account)| ns == namespace && (name == ALL || name == account))
            }
        }
    }
}

impl ResourceRule {
    fn takes(&self, asked: &Attributes) -> bool {
        let whole = || match asked.subresource.is_empty() {
            true => has(&self.resources, &asked.resource),
            false => has(&self.resources, &asked.target()),
        };
        let place = match asked.namespace.is_empty() {
            true => self.cluster,
            false => has(&self.namespaces, &asked.namespace),
        };
        place && has(&self.verbs, &asked.verb) && has(&self.groups, &asked.group) && whole()
    }
}

impl PathRule {
    fn takes(&self, asked: &Attributes) -> bool {
        let path = |url: &String| match url.strip_suffix('*') {
            Some(root) => asked.path.starts_with(root),
            None => *url == asked.path,
        };
        has(&self.verbs, &asked.verb) && self.paths.iter().any(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::flow_objects;

    fn plan() -> Plan {
        let (mut schemas, mut levels) = (Vec::new(), Vec::new());
        for (plural, object) in flow_objects() {
            match plural {
                "flowschemas" => schemas.push(object),
                _ => levels.push(object),
            }
        }
        Plan::compile(&schemas, &levels, 600)
    }

    fn level_of(plan: &Plan, user: &UserInfo, asked: &Attributes) -> (String, String) {
        let (schema, _) = plan.classify(user, asked).unwrap();
        (
            schema.name.to_string(),
            plan.levels[schema.level].name.to_string(),
        )
    }

    #[test]
    fn requests_have_upstreams_levels() {
        let plan = plan();
        let asked = |verb: &str, group: &str, resource: &str, namespace: &str| Attributes {
            is_resource: true,
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            ..Attributes::default()
        };
        let path = |path: &str| Attributes {
            verb: "get".to_owned(),
            path: path.to_owned(),
            ..Attributes::default()
        };
        let pods = asked("list", "", "pods", "default");
        let lease = asked("update", "coordination.k8s.io", "leases", "kube-system");
        let user = |name: &str| UserInfo::new(name, Vec::<String>::new());
        let account = |name: &str| {
            let namespace = name.split(':').nth(2).unwrap().to_owned();
            let own = format!("system:serviceaccounts:{namespace}");
            UserInfo::new(name, ["system:serviceaccounts".to_owned(), own])
        };
        for (user, asked, schema, level) in [
            (UserInfo::admin("a"), &pods, "exempt", "exempt"),
            (UserInfo::anonymous(), &path("/readyz"), "probes", "exempt"),
            (
                UserInfo::anonymous(),
                &path("/version"),
                "global-default",
                "global-default",
            ),
            (UserInfo::node("n1"), &pods, "system-nodes", "system"),
            (UserInfo::node("n1"), &lease, "system-node-high", "node-high"),
            (
                user("system:kube-scheduler"),
                &lease,
                "system-leader-election",
                "leader-election",
            ),
            (
                user("system:kube-scheduler"),
                &pods,
                "kube-scheduler",
                "workload-high",
            ),
            (
                account("system:serviceaccount:kube-system:dns"),
                &pods,
                "kube-system-service-accounts",
                "workload-high",
            ),
            (
                account("system:serviceaccount:default:x"),
                &pods,
                "service-accounts",
                "workload-low",
            ),
            (user("alice"), &pods, "global-default", "global-default"),
        ] {
            assert_eq!(
                level_of(&plan, &user, asked),
                (schema.to_owned(), level.to_owned()),
                "{user:?}"
            );
        }
        let flow = |name: &str| plan.classify(&user(name), &pods).unwrap().1;
        assert_ne!(flow("alice"), flow("bob"));
    }

    #[test]
    fn seats_are_shared_as_the_levels_ask() {
        let plan = plan();
        let of = |name: &str| plan.levels.iter().find(|l| &*l.name == name).unwrap().allotted;
        // 600 seats over 245 shares.
        assert_eq!(
            (of("workload-low").nominal, of("workload-low").lendable),
            (245, 221)
        );
        assert_eq!(of("catch-all").nominal, 13);
        assert_eq!(of("catch-all").waiting, 0);
        assert!(of("exempt").exempt);
        assert_eq!(of("leader-election").waiting, 16 * 50);
    }
}
