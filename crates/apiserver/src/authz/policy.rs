//! The order of authorizers.
use super::node;
use super::rbac::Rule;
use crate::ApiServer;
use crate::authn::UserInfo;
use crate::request::{Query, RequestInfo};
use orlop_api::selector::FieldSelector;
use serde_json::{Value, json};
use std::sync::Arc;

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

/// The answer, with its reason if there is more to say than yes or no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(Option<Arc<str>>),
    Deny(String),
}

/// Everything is allowed to this group, whatever is stored.
const MASTERS: &str = "system:masters";

/// Decides: administrators first, then node agents by what is theirs, then stored roles.
pub fn decide(server: &ApiServer, user: &UserInfo, asked: &Attributes) -> Decision {
    if user.is_in(MASTERS) {
        return Decision::Allow(None);
    }
    let node = user.node_name().filter(|_| asked.is_resource);
    let by_node = node.map(|node| node::decide(server, node, asked));
    if let Some(Decision::Allow(why)) = by_node {
        return Decision::Allow(why);
    }
    match (server.rbac().decide(user, asked), by_node) {
        (Decision::Deny(by_role), Some(Decision::Deny(by_node))) if !by_node.is_empty() => {
            Decision::Deny(match by_role.is_empty() {
                true => by_node,
                false => format!("{by_node}, {by_role}"),
            })
        }
        (decision, _) => decision,
    }
}

/// Every rule that holds for a user in a namespace.
pub fn rules_for(server: &ApiServer, user: &UserInfo, namespace: &str) -> Vec<Rule> {
    if user.is_in(MASTERS) {
        return vec![Rule::all_resources(), Rule::all_paths()];
    }
    server.rbac().rules_for(user, namespace)
}

/// The status of a SelfSubjectRulesReview.
pub fn rules_review(server: &ApiServer, user: &UserInfo, namespace: &str) -> Value {
    let (paths, resources): (Vec<Rule>, Vec<Rule>) = rules_for(server, user, namespace)
        .into_iter()
        .partition(|rule| !rule.non_resource_urls.is_empty());
    json!({
        "resourceRules": resources,
        "nonResourceRules": paths,
        // What a node may read follows from its pods, which no rule says.
        "incomplete": user.node_name().is_some(),
    })
}
