//! The built-in policy.
use super::node;
use crate::ApiServer;
use crate::authn::{AUTHENTICATED, UserInfo};
use crate::request::{Query, RequestInfo};
use orlop_api::selector::FieldSelector;
use serde_json::{Value, json};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub is_resource: bool,
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
    /// `spec.nodeName` of the field selector.
    pub node_selector: Option<String>,
}

impl Attributes {
    pub fn of(info: &RequestInfo, query: &Query) -> Self {
        let node_selector = query
            .get("fieldSelector")
            .and_then(|text| FieldSelector::parse(text).ok())
            .and_then(|selector| selector.required_value("spec.nodeName").map(str::to_owned));
        Self {
            is_resource: info.is_resource,
            verb: info.verb.clone(),
            group: info.group.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            path: info.path.clone(),
            node_selector,
        }
    }

    /// `resource` or `resource/subresource`.
    pub fn target(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The answer, with the reason of a refusal if there is more to say than "no".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny(String),
}

/// What a rule covers. `*` is everything.
struct Rule {
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];

/// Everybody who proved who they are.
const AUTHENTICATED_RULES: &[Rule] = &[
    Rule {
        groups: &["authentication.k8s.io"],
        resources: &["selfsubjectreviews"],
        verbs: &["create"],
    },
    Rule {
        groups: &["authorization.k8s.io"],
        resources: &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        verbs: &["create"],
    },
];

/// The control loops touch every kind: collection of garbage and of namespaces does.
const CONTROLLER_RULES: &[Rule] = &[Rule {
    groups: &["*"],
    resources: &["*"],
    verbs: &["*"],
}];

const SCHEDULER_RULES: &[Rule] = &[
    Rule {
        groups: &["*"],
        resources: &["*"],
        verbs: READ,
    },
    Rule {
        groups: &[""],
        resources: &["pods"],
        verbs: &["delete"],
    },
    Rule {
        groups: &[""],
        resources: &["pods/binding", "bindings"],
        verbs: &["create"],
    },
    Rule {
        groups: &[""],
        resources: &["pods/status"],
        verbs: &["patch", "update"],
    },
    Rule {
        groups: &["", "events.k8s.io"],
        resources: &["events"],
        verbs: &["create", "patch", "update"],
    },
    Rule {
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        verbs: &["create", "get", "list", "patch", "update", "watch"],
    },
];

/// Read without credentials.
const PUBLIC_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];
/// Read by everybody who proved who they are.
const DISCOVERY_PATHS: &[&str] = &["/api", "/apis", "/openapi"];

/// Decides.
pub fn decide(server: &ApiServer, user: &UserInfo, attributes: &Attributes) -> Decision {
    if user.is_in("system:masters") {
        return Decision::Allow;
    }
    let authenticated = user.is_in(AUTHENTICATED);
    if !attributes.is_resource {
        let below = |root: &str| {
            attributes
                .path
                .strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let public = PUBLIC_PATHS.iter().any(|p| below(p));
        let discovery = authenticated && (attributes.path == "/" || DISCOVERY_PATHS.iter().any(|p| below(p)));
        let allowed = attributes.verb == "get" && (public || discovery);
        return if allowed {
            Decision::Allow
        } else {
            Decision::Deny(String::new())
        };
    }
    if rules_for(user).iter().any(|rule| rule.covers(attributes)) {
        return Decision::Allow;
    }
    match user.node_name() {
        Some(node) => node::decide(server, node, attributes),
        None => Decision::Deny(String::new()),
    }
}

fn rules_for(user: &UserInfo) -> Vec<&'static Rule> {
    let mut rules: Vec<&Rule> = Vec::new();
    if user.is_in(AUTHENTICATED) {
        rules.extend(AUTHENTICATED_RULES);
        match user.name.as_str() {
            "system:kube-controller-manager" => rules.extend(CONTROLLER_RULES),
            "system:kube-scheduler" => rules.extend(SCHEDULER_RULES),
            _ => {}
        }
    }
    rules
}

impl Rule {
    fn covers(&self, attributes: &Attributes) -> bool {
        let any = |list: &[&str], value: &str| list.iter().any(|entry| *entry == "*" || *entry == value);
        any(self.groups, &attributes.group)
            && any(self.resources, &attributes.target())
            && any(self.verbs, &attributes.verb)
    }
}

/// The status of a SelfSubjectRulesReview.
pub fn rules_of(user: &UserInfo) -> Value {
    let all = || json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let mut resources: Vec<Value> = rules_for(user)
        .iter()
        .map(|rule| json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources}))
        .collect();
    let mut paths = vec![json!({"verbs": ["get"], "nonResourceURLs": PUBLIC_PATHS})];
    if user.is_in(AUTHENTICATED) {
        paths.push(json!({"verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"]}));
    }
    if user.is_in("system:masters") {
        resources.insert(0, all());
        paths.insert(0, json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    json!({
        "resourceRules": resources,
        "nonResourceRules": paths,
        "incomplete": user.node_name().is_some(),
    })
}
