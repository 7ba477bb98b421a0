//! The order of authorizers.
use super::node;
use super::rbac::Rule;
use super::webhook::Opinion;
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
    pub version: String,
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
            version: info.version.clone(),
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

/// An authorizer; they are asked in the order they are given, and the first that allows decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationMode {
    AlwaysAllow,
    AlwaysDeny,
    /// Node agents: what is theirs.
    Node,
    /// What stored roles allow.
    Rbac,
    /// What somebody else says.
    Webhook,
}

impl AuthorizationMode {
    /// Those of a server that isn't told otherwise.
    pub const DEFAULT: [Self; 2] = [Self::Node, Self::Rbac];
}

/// A name that is no [`AuthorizationMode`].
#[derive(Debug, thiserror::Error)]
#[error("authorization mode {0:?} is none of AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook")]
pub struct UnknownMode(String);

impl std::str::FromStr for AuthorizationMode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        match name {
            "AlwaysAllow" => Ok(Self::AlwaysAllow),
            "AlwaysDeny" => Ok(Self::AlwaysDeny),
            "Node" => Ok(Self::Node),
            "RBAC" => Ok(Self::Rbac),
            "Webhook" => Ok(Self::Webhook),
            _ => Err(UnknownMode(name.to_owned())),
        }
    }
}

/// Decides: administrators first, then by the server's authorizers.
pub async fn decide(server: &ApiServer, user: &UserInfo, asked: &Attributes) -> Decision {
    if let Some(decision) = decide_now(server, user, asked) {
        return decision;
    }
    // Rare, and not to make every request larger.
    let asking = Box::pin(async {
        let webhook = server.access_webhook.as_ref()?;
        let opinion = webhook.ask(user, asked).await;
        judge(server, user, asked, Some(opinion))
    });
    asking.await.unwrap_or_else(|| Decision::Deny(String::new()))
}

/// Decides without asking anybody outside; `None` if somebody has to be asked.
pub fn decide_now(server: &ApiServer, user: &UserInfo, asked: &Attributes) -> Option<Decision> {
    judge(server, user, asked, None)
}

/// `told`: what the webhook has said to this very question.
fn judge(
    server: &ApiServer,
    user: &UserInfo,
    asked: &Attributes,
    mut told: Option<Opinion>,
) -> Option<Decision> {
    if user.is_in(MASTERS) {
        return Some(Decision::Allow(None));
    }
    let mut reasons = Vec::new();
    for mode in &server.authorization {
        let decision = match mode {
            AuthorizationMode::AlwaysAllow => Decision::Allow(None),
            AuthorizationMode::AlwaysDeny => Decision::Deny("Everything is forbidden.".to_owned()),
            AuthorizationMode::Node => match user.node_name().filter(|_| asked.is_resource) {
                Some(node) => node::decide(server, node, asked),
                None => continue,
            },
            AuthorizationMode::Rbac => server.rbac().decide(user, asked),
            AuthorizationMode::Webhook => {
                let Some(webhook) = &server.access_webhook else {
                    continue;
                };
                match told.take().or_else(|| webhook.remembered(user, asked))? {
                    Opinion::Allow(reason) => Decision::Allow(Some(reason).filter(|r| !r.is_empty())),
                    Opinion::None(reason) => Decision::Deny(reason.to_string()),
                    Opinion::Deny(reason) => {
                        reasons.push(reason.to_string());
                        break;
                    }
                }
            }
        };
        match decision {
            Decision::Allow(why) => return Some(Decision::Allow(why)),
            Decision::Deny(reason) if reason.is_empty() => {}
            Decision::Deny(reason) => reasons.push(reason),
        }
    }
    reasons.retain(|reason| !reason.is_empty());
    Some(Decision::Deny(reasons.join(", ")))
}

/// Every rule that holds for a user in a namespace.
pub fn rules_for(server: &ApiServer, user: &UserInfo, namespace: &str) -> Vec<Rule> {
    let everything = server.authorization.contains(&AuthorizationMode::AlwaysAllow);
    if user.is_in(MASTERS) || everything {
        return vec![Rule::all_resources(), Rule::all_paths()];
    }
    if !server.authorization.contains(&AuthorizationMode::Rbac) {
        return Vec::new();
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
        // What a node may read follows from its pods, which no rule says; what a webhook allows, nobody knows.
        "incomplete": user.node_name().is_some() || server.authorization.contains(&AuthorizationMode::Webhook),
    })
}
