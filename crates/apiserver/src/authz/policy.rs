//! What is asked of authorizers, and what they answer.
use super::chain::{Judging, Kind, Step, is_master};
use super::rbac::Rule;
use super::selected::Selected;
use crate::ApiServer;
use crate::authn::UserInfo;
use crate::request::{Query, RequestInfo};
use orlop_api::validation::summary;
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
    /// What a list is narrowed to.
    pub fields: Option<Selected>,
    pub labels: Option<Selected>,
}

/// Verbs whose selectors authorizers are told.
const NARROWED: &[&str] = &["list", "watch", "deletecollection"];

impl Attributes {
    pub fn of(info: &RequestInfo, query: &Query) -> Self {
        let narrowed = info.is_resource && NARROWED.contains(&info.verb.as_str());
        let selected = |key: &str| {
            let text = query.get(key).filter(|text| narrowed && !text.is_empty())?;
            Some(Selected::Text(text.to_owned()))
        };
        let fields = selected("fieldSelector");
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
            node_selector: fields.as_ref().and_then(|f| f.required_field("spec.nodeName")),
            fields,
            labels: selected("labelSelector"),
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
    Deny(Refusal),
}

impl Decision {
    /// Nobody has allowed it so far.
    pub fn deny(reason: impl Into<String>) -> Self {
        Self::Deny(Refusal {
            reason: reason.into(),
            ..Refusal::default()
        })
    }
}

/// Why something is not allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Empty if there is no more to say than no.
    pub reason: String,
    /// Somebody forbids it: nobody else was asked.
    pub is_final: bool,
    /// What kept somebody from deciding.
    pub error: Option<String>,
}

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
    let mut judging = Judging::new(server, user, asked);
    let mut webhook = match judging.go(None) {
        Step::Decided(decision) => return decision,
        Step::Ask(webhook) => webhook,
    };
    // Rare, and not to make every request larger.
    let asking = Box::pin(async {
        loop {
            let opinion = webhook.ask(user, asked, &server.metrics.authorization).await;
            match judging.go(Some(opinion)) {
                Step::Decided(decision) => return decision,
                Step::Ask(next) => webhook = next,
            }
        }
    });
    asking.await
}

/// Decides without asking anybody outside; `None` if somebody has to be asked.
pub fn decide_now(server: &ApiServer, user: &UserInfo, asked: &Attributes) -> Option<Decision> {
    match Judging::new(server, user, asked).go(None) {
        Step::Decided(decision) => Some(decision),
        Step::Ask(_) => None,
    }
}

/// Every rule that holds for a user in a namespace.
pub fn rules_for(server: &ApiServer, user: &UserInfo, namespace: &str) -> Vec<Rule> {
    let everything = server.authorizers.have(|kind| matches!(kind, Kind::AlwaysAllow));
    if is_master(user) || everything {
        return vec![Rule::all_resources(), Rule::all_paths()];
    }
    if !server.authorizers.have(|kind| matches!(kind, Kind::Rbac)) {
        return Vec::new();
    }
    server.rbac().rules_for(user, namespace)
}

/// The status of a SelfSubjectRulesReview.
pub fn rules_review(server: &ApiServer, user: &UserInfo, namespace: &str) -> Value {
    let (paths, resources): (Vec<Rule>, Vec<Rule>) = rules_for(server, user, namespace)
        .into_iter()
        .partition(|rule| !rule.non_resource_urls.is_empty());
    let nodes = server.authorizers.have(|kind| matches!(kind, Kind::Node));
    let is_node = nodes && user.node_name().is_some();
    let asks_others = server.authorizers.have(|kind| matches!(kind, Kind::Webhook(_)));
    let mut status = json!({
        "resourceRules": resources,
        "nonResourceRules": paths,
        // What a node may read follows from its pods, which no rule says; what a webhook allows, nobody knows.
        "incomplete": is_node || asks_others,
    });
    let unsaid = [(is_node, "node"), (asks_others, "webhook")];
    let unsaid: Vec<String> = unsaid
        .iter()
        .filter(|(unsaid, _)| *unsaid)
        .map(|(_, name)| format!("{name} authorizer does not support user rule resolution"))
        .collect();
    if !unsaid.is_empty() {
        status["evaluationError"] = json!(summary(&unsaid));
    }
    status
}
