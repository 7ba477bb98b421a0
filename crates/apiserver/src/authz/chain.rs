//! The order of authorizers, and what they come to together.
use super::conditions::Match;
use super::node;
use super::policy::{Attributes, AuthorizationMode, Decision, Refusal};
use super::webhook::{AccessWebhook, Opinion};
use crate::ApiServer;
use crate::authn::UserInfo;
use orlop_api::validation::summary;
use parking_lot::RwLock;
use std::sync::Arc;

/// Everything is allowed to this group, whatever is stored.
const MASTERS: &str = "system:masters";

/// Who decides, in this order. Clones share it, so that it can be replaced while a server runs.
#[derive(Clone)]
pub struct Authorizers(Arc<RwLock<Arc<[Authorizer]>>>);

/// One of them, by the name under which it is counted.
pub struct Authorizer {
    pub name: Arc<str>,
    pub kind: Kind,
}

pub enum Kind {
    AlwaysAllow,
    AlwaysDeny,
    /// Node agents: what is theirs.
    Node,
    /// What stored roles allow.
    Rbac,
    /// What somebody else says.
    Webhook(Arc<AccessWebhook>),
}

impl Kind {
    /// The one of a type that needs nothing else to be said.
    pub fn of(sort: &str) -> Option<Self> {
        match sort {
            "AlwaysAllow" => Some(Self::AlwaysAllow),
            "AlwaysDeny" => Some(Self::AlwaysDeny),
            "Node" => Some(Self::Node),
            "RBAC" => Some(Self::Rbac),
            _ => None,
        }
    }

    fn sort(&self) -> &'static str {
        match self {
            Self::AlwaysAllow => "AlwaysAllow",
            Self::AlwaysDeny => "AlwaysDeny",
            Self::Node => "Node",
            Self::Rbac => "RBAC",
            Self::Webhook(_) => "Webhook",
        }
    }
}

impl Authorizers {
    pub fn new(authorizers: Vec<Authorizer>) -> Self {
        Self(Arc::new(RwLock::new(authorizers.into())))
    }

    /// Those of modes; the mode Webhook without a webhook decides nothing.
    pub fn of_modes(modes: &[AuthorizationMode], webhook: Option<AccessWebhook>) -> Self {
        let webhook = webhook.map(Arc::new);
        let of = |mode: &AuthorizationMode| {
            let kind = match mode {
                AuthorizationMode::AlwaysAllow => Kind::AlwaysAllow,
                AuthorizationMode::AlwaysDeny => Kind::AlwaysDeny,
                AuthorizationMode::Node => Kind::Node,
                AuthorizationMode::Rbac => Kind::Rbac,
                AuthorizationMode::Webhook => Kind::Webhook(webhook.clone()?),
            };
            Some(Authorizer {
                name: kind.sort().to_lowercase().into(),
                kind,
            })
        };
        Self::new(modes.iter().filter_map(of).collect())
    }

    pub fn replace(&self, authorizers: Vec<Authorizer>) {
        *self.0.write() = authorizers.into();
    }

    pub fn current(&self) -> Arc<[Authorizer]> {
        self.0.read().clone()
    }

    /// Whether one of them is of that sort.
    pub fn have(&self, is: impl Fn(&Kind) -> bool) -> bool {
        self.0.read().iter().any(|authorizer| is(&authorizer.kind))
    }
}

/// Whether somebody may do everything, whoever decides.
pub fn is_master(user: &UserInfo) -> bool {
    user.is_in(MASTERS)
}

/// One question on its way along the order.
pub struct Judging<'q> {
    server: &'q ApiServer,
    user: &'q UserInfo,
    asked: &'q Attributes,
    order: Arc<[Authorizer]>,
    at: usize,
    reasons: Vec<String>,
    errors: Vec<String>,
}

/// How far it came.
pub enum Step {
    Decided(Decision),
    /// This one has to be asked, and then it goes on.
    Ask(Arc<AccessWebhook>),
}

impl<'q> Judging<'q> {
    pub fn new(server: &'q ApiServer, user: &'q UserInfo, asked: &'q Attributes) -> Self {
        Self {
            server,
            user,
            asked,
            order: server.authorizers.current(),
            at: 0,
            reasons: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Goes on. `told`: what the webhook has said at which it stands.
    pub fn go(&mut self, mut told: Option<Opinion>) -> Step {
        if is_master(self.user) {
            return Step::Decided(Decision::Allow(None));
        }
        let order = self.order.clone();
        while let Some(authorizer) = order.get(self.at) {
            let (user, asked) = (self.user, self.asked);
            let decision = match &authorizer.kind {
                Kind::AlwaysAllow => Decision::Allow(None),
                Kind::AlwaysDeny => Decision::deny("Everything is forbidden."),
                Kind::Node => match user.node_name().filter(|_| asked.is_resource) {
                    Some(node) => node::decide(self.server, node, asked),
                    None => Decision::deny(""),
                },
                Kind::Rbac => self.server.rbac().decide(user, asked),
                Kind::Webhook(webhook) => {
                    let opinion = match told.take() {
                        Some(opinion) => Some(opinion),
                        None => self.without_asking(webhook),
                    };
                    match opinion {
                        Some(opinion) => self.weigh(webhook, opinion),
                        None => return Step::Ask(webhook.clone()),
                    }
                }
            };
            let count = |decision| {
                let metrics = &self.server.metrics.authorization;
                metrics.decided(authorizer.kind.sort(), &authorizer.name, decision);
            };
            match decision {
                Decision::Allow(why) => {
                    count("allowed");
                    return Step::Decided(Decision::Allow(why));
                }
                Decision::Deny(refusal) if refusal.is_final => {
                    count("denied");
                    return Step::Decided(Decision::Deny(refusal));
                }
                Decision::Deny(refusal) => {
                    self.reasons
                        .extend(Some(refusal.reason).filter(|reason| !reason.is_empty()));
                    self.errors.extend(refusal.error);
                }
            }
            self.at += 1;
        }
        Step::Decided(Decision::Deny(Refusal {
            reason: self.reasons.join("\n"),
            is_final: false,
            error: (!self.errors.is_empty()).then(|| summary(&self.errors)),
        }))
    }

    /// What is known of a webhook's opinion: it is not asked about everything, nor about the same again.
    fn without_asking(&self, webhook: &AccessWebhook) -> Option<Opinion> {
        let metrics = &self.server.metrics.authorization;
        match webhook.concerns(self.user, self.asked) {
            Match::Asked => webhook.remembered(self.user, self.asked),
            Match::Not => {
                metrics.passed_by(webhook.name());
                Some(Opinion::None(Arc::default()))
            }
            Match::Failed(why) => {
                metrics.not_matched(webhook.name());
                Some(Opinion::Failed(why.into()))
            }
        }
    }

    fn weigh(&self, webhook: &AccessWebhook, opinion: Opinion) -> Decision {
        match opinion {
            Opinion::Allow(reason) => Decision::Allow(Some(reason).filter(|r| !r.is_empty())),
            Opinion::None(reason) => Decision::deny(&*reason),
            Opinion::Deny(reason) => Decision::Deny(Refusal {
                reason: reason.to_string(),
                is_final: true,
                error: None,
            }),
            Opinion::Failed(why) => Decision::Deny(Refusal {
                reason: String::new(),
                is_final: webhook.fails_closed(),
                error: Some(why.to_string()),
            }),
        }
    }
}
